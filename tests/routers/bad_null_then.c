/* SPDX-License-Identifier: Apache-2.0 */
/* Starts an operation and names no function to go on with: each query must fail, and the log name this router. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_embed(q, "any", q->text, NULL);
}

PM_ROUTER(.name = "bad_null_then", .version = "1", .summary = "broken on purpose", .route = route)
