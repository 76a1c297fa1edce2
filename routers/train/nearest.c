/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of rows by feature; a feature that more than a quarter of them have is left out: it tells them apart little, and costs the most.
 */
#include <math.h>

#include "base.h"
#include "nearest.h"
#include "ngrams.h"

#define BITS 17
#define BUCKETS ((size_t)1 << BITS)
#define FEW 32 /* rows that a feature may have in any case */

struct posting {
        uint32_t *row;
        size_t n, room;
};

struct nearest {
        size_t n;                  /* rows, used or not */
        struct posting *posting;   /* [BUCKETS] */
        float *weight;             /* [BUCKETS] squared idf; 0: left out */
        float *length;             /* [n]; 0: not used, or without features */
};

static void nearest_p(struct nearest **x)
{
        nearest_destroy(*x);
}

static int add(struct posting *p, uint32_t row)
{
        if (p->n == p->room) {
                size_t room = MAX(p->room * 2, (size_t)4);
                uint32_t *grown = realloc(p->row, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                p->row = grown;
                p->room = room;
        }
        p->row[p->n++] = row;
        return 0;
}

static void weigh(struct nearest *x, size_t used)
{
        for (size_t b = 0; b < BUCKETS; b++) {
                const struct posting *p = &x->posting[b];
                double idf = log((1. + (double)used) / (1. + (double)p->n)) + 1;

                if (p->n == 0 || p->n > MAX(used / 4, (size_t)FEW))
                        continue;
                x->weight[b] = (float)(idf * idf);
                for (size_t i = 0; i < p->n; i++)
                        x->length[p->row[i]] += x->weight[b];
        }
        for (size_t i = 0; i < x->n; i++)
                x->length[i] = sqrtf(x->length[i]);
}

int nearest_create(const struct jsonl_rows *rows, const bool *use, struct nearest **ret)
{
        CLEANUP(nearest_p) struct nearest *x = calloc(1, sizeof *x);
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);
        size_t used = 0;

        if (!x || !f)
                return -ENOMEM;
        x->n = rows->n;
        x->posting = calloc(BUCKETS, sizeof *x->posting);
        x->weight = calloc(BUCKETS, sizeof *x->weight);
        x->length = calloc(rows->n + 1, sizeof *x->length);
        if (!x->posting || !x->weight || !x->length)
                return -ENOMEM;
        for (size_t i = 0; i < rows->n; i++) {
                if (!use[i])
                        continue;
                used++;
                ngrams_begin(f, rows->list[i].text, rows->list[i].n, BITS, NGRAMS_TEXT_MAX);
                while (ngrams_next(f))
                        for (size_t k = 0; k < f->n; k++)
                                if (add(&x->posting[f->bucket[k]], (uint32_t)i) < 0)
                                        return -ENOMEM;
        }
        weigh(x, used);
        *ret = TAKE(x);
        return 0;
}

void nearest_destroy(struct nearest *x)
{
        if (!x)
                return;
        for (size_t b = 0; x->posting && b < BUCKETS; b++)
                free(x->posting[b].row);
        free(x->posting);
        free(x->weight);
        free(x->length);
        free(x);
}

/* Keeps the k best in row[], the worst of them last. */
static size_t keep(const float *score, size_t i, size_t k, size_t *row, size_t n)
{
        size_t at;

        if (n == k && score[i] <= score[row[n - 1]])
                return n;
        at = n < k ? n++ : n - 1;
        for (; at > 0 && score[i] > score[row[at - 1]]; at--)
                row[at] = row[at - 1];
        row[at] = i;
        return n;
}

size_t nearest_find(const struct nearest *x, const char *text, size_t n, size_t k, float *score, size_t *row)
{
        struct ngrams f;
        size_t found = 0;

        memset(score, 0, x->n * sizeof *score);
        ngrams_begin(&f, text, n, BITS, NGRAMS_TEXT_MAX);
        while (ngrams_next(&f))
                for (size_t i = 0; i < f.n; i++) {
                        const struct posting *p = &x->posting[f.bucket[i]];
                        float w = x->weight[f.bucket[i]];

                        for (size_t at = 0; w > 0 && at < p->n; at++)
                                score[p->row[at]] += w;
                }
        for (size_t i = 0; i < x->n; i++)
                if (x->length[i] > 0 && score[i] > 0) {
                        score[i] /= x->length[i];
                        found = keep(score, i, MIN(k, (size_t)NEAREST_MAX), row, found);
                }
        return found;
}
