/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns: y for each expert (is it loaded?), z for each category and expert (is it the category's?), x for each expert that may lie
 * on any host, and host.  Given y, the best z is whole by itself, so z need be declared whole only where a mean is bounded.
 *
 * Cbc works in floating point, with tolerances of 1e-7 on rows.  So costs are scaled to 1000 at most, its own increment is taken from it,
 * and what is answered is computed anew from the chosen experts: an answer that breaks a condition is a failure, not an answer.
 */
#include <float.h>
#include <math.h>
#ifdef WITH_CBC
#include <coin/Cbc_C_Interface.h>
#endif

#include "base.h"
#include "programme.h"

#define SCALE 1000.
#define SLACK 1e-7 /* of a budget: what sums of decimal fractions are off by */

void programme_answer_finish(struct programme_answer *a)
{
        free(a->chosen);
        free(a->loaded);
        free(a->place);
        *a = (struct programme_answer){ 0 };
}

#ifndef WITH_CBC
bool programme_can(void)
{
        return false;
}

int programme_solve(const struct programme *p, struct programme_answer *ret)
{
        (void)p;
        (void)ret;
        return -ENOSYS;
}

int programme_least(const struct programme *p, enum programme_budget which, double *ret)
{
        (void)p;
        (void)which;
        (void)ret;
        return -ENOSYS;
}
#else

bool programme_can(void)
{
        return true;
}

/* ---- building --------------------------------------------------------------------------------------------------------------- */

struct model {
        const struct programme *p;
        Cbc_Model *cbc;
        int *index;     /* room for the longest row */
        double *value;
        int n;          /* of the row in the making */
        bool linked;    /* it matters what is loaded */
        bool means;     /* a mean is bounded */
};

static int column_y(size_t expert)
{
        return (int)expert;
}

static int column_z(const struct programme *p, size_t category, size_t expert)
{
        return (int)(p->experts + category * p->experts + expert);
}

static int column_x(const struct programme *p, size_t expert, size_t host)
{
        return (int)(p->experts * (1 + p->categories) + expert * p->hosts + host);
}

static bool is_barred(const struct programme *p, size_t category, size_t expert)
{
        return p->barred && p->barred[category * p->experts + expert];
}

static bool is_pinned(const struct programme *p, size_t expert)
{
        return p->pinned && p->pinned[expert];
}

static double price_of_change(const struct programme *p, size_t category, size_t expert)
{
        return p->old && p->old[category] != PROGRAMME_NONE && p->old[category] != expert ? p->inertia : 0;
}

static double loss_of(const struct programme *p, size_t category, size_t expert)
{
        return p->weight[category] * (p->loss[category * p->experts + expert] + price_of_change(p, category, expert));
}

static void put(struct model *m, int column, double value)
{
        m->index[m->n] = column;
        m->value[m->n++] = value;
}

static void end_row(struct model *m, char sense, double bound)
{
        Cbc_addRow(m->cbc, "", m->n, m->index, m->value, sense, bound);
        m->n = 0;
}

/* A row whose largest number is `SCALE`, so that the solver's tolerance is a small part of it. */
static void end_row_scaled(struct model *m, char sense, double bound)
{
        double most = fabs(bound);

        for (int i = 0; i < m->n; i++)
                most = MAX(most, fabs(m->value[i]));
        most = most > 0 ? SCALE / most : 1;
        for (int i = 0; i < m->n; i++)
                m->value[i] *= most;
        end_row(m, sense, bound * most);
}

/* Puts what a budget bounds. */
static void put_cost(struct model *m, enum programme_budget which)
{
        const struct programme *p = m->p;

        for (size_t k = 0; k < p->experts; k++) {
                if (which == PROGRAMME_LOADED) {
                        put(m, column_y(k), p->cost[which][k]);
                        continue;
                }
                for (size_t c = 0; c < p->categories; c++)
                        if (p->weight[c] > 0 && !is_barred(p, c, k))
                                put(m, column_z(p, c, k), p->weight[c] * p->cost[which][k]);
        }
}

static void add_hosts(struct model *m)
{
        const struct programme *p = m->p;

        for (size_t h = 0; h < p->hosts; h++) {
                for (size_t k = 0; k < p->experts; k++)
                        if (p->host[k] == PROGRAMME_NONE)
                                put(m, column_x(p, k, h), p->memory[k]);
                        else if (p->host[k] == h)
                                put(m, column_y(k), p->memory[k]);
                end_row_scaled(m, 'L', p->room[h]);
        }
        for (size_t k = 0; p->hosts && k < p->experts; k++) {
                if (p->host[k] != PROGRAMME_NONE)
                        continue;
                for (size_t h = 0; h < p->hosts; h++)
                        put(m, column_x(p, k, h), 1);
                put(m, column_y(k), -1);
                end_row(m, 'E', 0);
        }
}

static void add_columns(struct model *m, double scale)
{
        const struct programme *p = m->p;

        for (size_t k = 0; k < p->experts; k++)
                Cbc_addCol(m->cbc, "", is_pinned(p, k), 1, 0, 1, 0, NULL, NULL);
        for (size_t c = 0; c < p->categories; c++)
                for (size_t k = 0; k < p->experts; k++)
                        Cbc_addCol(m->cbc, "", 0, !is_barred(p, c, k), loss_of(p, c, k) * scale, m->means, 0, NULL, NULL);
        for (size_t i = 0; i < p->experts * p->hosts; i++)
                Cbc_addCol(m->cbc, "", 0, 1, 0, 1, 0, NULL, NULL);
}

static void add_rows(struct model *m)
{
        const struct programme *p = m->p;

        for (size_t c = 0; c < p->categories; c++) {
                for (size_t k = 0; k < p->experts; k++)
                        put(m, column_z(p, c, k), 1);
                end_row(m, 'E', 1);
        }
        for (size_t c = 0; m->linked && c < p->categories; c++)
                for (size_t k = 0; k < p->experts; k++)
                        if (!is_barred(p, c, k) && !is_pinned(p, k)) {
                                put(m, column_z(p, c, k), 1);
                                put(m, column_y(k), -1);
                                end_row(m, 'L', 0);
                        }
        for (int b = 0; b < PROGRAMME_BUDGETS; b++)
                if (isfinite(p->budget[b])) {
                        put_cost(m, b);
                        end_row_scaled(m, 'L', p->budget[b]);
                }
        add_hosts(m);
}

static int model_init(struct model *m, const struct programme *p, enum programme_budget minimised)
{
        size_t longest = p->experts * (1 + p->categories) + p->experts * p->hosts + 1;
        double scale = 0;

        *m = (struct model){ .p = p, .linked = minimised == PROGRAMME_LOADED || isfinite(p->budget[PROGRAMME_LOADED]) || p->hosts > 0 };
        m->means = minimised == PROGRAMME_ACTIVE || minimised == PROGRAMME_PRICE || isfinite(p->budget[PROGRAMME_ACTIVE]) ||
                   isfinite(p->budget[PROGRAMME_PRICE]);
        m->index = calloc(longest, sizeof *m->index);
        m->value = calloc(longest, sizeof *m->value);
        m->cbc = m->index && m->value ? Cbc_newModel() : NULL;
        if (!m->cbc)
                return -ENOMEM;
        for (size_t c = 0; minimised == PROGRAMME_BUDGETS && c < p->categories; c++)
                for (size_t k = 0; k < p->experts; k++)
                        scale = MAX(scale, fabs(loss_of(p, c, k)));
        add_columns(m, scale > 0 ? SCALE / scale : 0);
        add_rows(m);
        if (minimised != PROGRAMME_BUDGETS) {
                put_cost(m, minimised);
                for (int i = 0; i < m->n; i++)
                        Cbc_setObjCoeff(m->cbc, m->index[i], m->value[i]);
                m->n = 0;
        }
        return 0;
}

static void model_finish(struct model *m)
{
        free(m->index);
        free(m->value);
        if (m->cbc)
                Cbc_deleteModel(m->cbc);
}

/* The best columns, borrowed from the model. */
static int model_solve(struct model *m, const double **ret)
{
        char seconds[32];

        Cbc_setLogLevel(m->cbc, 0);
        Cbc_setParameter(m->cbc, "ratioGap", "0");
        Cbc_setParameter(m->cbc, "allowableGap", "0");
        Cbc_setParameter(m->cbc, "increment", "1e-9");
        if (m->p->seconds > 0) {
                (void)snprintf(seconds, sizeof seconds, "%g", m->p->seconds);
                Cbc_setParameter(m->cbc, "seconds", seconds);
        }
        (void)Cbc_solve(m->cbc);
        if (Cbc_isProvenInfeasible(m->cbc) || Cbc_isInitialSolveProvenPrimalInfeasible(m->cbc))
                return -ENOSPC;
        if (!Cbc_isProvenOptimal(m->cbc))
                return -ETIME;
        *ret = Cbc_getColSolution(m->cbc);
        return *ret ? 0 : -ENOMEM;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

/* The category's: the largest z; with weight 0, and where no mean is bounded, the best loaded one. */
static size_t choose(const struct model *m, const double *x, size_t category)
{
        const struct programme *p = m->p;
        size_t best = PROGRAMME_NONE;

        for (size_t k = 0; k < p->experts; k++) {
                bool better;

                if (is_barred(p, category, k) || (m->linked && x[column_y(k)] < .5))
                        continue;
                if (m->means && p->weight[category] > 0)
                        better = best == PROGRAMME_NONE || x[column_z(p, category, k)] > x[column_z(p, category, best)];
                else
                        better = best == PROGRAMME_NONE || p->loss[category * p->experts + k] + price_of_change(p, category, k) <
                                                               p->loss[category * p->experts + best] + price_of_change(p, category, best);
                if (better)
                        best = k;
        }
        return best;
}

static bool within(double sum, double budget)
{
        return sum <= budget + SLACK * MAX(1., fabs(budget));
}

static int check(const struct programme *p, const struct programme_answer *a)
{
        for (int b = 0; b < PROGRAMME_BUDGETS; b++)
                if (isfinite(p->budget[b]) && !within(a->cost[b], p->budget[b]))
                        return -ERANGE;
        for (size_t h = 0; h < p->hosts; h++) {
                double used = 0;

                for (size_t k = 0; k < p->experts; k++)
                        used += a->loaded[k] && a->place[k] == h ? p->memory[k] : 0;
                if (!within(used, p->room[h]))
                        return -ERANGE;
        }
        return 0;
}

static void read_places(const struct programme *p, const double *x, struct programme_answer *a)
{
        for (size_t k = 0; k < p->experts; k++) {
                a->place[k] = p->host && p->hosts ? p->host[k] : PROGRAMME_NONE;
                for (size_t h = 0; a->place[k] == PROGRAMME_NONE && h < p->hosts; h++)
                        if (x[column_x(p, k, h)] > .5)
                                a->place[k] = h;
        }
}

static int read_answer(const struct model *m, const double *x, struct programme_answer *a)
{
        const struct programme *p = m->p;

        a->chosen = calloc(p->categories + 1, sizeof *a->chosen);
        a->loaded = calloc(p->experts + 1, sizeof *a->loaded);
        a->place = calloc(p->experts + 1, sizeof *a->place);
        if (!a->chosen || !a->loaded || !a->place)
                return -ENOMEM;
        for (size_t k = 0; k < p->experts; k++)
                a->loaded[k] = is_pinned(p, k);
        for (int b = 0; b < PROGRAMME_BUDGETS; b++)
                a->cost[b] = p->cost[b] ? 0 : (double)NAN;
        for (size_t c = 0; c < p->categories; c++) {
                size_t k = a->chosen[c] = choose(m, x, c);

                if (k == PROGRAMME_NONE)
                        return -ERANGE;
                a->loaded[k] = true;
                a->loss += p->weight[c] * p->loss[c * p->experts + k];
                a->changes += p->old && p->old[c] != PROGRAMME_NONE && p->old[c] != k;
                for (int b = PROGRAMME_ACTIVE; b < PROGRAMME_BUDGETS; b++)
                        a->cost[b] += p->cost[b] ? p->weight[c] * p->cost[b][k] : 0;
        }
        for (size_t k = 0; p->cost[PROGRAMME_LOADED] && k < p->experts; k++)
                a->cost[PROGRAMME_LOADED] += a->loaded[k] ? p->cost[PROGRAMME_LOADED][k] : 0;
        read_places(p, x, a);
        return check(p, a);
}

int programme_solve(const struct programme *p, struct programme_answer *ret)
{
        struct programme_answer a = { 0 };
        const double *x;
        struct model m;
        int r = model_init(&m, p, PROGRAMME_BUDGETS);

        if (r == 0)
                r = model_solve(&m, &x);
        if (r == 0)
                r = read_answer(&m, x, &a);
        model_finish(&m);
        if (r < 0)
                programme_answer_finish(&a);
        else
                *ret = a;
        return r;
}

int programme_least(const struct programme *p, enum programme_budget which, double *ret)
{
        struct programme without = *p;
        struct programme_answer a = { 0 };
        const double *x;
        struct model m;
        int r;

        without.budget[which] = INFINITY;
        r = model_init(&m, &without, which);
        if (r == 0)
                r = model_solve(&m, &x);
        if (r == 0)
                r = read_answer(&m, x, &a);
        if (r == 0)
                *ret = a.cost[which];
        model_finish(&m);
        programme_answer_finish(&a);
        return r;
}
#endif
