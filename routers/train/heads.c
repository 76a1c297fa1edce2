/* SPDX-License-Identifier: Apache-2.0 */
#include "heads.h"

#include <math.h>

#include "base.h"
#include "ngrams.h"
#include "progress.h"

#define ROUNDS 15 /* what is strongly held back is there after a dozen */

static int add_row(struct heads_rows *r, size_t i, const struct jsonl_row *row, const struct classifier_parts *p, struct ngrams *f)
{
        double length = 0;
        size_t n = r->first[i];

        ngrams_begin(f, row->text, row->n, p->bits, p->text_max);
        while (ngrams_next(f)) {
                if (n + f->n > r->room) {
                        size_t room = MAX(2 * r->room, n + f->n);
                        uint32_t *grown = realloc(r->bucket, room * sizeof *grown);

                        if (!grown)
                                return -ENOMEM;
                        r->bucket = grown;
                        r->room = room;
                }
                for (size_t k = 0; k < f->n; k++) {
                        r->bucket[n++] = f->bucket[k];
                        length += (double)r->root[f->bucket[k]] * (double)r->root[f->bucket[k]];
                }
        }
        r->first[i + 1] = n;
        r->over[i] = length > 0 ? (float)(1 / sqrt(length)) : 0;
        return 0;
}

static int make(const struct jsonl_rows *rows, const struct classifier_parts *p, const struct encoder *e, struct heads_rows *r)
{
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);
        size_t columns = classifier_columns(p->categories);
        int got = 0;

        r->n = rows->n;
        r->buckets = (size_t)1 << p->bits;
        r->dim = e ? encoder_dim(e) : 0;
        r->first = calloc(rows->n + 1, sizeof *r->first);
        r->root = calloc(r->buckets, sizeof *r->root);
        r->over = calloc(rows->n + 1, sizeof *r->over);
        r->vector = calloc(rows->n * r->dim + 1, sizeof *r->vector);
        if (!f || !r->first || !r->root || !r->over || !r->vector)
                return -ENOMEM;
        for (size_t b = 0; b < r->buckets; b++)
                r->root[b] = sqrtf((float)p->rows[b * columns + p->categories]);
        for (size_t i = 0; got == 0 && i < rows->n; i++) {
                const struct jsonl_row *row = &rows->list[i];

                got = add_row(r, i, row, p, f);
                if (got == 0 && e && r->over[i] > 0) {
                        got = encoder_encode(e, NULL, row->text, row->n, p->text_max, r->vector + i * r->dim, NULL);
                        if (got < 0)
                                (void)fprintf(stderr, "the encoder's numbers are not finite\n");
                }
                for (size_t d = 0; d < r->dim; d++)
                        r->vector[i * r->dim + d] *= (float)HEADS_DENSE_WEIGHT;
        }
        return got;
}

int heads_rows_make(const struct jsonl_rows *rows, const struct classifier_parts *p, const struct encoder *e, struct heads_rows *ret)
{
        struct heads_rows r = { 0 };
        int got = make(rows, p, e, &r);

        if (got < 0)
                heads_rows_finish(&r);
        else
                *ret = r;
        return got;
}

void heads_rows_finish(struct heads_rows *r)
{
        free(r->first);
        free(r->bucket);
        free(r->root);
        free(r->over);
        free(r->vector);
        *r = (struct heads_rows){ 0 };
}

/* ---- conjugate gradients ------------------------------------------------------------------------------------------------ */

/* w[features][k] += x_i a[k]. */
static void scatter(const struct heads_rows *r, size_t i, const float *a, size_t n, float *w)
{
        for (size_t j = r->first[i]; j < r->first[i + 1]; j++) {
                float v = r->root[r->bucket[j]] * r->over[i], *to = w + (size_t)r->bucket[j] * n;

                for (size_t k = 0; k < n; k++)
                        to[k] += v * a[k];
        }
        for (size_t d = 0; d < r->dim; d++) {
                float v = r->vector[i * r->dim + d], *to = w + (r->buckets + d) * n;

                for (size_t k = 0; k < n; k++)
                        to[k] += v * a[k];
        }
}

/* a[k] = w[.][k] . x_i */
static void gather(const struct heads_rows *r, size_t i, const float *w, size_t n, float *a)
{
        memset(a, 0, n * sizeof *a);
        for (size_t j = r->first[i]; j < r->first[i + 1]; j++) {
                float v = r->root[r->bucket[j]] * r->over[i];
                const float *from = w + (size_t)r->bucket[j] * n;

                for (size_t k = 0; k < n; k++)
                        a[k] += v * from[k];
        }
        for (size_t d = 0; d < r->dim; d++) {
                float v = r->vector[i * r->dim + d];
                const float *from = w + (r->buckets + d) * n;

                for (size_t k = 0; k < n; k++)
                        a[k] += v * from[k];
        }
}

static bool used(const bool *use, size_t i)
{
        return !use || use[i];
}

/* What one fit works on: [rows][n] each. */
struct descent {
        const struct heads_rows *r;
        const bool *use;
        const float *target;
        size_t n;
        float *a, *residual, *direction, *product;
        double *size, *part; /* [n]: of the residual; of direction . product */
};

static void begin(struct descent *d, const double *mean)
{
        memset(d->size, 0, d->n * sizeof *d->size);
        for (size_t i = 0; i < d->r->n; i++)
                for (size_t k = 0; k < d->n; k++) {
                        float y = d->target[i * d->n + k], x = used(d->use, i) && !isnan(y) ? y - (float)mean[k] : 0;

                        d->residual[i * d->n + k] = d->direction[i * d->n + k] = x;
                        d->size[k] += (double)x * (double)x;
                }
}

/* product = (X X^T + lambda) direction, where there are outcomes. */
static void multiply(struct descent *d, double lambda, float *w)
{
        size_t n = d->n;

        memset(w, 0, (d->r->buckets + d->r->dim) * n * sizeof *w);
        memset(d->part, 0, n * sizeof *d->part);
        for (size_t i = 0; i < d->r->n; i++)
                if (used(d->use, i))
                        scatter(d->r, i, d->direction + i * n, n, w);
        for (size_t i = 0; i < d->r->n; i++) {
                float *p = d->product + i * n;

                if (!used(d->use, i))
                        continue;
                gather(d->r, i, w, n, p);
                for (size_t k = 0; k < n; k++) {
                        p[k] = isnan(d->target[i * n + k]) ? 0 : p[k] + (float)lambda * d->direction[i * n + k];
                        d->part[k] += (double)p[k] * (double)d->direction[i * n + k];
                }
        }
}

static void step(struct descent *d)
{
        size_t n = d->n;
        double size[HEADS_MAX] = { 0 };

        for (size_t i = 0; i < d->r->n * n; i++) {
                size_t k = i % n;
                float by = d->part[k] > 1e-30 ? (float)(d->size[k] / d->part[k]) : 0;

                d->a[i] += by * d->direction[i];
                d->residual[i] -= by * d->product[i];
                size[k] += (double)d->residual[i] * (double)d->residual[i];
        }
        for (size_t i = 0; i < d->r->n * n; i++) {
                size_t k = i % n;

                d->direction[i] = d->residual[i] + (d->size[k] > 1e-30 ? (float)(size[k] / d->size[k]) : 0) * d->direction[i];
        }
        memcpy(d->size, size, n * sizeof *size);
}

static void means(const struct heads_rows *r, const bool *use, const float *target, size_t n, double *mean)
{
        for (size_t k = 0; k < n; k++) {
                double sum = 0, m = 0;

                for (size_t i = 0; i < r->n; i++)
                        if (used(use, i) && !isnan(target[i * n + k])) {
                                sum += (double)target[i * n + k];
                                m++;
                        }
                mean[k] = m > 0 ? sum / m : 0;
        }
}

int heads_fit(const struct heads_rows *r, const bool *use, const float *target, size_t n, double lambda, struct heads *ret)
{
        size_t cells = r->n * n;
        CLEANUP(free_p) float *room = calloc(4 * cells + 1, sizeof *room);
        CLEANUP(free_p) double *sums = calloc(2 * n, sizeof *sums);
        struct heads h = { .n = n, .features = r->buckets + r->dim };
        struct descent d = { r, use, target, n, room, room + cells, room + 2 * cells, room + 3 * cells, sums, sums + n };

        assert(n >= 1 && n <= HEADS_MAX);
        h.weight = calloc(h.features * n, sizeof *h.weight);
        h.mean = calloc(n, sizeof *h.mean);
        if (!room || !sums || !h.weight || !h.mean) {
                heads_finish(&h);
                return -ENOMEM;
        }
        means(r, use, target, n, h.mean);
        begin(&d, h.mean);
        for (unsigned round = 0; round < ROUNDS; round++) {
                progress_show("heads", round, ROUNDS);
                multiply(&d, lambda, h.weight);
                step(&d);
        }
        progress_done();
        memset(h.weight, 0, h.features * n * sizeof *h.weight);
        for (size_t i = 0; i < r->n; i++)
                if (used(use, i))
                        scatter(r, i, d.a + i * n, n, h.weight);
        *ret = h;
        return 0;
}

void heads_finish(struct heads *h)
{
        free(h->weight);
        free(h->mean);
        *h = (struct heads){ 0 };
}

void heads_score(const struct heads *h, const struct heads_rows *r, size_t i, float *score)
{
        gather(r, i, h->weight, h->n, score);
        for (size_t k = 0; k < h->n; k++)
                score[k] += (float)h->mean[k];
}

/* ---- as columns --------------------------------------------------------------------------------------------------------- */

void heads_quantise(const struct heads *h, const struct heads_rows *r, double idf_step, size_t at, size_t columns, size_t categories, int8_t *rows,
                    float *scale, float *bias, float *dense)
{
        for (size_t k = 0; k < h->n; k++) {
                double most = 1e-12;

                for (size_t b = 0; b < r->buckets; b++)
                        most = MAX(most, fabs((double)h->weight[b * h->n + k] * (double)r->root[b]));
                for (size_t b = 0; b < r->buckets; b++)
                        rows[b * columns + at + k] = (int8_t)lround((double)h->weight[b * h->n + k] * (double)r->root[b] / most * 127);
                scale[at + k] = (float)(most * sqrt(idf_step) / 127);
                bias[at + k] = (float)h->mean[k];
                for (size_t d = 0; d < r->dim; d++)
                        dense[d * categories + at + k] = (float)HEADS_DENSE_WEIGHT * h->weight[(r->buckets + d) * h->n + k];
        }
}
