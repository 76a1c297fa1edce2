/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - how good decisions were.
 */
#ifndef PM_METRICS_TRAIN_H
#define PM_METRICS_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct decision {
        size_t truth;       /* index of the category; not looked at when unknown */
        size_t said;
        double confidence;
        bool unknown;       /* belongs to none of the categories */
};

struct quality {
        size_t known, unknown;
        double accuracy;           /* of known prompts, without the threshold */
        double macro_f1;           /* the same; categories without prompts are left out */
        double ece;                /* expected calibration error, 15 bins, known prompts, without the threshold */
        double kept;               /* share of known prompts at or above the threshold */
        double kept_accuracy;      /* accuracy among those */
        double in_scope_accuracy;  /* of known prompts; below the threshold counts as wrong */
        double recall_unknown;     /* share of unknown prompts below the threshold */
        double auroc;              /* confidence of known above unknown prompts */
};

/* -ENOMEM or 0.  Figures that have nothing to be counted on are NAN. */
int metrics_measure(const struct decision *d, size_t n, size_t categories, double threshold, struct quality *ret);

/* A line for each category, worst recall first (at most `most`), with what it was mostly taken for. */
int metrics_confusion(FILE *out, const struct decision *d, size_t n, const char *const *labels, size_t categories, size_t most);
#endif
