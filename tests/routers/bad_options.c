/* SPDX-License-Identifier: Apache-2.0 */
/* Its table of options is broken (a key in it twice): must be refused when it is loaded. */
#include "pm_router.h"

struct bad {
        const char *a, *b;
};

static const struct pm_option options[] = {
        PM_STR_OPTION(struct bad, a, "same", 0, NULL, "a key"),
        PM_STR_OPTION(struct bad, b, "same", 0, NULL, "the same key"),
        PM_END_OPTION
};

static pm_step route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

PM_ROUTER(.name = "bad_options", .version = "1", .summary = "broken on purpose", .self_size = sizeof(struct bad), .options = options,
          .route = route)
