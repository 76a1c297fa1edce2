/* SPDX-License-Identifier: Apache-2.0 */
/* Embeds for ever: the deadline (or a limit of steps) must end the query. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_embed(q, "any", q->text, route);
}

PM_ROUTER(.name = "bad_loops", .version = "1", .summary = "broken on purpose", .route = route)
