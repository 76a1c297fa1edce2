/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_table.h - how well each expert does on each category: what `pointsman-train map` writes.
 *
 * The file (JSON) has for each category a ranking, best first, and where outcomes were recorded the experts' scores, means of 0..1.  The
 * category of prompts that belong to none has the last row.  Ranked experts come first, in the order in which the file has them.
 */
#ifndef PM_SCORE_TABLE_H
#define PM_SCORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define SCORE_TABLE_BYTES_MAX (4 << 20)
#define SCORE_TABLE_EXPERTS_MAX 256     /* in one ranking */
#define SCORE_TABLE_NAMES_MAX 1024      /* in all of them */
#define SCORE_TABLE_CATEGORIES_MAX 2048
#define SCORE_TABLE_GENERAL "general"   /* where the file does not say what it calls that category */

struct score_row {
        const char *category;
        const size_t *ranking;  /* of experts, best first */
        size_t n;
        const float *score;     /* [experts], NAN: not known; NULL: the file has none for this category */
};

/* When a classifier is not sure enough, as it was tuned with these scores; NAN: not tuned. */
struct score_table_doubt { double confidence, entropy, margin; };

struct score_table_parts {
        const char *general;            /* what that category is called */
        const char *const *experts;
        size_t n_experts;
        const struct score_row *rows;   /* in the file's order */
        size_t n;
        bool scores;                    /* every row has them, for all that it ranks */
        bool composed;                  /* rankings keep to conditions (a budget, say) that scores know nothing of */
        struct score_table_doubt doubt;
};

struct score_table;

/* 0, or -errno and one line of why: what was found in a file that is too long, cut, foreign or out of order. */
int score_table_open(const char *path, struct score_table **ret, char *why, size_t why_size);
void score_table_destroy(struct score_table *t); /* NULL is fine */
const struct score_table_parts *score_table_parts(const struct score_table *t);
const struct score_row *score_table_row(const struct score_table *t, const char *category); /* NULL: not there */
#endif
