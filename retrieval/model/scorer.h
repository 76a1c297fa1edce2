/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer.h - what score is to be expected of each expert on a prompt:
 *
 *     estimate_k = (1 - doubt) (a_k two_k + b_k head_k + c_k) + doubt T[general, k]
 *
 * two_k: the sum over categories of p(c|x) T[c, k] (posterior.h).  head_k: a ridge regression of k's recorded outcomes on the same hashed features
 * (and vectors).  a, b, c were fitted on prompts that neither had seen, so the estimate is calibrated.  Categories and heads are columns of one
 * classifier: a prompt is read once.
 *
 * Nothing in an expert's column depends on another's, so one can be added to a file without touching the rest.
 */
#ifndef PM_SCORER_H
#define PM_SCORER_H

#include "classifier.h"
#include "score_table.h"

#define SCORER_KIND "pointsman.score"
#define SCORER_EXPERTS_MAX 256
#define SCORER_SAMPLE_MAX 1024
#define SCORER_PREFIX "expert:" /* of a head's label in the classifier, behind the categories */

struct scorer_parts {
        size_t categories, experts;
        const char *const *labels; /* [categories] */
        const char *const *names;  /* [experts] */
        const float *table;        /* [categories + 1][experts], 0..1; the last row is general's */
        const float *mix;          /* [experts][3]: a, b, c */
        const float *sample;       /* [samples][experts]: estimates of prompts that were not trained on */
        size_t samples;
};

struct scorer;

/* The classifier's columns are the categories and then the experts' heads; it is taken over, what parts point to is borrowed.  NULL: no memory. */
struct scorer *scorer_create(struct classifier *c, const struct scorer_parts *parts);
/* From a file.  0, or -errno and one line of why: what was found in one that is cut, foreign or out of order. */
int scorer_open(const char *path, struct scorer **ret, char *why, size_t why_size);
int scorer_save(const struct scorer *s, const char *path, const char *const *meta, char *why, size_t why_size);
void scorer_destroy(struct scorer *s); /* NULL is fine */

const struct scorer_parts *scorer_parts(const struct scorer *s);
struct classifier *scorer_classifier(const struct scorer *s); /* an encoder is attached to it */

/* What stands behind an estimate: two[experts] and head[experts].  false: a text without features, then two is general's and head zero. */
bool scorer_inputs(const struct scorer *s, const char *text, size_t n, size_t text_max, const struct score_table_doubt *limits, float *two, float *head,
                   struct verdict *verdict, double *doubt);
/* estimate[experts], 0..1. */
void scorer_estimate(const struct scorer *s, const char *text, size_t n, size_t text_max, const struct score_table_doubt *limits, float *estimate,
                     struct verdict *verdict, double *doubt);
/* How far `strong` must be ahead of `weak` for the given share of prompts to go to it, on those of the sample. */
float scorer_lead(const struct scorer *s, size_t strong, size_t weak, double share);
#endif
