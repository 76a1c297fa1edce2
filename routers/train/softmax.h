/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softmax.h - a linear model of all categories at once: multinomial logistic regression.
 */
#ifndef PM_SOFTMAX_H
#define PM_SOFTMAX_H

#include <stddef.h>
#include <stdint.h>

struct feature_node; /* liblinear's: indices from 1, ended by -1 */

struct softmax_settings {
        double cost;   /* C: each weight is held back by 1 / (C * rows) */
        unsigned rounds;
        unsigned seed; /* of the order */
        double fade;   /* what the scores are multiplied with afterwards */
};

struct softmax {
        size_t features, categories;
        float *weight; /* [features][categories], of the features 1.. as liblinear counts them; the last one is the constant */
};

/* Learns from rows x[n], of categories y[n].  0 or -ENOMEM.  The same input gives the same bytes. */
int softmax_fit(struct feature_node *const *x, const double *y, size_t n, const struct softmax_settings *s, struct softmax *m);
void softmax_finish(struct softmax *m);
#endif
