/* SPDX-License-Identifier: Apache-2.0 */
#include "route_frontier.h"

#include <math.h>

#include "arguments.h"
#include "base.h"
#include "programme.h"
#include "progress.h"

#define STEPS 24

static int read_range(const char *range, double *ret_from, double *ret_to, double *ret_step)
{
        char text[3][32];
        int used = 0;

        if (sscanf(range, "%31[^:]:%31[^:]:%31[^:]%n", text[0], text[1], text[2], &used) != 3 || range[used]) {
                (void)fprintf(stderr, "--frontier '%s': must be FROM:TO:STEP\n", range);
                return -EINVAL;
        }
        if (argument_real("--frontier", text[0], 0, 1e12, ret_from) < 0 || argument_real("--frontier", text[1], *ret_from, 1e12, ret_to) < 0 ||
            argument_real("--frontier", text[2], 1e-9, 1e12, ret_step) < 0)
                return -EINVAL;
        if ((*ret_to - *ret_from) / *ret_step >= ROUTE_FRONTIER_MAX) {
                (void)fprintf(stderr, "--frontier '%s': more than %d steps\n", range, ROUTE_FRONTIER_MAX);
                return -EINVAL;
        }
        return 0;
}

static int list_budgets(const struct route_measure *m, const char *range, double *budget, size_t *ret_n)
{
        const double *loaded = m->facts->value[FACT_LOADED];
        double from = INFINITY, to = 0, step;
        int r;

        if (range) {
                r = read_range(range, &from, &to, &step);
                for (*ret_n = 0; r == 0 && from + (double)*ret_n * step <= to * (1 + 1e-9); ++*ret_n)
                        budget[*ret_n] = from + (double)*ret_n * step;
                return r;
        }
        for (size_t k = 0; k < m->scores->experts; k++) {
                from = MIN(from, loaded[k]);
                to += loaded[k];
        }
        for (*ret_n = 0; *ret_n < STEPS; ++*ret_n)
                budget[*ret_n] = MAX(from, 1e-9) * pow(to / MAX(from, 1e-9), (double)*ret_n / (STEPS - 1)) * (1 + 1e-9);
        return 0;
}

/* The experts that each fold's programme loads.  -ENOSPC: too little for some fold. */
static int load(const struct route_measure *m, double budget, bool *allowed, struct route_frontier_point *y)
{
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) double *loss = calloc(s->labels * s->experts + 1, sizeof *loss);

        if (!loss)
                return -ENOMEM;
        for (size_t f = 0; f < s->folds; f++) {
                struct programme p = { .categories = s->labels, .experts = s->experts, .loss = loss, .weight = s->share[f],
                                       .cost = { m->facts->value[FACT_LOADED] }, .budget = { budget, INFINITY, INFINITY } };
                struct programme_answer a;
                int r;

                for (size_t i = 0; i < s->labels * s->experts; i++)
                        loss[i] = 1 - s->table[f][i];
                r = programme_solve(&p, &a);
                if (r < 0)
                        return r;
                for (size_t k = 0; k < s->experts; k++) {
                        allowed[f * s->experts + k] = a.loaded[k];
                        y->experts += a.loaded[k] / (double)s->folds;
                }
                y->loaded += a.cost[PROGRAMME_LOADED] / (double)s->folds;
                programme_answer_finish(&a);
        }
        return 0;
}

static double mean_of_single(const struct route_measure *m, size_t expert)
{
        double sum = 0;

        for (size_t i = 0; i < m->scores->n; i++)
                sum += (double)m->test->outcome[i][expert];
        return sum / (double)m->scores->n;
}

static void find_rival(const struct route_measure *m, const double *value, struct route_frontier_point *y)
{
        const double *active = m->facts->value[FACT_ACTIVE];
        size_t n = m->scores->n, best = SIZE_MAX;
        double square = 0;

        for (size_t k = 0; k < m->scores->experts; k++)
                if (active[k] <= 2 * y->point.active && (best == SIZE_MAX || mean_of_single(m, k) > mean_of_single(m, best)))
                        best = k;
        y->rival = best;
        y->lead = y->point.score - mean_of_single(m, best);
        for (size_t i = 0; i < n; i++) {
                double d = value[i] - (double)m->test->outcome[i][best] - y->lead;

                square += d * d;
        }
        y->lead_error = sqrt(square / (double)n / (double)MAX(n - 1, (size_t)1));
}

int route_frontier(const struct route_measure *m, const char *range, struct route_frontier_point ret[ROUTE_FRONTIER_MAX], size_t *ret_n)
{
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) bool *allowed = calloc(s->folds * s->experts + 1, sizeof *allowed);
        CLEANUP(free_p) size_t *choice = calloc(s->n + 1, sizeof *choice);
        CLEANUP(free_p) double *value = calloc(s->n + 1, sizeof *value);
        double budget[ROUTE_FRONTIER_MAX];
        size_t budgets, n = 0;
        int r = allowed && choice && value ? list_budgets(m, range, budget, &budgets) : -ENOMEM;

        for (size_t i = 0; r == 0 && i < budgets; i++) {
                struct route_frontier_point y = { .budget = budget[i] };
                struct route_rule rule = { .allowed = allowed };

                progress_show("frontier", i, budgets);
                r = load(m, budget[i], allowed, &y);
                if (r == -ENOSPC) {
                        r = 0;
                        continue;
                }
                if (r < 0)
                        break;
                route_choose(m, s->score[ROUTE_POSTERIOR], &rule, choice);
                y.point = route_point(m, choice, value);
                find_rival(m, value, &y);
                ret[n++] = y;
        }
        progress_done();
        *ret_n = n;
        if (r == -ENOSYS)
                (void)fprintf(stderr, "eval: this pointsman-train was built without Cbc, which solves maps under budgets (Debian: coinor-libcbc-dev)\n");
        else if (r < 0 && r != -EINVAL && r != -ENOMEM)
                (void)fprintf(stderr, "eval: a map under a budget could not be solved: %s\n", ERRNO_TEXT(r));
        return r;
}

int route_frontier_active(const struct route_measure *m, struct route_frontier_point ret[ROUTE_CURVE], size_t *ret_n)
{
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) size_t *choice = calloc(s->n + 1, sizeof *choice);
        CLEANUP(free_p) double *value = calloc(s->n + 1, sizeof *value);
        size_t n = 0;

        if (!choice || !value)
                return -ENOMEM;
        for (size_t i = 0; i < ROUTE_CURVE; i++) {
                struct route_frontier_point y = { .budget = (double)NAN, .loaded = (double)NAN, .experts = (double)s->experts };
                struct route_rule rule = { .mu = route_curve_weight(i) };

                route_choose(m, s->score[ROUTE_POSTERIOR], &rule, choice);
                y.point = route_point(m, choice, value);
                if (n > 0 && y.point.active >= ret[n - 1].point.active)
                        continue;
                find_rival(m, value, &y);
                ret[n++] = y;
        }
        *ret_n = n;
        return 0;
}
