/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much the view from afar counts, by cross-validation: gamma on prompts of tasks that the fit has seen, beta on whole tasks that it
 * has not, and the threshold between them on both.  A prompt's task is named by the task's sentence, as an LLM would.
 *
 * Then how much each expert's mean counts, on both: by what beats none clearly, or, where the model would be worse than its best expert alone, by
 * what is best.  At last how far ahead the first must be for the choice to have been worth more than that one expert.
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
static const double shares[] = { .9, .8, .7, .65, .6, .57, .55, .53, .52, .51 };

#define FEW 20 /* prompts, too few to say anything */

/* Scores of prompts by models that have not seen them. */
struct gating_seen {
        float *local, *global, *mean, *outcome; /* [n][experts] */
        double *near;
        size_t n, experts;
};

static int seen_init(struct gating_seen *s, size_t n, size_t experts)
{
        *s = (struct gating_seen){ .experts = experts };
        s->local = calloc(n * experts + 1, sizeof *s->local);
        s->global = calloc(n * experts + 1, sizeof *s->global);
        s->mean = calloc(n * experts + 1, sizeof *s->mean);
        s->outcome = calloc(n * experts + 1, sizeof *s->outcome);
        s->near = calloc(n + 1, sizeof *s->near);
        return s->local && s->global && s->mean && s->outcome && s->near ? 0 : -ENOMEM;
}

static void seen_finish(struct gating_seen *s)
{
        free(s->local);
        free(s->global);
        free(s->mean);
        free(s->outcome);
        free(s->near);
}

/* What joins both views. */
struct joint { double gamma, beta, threshold, delta; };
static const double alone = 1e6; /* a delta: the means decide */

/* The outcome of the expert that is chosen for prompt i; NAN: it was not run there.  *ret_share (may be NULL): the first's against the second. */
static float outcome(const struct gating_seen *s, size_t i, struct joint j, double *ret_share)
{
        const float *local = s->local + i * s->experts, *global = s->global + i * s->experts, *mean = s->mean + i * s->experts;
        double alpha = s->near[i] >= j.threshold ? j.gamma : j.beta, most = -INFINITY, second = -INFINITY;
        size_t best = 0;

        for (size_t k = 0; k < s->experts; k++) {
                double score = (double)local[k] + alpha * (double)global[k] + j.delta * (double)mean[k];

                if (score > most) {
                        second = most;
                        most = score;
                        best = k;
                } else {
                        second = fmax(second, score);
                }
        }
        if (ret_share)
                *ret_share = 1 / (1 + exp(second - most));
        return s->outcome[i * s->experts + best];
}

/* Mean outcome of those that are chosen; NAN: there is nothing. */
static double quality(const struct gating_seen *s, struct joint j)
{
        double sum = 0, n = 0;

        for (size_t i = 0; i < s->n; i++) {
                float y = outcome(s, i, j, NULL);

                sum += isnan(y) ? 0 : (double)y;
                n += !isnan(y);
        }
        return n > 0 ? sum / n : NAN;
}

/* How much better j is than `than`, and the standard error of that, prompts in pairs; added to what is there. */
static void compare(const struct gating_seen *s, struct joint j, struct joint than, double *better, double *variance)
{
        double sum = 0, square = 0, n = 0;

        for (size_t i = 0; i < s->n; i++) {
                double d = (double)outcome(s, i, j, NULL) - (double)outcome(s, i, than, NULL);

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

static void try(const struct gating_seen *a, const struct gating_seen *b, struct joint j, struct joint preset, struct contest *c)
{
        double better = 0, variance = 0;

        compare(a, j, preset, &better, &variance);
        if (b)
                compare(b, j, preset, &better, &variance);
        if (better > sqrt(variance) && better > c->better)
                *c = (struct contest){ j, better };
}

/* Fits on the prompts of use[] and scores the others, but for examples. */
static int look(const struct training_set *l, const struct gating_settings *settings, const bool *use, const float *sentences, struct gating_seen *s)
{
        struct gating g = { 0 };
        struct gates *gates = NULL;
        CLEANUP(free_p) float *scratch = calloc((size_t)TRAINING_SET_PARTS_MAX * l->dim, sizeof *scratch);
        int r = gating_fit(l, use, NULL, settings, &g);

        if (r < 0)
                return r;
        g.parts.delta = 0; /* they are weighed here */
        gates = gates_create(&g.parts);
        for (size_t i = 0; gates && scratch && i < l->rows.n; i++) {
                const float *sentence = sentences + l->task[i] * l->dim;
                size_t at = s->n * s->experts;

                if (use[i])
                        continue;
                gating_score(gates, l, i, l->task_instructions[l->task[i]] ? sentence : NULL, scratch, s->local + at, s->global + at, &s->near[s->n]);
                for (size_t k = 0; k < s->experts; k++)
                        s->outcome[at + k] = training_set_outcome(l, i, k);
                memcpy(s->mean + at, g.means, s->experts * sizeof *s->mean);
                s->n++;
        }
        r = gates && scratch ? 0 : -ENOMEM;
        gates_destroy(gates);
        gating_finish(&g);
        return r;
}

static int measure(const struct training_set *l, const struct gating_settings *s, const float *sentences, struct gating_seen *in, struct gating_seen *out)
{
        CLEANUP(free_p) bool *use = calloc(l->n + 1, sizeof *use);
        size_t groups = MIN(l->rows.n_labels, (size_t)GROUPS_MAX);
        int r = use ? 0 : -ENOMEM;

        for (unsigned part = 0; r == 0 && part < PARTS; part++) {
                progress_show("tuning", part, PARTS + groups);
                for (size_t i = 0; r == 0 && i < l->n; i++) {
                        unsigned its = PARTS;

                        r = i < l->rows.n ? jsonl_part(&l->rows.list[i], s->seed, PARTS, &its) : 0;
                        use[i] = its != part;
                }
                if (r == 0)
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

/* Of prompts and of tasks; of the latter there may be none. */
static double both(const struct gating_seen *in, const struct gating_seen *out, struct joint j)
{
        double q = quality(out, j);

        return quality(in, j) + (isnan(q) ? 0 : q);
}

/* What is to be preferred to delta 0. */
static struct joint weigh_means(const struct gating_seen *in, const struct gating_seen *out, struct joint j)
{
        struct contest c = { j, 0 };
        struct joint most = j;

        for (size_t i = 1; i < LENGTH_OF(weights); i++) {
                struct joint with = j;

                with.delta = weights[i];
                try(in, out, with, j, &c);
                if (both(in, out, with) > both(in, out, most) + 1e-9)
                        most = with;
        }
        return both(in, out, c.winner) < both(in, out, (struct joint){ 0, 0, 2, alone }) ? most : c.winner;
}

/* Adds how much better the choice was than one expert for all, where the first was ahead by less than that share. */
static void add_gain(const struct gating_seen *s, struct joint j, double below, double *n, double *sum, double *square)
{
        for (size_t i = 0; i < s->n; i++) {
                double share, d = (double)outcome(s, i, j, &share) - (double)outcome(s, i, (struct joint){ 0, 0, 2, alone }, NULL);

                if (share < below && !isnan(d)) {
                        *n += 1;
                        *sum += d;
                        *square += d * d;
                }
        }
}

/* The share below which choosing has gained nothing, or no more than a standard error. */
static double sure_from(const struct gating_seen *in, const struct gating_seen *out, struct joint j)
{
        for (size_t i = 0; i < LENGTH_OF(shares); i++) {
                double n = 0, sum = 0, square = 0;

                add_gain(in, j, shares[i], &n, &sum, &square);
                add_gain(out, j, shares[i], &n, &sum, &square);
                if (n >= FEW && sum <= sqrt(fmax(square - sum * sum / n, 0)))
                        return shares[i];
        }
        return .5;
}

static void choose(const struct gating_settings *s, const struct gating_seen *in, const struct gating_seen *out, struct gating *g)
{
        struct gates_parts *p = &g->parts;
        struct joint preset = { p->gamma, p->beta, p->threshold, 0 }, single = { 0, 0, 2, alone }, chosen;
        struct contest afar = { preset, 0 }, near = { preset, 0 }, between;

        for (size_t i = 0; isnan(s->gamma) && i < LENGTH_OF(weights); i++)
                try(in, NULL, (struct joint){ weights[i], weights[i], 2, 0 }, (struct joint){ preset.gamma, preset.gamma, 2, 0 }, &afar);
        for (size_t i = 0; isnan(s->beta) && i < LENGTH_OF(weights); i++)
                try(out, NULL, (struct joint){ weights[i], weights[i], 2, 0 }, (struct joint){ preset.beta, preset.beta, 2, 0 }, &near);
        preset = (struct joint){ afar.winner.gamma, near.winner.beta, p->threshold, 0 };
        between = (struct contest){ preset, 0 };
        for (size_t i = 0; isnan(s->threshold) && i < LENGTH_OF(thresholds); i++)
                try(in, out, (struct joint){ preset.gamma, preset.beta, thresholds[i], 0 }, preset, &between);
        chosen = weigh_means(in, out, between.winner);
        p->gamma = chosen.gamma;
        p->beta = chosen.beta;
        p->threshold = chosen.threshold;
        p->delta = chosen.delta;
        p->sure = sure_from(in, out, chosen);
        g->held_in = quality(in, chosen);
        g->held_out = quality(out, chosen);
        g->single_in = quality(in, single);
        g->single_out = quality(out, single);
}

int gating_tune(const struct training_set *l, const struct gating_settings *s, struct gating *g)
{
        CLEANUP(free_p) float *sentences = calloc((l->rows.n_labels + 1) * l->dim, sizeof *sentences);
        struct gating_seen in = { 0 }, out = { 0 };
        int r;

        if (l->rows.n == 0 || !sentences)
                return sentences ? 0 : -ENOMEM;
        r = seen_init(&in, l->rows.n, l->n_experts);
        if (r == 0)
                r = seen_init(&out, l->rows.n, l->n_experts);
        for (size_t t = 0; r == 0 && t < l->rows.n_labels; t++)
                if (l->task_instructions[t] && training_set_encode(l->encoder, l->task_instructions[t], sentences + t * l->dim) == 0)
                        (void)dot_normalise(sentences + t * l->dim, l->dim);
        if (r == 0)
                r = measure(l, s, sentences, &in, &out);
        if (r == 0)
                choose(s, &in, &out, g);
        seen_finish(&in);
        seen_finish(&out);
        return r;
}
