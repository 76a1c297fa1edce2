/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixture.h - a history as a mixture of interests, smoothed by users alike; for interests.c and its tests.
 */
#ifndef PM_MIXTURE_H
#define PM_MIXTURE_H

#include "interests.h"
#include "score_map.h"

#define MIXTURE_PARTS_MAX INTERESTS_PARTS_MAX
#define MIXTURE_NEIGHBOURS_MAX 1024
#define MIXTURE_HISTORY_MAX 256     /* items of a neighbour that are looked at */

struct mixture {
        struct score_map cells;                      /* part 0: the user's own share, 1: the neighbours' */
        struct interests_part part[MIXTURE_PARTS_MAX]; /* heaviest first */
        size_t n;
        float *query;                                /* [n][dim], each of length 1 */
        float *sums;                                 /* room for own and neighbours' */
        size_t query_room;
};

int mixture_init(struct mixture *m);
void mixture_finish(struct mixture *m);

/* What a mixture is made of. */
struct mixture_parts {
        const uint32_t *history;    /* items, each once */
        size_t n;
        const uint32_t *neighbour;  /* users alike */
        size_t n_neighbours;
        const float *vector, *vector_weight; /* further things of the user's own, which are no items */
        size_t n_vectors;
};

/*
 * Fills part and query.  Without things of the user's own the neighbours count alone, and the other way round; n is 0 when nothing is in
 * a cell.  0 or -ENOMEM.
 */
int mixture_make(struct mixture *m, const struct catalogue *c, const struct interests_settings *s, const struct mixture_parts *of);
#endif
