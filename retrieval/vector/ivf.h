/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ivf.h - nearest vectors where things are numbered by cell: the members of a cell lie one behind the other, so the cells that a query
 * is near to are read as they lie, as bytes first, and the best of them once more as floats.
 *
 * kNN-Embed's interests are such cells: a query made from a user's items of one cell knows where to begin without a coarse search.
 */
#ifndef PM_IVF_H
#define PM_IVF_H

#include <stddef.h>
#include <stdint.h>

#define IVF_NONE UINT32_MAX
#define IVF_K_MAX 4096

/* Borrowed arrays, most of them of a mapped file.  Vectors are of length 1; those from start[n_cells] on are in no cell. */
struct ivf {
        size_t dim, n, n_cells, n_near;
        const uint32_t *start;   /* [n_cells + 1] */
        const float *centroid;   /* [n_cells][dim], of length 1 */
        const uint32_t *near;    /* [n_cells][n_near]: the cells that lie nearest, itself first; IVF_NONE at the end */
        const float *vector;     /* [n][dim] */
        const int8_t *code;      /* [n][dim] */
        const float *scale;      /* [n]: code * scale is about the vector */
};

struct ivf_hit {
        uint32_t id;
        float score;             /* inner product with the query */
};

/* Room for one search at a time; a thread has one of its own. */
struct ivf_room;

int ivf_room_create(const struct ivf *c, struct ivf_room **ret);
void ivf_room_destroy(struct ivf_room *room); /* NULL is fine */

/*
 * The k (at most IVF_K_MAX) nearest by inner product to q[dim], nearest first, into hit[]; returns how many.  `from`: the cell to begin
 * at, IVF_NONE: compare with every centroid first.  At least `budget` vectors are looked at where there are so many nearby;
 * SIZE_MAX: all that are in cells, by their floats, which is exact.
 */
size_t ivf_search(const struct ivf *c, const float *q, uint32_t from, size_t budget, size_t k, struct ivf_room *room,
                  struct ivf_hit *hit);

/* The cell of a number, or IVF_NONE. */
uint32_t ivf_of(const struct ivf *c, uint32_t id);

/* Is this a whole structure (numbers in range, finite floats)?  0, or -EINVAL and one line of why. */
int ivf_check(const struct ivf *c, char *why, size_t why_size);
#endif
