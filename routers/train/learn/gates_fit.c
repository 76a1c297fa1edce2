/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step is one over the greatest curvature, which power iteration finds; the offset b is a column of ones that is hardly held back.
 * With the penalty the problem is well conditioned, so that a hundred steps are plenty; it ends when a step moves nothing.
 */
#include "gates_fit.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "dot.h"
#include "parallel.h"

#define STEPS_MAX 400
#define STILL 1e-5       /* of the length of v: a step that is shorter ends it */
#define B_L2 .01         /* how much b is held back, of what v is */
#define GRAIN 512        /* rows of a piece; pieces are added up in their order, whatever thread had them */

struct gate_descent {
        const struct gates_fit *f;
        const float *at;  /* [dim + 1] */
        double *sums;     /* [pieces][dim + 1] */
        bool curvature;   /* not the gradient, but the Hessian's bound times `at` */
};

static void piece(void *ctx, size_t begin, size_t end)
{
        struct gate_descent *d = ctx;
        const struct gates_fit *f = d->f;
        double *sum = d->sums + begin / GRAIN * (f->dim + 1);

        memset(sum, 0, (f->dim + 1) * sizeof *sum);
        for (size_t i = begin; i < end; i++) {
                const float *x = f->x + i * f->dim;
                double z, by;

                if (isnan(f->outcome[i]))
                        continue;
                z = (double)dot_floats(d->at, x, f->dim) + (double)d->at[f->dim];
                if (d->curvature) {
                        by = .25 * z;
                } else {
                        z += f->offset ? (double)f->offset[i] : 0;
                        by = 1 / (1 + exp(-z)) - (double)f->outcome[i];
                }
                by *= (double)f->weight[i];
                for (size_t k = 0; k < f->dim; k++)
                        sum[k] += by * (double)x[k];
                sum[f->dim] += by;
        }
}

static void sum_up(struct gate_descent *d, const float *at, bool curvature, double *ret)
{
        const struct gates_fit *f = d->f;

        d->at = at;
        d->curvature = curvature;
        parallel_rows(f->threads, f->n, GRAIN, piece, d);
        for (size_t k = 0; k <= f->dim; k++)
                ret[k] = f->l2 * (k == f->dim ? B_L2 : 1) * (double)at[k];
        for (size_t p = 0; p < (f->n + GRAIN - 1) / GRAIN; p++)
                for (size_t k = 0; k <= f->dim; k++)
                        ret[k] += d->sums[p * (f->dim + 1) + k];
}

static double length(const double *v, size_t n)
{
        double s = 0;

        for (size_t i = 0; i < n; i++)
                s += v[i] * v[i];
        return sqrt(s);
}

/* The greatest eigenvalue of the curvature's bound, a little more to be safe. */
static double steepest(struct gate_descent *d, float *v, double *next)
{
        size_t n = d->f->dim + 1;
        double l = 0;

        for (size_t k = 0; k < n; k++)
                v[k] = (float)(1 / sqrt((double)n)) * (k % 2 ? 1 : -1);
        v[n - 1] = 1;
        for (int i = 0; i < 20; i++) {
                sum_up(d, v, true, next);
                l = length(next, n);
                for (size_t k = 0; l > 0 && k < n; k++)
                        v[k] = (float)(next[k] / l);
        }
        return 1.1 * l + 1e-9;
}

int gates_fit(const struct gates_fit *f, float *v)
{
        size_t n = f->dim + 1, pieces = (f->n + GRAIN - 1) / GRAIN;
        CLEANUP(free_p) double *sums = calloc(pieces * n + 1, sizeof *sums), *gradient = calloc(n, sizeof *gradient);
        CLEANUP(free_p) float *ahead = calloc(n, sizeof *ahead);
        struct gate_descent d = { .f = f, .sums = sums };
        double l, moved, t = 1;

        if (!sums || !gradient || !ahead)
                return -ENOMEM;
        l = steepest(&d, ahead, gradient);
        memset(ahead, 0, n * sizeof *ahead);
        memset(v, 0, n * sizeof *v);
        for (int step = 0; step < STEPS_MAX; step++) {
                double next = (1 + sqrt(1 + 4 * t * t)) / 2, size = 0, uphill = 0;

                sum_up(&d, ahead, false, gradient);
                moved = 0;
                for (size_t k = 0; k < n; k++) {
                        double to = (double)ahead[k] - gradient[k] / l, by = to - (double)v[k];

                        uphill += gradient[k] * by;
                        v[k] = (float)to;
                        ahead[k] = (float)(to + (t - 1) / next * by);
                        moved += by * by;
                        size += to * to;
                }
                t = next;
                if (uphill > 0) { /* it has run past: begin the run-up again (O'Donoghue & Candes, 2015) */
                        t = 1;
                        memcpy(ahead, v, n * sizeof *v);
                }
                if (moved <= STILL * STILL * size)
                        break;
        }
        return 0;
}
