/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resample.h - how far a mean over prompts may be off: bootstrap intervals.
 */
#ifndef PM_RESAMPLE_H
#define PM_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

struct interval {
        double low, high; /* the middle 95 % of the resamples; NAN: none were taken */
};

/* How often each of n prompts is in the r-th resample. */
void resample_draw(uint64_t seed, size_t r, size_t n, uint32_t *count);

/* The interval of the mean of value[n].  0 or -ENOMEM. */
int resample_mean(const double *value, size_t n, size_t resamples, uint64_t seed, struct interval *ret);
/* The middle 95 % of x[n], which it sorts. */
struct interval resample_interval(double *x, size_t n);
#endif
