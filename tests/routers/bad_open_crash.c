/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to address 8 in open(): the host cannot survive it, but must name this router while it dies. */
#include "pm_router.h"

static int opened(void *self, const struct pm_open *o)
{
        int *volatile nowhere = (int *)8;

        (void)self;
        (void)o;
        *nowhere = 1;
        return 0;
}

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

PM_ROUTER(.name = "bad_open_crash", .version = "1", .summary = "broken on purpose", .open = opened, .route = route)
