/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For one user with items of vectors y and confidences c the equations are (Y'Y + ridge + sum (c - 1) y y') x = sum c y.  Y'Y is the same
 * for all; the rest is applied item by item, so a step of conjugate gradients costs dim^2 + items * dim and no matrix is inverted
 * (Takacs, Pilaszy, Tikk, 2011).
 */
#include <cblas.h>
#include <math.h>

#include "als.h"
#include "base.h"
#include "dot.h"
#include "noise.h"
#include "parallel.h"

#define DIM_MAX 1024

struct half {
        const struct sparse *m;
        const struct als_settings *s;
        const float *gram;   /* [dim][dim], ridge on its diagonal */
        const float *fixed;  /* [m->cols][dim] */
        float *solved;       /* [m->rows][dim] */
};

/* y = (gram + sum (c - 1) y y') x for row r. */
static void apply(const struct half *h, size_t r, const float *x, float *y)
{
        size_t dim = h->s->dim;

        for (size_t k = 0; k < dim; k++)
                y[k] = dot_floats(h->gram + k * dim, x, dim);
        for (uint64_t i = h->m->start[r]; i < h->m->start[r + 1]; i++) {
                const float *v = h->fixed + (size_t)h->m->col[i] * dim;
                float c = (float)h->s->alpha * h->m->value[i] * dot_floats(v, x, dim);

                for (size_t k = 0; k < dim; k++)
                        y[k] += c * v[k];
        }
}

static void solve(const struct half *h, size_t r)
{
        float residue[DIM_MAX], direction[DIM_MAX], image[DIM_MAX], rest, *x = h->solved + r * h->s->dim;
        size_t dim = h->s->dim;

        if (h->m->start[r] == h->m->start[r + 1]) {
                memset(x, 0, dim * sizeof *x);
                return;
        }
        apply(h, r, x, residue);
        for (size_t k = 0; k < dim; k++)
                residue[k] = -residue[k];
        for (uint64_t i = h->m->start[r]; i < h->m->start[r + 1]; i++) {
                const float *v = h->fixed + (size_t)h->m->col[i] * dim;
                float c = 1 + (float)h->s->alpha * h->m->value[i];

                for (size_t k = 0; k < dim; k++)
                        residue[k] += c * v[k];
        }
        memcpy(direction, residue, dim * sizeof *direction);
        rest = dot_floats(residue, residue, dim);
        for (unsigned step = 0; step < h->s->steps && rest > 1e-12f; step++) {
                float size, before = rest;

                apply(h, r, direction, image);
                size = rest / dot_floats(direction, image, dim);
                for (size_t k = 0; k < dim; k++) {
                        x[k] += size * direction[k];
                        residue[k] -= size * image[k];
                }
                rest = dot_floats(residue, residue, dim);
                for (size_t k = 0; k < dim; k++)
                        direction[k] = residue[k] + rest / before * direction[k];
        }
}

static void solve_rows(void *ctx, size_t begin, size_t end)
{
        for (size_t r = begin; r < end; r++)
                solve(ctx, r);
}

static void solve_half(const struct sparse *m, const struct als_settings *s, float *gram, const float *fixed, float *solved)
{
        int dim = (int)s->dim;
        struct half h = { m, s, gram, fixed, solved };

        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, dim, dim, (int)m->cols, 1, fixed, dim, fixed, dim, 0, gram, dim);
        for (size_t k = 0; k < s->dim; k++)
                gram[k * s->dim + k] += (float)s->ridge;
        parallel_rows(s->threads, m->rows, 64, solve_rows, &h);
}

static void begin_at(float *x, size_t n, size_t dim, uint64_t seed)
{
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < dim; k++)
                        x[i * dim + k] = (float)((noise_uniform(noise_bits(seed, i, k)) - .5) / (double)dim);
}

int als(const struct sparse *m, const struct als_settings *s, float *users, float *items)
{
        CLEANUP(free_p) float *gram = malloc(s->dim * s->dim * sizeof *gram);
        CLEANUP(sparse_finish) struct sparse t = { 0 };

        assert(s->dim > 0 && s->dim <= DIM_MAX);
        if (!gram || sparse_transpose(m, &t) < 0)
                return -ENOMEM;
        openblas_set_num_threads((int)s->threads);
        begin_at(users, m->rows, s->dim, s->seed);
        begin_at(items, m->cols, s->dim, s->seed + 1);
        for (unsigned i = 0; i < s->rounds; i++) {
                if (s->progress)
                        s->progress(s->ctx, i, s->rounds);
                solve_half(m, s, gram, items, users);
                solve_half(&t, s, gram, users, items);
        }
        return 0;
}
