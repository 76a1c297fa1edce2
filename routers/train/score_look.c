/* SPDX-License-Identifier: Apache-2.0 */
#include "score_look.h"

#include <math.h>

#include "base.h"
#include "calibrate.h"
#include "posterior.h"

static bool used(const bool *use, size_t i)
{
        return !use || use[i];
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

/* Sums of outcomes and how many there are, of a column's cells. */
static void count_cells(const struct score_set *set, const bool *use, size_t k, double *sum, double *n)
{
        size_t labels = set->rows->n_labels;

        memset(sum, 0, (labels + 1) * sizeof *sum);
        memset(n, 0, (labels + 1) * sizeof *n);
        for (size_t i = 0; i < set->rows->n; i++) {
                float y = set->target[i * set->n_experts + k];

                if (!used(use, i) || isnan(y))
                        continue;
                sum[set->rows->list[i].label] += (double)y;
                n[set->rows->list[i].label]++;
                sum[labels] += (double)y;
                n[labels]++;
        }
}

/* One expert's column.  A cell is drawn to that of its parent, that one to the mean of all. */
static void fit_column(const struct score_set *set, size_t k, double shrink, double *sum, double *n, float *table)
{
        size_t labels = set->rows->n_labels, experts = set->n_experts;
        double all = sum[labels] / n[labels];

        for (size_t c = 0; c < labels; c++) {
                double to = all, sums = 0, count = 0;

                for (size_t d = 0; set->parent && d < labels; d++)
                        if (set->parent[d] == set->parent[c]) {
                                sums += sum[d];
                                count += n[d];
                        }
                if (count + shrink > 0)
                        to = (sums + shrink * all) / (count + shrink);
                table[c * experts + k] = (float)(n[c] + shrink > 0 ? (sum[c] + shrink * to) / (n[c] + shrink) : to);
        }
        table[labels * experts + k] = (float)all;
}

int score_look_table(const struct score_set *set, const bool *use, double shrink, float *table)
{
        size_t labels = set->rows->n_labels;
        CLEANUP(free_p) double *sum = calloc(2 * (labels + 1), sizeof *sum);
        double *n = sum + labels + 1;

        if (!sum)
                return -ENOMEM;
        for (size_t k = 0; k < set->n_experts; k++) {
                count_cells(set, use, k, sum, n);
                if (n[labels] <= 0) {
                        (void)fprintf(stderr, "expert '%s' has no outcome on these prompts\n", set->experts[k]);
                        return -EINVAL;
                }
                fit_column(set, k, shrink, sum, n, table);
        }
        return 0;
}

/* ---- the parts ---------------------------------------------------------------------------------------------------------- */

static int look_with(struct score_work *w, const bool *use, unsigned part, const struct fitted *f, const struct heads_rows *r)
{
        for (size_t m = 0; m < w->ridges; m++) {
                struct heads h = { 0 };
                int got = heads_fit(r, use, w->set->target, w->experts, w->ridge[m], &h);

                for (size_t i = 0; got == 0 && i < w->n; i++)
                        if (used(w->use, i) && w->part[i] == part)
                                heads_score(&h, r, i, w->head[m] + i * w->experts);
                heads_finish(&h);
                if (got < 0)
                        return got;
        }
        for (size_t i = 0; i < w->n; i++)
                if (used(w->use, i) && w->part[i] == part) {
                        const struct jsonl_row *row = &w->set->rows->list[i];

                        w->seen[i] = classifier_scores(f->classifier, row->text, row->n, 0, w->category + i * (w->labels + 1));
                }
        return 0;
}

static int look(struct score_work *w, unsigned part)
{
        CLEANUP(free_p) bool *use = calloc(w->n + 1, sizeof *use);
        struct heads_rows r = { 0 };
        struct fitted f = { 0 };
        int got;

        w->table[part] = calloc((w->labels + 1) * w->experts, sizeof **w->table);
        if (!use || !w->table[part])
                return -ENOMEM;
        for (size_t i = 0; i < w->n; i++)
                use[i] = used(w->use, i) && w->part[i] != part && w->set->rows->list[i].label != w->unknown;
        got = score_look_table(w->set, use, w->s->shrink, w->table[part]);
        if (got == 0)
                got = fit(w->set->rows, use, &w->s->fit, &f);
        if (got == 0 && w->ridges > 0)
                got = heads_rows_make(w->set->rows, classifier_parts(f.classifier), w->s->fit.encoder, &r);
        if (got == 0)
                got = look_with(w, use, part, &f, &r);
        heads_rows_finish(&r);
        fitted_finish(&f);
        return got;
}

/* The classifier's calibration, on all that was seen; then the shares, and with them the expected scores of the table. */
static int calibrate_seen(struct score_work *w)
{
        CLEANUP(free_p) double *logit = calloc(w->n + 1, sizeof *logit);
        CLEANUP(free_p) bool *right = calloc(w->n + 1, sizeof *right);
        size_t n = 0;

        if (!logit || !right)
                return -ENOMEM;
        for (size_t i = 0; i < w->n; i++)
                if (w->seen[i]) {
                        size_t label = w->set->rows->list[i].label;

                        logit[n] = classifier_logit(w->category + i * (w->labels + 1), w->labels, &w->likeliest[i]);
                        right[n] = w->likeliest[i] == label;
                        n += label != w->unknown;
                        w->n_seen++;
                }
        if (n < 20) {
                (void)fprintf(stderr, "%zu prompts are too few to be divided into parts\n", w->n);
                return -ENODATA;
        }
        calibrate(logit, right, n, &w->slope, &w->offset);
        for (size_t i = 0; i < w->n; i++)
                if (w->seen[i]) {
                        float *p = w->category + i * (w->labels + 1);
                        struct verdict v;

                        posterior_calibrated(w->slope, w->offset, w->labels, p, &v);
                        w->confidence[i] = v.confidence;
                        posterior_expect(p, 0, w->table[w->part[i]], w->labels, w->experts, w->two + i * w->experts);
                }
        return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

static int begin(struct score_work *w)
{
        size_t cells = w->n * w->experts + 1;

        w->part = calloc(w->n + 1, sizeof *w->part);
        w->seen = calloc(w->n + 1, sizeof *w->seen);
        w->category = calloc((w->n + 1) * (w->labels + 1), sizeof *w->category);
        w->two = calloc(cells, sizeof *w->two);
        w->table = calloc(w->s->parts, sizeof(float *));
        w->likeliest = calloc(w->n + 1, sizeof *w->likeliest);
        w->confidence = calloc(w->n + 1, sizeof *w->confidence);
        if (!w->part || !w->seen || !w->category || !w->two || !w->table || !w->likeliest || !w->confidence)
                return -ENOMEM;
        for (size_t m = 0; m < w->ridges; m++)
                if (!(w->head[m] = calloc(cells, sizeof(float))))
                        return -ENOMEM;
        for (size_t i = 0; i < w->n; i++)
                if (jsonl_part(&w->set->rows->list[i], w->s->fit.seed, w->s->parts, &w->part[i]) < 0)
                        return -ENOMEM;
        return 0;
}

int score_look(struct score_work *w)
{
        int got;

        w->n = w->set->rows->n;
        w->labels = w->set->rows->n_labels;
        w->experts = w->set->n_experts;
        got = begin(w);
        for (unsigned part = 0; got == 0 && part < w->s->parts; part++)
                got = look(w, part);
        return got < 0 ? got : calibrate_seen(w);
}

void score_look_finish(struct score_work *w)
{
        for (size_t m = 0; m < SCORE_RIDGES; m++)
                free(w->head[m]);
        for (unsigned i = 0; w->table && i < w->s->parts; i++)
                free(w->table[i]);
        free(w->table);
        free(w->part);
        free(w->seen);
        free(w->category);
        free(w->two);
        free(w->likeliest);
        free(w->confidence);
}
