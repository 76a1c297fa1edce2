/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cooccurrence.h - what was taken together: for each item the items that share users with it, best first.
 *
 * The score of i and j is the sum over their common users u of w_ui w_uj / (n_u^2a n_i^b n_j^b): with a = b = .5 that is A'A of the
 * normalised matrix A, the linear filter of GF-CF (Shen et al., 2021), which needs no training and is hard to beat on sparse data.
 */
#ifndef PM_COOCCURRENCE_H
#define PM_COOCCURRENCE_H

#include <stddef.h>
#include <stdint.h>

#include "sparse.h"

struct cooccurrence_settings {
        double user_exponent, item_exponent;
        size_t most;       /* in a list */
        size_t user_max;   /* users with more items than that say little and cost much: left out */
        unsigned threads;
};

struct cooccurrence {
        uint64_t *start;   /* [items + 1] */
        uint32_t *of;
        uint16_t *part;    /* score / best * 65535 */
        float *best;       /* [items] */
};

/* 0 or -ENOMEM. */
int cooccurrence_make(const struct sparse *m, const struct cooccurrence_settings *s, struct cooccurrence *ret);
void cooccurrence_finish(struct cooccurrence *a);
#endif
