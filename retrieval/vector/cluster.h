/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - k-means over vectors of length 1, by FAISS: centres of length 1, likeness by inner product.
 */
#ifndef PM_CLUSTER_H
#define PM_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

struct cluster_settings {
        size_t k;
        unsigned rounds;
        unsigned seed;
        unsigned threads;
        size_t sample;   /* at most so many vectors for each centre are trained on */
};

/* centre[k][dim] of v[n][dim]; k at most n.  0, or -errno and one line of why. */
int cluster_train(const float *v, size_t n, size_t dim, const struct cluster_settings *s, float *centre, char *why, size_t why_size);

/* The `near` centres most like each vector: ret[n][near], best first. */
int cluster_assign(const float *v, size_t n, size_t dim, const float *centre, size_t k, size_t near, unsigned threads,
                   uint32_t *ret, char *why, size_t why_size);
#endif
