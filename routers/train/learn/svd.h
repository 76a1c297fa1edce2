/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svd.h - the strongest directions of a sparse matrix: its truncated singular value decomposition, by random sampling of its range
 * (Halko, Martinsson, Tropp, 2011).
 */
#ifndef PM_SVD_H
#define PM_SVD_H

#include <stddef.h>
#include <stdint.h>

#include "sparse.h"

struct svd_settings {
        size_t dim;
        size_t more;      /* directions sampled beyond dim */
        unsigned rounds;  /* of power iteration: each makes weak directions weaker; 4 are enough for flat spectra */
        uint64_t seed;
        unsigned threads;
};

/*
 * left[rows][dim], right[cols][dim] with columns of length 1, value[dim] falling.  Directions that the matrix does not have are zeros.
 * Signs: the largest entry of each right column is positive.  The same for the same seed and number of threads.  0, -ENOMEM, or -EIO
 * when the dense part fails.
 */
int svd(const struct sparse *m, const struct svd_settings *s, float *left, float *right, float *value);
#endif
