/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeps in a step (`ms`, 20) and then decides for the first expert: the stall watch must name this router. */
#include <time.h>

#include "pm_router.h"

struct stall {
        int64_t ms;
};

static const struct pm_option options[] = {
        PM_INT_OPTION(struct stall, ms, "ms", "20", 0, 10000, "how long a step sleeps"),
        PM_END_OPTION
};

static pm_step route(void *self, struct pm_query *q)
{
        const struct stall *s = self;
        struct timespec t = { s->ms / 1000, s->ms % 1000 * 1000000 };

        (void)nanosleep(&t, NULL);
        return pm_decide(q, .expert = q->experts[0]->name, .reason = "slept well");
}

PM_ROUTER(.name = "bad_stall", .version = "1", .summary = "broken on purpose", .self_size = sizeof(struct stall), .options = options,
          .route = route)
