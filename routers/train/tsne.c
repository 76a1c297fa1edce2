/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How near two vectors are is made a probability, with a width for each that gives it `perplexity` neighbours; the points are moved
 * until the same is true of them with a heavier-tailed kernel: downhill with momentum and a gain for each coordinate, and for the first
 * rounds with all nearness exaggerated, so that groups form before they part.
 */
#include <math.h>

#include "base.h"
#include "tsne.h"

#define ROUNDS 500
#define EXAGGERATED 120
#define EXAGGERATION 12.
#define POWER_ROUNDS 50

struct plane {
        size_t n, dim;
        float *near;              /* [n][n] */
        double (*at)[2], (*speed)[2], (*gain)[2], (*pull)[2];
};

static double square_distance(const float *a, const float *b, size_t dim)
{
        double dot = 0;

        for (size_t d = 0; d < dim; d++)
                dot += (double)a[d] * (double)b[d];
        return fmax(0, 2 - 2 * dot);
}

/* Row i of near: squared distances in, probabilities out, of the wanted perplexity. */
static void to_probabilities(float *row, size_t n, size_t i, double perplexity)
{
        double low = 0, high = INFINITY, beta = 1;
        CLEANUP(free_p) double *p = calloc(n, sizeof *p);

        for (int round = 0; p && round < 60; round++) {
                double sum = 1e-300, mean = 0, entropy;

                for (size_t k = 0; k < n; k++) {
                        p[k] = k == i ? 0 : exp(-beta * (double)row[k]);
                        sum += p[k];
                        mean += p[k] * (double)row[k];
                }
                entropy = log(sum) + beta * mean / sum;
                for (size_t k = 0; k < n; k++)
                        p[k] /= sum;
                if (fabs(entropy - log(perplexity)) < 1e-5)
                        break;
                if (entropy > log(perplexity))
                        low = beta;
                else
                        high = beta;
                beta = isinf(high) ? beta * 2 : (low + high) / 2;
        }
        for (size_t k = 0; p && k < n; k++)
                row[k] = (float)p[k];
}

static void nearness(struct plane *x, const float *vectors, double perplexity)
{
        size_t n = x->n;

        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++)
                        x->near[i * n + k] = x->near[k * n + i] =
                                (float)square_distance(vectors + i * x->dim, vectors + k * x->dim, x->dim);
        for (size_t i = 0; i < n; i++)
                to_probabilities(x->near + i * n, n, i, perplexity);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++)
                        x->near[i * n + k] = x->near[k * n + i] =
                                (x->near[i * n + k] + x->near[k * n + i]) / (2 * (float)n);
}

/* One principal component by repeated multiplication, apart from the one before it. */
static void component(const struct plane *x, const float *vectors, const double *mean, const double *other, double *axis, double *next)
{
        size_t dim = x->dim;

        for (size_t d = 0; d < dim; d++)
                axis[d] = 1 + .1 * (double)(d % 7);
        for (int round = 0; round < POWER_ROUNDS; round++) {
                double length = 1e-300, along = 0;

                memset(next, 0, dim * sizeof *next);
                for (size_t i = 0; i < x->n; i++) {
                        const float *v = vectors + i * dim;
                        double dot = 0;

                        for (size_t d = 0; d < dim; d++)
                                dot += ((double)v[d] - mean[d]) * axis[d];
                        for (size_t d = 0; d < dim; d++)
                                next[d] += dot * ((double)v[d] - mean[d]);
                }
                for (size_t d = 0; other && d < dim; d++)
                        along += next[d] * other[d];
                for (size_t d = 0; d < dim; d++) {
                        next[d] -= other ? along * other[d] : 0;
                        length += next[d] * next[d];
                }
                for (size_t d = 0; d < dim; d++)
                        axis[d] = next[d] / sqrt(length);
        }
}

static int begin(struct plane *x, const float *vectors)
{
        size_t dim = x->dim;
        CLEANUP(free_p) double *room = calloc(4 * dim, sizeof *room);
        double *mean = room, *axis[2] = { room + dim, room + 2 * dim };

        if (!room)
                return -ENOMEM;
        for (size_t i = 0; i < x->n; i++)
                for (size_t d = 0; d < dim; d++)
                        mean[d] += (double)vectors[i * dim + d] / (double)x->n;
        for (int c = 0; c < 2; c++)
                component(x, vectors, mean, c ? axis[0] : NULL, axis[c], room + 3 * dim);
        for (size_t i = 0; i < x->n; i++)
                for (int c = 0; c < 2; c++) {
                        x->at[i][c] = 0;
                        for (size_t d = 0; d < dim; d++)
                                x->at[i][c] += 1e-3 * ((double)vectors[i * dim + d] - mean[d]) * axis[c][d];
                        x->gain[i][c] = 1;
                }
        return 0;
}

/* Which way every point is pulled and pushed. */
static void forces(struct plane *x, double exaggeration)
{
        size_t n = x->n;
        double sum = 1e-300;

        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++) {
                        double dx = x->at[i][0] - x->at[k][0], dy = x->at[i][1] - x->at[k][1];

                        sum += 2 / (1 + dx * dx + dy * dy);
                }
        memset(x->pull, 0, n * sizeof *x->pull);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++) {
                        double dx = x->at[i][0] - x->at[k][0], dy = x->at[i][1] - x->at[k][1], q = 1 / (1 + dx * dx + dy * dy);
                        double force = 4 * (exaggeration * (double)x->near[i * n + k] - q / sum) * q;

                        x->pull[i][0] += force * dx;
                        x->pull[i][1] += force * dy;
                        x->pull[k][0] -= force * dx;
                        x->pull[k][1] -= force * dy;
                }
}

static void move(struct plane *x, double momentum)
{
        double rate = fmax((double)x->n / EXAGGERATION, 50), middle[2] = { 0, 0 };

        for (size_t i = 0; i < x->n; i++)
                for (int c = 0; c < 2; c++) {
                        bool same = (x->pull[i][c] > 0) == (x->speed[i][c] > 0);

                        x->gain[i][c] = fmax(same ? x->gain[i][c] * .8 : x->gain[i][c] + .2, .01);
                        x->speed[i][c] = momentum * x->speed[i][c] - rate * x->gain[i][c] * x->pull[i][c];
                        x->at[i][c] += x->speed[i][c];
                        middle[c] += x->at[i][c] / (double)x->n;
                }
        for (size_t i = 0; i < x->n; i++)
                for (int c = 0; c < 2; c++)
                        x->at[i][c] -= middle[c];
}

int tsne(const float *vectors, size_t n, size_t dim, double perplexity, void (*done)(size_t round, size_t rounds), double (*points)[2])
{
        CLEANUP(free_p) double(*moves)[2] = calloc(3 * n, sizeof *moves);
        CLEANUP(free_p) float *near = calloc(n * n, sizeof *near);
        struct plane x = { n, dim, near, points, moves, moves + n, moves + 2 * n };

        assert(n >= 2 && n <= TSNE_MAX);
        if (!moves || !near || begin(&x, vectors) < 0)
                return -ENOMEM;
        nearness(&x, vectors, fmin(perplexity, (double)(n - 1) / 3));
        for (size_t round = 0; round < ROUNDS; round++) {
                forces(&x, round < EXAGGERATED ? EXAGGERATION : 1);
                move(&x, round < EXAGGERATED ? .5 : .8);
                done(round + 1, ROUNDS);
        }
        return 0;
}
