/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row of A'A at a time, in a dense row of sums; only its best stay.  Whether an item is in the row is said by the row's number beside its
 * sum and never by the sum: weights are as small as 1e-30, and a product of two may be 0.  Sums and scales are double for the same reason;
 * a score that is less than a float's sums can hold is none.
 */
#include <math.h>
#include <stdatomic.h>

#include "base.h"
#include "catalogue.h"
#include "cooccurrence.h"
#include "parallel.h"

struct scored {
        uint32_t item;
        float score;
};

struct cooccurrence_work {
        const struct sparse *m;
        struct sparse t;
        const struct cooccurrence_settings *s;
        double *user_scale, *item_scale;
        struct scored *found;   /* [items][most] */
        uint32_t *n_found;      /* [items] */
        atomic_bool no_memory;
};

static int best_first(const void *a, const void *b)
{
        const struct scored *x = a, *y = b;

        if (x->score > y->score || x->score < y->score)
                return x->score < y->score ? 1 : -1;
        return (x->item > y->item) - (x->item < y->item);
}

static void rows(void *ctx, size_t begin, size_t end)
{
        struct cooccurrence_work *w = ctx;
        const struct sparse *m = w->m, *t = &w->t;
        CLEANUP(free_p) double *sum = malloc((m->cols + 1) * sizeof *sum);
        CLEANUP(free_p) uint32_t *row = malloc((m->cols + 1) * sizeof *row); /* that the sum belongs to */
        CLEANUP(free_p) struct scored *touched = malloc((m->cols + 1) * sizeof *touched);

        if (!sum || !row || !touched) {
                atomic_store(&w->no_memory, true);
                return;
        }
        memset(row, 0xff, (m->cols + 1) * sizeof *row);
        for (size_t i = begin; i < end; i++) {
                size_t n = 0, kept = 0;

                for (uint64_t k = t->start[i]; k < t->start[i + 1]; k++) {
                        uint32_t user = t->col[k];
                        double scale = (double)t->value[k] * w->user_scale[user];

                        if (m->start[user + 1] - m->start[user] > w->s->user_max)
                                continue;
                        for (uint64_t j = m->start[user]; j < m->start[user + 1]; j++) {
                                uint32_t item = m->col[j];

                                if (item == i)
                                        continue;
                                if (row[item] != i) {
                                        row[item] = (uint32_t)i;
                                        sum[item] = 0;
                                        touched[n++].item = item;
                                }
                                sum[item] += scale * (double)m->value[j];
                        }
                }
                for (size_t k = 0; k < n; k++) {
                        double score = sum[touched[k].item] * w->item_scale[touched[k].item] * w->item_scale[i];

                        if (score >= ALSO_MIN)
                                touched[kept++] = (struct scored){ touched[k].item, (float)MIN(score, ALSO_MAX) };
                }
                qsort(touched, kept, sizeof *touched, best_first);
                kept = MIN(kept, w->s->most);
                memcpy(w->found + i * w->s->most, touched, kept * sizeof *touched);
                w->n_found[i] = (uint32_t)kept;
        }
}

/* Each row's sum to that power; 0 for one without cells. */
static void scales(const struct sparse *m, double exponent, double *scale)
{
        for (size_t r = 0; r < m->rows; r++) {
                double sum = 0;

                for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++)
                        sum += (double)m->value[i];
                scale[r] = sum > 0 ? pow(sum, exponent) : 0;
        }
}

static int pack(const struct cooccurrence_work *w, struct cooccurrence *ret)
{
        size_t n = w->m->cols, total = 0;

        for (size_t i = 0; i < n; i++)
                total += w->n_found[i];
        *ret = (struct cooccurrence){ calloc(n + 1, sizeof *ret->start), malloc((total + 1) * sizeof *ret->of),
                                      malloc((total + 1) * sizeof *ret->part), calloc(n + 1, sizeof *ret->best) };
        if (!ret->start || !ret->of || !ret->part || !ret->best)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const struct scored *row = w->found + i * w->s->most;

                ret->start[i + 1] = ret->start[i] + w->n_found[i];
                ret->best[i] = w->n_found[i] > 0 ? row[0].score : 0;
                for (size_t k = 0; k < w->n_found[i]; k++) {
                        ret->of[ret->start[i] + k] = row[k].item;
                        ret->part[ret->start[i] + k] = (uint16_t)lrintf(65535 * row[k].score / ret->best[i]);
                }
        }
        return 0;
}

int cooccurrence_make(const struct sparse *m, const struct cooccurrence_settings *s, struct cooccurrence *ret)
{
        struct cooccurrence_work w = { .m = m, .s = s };
        size_t grain = MAX(m->cols / (8 * (size_t)s->threads) + 1, (size_t)64);
        int r = sparse_transpose(m, &w.t);

        w.user_scale = malloc((m->rows + 1) * sizeof *w.user_scale);
        w.item_scale = malloc((m->cols + 1) * sizeof *w.item_scale);
        w.found = malloc((m->cols * s->most + 1) * sizeof *w.found);
        w.n_found = calloc(m->cols + 1, sizeof *w.n_found);
        *ret = (struct cooccurrence){ NULL };
        if (r == 0 && (!w.user_scale || !w.item_scale || !w.found || !w.n_found))
                r = -ENOMEM;
        if (r == 0) {
                scales(m, -2 * s->user_exponent, w.user_scale);
                scales(&w.t, -s->item_exponent, w.item_scale);
                parallel_rows(s->threads, m->cols, grain, rows, &w);
                r = atomic_load(&w.no_memory) ? -ENOMEM : pack(&w, ret);
        }
        if (r < 0)
                cooccurrence_finish(ret);
        sparse_finish(&w.t);
        free(w.user_scale);
        free(w.item_scale);
        free(w.found);
        free(w.n_found);
        return r;
}

void cooccurrence_finish(struct cooccurrence *a)
{
        free(a->start);
        free(a->of);
        free(a->part);
        free(a->best);
        *a = (struct cooccurrence){ NULL };
}
