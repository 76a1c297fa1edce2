/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_tell.h - recorded outcomes joined to prompts, and what choices by expected scores have earned.
 */
#ifndef PM_SCORE_TELL_H
#define PM_SCORE_TELL_H

#include <stdbool.h>

#include "jsonl.h"
#include "outcomes.h"

/* Reads both; target[rows][experts] is allocated, NAN where nothing was run.  0 or -errno after a message on stderr. */
int score_read(const struct jsonl_source *in, const char *outcomes, const char *experts, struct jsonl_rows *rows, struct outcomes *table, float **target);

/* For each of the rows' labels the value of another field, `parent`, which must be the same for all of its rows; ret[labels] is allocated. */
int score_read_parents(const struct jsonl_source *in, const char *parent, const struct jsonl_rows *rows, size_t **ret, size_t *ret_n);

/* The expert with the highest score is chosen for each prompt. */
struct score_choices {
        const char *name;
        const float *score; /* [rows][experts] */
        double earned;      /* mean outcome, set by score_tell() */
};

/* On prompts of which all outcomes are known: what each way has earned, beside chance and the best of all; of two experts how
 * much of the gap between them it regains, too.  0, -ENOMEM, or -ENODATA after a message. */
int score_tell(const float *target, size_t n, size_t experts, struct score_choices *ways, size_t n_ways, bool json);
#endif
