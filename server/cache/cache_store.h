/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_store.h - what gateways share, in Redis: one connection of each worker.
 *
 * On the worker's thread, unless it says otherwise.
 */
#ifndef PM_CACHE_STORE_H
#define PM_CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "cache_key.h"

struct redis;
struct redis_settings;
struct redis_stats;

/* NULL: none is configured. */
struct redis *cache_redis(struct cache *c);
enum { CACHE_SHARE_US = 1000000 }; /* how long a command to Redis that nobody waits for may take */
/* Into Redis, if one is configured; nobody waits for it. */
void cache_share(struct cache *c, const struct cache_key *key, struct pm_str value, int64_t lives_ms);

/* Is Redis worth asking for this route's decisions, and worth writing them to? */
bool cache_shared_pays(const struct cache *c, const struct route *r);
/* A decision of this route took `us` to compute: input of cache_shared_pays(). */
void cache_computed(struct cache *c, const struct route *r, int64_t us);

/* The numbers of all workers' Redis; any thread. */
struct redis_stats *cache_redis_stats(void);

/* cache.c's: at a reload, and at the end. */
void cache_store_reload(struct cache *c, const struct redis_settings *s);
void cache_store_finish(struct cache *c);
#endif
