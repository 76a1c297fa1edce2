/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixture.h - a history as a mixture of interests, smoothed by users alike; for interests.c and its tests.
 */
#ifndef PM_MIXTURE_H
#define PM_MIXTURE_H

#include "interests.h"
#include "tally.h"

#define MIXTURE_PARTS_MAX 256
#define MIXTURE_NEIGHBOURS_MAX 1024
#define MIXTURE_HISTORY_MAX 256     /* items of a neighbour that are looked at */

struct mixture {
        struct tally cells;                          /* part 0: the user's own share, 1: the neighbours' */
        struct interests_part part[MIXTURE_PARTS_MAX]; /* heaviest first */
        size_t n;
        float *query;                                /* [n][dim], each of length 1 */
        float *sums;                                 /* room for own and neighbours' */
        size_t query_room;
};

int mixture_init(struct mixture *m);
void mixture_finish(struct mixture *m);

/*
 * Fills part and query from a history of items (each once) and the neighbours' histories.  With either empty the other counts alone; n is
 * 0 when none of the items is in a cell.  0 or -ENOMEM.
 */
int mixture_make(struct mixture *m, const struct catalogue *c, const struct interests_settings *s, const uint32_t *history, size_t n,
                 const uint32_t *neighbour, size_t n_neighbours);
#endif
