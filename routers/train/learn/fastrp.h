/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fastrp.h - embeddings of a graph's nodes by random projection (Chen et al., "Fast and Accurate Network Embeddings via Very Sparse
 * Random Projection", CIKM 2019).
 */
#ifndef PM_FASTRP_H
#define PM_FASTRP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sparse.h"

#define FASTRP_POWERS_MAX 8

struct fastrp_settings {
        size_t dim;
        double power[FASTRP_POWERS_MAX]; /* the weight of A, A^2, ... */
        size_t n_powers;
        double beta;      /* nodes of degree g go in with weight g^beta: below 0, what many have counts less */
        double sparsity;  /* one place in so many of the random matrix is not 0; 0: the square root of the number of nodes */
        bool standard;    /* make every column's mean 0 and its deviation 1 at the end */
        uint64_t seed;
        unsigned threads;
};

/*
 * v[rows][dim] of a square matrix of edges in both directions (sparse_symmetric, sparse_bipartite).  A node without edges gets zeros.
 * The same for any number of threads.  0 or -ENOMEM; takes two more matrices of that size while it runs.
 */
int fastrp(const struct sparse *edges, const struct fastrp_settings *s, float *v);

/* The random matrix's entry: 0 or +-sqrt(sparsity / dim). */
float fastrp_entry(uint64_t seed, size_t row, size_t column, size_t dim, double sparsity);
#endif
