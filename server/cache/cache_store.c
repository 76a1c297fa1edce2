/* SPDX-License-Identifier: Apache-2.0 */
/* Redis is replaced by a reload only if its settings have changed. */
#include "cache_store.h"

#include <event2/event.h>

#include "cache_parts.h"
#include "config.h"
#include "list.h"
#include "log.h"
#include "loop.h"
#include "redis.h"
#include "settings.h"

#include "base.h"

enum {
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

static struct redis_stats stats;

struct redis_stats *cache_redis_stats(void)
{
        return &stats;
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

/* ---- does Redis pay? ----------------------------------------------------------------------------------------------------- */

bool cache_shared_pays(const struct cache *c, const struct route *r)
{
        int64_t computed, rtt;

        if (!c->redis || r->cache.levels == CACHE_LEVELS_OFF || r->cache.levels == CACHE_LEVELS_LOCAL)
                return false;
        if (r->cache.levels == CACHE_LEVELS_SHARED || r->metric < 0)
                return true;
        computed = c->computed_us[r->metric % CACHE_ROUTES];
        rtt = redis_rtt_us(c->redis);
        return computed == 0 || computed > 2 * (rtt ? rtt : RTT_UNKNOWN_US);
}

void cache_computed(struct cache *c, const struct route *r, int64_t us)
{
        int64_t *was = r->metric < 0 ? NULL : &c->computed_us[r->metric % CACHE_ROUTES];

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

void cache_store_reload(struct cache *c, const struct redis_settings *s)
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

void cache_store_finish(struct cache *c)
{
        while (c->retired)
                bury(c->retired);
        redis_destroy(c->redis);
}
