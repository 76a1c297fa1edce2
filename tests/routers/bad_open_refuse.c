/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses to open: the configuration must be refused with this text, and the router named. */
#include "pm_router.h"

static int opened(void *self, const struct pm_open *o)
{
        (void)self;
        return o->refuse(o, "no model in '%s', %d files seen", "models", 0);
}

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

PM_ROUTER(.name = "bad_open_refuse", .version = "1", .summary = "broken on purpose", .open = opened, .route = route)
