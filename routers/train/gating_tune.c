/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much the view from afar counts, by cross-validation: gamma on prompts of tasks that the fit has seen, beta on whole tasks that it
 * has not, and the threshold between them on both.  A prompt's task is named by the task's sentence, as an LLM would.
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "gating.h"
#include "progress.h"

#define PARTS 4       /* of prompts */
#define GROUPS_MAX 8  /* of tasks */

static const double weights[] = { 0, 1, 3, 10, 30, 100, 300, 1000 };
static const double thresholds[] = { .5, .6, .7, .9 };

/* Scores of prompts by models that have not seen them. */
struct seen {
        float *local, *global, *outcome; /* [n][experts] */
        double *near;
        size_t n, experts;
};

static int seen_init(struct seen *s, size_t n, size_t experts)
{
        *s = (struct seen){ .experts = experts };
        s->local = calloc(n * experts + 1, sizeof *s->local);
        s->global = calloc(n * experts + 1, sizeof *s->global);
        s->outcome = calloc(n * experts + 1, sizeof *s->outcome);
        s->near = calloc(n + 1, sizeof *s->near);
        return s->local && s->global && s->outcome && s->near ? 0 : -ENOMEM;
}

static void seen_finish(struct seen *s)
{
        free(s->local);
        free(s->global);
        free(s->outcome);
        free(s->near);
}

/* What joins both views. */
struct joint { double gamma, beta, threshold; };

/* The outcome of the expert that is chosen for prompt i; NAN: it was not run there. */
static float outcome(const struct seen *s, size_t i, struct joint j)
{
        const float *local = s->local + i * s->experts, *global = s->global + i * s->experts;
        float alpha = (float)(s->near[i] >= j.threshold ? j.gamma : j.beta);
        size_t best = 0;

        for (size_t k = 1; k < s->experts; k++)
                if (local[k] + alpha * global[k] > local[best] + alpha * global[best])
                        best = k;
        return s->outcome[i * s->experts + best];
}

/* Mean outcome of those that are chosen; NAN: there is nothing. */
static double quality(const struct seen *s, struct joint j)
{
        double sum = 0, n = 0;

        for (size_t i = 0; i < s->n; i++) {
                float y = outcome(s, i, j);

                sum += isnan(y) ? 0 : (double)y;
                n += !isnan(y);
        }
        return n > 0 ? sum / n : NAN;
}

/* How much better j is than `than`, and the standard error of that, prompts in pairs; added to what is there. */
static void compare(const struct seen *s, struct joint j, struct joint than, double *better, double *variance)
{
        double sum = 0, square = 0, n = 0;

        for (size_t i = 0; i < s->n; i++) {
                double d = (double)outcome(s, i, j) - (double)outcome(s, i, than);

                if (!isnan(d)) {
                        sum += d;
                        square += d * d;
                        n++;
                }
        }
        if (n > 1) {
                *better += sum / n;
                *variance += (square - sum * sum / n) / (n - 1) / n;
        }
}

/* What beats the preset by more than a standard error, and by most: noise leaves it at the paper's values. */
struct contest { struct joint winner; double better; };

static void try(const struct seen *a, const struct seen *b, struct joint j, struct joint preset, struct contest *c)
{
        double better = 0, variance = 0;

        compare(a, j, preset, &better, &variance);
        if (b)
                compare(b, j, preset, &better, &variance);
        if (better > sqrt(variance) && better > c->better)
                *c = (struct contest){ j, better };
}

/* Fits on the prompts of use[] and scores the others, but for examples. */
static int look(const struct lessons *l, const struct gating_settings *settings, const bool *use, const float *sentences, struct seen *s)
{
        struct gating g = { 0 };
        struct gates *gates = NULL;
        CLEANUP(free_p) float *scratch = calloc((size_t)LESSONS_PARTS_MAX * l->dim, sizeof *scratch);
        int r = gating_fit(l, use, NULL, settings, &g);

        if (r < 0)
                return r;
        gates = gates_create(&g.parts);
        for (size_t i = 0; gates && scratch && i < l->rows.n; i++) {
                const float *sentence = sentences + l->task[i] * l->dim;
                size_t at = s->n * s->experts;

                if (use[i])
                        continue;
                gating_score(gates, l, i, l->task_instructions[l->task[i]] ? sentence : NULL, scratch, s->local + at, s->global + at, &s->near[s->n]);
                for (size_t k = 0; k < s->experts; k++)
                        s->outcome[at + k] = lessons_outcome(l, i, k);
                s->n++;
        }
        r = gates && scratch ? 0 : -ENOMEM;
        gates_destroy(gates);
        gating_finish(&g);
        return r;
}

static int measure(const struct lessons *l, const struct gating_settings *s, const float *sentences, struct seen *in, struct seen *out)
{
        CLEANUP(free_p) bool *use = calloc(l->n + 1, sizeof *use);
        size_t groups = MIN(l->rows.n_labels, (size_t)GROUPS_MAX);
        int r = use ? 0 : -ENOMEM;

        for (unsigned part = 0; r == 0 && part < PARTS; part++) {
                progress_show("tuning", part, PARTS + groups);
                for (size_t i = 0; i < l->n; i++)
                        use[i] = i >= l->rows.n || rows_part(&l->rows.list[i], s->seed, PARTS) != part;
                r = look(l, s, use, sentences, in);
        }
        for (size_t group = 0; r == 0 && groups > 1 && group < groups; group++) {
                progress_show("tuning", PARTS + group, PARTS + groups);
                for (size_t i = 0; i < l->n; i++)
                        use[i] = i >= l->rows.n || l->task[i] % groups != group;
                r = look(l, s, use, sentences, out);
        }
        progress_done();
        return r;
}

static void choose(const struct gating_settings *s, const struct seen *in, const struct seen *out, struct gating *g)
{
        struct gates_parts *p = &g->parts;
        struct joint preset = { p->gamma, p->beta, p->threshold };
        struct contest afar = { preset, 0 }, near = { preset, 0 }, between;

        for (size_t i = 0; isnan(s->gamma) && i < LENGTH_OF(weights); i++)
                try(in, NULL, (struct joint){ weights[i], weights[i], 2 }, (struct joint){ preset.gamma, preset.gamma, 2 }, &afar);
        for (size_t i = 0; isnan(s->beta) && i < LENGTH_OF(weights); i++)
                try(out, NULL, (struct joint){ weights[i], weights[i], 2 }, (struct joint){ preset.beta, preset.beta, 2 }, &near);
        p->gamma = afar.winner.gamma;
        p->beta = near.winner.beta;
        preset = (struct joint){ p->gamma, p->beta, p->threshold };
        between = (struct contest){ preset, 0 };
        for (size_t i = 0; isnan(s->threshold) && i < LENGTH_OF(thresholds); i++)
                try(in, out, (struct joint){ p->gamma, p->beta, thresholds[i] }, preset, &between);
        p->threshold = between.winner.threshold;
        g->held_in = quality(in, between.winner);
        g->held_out = quality(out, between.winner);
}

int gating_tune(const struct lessons *l, const struct gating_settings *s, struct gating *g)
{
        CLEANUP(free_p) float *sentences = calloc((l->rows.n_labels + 1) * l->dim, sizeof *sentences);
        struct seen in = { 0 }, out = { 0 };
        int r;

        if (l->rows.n == 0 || !sentences)
                return sentences ? 0 : -ENOMEM;
        r = seen_init(&in, l->rows.n, l->n_experts);
        if (r == 0)
                r = seen_init(&out, l->rows.n, l->n_experts);
        for (size_t t = 0; r == 0 && t < l->rows.n_labels; t++)
                if (l->task_instructions[t] && lessons_encode(l->encoder, l->task_instructions[t], sentences + t * l->dim) == 0)
                        (void)dot_normalise(sentences + t * l->dim, l->dim);
        if (r == 0)
                r = measure(l, s, sentences, &in, &out);
        if (r == 0)
                choose(s, &in, &out, g);
        seen_finish(&in);
        seen_finish(&out);
        return r;
}
