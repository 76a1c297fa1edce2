/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Newton's method on two parameters, with the step halved until the loss falls; a few dozen rounds over the held-back prompts.
 */
#include <math.h>

#include "base.h"
#include "calibrate.h"

static double target(bool right, double n_right, double n_wrong)
{
        return right ? (n_right + 1) / (n_right + 2) : 1 / (n_wrong + 2);
}

static double loss_of(const double *x, const bool *right, size_t n, double n_right, double a, double b)
{
        double loss = 0;

        for (size_t i = 0; i < n; i++) {
                double t = target(right[i], n_right, (double)n - n_right), z = a * x[i] + b;

                loss += (z > 0 ? log1p(exp(-z)) + (1 - t) * z : log1p(exp(z)) - t * z);
        }
        return loss;
}

void calibrate(const double *x, const bool *right, size_t n, double *ret_slope, double *ret_offset)
{
        double a = 1, b = 0, n_right = 0, loss;

        for (size_t i = 0; i < n; i++)
                n_right += right[i];
        loss = loss_of(x, right, n, n_right, a, b);
        for (int round = 0; round < 100; round++) {
                double ga = 0, gb = 0, haa = 1e-9, hab = 0, hbb = 1e-9, step = 1, da, db, det;

                for (size_t i = 0; i < n; i++) {
                        double p = 1 / (1 + exp(-(a * x[i] + b))), g = p - target(right[i], n_right, (double)n - n_right);
                        double h = p * (1 - p);

                        ga += g * x[i];
                        gb += g;
                        haa += h * x[i] * x[i];
                        hab += h * x[i];
                        hbb += h;
                }
                det = haa * hbb - hab * hab;
                if (fabs(ga) + fabs(gb) < 1e-7 || !(det > 0))
                        break;
                da = -(hbb * ga - hab * gb) / det;
                db = -(haa * gb - hab * ga) / det;
                while (step > 1e-10 && !(loss_of(x, right, n, n_right, a + step * da, b + step * db) < loss))
                        step /= 2;
                if (step <= 1e-10)
                        break;
                a += step * da;
                b += step * db;
                loss = loss_of(x, right, n, n_right, a, b);
        }
        if (a < 0) {
                a = 0;
                b = log((n_right + 1) / ((double)n - n_right + 1));
        }
        *ret_slope = a;
        *ret_offset = b;
}

static int by_confidence(const void *a, const void *b)
{
        const struct judged *x = a, *y = b;

        return x->confidence < y->confidence ? -1 : x->confidence > y->confidence;
}

double calibrate_threshold(struct judged *list, size_t n, size_t *ret_right)
{
        size_t right = 0, best;
        double threshold = 0;

        qsort(list, n, sizeof *list, by_confidence);
        for (size_t i = 0; i < n; i++)
                right += list[i].right && !list[i].unknown;
        best = right;
        for (size_t i = 0; i < n; i++) { /* the threshold moves from below list[i] to above it */
                right += list[i].unknown;
                right -= list[i].right && !list[i].unknown;
                if (i + 1 < n && list[i + 1].confidence <= list[i].confidence)
                        continue;
                if (right > best) {
                        best = right;
                        threshold = i + 1 < n ? (list[i].confidence + list[i + 1].confidence) / 2 : nextafter(list[i].confidence, 2);
                }
        }
        *ret_right = best;
        return MIN(threshold, 1.0);
}
