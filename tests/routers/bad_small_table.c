/* SPDX-License-Identifier: Apache-2.0 */
/* Its table is shorter than that of any release: must be refused when it is loaded. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

static const struct pm_router table = { .size = 16, .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR, .name = "bad_small_table",
                                        .version = "1", .summary = "broken on purpose", .route = route };

PM_EXPORT const struct pm_router *pm_router_table(void);
const struct pm_router *pm_router_table(void)
{
        return &table;
}
