/* SPDX-License-Identifier: Apache-2.0 */
/*
 * category_parts.h - what the files of category.so share.
 */
#ifndef PM_CATEGORY_PARTS_H
#define PM_CATEGORY_PARTS_H

#include "choice.h"
#include "classifier.h"
#include "encoder.h"
#include "pm_router.h"
#include "score_table.h"

#define EXPERTS_MAX CHOICE_EXPERTS_MAX /* in one ranking */

struct ranking {
        const char *category;
        const char **expert; /* configured ones, best first, NULL at the end */
        size_t n;
};

/* One entry of `experts:`. */
struct inline_ranking {
        const char *category;
        struct pm_strs ranking;
};

struct category {
        const char *model, *task_model, *encoder_folder, *map, *general;
        struct pm_tables experts;
        int64_t by;                  /* enum category_by */
        double threshold, entropy, margin;
        struct preferences preferences;
        int64_t max_text, short_text;

        struct classifier *classifier;
        struct classifier *tasks;    /* NULL: no task_model */
        struct encoder *encoder;     /* NULL: the models look at features alone */
        size_t inline_max;           /* bytes of text that are classified on the loop */
        struct score_table *table;   /* holds the names of a map file */
        struct ranking *rankings;    /* one for each category of the model, then general */
        size_t n_rankings;
        struct ranking *pairs;       /* [n_rankings][tasks] "category/task"; n is 0 where the table has no such row */
        size_t n_pairs;
        struct candidates candidates; /* with scores; none where rankings decide */
        float *scores;               /* [categories + 1][candidates.n], general's last */
        struct score_table_doubt doubt;
};

enum category_by { CATEGORY_BY_EITHER, CATEGORY_BY_SCORES, CATEGORY_BY_RANKINGS };

/* At open, when model and options are there: reads the map or the table in place.  0, or refused with a sentence. */
int category_rankings(struct category *c, const struct pm_open *o);
#endif
