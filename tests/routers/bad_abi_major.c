/* SPDX-License-Identifier: Apache-2.0 */
/* Built for another major version of the ABI: must be refused when it is loaded. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

static const struct pm_router table = { .size = sizeof table, .major = PM_ABI_MAJOR + 1, .minor = 0, .name = "bad_abi_major",
                                        .version = "1", .summary = "broken on purpose", .route = route };

PM_EXPORT const struct pm_router *pm_router_table(void);
const struct pm_router *pm_router_table(void)
{
        return &table;
}
