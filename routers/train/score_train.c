/* SPDX-License-Identifier: Apache-2.0 */
#include "score_train.h"

#include <math.h>

#include "base.h"
#include "score_look.h"

const double score_ridges[SCORE_RIDGES] = { 10, 30, 100 };

/* ---- weighing ----------------------------------------------------------------------------------------------------------- */

/* Sums for least squares of outcomes on table and head, each less its mean over the experts that have run the prompt: what they have in common says
 * nothing of whom to choose. */
struct weighing { double aa, ab, bb, ay, by, yy; };

static void add_prompt(struct weighing *q, const float *two, const float *head, const float *y, size_t experts)
{
        double mean[3] = { 0 }, n = 0;

        for (size_t k = 0; k < experts; k++)
                if (!isnan(y[k])) {
                        mean[0] += (double)two[k];
                        mean[1] += (double)head[k];
                        mean[2] += (double)y[k];
                        n++;
                }
        for (size_t k = 0; n > 1 && k < experts; k++)
                if (!isnan(y[k])) {
                        double a = (double)two[k] - mean[0] / n, b = (double)head[k] - mean[1] / n, x = (double)y[k] - mean[2] / n;

                        q->aa += a * a;
                        q->ab += a * b;
                        q->bb += b * b;
                        q->ay += a * x;
                        q->by += b * x;
                        q->yy += x * x;
                }
}

/* Weights not below zero; returns what is left of the squares. */
static double solve(const struct weighing *q, double *a, double *b)
{
        double det = q->aa * q->bb - q->ab * q->ab;

        *a = det > 1e-12 ? (q->ay * q->bb - q->by * q->ab) / det : 0;
        *b = det > 1e-12 ? (q->by * q->aa - q->ay * q->ab) / det : 0;
        if (!(det > 1e-12) || *b < 0) {
                *a = q->aa > 1e-12 ? MAX(0., q->ay / q->aa) : 1;
                *b = 0;
        } else if (*a < 0) {
                *a = 0;
                *b = q->bb > 1e-12 ? MAX(0., q->by / q->bb) : 0;
        }
        if (*a + *b <= 0)
                *a = 1; /* nothing is known: as the table has it */
        return q->yy - 2 * (*a * q->ay + *b * q->by) + *a * *a * q->aa + 2 * *a * *b * q->ab + *b * *b * q->bb;
}

/* Mean outcome of those that a table + b head chooses, of prompts of which all outcomes are known. */
static double earn(const struct score_work *w, size_t ridge, double a, double b)
{
        double sum = 0, n = 0;

        for (size_t i = 0; i < w->n; i++) {
                const float *two = w->two + i * w->experts, *head = w->head[ridge] + i * w->experts, *y = w->set->target + i * w->experts;
                bool known = w->seen[i];
                size_t best = 0;

                for (size_t k = 0; k < w->experts; k++) {
                        known = known && !isnan(y[k]);
                        if (a * (double)two[k] + b * (double)head[k] > a * (double)two[best] + b * (double)head[best])
                                best = k;
                }
                if (known) {
                        sum += (double)y[best];
                        n++;
                }
        }
        return n > 0 ? sum / n : 0;
}

/*
 * The heads that leave the least of the squares, weighed as that wants it, or by half, or not at all: what earns most, and of equals the
 * table alone.  Squares are a finer measure than earnings, but not the one that counts: heads of prompts whose category says nearly all
 * are noise at the places where experts are about equally good.  Of two, the stronger one would be chosen nearly always, and what matters is the order
 * of the prompts: there squares decide alone.
 */
static size_t weigh(const struct score_work *w, struct score_trained *ret)
{
        static const double shares[] = { 0, .5, 1 };
        struct weighing of = { 0 };
        double least = INFINITY, most = -1, full = 0;
        size_t best = 0;

        for (size_t m = 0; m < w->ridges; m++) {
                struct weighing q = { 0 };
                double a, b, left;

                for (size_t i = 0; i < w->n; i++)
                        if (w->seen[i])
                                add_prompt(&q, w->two + i * w->experts, w->head[m] + i * w->experts, w->set->target + i * w->experts, w->experts);
                left = solve(&q, &a, &b);
                if (left < least) {
                        least = left;
                        best = m;
                        full = b;
                        of = q;
                }
        }
        ret->ridge = w->ridge[best];
        for (size_t i = w->experts > 2 ? 0 : LENGTH_OF(shares) - 1; i < LENGTH_OF(shares); i++) {
                double b = shares[i] * full, a = of.aa > 1e-12 ? MAX(0., (of.ay - b * of.ab) / of.aa) : 1, earned;

                if (a + b <= 0)
                        a = 1; /* nothing is known: as the table has it */
                earned = earn(w, best, a, b);
                if (earned > most + 1e-9) {
                        most = earned;
                        ret->a = a;
                        ret->b = b;
                }
        }
        return best;
}

/* c of each expert: then its estimates are as high as its outcomes. */
static int fill_mix(const struct score_work *w, size_t ridge, struct score_trained *ret)
{
        ret->mix = calloc(3 * w->experts, sizeof *ret->mix);
        if (!ret->mix)
                return -ENOMEM;
        for (size_t k = 0; k < w->experts; k++) {
                double sum = 0, n = 0;

                for (size_t i = 0; i < w->n; i++) {
                        size_t at = i * w->experts + k;

                        if (w->seen[i] && !isnan(w->set->target[at])) {
                                sum += (double)w->set->target[at] - ret->a * (double)w->two[at] - ret->b * (double)w->head[ridge][at];
                                n++;
                        }
                }
                ret->mix[3 * k] = (float)ret->a;
                ret->mix[3 * k + 1] = (float)ret->b;
                ret->mix[3 * k + 2] = n > 0 ? (float)(sum / n) : 0;
        }
        return 0;
}

/* What was seen goes over to the caller, and a part of it into the model. */
static int fill_seen(struct score_work *w, size_t ridge, struct score_trained *ret)
{
        size_t samples = MIN(ret->n_seen, (size_t)SCORER_SAMPLE_MAX), taken = 0, done = 0;

        ret->sample = calloc(samples * w->experts, sizeof *ret->sample);
        if (!ret->sample)
                return -ENOMEM;
        for (size_t i = 0; i < w->n; i++) {
                const float *table = w->table[w->part[i]];
                size_t at = i * w->experts, label = w->set->rows->list[i].label;

                for (size_t k = 0; k < w->experts; k++) {
                        const float *mix = ret->mix + 3 * k;
                        float e = mix[0] * w->two[at + k] + mix[1] * w->head[ridge][at + k] + mix[2];

                        ret->seen.two[at + k] = w->seen[i] ? w->two[at + k] : NAN;
                        ret->seen.head[at + k] = w->seen[i] ? w->head[ridge][at + k] : NAN;
                        ret->seen.mixed[at + k] = w->seen[i] ? MAX(0.F, MIN(1.F, e)) : NAN;
                        ret->seen.single[at + k] = w->seen[i] ? table[w->labels * w->experts + k] : NAN;
                        ret->seen.likeliest[at + k] = w->seen[i] ? table[w->likeliest[i] * w->experts + k] : NAN;
                        ret->seen.truth[at + k] = w->seen[i] ? table[label * w->experts + k] : NAN;
                }
                if (w->seen[i] && taken * ret->n_seen <= done++ * samples && taken < samples) /* evenly, the first one first */
                        memcpy(ret->sample + taken++ * w->experts, ret->seen.mixed + at, w->experts * sizeof *ret->sample);
        }
        assert(taken == samples);
        return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

int score_join(const struct classifier_parts *p, const struct encoder *e, char *const *experts, const struct heads *h, const struct heads_rows *r,
               struct score_trained *ret, struct classifier **ret_classifier)
{
        size_t before = p->categories, all = before + h->n, from = classifier_columns(before), to = classifier_columns(all);
        struct classifier_parts parts = *p;
        char why[256];

        ret->rows = calloc(r->buckets, to);
        ret->scale = calloc(all, sizeof *ret->scale);
        ret->bias = calloc(all, sizeof *ret->bias);
        ret->dense = calloc(p->dim * all + 1, sizeof *ret->dense);
        ret->labels = calloc(all + 1, sizeof *ret->labels);
        ret->encoder = p->dim ? strdup(p->encoder) : NULL;
        if (!ret->rows || !ret->scale || !ret->bias || !ret->dense || !ret->labels || (p->dim && !ret->encoder))
                return -ENOMEM;
        for (size_t i = 0; i < all; i++) {
                char *name = NULL;

                if (i >= before && asprintf(&name, SCORER_PREFIX "%s", experts[i - before]) < 0)
                        return -ENOMEM;
                ret->labels[i] = i < before ? strdup(p->labels[i]) : name;
                if (!ret->labels[i])
                        return -ENOMEM;
        }
        for (size_t b = 0; b < r->buckets; b++) {
                memcpy(ret->rows + b * to, p->rows + b * from, before);
                ret->rows[b * to + all] = p->rows[b * from + before];
        }
        memcpy(ret->scale, p->scale, before * sizeof *ret->scale);
        memcpy(ret->bias, p->bias, before * sizeof *ret->bias);
        for (size_t d = 0; d < p->dim; d++)
                memcpy(ret->dense + d * all, p->dense + d * before, before * sizeof *ret->dense);
        heads_quantise(h, r, p->idf_step, before, to, all, ret->rows, ret->scale, ret->bias, ret->dense);
        parts.categories = all;
        parts.labels = (const char *const *)ret->labels;
        parts.rows = ret->rows;
        parts.scale = ret->scale;
        parts.bias = ret->bias;
        parts.dense = ret->dense;
        parts.encoder = ret->encoder;
        *ret_classifier = classifier_create(&parts);
        if (!*ret_classifier)
                return -ENOMEM;
        return e ? classifier_attach(*ret_classifier, e, why, sizeof why) : 0;
}

static int make_scorer(const struct score_set *set, const bool *use, const struct score_settings *s, struct score_trained *ret)
{
        size_t labels = set->rows->n_labels;
        struct classifier *classifier = NULL;
        struct heads_rows r = { 0 };
        struct fitted f = { 0 };
        struct heads h = { 0 };
        int got;

        ret->table = calloc((labels + 1) * set->n_experts, sizeof *ret->table);
        got = ret->table ? score_look_table(set, use, s->shrink, ret->table) : -ENOMEM;
        if (got == 0)
                got = fit(set->rows, use, &s->fit, &f);
        if (got == 0)
                got = heads_rows_make(set->rows, classifier_parts(f.classifier), s->fit.encoder, &r);
        if (got == 0)
                got = heads_fit(&r, use, set->target, set->n_experts, ret->ridge, &h);
        if (got == 0)
                got = fitted_set(&f, s->fit.encoder, ret->slope, ret->offset, s->threshold);
        if (got == 0)
                got = score_join(classifier_parts(f.classifier), s->fit.encoder, set->experts, &h, &r, ret, &classifier);
        if (got == 0) {
                struct scorer_parts parts = { .categories = labels, .experts = set->n_experts, .table = ret->table, .mix = ret->mix, .sample = ret->sample,
                                              .samples = MIN(ret->n_seen, (size_t)SCORER_SAMPLE_MAX) };

                ret->scorer = scorer_create(classifier, &parts);
                got = ret->scorer ? 0 : -ENOMEM;
        }
        if (got < 0)
                classifier_destroy(classifier);
        heads_finish(&h);
        heads_rows_finish(&r);
        fitted_finish(&f);
        return got;
}

static int begin(const struct score_work *w, struct score_trained *ret)
{
        struct score_seen *seen = &ret->seen;

        ret->slope = w->slope;
        ret->offset = w->offset;
        ret->n_seen = w->n_seen;
        for (size_t i = 0; i < 6; i++) {
                float **to = (float **[]){ &seen->two, &seen->head, &seen->mixed, &seen->single, &seen->likeliest, &seen->truth }[i];

                *to = calloc(w->n * w->experts + 1, sizeof **to);
                if (!*to)
                        return -ENOMEM;
        }
        return 0;
}

int score_train(const struct score_set *set, const bool *use, const struct score_settings *s, struct score_trained *ret)
{
        struct score_work w = { .set = set, .s = s, .use = use, .unknown = SIZE_MAX, .ridges = s->ridge > 0 ? 1 : SCORE_RIDGES };
        struct score_trained made = { 0 };
        size_t ridge;
        int got;

        for (size_t m = 0; m < w.ridges; m++)
                w.ridge[m] = s->ridge > 0 ? s->ridge : score_ridges[m];
        got = score_look(&w);
        if (got == 0)
                got = begin(&w, &made);
        if (got == 0) {
                ridge = weigh(&w, &made);
                got = fill_mix(&w, ridge, &made);
                if (got == 0)
                        got = fill_seen(&w, ridge, &made);
        }
        if (got == 0)
                got = make_scorer(set, use, s, &made);
        score_look_finish(&w);
        if (got < 0)
                score_trained_finish(&made);
        else
                *ret = made;
        return got;
}

void score_trained_finish(struct score_trained *t)
{
        size_t all = t->labels && t->scorer ? scorer_parts(t->scorer)->categories + scorer_parts(t->scorer)->experts : 0;

        scorer_destroy(t->scorer);
        for (size_t i = 0; t->labels && (t->labels[i] || i < all); i++)
                free(t->labels[i]);
        free(t->labels);
        free(t->rows);
        free(t->scale);
        free(t->bias);
        free(t->dense);
        free(t->table);
        free(t->mix);
        free(t->sample);
        free(t->encoder);
        free(t->seen.two);
        free(t->seen.head);
        free(t->seen.mixed);
        free(t->seen.single);
        free(t->seen.likeliest);
        free(t->seen.truth);
        *t = (struct score_trained){ 0 };
}

int score_fit_settings(const char *encoder, bool softmax, struct fit_settings *fit, struct encoder **ret_encoder)
{
        char why[256];
        int r = encoder ? encoder_open(encoder, ret_encoder, why, sizeof why) : 0;

        if (r == 0 && encoder && encoder_needs_scratch(*ret_encoder)) {
                (void)snprintf(why, sizeof why, "its tokenizer is not of BERT's kind, which alone reads a text in one pass");
                r = -EINVAL;
        }
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", encoder, why);
                return r;
        }
        fit->encoder = encoder ? *ret_encoder : NULL;
        fit->softmax = softmax;
        fit->dense_weight = softmax ? 1 : .4;
        if (fit->cost <= 0)
                fit->cost = softmax ? 10 : 3;
        return 0;
}
