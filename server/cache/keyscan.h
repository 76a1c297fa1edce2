/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyscan.h - all keys of Redis that begin so, for the administrator and for `pointsman decisions`: connects, waits until it may ask,
 * goes through them, and says how it ended.  On the owner's event base; nothing is called from inside keyscan_begin().
 */
#ifndef PM_KEYSCAN_H
#define PM_KEYSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "pm_router.h"
#include "redis.h"

struct event;
struct event_base;
struct redis_settings;

struct keyscan {
        bool unlink;             /* remove them */
        void (*batch)(struct keyscan *s, const struct pm_str *keys, size_t n); /* may be NULL; keys as in Redis, with the prefix */
        void (*end)(struct keyscan *s, const char *why); /* once, last; NULL: all were seen */

        struct redis *redis;     /* for further commands while it runs */
        uint64_t seen, removed;

        struct store_scan scan;
        struct event *timer;
        int64_t until_us, timeout_us;
        char pattern[512];
        bool over;
        const char *why;
};

/* Keys that begin with the prefix of the settings and then `beginning`.  0, -ENOENT: no Redis is configured, -EINVAL: too long, or
 * -ENOMEM; then end() does not come.  keyscan_finish() in any case. */
int keyscan_begin(struct keyscan *s, struct event_base *base, const struct redis_settings *settings, struct pm_str beginning);
/* The redis alone, ready or not, without going through keys: end() comes when it is ready, or not in time. */
int sweep_connect(struct keyscan *s, struct event_base *base, const struct redis_settings *settings);
void keyscan_finish(struct keyscan *s); /* in any state */
#endif
