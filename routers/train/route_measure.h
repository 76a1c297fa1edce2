/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_measure.h - what the choices of routing methods are worth.
 */
#ifndef PM_ROUTE_MEASURE_H
#define PM_ROUTE_MEASURE_H

#include "apgr.h"
#include "expert_facts.h"
#include "resample.h"
#include "route_methods.h"

#define ROUTE_CURVE 81 /* weights of active parameters that a curve is drawn from: 0, and from 1e-5 to 1e-1 of the score a billion */

/* How an expert is chosen of expected scores: the highest score - lambda x price - mu x active; one that leads the default, the best of all prompts
 * trained on, by less than the margin is not worth leaving it for. */
struct route_rule {
        double lambda, mu, margin;
        const bool *allowed; /* [folds][experts]; NULL: all */
};

struct route_measure {
        const struct route_set *test;
        const struct route_scores *scores;
        const struct expert_facts *facts; /* NULL: not known */
        size_t resamples;
        unsigned seed;
};

struct route_figures {
        bool there;
        double score;
        struct interval interval;
        double gain, gain_error;      /* over the best single expert: its mean, and the standard error of that, paired */
        double active, price;         /* means; NAN: not known */
        size_t used;                  /* experts that are chosen at all */
};

struct route_noise {
        double flips, lost; /* the share of decisions that are other ones, and the score that this costs */
};

struct route_point {
        double score, active, price;
};

/* The experts chosen for all prompts by a method's scores, into choice[n]. */
void route_choose(const struct route_measure *m, const float *score, const struct route_rule *rule, size_t *choice);
/* Of choices: score and means; value[n] (may be NULL) gets each prompt's outcome. */
struct route_point route_point(const struct route_measure *m, const size_t *choice, double *value);

/* 0 or -ENOMEM. */
int route_measure_methods(const struct route_measure *m, const struct route_rule *rule, struct route_figures ret[ROUTE_METHODS]);
int route_measure_noise(const struct route_measure *m, const struct route_rule *rule, struct route_noise ret[GARBLES][ROUTE_METHODS]);
/* The i-th of these weights. */
double route_curve_weight(size_t i);
/* From the best score to the smallest active expert, by these weights; *ret_n points, of equal ones the first. */
int route_measure_curve(const struct route_measure *m, enum route_method method, struct route_point ret[ROUTE_CURVE], size_t *ret_n);
/* A strong and a weak expert; methods that are not there have a NAN.  0, -ENOMEM, or -ERANGE: the strong one is no better. */
int route_measure_pair(const struct route_measure *m, size_t strong, size_t weak, struct apgr ret[ROUTE_METHODS]);
#endif
