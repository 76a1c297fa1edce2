/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h - a cached value for a router (the vector of a text, the reply of an expert): from the worker's memory, from Redis, from
 * another lookup that is computing it, or computed by the owner.
 *
 * Lives inside its owner.  The owner is woken when a state that was WAITS has changed, or when the lookup that it waits for has been told
 * to compute.  For each key one owner at a time is told to COMPUTE (single-flight); its lookup_done() gives the value to the others.
 */
#ifndef PM_LOOKUP_H
#define PM_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "cache_key.h"
#include "loop.h"
#include "metrics.h"
#include "redis.h"
#include "singleflight.h"

enum lookup_state { LOOKUP_WAITS, LOOKUP_FOUND, LOOKUP_COMPUTE };

struct lookup {
        struct loop *loop;
        struct cache *cache;
        struct arena *arena;
        struct wake *owner;
        struct cache_key key;
        int64_t redis_us;        /* how long Redis may take */
        enum metrics_cache of;   /* what it is, for the metrics */
        enum lookup_state state;
        enum metrics_recall from; /* FOUND: where */
        struct pm_str value;     /* FOUND: in the arena */
        bool alone;              /* does not wait for others any more */

        struct redis *redis;     /* it is asked, or has been: a reload can replace it, so that it is only good while call is under way */
        struct redis_call call;
        struct singleflight singleflight;
};

/* Key, loop, cache, arena, owner, redis_us and `of` are set, the rest is zero.  The owner is not woken from inside. */
enum lookup_state lookup_begin(struct lookup *l);
/* Instead of lookup_begin(), for a key that is not cached.  True: COMPUTE.  False: another lookup computes it, and this one has not begun. */
bool lookup_lead(struct lookup *l);
/* The state now; to be called when the owner is woken. */
enum lookup_state lookup_state(struct lookup *l);
/* True: it WAITS for another lookup; *ret_computes: has that one been told to compute? */
bool lookup_follows(const struct lookup *l, bool *ret_computes);
/* The computed value, cached for keep_ms; it is copied.  p NULL: the computation failed. */
void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* Caches `value` under the key for at most keep_ms from now, unless what is cached ends sooner; 0: removes it. */
void lookup_shorten(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* In any state; the owner is not woken any more. */
void lookup_cancel(struct lookup *l);
#endif
