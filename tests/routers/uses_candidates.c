/* SPDX-License-Identifier: Apache-2.0 */
/* Answers a recommend query: items "item-1", "item-2", ... that are not excluded, nor in the history unless what was seen may come again, and
 * allowed where only some are; as many as are wanted, with scores from 1 downwards and the interest "even" or "odd"; passes when the user is
 * "nobody".  Of filters it knows "parity", which is "even" or "odd", and rejects others. */
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

static int is(struct pm_str s, const char *text)
{
        return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static int passes(const struct pm_query *q, const char *id, const char *parity)
{
        if (holds(q->exclude, q->n_exclude, id) || (!q->keep_seen && holds(q->history, q->n_history, id)))
                return 0;
        for (size_t i = 0; i < q->n_filters; i++)
                if (!holds(q->filters[i]->values, q->filters[i]->n, parity))
                        return 0;
        return !q->allow || holds(q->allow, q->n_allow, id);
}

static pm_step recommend(void *self, struct pm_query *q)
{
        const struct pm_item **items = pm_alloc(q, q->wanted * sizeof *items);
        size_t n = 0;

        (void)self;
        if (is(q->user, "nobody"))
                return pm_pass(q);
        for (size_t i = 0; i < q->n_filters; i++)
                if (!is(q->filters[i]->key, "parity"))
                        return pm_reject(q, "filter", "items have no '%.*s'", (int)q->filters[i]->key.n, q->filters[i]->key.p);
        for (int i = 1; n < q->wanted && i < 10000; i++) {
                struct pm_item *item = pm_alloc(q, sizeof *item);
                char *id = pm_alloc(q, 24);

                (void)snprintf(id, 24, "item-%d", i);
                if (!passes(q, id, i % 2 ? "odd" : "even"))
                        continue;
                *item = (struct pm_item){ .id = { id, strlen(id) }, .score = 1.0 / i, .interest = i % 2 ? "odd" : "even",
                                          .source = "uses_candidates" };
                items[n++] = item;
        }
        return pm_candidates(q, items, n);
}

PM_ROUTER(.name = "uses_candidates", .version = "1", .summary = "for tests of pm_candidates", .recommend = recommend)
