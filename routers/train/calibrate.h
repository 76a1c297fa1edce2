/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.h - from logits to honest confidences, and where to stop trusting them.
 */
#ifndef PM_CALIBRATE_H
#define PM_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Platt scaling: slope and offset of 1 / (1 + exp(-(slope * x + offset))) that make right[i] likeliest, with Platt's smoothed
 * targets.  The slope is never negative: then 0, and the confidence is the share of right ones.
 */
void calibrate(const double *x, const bool *right, size_t n, double *ret_slope, double *ret_offset);

/* One decision on a validation prompt: its confidence, whether its category is right, whether the prompt has none. */
struct judged {
        double confidence;
        bool right, unknown;
};

/*
 * The threshold that makes most of them right when a decision below it says "unknown": known and right at or above it, unknown
 * below it.  Of equally good thresholds the lowest.  *ret_right: how many are right then.  Sorts the list.
 */
double calibrate_threshold(struct judged *list, size_t n, size_t *ret_right);
#endif
