/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base.h"
#include "score_train.h"

static bool is_known(const struct scorer_parts *p, const char *expert)
{
        for (size_t k = 0; k < p->experts; k++)
                if (strcmp(p->names[k], expert) == 0)
                        return true;
        return false;
}

/* Of the model's categories; the number of them: none. */
static size_t category_of(const struct scorer_parts *p, const char *label)
{
        size_t i = 0;

        while (i < p->categories && strcmp(p->labels[i], label) != 0)
                i++;
        return i;
}

/* Column `at` of the new table, of the new expert k. */
static int fill_column(const struct scorer_parts *p, const struct score_set *set, size_t k, double shrink, float *table, size_t at, size_t experts)
{
        CLEANUP(free_p) double *sum = calloc(2 * (p->categories + 1), sizeof *sum);
        CLEANUP(free_p) size_t *category = calloc(set->rows->n_labels + 1, sizeof *category);
        double *n = sum ? sum + p->categories + 1 : NULL, all = 0, count = 0;

        if (!sum || !category)
                return -ENOMEM;
        for (size_t i = 0; i < set->rows->n_labels; i++)
                category[i] = category_of(p, set->rows->labels[i]);
        for (size_t i = 0; i < set->rows->n; i++) {
                float y = set->target[i * set->n_experts + k];

                if (isnan(y))
                        continue;
                sum[category[set->rows->list[i].label]] += (double)y;
                n[category[set->rows->list[i].label]]++;
                all += (double)y;
                count++;
        }
        if (count <= 0) {
                (void)fprintf(stderr, "expert '%s' has no outcome on these prompts\n", set->experts[k]);
                return -EINVAL;
        }
        all /= count;
        for (size_t c = 0; c < p->categories; c++)
                table[c * experts + at] = (float)(n[c] + shrink > 0 ? (sum[c] + shrink * all) / (n[c] + shrink) : all);
        table[p->categories * experts + at] = (float)all;
        return 0;
}

/* Table and weights of all: the old ones' as they are. */
static int fill_rest(const struct scorer_parts *p, const struct score_set *set, const struct heads *h, double shrink, struct score_trained *ret)
{
        size_t experts = p->experts + set->n_experts;

        ret->n_seen = MIN(set->rows->n, (size_t)SCORER_SAMPLE_MAX);
        ret->table = calloc((p->categories + 1) * experts, sizeof *ret->table);
        ret->mix = calloc(3 * experts, sizeof *ret->mix);
        ret->sample = calloc(ret->n_seen * experts, sizeof *ret->sample);
        if (!ret->table || !ret->mix || !ret->sample)
                return -ENOMEM;
        for (size_t c = 0; c <= p->categories; c++)
                memcpy(ret->table + c * experts, p->table + c * p->experts, p->experts * sizeof *ret->table);
        memcpy(ret->mix, p->mix, 3 * p->experts * sizeof *ret->mix);
        ret->a = (double)p->mix[0]; /* the same for all of a model */
        ret->b = (double)p->mix[1];
        for (size_t k = 0; k < set->n_experts; k++) {
                float *mix = ret->mix + 3 * (p->experts + k);
                int r = fill_column(p, set, k, shrink, ret->table, p->experts + k, experts);

                if (r < 0)
                        return r;
                mix[0] = (float)ret->a;
                mix[1] = (float)ret->b;
                mix[2] = (float)(h->mean[k] * (1 - ret->a - ret->b)); /* both are as high as its outcomes, in the mean */
        }
        return 0;
}

static void fill_sample(const struct score_set *set, struct score_trained *m)
{
        static const struct score_table_doubt sure = { 0, NAN, NAN };
        size_t experts = scorer_parts(m->scorer)->experts;

        for (size_t i = 0; i < m->n_seen; i++) {
                const struct jsonl_row *row = &set->rows->list[i * set->rows->n / m->n_seen];
                struct verdict v;
                double doubt;

                scorer_estimate(m->scorer, row->text, row->n, 0, &sure, m->sample + i * experts, &v, &doubt);
        }
}

static int check(const struct scorer_parts *p, const struct score_set *set)
{
        if (p->experts + set->n_experts > SCORER_EXPERTS_MAX || p->experts + set->n_experts + p->categories > CLASSIFIER_CATEGORIES_MAX) {
                (void)fprintf(stderr, "%zu experts and as many more: a model has at most %d\n", p->experts, SCORER_EXPERTS_MAX);
                return -E2BIG;
        }
        for (size_t k = 0; k < set->n_experts; k++)
                if (is_known(p, set->experts[k])) {
                        (void)fprintf(stderr, "the model knows expert '%s' already: --experts NAME=COLUMN gives a column another name\n", set->experts[k]);
                        return -EEXIST;
                }
        return 0;
}

int score_add(const struct scorer *old, const struct encoder *e, const struct score_set *set, double shrink, double ridge, struct score_trained *ret)
{
        const struct classifier_parts *c = classifier_parts(scorer_classifier(old));
        const struct scorer_parts *p = scorer_parts(old);
        struct score_trained made = { .ridge = ridge };
        struct classifier *classifier = NULL;
        struct heads_rows r = { 0 };
        struct heads h = { 0 };
        int got = check(p, set);

        if (got == 0)
                got = heads_rows_make(set->rows, c, e, &r);
        if (got == 0)
                got = heads_fit(&r, NULL, set->target, set->n_experts, ridge, &h);
        if (got == 0)
                got = fill_rest(p, set, &h, shrink, &made);
        if (got == 0)
                got = score_join(c, e, set->experts, &h, &r, &made, &classifier);
        if (got == 0) {
                struct scorer_parts parts = { .categories = p->categories, .experts = p->experts + set->n_experts, .table = made.table, .mix = made.mix,
                                              .sample = made.sample, .samples = made.n_seen };

                made.scorer = scorer_create(classifier, &parts);
                got = made.scorer ? 0 : -ENOMEM;
        }
        if (got == 0)
                fill_sample(set, &made);
        else
                classifier_destroy(classifier);
        heads_finish(&h);
        heads_rows_finish(&r);
        if (got < 0)
                score_trained_finish(&made);
        else
                *ret = made;
        return got;
}
