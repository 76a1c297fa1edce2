/* SPDX-License-Identifier: Apache-2.0 */
/* Makes two moves in one step: each query must fail, and the log name this router. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        (void)pm_decide(q, .expert = q->experts[0]->name);
        return pm_pass(q);
}

PM_ROUTER(.name = "bad_twice", .version = "1", .summary = "broken on purpose", .route = route)
