/* SPDX-License-Identifier: Apache-2.0 */
/* Heads against the equations that they solve; a model of prompts whose experts are known; what is refused. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <getopt.h>
#include <math.h>

#include "base.h"
#include "commands.h"
#include "folder.h"
#include "heads.h"
#include "noise.h"
#include "scorer.h"

#define PROMPTS 400

static void begin(void)
{
        cr_redirect_stderr();
        cr_redirect_stdout();
        folder_begin();
}

TestSuite(score_train, .init = begin, .fini = folder_end);

static int run(int (*command)(int, char **), const char *const *args)
{
        char *argv[32];
        int n = 0;

        for (; args[n]; n++)
                argv[n] = (char *)(uintptr_t)args[n];
        argv[n] = NULL;
        optind = 0;
        return command(n, argv);
}

/*
 * Two categories by their words.  `left` is good at a, `right` at b, but a prompt with "gamma" in it is right's whatever it is about: the table
 * cannot know that, a head can.  `middling` has been asked of few.
 */
static void put_prompts(void)
{
        FILE *prompts = fopen(in_folder("p.jsonl"), "we"), *outcomes = fopen(in_folder("o.tsv"), "we");

        cr_assert(prompts && outcomes);
        (void)fputs("#id\tleft\tright\tmiddling\n", outcomes);
        for (unsigned i = 0; i < PROMPTS; i++) {
                bool a = noise_uniform(noise_bits(1, i, 0)) < .5, gamma = noise_uniform(noise_bits(1, i, 1)) < .3, left = a && !gamma;
                double u = noise_uniform(noise_bits(1, i, 2));

                (void)fprintf(prompts, "{\"id\": %u, \"q\": \"%s number%u %s %c%c%c\", \"c\": \"%c\"}\n", i, a ? "alpha apple" : "beta banana", i % 7,
                              gamma ? "gamma grape" : "plain", 'a' + (int)(i % 26), 'a' + (int)(i / 26 % 26), 'a' + (int)(i / 676), a ? 'a' : 'b');
                (void)fprintf(outcomes, "%u\t%d\t%d\t%s\n", i, u < (left ? .9 : .2), u < (left ? .2 : .9), i % 10 ? "-" : "0.5");
        }
        cr_assert_eq(fclose(prompts), 0);
        cr_assert_eq(fclose(outcomes), 0);
}

static int train(const char *out)
{
        return run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"),
                                                    "--bits", "10", "--parts", "3", "--out", out, NULL });
}

static bool same(const char *a, const char *b)
{
        FILE *x = fopen(a, "re"), *y = fopen(b, "re");
        int c = 0;

        cr_assert(x && y);
        do
                c = fgetc(x);
        while (c == fgetc(y) && c != EOF);
        c = feof(x) && feof(y);
        (void)fclose(x);
        (void)fclose(y);
        return c;
}

static size_t chosen(const struct scorer *s, const char *text)
{
        struct score_table_doubt limits = { 0, NAN, NAN };
        float estimate[SCORER_EXPERTS_MAX];
        struct verdict v;
        double doubt;

        scorer_estimate(s, text, strlen(text), 0, &limits, estimate, &v, &doubt);
        return estimate[1] > estimate[0];
}

Test(score_train, a_head_knows_what_the_table_cannot)
{
        struct scorer *s;
        char why[256];

        put_prompts();
        cr_assert_eq(train(in_folder("m")), 0);
        cr_assert_eq(scorer_open(in_folder("m"), &s, why, sizeof why), 0, "%s", why);
        cr_assert_eq(scorer_parts(s)->categories, 2);
        cr_assert_eq(scorer_parts(s)->experts, 3);
        cr_assert_eq(scorer_parts(s)->samples, PROMPTS);
        cr_assert_eq(chosen(s, "alpha apple number3 plain xyz"), 0);
        cr_assert_eq(chosen(s, "beta banana number3 plain xyz"), 1);
        cr_assert_eq(chosen(s, "alpha apple number3 gamma grape xyz"), 1);
        for (size_t c = 0; c < 3; c++)
                cr_assert_float_eq((double)scorer_parts(s)->table[c * 3 + 2], .5, 1e-6, "what is known of few is known all the same");
        scorer_destroy(s);
        cr_assert_eq(train(in_folder("n")), 0);
        cr_assert(same(in_folder("m"), in_folder("n")), "the same input gives the same bytes");
        cr_assert_eq(run(command_eval_score, (const char *[]){ "eval", "score", "--model", in_folder("m"), "--in", in_folder("p.jsonl"), "--text", "q",
                                                               "--label", "c", "--outcomes", in_folder("o.tsv"), "--predictions", in_folder("e.tsv"), NULL }), 0);
        cr_assert_eq(access(in_folder("e.tsv"), R_OK), 0);
}

Test(score_train, an_expert_depends_on_its_own_outcomes_only)
{
        struct scorer *with, *without;
        char why[256];

        put_prompts();
        cr_assert_eq(train(in_folder("m")), 0);
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes",
                                                          in_folder("o.tsv"), "--experts", "left,right", "--bits", "10", "--parts", "3", "--ridge", "30", "--out",
                                                          in_folder("n"), NULL }), 0);
        cr_assert_eq(scorer_open(in_folder("m"), &with, why, sizeof why), 0, "%s", why);
        cr_assert_eq(scorer_open(in_folder("n"), &without, why, sizeof why), 0, "%s", why);
        for (size_t c = 0; c < 3; c++)
                for (size_t k = 0; k < 2; k++)
                        cr_assert_eq(memcmp(&scorer_parts(with)->table[c * 3 + k], &scorer_parts(without)->table[c * 2 + k], sizeof(float)), 0);
        scorer_destroy(with);
        scorer_destroy(without);
}

/* (X X^T + lambda) a = y - mean, w = X^T a: so w.x_i + lambda a_i = y_i - mean, and w has no part outside of X. */
Test(score_train, heads_solve_the_ridge_equations)
{
        static int8_t idf[256 * 16];
        static const char *const labels[] = { "a", "b" };
        static const float scale[2] = { 1, 1 }, bias[2] = { 0 };
        struct classifier_parts p = { .bits = 8, .categories = 2, .labels = labels, .rows = idf, .scale = scale, .bias = bias, .idf_step = .1, .text_max = 4096 };
        struct jsonl_source source = { .path = in_folder("p.jsonl"), .text = "q", .label = "c", .id = "id" };
        static float target[PROMPTS * 2];
        struct heads_rows r;
        struct jsonl_rows rows;
        struct heads h;
        double sum = 0, n = 0;

        put_prompts();
        cr_assert_eq(jsonl_read(&source, &rows), 0);
        for (size_t b = 0; b < 256; b++)
                idf[b * 16 + 2] = (int8_t)(1 + b % 100);
        for (size_t i = 0; i < PROMPTS; i++) {
                target[2 * i] = (float)noise_uniform(noise_bits(2, i, 0)) < .5F;
                target[2 * i + 1] = i % 3 ? NAN : (float)(i % 2);
                sum += i % 3 ? 0 : i % 2;
                n += i % 3 == 0;
        }
        cr_assert_eq(heads_rows_make(&rows, &p, NULL, &r), 0);
        cr_assert_eq(heads_fit(&r, NULL, target, 2, 20, &h), 0);
        cr_assert_float_eq(h.mean[1], sum / n, 1e-9);
        /* Its gradient vanishes: X^T (y - mean - X w) = lambda w. */
        for (size_t k = 0; k < 2; k++) {
                static double gradient[256];
                double most = 0, size = 0;

                memset(gradient, 0, sizeof gradient);
                for (size_t i = 0; i < PROMPTS; i++) {
                        float score[2];

                        heads_score(&h, &r, i, score);
                        for (size_t j = r.first[i]; !isnan(target[2 * i + k]) && j < r.first[i + 1]; j++)
                                gradient[r.bucket[j]] += (double)(r.root[r.bucket[j]] * r.over[i]) * (double)(target[2 * i + k] - score[k]);
                }
                for (size_t b = 0; b < 256; b++) {
                        most = MAX(most, fabs(gradient[b] - 20 * (double)h.weight[b * 2 + k]));
                        size = MAX(size, fabs(gradient[b]));
                }
                cr_assert_lt(most, 1e-3 * size, "head %zu: %g of %g", k, most, size);
        }
        heads_finish(&h);
        heads_rows_finish(&r);
        jsonl_finish(&rows);
}

Test(score_train, what_is_refused_and_why)
{
        put("p.jsonl", "{\"id\": 1, \"q\": \"x\", \"c\": \"a\"}\n{\"id\": 2, \"q\": \"y\", \"c\": \"b\"}\n");
        put("o.tsv", "#id\tleft\tright\n1\t1\t0\n2\t0\t1\n");
        cr_assert_eq(train(in_folder("m")), 1);
        put("o.tsv", "#id\tleft\tright\n8\t1\t0\n9\t0\t1\n");
        cr_assert_eq(train(in_folder("m")), 1);
        put("o.tsv", "#id\tleft\n1\t1\n2\t0\n");
        cr_assert_eq(train(in_folder("m")), 1);
        put_prompts();
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes",
                                                          in_folder("o.tsv"), "--parts", "1", "--out", in_folder("m"), NULL }), 2);
        cr_assert_eq(train(in_folder("m")), 0);
        cr_assert_eq(run(command_eval_score, (const char *[]){ "eval", "score", "--model", in_folder("o.tsv"), "--in", in_folder("p.jsonl"), "--text", "q",
                                                               "--label", "c", "--outcomes", in_folder("o.tsv"), NULL }), 1);
        cr_assert_eq(run(command_eval_score, (const char *[]){ "eval", "score", "--model", in_folder("m"), "--encoder", "x", "--in", in_folder("p.jsonl"),
                                                               "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"), NULL }), 1);
}

/* To the model of left and middling comes right: the others say what they said, and right what it says where all were trained together. */
Test(score_train, an_expert_is_taken_into_a_model)
{
        static const char *const texts[] = { "alpha apple number3 plain xyz", "beta banana number3 plain xyz", "alpha apple number3 gamma grape xyz", "" };
        static const struct score_table_doubt sure = { 0, NAN, NAN };
        struct scorer *two, *three;
        char why[256];

        put_prompts();
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"),
                                                          "--experts", "left,middling", "--bits", "10", "--parts", "3", "--out", in_folder("m"), NULL }), 0);
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--add", in_folder("m"), "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes",
                                                          in_folder("o.tsv"), "--experts", "right", "--out", in_folder("n"), NULL }), 0);
        cr_assert_eq(scorer_open(in_folder("m"), &two, why, sizeof why), 0, "%s", why);
        cr_assert_eq(scorer_open(in_folder("n"), &three, why, sizeof why), 0, "%s", why);
        cr_assert_eq(scorer_parts(three)->experts, 3);
        cr_assert_str_eq(scorer_parts(three)->names[2], "right");
        for (size_t i = 0; i < LENGTH_OF(texts); i++) {
                float before[SCORER_EXPERTS_MAX], after[SCORER_EXPERTS_MAX];
                struct verdict v;
                double doubt;

                scorer_estimate(two, texts[i], strlen(texts[i]), 0, &sure, before, &v, &doubt);
                scorer_estimate(three, texts[i], strlen(texts[i]), 0, &sure, after, &v, &doubt);
                cr_assert_eq(memcmp(before, after, 2 * sizeof *before), 0, "%s", texts[i]);
                cr_assert(after[2] > 0 && after[2] < 1);
                if (i < 3)
                        cr_assert_eq(after[2] > after[0], i > 0, "%s: %g, %g", texts[i], (double)after[0], (double)after[2]);
        }
        scorer_destroy(two);
        scorer_destroy(three);
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--add", in_folder("n"), "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes",
                                                          in_folder("o.tsv"), "--experts", "right", "--out", in_folder("n"), NULL }), 1, "it is there already");
}

/* Two kinds of a: the fewer there are of one, the nearer its scores are to a's. */
Test(score_train, a_category_of_few_outcomes_is_like_its_parent)
{
        FILE *prompts, *outcomes = fopen(in_folder("o.tsv"), "we");
        struct scorer *s;
        char why[256];

        prompts = fopen(in_folder("p.jsonl"), "we");
        cr_assert(prompts && outcomes);
        (void)fputs("#id\tleft\tright\n", outcomes);
        for (unsigned i = 0; i < 300; i++) {
                const char *kind = i % 3 == 2 ? "b" : i % 30 == 0 ? "rare" : "usual";

                (void)fprintf(prompts, "{\"id\": %u, \"q\": \"%s %s number%u\", \"c\": \"%s\", \"of\": \"%s\"}\n", i, kind, kind, i, kind, i % 3 == 2 ? "b" : "a");
                (void)fprintf(outcomes, "%u\t%d\t%d\n", i, i % 3 != 2, i % 3 == 2);
        }
        cr_assert_eq(fclose(prompts), 0);
        cr_assert_eq(fclose(outcomes), 0);
        for (unsigned with = 0; with < 2; with++) {
                double left;

                cr_assert_eq(run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"),
                                                                  "--bits", "10", "--parts", "2", "--out", in_folder("m"), with ? "--parent" : NULL, "of", NULL }), 0);
                cr_assert_eq(scorer_open(in_folder("m"), &s, why, sizeof why), 0, "%s", why);
                cr_assert_str_eq(scorer_parts(s)->labels[1], "rare");
                left = (double)scorer_parts(s)->table[1 * 2];
                /* 10 of 10, 20 more of the mean, 2/3; or of the parent's, (200 + 20 * 2/3) / 220 */
                cr_assert_float_eq(left, with ? (10 + 20 * ((200 + 20 * 2 / 3.) / 220)) / 30 : (10 + 20 * 2 / 3.) / 30, 1e-5, "%g", left);
                scorer_destroy(s);
        }
        cr_assert_eq(run(command_score, (const char *[]){ "score", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "of", "--parent", "c", "--outcomes",
                                                          in_folder("o.tsv"), "--out", in_folder("m"), NULL }), 1, "a has two parents then");
}

/* ---- tune --------------------------------------------------------------------------------------------------------------- */

/* As above, and a third of the prompts of no category, each with words of its own, that only `middling` is good at. */
static void put_prompts_of_no_category(void)
{
        FILE *prompts = fopen(in_folder("p.jsonl"), "we"), *outcomes = fopen(in_folder("o.tsv"), "we");

        cr_assert(prompts && outcomes);
        (void)fputs("#id\tleft\tright\tmiddling\n", outcomes);
        for (unsigned i = 0; i < PROMPTS; i++) {
                unsigned kind = (unsigned)(noise_bits(3, i, 0) % 3);
                double u = noise_uniform(noise_bits(3, i, 2));

                (void)fprintf(prompts, "{\"id\": %u, \"q\": \"", i);
                for (unsigned k = 0; k < 6; k++)
                        (void)fprintf(prompts, "%s%llx ", kind == 0 ? "alpha apple " : kind == 1 ? "beta banana " : "", (unsigned long long)noise_bits(4, i, k) >> 40);
                if (noise_uniform(noise_bits(3, i, 1)) < .1 && kind < 2) /* nobody labels without a mistake: without one there is no confidence to learn */
                        (void)fprintf(prompts, "\", \"c\": \"%s\"}\n", kind == 0 ? "b" : "a");
                else
                        (void)fprintf(prompts, "\", \"c\": \"%s\"}\n", kind == 0 ? "a" : kind == 1 ? "b" : "none");
                (void)fprintf(outcomes, "%u\t%d\t%d\t%d\n", i, u < (kind == 0 ? .9 : .2), u < (kind == 1 ? .9 : .2), u < (kind == 2 ? .9 : .3));
        }
        cr_assert_eq(fclose(prompts), 0);
        cr_assert_eq(fclose(outcomes), 0);
}

static int tune(const char *unknown)
{
        return run(command_tune, (const char *[]){ "tune", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"), "--bits",
                                                   "12", "--parts", "3", "--unknown", unknown, "--out", in_folder("map.json"), NULL });
}

Test(score_train, doubtful_prompts_have_an_expert_of_their_own)
{
        const struct score_table_parts *p;
        const struct score_row *general;
        struct score_table *t;
        char why[256];

        put_prompts_of_no_category();
        cr_assert_eq(tune("none"), 0);
        cr_assert_eq(score_table_open(in_folder("map.json"), &t, why, sizeof why), 0, "%s", why);
        p = score_table_parts(t);
        cr_assert(p->scores && p->n == 3 && !score_table_row(t, "none"));
        general = score_table_row(t, "general");
        cr_assert_str_eq(p->experts[general->ranking[0]], "middling");
        cr_assert_gt((double)general->score[general->ranking[0]], .52, "of the doubtful ones, not .47 as of all");
        cr_assert_str_eq(p->experts[score_table_row(t, "a")->ranking[0]], "left");
        cr_assert_str_eq(p->experts[score_table_row(t, "b")->ranking[0]], "right");
        cr_assert(p->doubt.confidence > 0 || p->doubt.entropy > 0 || p->doubt.margin > 0, "doubt is worth something here");
        score_table_destroy(t);
        cr_assert_eq(tune("nobody"), 1);
        cr_assert_eq(run(command_tune, (const char *[]){ "tune", "--in", in_folder("p.jsonl"), "--text", "q", "--label", "c", "--outcomes", in_folder("o.tsv"),
                                                         "--general", "a", "--out", in_folder("map.json"), NULL }), 1);
}
