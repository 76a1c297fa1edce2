/* SPDX-License-Identifier: Apache-2.0 */
/* The work of its offload sleeps (`ms`, 300), then the first expert is chosen.  For deadlines, for clients that leave
 * while work runs, and for a full pool: the query's memory must live until the work is back. */
#include <time.h>

#include "pm_router.h"

struct slow {
        int64_t ms;
};

struct job {
        int64_t ms;
        int done;
};

static const struct pm_option options[] = {
        PM_INT_OPTION(struct slow, ms, "ms", "300", 0, 60000, "how long the work sleeps"),
        PM_END_OPTION
};

static void work(void *arg)
{
        struct job *j = arg;
        struct timespec t = { j->ms / 1000, j->ms % 1000 * 1000000 };

        (void)nanosleep(&t, NULL);
        j->done = 1; /* a write into memory that is gone would be seen by AddressSanitizer */
}

static pm_step worked(void *self, struct pm_query *q)
{
        const struct job *j = q->state;

        (void)self;
        if (q->status < 0)
                return pm_fail(q, "offload: status %d", q->status);
        return pm_decide(q, .expert = q->experts[0]->name, .reason = j->done ? "worked" : "not worked");
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct slow *s = self;
        struct job *j = pm_alloc(q, sizeof *j);

        j->ms = s->ms;
        q->state = j;
        return pm_offload(q, work, j, worked);
}

PM_ROUTER(.name = "bad_slow_offload", .version = "1", .summary = "broken on purpose", .self_size = sizeof(struct slow),
          .options = options, .route = route)
