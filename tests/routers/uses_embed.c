/* SPDX-License-Identifier: Apache-2.0 */
/* Embeds the last user message and decides by the vector: of the first n components, n being the number of `experts`, the
 * largest says which expert; fails when the embedding failed.  reason: "largest of N floats is number I". */
#include <stdio.h>

#include "pm_router.h"

struct uses {
        const char *encoder;
        struct pm_strs experts;
};

static const struct pm_option options[] = {
        PM_STR_OPTION(struct uses, encoder, "encoder", 0, "default", "the encoder's name in the configuration"),
        PM_STRS_OPTION(struct uses, experts, "experts", PM_REQUIRED, 1, 100, "one for each of the first components"),
        PM_END_OPTION
};

static pm_step by_vector(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        size_t best = 0;
        char *reason;

        if (q->status < 0)
                return pm_fail(q, "embedding failed (%d)", q->status);
        if (q->dim < u->experts.n)
                return pm_fail(q, "%zu floats for %zu experts", q->dim, u->experts.n);
        for (size_t i = 1; i < u->experts.n; i++)
                if (q->vector[i] > q->vector[best])
                        best = i;
        reason = pm_alloc(q, 80);
        (void)snprintf(reason, 80, "largest of %zu floats is number %zu", q->dim, best);
        return pm_decide(q, .expert = u->experts.items[best], .confidence = .5, .reason = reason);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct uses *u = self;

        return pm_embed(q, u->encoder, q->text, by_vector);
}

PM_ROUTER(.name = "uses_embed", .version = "1", .summary = "for tests of pm_embed", .self_size = sizeof(struct uses), .options = options,
          .route = route)
