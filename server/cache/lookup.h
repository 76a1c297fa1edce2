/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h - a read-through cache for what routers compute with (the vector of a text, the reply of an expert): the value of a key from
 * the worker's memory; else from another lookup that is getting it; else from the store; else computed by the owner, and written back to
 * both.  For each key one lookup at a time goes to the store and computes (single-flight).
 *
 * Lives inside its owner, who is woken when the state may have changed, and then asks lookup_state().
 */
#ifndef PM_LOOKUP_H
#define PM_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "cache_key.h"
#include "cache_store.h"
#include "loop.h"
#include "metrics.h"
#include "singleflight.h"

enum lookup_state {
        LOOKUP_NEW,      /* not begun */
        LOOKUP_FETCHING, /* the store is asked */
        LOOKUP_JOINED,   /* another lookup leads, and this one gets its value */
        LOOKUP_FOUND,
        LOOKUP_COMPUTE,  /* found nowhere: the owner computes, and calls lookup_done() */
        LOOKUP_TIMED_OUT /* the other's value did not come by until_us */
};

struct lookup {
        struct loop *loop;
        struct cache *cache;
        struct arena *arena;
        struct wake *owner;
        struct cache_key key;
        int64_t store_us;        /* how long the store may take */
        int64_t until_us;        /* how long it waits for another lookup, by now_us(); 0: no limit */
        enum metrics_cache of;   /* what it is, for the metrics */
        enum lookup_state state;
        enum metrics_recall from; /* FOUND: where */
        struct pm_str value;     /* FOUND: in the arena */

        /* lookup.c's own */
        bool alone;              /* does not wait for others any more */
        struct cache_fetch fetch;
        struct singleflight singleflight;
};

/* The first members are set, the rest is zero.  The owner is not woken from inside. */
enum lookup_state lookup_begin(struct lookup *l);
/* Instead of lookup_begin(), for a key that is not cached.  True: COMPUTE.  False: another lookup leads, and this one has not begun. */
bool lookup_lead(struct lookup *l);
/* The state now; to be called when the owner is woken. */
enum lookup_state lookup_state(struct lookup *l);
/* JOINED: has the other one been told to compute? */
bool lookup_leader_computes(const struct lookup *l);
/* The computed value, cached for keep_ms; it is copied.  p NULL: the computation failed. */
void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* Caches `value` under the key for at most keep_ms from now, unless what is cached ends sooner; 0: removes it. */
void lookup_shorten(struct lookup *l, struct pm_str value, int64_t keep_ms);
/* In any state; the owner is not woken any more. */
void lookup_cancel(struct lookup *l);
#endif
