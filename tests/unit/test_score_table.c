/* SPDX-License-Identifier: Apache-2.0 */
/* Maps read and refused; probabilities of categories, doubt, and expected scores against the formulas, written out plainly. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "folder.h"
#include "posterior.h"

#define NEAR(a, b) cr_assert_float_eq((double)(a), (double)(b), 1e-6, "%g, %g", (double)(a), (double)(b))

static char why[512];

static struct score_table *read_map(const char *text)
{
        struct score_table *t = NULL;

        put("map.json", text);
        return score_table_open(in_folder("map.json"), &t, why, sizeof why) < 0 ? NULL : t;
}

#define HEAD "{\"kind\": \"pointsman.map\", \"version\": 1, "

Test(score_table, reads_rankings_and_scores, .init = folder_begin, .fini = folder_end)
{
        struct score_table *t = read_map(HEAD "\"general\": \"others\", \"rankings\": {\"x\": [\"b\", \"a\"], \"others\": [\"a\", \"c\"]}, "
                                              "\"scores\": {\"x\": {\"a\": 0.25, \"b\": 0.75, \"stranger\": 2}, \"others\": {\"a\": 1, \"c\": 0}}, "
                                              "\"unsure\": {\"confidence\": 0.5, \"margin\": 0.125}}");
        const struct score_table_parts *p;
        const struct score_row *x;

        cr_assert(t, "%s", why);
        p = score_table_parts(t);
        cr_assert(p->scores && !p->composed && p->n == 2 && p->n_experts == 3);
        cr_assert_str_eq(p->general, "others");
        x = score_table_row(t, "x");
        cr_assert(x && x->n == 2 && !score_table_row(t, "y"));
        cr_assert_str_eq(p->experts[x->ranking[0]], "b");
        NEAR(x->score[x->ranking[0]], .75);
        NEAR(x->score[x->ranking[1]], .25);
        cr_assert(isnan(x->score[score_table_row(t, "others")->ranking[1]]), "of c nothing is known there");
        NEAR(p->doubt.confidence, .5);
        NEAR(p->doubt.margin, .125);
        cr_assert(isnan(p->doubt.entropy));
        score_table_destroy(t);
}

Test(score_table, rankings_may_be_all_that_there_is, .init = folder_begin, .fini = folder_end)
{
        static const char *const without[] = {
                HEAD "\"rankings\": {\"x\": [\"b\", \"a\"]}}",
                HEAD "\"rankings\": {\"x\": [\"b\", \"a\"]}, \"scores\": {}}",
                HEAD "\"rankings\": {\"x\": [\"b\", \"a\"]}, \"scores\": {\"x\": {\"a\": 0.5}}}",
                HEAD "\"rankings\": {\"x\": [\"b\", \"a\"]}, \"scores\": {\"x\": {\"a\": 0.5, \"b\": null}}}",
        };

        for (size_t i = 0; i < LENGTH_OF(without); i++) {
                struct score_table *t = read_map(without[i]);

                cr_assert(t && !score_table_parts(t)->scores, "%zu: %s", i, why);
                cr_assert_str_eq(score_table_parts(t)->general, "general");
                score_table_destroy(t);
        }
}

Test(score_table, what_is_refused_and_why, .init = folder_begin, .fini = folder_end)
{
        static const struct { const char *text, *said; } cases[] = {
                { "", "'[' or '{' expected near end of file (line 1, column 0)" },
                { "{\"kind\": \"pointsman.instruct\", \"version\": 1}", "kind is 'pointsman.instruct', wanted 'pointsman.map' of version 1" },
                { "{\"kind\": \"pointsman.map\", \"version\": 3}", "of version 1" },
                { HEAD "\"rankings\": []}", "'rankings' must be an object" },
                { HEAD "\"rankings\": {\"x\": []}}", "ranking of 'x' must be a list of 1 to 256 names" },
                { HEAD "\"rankings\": {\"x\": [\"a\", 3]}}", "ranking of 'x': item 1 is not a name" },
                { HEAD "\"rankings\": {\"x\": [\"a\", \"b\", \"a\"]}}", "category 'x': expert 'a' is ranked twice" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"scores\": 3}", "'scores' must be an object of objects" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"scores\": {\"x\": [1]}}", "scores of 'x' must be an object of numbers" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"scores\": {\"x\": {\"a\": 1.5}}}", "score of 'a' in 'x' is not a number in 0..1" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"scores\": {\"x\": {\"a\": \"1\"}}}", "is not a number in 0..1" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"unsure\": {\"entropy\": -1}}", "'entropy' of 'unsure' is not a number in 0..1" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"unsure\": 1}", "'unsure' must be an object of numbers" },
                { HEAD "\"rankings\": {\"x\": [\"a\"]}, \"general\": 1}", "'general' must be a name" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                cr_assert_null(read_map(cases[i].text), "%s", cases[i].text);
                cr_assert(strstr(why, cases[i].said), "'%s', not '%s'", why, cases[i].said);
        }
}

/* ---- probabilities ------------------------------------------------------------------------------------------------------ */

static struct classifier *three(double slope, double offset)
{
        static const char *const labels[] = { "a", "b", "c" };
        static int8_t rows[256 * 16];
        static const float scale[3] = { 1, 1, 1 }, bias[3] = { 0 };

        return classifier_create(&(struct classifier_parts){ .bits = 8, .categories = 3, .labels = labels, .rows = rows, .scale = scale, .bias = bias,
                                                             .idf_step = 1, .slope = slope, .offset = offset, .text_max = 4096 });
}

Test(posterior, the_best_has_the_confidence_and_others_share_the_rest)
{
        struct classifier *c = three(2, .5);
        float p[4] = { .1f, .5f, .3f, 9 };
        double u[2] = { exp(-.4 * 2 / CLASSIFIER_TEMPERATURE), exp(-.2 * 2 / CLASSIFIER_TEMPERATURE) };
        struct verdict v;

        posterior_calibrated(classifier_parts(c)->slope, classifier_parts(c)->offset, 3, p, &v);
        cr_assert_eq(v.category, 1);
        NEAR(v.confidence, 1 / (1 + exp(-(2 * -log(exp(-.4 / CLASSIFIER_TEMPERATURE) + exp(-.2 / CLASSIFIER_TEMPERATURE)) + .5))));
        cr_assert_gt(v.confidence, 1 / (1 + u[0] + u[1]), "this is the case of a confidence above the share");
        NEAR(p[1], v.confidence);
        NEAR(p[0], (1 - v.confidence) * u[0] / (u[0] + u[1]));
        NEAR(p[2], (1 - v.confidence) * u[1] / (u[0] + u[1]));
        NEAR(p[3], 0);
        classifier_destroy(c);
}

Test(posterior, what_calibration_takes_away_is_of_no_category)
{
        struct classifier *c = three(1, -2);
        float p[4] = { 0, .2f, .2f, 9 }, sum = 0;
        struct verdict v;

        posterior_calibrated(classifier_parts(c)->slope, classifier_parts(c)->offset, 3, p, &v);
        cr_assert_lt(v.confidence, .5);
        NEAR(p[1], p[2]);
        NEAR(p[1], v.confidence);
        NEAR(p[0], v.confidence * exp(-1));
        cr_assert_gt(p[1], p[0]);
        for (size_t i = 0; i < 4; i++)
                sum += p[i];
        NEAR(sum, 1);
        cr_assert_gt(p[3], .5);
        classifier_destroy(c);
}

Test(posterior, far_ahead_is_certain_and_finite)
{
        struct classifier *c = three(3, 0);
        float p[4] = { -1e6f, 1e6f, 0, 0 };
        struct verdict v;

        posterior_calibrated(classifier_parts(c)->slope, classifier_parts(c)->offset, 3, p, &v);
        NEAR(p[1], 1);
        NEAR(p[0] + p[2] + p[3], 0);
        classifier_destroy(c);
}

Test(posterior, a_text_without_features_is_of_no_category)
{
        struct classifier *c = three(1, 0);
        struct verdict v;
        float p[4];

        cr_assert_not(posterior_of(c, "  \n ", 4, 0, p, &v));
        cr_assert(p[3] >= 1 && p[0] <= 0 && v.confidence <= 0);
        NEAR(posterior_doubt(&(struct score_table_doubt){ NAN, NAN, NAN }, p, 3, v.confidence), 1);
        classifier_destroy(c);
}

Test(posterior, doubt_grows_from_each_limit_without_a_jump)
{
        static const float even[4] = { .25f, .25f, .25f, .25f }, sure[4] = { 1, 0, 0, 0 }, near[4] = { .5f, .4f, .1f, 0 };
        struct score_table_doubt by_confidence = { .5, NAN, NAN }, by_entropy = { NAN, .5, NAN }, by_margin = { NAN, NAN, .2 };

        NEAR(posterior_doubt(&by_confidence, sure, 3, .5), 0);
        NEAR(posterior_doubt(&by_confidence, sure, 3, .499), .01);
        NEAR(posterior_doubt(&by_confidence, sure, 3, .45), .5);
        NEAR(posterior_doubt(&by_confidence, sure, 3, .4), 1);
        NEAR(posterior_doubt(&by_confidence, sure, 3, .1), 1);
        NEAR(posterior_doubt(&by_entropy, even, 3, .25), 1);
        NEAR(posterior_doubt(&by_entropy, sure, 3, .25), 0);
        NEAR(posterior_doubt(&by_margin, near, 3, .5), 1);
        NEAR(posterior_doubt(&(struct score_table_doubt){ NAN, NAN, .105 }, near, 3, .5), .005 / (.2 * .105));
        NEAR(posterior_doubt(&by_margin, sure, 3, 1), 0);
        NEAR(posterior_doubt(&by_margin, even, 3, .25), 1);
        NEAR(posterior_doubt(&(struct score_table_doubt){ .5, .65, .1 }, near, 3, .5), ((-.5 * log(.5) - .4 * log(.4) - .1 * log(.1)) / log(4) - .65) / (.2 * .35));
}

Test(posterior, expected_scores_are_the_formula)
{
        static const float rows[4][2] = { { .9f, .1f }, { .2f, .8f }, { .3f, .3f }, { .5f, .6f } }, p[4] = { .6f, .2f, .1f, .1f };
        float expected[2];

        posterior_expect(p, 0, rows[0], 3, 2, expected);
        NEAR(expected[0], .6 * .9 + .2 * .2 + .1 * .3 + .1 * .5);
        NEAR(expected[1], .6 * .1 + .2 * .8 + .1 * .3 + .1 * .6);
        posterior_expect(p, 1, rows[0], 3, 2, expected);
        NEAR(expected[0], .5);
        NEAR(expected[1], .6);
        posterior_expect(p, .25, rows[0], 3, 2, expected);
        NEAR(expected[0], .75 * (.6 * .9 + .2 * .2 + .1 * .3 + .1 * .5) + .25 * .5);
}
