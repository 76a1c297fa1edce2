/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.h - of many texts those that are most like another one: the cosine of TF-IDF over the features of ngrams.h.
 */
#ifndef PM_NEAREST_H
#define PM_NEAREST_H

#include <stdbool.h>

#include "jsonl.h"

#define NEAREST_MAX 1024 /* that may be asked for */

struct nearest;

/* Of the rows with use[i]; they must outlive it.  0 or -ENOMEM. */
int nearest_create(const struct jsonl_rows *rows, const bool *use, struct nearest **ret);
void nearest_destroy(struct nearest *x); /* NULL is fine */

/* Up to k rows, nearest first, into row[]; score: room for all rows, of the calling thread's own.  Returns how many. */
size_t nearest_find(const struct nearest *x, const char *text, size_t n, size_t k, float *score, size_t *row);
#endif
