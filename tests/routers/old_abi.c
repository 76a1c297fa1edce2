/* SPDX-License-Identifier: Apache-2.0 */
/* As a router was built for ABI 1.1: its structs end before `provisional` and `background`, and what lies behind them is not zero. */
#include <string.h>

#include "pm_router.h"

/* Calls with a decision that is as long as it was. */
static pm_step decided(void *self, struct pm_query *q)
{
        struct { struct pm_decision d; char behind[64]; } old;

        (void)self;
        memset(&old, 0x55, sizeof old);
        memset(&old.d, 0, offsetof(struct pm_decision, provisional));
        old.d.expert = q->experts[0]->name;
        old.d.reason = q->status == 0 ? "it was answered" : "it was not answered";
        return q->host->decide(q, &old.d);
}

static pm_step route(void *self, struct pm_query *q)
{
        static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"well?\"}]}";
        struct { struct pm_call c; char behind[64]; } old;

        (void)self;
        memset(&old, 0x55, sizeof old);
        memset(&old.c, 0, offsetof(struct pm_call, background));
        old.c.expert = "judge";
        old.c.body = (struct pm_str){ body, sizeof body - 1 };
        old.c.keep_s = 60;
        return q->host->call(q, decided, &old.c);
}

static const struct pm_router table = { .size = sizeof table, .major = PM_ABI_MAJOR, .minor = 1, .name = "old_abi", .version = "1", .summary = "for tests",
                                        .route = route, .reads = PM_READS_TEXT };

PM_EXPORT const struct pm_router *pm_router_table(void);
const struct pm_router *pm_router_table(void)
{
        return &table;
}
