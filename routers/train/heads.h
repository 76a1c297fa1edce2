/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heads.h - ridge regressions of experts' outcomes on a classifier's features.
 *
 * Minimises for each expert  sum_i (w . x_i - (y_i - mean y))^2 + lambda |w|^2  over the prompts that it has run, in the dual by conjugate gradients;
 * x is as the classifier serves it, so that w can be a further column of it.  Each expert's weights depend on its own outcomes only.  The same
 * input gives the same bytes.
 */
#ifndef PM_HEADS_H
#define PM_HEADS_H

#include <stdbool.h>

#include "classifier.h"
#include "encoder.h"
#include "jsonl.h"

#define HEADS_MAX 256
#define HEADS_DENSE_WEIGHT .8 /* of a vector beside the features, whose length is one */

struct heads_rows {
        size_t n, buckets, dim;
        size_t *first;     /* [n + 1]: those of row i are bucket[first[i]..first[i + 1]) */
        uint32_t *bucket;
        size_t room;
        float *root;       /* [buckets] of the squared idf */
        float *over;       /* [n]: 1 / length */
        float *vector;     /* [n][dim], weighted */
};

/* With the features, idf and encoder (NULL: none) of a classifier.  0 or -errno after a message on stderr. */
int heads_rows_make(const struct jsonl_rows *rows, const struct classifier_parts *p, const struct encoder *e, struct heads_rows *ret);
void heads_rows_finish(struct heads_rows *r);

struct heads {
        size_t n, features; /* experts; buckets + dim */
        float *weight;      /* [features][n] */
        double *mean;       /* [n] */
};

/* target[rows][n], NAN: not run; of rows with use[i] (NULL: all).  0 or -ENOMEM. */
int heads_fit(const struct heads_rows *r, const bool *use, const float *target, size_t n, double lambda, struct heads *ret);
void heads_finish(struct heads *h);
/* Of row i into score[n]. */
void heads_score(const struct heads *h, const struct heads_rows *r, size_t i, float *score);

/* As columns of a classifier: rows[buckets][columns] from column `at` on, scale and bias from there, dense[dim][categories] likewise. */
void heads_quantise(const struct heads *h, const struct heads_rows *r, double idf_step, size_t at, size_t columns, size_t categories, int8_t *rows,
                    float *scale, float *bias, float *dense);
#endif
