/* SPDX-License-Identifier: Apache-2.0 */
/* Decides for an expert that does not exist: the decision must be refused and the next router asked. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_decide(q, .expert = "nobody", .confidence = 1);
}

PM_ROUTER(.name = "bad_unknown_expert", .version = "1", .summary = "broken on purpose", .route = route)
