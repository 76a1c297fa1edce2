/* SPDX-License-Identifier: Apache-2.0 */
/* A client of its own, for a while: whoever sweeps is not in a hurry, and the workers' connections are not held up. */
#include "keyscan.h"

#include <event2/event.h>

#include "cache_store.h"
#include "settings.h"

#include "base.h"

enum { COMMAND_US = 5000000, LOOK_US = 10000, PATIENCE_US = 3000000 };

/* end() may take all of this down, which may not happen inside of Redis's own calls: the timer tells it. */
static void ended(struct keyscan *s, const char *why)
{
        static const struct timeval soon = { 0, 0 };

        s->over = true;
        s->why = why;
        (void)evtimer_add(s->timer, &soon);
}

static void on_batch(struct store_scan *scan, const struct pm_str *keys, size_t n)
{
        struct keyscan *s = CONTAINER_OF(scan, struct keyscan, scan);

        if (s->batch)
                s->batch(s, keys, n);
}

static void on_scanned(struct store_scan *scan, int result)
{
        struct keyscan *s = CONTAINER_OF(scan, struct keyscan, scan);

        s->seen = scan->seen;
        s->removed = scan->removed;
        ended(s, result == 0 && scan->failed == 0 ? NULL
                 : result == -EAGAIN              ? "a Redis master is unreachable, or slots of the cluster have no master"
                 : result == -ESTALE ? "slots of the cluster moved in the meantime, and keys may have been missed: try again"
                 : result == -ETIMEDOUT ? "Redis did not answer in time"
                 : result == -ENOMEM    ? "out of memory"
                 : result == 0          ? "Redis did not remove all of the keys"
                                        : "the connection to Redis was lost, or it answered with an error");
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval look = { 0, LOOK_US };
        struct keyscan *s = arg;
        struct store *store = s->store;

        (void)fd, (void)what;
        if (s->over) {
                s->end(s, s->why);
                return;
        }
        /* ready is who has the first node of a cluster; whoever begins then finds the others not there yet */
        if (!store->ops->whole(store) && now_us() < s->until_us) {
                (void)evtimer_add(s->timer, &look);
                return;
        }
        if (!store->ops->ready(store)) {
                ended(s, "Redis is unreachable; see the log");
                return;
        }
        if (s->connects) {
                ended(s, NULL);
                return;
        }
        s->scan = (struct store_scan){ .remove = s->remove, .batch = on_batch, .end = on_scanned };
        if (store->ops->scan(store, &s->scan, (struct pm_str){ s->prefix, s->n_prefix }, COMMAND_US) < 0)
                ended(s, "out of memory");
}

static int connect_to(struct keyscan *s, struct event_base *base, const struct redis_settings *settings)
{
        static const struct timeval soon = { 0, 0 };
        int e = cache_store_open(base, NULL, settings, NULL, &s->store);

        if (e < 0)
                return e;
        s->until_us = now_us() + settings->connect_time * 1000 + PATIENCE_US;
        s->timer = evtimer_new(base, on_look, s);
        return s->timer && evtimer_add(s->timer, &soon) == 0 ? 0 : -ENOMEM;
}

int sweep_connect(struct keyscan *s, struct event_base *base, const struct redis_settings *settings)
{
        s->connects = true;
        return connect_to(s, base, settings);
}

int keyscan_begin(struct keyscan *s, struct event_base *base, const struct redis_settings *settings, struct pm_str beginning)
{
        size_t n = settings->prefix ? strlen(settings->prefix) : 0;

        if (n + beginning.n > sizeof s->prefix)
                return -EINVAL;
        if (n)
                memcpy(s->prefix, settings->prefix, n);
        memcpy(s->prefix + n, beginning.p, beginning.n);
        s->n_prefix = n + beginning.n;
        return connect_to(s, base, settings);
}

int keyscan_get(struct keyscan *s, struct store_call *c, struct pm_str key)
{
        return s->store->ops->get(s->store, c, key, COMMAND_US);
}

int keyscan_set(struct keyscan *s, struct store_call *c, struct pm_str key, struct pm_str value, int64_t lives_ms)
{
        return s->store->ops->set(s->store, c, key, value, lives_ms, COMMAND_US);
}

void keyscan_finish(struct keyscan *s)
{
        if (s->timer)
                event_free(TAKE(s->timer));
        if (s->scan.state)
                s->store->ops->scan_cancel(s->store, &s->scan);
        if (s->store)
                s->store->ops->destroy(TAKE(s->store));
}
