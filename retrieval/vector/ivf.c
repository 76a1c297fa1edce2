/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A search: the cells near `from` by their centroids' likeness to the query, best first, until the budget is used up; every member's
 * bytes against the query's bytes, keeping the best in a heap; those few again by their floats.
 *
 * Measured against FAISS: tests/bench/interests.sh.
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "ivf.h"

#define MORE 16   /* candidates by bytes beyond k and a quarter of it */
#define BLOCK 256 /* rows whose scores are computed before they are compared */

struct ivf_room {
        int8_t *code;            /* the query's [dim] */
        int16_t *wide;           /* the same, widened */
        struct ivf_hit *cell;    /* [n_cells] */
        struct ivf_hit *heap;    /* the worst on top */
        size_t heap_room;
};

static void room_p(struct ivf_room **room)
{
        ivf_room_destroy(*room);
}

int ivf_room_create(const struct ivf *c, struct ivf_room **ret)
{
        CLEANUP(room_p) struct ivf_room *room = calloc(1, sizeof *room);

        if (!room)
                return -ENOMEM;
        room->heap_room = IVF_K_MAX + IVF_K_MAX / 4 + MORE;
        room->code = malloc(c->dim + 1);
        room->wide = malloc((c->dim + 1) * sizeof *room->wide);
        room->cell = malloc((c->n_cells + 1) * sizeof *room->cell);
        room->heap = malloc(room->heap_room * sizeof *room->heap);
        if (!room->code || !room->wide || !room->cell || !room->heap)
                return -ENOMEM;
        *ret = TAKE(room);
        return 0;
}

void ivf_room_destroy(struct ivf_room *room)
{
        if (!room)
                return;
        free(room->code);
        free(room->wide);
        free(room->cell);
        free(room->heap);
        free(room);
}

/* Is a worse than b?  Equal scores: the higher number is worse, so that answers do not depend on the order of looking. */
static inline bool worse(const struct ivf_hit *a, const struct ivf_hit *b)
{
        return a->score < b->score || (!(a->score > b->score) && a->id > b->id);
}

static void sink(struct ivf_hit *heap, size_t n, struct ivf_hit x)
{
        size_t i = 0;

        for (size_t child; (child = 2 * i + 1) < n; i = child) {
                if (child + 1 < n && worse(&heap[child + 1], &heap[child]))
                        child++;
                if (!worse(&heap[child], &x))
                        break;
                heap[i] = heap[child];
        }
        heap[i] = x;
}

static inline void keep(struct ivf_hit *heap, size_t *n, size_t most, struct ivf_hit x)
{
        size_t i;

        if (*n == most) {
                if (worse(&heap[0], &x))
                        sink(heap, most, x);
                return;
        }
        for (i = (*n)++; i > 0 && worse(&x, &heap[(i - 1) / 2]); i = (i - 1) / 2)
                heap[i] = heap[(i - 1) / 2];
        heap[i] = x;
}

static int best_first(const void *a, const void *b)
{
        return worse(a, b) ? 1 : -1;
}

/*
 * The cells that may be looked into, as a heap with the best on top: few of them will be taken out.  Of those near to `from` twice as many
 * as will hold the budget are compared.
 */
static size_t choose(const struct ivf *c, const float *q, uint32_t from, size_t budget, struct ivf_hit *cell)
{
        const uint32_t *near = from == IVF_NONE ? NULL : c->near + (size_t)from * c->n_near;
        size_t enough = 8 + 2 * budget / (c->start[c->n_cells] / c->n_cells + 1);
        size_t n = near ? MIN(c->n_near, enough) : c->n_cells, found = 0;

        for (size_t i = 0; i < n; i++) {
                uint32_t id = near ? near[i] : (uint32_t)i;
                struct ivf_hit x;
                size_t at;

                if (id == IVF_NONE)
                        break;
                if (c->start[id] == c->start[id + 1])
                        continue;
                x = (struct ivf_hit){ id, dot_floats(q, c->centroid + (size_t)id * c->dim, c->dim) };
                for (at = found++; at > 0 && worse(&cell[(at - 1) / 2], &x); at = (at - 1) / 2)
                        cell[at] = cell[(at - 1) / 2];
                cell[at] = x;
        }
        return found;
}

/* Takes the best cell out of the heap. */
static uint32_t take(struct ivf_hit *cell, size_t *n)
{
        uint32_t best = cell[0].id;
        struct ivf_hit x = cell[--*n];
        size_t i = 0;

        for (size_t child; (child = 2 * i + 1) < *n; i = child) {
                if (child + 1 < *n && worse(&cell[child], &cell[child + 1]))
                        child++;
                if (!worse(&x, &cell[child]))
                        break;
                cell[i] = cell[child];
        }
        cell[i] = x;
        return best;
}

/* Compares a cell's members by their bytes. */
static void scan(const struct ivf *c, uint32_t cell, float scale, struct ivf_room *room, size_t *found, size_t most)
{
        int32_t score[BLOCK];

        for (uint32_t begin = c->start[cell], end = c->start[cell + 1]; begin < end; begin += BLOCK) {
                uint32_t n = MIN(end - begin, BLOCK);

                dot_rows(room->wide, c->code + (size_t)begin * c->dim, n, c->dim, score);
                for (uint32_t i = 0; i < n; i++) {
                        struct ivf_hit x = { begin + i, (float)score[i] * c->scale[begin + i] * scale };

                        if (*found < most || x.score >= room->heap[0].score)
                                keep(room->heap, found, most, x);
                }
        }
}

static void sort_by_floats(const struct ivf *c, const float *q, struct ivf_hit *hit, size_t n)
{
        for (size_t i = 0; i < n; i++)
                hit[i].score = dot_floats(q, c->vector + (size_t)hit[i].id * c->dim, c->dim);
        qsort(hit, n, sizeof *hit, best_first);
}

size_t ivf_search(const struct ivf *c, const float *q, uint32_t from, size_t budget, size_t k, struct ivf_room *room,
                  struct ivf_hit *hit)
{
        size_t most = MIN(k + k / 4 + MORE, room->heap_room), found = 0, seen = 0, n_cells;
        float scale;

        if (k == 0 || k > IVF_K_MAX)
                return 0;
        if (budget >= c->start[c->n_cells]) {
                for (uint32_t id = 0; id < c->start[c->n_cells]; id++)
                        keep(room->heap, &found, k, (struct ivf_hit){ id, dot_floats(q, c->vector + (size_t)id * c->dim, c->dim) });
                qsort(room->heap, found, sizeof *room->heap, best_first);
        } else {
                scale = dot_quantise(q, c->dim, room->code);
                for (size_t i = 0; i < c->dim; i++)
                        room->wide[i] = room->code[i];
                n_cells = choose(c, q, from, MAX(budget, most), room->cell);
                while (n_cells > 0 && (seen < budget || found < most)) {
                        uint32_t cell = take(room->cell, &n_cells);

                        scan(c, cell, scale, room, &found, most);
                        seen += c->start[cell + 1] - c->start[cell];
                }
                sort_by_floats(c, q, room->heap, found);
        }
        found = MIN(found, k);
        memcpy(hit, room->heap, found * sizeof *hit);
        return found;
}

uint32_t ivf_of(const struct ivf *c, uint32_t id)
{
        size_t low = 0, high = c->n_cells; /* the last cell that begins at or before id */

        if (id >= c->start[c->n_cells])
                return IVF_NONE;
        while (high - low > 1) {
                size_t middle = (low + high) / 2;

                if (c->start[middle] <= id)
                        low = middle;
                else
                        high = middle;
        }
        return (uint32_t)low;
}

static int check_floats(const float *v, size_t n, size_t cols, const char *what, char *why, size_t why_size)
{
        for (size_t i = 0; i < n; i++)
                if (!(fabsf(v[i]) < 1e6f)) {
                        (void)snprintf(why, why_size, "%s: row %zu, column %zu is not a finite number of a sensible size",
                                       what, i / cols, i % cols);
                        return -EINVAL;
                }
        return 0;
}

int ivf_check(const struct ivf *c, char *why, size_t why_size)
{
        for (size_t i = 0; i < c->n_cells; i++)
                if (c->start[i] > c->start[i + 1] || c->start[i + 1] > c->n) {
                        (void)snprintf(why, why_size, "cell %zu has members %u to %u of %zu", i, c->start[i], c->start[i + 1], c->n);
                        return -EINVAL;
                }
        if (c->start[0] != 0) {
                (void)snprintf(why, why_size, "the first cell begins at %u", c->start[0]);
                return -EINVAL;
        }
        for (size_t i = 0; i < c->n_cells * c->n_near; i++)
                if (c->near[i] != IVF_NONE && c->near[i] >= c->n_cells) {
                        (void)snprintf(why, why_size, "cell %zu is near cell %u of %zu", i / c->n_near, c->near[i], c->n_cells);
                        return -EINVAL;
                }
        if (check_floats(c->centroid, c->n_cells * c->dim, c->dim, "centres", why, why_size) < 0 ||
            check_floats(c->vector, c->n * c->dim, c->dim, "vectors", why, why_size) < 0)
                return -EINVAL;
        return check_floats(c->scale, c->n, 1, "scales", why, why_size);
}
