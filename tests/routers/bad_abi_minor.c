/* SPDX-License-Identifier: Apache-2.0 */
/* Needs a newer minor version than the host has: must be refused when it is loaded. */
#include "pm_router.h"

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

static const struct pm_router table = { .size = sizeof table, .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR + 1, .name = "bad_abi_minor",
                                        .version = "1", .summary = "broken on purpose", .route = route };

PM_EXPORT const struct pm_router *pm_router_table(void);
const struct pm_router *pm_router_table(void)
{
        return &table;
}
