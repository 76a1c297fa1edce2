/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain counting; AUROC by ranks, ties count half.
 */
#include <math.h>

#include "base.h"
#include "metrics.h"

#define BINS 15
#define TAKEN_FOR 3 /* columns of the confusion */

static double ratio(double a, double b)
{
        return b > 0 ? a / b : (double)NAN;
}

static int macro_f1(const struct decision *d, size_t n, size_t categories, double *ret)
{
        CLEANUP(free_p) size_t *count = calloc(categories * 3 + 1, sizeof *count);
        size_t *hit, *said;
        double sum = 0, there = 0;

        if (!count)
                return -ENOMEM;
        hit = count + categories;
        said = hit + categories;
        for (size_t i = 0; i < n; i++)
                if (!d[i].unknown) {
                        count[d[i].truth]++;
                        said[d[i].said]++;
                        hit[d[i].truth] += d[i].truth == d[i].said;
                }
        for (size_t c = 0; c < categories; c++)
                if (count[c] > 0) {
                        there++;
                        sum += 2 * (double)hit[c] / (double)(count[c] + said[c]);
                }
        *ret = ratio(sum, there);
        return 0;
}

static double calibration_error(const struct decision *d, size_t n, size_t known)
{
        double sure[BINS] = { 0 }, right[BINS] = { 0 }, error = 0;

        for (size_t i = 0; i < n; i++)
                if (!d[i].unknown) {
                        size_t bin = MIN((size_t)(d[i].confidence * BINS), (size_t)BINS - 1);

                        sure[bin] += d[i].confidence;
                        right[bin] += d[i].said == d[i].truth;
                }
        for (size_t b = 0; b < BINS; b++)
                error += fabs(sure[b] - right[b]);
        return ratio(error, (double)known);
}

static int by_confidence(const void *a, const void *b)
{
        const struct decision *x = a, *y = b;

        return x->confidence < y->confidence ? -1 : x->confidence > y->confidence;
}

static int area(const struct decision *d, size_t n, double *ret)
{
        CLEANUP(free_p) struct decision *sorted = calloc(n + 1, sizeof *sorted);
        double below = 0, pairs = 0, known = 0;

        if (!sorted)
                return -ENOMEM;
        if (n > 0)
                memcpy(sorted, d, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_confidence);
        for (size_t i = 0, k; i < n; i = k) {
                double tied_known = 0, tied_unknown = 0;

                for (k = i; k < n && sorted[k].confidence <= sorted[i].confidence; k++) {
                        tied_unknown += sorted[k].unknown;
                        tied_known += !sorted[k].unknown;
                }
                pairs += tied_known * (below + tied_unknown / 2);
                below += tied_unknown;
                known += tied_known;
        }
        *ret = ratio(pairs, known * below);
        return 0;
}

int metrics_measure(const struct decision *d, size_t n, size_t categories, double threshold, struct quality *ret)
{
        double right = 0, kept = 0, kept_right = 0, caught = 0;
        struct quality q = { 0 };
        int r;

        for (size_t i = 0; i < n; i++) {
                bool above = d[i].confidence >= threshold;

                if (d[i].unknown) {
                        q.unknown++;
                        caught += !above;
                        continue;
                }
                q.known++;
                right += d[i].said == d[i].truth;
                kept += above;
                kept_right += above && d[i].said == d[i].truth;
        }
        q.accuracy = ratio(right, (double)q.known);
        q.kept = ratio(kept, (double)q.known);
        q.kept_accuracy = ratio(kept_right, kept);
        q.in_scope_accuracy = ratio(kept_right, (double)q.known);
        q.recall_unknown = ratio(caught, (double)q.unknown);
        q.ece = calibration_error(d, n, q.known);
        r = macro_f1(d, n, categories, &q.macro_f1);
        if (r == 0)
                r = area(d, n, &q.auroc);
        if (r == 0)
                *ret = q;
        return r;
}

/* ---- confusion ---------------------------------------------------------------------------------------------------------- */

struct chart_line {
        size_t category, n, hit;
};

static int by_recall(const void *a, const void *b)
{
        const struct chart_line *x = a, *y = b;
        double p = (double)x->hit / (double)MAX(x->n, (size_t)1), q = (double)y->hit / (double)MAX(y->n, (size_t)1);

        if (p < q || p > q)
                return p < q ? -1 : 1;
        return x->category < y->category ? -1 : 1;
}

/* What one category was taken for, most often first. */
static void taken_for(FILE *out, const struct chart_line *l, const size_t *row, const char *const *labels, size_t categories)
{
        size_t last = SIZE_MAX, last_at = 0;

        for (int k = 0; k < TAKEN_FOR; k++) {
                size_t best = SIZE_MAX;

                for (size_t c = 0; c < categories; c++)
                        if (c != l->category && row[c] > 0 && (row[c] < last || (row[c] == last && c > last_at)) &&
                            (best == SIZE_MAX || row[c] > row[best]))
                                best = c;
                if (best == SIZE_MAX)
                        break;
                (void)fprintf(out, "%s%s %.1f%%", k ? ", " : "", labels[best], 100. * (double)row[best] / (double)l->n);
                last = row[best];
                last_at = best;
        }
        (void)fputc('\n', out);
}

int metrics_confusion(FILE *out, const struct decision *d, size_t n, const char *const *labels, size_t categories, size_t most)
{
        CLEANUP(free_p) size_t *count = calloc(categories * categories + 1, sizeof *count);
        CLEANUP(free_p) struct chart_line *line = calloc(categories + 1, sizeof *line);

        if (!count || !line)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (!d[i].unknown)
                        count[d[i].truth * categories + d[i].said]++;
        for (size_t c = 0; c < categories; c++) {
                line[c].category = c;
                line[c].hit = count[c * categories + c];
                for (size_t k = 0; k < categories; k++)
                        line[c].n += count[c * categories + k];
        }
        qsort(line, categories, sizeof *line, by_recall);
        (void)fprintf(out, "%-24s %8s %8s  %s\n", "category", "prompts", "recall", "taken for");
        for (size_t i = 0, shown = 0; i < categories && shown < most; i++) {
                if (line[i].n == 0)
                        continue;
                (void)fprintf(out, "%-24s %8zu %7.1f%%  ", labels[line[i].category], line[i].n,
                              100. * (double)line[i].hit / (double)line[i].n);
                taken_for(out, &line[i], count + line[i].category * categories, labels, categories);
                shown++;
        }
        return 0;
}
