/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything here is a worker's own, so there is nothing to lock.  Redis is replaced by a reload only if its settings have changed;
 * memory keeps what it has, since keys carry the fingerprint of what they came from.
 */
#include "cache.h"

#include <event2/event.h>
#include <time.h>

#include "base64.h"
#include "config.h"
#include "list.h"
#include "log.h"
#include "loop.h"
#include "lru.h"
#include "metrics.h"
#include "redis.h"
#include "settings.h"
#include "sha256.h"
#include "tenant.h"

#include "base.h"

enum {
        CHAINS = 256,
        ROUTES = 4096,        /* as many as metrics have names */
        DIGEST_KEPT = 24,     /* 192 bits: nobody finds two conversations with one key */
        DIGEST_TEXT = CACHE_DIGEST_TEXT,
        RTT_UNKNOWN_US = 300, /* before the first reply: a local network's */
        RETIRED_S = 12        /* longer than cache.redis.timeout can be */
};

/* Replaced by a reload: requests may still wait for it, within their time limits. */
struct retired {
        struct cache *cache;
        struct redis *redis;
        struct event *timer;
        struct retired *next, **pprev;
};

struct cache {
        struct loop *loop;
        struct lru *decisions, *answers, *vectors;
        struct redis *redis;
        struct retired *retired;
        unsigned char redis_print[SHA256_SIZE]; /* of its settings */
        struct sha256 sum;
        int64_t *computed_us;              /* by the route's metric, smoothed; 0: never */
        struct singleflight *singleflights[CHAINS];
};

static struct redis_stats stats;

struct redis_stats *cache_redis_stats(void)
{
        return &stats;
}

int64_t cache_now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- keys ---------------------------------------------------------------------------------------------------------------- */

void cache_sum_begin(struct cache *c)
{
        sha256_begin(&c->sum);
}

void cache_sum_bytes(struct cache *c, const void *p, size_t n)
{
        sha256_bytes(&c->sum, p, n);
}

void cache_sum_text(struct cache *c, struct pm_str text)
{
        sha256_text(&c->sum, text);
}

static char *put(char *out, const char *p, size_t n)
{
        memcpy(out, p, n);
        return out + n;
}

bool cache_digest_text(struct pm_str text, char out[CACHE_DIGEST_TEXT + 1])
{
        unsigned char digest[SHA256_SIZE];
        struct sha256 sum;
        bool done;

        sha256_init(&sum);
        sha256_begin(&sum);
        sha256_text(&sum, text);
        done = sha256_end(&sum, digest);
        sha256_finish(&sum);
        if (done)
                *base64url_encode(digest, DIGEST_KEPT, out) = '\0';
        return done;
}

bool cache_sum_key(struct cache *c, const struct generation *g, enum cache_kind kind, const struct tenant *scope, const struct route *r,
                   struct arena *a, struct cache_key *ret)
{
        return cache_sum_key_named(c, g, kind, scope ? scope->name : "*", r->name, a, ret);
}

bool cache_sum_key_named(struct cache *c, const struct generation *g, enum cache_kind kind, const char *who, const char *what, struct arena *a,
                         struct cache_key *ret)
{
        const char *prefix = g->cache->redis.prefix;
        size_t prefix_n = prefix ? strlen(prefix) : 0, who_n = strlen(who), what_n = strlen(what);
        size_t n = prefix_n + 2 + who_n + 1 + what_n + 1 + DIGEST_TEXT;
        unsigned char digest[SHA256_SIZE];
        char letter = (char)kind, *text, *p;

        if (!sha256_end(&c->sum, digest))
                return false;
        p = text = arena_alloc(a, n);
        if (!text)
                return false;
        if (prefix_n)
                p = put(p, prefix, prefix_n);
        p = put(p, &letter, 1);
        p = put(p, "|", 1);
        p = put(p, who, who_n);
        p = put(p, "|", 1);
        p = put(p, what, what_n);
        p = put(p, "|", 1);
        p = base64url_encode(digest, DIGEST_KEPT, p);
        assert(p == text + n);
        memcpy(&ret->hash, digest, sizeof ret->hash);
        ret->shared = (struct pm_str){ text, n };
        ret->local = (struct pm_str){ text + prefix_n, n - prefix_n };
        return true;
}

/* ---- single flight ------------------------------------------------------------------------------------------------------------ */

static bool same_key(const struct cache_key *a, const struct cache_key *b)
{
        return a->hash == b->hash && a->local.n == b->local.n && memcmp(a->local.p, b->local.p, a->local.n) == 0;
}

bool singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key)
{
        struct singleflight **chain = &c->singleflights[key->hash % CHAINS], *leader = *chain, **last;

        assert(!f->is_leader && !f->leader);
        f->key = *key;
        while (leader && !same_key(&leader->key, key))
                leader = leader->chain;
        if (!leader) {
                f->is_leader = true;
                f->first = NULL;
                f->chain = *chain;
                *chain = f;
                return true;
        }
        f->leader = leader;
        f->next = NULL;
        for (last = &leader->first; *last;)
                last = &(*last)->next;
        f->pprev = last;
        *last = f;
        return false;
}

static void stop_waiting(struct singleflight *f)
{
        LIST_UNLINK(f);
        f->leader = NULL;
}

void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, bool failed)
{
        struct singleflight **p = &c->singleflights[f->key.hash % CHAINS];

        if (f->leader)
                stop_waiting(f);
        if (!f->is_leader)
                return;
        while (*p != f)
                p = &(*p)->chain;
        *p = f->chain;
        f->is_leader = false;
        while (f->first) {
                struct singleflight *one = f->first;

                stop_waiting(one);
                one->on_result(one, value, failed);
        }
}

/* ---- does Redis pay? ----------------------------------------------------------------------------------------------------- */

bool cache_shared_pays(const struct cache *c, const struct route *r)
{
        int64_t computed, rtt;

        if (!c->redis || r->cache.levels == CACHE_LEVELS_OFF || r->cache.levels == CACHE_LEVELS_LOCAL)
                return false;
        if (r->cache.levels == CACHE_LEVELS_SHARED || r->metric < 0)
                return true;
        computed = c->computed_us[r->metric % ROUTES];
        rtt = redis_rtt_us(c->redis);
        return computed == 0 || computed > 2 * (rtt ? rtt : RTT_UNKNOWN_US);
}

void cache_computed(struct cache *c, const struct route *r, int64_t us)
{
        int64_t *was = r->metric < 0 ? NULL : &c->computed_us[r->metric % ROUTES];

        us = MAX(us, 1);
        if (was)
                *was = *was ? MAX(*was + (us - *was) / 8, 1) : us;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static void sum_word(struct cache *c, const char *word)
{
        cache_sum_text(c, (struct pm_str){ word ? word : "\1", word ? strlen(word) : 1 });
}

static void redis_print(struct cache *c, const struct redis_settings *s, unsigned char out[SHA256_SIZE])
{
        const int64_t numbers[] = { s->mode, s->database, s->connect_time, s->failures, s->open_time, s->waiting, s->reply, (int64_t)s->servers.n };
        const char *const words[] = { s->master, s->user, s->password, s->sentinel_user, s->sentinel_password };

        cache_sum_begin(c);
        cache_sum_bytes(c, numbers, sizeof numbers);
        for (size_t i = 0; i < LENGTH_OF(words); i++)
                sum_word(c, words[i]);
        for (size_t i = 0; i < s->servers.n; i++)
                sum_word(c, s->servers.items[i]);
        if (!sha256_end(&c->sum, out))
                memset(out, 0, SHA256_SIZE);
}

static void bury(struct retired *old)
{
        LIST_UNLINK(old);
        redis_destroy(old->redis);
        if (old->timer)
                event_free(old->timer);
        free(old);
}

static void on_retired(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        bury(arg);
}

static void retire(struct cache *c)
{
        static const struct timeval later = { RETIRED_S, 0 };
        struct retired *old;

        if (!c->redis)
                return;
        old = calloc(1, sizeof *old);
        if (!old) {
                log_msg(c->loop->log, PM_ERROR, "out of memory: keeping the old Redis settings");
                return;
        }
        *old = (struct retired){ .cache = c, .redis = TAKE(c->redis) };
        LIST_PUSH(&c->retired, old);
        old->timer = evtimer_new(c->loop->base, on_retired, old);
        if (old->timer)
                (void)evtimer_add(old->timer, &later); /* without a timer it stays until the worker ends */
}

static void take_redis(struct cache *c, const struct redis_settings *s)
{
        unsigned char print[SHA256_SIZE];
        struct redis_config config;

        redis_print(c, s, print);
        if (memcmp(print, c->redis_print, sizeof print) == 0)
                return;
        retire(c);
        if (c->redis)
                return;
        memcpy(c->redis_print, print, sizeof print);
        config = settings_redis(s);
        if (config.n_servers)
                c->redis = redis_create(c->loop->base, &c->loop->resolver, &config, &stats);
}

void cache_reload(struct cache *c, const struct generation *g)
{
        bool answers = false;

        for (size_t i = 0; i < g->n_routes; i++)
                answers = answers || g->routes[i]->cache.answers_ms > 0;
        lru_bound(c->decisions, (size_t)g->cache->memory);
        lru_bound(c->answers, answers ? (size_t)g->cache->answers : 0);
        lru_bound(c->vectors, (size_t)g->cache->vectors);
        take_redis(c, &g->cache->redis);
        cache_publish(c);
}

struct cache *cache_create(struct loop *loop, const struct generation *g)
{
        struct cache *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->loop = loop;
        c->decisions = lru_create((size_t)g->cache->memory);
        c->answers = lru_create(0);
        c->vectors = lru_create(0);
        sha256_init(&c->sum);
        c->computed_us = calloc(ROUTES, sizeof *c->computed_us);
        if (!c->decisions || !c->answers || !c->vectors || !c->sum.ctx || !c->computed_us) {
                cache_destroy(c);
                return NULL;
        }
        cache_reload(c, g);
        return c;
}

void cache_destroy(struct cache *c)
{
        if (!c)
                return;
        while (c->retired)
                bury(c->retired);
        redis_destroy(c->redis);
        lru_destroy(c->decisions);
        lru_destroy(c->answers);
        lru_destroy(c->vectors);
        sha256_finish(&c->sum);
        free(c->computed_us);
        free(c);
}

struct lru *cache_decisions(struct cache *c)
{
        return c->decisions;
}

struct lru *cache_answers(struct cache *c)
{
        return c->answers;
}

struct lru *cache_vectors(struct cache *c)
{
        return c->vectors;
}

struct redis *cache_redis(struct cache *c)
{
        return c->redis;
}

void cache_share(struct cache *c, const struct cache_key *key, struct pm_str value, int64_t lives_ms)
{
        if (c->redis)
                (void)redis_set(c->redis, NULL, key->shared, value, lives_ms, CACHE_SHARE_US);
}

void cache_publish(struct cache *c)
{
        struct lru_counts d = lru_counts(c->decisions), a = lru_counts(c->answers), v = lru_counts(c->vectors);

        metrics_cache_size(c->loop->metrics, METRICS_CACHE_DECISIONS, d.entries, d.bytes, d.evicted);
        metrics_cache_size(c->loop->metrics, METRICS_CACHE_ANSWERS, a.entries, a.bytes, a.evicted);
        metrics_cache_size(c->loop->metrics, METRICS_CACHE_VECTORS, v.entries, v.bytes, v.evicted);
}
