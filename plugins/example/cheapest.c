/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cheapest - a router outside of pointsman's tree: the cheapest expert that the conversation fits into.
 *
 * Tokens are guessed from characters; an expert whose context is not configured counts as large enough.  The others follow as
 * fallbacks, from cheap to dear.
 */
#include <stdlib.h>

#include <pm_router.h>

struct cheapest {
        double bytes_per_token;
        int64_t answer; /* tokens that are kept for the answer */
};

static const struct pm_option options[] = {
        PM_REAL_OPTION(struct cheapest, bytes_per_token, "bytes_per_token", "3.5", 1, 10, "to guess tokens from bytes of text"),
        PM_INT_OPTION(struct cheapest, answer, "answer", "1024", 0, 1000000, "tokens to keep free for the answer"),
        PM_END_OPTION
};

static int by_price(const void *a, const void *b)
{
        const struct pm_expert *const *x = a, *const *y = b;
        double left = (*x)->price_in + (*x)->price_out, right = (*y)->price_in + (*y)->price_out;

        return (left > right) - (left < right);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct cheapest *c = self;
        const struct pm_expert **fit = pm_alloc(q, (q->n_experts + 1) * sizeof *fit);
        const char **names = pm_alloc(q, (q->n_experts + 1) * sizeof *names);
        size_t bytes = 0, n = 0;

        for (size_t i = 0; i < q->n_messages; i++)
                bytes += q->messages[i]->text.n;
        for (size_t i = 0; i < q->n_experts; i++) {
                const struct pm_expert *e = q->experts[i];

                if (e->context == 0 || (double)bytes / c->bytes_per_token + (double)c->answer <= (double)e->context)
                        fit[n++] = e;
        }
        if (n == 0)
                return pm_pass(q);
        qsort(fit, n, sizeof *fit, by_price);
        for (size_t i = 0; i < n; i++)
                names[i] = fit[i]->name;
        return pm_decide(q, .expert = names[0], .fallbacks = names + 1, .reason = "the cheapest that is large enough");
}

PM_ROUTER(.name = "cheapest", .version = "1", .summary = "the cheapest expert that the conversation fits into",
          .self_size = sizeof(struct cheapest), .options = options, .route = route,
          .reads = PM_READS_MESSAGES)
