/* SPDX-License-Identifier: Apache-2.0 */
/*
 * p(cell | user) is the share of the user's items in that cell; smoothed, own * p + (1 - own) * the neighbours' mean.  The query of a
 * cell is the mean of the user's own items in it, mixed with the mean of the neighbours' items in it by the same weight: so a cell that
 * the user never touched can be asked for too.
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "mixture.h"

enum { OWN, THEIRS };

int mixture_init(struct mixture *m)
{
        *m = (struct mixture){ 0 };
        return score_map_init(&m->cells);
}

void mixture_finish(struct mixture *m)
{
        score_map_finish(&m->cells);
        free(m->query);
        free(m->sums);
        *m = (struct mixture){ 0 };
}

static int count(struct mixture *m, const struct catalogue *c, const uint32_t *item, size_t n, int whose, float share)
{
        size_t placed = 0;

        for (size_t i = 0; i < n; i++)
                placed += item[i] < c->by_interest.start[c->by_interest.n_cells];
        for (size_t i = 0; i < n; i++) {
                uint32_t cell = ivf_of(&c->by_interest, item[i]);
                struct score_map_entry *e;

                if (cell == IVF_NONE)
                        continue;
                e = score_map_at(&m->cells, cell);
                if (!e)
                        return -ENOMEM;
                e->part[whose] += share / (float)placed;
        }
        return 0;
}

static int heaviest_first(const void *a, const void *b)
{
        const struct interests_part *x = a, *y = b;

        if (x->weight > y->weight || x->weight < y->weight)
                return x->weight < y->weight ? 1 : -1;
        return (x->interest > y->interest) - (x->interest < y->interest);
}

/* The heaviest cells, their weights brought to a sum of 1; then each cell's entry knows its place (flags, from 1). */
static void choose(struct mixture *m, float own, size_t most)
{
        float total = 0;

        m->n = 0;
        for (size_t i = 0; i < m->cells.n; i++) {
                struct score_map_entry *e = &m->cells.entry[i];
                struct interests_part x = { e->key, own * e->part[OWN] + (1 - own) * e->part[THEIRS] };
                size_t at = m->n;

                if (!(x.weight > 0) || (at == most && heaviest_first(&x, &m->part[most - 1]) > 0))
                        continue;
                if (at == most)
                        at--;
                else
                        m->n++;
                while (at > 0 && heaviest_first(&x, &m->part[at - 1]) < 0) {
                        m->part[at] = m->part[at - 1];
                        at--;
                }
                m->part[at] = x;
        }
        for (size_t i = 0; i < m->n; i++)
                total += m->part[i].weight;
        for (size_t i = 0; i < m->n; i++) {
                m->part[i].weight /= total;
                score_map_find(&m->cells, m->part[i].interest)->flags = (uint32_t)i + 1;
        }
}

/* Adds the vectors of the items whose cell was kept to sums[place][whose][dim], and their number to the cell's entry. */
static void add(struct mixture *m, const struct catalogue *c, const uint32_t *item, size_t n, int whose)
{
        const struct ivf *cells = &c->by_interest;

        for (size_t i = 0; i < n; i++) {
                uint32_t cell = ivf_of(cells, item[i]);
                struct score_map_entry *e = cell == IVF_NONE ? NULL : score_map_find(&m->cells, cell);
                const float *v = cells->vector + (size_t)item[i] * cells->dim;
                float *sum;

                if (!e || e->flags == 0)
                        continue;
                sum = m->sums + ((size_t)(e->flags - 1) * 2 + (size_t)whose) * cells->dim;
                for (size_t k = 0; k < cells->dim; k++)
                        sum[k] += v[k];
                e->part[2 + whose]++;
        }
}

static void make_queries(struct mixture *m, size_t dim, float own)
{
        for (size_t p = 0; p < m->n; p++) {
                const struct score_map_entry *e = score_map_find(&m->cells, m->part[p].interest);
                const float *mine = m->sums + 2 * p * dim, *theirs = mine + dim;
                float a = e->part[2 + OWN] > 0 ? own / e->part[2 + OWN] : 0, b = e->part[2 + THEIRS] > 0 ? (1 - own) / e->part[2 + THEIRS] : 0;

                for (size_t k = 0; k < dim; k++)
                        m->query[p * dim + k] = a * mine[k] + b * theirs[k];
                (void)dot_normalise(m->query + p * dim, dim);
        }
}

static int make_room(struct mixture *m, size_t n)
{
        float *query, *sums;

        if (n <= m->query_room)
                return 0;
        query = realloc(m->query, n * sizeof *query);
        if (!query)
                return -ENOMEM;
        m->query = query;
        sums = realloc(m->sums, 2 * n * sizeof *sums);
        if (!sums)
                return -ENOMEM;
        m->sums = sums;
        m->query_room = n;
        return 0;
}

/* A vector belongs to the cell whose centre is most like it. */
static uint32_t cell_of_vector(const struct ivf *c, const float *v)
{
        uint32_t best = IVF_NONE;
        float most = 0;

        for (uint32_t i = 0; i < c->n_cells; i++) {
                float score = dot_floats(v, c->centroid + (size_t)i * c->dim, c->dim);

                if (c->start[i] < c->start[i + 1] && (best == IVF_NONE || score > most)) {
                        best = i;
                        most = score;
                }
        }
        return best;
}

/* The user's own vectors count as items of its own would, by their weights: pass 0 counts, pass 1 adds them to the kept cells' queries. */
static int take_vectors(struct mixture *m, const struct catalogue *c, const struct mixture_parts *of, int pass)
{
        size_t dim = c->by_interest.dim;
        float total = (float)of->n;

        for (size_t i = 0; i < of->n_vectors; i++)
                total += of->vector_weight[i];
        for (size_t i = 0; i < of->n_vectors; i++) {
                const float *v = of->vector + i * dim;
                float length = sqrtf(dot_floats(v, v, dim)), weight = of->vector_weight[i];
                uint32_t cell = cell_of_vector(&c->by_interest, v);
                struct score_map_entry *e;

                if (cell == IVF_NONE || !(length > 0))
                        continue;
                e = pass == 0 ? score_map_at(&m->cells, cell) : score_map_find(&m->cells, cell);
                if (!e && pass == 0)
                        return -ENOMEM;
                if (pass == 0)
                        e->part[OWN] += weight / total;
                if (pass == 0 || !e || e->flags == 0)
                        continue;
                for (size_t k = 0; k < dim; k++)
                        m->sums[(size_t)(e->flags - 1) * 2 * dim + k] += weight / length * v[k];
                e->part[2 + OWN] += weight;
        }
        return 0;
}

int mixture_make(struct mixture *m, const struct catalogue *c, const struct interests_settings *s, const struct mixture_parts *of)
{
        size_t dim = c->by_interest.dim, placed = 0, most = MIN(MAX(s->interests, 1), MIXTURE_PARTS_MAX);
        float own;

        score_map_clear(&m->cells);
        m->n = 0;
        if (count(m, c, of->history, of->n, OWN, 1) < 0 || take_vectors(m, c, of, 0) < 0)
                return -ENOMEM;
        placed = m->cells.n;
        for (size_t i = 0; i < of->n_neighbours; i++) {
                size_t theirs;
                const uint32_t *item = lists_at(&c->history, of->neighbour[i], &theirs);

                if (count(m, c, item, MIN(theirs, MIXTURE_HISTORY_MAX), THEIRS, 1 / (float)of->n_neighbours) < 0)
                        return -ENOMEM;
        }
        own = of->n_neighbours == 0 ? 1 : placed == 0 ? 0 : (float)s->own;
        choose(m, own, most);
        if (make_room(m, MAX(m->n, (size_t)1) * dim) < 0)
                return -ENOMEM;
        memset(m->sums, 0, 2 * m->n * dim * sizeof *m->sums);
        add(m, c, of->history, of->n, OWN);
        (void)take_vectors(m, c, of, 1);
        for (size_t i = 0; i < of->n_neighbours; i++) {
                size_t theirs;
                const uint32_t *item = lists_at(&c->history, of->neighbour[i], &theirs);

                add(m, c, item, MIN(theirs, MIXTURE_HISTORY_MAX), THEIRS);
        }
        make_queries(m, dim, own);
        return 0;
}
