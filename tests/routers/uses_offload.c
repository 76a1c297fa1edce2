/* SPDX-License-Identifier: Apache-2.0 */
/* Adds up the bytes of the last user message on a pool thread and decides by the sum modulo the number of the query's
 * experts; fails when the offload could not start.  reason: "sum N". */
#include <inttypes.h>
#include <stdio.h>

#include "pm_router.h"

struct job {
        struct pm_str text;
        uint64_t sum;
};

static void add_up(void *arg)
{
        struct job *j = arg;

        for (size_t i = 0; i < j->text.n; i++)
                j->sum += (unsigned char)j->text.p[i];
}

static pm_step by_sum(void *self, struct pm_query *q)
{
        const struct job *j = q->state;
        char *reason;

        (void)self;
        if (q->status < 0)
                return pm_fail(q, "offload could not start (%d)", q->status);
        if (q->n_experts == 0)
                return pm_pass(q);
        reason = pm_alloc(q, 32);
        (void)snprintf(reason, 32, "sum %" PRIu64, j->sum);
        return pm_decide(q, .expert = q->experts[j->sum % q->n_experts]->name, .reason = reason);
}

static pm_step route(void *self, struct pm_query *q)
{
        struct job *j = pm_alloc(q, sizeof *j);

        (void)self;
        j->text = q->text;
        q->state = j;
        return pm_offload(q, add_up, j, by_sum);
}

PM_ROUTER(.name = "uses_offload", .version = "1", .summary = "for tests of pm_offload", .route = route)
