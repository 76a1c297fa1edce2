/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fit.h - from labelled rows to a classifier.
 */
#ifndef PM_FIT_H
#define PM_FIT_H

#include <stdbool.h>

#include "classifier.h"
#include "encoder.h"
#include "jsonl.h"

struct fit_settings {
        unsigned bits;     /* 2^bits buckets */
        double cost;       /* C: higher fits closer */
        bool softmax;      /* of all categories; else a linear SVM of each */
        double tolerance;  /* where the solver stops */
        unsigned seed;
        size_t text_max;
        const struct encoder *encoder; /* NULL: features alone */
        double dense_weight;           /* length of the vector beside the features, whose length is one */
};

/* A classifier with all that it borrows. */
struct fitted {
        struct classifier *classifier;
        int8_t *rows;
        float *scale, *bias, *dense;
        char *encoder; /* its digest */
        char **labels; /* borrowed from the rows, which must outlive this */
};

/*
 * Trains on the rows i with use[i] (NULL: all).  Its confidence is not calibrated yet and its threshold 0.  0 or -errno after a
 * message on stderr.  Takes 16 bytes a feature and row: about 20 kB for a prompt of 1,000 characters;
 * a softmax 4 bytes a bucket and category besides.
 */
int fit(const struct jsonl_rows *rows, const bool *use, const struct fit_settings *s, struct fitted *ret);
void fitted_finish(struct fitted *f);

/* Puts calibration and threshold into a fitted classifier; encoder: the one of its settings. */
int fitted_set(struct fitted *f, const struct encoder *encoder, double slope, double offset, double threshold);
#endif
