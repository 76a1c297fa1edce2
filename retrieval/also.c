/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row of A'A at a time, in a dense row of sums; only its best stay.
 */
#include <math.h>
#include <stdatomic.h>

#include "also.h"
#include "base.h"
#include "parallel.h"

struct scored {
        uint32_t item;
        float score;
};

struct work {
        const struct sparse *m;
        struct sparse t;
        const struct also_settings *s;
        float *user_scale, *item_scale;
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
        struct work *w = ctx;
        const struct sparse *m = w->m, *t = &w->t;
        CLEANUP(free_p) float *sum = calloc(m->cols + 1, sizeof *sum);
        CLEANUP(free_p) struct scored *touched = malloc((m->cols + 1) * sizeof *touched);

        if (!sum || !touched) {
                atomic_store(&w->no_memory, true);
                return;
        }
        for (size_t i = begin; i < end; i++) {
                size_t n = 0, kept;

                for (uint64_t k = t->start[i]; k < t->start[i + 1]; k++) {
                        uint32_t user = t->col[k];
                        float scale = t->value[k] * w->user_scale[user];

                        if (m->start[user + 1] - m->start[user] > w->s->user_max)
                                continue;
                        for (uint64_t j = m->start[user]; j < m->start[user + 1]; j++) {
                                if (m->col[j] == i)
                                        continue;
                                if (!(sum[m->col[j]] > 0))
                                        touched[n++].item = m->col[j];
                                sum[m->col[j]] += scale * m->value[j];
                        }
                }
                for (size_t k = 0; k < n; k++) {
                        touched[k].score = sum[touched[k].item] * w->item_scale[touched[k].item] * w->item_scale[i];
                        sum[touched[k].item] = 0;
                }
                qsort(touched, n, sizeof *touched, best_first);
                kept = MIN(n, w->s->most);
                memcpy(w->found + i * w->s->most, touched, kept * sizeof *touched);
                w->n_found[i] = (uint32_t)kept;
        }
}

static void scales(struct work *w)
{
        sparse_sums(w->m, w->user_scale);
        sparse_sums(&w->t, w->item_scale);
        for (size_t i = 0; i < w->m->rows; i++)
                w->user_scale[i] = w->user_scale[i] > 0 ? (float)pow((double)w->user_scale[i], -2 * w->s->user_exponent) : 0;
        for (size_t i = 0; i < w->m->cols; i++)
                w->item_scale[i] = w->item_scale[i] > 0 ? (float)pow((double)w->item_scale[i], -w->s->item_exponent) : 0;
}

static int pack(const struct work *w, struct also *ret)
{
        size_t n = w->m->cols, total = 0;

        for (size_t i = 0; i < n; i++)
                total += w->n_found[i];
        *ret = (struct also){ calloc(n + 1, sizeof *ret->start), malloc((total + 1) * sizeof *ret->of),
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

int also_make(const struct sparse *m, const struct also_settings *s, struct also *ret)
{
        struct work w = { .m = m, .s = s };
        size_t grain = MAX(m->cols / (8 * (size_t)s->threads) + 1, (size_t)64);
        int r = sparse_transpose(m, &w.t);

        w.user_scale = malloc((m->rows + 1) * sizeof *w.user_scale);
        w.item_scale = malloc((m->cols + 1) * sizeof *w.item_scale);
        w.found = malloc((m->cols * s->most + 1) * sizeof *w.found);
        w.n_found = calloc(m->cols + 1, sizeof *w.n_found);
        *ret = (struct also){ NULL };
        if (r == 0 && (!w.user_scale || !w.item_scale || !w.found || !w.n_found))
                r = -ENOMEM;
        if (r == 0) {
                scales(&w);
                parallel_rows(s->threads, m->cols, grain, rows, &w);
                r = atomic_load(&w.no_memory) ? -ENOMEM : pack(&w, ret);
        }
        if (r < 0)
                also_finish(ret);
        sparse_finish(&w.t);
        free(w.user_scale);
        free(w.item_scale);
        free(w.found);
        free(w.n_found);
        return r;
}

void also_finish(struct also *a)
{
        free(a->start);
        free(a->of);
        free(a->part);
        free(a->best);
        *a = (struct also){ NULL };
}
