/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With A the edges divided by their row's sum, and R a random matrix whose rows are weighted by degree^beta:
 *
 *         N_1 = A R,  N_i = A N_(i-1),  v = sum of weight_i N_i, each row of each N_i brought to length 1 before it is added.
 *
 * Bringing rows to length 1 matters more than anything else here: without it, well-connected nodes shrink towards the middle.  On a
 * graph of users and items odd powers of A speak of the other side and even powers of the own: give weight to one of each, or
 * users and items have nothing in common.
 */
#include <math.h>

#include "base.h"
#include "fastrp.h"
#include "noise.h"
#include "parallel.h"

struct pass {
        const struct fastrp_settings *s;
        double sparsity;
        const float *degree;
        float *x;        /* [n][dim] */
        float *v;
        float weight;
        size_t n;
};

float fastrp_entry(uint64_t seed, size_t row, size_t column, size_t dim, double sparsity)
{
        double u = noise_uniform(noise_bits(seed, row, column)) * sparsity;
        float size = (float)sqrt(sparsity / (double)dim);

        return u >= 1 ? 0 : u < .5 ? size : -size;
}

static void draw(void *ctx, size_t begin, size_t end)
{
        const struct pass *p = ctx;
        size_t dim = p->s->dim;

        for (size_t r = begin; r < end; r++) {
                float weight = p->degree[r] > 0 ? (float)fmin(fmax(pow((double)p->degree[r], p->s->beta), 1e-18), 1e18) : 0;

                for (size_t k = 0; k < dim; k++)
                        p->x[r * dim + k] = weight > 0 ? weight * fastrp_entry(p->s->seed, r, k, dim, p->sparsity) : 0;
        }
}

/* Adds x, its rows brought to length 1; x itself stays as it is: the next power is of the whole A^i R. */
static void add(void *ctx, size_t begin, size_t end)
{
        const struct pass *p = ctx;
        size_t dim = p->s->dim;

        for (size_t r = begin; r < end; r++) {
                const float *x = p->x + r * dim;
                double square = 0;
                float scale;

                for (size_t k = 0; k < dim; k++)
                        square += (double)x[k] * (double)x[k];
                scale = square > 0 ? (float)((double)p->weight / sqrt(square)) : 0;
                for (size_t k = 0; k < dim; k++)
                        p->v[r * dim + k] += scale * x[k];
        }
}

/* Columns to mean 0 and deviation 1 over the nodes that have edges; the others stay zeros. */
static void standardise(void *ctx, size_t begin, size_t end)
{
        const struct pass *p = ctx;
        size_t dim = p->s->dim;

        for (size_t k = begin; k < end; k++) {
                double sum = 0, square = 0, count = 0, mean, deviation;

                for (size_t r = 0; r < p->n; r++)
                        if (p->degree[r] > 0) {
                                sum += (double)p->v[r * dim + k];
                                count++;
                        }
                mean = count > 0 ? sum / count : 0;
                for (size_t r = 0; r < p->n; r++)
                        if (p->degree[r] > 0)
                                square += ((double)p->v[r * dim + k] - mean) * ((double)p->v[r * dim + k] - mean);
                deviation = count > 0 ? sqrt(square / count) : 0;
                for (size_t r = 0; r < p->n; r++)
                        if (p->degree[r] > 0)
                                p->v[r * dim + k] = (float)(((double)p->v[r * dim + k] - mean) / (deviation > 0 ? deviation : 1));
        }
}

int fastrp(const struct sparse *edges, const struct fastrp_settings *s, float *v)
{
        size_t n = edges->rows, cells = n * s->dim;
        CLEANUP(free_p) float *degree = malloc((n + 1) * sizeof *degree), *inverse = malloc((n + 1) * sizeof *inverse);
        CLEANUP(free_p) float *x = malloc((cells + 1) * sizeof *x), *y = malloc((cells + 1) * sizeof *y);
        struct pass p = { .s = s, .sparsity = s->sparsity > 0 ? s->sparsity : sqrt((double)MAX(n, (size_t)1)), .degree = degree, .v = v,
                          .n = n };

        if (!degree || !inverse || !x || !y)
                return -ENOMEM;
        assert(edges->rows == edges->cols);
        p.sparsity = MAX(p.sparsity, 1);
        sparse_sums(edges, degree);
        for (size_t r = 0; r < n; r++)
                inverse[r] = degree[r] > 0 ? 1 / degree[r] : 0;
        p.x = x;
        parallel_rows(s->threads, n, 1024, draw, &p);
        memset(v, 0, cells * sizeof *v);
        for (size_t i = 0; i < s->n_powers; i++) {
                float *before = x;

                sparse_times(edges, inverse, x, s->dim, s->threads, y);
                x = y;
                y = before;
                p.x = x;
                p.weight = (float)s->power[i];
                if (s->power[i] != 0)
                        parallel_rows(s->threads, n, 1024, add, &p);
        }
        if (s->standard)
                parallel_rows(s->threads, s->dim, 8, standardise, &p);
        return 0;
}
