/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gates_fit.h - one gate: logistic regression of an expert's outcomes on vectors, the rest frozen (GLIDER, step 1, which trains an expert's
 * gate with model and expert frozen; here what is frozen is the logit that all together give).
 *
 * Minimises  sum_i weight_i * logloss(outcome_i, v . x_i + offset_i + b) + l2 / 2 |v|^2  by accelerated gradient steps (Nesterov) from zero; the
 * same input gives the same bytes.
 */
#ifndef PM_GATES_FIT_H
#define PM_GATES_FIT_H

#include <stddef.h>

struct gates_fit {
        const float *x;        /* [n][dim] */
        size_t n, dim;
        const float *weight;   /* [n] */
        const float *outcome;  /* [n], 0..1; NAN: not known, the row does not count */
        const float *offset;   /* [n]; NULL: zeros */
        double l2;
        unsigned threads;
};

/* v[dim + 1]: the gate, and its b behind it.  0 or -ENOMEM. */
int gates_fit(const struct gates_fit *f, float *v);
#endif
