/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "choice.h"

#define SHOWN 3 /* in a reason */

const struct pm_option tier_options[] = {
        PM_KEY_OPTION(struct tier, name),
        WEIGHTS_OPTIONS(struct tier, weights),
        PM_END_OPTION
};

const struct pm_option expense_options[] = {
        PM_KEY_OPTION(struct expense, expert),
        PM_REAL_OPTION(struct expense, active, "active", "0", 0, 1e6, "parameters that compute a token, in billions"),
        PM_REAL_OPTION(struct expense, seconds, "seconds", "0", 0, 1e6, "seconds that an answer takes"),
        PM_END_OPTION
};

int preferences_check(const struct preferences *p, const struct pm_open *o)
{
        const struct expense *e = p->expenses.items;

        for (size_t i = 0; i < p->expenses.n; i++) {
                size_t k = 0;

                while (k < o->n_experts && strcmp(o->experts[k], e[i].expert) != 0)
                        k++;
                if (k == o->n_experts)
                        return o->refuse(o, "expenses: '%s' is not a configured expert", e[i].expert);
        }
        if (p->tiers.n > 0 && !p->tier_header)
                return o->refuse(o, "tiers are for nothing: 'tier_header' must say which header chooses one");
        if (p->tier_header && p->tiers.n == 0)
                return o->refuse(o, "tier_header '%s' is for nothing: there are no 'tiers'", p->tier_header);
        if (p->tier_header)
                o->reads_header(o, p->tier_header);
        return 0;
}

static void take_weights(struct pm_query *q, const struct preferences *p, struct choice *c)
{
        const struct tier *tiers = p->tiers.items;
        struct pm_str wanted = p->tier_header ? pm_header(q, p->tier_header) : (struct pm_str){ NULL, 0 };

        c->weights = p->weights;
        for (size_t i = 0; wanted.n > 0 && i < p->tiers.n && !c->tier; i++)
                if (strlen(tiers[i].name) == wanted.n && memcmp(tiers[i].name, wanted.p, wanted.n) == 0) {
                        c->weights = tiers[i].weights;
                        c->tier = tiers[i].name;
                }
        c->no_such_tier = wanted.n > 0 && !c->tier;
}

static double cost_of(const struct preferences *p, const struct weights *w, const struct pm_expert *e)
{
        const struct expense *list = p->expenses.items;
        double cost = w->lambda * (.75 * e->price_in + .25 * e->price_out);

        for (size_t i = 0; (w->mu > 0 || w->nu > 0) && i < p->expenses.n; i++)
                if (strcmp(list[i].expert, e->name) == 0)
                        return cost + w->mu * list[i].active + w->nu * list[i].seconds;
        return cost;
}

/* Sorted in; of equals the earlier one stays ahead. */
static void put_in(struct choice *c, size_t expert, double score, double cost)
{
        size_t at = MIN(c->n, (size_t)CHOICE_BEST - 1);

        if (c->n == CHOICE_BEST && !(score - cost > c->score[at] - c->cost[at]))
                return;
        c->n = MIN(c->n + 1, (size_t)CHOICE_BEST);
        for (; at > 0 && score - cost > c->score[at - 1] - c->cost[at - 1]; at--) {
                c->best[at] = c->best[at - 1];
                c->score[at] = c->score[at - 1];
                c->cost[at] = c->cost[at - 1];
        }
        c->best[at] = expert;
        c->score[at] = score;
        c->cost[at] = cost;
}

/* The host lists experts in the order of the configuration, as candidates mostly are: the next one is looked at first. */
static const struct pm_expert *find(const struct pm_query *q, const char *name, size_t *next)
{
        for (size_t i = 0; i < q->n_experts; i++) {
                size_t at = (*next + i) % q->n_experts;

                if (strcmp(q->experts[at]->name, name) == 0) {
                        *next = at + 1;
                        return q->experts[at];
                }
        }
        return NULL;
}

void choice_make(struct pm_query *q, const struct preferences *p, const struct candidates *c, const float *score, struct choice *ret)
{
        size_t next = 0;

        *ret = (struct choice){ 0 };
        take_weights(q, p, ret);
        for (size_t k = 0; k < c->n; k++) {
                const struct pm_expert *e = isnan(score[k]) ? NULL : find(q, c->name[k], &next);

                if (e)
                        put_in(ret, k, (double)score[k], cost_of(p, &ret->weights, e));
        }
        for (size_t i = 0; i < ret->n; i++)
                ret->name[i] = c->name[ret->best[i]];
}

void choice_reason(const struct choice *c, char *buf, size_t room)
{
        size_t used = strlen(buf);

        for (size_t i = 0; i < MIN(c->n, (size_t)SHOWN) && used < room; i++) {
                used += (size_t)snprintf(buf + used, room - used, "%s %s %.3f", i ? "," : ":", c->name[i], c->score[i]);
                if (used < room && c->cost[i] > 0)
                        used += (size_t)snprintf(buf + used, room - used, "-%.3f", c->cost[i]);
        }
        if (used < room && c->tier)
                (void)snprintf(buf + used, room - used, "; tier %s", c->tier);
        else if (used < room && c->no_such_tier)
                (void)snprintf(buf + used, room - used, "; no such tier");
}

json_t *choice_explained(const struct choice *c)
{
        json_t *list = json_array();

        for (size_t i = 0; list && i < c->n; i++)
                (void)json_array_append_new(list, json_pack("{s:s, s:f, s:f}", "expert", c->name[i], "score", c->score[i], "cost", c->cost[i]));
        return list;
}
