/* SPDX-License-Identifier: Apache-2.0 */
/*
 * singleflight.h - one computation of each key at a time, of a worker.  The first who asks leads and computes; those who come while it
 * does wait for its result, as long as they want to.
 */
#ifndef PM_SINGLEFLIGHT_H
#define PM_SINGLEFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache_key.h"

struct event;

#define SINGLEFLIGHT_WAITERS_MAX 65536 /* of one leader */

enum singleflight_role {
        SINGLEFLIGHT_LEADS, /* it computes, and calls singleflight_end() */
        SINGLEFLIGHT_WAITS, /* on_result() will come */
        SINGLEFLIGHT_ALONE  /* it computes for itself: too many wait already, or there is no memory for a timer */
};

enum singleflight_result {
        SINGLEFLIGHT_DONE,   /* with a value */
        SINGLEFLIGHT_FAILED, /* it would fail for those who wait too, one after another */
        SINGLEFLIGHT_LEFT,   /* the leader has gone, and another one should lead */
        SINGLEFLIGHT_LATE    /* the waiter's time is over */
};

/* Lives in its owner, zeroed at first. */
struct singleflight {
        /* Called for each that waits, when it waits no more; must not start a singleflight itself.  value: p NULL but for DONE. */
        void (*on_result)(struct singleflight *f, struct pm_str value, enum singleflight_result result);
        struct cache_key key;
        bool is_leader;
        struct singleflight *leader; /* the one that it waits for */

        /* singleflight.c's own */
        struct singleflight *chain;                 /* of those that lead */
        struct singleflight *first, **last;         /* who waits for it, in order */
        unsigned n_waiting;
        struct singleflight *next, **pprev;
        struct event *timer;                        /* while it waits */
};
/* until_us: how long it waits at most, by now_us(); 0: no limit. */
enum singleflight_role singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key, int64_t until_us);
/* Leading, or waiting, or neither: it ends.  Those that wait for it are told. */
void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, enum singleflight_result result);
/* It will not lead, or does not wait any more: as if it had never been. */
void singleflight_leave(struct cache *c, struct singleflight *f);
#endif
