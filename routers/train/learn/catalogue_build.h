/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue_build.h - from a graph and vectors to the folder that catalogue_open() reads.
 */
#ifndef PM_CATALOGUE_BUILD_H
#define PM_CATALOGUE_BUILD_H

#include "catalogue.h"
#include "graph.h"
#include "vectors.h"

struct catalogue_recipe {
        const struct graph *graph;
        const struct sparse *matrix;       /* of the edges that are used */
        size_t split;                      /* their split, SIZE_MAX: all */
        const struct vectors *vectors;     /* ids that it does not have get no vector */
        const struct id_map *tags;       /* NULL: none */
        const struct sparse_cell *tagged;  /* row: tag, col: the graph's item */
        size_t n_tagged;
        size_t cells, user_cells;          /* 0: by size */
        unsigned rounds;                   /* of k-means */
        unsigned seed, threads;
        size_t near;                       /* similar users that are kept for each user */
        size_t near_budget;                /* vectors that are compared to find them; 0: all */
        size_t also;                       /* co-occurring items that are kept for each item */
        double user_exponent, item_exponent;
        const char *factory;               /* a FAISS index beside the cells; NULL: none */
        const char *index_search;          /* its search parameters, "nprobe=16"; NULL: FAISS's own */
        const char *method;                /* how the vectors came about; for the manifest */
        struct interests_settings settings;
        void (*stage)(void *ctx, const char *what); /* what comes next; NULL: not told */
        void *ctx;
};

/* Writes the folder (made if it is not there); the manifest last, so that a reader sees the old one, the new one, or a mismatch that it
 * refuses.  0, or -errno and one line of why. */
int catalogue_build(const struct catalogue_recipe *recipe, const char *folder, char *why, size_t why_size);

/* Puts settings, and figures (a JSON object, as text; NULL: as they are), into a folder's manifest. */
int catalogue_tune(const char *folder, const struct interests_settings *settings, const char *figures, char *why, size_t why_size);
#endif
