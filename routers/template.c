/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template - the smallest complete router: copy this file to begin one of your own.
 *
 *         routers:
 *           mine: {plugin: template, expert: small}
 *
 * It sends every conversation to one expert, and passes when that expert may not be used now.  WRITING.md goes on from here.
 */
#include <string.h>

#include "pm_router.h"

struct template {
        const char *expert;
};

static const struct pm_option options[] = {
        PM_STR_OPTION(struct template, expert, "expert", PM_REQUIRED, NULL, "expert that gets every request"),
        PM_END_OPTION
};

/* Once, when the configuration is loaded.  A mistake found here is better than one found by the first client. */
static int opened(void *self, const struct pm_open *o)
{
        const struct template *t = self;

        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], t->expert) == 0)
                        return 0;
        return o->refuse(o, "no expert is called '%s'", t->expert);
}

/* For every query, on any worker, many at a time: `self` is only read. */
static pm_step route(void *self, struct pm_query *q)
{
        const struct template *t = self;

        for (size_t i = 0; i < q->n_experts; i++)
                if (strcmp(q->experts[i]->name, t->expert) == 0)
                        return pm_decide(q, .expert = t->expert, .reason = "the only one");
        return pm_pass(q); /* not healthy now, or not for this tenant: the next router is asked */
}

PM_ROUTER(.name = "template", .version = "1", .summary = "sends every request to one expert", .self_size = sizeof(struct template),
          .options = options, .open = opened, .route = route, .reads = PM_READS_NOTHING)
