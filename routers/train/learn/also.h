/* SPDX-License-Identifier: Apache-2.0 */
/*
 * also.h - what was taken together: for each item the items that share users with it, best first.
 *
 * The score of i and j is the sum over their common users u of w_ui w_uj / (n_u^2a n_i^b n_j^b): with a = b = .5 that is A'A of the
 * normalised matrix A, the linear filter of GF-CF (Shen et al., 2021), which needs no training and is hard to beat on sparse data.
 */
#ifndef PM_ALSO_H
#define PM_ALSO_H

#include <stddef.h>
#include <stdint.h>

#include "sparse.h"

struct also_settings {
        double user_exponent, item_exponent;
        size_t most;       /* in a list */
        size_t user_max;   /* users with more items than that say little and cost much: left out */
        unsigned threads;
};

struct also {
        uint64_t *start;   /* [items + 1] */
        uint32_t *of;
        uint16_t *part;    /* score / best * 65535 */
        float *best;       /* [items] */
};

/* 0 or -ENOMEM. */
int also_make(const struct sparse *m, const struct also_settings *s, struct also *ret);
void also_finish(struct also *a);
#endif
