/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h - a value that may be kept: in the worker's memory, in Redis, or under way for somebody else; else its owner gets it.
 *
 * For what routers ask for (vectors of texts, replies of experts).  Lives inside its owner, who is woken when a state that was WAITS
 * has changed, or whom it waits for has been told to compute.  One owner at a time is told to COMPUTE each key; lookup_done() tells the others.
 */
#ifndef PM_LOOKUP_H
#define PM_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "cache.h"
#include "loop.h"
#include "metrics.h"
#include "redis.h"

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
/* In place of lookup_begin(), of a key that is nowhere: true: COMPUTE.  False: another one is at it, and this one has not begun. */
bool lookup_lead(struct lookup *l);
/* Woken: how is it now? */
enum lookup_state lookup_state(struct lookup *l);
/* WAITS: for another owner; *ret_computes: which has been told to compute it. */
bool lookup_follows(const struct lookup *l, bool *ret_computes);
/* What was computed, p NULL: it failed.  Kept for so long; the value is copied. */
void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* What is kept of the key, which is this value, is kept for at most so long from now; 0: no longer. */
void lookup_shorten(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* In any state; the owner is not woken any more. */
void lookup_cancel(struct lookup *l);
#endif
