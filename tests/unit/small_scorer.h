/* SPDX-License-Identifier: Apache-2.0 */
/*
 * small_scorer.h - a score model of two categories and three experts: "alpha" is of category a and what small's head likes, "beta" is of b and
 * large's; of other words nothing is known.
 */
#ifndef PM_TEST_SMALL_SCORER_H
#define PM_TEST_SMALL_SCORER_H

#include <criterion/criterion.h>

#include "base.h"
#include "ngrams.h"
#include "scorer.h"

#define SMALL_SCORER_BITS 12
#define SMALL_SCORER_SAMPLES 10

static const float small_scorer_table[3][3] = { { .8f, .6f, .5f }, { .2f, .7f, .9f }, { .5f, .6f, .4f } };
static float small_scorer_mix[3][3] = { { 1, .5f, 0 }, { 1, .5f, 0 }, { 1, .5f, 0 } };

/* The buckets of a word get this weight in a column. */
static inline void small_scorer_teach(int8_t *rows, size_t columns, const char *word, size_t column, int8_t weight)
{
        static struct ngrams f;

        ngrams_begin(&f, word, strlen(word), SMALL_SCORER_BITS, 4096);
        while (ngrams_next(&f))
                for (size_t i = 0; i < f.n; i++)
                        rows[f.bucket[i] * columns + column] = weight;
}

/* Samples: of the ith of ten, large is ahead of small by i tenths. */
static inline struct scorer *small_scorer_make(void)
{
        static int8_t rows[(1 << SMALL_SCORER_BITS) * 16];
        static const float scale[5] = { 1, 1, .01f, .01f, .01f }, bias[5] = { 0 };
        static const char *const labels[5] = { "a", "b", SCORER_PREFIX "small", SCORER_PREFIX "coder", SCORER_PREFIX "large" };
        static float sample[SMALL_SCORER_SAMPLES][3];
        struct classifier_parts p = { .bits = SMALL_SCORER_BITS, .categories = 5, .labels = labels, .rows = rows, .scale = scale, .bias = bias, .idf_step = 1,
                                      .slope = 1, .threshold = 0, .text_max = 16384 };
        struct scorer_parts parts = { .categories = 2, .experts = 3, .table = small_scorer_table[0], .mix = small_scorer_mix[0], .sample = sample[0],
                                      .samples = SMALL_SCORER_SAMPLES };
        struct classifier *c;
        struct scorer *s;

        memset(rows, 0, sizeof rows);
        for (size_t b = 0; b < 1 << SMALL_SCORER_BITS; b++)
                rows[b * 16 + 5] = 1;
        small_scorer_teach(rows, 16, "alpha", 0, 1);
        small_scorer_teach(rows, 16, "alpha", 2, 10);
        small_scorer_teach(rows, 16, "beta", 1, 1);
        small_scorer_teach(rows, 16, "beta", 4, 10);
        for (size_t i = 0; i < SMALL_SCORER_SAMPLES; i++)
                sample[i][2] = (float)i / 10;
        c = classifier_create(&p);
        s = c ? scorer_create(c, &parts) : NULL;
        cr_assert(s);
        return s;
}

static inline void small_scorer_save(const char *path)
{
        struct scorer *s = small_scorer_make();
        char why[256];

        cr_assert_eq(scorer_save(s, path, NULL, why, sizeof why), 0, "%s", why);
        scorer_destroy(s);
}
#endif
