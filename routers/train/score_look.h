/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_look.h - what category models, tables and heads of the other parts say of each part of the prompts.
 */
#ifndef PM_SCORE_LOOK_H
#define PM_SCORE_LOOK_H

#include "score_train.h"

/* What the parts have said, before anything is chosen. */
struct score_work {
        const struct score_set *set;
        const struct score_settings *s;
        const bool *use;
        size_t n, labels, experts, ridges;
        size_t unknown;                 /* label of prompts of no category, which are not trained on; SIZE_MAX: none */
        double ridge[SCORE_RIDGES];
        unsigned *part;                 /* [n] */
        bool *seen;                     /* [n] */
        float *category;                /* [n][labels + 1]: scores, then shares */
        float *head[SCORE_RIDGES];      /* [n][experts] */
        float **table;                  /* [parts]: [labels + 1][experts] */
        float *two;                     /* [n][experts] */
        size_t *likeliest;              /* [n] category */
        double *confidence;             /* [n] */
        double slope, offset;
        size_t n_seen;
};

/* Looks at all parts, then calibrates on them: shares and expected scores follow.  0 or -errno after a message on stderr; finish it either way. */
int score_look(struct score_work *w);
void score_look_finish(struct score_work *w);

/* The table of the rows with use[i] (NULL: all): [labels + 1][experts]. */
int score_look_table(const struct score_set *set, const bool *use, double shrink, float *table);
#endif
