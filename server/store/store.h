/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - a key-value store that gateways share: what the cache wants of one.  Redis is one (server/redis/redis_store.c).
 *
 * A store is never needed: one that is dead, slow or full costs a call its own time limit at most.  It belongs to one thread; all
 * functions run there, none of them blocks, and none calls done() from inside.  Only the cache calls it.
 */
#ifndef PM_STORE_H
#define PM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

struct store {
        const struct store_ops *ops;
};

enum store_result {
        STORE_OK,    /* done; found */
        STORE_NONE,  /* there is no such key */
        STORE_ERROR, /* the store said no */
        STORE_LATE,  /* the time limit has passed; it may have been carried out */
        STORE_LOST   /* the connection has gone, or the reply made no sense */
};

/* All of it is gone when done() returns. */
struct store_reply {
        struct pm_str value;        /* OK of get: the value; ERROR: what the store said.  p NULL: nothing */
        const struct pm_str *items; /* OK of list */
        size_t n_items;
        bool foreign;               /* ERROR: the key has something else than what was asked for */
};

/* Lives inside its owner; zeroed at first.  The owner cancels it before it dies while ticket is not 0. */
struct store_call {
        /* Once, from the loop.  The call may be used again from inside; the store may not be destroyed there. */
        void (*done)(struct store_call *c, enum store_result result, const struct store_reply *reply);
        uint64_t ticket; /* 0: not under way */
};

/* All keys that begin with a prefix, batch by batch.  Lives inside its owner; zeroed but for the first members.  A key may come twice,
 * and one that came or went meanwhile may be missing. */
struct store_scan {
        bool remove; /* the keys, after batch() has seen them */
        /* NULL: not told.  From the loop; the keys are gone when it returns.  The scan may be cancelled from inside. */
        void (*batch)(struct store_scan *s, const struct pm_str *keys, size_t n);
        /* Once, last.  0; -EAGAIN: a part of the store cannot be reached now; -ESTALE: keys moved meanwhile and may not have been seen;
         * -ETIMEDOUT; -EIO: the connection was lost or an error came; -ENOMEM. */
        void (*end)(struct store_scan *s, int result);
        uint64_t seen, removed, failed; /* keys */

        void *state; /* the store's own; NULL: it does not run */
};

/*
 * A call that returns 0 will end within timeout_us (and the loop's millisecond).  -EAGAIN: the store cannot be reached, which costs
 * nothing; -EBUSY: too much is under way; -ENOMEM.  Then done() does not come.  c NULL: no caller waits.  What is passed is copied.
 */
struct store_ops {
        bool (*ready)(struct store *s);     /* would a call go out now? */
        bool (*whole)(struct store *s);     /* whatever its key? */
        int64_t (*rtt_us)(struct store *s); /* smoothed time from a call to its reply; 0: none seen yet */

        int (*get)(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us);
        /* lives_ms 0: it does not expire. */
        int (*set)(struct store *s, struct store_call *c, struct pm_str key, struct pm_str value, int64_t lives_ms, int64_t timeout_us);
        int (*remove)(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us);

        /* A list, the newest item first, of which `keep` stay; a store without lists has NULL here, and no histories. */
        int (*push)(struct store *s, struct pm_str key, struct pm_str item, int64_t keep, int64_t lives_ms, int64_t timeout_us);
        int (*list)(struct store *s, struct store_call *c, struct pm_str key, int64_t max, int64_t timeout_us);

        /* In any state; after it done() is not called. */
        void (*cancel)(struct store *s, struct store_call *c);

        /* timeout_us: of each step.  0: end() will come.  -ENOMEM: it will not. */
        int (*scan)(struct store *s, struct store_scan *scan, struct pm_str prefix, int64_t timeout_us);
        /* In any state; end() is not called any more. */
        void (*scan_cancel)(struct store *s, struct store_scan *scan);

        /* Calls under way never get done(). */
        void (*destroy)(struct store *s);
};
#endif
