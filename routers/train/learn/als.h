/* SPDX-License-Identifier: Apache-2.0 */
/*
 * als.h - factors of implicit feedback by alternating least squares (Hu, Koren, Volinsky, 2008): what a user took is wanted to be 1 with
 * confidence 1 + alpha times its weight, all else to be 0 with confidence 1.
 */
#ifndef PM_ALS_H
#define PM_ALS_H

#include <stddef.h>
#include <stdint.h>

#include "sparse.h"

struct als_settings {
        size_t dim;
        double alpha;
        double ridge;     /* how much long vectors cost */
        unsigned rounds;  /* each solves all users, then all items */
        unsigned steps;   /* of conjugate gradients for each vector; 3 are enough, since they begin at the last round's */
        uint64_t seed;
        unsigned threads;
        void (*progress)(void *ctx, size_t done, size_t total); /* NULL: not told */
        void *ctx;
};

/* users[rows][dim], items[cols][dim].  A row without cells becomes zeros.  0 or -ENOMEM. */
int als(const struct sparse *m, const struct als_settings *s, float *users, float *items);
#endif
