/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sparse.h - sparse matrices by rows, and the few operations on them that graphs need.
 */
#ifndef PM_SPARSE_H
#define PM_SPARSE_H

#include <stddef.h>
#include <stdint.h>

struct sparse {
        size_t rows, cols;
        uint64_t *start; /* [rows + 1] */
        uint32_t *col;   /* ascending within a row */
        float *value;
};

struct sparse_cell {
        uint32_t row, col;
        float value;
};

/* From cells in any order, which are reordered; equal places are added up.  0 or -ENOMEM. */
int sparse_create(size_t rows, size_t cols, struct sparse_cell *cells, size_t n, struct sparse *ret);
void sparse_finish(struct sparse *m);

size_t sparse_cells(const struct sparse *m);
int sparse_transpose(const struct sparse *m, struct sparse *ret);

/* The square matrix of a graph without direction: m and its transpose, places that both have once.  m is square. */
int sparse_symmetric(const struct sparse *m, struct sparse *ret);

/* The square matrix of users and items together: [0 m; m' 0]. */
int sparse_bipartite(const struct sparse *m, struct sparse *ret);

/* sums[rows] of each row, added in double precision. */
void sparse_sums(const struct sparse *m, float *sums);

/* y[rows][d] = diag(scale) m x[cols][d]; scale NULL: 1.  Each row is added up in the order of its columns by one thread. */
void sparse_times(const struct sparse *m, const float *scale, const float *x, size_t d, unsigned threads, float *y);
#endif
