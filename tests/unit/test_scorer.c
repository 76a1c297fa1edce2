/* SPDX-License-Identifier: Apache-2.0 */
/* Estimates against the formula, written out plainly; files that come back the same, and files that are refused. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "folder.h"
#include "small_scorer.h"
#include "tensors.h"

#define NEAR(a, b) cr_assert_float_eq((double)(a), (double)(b), 1e-5, "%g, %g", (double)(a), (double)(b))

static const struct score_table_doubt sure = { 0, NAN, NAN };

Test(scorer, an_estimate_is_table_and_head_weighed)
{
        struct scorer *s = small_scorer_make();
        float two[3], head[3], estimate[3];
        struct verdict v;
        double doubt, p;

        cr_assert(scorer_inputs(s, "alpha", 5, 0, &sure, two, head, &v, &doubt));
        cr_assert_eq(v.category, 0);
        cr_assert(doubt <= 0 && v.confidence > .9);
        p = v.confidence;
        for (size_t k = 0; k < 3; k++)
                NEAR(two[k], p * (double)small_scorer_table[0][k] + (1 - p) * (double)small_scorer_table[1][k]);
        cr_assert(head[0] > .2F, "%g", (double)head[0]);
        cr_assert(fabsf(head[1]) <= 0, "of coder nothing is known");
        scorer_estimate(s, "alpha", 5, 0, &sure, estimate, &v, &doubt);
        for (size_t k = 0; k < 3; k++)
                NEAR(estimate[k], MIN(1., (double)two[k] + .5 * (double)head[k]));
        scorer_destroy(s);
}

Test(scorer, doubt_and_no_text_are_general)
{
        struct scorer *s = small_scorer_make();
        struct score_table_doubt above = { NAN, NAN, NAN };
        float estimate[3], without[3];
        struct verdict v;
        double doubt;

        scorer_estimate(s, "", 0, 0, &sure, estimate, &v, &doubt);
        cr_assert(doubt >= 1);
        for (size_t k = 0; k < 3; k++)
                NEAR(estimate[k], small_scorer_table[2][k]);
        scorer_estimate(s, "alpha beta", 10, 0, &sure, without, &v, &doubt);
        above.confidence = v.confidence * 1.02;
        scorer_estimate(s, "alpha beta", 10, 0, &above, estimate, &v, &doubt);
        NEAR(doubt, .02 / 1.02 / .2);
        for (size_t k = 0; k < 3; k++)
                NEAR(estimate[k], (1 - doubt) * (double)without[k] + doubt * (double)small_scorer_table[2][k]);
        scorer_destroy(s);
}

Test(scorer, a_lead_lets_a_share_through)
{
        struct scorer *s = small_scorer_make();

        /* leads of .0 .1 ... .9: 3 of 10 are at .7 or above */
        NEAR(scorer_lead(s, 2, 0, .3), .7);
        cr_assert(isinf(scorer_lead(s, 2, 0, 0)) && scorer_lead(s, 2, 0, 0) > 0);
        cr_assert(isinf(scorer_lead(s, 2, 0, 1)) && scorer_lead(s, 2, 0, 1) < 0);
        NEAR(scorer_lead(s, 0, 2, .1), 0);
        scorer_destroy(s);
}

Test(scorer, a_file_is_what_was_saved, .init = folder_begin, .fini = folder_end)
{
        static const char *const texts[] = { "alpha", "beta", "alpha beta gamma", "gamma", "" };
        struct scorer *made = small_scorer_make(), *read;
        char why[256];

        small_scorer_save(in_folder("s"));
        cr_assert_eq(scorer_open(in_folder("s"), &read, why, sizeof why), 0, "%s", why);
        cr_assert_eq(scorer_parts(read)->experts, 3);
        cr_assert_eq(scorer_parts(read)->categories, 2);
        cr_assert_str_eq(scorer_parts(read)->names[1], "coder");
        for (size_t i = 0; i < LENGTH_OF(texts); i++) {
                float a[3], b[3];
                struct verdict v;
                double doubt;

                scorer_estimate(made, texts[i], strlen(texts[i]), 0, &sure, a, &v, &doubt);
                scorer_estimate(read, texts[i], strlen(texts[i]), 0, &sure, b, &v, &doubt);
                cr_assert_eq(memcmp(a, b, sizeof a), 0, "%s", texts[i]);
        }
        NEAR(scorer_lead(made, 2, 0, .5), scorer_lead(read, 2, 0, .5));
        scorer_destroy(made);
        scorer_destroy(read);
}

static void refused(const char *said)
{
        struct scorer *s = NULL;
        char why[256] = "";

        cr_assert_eq(scorer_open(in_folder("s"), &s, why, sizeof why), -EINVAL);
        cr_assert(strstr(why, said), "'%s', not '%s'", why, said);
}

Test(scorer, what_is_refused_and_why, .init = folder_begin, .fini = folder_end)
{
        struct scorer *s = small_scorer_make();
        struct scorer_parts parts = *scorer_parts(s);
        float bad[3][3];
        char why[256];
        struct tensor mix = { "mix", TENSOR_F32, 2, { 3, 3 }, parts.mix, 9 * sizeof(float) };

        cr_assert_eq(classifier_save(scorer_classifier(s), in_folder("s"), NULL, why, sizeof why), 0);
        refused("kind is 'pointsman.category', wanted 'pointsman.score': not a score model");
        cr_assert_eq(classifier_save_as(SCORER_KIND, scorer_classifier(s), in_folder("s"), &mix, 1, NULL, why, sizeof why), 0);
        refused("tensor 'table' must be F32 [3, 3]");
        memcpy(bad, small_scorer_table, sizeof bad);
        bad[1][1] = 1.5f;
        for (unsigned i = 0; i < 2; i++) {
                struct tensor more[] = { { "table", TENSOR_F32, 2, { 3, 3 }, i ? small_scorer_table[0] : bad[0], sizeof bad }, mix };

                cr_assert_eq(classifier_save_as(SCORER_KIND, scorer_classifier(s), in_folder("s"), more, 2, NULL, why, sizeof why), 0);
                refused(i ? "tensor 'sample' must be F32 [1, 3]" : "tensor 'table': number 4 is not in 0..1");
        }
        put("s", "{}");
        refused("too few for a safetensors file");
        scorer_destroy(s);
}
