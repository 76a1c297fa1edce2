/* SPDX-License-Identifier: Apache-2.0 */
/* What `eval route` computes with: folds, neighbours, garbled texts, APGR, intervals. */
#include <criterion/criterion.h>
#include <math.h>

#include "apgr.h"
#include "base.h"
#include "folds.h"
#include "garble.h"
#include "nearest.h"
#include "noise.h"
#include "resample.h"

static unsigned fold(const char *salt, const char *text)
{
        unsigned f = 99;

        cr_assert_eq(folds_of(salt, text, strlen(text), 5, &f), 0);
        return f;
}

/* Python: int.from_bytes(hashlib.sha256(b"mmlupro:what is 2 2").digest()[:8], "big") % 5, and so on. */
Test(route, folds_are_those_of_the_recipe)
{
        cr_assert_eq(fold("mmlupro", "What is 2 + 2?"), 3);
        cr_assert_eq(fold("mmlupro", "  what IS\n2 -- 2"), 3);
        cr_assert_eq(fold("route", "What is 2 + 2?"), 2);
        cr_assert_eq(fold("route", "caf\xc3\xa9 under_score"), 3);
        cr_assert_eq(fold("route", ""), 4);
}

static char texts[][64] = { "the court and the law of contracts", "an appeal to the supreme court", "the derivative of a polynomial",
                               "integrals of polynomial functions", "not used: polynomial polynomial", "the rest of the words is other" };

Test(route, the_nearest_texts)
{
        struct jsonl_row rows[LENGTH_OF(texts)];
        const struct jsonl_rows list = { .list = rows, .n = LENGTH_OF(texts) };
        const bool use[] = { true, true, true, true, false, true };
        float score[LENGTH_OF(texts)];
        size_t row[NEAREST_MAX];
        struct nearest *x;

        for (size_t i = 0; i < list.n; i++)
                rows[i] = (struct jsonl_row){ .text = texts[i], .n = strlen(texts[i]) };
        cr_assert_eq(nearest_create(&list, use, &x), 0);
        cr_assert_eq(nearest_find(x, "a polynomial", 12, 2, score, row), 2);
        cr_assert((row[0] == 2 && row[1] == 3) || (row[0] == 3 && row[1] == 2));
        cr_assert_geq(score[row[0]], score[row[1]]);
        cr_assert_eq(nearest_find(x, "the supreme court", 17, 1, score, row), 1);
        cr_assert_eq(row[0], 1);
        cr_assert_eq(nearest_find(x, "", 0, 5, score, row), 0);
        nearest_destroy(x);
        nearest_destroy(NULL);
}

Test(route, garbled_texts_are_other_ones_and_the_same_twice)
{
        const char *text = "Please tell me, what is the derivative of x squared plus seven, and why would that matter to a carpenter?";

        for (int g = 0; g < GARBLES; g++) {
                size_t n, again;
                char *a = garble(g, text, strlen(text), 7, &n), *b = garble(g, text, strlen(text), 7, &again);

                cr_assert(a && b);
                cr_assert_eq(n, strlen(a), "%s", garble_names[g]);
                cr_assert_str_eq(a, b);
                cr_assert_str_neq(a, text, "%s", garble_names[g]);
                cr_assert(g == GARBLE_POLITE ? strstr(a, text) != NULL : n <= strlen(text) + 12, "%s: %s", garble_names[g], a);
                free(a);
                free(b);
        }
}

/* Every length, and bytes of any kind: what is written stays within its room. */
Test(route, any_text_can_be_garbled)
{
        char text[300];

        for (size_t length = 0; length < sizeof text; length++)
                for (int g = 0; g < GARBLES; g++) {
                        size_t n;
                        char *other;

                        for (size_t i = 0; i < length; i++)
                                text[i] = (char)(noise_bits(length, i, 1) % 3 ? noise_bits(length, i, 2) : 'a' + noise_bits(length, i, 3) % 26);
                        other = garble(g, text, length, length, &n);
                        cr_assert_not_null(other);
                        cr_assert_eq(other[n], '\0');
                        free(other);
                }
}

/* Ranked by the gain itself: all wins first, then ties, then losses.  20 prompts, numpy's edges by hand. */
Test(route, apgr_of_a_perfect_and_of_a_constant_rank)
{
        double strong[20], weak[20], gain[20], none[20] = { 0 };
        struct apgr y;

        for (int i = 0; i < 20; i++) {
                strong[i] = i % 2;         /* ten are right */
                weak[i] = i % 4 == 1;      /* five of these the weak one knows, too */
                gain[i] = strong[i] - weak[i];
        }
        cr_assert_eq(apgr_measure(gain, strong, weak, 20, 200, 1, &y), 0);
        /* edges are 0 or 1: five prompts bring all, then nothing more */
        cr_assert_float_eq(y.share[0], 0, 1e-12);
        cr_assert_float_eq(y.score[0], .25, 1e-12);
        cr_assert_float_eq(y.share[APGR_EDGES - 1], 1, 1e-12);
        cr_assert_float_eq(y.score[APGR_EDGES - 1], .5, 1e-12);
        cr_assert_float_eq(y.apgr, .25 / 2 + .75, 1e-9);
        cr_assert_float_eq(y.calls[0], .05, 1e-9);
        cr_assert_float_eq(y.calls[2], .2, 1e-9);
        cr_assert(y.interval.low <= y.apgr && y.apgr <= y.interval.high && y.interval.low < y.interval.high);

        cr_assert_eq(apgr_measure(none, strong, weak, 20, 0, 1, &y), 0);
        cr_assert_float_eq(y.apgr, .5, 1e-9, "all or nothing is a straight line");
        cr_assert_float_eq(y.calls[1], .5, 1e-9);
        cr_assert(isnan(y.interval.low));
        cr_assert_eq(apgr_measure(none, weak, strong, 20, 0, 1, &y), -ERANGE, "the strong one is the weaker");
}

/* Ten prompts that rank in order: the edges lie between them. */
Test(route, apgr_interpolates_its_edges)
{
        double strong[10], weak[10] = { 0 }, rank[10];
        struct apgr y;

        for (int i = 0; i < 10; i++) {
                strong[i] = i >= 5;
                rank[i] = i;
        }
        cr_assert_eq(apgr_measure(rank, strong, weak, 10, 0, 1, &y), 0);
        for (int e = 1; e < APGR_EDGES; e++)
                cr_assert_float_eq(y.share[e], e / 10., 1e-9, "%d: %f", e, y.share[e]);
        cr_assert_float_eq(y.score[5], .5, 1e-9);
        cr_assert_float_eq(y.apgr, .75 / 1, 1e-9, "%f", y.apgr);
}

Test(route, intervals_cover_the_mean)
{
        double value[400], x[] = { 5, 1, 4, 2, 3 };
        struct interval i;
        uint32_t count[400];
        uint64_t sum = 0;

        for (int k = 0; k < 400; k++)
                value[k] = k % 4 == 0;
        cr_assert_eq(resample_mean(value, 400, 500, 3, &i), 0);
        /* the standard error is .0217 */
        cr_assert(i.low > .19 && i.low < .22 && i.high > .28 && i.high < .31, "%f %f", i.low, i.high);
        resample_draw(1, 0, 400, count);
        for (int k = 0; k < 400; k++)
                sum += count[k];
        cr_assert_eq(sum, 400);
        i = resample_interval(x, 5);
        cr_assert(i.low >= 1 && i.low <= 1 && i.high >= 5);
        cr_assert(isnan(resample_interval(x, 0).low));
}
