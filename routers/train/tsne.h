/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsne.h - vectors of many dimensions as points of a plane, so that neighbours stay neighbours.
 */
#ifndef PM_TSNE_H
#define PM_TSNE_H

#include <stddef.h>

#define TSNE_MAX 4000 /* points: memory and time grow with their square */

/*
 * t-SNE (van der Maaten and Hinton, 2008), exact, begun from the first two principal components: the same vectors give the same points.
 * vectors [n][dim] of length one; points [n][2].  Calls done(part of all rounds) now and then.  0 or -ENOMEM.
 */
int tsne(const float *vectors, size_t n, size_t dim, double perplexity, void (*done)(size_t round, size_t rounds), double (*points)[2]);
#endif
