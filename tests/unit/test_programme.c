/* SPDX-License-Identifier: Apache-2.0 */
/* The solver against enumeration: every assignment of small random programmes is tried. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "noise.h"
#include "programme.h"

#define CATEGORIES 4
#define EXPERTS 5
#define HOSTS 2
#define INSTANCES 1000

struct instance {
        struct programme p;
        double loss[CATEGORIES * EXPERTS], weight[CATEGORIES], cost[PROGRAMME_BUDGETS][EXPERTS], memory[EXPERTS], room[HOSTS];
        size_t host[EXPERTS], old[CATEGORIES];
        bool pinned[EXPERTS], barred[CATEGORIES * EXPERTS];
};

static double draw(uint64_t seed, uint64_t place)
{
        return noise_uniform(noise_bits(seed, place, 7));
}

/* Conditions come and go with the bits of the seed; sizes are tenths, losses thousandths. */
static void make(struct instance *x, uint64_t seed)
{
        double all = 0;
        size_t at = 100;

        *x = (struct instance){ .p = { .categories = 1 + seed % CATEGORIES, .experts = 2 + seed / 4 % (EXPERTS - 1), .loss = x->loss, .weight = x->weight,
                                       .old = seed & 16 ? x->old : NULL, .inertia = .1, .pinned = seed & 32 ? x->pinned : NULL,
                                       .barred = seed & 64 ? x->barred : NULL } };
        for (size_t m = 0; m < x->p.categories; m++)
                all += x->weight[m] = seed % 11 == 0 && m == 1 ? 0 : 1 + floor(9 * draw(seed, at++));
        for (size_t m = 0; m < x->p.categories; m++) {
                x->weight[m] /= all;
                x->old[m] = draw(seed, at++) < .2 ? PROGRAMME_NONE : (size_t)((double)x->p.experts * draw(seed, at++));
                for (size_t k = 0; k < x->p.experts; k++) {
                        x->loss[m * x->p.experts + k] = floor(1000 * draw(seed, at++)) / 1000;
                        x->barred[m * x->p.experts + k] = draw(seed, at++) < .3;
                }
        }
        for (int b = 0; b < PROGRAMME_BUDGETS; b++) {
                bool is = seed >> (7 + b) & 1;

                for (size_t k = 0; k < x->p.experts; k++)
                        x->cost[b][k] = (1 + floor(700 * draw(seed, at++))) / 10;
                x->p.cost[b] = x->cost[b];
                x->p.budget[b] = is ? floor((b == PROGRAMME_LOADED ? 1500 : 600) * draw(seed, at++)) / 10 : INFINITY;
        }
        for (size_t k = 0; k < x->p.experts; k++) {
                x->memory[k] = 1 + floor(20 * draw(seed, at++));
                x->host[k] = draw(seed, at++) < .5 ? PROGRAMME_NONE : (size_t)(HOSTS * draw(seed, at++));
                x->pinned[k] = draw(seed, at++) < .2;
        }
        if (seed % 3 == 0) {
                x->p.hosts = HOSTS;
                x->p.memory = x->memory;
                x->p.host = x->host;
                x->p.room = x->room;
                for (size_t h = 0; h < HOSTS; h++)
                        x->room[h] = 5 + floor(40 * draw(seed, at++));
        }
}

/* Can what is loaded lie on the hosts? */
static bool fits(const struct programme *p, const bool *loaded)
{
        for (unsigned places = 0; p->hosts && places < 1u << p->experts; places++) {
                double used[HOSTS] = { 0 };
                bool ok = true;

                for (size_t k = 0; k < p->experts; k++) {
                        size_t h = places >> k & 1;

                        ok = ok && (!loaded[k] || p->host[k] == PROGRAMME_NONE || p->host[k] == h);
                        used[h] += loaded[k] ? p->memory[k] : 0;
                }
                if (ok && used[0] <= p->room[0] + 1e-9 && used[1] <= p->room[1] + 1e-9)
                        return true;
        }
        return p->hosts == 0;
}

/* The smallest of what is minimised over all assignments: the loss (which = BUDGETS), or what a budget bounds. */
static double enumerate(const struct programme *p, enum programme_budget which)
{
        double best = INFINITY;
        size_t n = 1;

        for (size_t m = 0; m < p->categories; m++)
                n *= p->experts;
        for (size_t code = 0; code < n; code++) {
                double loss = 0, cost[PROGRAMME_BUDGETS] = { 0 };
                bool loaded[EXPERTS] = { false }, ok = true;

                for (size_t k = 0; k < p->experts; k++)
                        loaded[k] = p->pinned && p->pinned[k];
                for (size_t m = 0, left = code; m < p->categories; m++, left /= p->experts) {
                        size_t k = left % p->experts;

                        ok = ok && !(p->barred && p->barred[m * p->experts + k]);
                        loaded[k] = true;
                        loss += p->weight[m] * (p->loss[m * p->experts + k] + (p->old && p->old[m] != PROGRAMME_NONE && p->old[m] != k ? p->inertia : 0));
                        cost[PROGRAMME_ACTIVE] += p->weight[m] * p->cost[PROGRAMME_ACTIVE][k];
                        cost[PROGRAMME_PRICE] += p->weight[m] * p->cost[PROGRAMME_PRICE][k];
                }
                for (size_t k = 0; k < p->experts; k++)
                        cost[PROGRAMME_LOADED] += loaded[k] ? p->cost[PROGRAMME_LOADED][k] : 0;
                for (int b = 0; b < PROGRAMME_BUDGETS; b++)
                        ok = ok && ((int)which == b || cost[b] <= p->budget[b] + 1e-9);
                if (ok && fits(p, loaded))
                        best = MIN(best, which == PROGRAMME_BUDGETS ? loss : cost[which]);
        }
        return best;
}

static double loss_with_inertia(const struct programme *p, const struct programme_answer *a)
{
        double sum = a->loss;

        for (size_t m = 0; m < p->categories; m++)
                sum += p->old && p->old[m] != PROGRAMME_NONE && p->old[m] != a->chosen[m] ? p->weight[m] * p->inertia : 0;
        return sum;
}

Test(programme, equals_enumeration, .timeout = 300)
{
        size_t feasible = 0, infeasible = 0, leasts = 0;

        if (!programme_can())
                cr_skip_test("built without Cbc");
        for (uint64_t seed = 0; seed < INSTANCES; seed++) {
                struct programme_answer a = { 0 };
                struct instance x;
                double best, least;
                int r;

                make(&x, seed * 7919 + 3);
                best = enumerate(&x.p, PROGRAMME_BUDGETS);
                r = programme_solve(&x.p, &a);
                cr_assert_eq(r, isfinite(best) ? 0 : -ENOSPC, "instance %zu: %d, best %g", (size_t)seed, r, best);
                if (r == 0)
                        cr_assert_float_eq(loss_with_inertia(&x.p, &a), best, 1e-9, "instance %zu: %.12f, best %.12f", (size_t)seed,
                                           loss_with_inertia(&x.p, &a), best);
                feasible += r == 0;
                infeasible += r != 0;
                programme_answer_finish(&a);
                for (int b = 0; seed % 8 == 0 && b < PROGRAMME_BUDGETS; b++) {
                        best = enumerate(&x.p, b);
                        r = programme_least(&x.p, b, &least);
                        cr_assert_eq(r, isfinite(best) ? 0 : -ENOSPC, "instance %zu, budget %d: %d, least %g", (size_t)seed, b, r, best);
                        if (r == 0)
                                cr_assert_float_eq(least, best, 1e-7, "instance %zu, budget %d: %.12f, least %.12f", (size_t)seed, b, least, best);
                        leasts += r == 0;
                }
        }
        cr_assert(feasible > INSTANCES / 3 && infeasible > INSTANCES / 20 && leasts > INSTANCES / 8, "%zu %zu %zu", feasible, infeasible, leasts);
}

Test(programme, a_category_of_no_weight_gets_the_best_that_is_loaded)
{
        const double loss[] = { .5, .1, .9, .2, .3, .1 }, weight[] = { 1, 0 }, size[] = { 1, 1, 9 };
        const struct programme p = { .categories = 2, .experts = 3, .loss = loss, .weight = weight, .cost = { size },
                                     .budget = { 2, INFINITY, INFINITY }, .pinned = (const bool[]){ true, false, false } };
        struct programme_answer a;

        if (!programme_can())
                cr_skip_test("built without Cbc");
        cr_assert_eq(programme_solve(&p, &a), 0);
        cr_assert_eq(a.chosen[0], 1);
        cr_assert_eq(a.chosen[1], 0);
        cr_assert(a.loaded[0] && a.loaded[1] && !a.loaded[2]);
        cr_assert_float_eq(a.cost[PROGRAMME_LOADED], 2, 1e-12);
        cr_assert(isnan(a.cost[PROGRAMME_ACTIVE]));
        programme_answer_finish(&a);
}
