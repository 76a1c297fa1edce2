/* SPDX-License-Identifier: Apache-2.0 */
/* A client of its own, for a while: whoever sweeps is not in a hurry, and the workers' connections are not held up. */
#include "keyscan.h"

#include <event2/event.h>

#include "cache.h"
#include "settings.h"

#include "base.h"

enum { COMMAND_US = 5000000, LOOK_US = 10000, PATIENCE_US = 3000000 };

/* A pattern of SCAN in which every character stands for itself. */
static int escaped(const char *prefix, struct pm_str beginning, char *out, size_t size)
{
        size_t n = 0, prefix_n = prefix ? strlen(prefix) : 0;

        for (size_t i = 0; i < prefix_n + beginning.n; i++) {
                char c = i < prefix_n ? prefix[i] : beginning.p[i - prefix_n];

                if (n + 4 > size)
                        return -EINVAL;
                if (strchr("*?[]\\^", c))
                        out[n++] = '\\';
                out[n++] = c;
        }
        out[n++] = '*';
        out[n] = '\0';
        return 0;
}

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
        struct pm_str pattern = { s->pattern, strlen(s->pattern) };

        (void)fd, (void)what;
        if (s->over) {
                s->end(s, s->why);
                return;
        }
        /* ready is who has the first node of a cluster; whoever begins then finds the others not there yet */
        if (!redis_whole(s->redis) && now_us() < s->until_us) {
                (void)evtimer_add(s->timer, &look);
                return;
        }
        if (!redis_ready(s->redis)) {
                ended(s, "Redis is unreachable; see the log");
                return;
        }
        if (!*s->pattern) {
                ended(s, NULL);
                return;
        }
        s->scan = (struct store_scan){ .remove = s->unlink, .batch = on_batch, .end = on_scanned };
        if (redis_scan(s->redis, &s->scan, pattern, COMMAND_US) < 0)
                ended(s, "out of memory");
}

static int connect_to(struct keyscan *s, struct event_base *base, const struct redis_settings *settings)
{
        static const struct timeval soon = { 0, 0 };
        struct redis_config config = settings_redis(settings);

        if (config.n_servers == 0)
                return -ENOENT;
        s->until_us = now_us() + settings->connect_time * 1000 + PATIENCE_US;
        s->redis = redis_create(base, NULL, &config, NULL);
        s->timer = evtimer_new(base, on_look, s);
        return s->redis && s->timer && evtimer_add(s->timer, &soon) == 0 ? 0 : -ENOMEM;
}

int sweep_connect(struct keyscan *s, struct event_base *base, const struct redis_settings *settings)
{
        *s->pattern = '\0';
        return connect_to(s, base, settings);
}

int keyscan_begin(struct keyscan *s, struct event_base *base, const struct redis_settings *settings, struct pm_str beginning)
{
        int e = escaped(settings->prefix, beginning, s->pattern, sizeof s->pattern);

        return e < 0 ? e : connect_to(s, base, settings);
}

void keyscan_finish(struct keyscan *s)
{
        if (s->timer)
                event_free(TAKE(s->timer));
        if (s->scan.state)
                redis_scan_cancel(&s->scan);
        redis_destroy(TAKE(s->redis));
}
