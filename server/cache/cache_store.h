/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_store.h - what gateways share: a store (store.h) that each worker has a connection to.  The cache is all that calls it.
 *
 * On the worker's thread, unless it says otherwise.
 */
#ifndef PM_CACHE_STORE_H
#define PM_CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "cache_key.h"
#include "store.h"

struct event_base;
struct redis_settings;
struct redis_stats;
struct resolver;
struct wake;

/* ---- reading ---- */

/* What the store is asked for: a value, or the items of a list.  Lives in its owner, who is woken when it is not under way any more. */
struct cache_fetch {
        struct store_call call;
        struct cache *cache;
        struct store *store; /* the one that is asked: a reload can replace it, so that it is only good while call is under way */
        struct arena *arena;
        struct wake *owner;
        struct pm_str value; /* in the arena; p NULL: not there, or not in time */
        struct pm_str *items;
        size_t n_items;
        bool foreign;        /* the key has something else than what was asked for */
};
/* True: it is under way.  False: the store cannot be asked, or there is none. */
bool cache_fetch(struct cache *c, struct cache_fetch *f, const struct cache_key *key, struct arena *a, struct wake *owner, int64_t timeout_us);
bool cache_fetch_list(struct cache *c, struct cache_fetch *f, const struct cache_key *key, int64_t max, struct arena *a, struct wake *owner, int64_t timeout_us);
bool cache_fetching(const struct cache_fetch *f);
/* In any state; the owner is not woken any more. */
void cache_fetch_cancel(struct cache_fetch *f);

/* Is one configured, and does it look as if it would answer? */
bool cache_has_store(const struct cache *c);
bool cache_store_ready(const struct cache *c);

/* ---- writing: nobody waits for it ---- */

void cache_share(struct cache *c, const struct cache_key *key, struct pm_str value, int64_t lives_ms);
void cache_unshare(struct cache *c, const struct cache_key *key);
/* Into a list, before all others, of which `keep` stay. */
void cache_share_item(struct cache *c, const struct cache_key *key, struct pm_str item, int64_t keep, int64_t lives_ms);

/* ---- does it pay? ---- */

/* Is the store worth asking for this route's decisions, and worth writing them to? */
bool cache_shared_pays(const struct cache *c, const struct route *r);
/* A decision of this route took `us` to compute: input of cache_shared_pays(). */
void cache_computed(struct cache *c, const struct route *r, int64_t us);

/* ---- which store ---- */

/* The store of these settings.  resolver and stats: as redis_create() has them.  -ENOENT: none is configured; -ENOMEM. */
int cache_store_open(struct event_base *base, struct resolver *resolver, const struct redis_settings *s, struct redis_stats *stats, struct store **ret);
/* It is the cache's from now on, in place of the one before, which may still be waited for; NULL: none.  False: no memory, all stays. */
bool cache_store_use(struct cache *c, struct store *s);
/* The numbers of all workers' Redis; any thread. */
struct redis_stats *cache_redis_stats(void);

/* cache.c's: at a reload, and at the end. */
void cache_store_reload(struct cache *c, const struct redis_settings *s);
void cache_store_finish(struct cache *c);
#endif
