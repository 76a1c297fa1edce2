/* SPDX-License-Identifier: Apache-2.0 */
/*
 * category_parts.h - what the files of category.so share.
 */
#ifndef PM_CATEGORY_PARTS_H
#define PM_CATEGORY_PARTS_H

#include <jansson.h>

#include "classifier.h"
#include "encoder.h"
#include "pm_router.h"

#define EXPERTS_MAX 256 /* in one ranking */

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
        const char *model, *encoder_folder, *map, *general;
        struct pm_tables experts;
        double threshold;
        int64_t max_text;

        struct classifier *classifier;
        struct encoder *encoder;     /* NULL: the model looks at features alone */
        size_t inline_max;           /* bytes of text that are classified on the loop */
        json_t *map_json;            /* holds the names of a map file */
        struct ranking *rankings;    /* one for each category of the model, then general */
        size_t n_rankings;
};

/* At open, when model and options are there: reads the map or the table in place.  0, or refused with a sentence. */
int category_rankings(struct category *c, const struct pm_open *o);
#endif
