/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base.h"
#include "noise.h"
#include "resample.h"

void resample_draw(uint64_t seed, size_t r, size_t n, uint32_t *count)
{
        memset(count, 0, n * sizeof *count);
        for (size_t i = 0; i < n; i++)
                count[(size_t)(noise_uniform(noise_bits(seed, r, i)) * (double)n)]++;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

struct interval resample_interval(double *x, size_t n)
{
        if (n == 0)
                return (struct interval){ (double)NAN, (double)NAN };
        qsort(x, n, sizeof *x, by_value);
        return (struct interval){ x[(size_t)(.025 * (double)(n - 1) + .5)], x[(size_t)(.975 * (double)(n - 1) + .5)] };
}

int resample_mean(const double *value, size_t n, size_t resamples, uint64_t seed, struct interval *ret)
{
        CLEANUP(free_p) double *mean = calloc(resamples + 1, sizeof *mean);
        CLEANUP(free_p) uint32_t *count = calloc(n + 1, sizeof *count);

        if (!mean || !count)
                return -ENOMEM;
        for (size_t r = 0; r < resamples; r++) {
                resample_draw(seed, r, n, count);
                for (size_t i = 0; i < n; i++)
                        mean[r] += value[i] * count[i];
                mean[r] /= (double)n;
        }
        *ret = resample_interval(mean, resamples);
        return 0;
}
