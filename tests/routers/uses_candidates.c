/* SPDX-License-Identifier: Apache-2.0 */
/* Answers a recommend query: items "item-1", "item-2", ... that are neither in the history nor excluded, as many as are
 * wanted, with scores from 1 downwards and the interest "even" or "odd"; passes when the user is "nobody". */
#include <stdio.h>
#include <string.h>

#include "pm_router.h"

static int holds(const struct pm_str *const *list, size_t n, const char *id)
{
        for (size_t i = 0; i < n; i++)
                if (list[i]->n == strlen(id) && memcmp(list[i]->p, id, list[i]->n) == 0)
                        return 1;
        return 0;
}

static pm_step recommend(void *self, struct pm_query *q)
{
        const struct pm_item **items = pm_alloc(q, q->wanted * sizeof *items);
        size_t n = 0;

        (void)self;
        if (q->user.n == 6 && memcmp(q->user.p, "nobody", 6) == 0)
                return pm_pass(q);
        for (int i = 1; n < q->wanted; i++) {
                struct pm_item *item = pm_alloc(q, sizeof *item);
                char *id = pm_alloc(q, 24);

                (void)snprintf(id, 24, "item-%d", i);
                if (holds(q->history, q->n_history, id) || holds(q->exclude, q->n_exclude, id))
                        continue;
                *item = (struct pm_item){ .id = { id, strlen(id) }, .score = 1.0 / i, .interest = i % 2 ? "odd" : "even",
                                          .source = "uses_candidates" };
                items[n++] = item;
        }
        return pm_candidates(q, items, n);
}

PM_ROUTER(.name = "uses_candidates", .version = "1", .summary = "for tests of pm_candidates", .recommend = recommend)
