/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posterior.h - how likely each category is, and with it the score that is to be expected of each expert:
 *
 *     expected_k = (1 - doubt) * sum over categories of p(c|x) T[c, k]  +  doubt * T[general, k]
 *
 * p is calibrated: the best category has the classifier's confidence, where that is below its share, what is left is `general`'s.  Doubt begins where
 * the classifier is less sure than it should be, and is whole a fifth further on: without a jump, so that a prompt near the limit does not
 * change its expert for a comma.
 */
#ifndef PM_POSTERIOR_H
#define PM_POSTERIOR_H

#include "classifier.h"
#include "score_table.h"

/* Shares of [categories] and, the last one, of none of them.  false: a text without features; then all is the last one's. */
bool posterior_of(const struct classifier *c, const char *text, size_t n, size_t text_max, float *p, struct verdict *ret);
/* The same from n of the scores that classifier_scores() gave, which it overwrites, with a classifier's slope and offset; p has room for one more. */
void posterior_calibrated(double slope, double offset, size_t n, float *p, struct verdict *ret);

/* How sure it is: the confidence, the entropy of the shares (1: all alike), or by how much the first is ahead of the second. */
enum posterior_measure { POSTERIOR_CONFIDENCE, POSTERIOR_ENTROPY, POSTERIOR_MARGIN, POSTERIOR_MEASURES };
double posterior_measure(enum posterior_measure m, const float *p, size_t categories, double confidence);

/* 0: as sure as it should be; 1: wholly unsure.  A limit that is NAN does not count. */
double posterior_doubt(const struct score_table_doubt *limits, const float *p, size_t categories, double confidence);

/* rows[categories + 1][experts], the last one being general's. */
void posterior_expect(const float *p, double doubt, const float *rows, size_t categories, size_t experts, float *expected);
#endif
