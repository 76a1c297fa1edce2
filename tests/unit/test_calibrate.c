/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration, thresholds and the figures, on cases that can be counted by hand. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "calibrate.h"
#include "metrics.h"

Test(calibrate, finds_the_curve_that_made_the_data)
{
        enum { N = 20000 };
        static double x[N];
        static bool right[N];
        double slope, offset;
        uint64_t s = 5;

        for (size_t i = 0; i < N; i++) {
                s = s * 6364136223846793005u + 1442695040888963407u;
                x[i] = (double)(s >> 40) / (1 << 24) * 8 - 4;
                s = s * 6364136223846793005u + 1442695040888963407u;
                right[i] = (double)(s >> 40) / (1 << 24) < 1 / (1 + exp(-(.7 * x[i] - .3)));
        }
        calibrate(x, right, N, &slope, &offset);
        cr_assert_float_eq(slope, .7, .05, "%f", slope);
        cr_assert_float_eq(offset, -.3, .06, "%f", offset);
}

Test(calibrate, stays_finite_at_the_extremes)
{
        const double x[4] = { 1, 2, 3, 4 }, equal[4] = { 2, 2, 2, 2 };
        const bool all[4] = { true, true, true, true }, apart[4] = { false, false, true, true };
        const bool against[4] = { true, true, false, false };
        double slope, offset;

        calibrate(x, all, 4, &slope, &offset);
        cr_assert(isfinite(slope) && isfinite(offset) && slope >= 0);
        calibrate(x, apart, 4, &slope, &offset);
        cr_assert(isfinite(slope) && slope > 0);
        calibrate(equal, apart, 4, &slope, &offset);
        cr_assert(isfinite(slope) && isfinite(offset));
        calibrate(x, against, 4, &slope, &offset);
        cr_assert_float_eq(slope, 0, 1e-12, "more of what is wrong is not more confidence");
        calibrate(x, all, 0, &slope, &offset);
        cr_assert(isfinite(slope) && isfinite(offset));
}

Test(calibrate, threshold_keeps_most_right)
{
        struct judged list[] = { { .9, true, false }, { .8, true, false }, { .7, false, true }, { .6, true, false },
                                 { .5, false, true }, { .4, false, true }, { .3, false, false } };
        size_t right;
        double t = calibrate_threshold(list, LENGTH_OF(list), &right);

        cr_assert_float_eq(t, .55, 1e-9, "%f", t);
        cr_assert_eq(right, 5);
}

Test(calibrate, threshold_without_unknown_ones_is_zero)
{
        struct judged list[] = { { .9, true, false }, { .2, false, false } };
        size_t right;

        cr_assert_float_eq(calibrate_threshold(list, 2, &right), 0, 1e-12);
        cr_assert_eq(right, 1);
}

Test(calibrate, equal_confidences_are_not_parted)
{
        struct judged list[] = { { .5, true, false }, { .5, false, true }, { .5, false, true }, { .9, true, false } };
        size_t right;

        cr_assert_float_eq(calibrate_threshold(list, 4, &right), .7, 1e-9);
        cr_assert_eq(right, 3);
}

Test(metrics, counted_by_hand)
{
        const struct decision d[] = {
                { 0, 0, .9, false }, { 0, 0, .8, false }, { 0, 1, .4, false }, { 1, 1, .7, false }, { 0, 2, .6, true }, { 0, 0, .1, true },
        };
        struct quality q;

        cr_assert_eq(metrics_measure(d, LENGTH_OF(d), 3, .5, &q), 0);
        cr_assert_eq(q.known, 4);
        cr_assert_eq(q.unknown, 2);
        cr_assert_float_eq(q.accuracy, .75, 1e-9);
        cr_assert_float_eq(q.macro_f1, (.8 + 2. / 3) / 2, 1e-9); /* precision 1, recall 2/3; precision 1/2, recall 1 */
        cr_assert_float_eq(q.kept, .75, 1e-9);
        cr_assert_float_eq(q.kept_accuracy, 1, 1e-9);
        cr_assert_float_eq(q.in_scope_accuracy, .75, 1e-9);
        cr_assert_float_eq(q.recall_unknown, .5, 1e-9);
        cr_assert_float_eq(q.auroc, 7. / 8, 1e-9); /* of eight pairs one is the wrong way: .4 below .6 */
        cr_assert_float_eq(q.ece, (.1 + .2 + .4 + .3) / 4, 1e-9);
}

Test(metrics, nothing_to_count_is_not_a_number)
{
        struct quality q;

        cr_assert_eq(metrics_measure(NULL, 0, 3, .5, &q), 0);
        cr_assert(isnan(q.accuracy) && isnan(q.auroc) && isnan(q.macro_f1));
}

Test(metrics, confusion_names_the_worst_first)
{
        const struct decision d[] = { { 0, 0, .9, false }, { 1, 0, .8, false }, { 1, 2, .4, false }, { 1, 2, .7, false } };
        const char *labels[] = { "law", "math", "physics" };
        CLEANUP(free_p) char *text = NULL;
        size_t n;
        FILE *out = open_memstream(&text, &n);

        cr_assert_eq(metrics_confusion(out, d, 4, labels, 3, 1), 0);
        (void)fclose(out);
        cr_assert(strstr(text, "math"), "%s", text);
        cr_assert(strstr(text, "physics 66.7%, law 33.3%"), "%s", text);
        cr_assert(!strstr(text, "100.0%"), "only the worst one was asked for: %s", text);
}
