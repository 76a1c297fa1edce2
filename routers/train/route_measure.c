/* SPDX-License-Identifier: Apache-2.0 */
#include "route_measure.h"

#include <math.h>

#include "base.h"
#include "noise.h"

#define RANDOM_SEEDS 10

static double fact(const struct route_measure *m, enum expert_fact which, size_t expert)
{
        return m->facts && m->facts->value[which] ? m->facts->value[which][expert] : (double)NAN;
}

/* What an expert is worth; of equal ones the one with fewer active parameters is taken, then the first. */
static double worth(const struct route_measure *m, const struct route_rule *rule, double score, size_t expert)
{
        return score - (rule->lambda > 0 ? rule->lambda * fact(m, FACT_PRICE, expert) : 0) - (rule->mu > 0 ? rule->mu * fact(m, FACT_ACTIVE, expert) : 0);
}

static size_t default_of(const struct route_measure *m, const struct route_rule *rule, size_t fold)
{
        const struct route_scores *s = m->scores;
        const double *mean = s->table[fold] + s->labels * s->experts;
        size_t best = SIZE_MAX;

        for (size_t k = 0; k < s->experts; k++)
                if ((!rule->allowed || rule->allowed[fold * s->experts + k]) &&
                    (best == SIZE_MAX || worth(m, rule, mean[k], k) > worth(m, rule, mean[best], best)))
                        best = k;
        return best == SIZE_MAX ? 0 : best;
}

void route_choose(const struct route_measure *m, const float *score, const struct route_rule *rule, size_t *choice)
{
        const struct route_scores *s = m->scores;

        for (size_t i = 0; i < s->n; i++) {
                const float *of = score + i * s->experts;
                size_t fold = s->fold[i], first = default_of(m, rule, fold), best = first;
                double most = worth(m, rule, (double)of[first], first);

                for (size_t k = 0; k < s->experts; k++) {
                        double x = worth(m, rule, (double)of[k], k);

                        if (rule->allowed && !rule->allowed[fold * s->experts + k])
                                continue;
                        if (x > most || (x >= most && fact(m, FACT_ACTIVE, k) < fact(m, FACT_ACTIVE, best))) {
                                best = k;
                                most = x;
                        }
                }
                choice[i] = most - worth(m, rule, (double)of[first], first) < rule->margin ? first : best;
        }
}

struct route_point route_point(const struct route_measure *m, const size_t *choice, double *value)
{
        struct route_point p = { 0 };
        double n = (double)m->scores->n;

        for (size_t i = 0; i < m->scores->n; i++) {
                double x = (double)m->test->outcome[i][choice[i]];

                p.score += x / n;
                p.active += fact(m, FACT_ACTIVE, choice[i]) / n;
                p.price += fact(m, FACT_PRICE, choice[i]) / n;
                if (value)
                        value[i] = x;
        }
        return p;
}

/* The mean over all experts of everything. */
static struct route_point point_of_random(const struct route_measure *m, double *value)
{
        struct route_point p = { 0 };
        double n = (double)m->scores->n, experts = (double)m->scores->experts;

        for (size_t i = 0; i < m->scores->n; i++) {
                value[i] = 0;
                for (size_t k = 0; k < m->scores->experts; k++)
                        value[i] += (double)m->test->outcome[i][k] / experts;
                p.score += value[i] / n;
        }
        for (size_t k = 0; k < m->scores->experts; k++) {
                p.active += fact(m, FACT_ACTIVE, k) / experts;
                p.price += fact(m, FACT_PRICE, k) / experts;
        }
        return p;
}

static size_t count_used(const struct route_scores *s, const size_t *choice)
{
        bool used[OUTCOMES_EXPERTS_MAX] = { false };
        size_t n = 0;

        for (size_t i = 0; i < s->n; i++) {
                n += !used[choice[i]];
                used[choice[i]] = true;
        }
        return n;
}

int route_measure_methods(const struct route_measure *m, const struct route_rule *rule, struct route_figures ret[ROUTE_METHODS])
{
        static const struct route_rule plain = { 0 };
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) size_t *choice = calloc(s->n + 1, sizeof *choice);
        CLEANUP(free_p) double *single = calloc(s->n + 1, sizeof *single), *value = calloc(s->n + 1, sizeof *value);

        if (!choice || !single || !value)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++)
                choice[i] = default_of(m, &plain, s->fold[i]);
        (void)route_point(m, choice, single);
        for (int method = 0; method < ROUTE_METHODS; method++) {
                struct route_figures f = { .there = s->score[method] || method == ROUTE_RANDOM };
                struct route_point p;
                double square = 0;

                ret[method] = f;
                if (!f.there)
                        continue;
                if (method != ROUTE_RANDOM)
                        route_choose(m, s->score[method], rule, choice);
                p = method == ROUTE_RANDOM ? point_of_random(m, value) : route_point(m, choice, value);
                f.score = p.score;
                f.active = p.active;
                f.price = p.price;
                f.used = method == ROUTE_RANDOM ? s->experts : count_used(s, choice);
                if (resample_mean(value, s->n, m->resamples, m->seed, &f.interval) < 0)
                        return -ENOMEM;
                for (size_t i = 0; i < s->n; i++)
                        f.gain += (value[i] - single[i]) / (double)s->n;
                for (size_t i = 0; i < s->n; i++)
                        square += (value[i] - single[i] - f.gain) * (value[i] - single[i] - f.gain);
                f.gain_error = sqrt(square / (double)s->n / (double)MAX(s->n - 1, (size_t)1));
                ret[method] = f;
        }
        return 0;
}

int route_measure_noise(const struct route_measure *m, const struct route_rule *rule, struct route_noise ret[GARBLES][ROUTE_METHODS])
{
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) size_t *clean = calloc(s->n + 1, sizeof *clean), *noisy = calloc(s->n + 1, sizeof *noisy);

        if (!clean || !noisy)
                return -ENOMEM;
        for (int method = 0; method < ROUTE_METHODS; method++) {
                if (!s->score[method] || !s->noisy[0][method])
                        continue;
                route_choose(m, s->score[method], rule, clean);
                for (int g = 0; g < GARBLES; g++) {
                        struct route_noise x = { 0 };

                        route_choose(m, s->noisy[g][method], rule, noisy);
                        for (size_t i = 0; i < s->n; i++)
                                x.flips += (clean[i] != noisy[i]) / (double)s->n;
                        x.lost = route_point(m, clean, NULL).score - route_point(m, noisy, NULL).score;
                        ret[g][method] = x;
                }
        }
        return 0;
}

double route_curve_weight(size_t i)
{
        return i == 0 ? 0 : pow(10, -5 + 4. * (double)(i - 1) / (ROUTE_CURVE - 2));
}

int route_measure_curve(const struct route_measure *m, enum route_method method, struct route_point ret[ROUTE_CURVE], size_t *ret_n)
{
        CLEANUP(free_p) size_t *choice = calloc(m->scores->n + 1, sizeof *choice);
        size_t n = 0;

        if (!choice)
                return -ENOMEM;
        for (size_t i = 0; m->scores->score[method] && i < ROUTE_CURVE; i++) {
                struct route_rule rule = { .mu = route_curve_weight(i) };

                route_choose(m, m->scores->score[method], &rule, choice);
                ret[n] = route_point(m, choice, NULL);
                n += n == 0 || ret[n].score < ret[n - 1].score || ret[n].score > ret[n - 1].score || ret[n].active < ret[n - 1].active;
        }
        *ret_n = n;
        return 0;
}

/* The mean over seeds of a rank that knows nothing. */
static int measure_random(const struct route_measure *m, const double *strong, const double *weak, double *rank, struct apgr *ret)
{
        struct apgr sum = { 0 }, one;

        for (uint64_t seed = 0; seed < RANDOM_SEEDS; seed++) {
                int r;

                for (size_t i = 0; i < m->scores->n; i++)
                        rank[i] = noise_uniform(noise_bits(m->seed + seed, i, 77));
                r = apgr_measure(rank, strong, weak, m->scores->n, seed == 0 ? m->resamples : 0, m->seed, &one);
                if (r < 0)
                        return r;
                if (seed == 0)
                        sum.interval = one.interval;
                sum.apgr += one.apgr / RANDOM_SEEDS;
                for (int i = 0; i < APGR_SHARES; i++)
                        sum.calls[i] += one.calls[i] / RANDOM_SEEDS;
                for (int i = 0; i < APGR_EDGES; i++) {
                        sum.share[i] += one.share[i] / RANDOM_SEEDS;
                        sum.score[i] += one.score[i] / RANDOM_SEEDS;
                }
        }
        *ret = sum;
        return 0;
}

int route_measure_pair(const struct route_measure *m, size_t strong_one, size_t weak_one, struct apgr ret[ROUTE_METHODS])
{
        const struct route_scores *s = m->scores;
        CLEANUP(free_p) double *strong = calloc(s->n + 1, sizeof *strong), *weak = calloc(s->n + 1, sizeof *weak), *rank = calloc(s->n + 1, sizeof *rank);
        int r = 0;

        if (!strong || !weak || !rank)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++) {
                strong[i] = (double)m->test->outcome[i][strong_one];
                weak[i] = (double)m->test->outcome[i][weak_one];
        }
        for (int method = 0; r == 0 && method < ROUTE_METHODS; method++) {
                ret[method] = (struct apgr){ .apgr = (double)NAN };
                if (method == ROUTE_RANDOM)
                        r = measure_random(m, strong, weak, rank, &ret[method]);
                if (!s->score[method] || method == ROUTE_SINGLE)
                        continue;
                for (size_t i = 0; i < s->n; i++)
                        rank[i] = method == ROUTE_LENGTH ? (double)m->test->rows.list[i].n
                                                         : (double)(s->score[method][i * s->experts + strong_one] - s->score[method][i * s->experts + weak_one]);
                r = apgr_measure(rank, strong, weak, s->n, m->resamples, m->seed, &ret[method]);
        }
        return r;
}
