/* SPDX-License-Identifier: Apache-2.0 */
/* singleflight.h - one computation of each key at a time, of a worker. */
#ifndef PM_SINGLEFLIGHT_H
#define PM_SINGLEFLIGHT_H

#include <stdbool.h>

#include "cache_key.h"

/* Lives in its owner, zeroed at first.  Either it leads (others wait for what it computes), or it waits for the one that does. */
struct singleflight {
        struct singleflight *chain;          /* of those that lead */
        struct singleflight *leader;         /* the one that it waits for */
        struct singleflight *first, *next, **pprev; /* who waits, in order */
        struct cache_key key;
        bool is_leader;
        void (*on_result)(struct singleflight *f, struct pm_str value, bool failed); /* called for each waiter; must not start a singleflight itself */
};
/* True: it is the leader now.  False: there is one already, and this one waits: on_result() will come. */
bool singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key);
/* Leading, or waiting, or neither: it ends.  Those that wait for it are told: a value (p not NULL), that it failed, or neither: the
 * leader has left, and another one should lead. */
void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, bool failed);
#endif
