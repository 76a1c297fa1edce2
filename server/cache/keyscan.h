/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyscan.h - all keys of the store that begin so, for the administrator and for `pointsman decisions`: connects, waits until it may ask,
 * goes through them, and says how it ended.  On the owner's event base; nothing is called from inside keyscan_begin().
 */
#ifndef PM_KEYSCAN_H
#define PM_KEYSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "pm_router.h"
#include "store.h"

struct event;
struct event_base;
struct redis_settings;

struct keyscan {
        bool remove;             /* the keys */
        void (*batch)(struct keyscan *s, const struct pm_str *keys, size_t n); /* may be NULL; keys as in the store, with the prefix */
        void (*end)(struct keyscan *s, const char *why); /* once, last; NULL: all were seen */

        uint64_t seen, removed;

        /* keyscan.c's own */
        struct store_scan scan;
        struct event *timer;
        struct store *store;
        int64_t until_us;
        char prefix[512];
        size_t n_prefix;
        bool connects, over; /* connects: and no more */
        const char *why;
};

/* Keys that begin with the prefix of the settings and then `beginning`.  0, -ENOENT: no store is configured, -EINVAL: too long, or
 * -ENOMEM; then end() does not come.  keyscan_finish() in any case. */
int keyscan_begin(struct keyscan *s, struct event_base *base, const struct redis_settings *settings, struct pm_str beginning);
/* The store alone, ready or not, without going through keys: end() comes when it is ready, or not in time. */
int sweep_connect(struct keyscan *s, struct event_base *base, const struct redis_settings *settings);
/* What the scan is told of, one by one, while it has not been finished; as store_ops has them. */
int keyscan_get(struct keyscan *s, struct store_call *c, struct pm_str key);
int keyscan_set(struct keyscan *s, struct store_call *c, struct pm_str key, struct pm_str value, int64_t lives_ms);
void keyscan_finish(struct keyscan *s); /* in any state */
#endif
