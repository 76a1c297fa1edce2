/* SPDX-License-Identifier: Apache-2.0 */
/* The store is replaced by a reload only if its settings have changed. */
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
        SHARE_US = 1000000,   /* a call that nobody waits for */
        RTT_UNKNOWN_US = 300, /* before the first reply: a local network's */
        RETIRED_S = 12        /* longer than cache.redis.timeout can be */
};

/* Replaced by a reload: requests may still wait for it, within their time limits. */
struct retired {
        struct store *store;
        struct event *timer;
        struct retired *next, **pprev;
};

static struct redis_stats stats;

struct redis_stats *cache_redis_stats(void)
{
        return &stats;
}

bool cache_has_store(const struct cache *c)
{
        return c->store != NULL;
}

bool cache_store_ready(const struct cache *c)
{
        return c->store && c->store->ops->ready(c->store);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* p NULL: no memory. */
static struct pm_str copy(struct arena *a, struct pm_str text)
{
        return (struct pm_str){ arena_strndup(a, text.p, text.n), text.n };
}

static void on_fetched(struct store_call *call, enum store_result result, const struct store_reply *reply)
{
        struct cache_fetch *f = CONTAINER_OF(call, struct cache_fetch, call);

        f->foreign = reply->foreign;
        if (result == STORE_OK && reply->value.p)
                f->value = copy(f->arena, reply->value);
        if (result == STORE_OK && reply->n_items)
                f->items = arena_alloc(f->arena, reply->n_items * sizeof *f->items);
        for (size_t i = 0; f->items && i < reply->n_items; i++) {
                struct pm_str item = reply->items[i].n ? copy(f->arena, reply->items[i]) : (struct pm_str){ 0 };

                if (item.p)
                        f->items[f->n_items++] = item;
        }
        loop_wake(f->cache->loop, f->owner);
}

static struct store *fetch_begin(struct cache *c, struct cache_fetch *f, struct arena *a, struct wake *owner)
{
        *f = (struct cache_fetch){ .call.done = on_fetched, .cache = c, .store = c->store, .arena = a, .owner = owner };
        return c->store;
}

bool cache_fetch(struct cache *c, struct cache_fetch *f, const struct cache_key *key, struct arena *a, struct wake *owner, int64_t timeout_us)
{
        struct store *s = fetch_begin(c, f, a, owner);

        return s && s->ops->get(s, &f->call, key->shared, timeout_us) == 0;
}

bool cache_fetch_list(struct cache *c, struct cache_fetch *f, const struct cache_key *key, int64_t max, struct arena *a, struct wake *owner, int64_t timeout_us)
{
        struct store *s = fetch_begin(c, f, a, owner);

        return s && s->ops->list && s->ops->list(s, &f->call, key->shared, max, timeout_us) == 0;
}

bool cache_fetching(const struct cache_fetch *f)
{
        return f->call.ticket != 0;
}

void cache_fetch_cancel(struct cache_fetch *f)
{
        if (f->call.ticket)
                f->store->ops->cancel(f->store, &f->call);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

void cache_share(struct cache *c, const struct cache_key *key, struct pm_str value, int64_t lives_ms)
{
        if (c->store)
                (void)c->store->ops->set(c->store, NULL, key->shared, value, lives_ms, SHARE_US);
}

void cache_unshare(struct cache *c, const struct cache_key *key)
{
        if (c->store)
                (void)c->store->ops->remove(c->store, NULL, key->shared, SHARE_US);
}

void cache_share_item(struct cache *c, const struct cache_key *key, struct pm_str item, int64_t keep, int64_t lives_ms)
{
        if (c->store && c->store->ops->push)
                (void)c->store->ops->push(c->store, key->shared, item, keep, lives_ms, SHARE_US);
}

/* ---- does it pay? -------------------------------------------------------------------------------------------------------- */

bool cache_shared_pays(const struct cache *c, const struct route *r)
{
        int64_t computed, rtt;

        if (!c->store || r->cache.levels == CACHE_LEVELS_OFF || r->cache.levels == CACHE_LEVELS_LOCAL)
                return false;
        if (r->cache.levels == CACHE_LEVELS_SHARED || r->metric < 0)
                return true;
        computed = c->computed_us[r->metric % CACHE_ROUTES];
        rtt = c->store->ops->rtt_us(c->store);
        return computed == 0 || computed > 2 * (rtt ? rtt : RTT_UNKNOWN_US);
}

void cache_computed(struct cache *c, const struct route *r, int64_t us)
{
        int64_t *was = r->metric < 0 ? NULL : &c->computed_us[r->metric % CACHE_ROUTES];

        us = MAX(us, 1);
        if (was)
                *was = *was ? MAX(*was + (us - *was) / 8, 1) : us;
}

/* ---- which store --------------------------------------------------------------------------------------------------------- */

int cache_store_open(struct event_base *base, struct resolver *resolver, const struct redis_settings *s, struct redis_stats *counted, struct store **ret)
{
        struct redis_config config = settings_redis(s);
        struct store *store;

        if (!config.n_servers)
                return -ENOENT;
        store = redis_store(redis_create(base, resolver, &config, counted));
        if (!store)
                return -ENOMEM;
        *ret = store;
        return 0;
}

static void sum_word(struct cache *c, const char *word)
{
        cache_sum_text(c, (struct pm_str){ word ? word : "\1", word ? strlen(word) : 1 });
}

static void settings_print(struct cache *c, const struct redis_settings *s, unsigned char out[SHA256_SIZE])
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

static void free_retired(struct retired *old)
{
        LIST_UNLINK(old);
        old->store->ops->destroy(old->store);
        if (old->timer)
                event_free(old->timer);
        free(old);
}

static void on_retired(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        free_retired(arg);
}

bool cache_store_use(struct cache *c, struct store *s)
{
        static const struct timeval later = { RETIRED_S, 0 };
        struct retired *old = c->store ? calloc(1, sizeof *old) : NULL;

        if (c->store && !old)
                return false;
        if (old) {
                old->store = c->store;
                LIST_PUSH(&c->retired, old);
                old->timer = evtimer_new(c->loop->base, on_retired, old);
                if (old->timer)
                        (void)evtimer_add(old->timer, &later); /* without a timer it stays until the worker ends */
        }
        c->store = s;
        return true;
}

void cache_store_reload(struct cache *c, const struct redis_settings *s)
{
        unsigned char print[SHA256_SIZE];
        struct store *store = NULL;

        settings_print(c, s, print);
        if (memcmp(print, c->store_print, sizeof print) == 0)
                return;
        if (!cache_store_use(c, NULL)) {
                log_msg(c->loop->log, PM_ERROR, "out of memory: keeping the old Redis settings");
                return;
        }
        memcpy(c->store_print, print, sizeof print);
        if (cache_store_open(c->loop->base, &c->loop->resolver, s, &stats, &store) == 0)
                c->store = store;
}

void cache_store_finish(struct cache *c)
{
        while (c->retired)
                free_retired(c->retired);
        if (c->store)
                c->store->ops->destroy(c->store);
}
