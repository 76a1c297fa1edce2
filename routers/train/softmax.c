/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stochastic gradient descent on the log loss of the right category, rows in a new order each round, the step falling to nothing.
 * The weights' squares are held back, too: all weights shrink a little at every row, which is kept as one factor of the whole table,
 * so that a row touches its own features only.
 *
 * Arithmetic in fixed order and no generator of the C library's: the same input gives the same bytes.
 */
#include <linear.h>
#include <math.h>

#include "base.h"
#include "noise.h"
#include "progress.h"
#include "softmax.h"

#define STEP 5.
#define SMALL 1e-6 /* the factor is multiplied out before floats lose digits to it */

struct softmax_descent {
        struct softmax *m;
        float *score;   /* [categories], then what each was wrong by */
        double factor;  /* weight * factor is meant */
};

/* Shares of exp(score); less one for the category that is right. */
static void blame(float *score, size_t categories, size_t right)
{
        float top = score[0], sum = 0;

        for (size_t c = 1; c < categories; c++)
                top = MAX(top, score[c]);
        for (size_t c = 0; c < categories; c++)
                sum += score[c] = expf(score[c] - top);
        for (size_t c = 0; c < categories; c++)
                score[c] /= sum;
        score[right] -= 1;
}

static void learn_row(struct softmax_descent *d, const struct feature_node *x, size_t right, double step, double shrink)
{
        size_t categories = d->m->categories;

        memset(d->score, 0, categories * sizeof *d->score);
        for (const struct feature_node *f = x; f->index > 0; f++) {
                const float *w = d->m->weight + (size_t)(f->index - 1) * categories;
                float v = (float)(f->value * d->factor);

                for (size_t c = 0; c < categories; c++)
                        d->score[c] += v * w[c];
        }
        blame(d->score, categories, right);
        d->factor *= 1 - step * shrink;
        for (const struct feature_node *f = x; f->index > 0; f++) {
                float *w = d->m->weight + (size_t)(f->index - 1) * categories;
                float v = (float)(step * f->value / d->factor);

                for (size_t c = 0; c < categories; c++)
                        w[c] -= v * d->score[c];
        }
}

static void multiply_out(struct softmax_descent *d, double by)
{
        for (size_t i = 0; i < d->m->features * d->m->categories; i++)
                d->m->weight[i] *= (float)(d->factor * by);
        d->factor = 1;
}

static void shuffle(uint32_t *order, size_t n, unsigned seed, unsigned round)
{
        for (size_t i = n - 1; i > 0; i--) {
                size_t k = (size_t)(noise_bits(seed, round, i) % (i + 1));
                uint32_t held = order[i];

                order[i] = order[k];
                order[k] = held;
        }
}

int softmax_fit(struct feature_node *const *x, const double *y, size_t n, const struct softmax_settings *s, struct softmax *m)
{
        CLEANUP(free_p) uint32_t *order = calloc(n, sizeof *order);
        CLEANUP(free_p) float *score = calloc(m->categories, sizeof *score);
        double total = (double)n * s->rounds, shrink = 1 / (s->cost * (double)n);
        struct softmax_descent d = { .m = m, .score = score, .factor = 1 };

        m->weight = calloc(m->features * m->categories, sizeof *m->weight);
        if (!order || !score || !m->weight)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                order[i] = (uint32_t)i;
        for (unsigned round = 0; round < s->rounds; round++) {
                shuffle(order, n, s->seed, round);
                for (size_t i = 0; i < n; i++) {
                        double left = 1 - ((double)round * (double)n + (double)i) / total;

                        learn_row(&d, x[order[i]], (size_t)y[order[i]], STEP * left, shrink);
                        if (d.factor < SMALL)
                                multiply_out(&d, 1);
                        if (i % 256 == 0)
                                progress_show("training", round * n + i, s->rounds * n);
                }
        }
        progress_done();
        multiply_out(&d, s->fade);
        return 0;
}

void softmax_finish(struct softmax *m)
{
        free(m->weight);
        m->weight = NULL;
}
