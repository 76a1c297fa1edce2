/* SPDX-License-Identifier: Apache-2.0 */
/* Does harm in one of its calls (`where`) once a prompt has begun with "hang": it spins, sleeps or crashes (`how`), for `time` or for ever (0s).
 * Else it decides for the first expert. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pm_router.h"

struct hang {
        int64_t where, how, ms;
        _Atomic int armed;
};

enum { STEP, OFFLOAD, OBSERVE, DEFERRED, CLOSE };

static const struct pm_option options[] = {
        PM_CHOICE_OPTION(struct hang, where, "where", "step", "step|offload|observe|deferred|close", "in which of its calls"),
        PM_CHOICE_OPTION(struct hang, how, "how", "spin", "spin|sleep|crash", "what it does there"),
        PM_TIME_OPTION(struct hang, ms, "time", "0s", 0, 60000, "how long; 0s: for ever"),
        PM_END_OPTION
};

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void harm(void *arg)
{
        const struct hang *h = arg;
        const int64_t end = now_ms() + h->ms;

        if (h->how == 2)
                abort();
        while (h->ms == 0 || now_ms() < end)
                if (h->how == 1)
                        (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

static pm_step decide(void *self, struct pm_query *q)
{
        (void)self;
        return pm_decide(q, .expert = q->experts[0]->name, .reason = "unharmed");
}

static pm_step route(void *self, struct pm_query *q)
{
        struct hang *h = self;

        if (q->text.n < 4 || memcmp(q->text.p, "hang", 4) != 0)
                return decide(self, q);
        atomic_store(&h->armed, 1);
        if (h->where == STEP)
                harm(h);
        else if (h->where == OFFLOAD)
                return pm_offload(q, harm, h, decide);
        else if (h->where == DEFERRED)
                (void)pm_defer(q, harm, h);
        return decide(self, q);
}

static void observe(void *self, const struct pm_outcome *o)
{
        struct hang *h = self;

        (void)o;
        if (h->where == OBSERVE && atomic_load(&h->armed))
                harm(h);
}

static void close_router(void *self)
{
        struct hang *h = self;

        if (h->where == CLOSE && atomic_load(&h->armed))
                harm(h);
}

PM_ROUTER(.name = "bad_hang", .version = "1", .summary = "broken on purpose", .self_size = sizeof(struct hang), .options = options,
          .route = route, .observe = observe, .close = close_router)
