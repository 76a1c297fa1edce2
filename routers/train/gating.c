/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is frozen is fitted first: the centre of all parts, and the logit of the experts' mean outcome.  Then each expert alone, against that.
 * One that is known by examples has no failures: what it is set against are parts of other prompts, the background.
 */
#include "gating.h"

#include <math.h>

#include "base.h"
#include "dot.h"
#include "gates_fit.h"
#include "noise.h"
#include "progress.h"

#define BACKGROUND 512

/* The rows of one fit, gathered. */
struct design {
        float *x, *weight, *outcome, *offset;
        size_t n, room, dim;
};

static int design_grow(struct design *d, size_t n)
{
        d->room = n;
        d->x = calloc(n + 1, d->dim * sizeof *d->x);
        d->weight = calloc(n + 1, sizeof *d->weight);
        d->outcome = calloc(n + 1, sizeof *d->outcome);
        d->offset = calloc(n + 1, sizeof *d->offset);
        return d->x && d->weight && d->outcome && d->offset ? 0 : -ENOMEM;
}

static void design_finish(struct design *d)
{
        free(d->x);
        free(d->weight);
        free(d->outcome);
        free(d->offset);
}

static void design_add(struct design *d, const float *part, const float *centre, const float *reference, float weight, float outcome)
{
        float *x = d->x + d->n * d->dim;

        assert(d->n < d->room);
        for (size_t i = 0; i < d->dim; i++)
                x[i] = part[i] - centre[i];
        d->weight[d->n] = weight;
        d->outcome[d->n] = outcome;
        d->offset[d->n++] = reference ? dot_floats(reference, x, d->dim) + reference[d->dim] : 0;
}

static bool used(const bool *use, size_t i)
{
        return !use || use[i];
}

/* Mean outcome of the experts that are known by outcomes; NAN: none has run it. */
static float mean_outcome(const struct training_set *l, size_t i)
{
        double sum = 0, n = 0;

        for (size_t k = 0; k < l->n_experts; k++) {
                float y = training_set_outcome(l, i, k);

                if (l->experts[k].by_outcomes && !isnan(y)) {
                        sum += (double)y;
                        n++;
                }
        }
        return n > 0 ? (float)(sum / n) : NAN;
}

static size_t parts_of(const struct training_set *l, size_t i)
{
        return l->first[i + 1] - l->first[i];
}

/* ---- what is frozen ------------------------------------------------------------------------------------------------------- */

static void fit_centre(const struct training_set *l, const bool *use, float *centre)
{
        CLEANUP(free_p) double *sum = calloc(l->dim, sizeof *sum);
        double n = 0;

        for (size_t i = 0; sum && i < l->n; i++)
                for (size_t p = l->first[i]; used(use, i) && p < l->first[i + 1]; p++, n++)
                        for (size_t k = 0; k < l->dim; k++)
                                sum[k] += (double)l->parts[p * l->dim + k];
        for (size_t k = 0; sum && n > 0 && k < l->dim; k++)
                centre[k] = (float)(sum[k] / n);
}

/* Parts drawn without regard to whose they are, in their order. */
static size_t draw_background(const struct training_set *l, const bool *use, unsigned seed, float *background)
{
        size_t n = 0, left = 0, wanted;

        for (size_t i = 0; i < l->n; i++)
                left += used(use, i) ? parts_of(l, i) : 0;
        wanted = MIN(left, (size_t)BACKGROUND);
        for (size_t i = 0; i < l->n; i++)
                for (size_t p = l->first[i]; used(use, i) && p < l->first[i + 1]; p++, left--)
                        if (noise_uniform(noise_bits(seed, 7, p)) * (double)left < (double)(wanted - n))
                                memcpy(background + n++ * l->dim, l->parts + p * l->dim, l->dim * sizeof *background);
        return n;
}

static int run_fit(struct design *d, const struct gating_settings *s, float *v)
{
        return gates_fit(&(struct gates_fit){ .x = d->x, .n = d->n, .dim = d->dim, .weight = d->weight, .outcome = d->outcome,
                                              .offset = d->offset, .l2 = s->l2, .threads = s->threads }, v);
}

static int fit_reference(const struct training_set *l, const bool *use, const struct gating_settings *s, const float *centre, float *reference)
{
        struct design d = { .dim = l->dim };
        int r = design_grow(&d, l->first[l->n]);
        bool any = false;

        for (size_t i = 0; r == 0 && i < l->rows.n; i++) {
                float y = mean_outcome(l, i);

                for (size_t p = l->first[i]; used(use, i) && !isnan(y) && p < l->first[i + 1]; p++) {
                        design_add(&d, l->parts + p * l->dim, centre, NULL, 1 / (float)parts_of(l, i), y);
                        any = true;
                }
        }
        if (r == 0 && any)
                r = run_fit(&d, s, reference);
        design_finish(&d);
        return r;
}

/* ---- one expert ----------------------------------------------------------------------------------------------------------- */

static int fit_by_outcomes(const struct training_set *l, const bool *use, const struct gating_settings *s, const struct gates_parts *p, size_t k, float *v)
{
        struct design d = { .dim = l->dim };
        int r = design_grow(&d, l->first[l->n]);

        for (size_t i = 0; r == 0 && i < l->rows.n; i++) {
                float y = training_set_outcome(l, i, k);

                for (size_t q = l->first[i]; used(use, i) && !isnan(y) && q < l->first[i + 1]; q++)
                        design_add(&d, l->parts + q * l->dim, p->centre, p->reference, 1 / (float)parts_of(l, i), y);
        }
        if (r == 0)
                r = run_fit(&d, s, v);
        design_finish(&d);
        return r;
}

/* Its examples against the background, which weighs as much; one that has only a sentence has that for an example. */
static int fit_by_examples(const struct training_set *l, const struct gating_settings *s, const struct gates_parts *p, size_t k, float *v)
{
        struct design d = { .dim = l->dim };
        CLEANUP(free_p) float *sentence = calloc(l->dim, sizeof *sentence);
        int r = sentence ? design_grow(&d, l->first[l->n] + p->backgrounds + 1) : -ENOMEM;
        double weight = 0;

        for (size_t i = l->rows.n; r == 0 && i < l->n; i++)
                for (size_t q = l->first[i]; l->example_of[i] == k && q < l->first[i + 1]; q++) {
                        design_add(&d, l->parts + q * l->dim, p->centre, NULL, 1 / (float)parts_of(l, i), 1);
                        weight += 1 / (double)parts_of(l, i);
                }
        if (r == 0 && d.n == 0 && l->experts[k].instruction && training_set_encode(l->encoder, l->experts[k].instruction, sentence) == 0) {
                design_add(&d, sentence, p->centre, NULL, 1, 1);
                weight = 1;
        }
        for (size_t i = 0; r == 0 && weight > 0 && i < p->backgrounds; i++)
                design_add(&d, p->background + i * l->dim, p->centre, NULL, (float)(weight / (double)p->backgrounds), 0);
        for (size_t i = 0; i < d.n; i++)
                d.weight[i] *= (float)(BACKGROUND / weight);
        if (r == 0 && weight > 0)
                r = run_fit(&d, s, v);
        design_finish(&d);
        return r;
}

/* ---- from afar ------------------------------------------------------------------------------------------------------------ */

/* Index of a sentence among the model's, or a new one. */
static size_t instruction_index(struct gating *g, const char *text)
{
        for (size_t j = 0; j < g->parts.instructions; j++)
                if (strcmp(g->texts[j], text) == 0)
                        return j;
        g->texts[g->parts.instructions] = text;
        return g->parts.instructions++;
}

/* By how much it did better at each task than what is expected there; index[task] is the model's instruction. */
static void strengths_by_outcomes(const struct training_set *l, const bool *use, const struct gating_settings *s,
                                  const struct gates_parts *p, const size_t *index, size_t k, float *strength)
{
        size_t tasks = l->rows.n_labels;
        CLEANUP(free_p) double *sum = calloc(2 * tasks + 2, sizeof *sum);
        double *n = sum ? sum + tasks + 1 : NULL;

        for (size_t i = 0; sum && i < l->rows.n; i++) {
                float y = training_set_outcome(l, i, k);
                size_t t = l->task[i], j = index[t];

                if (!used(use, i) || isnan(y) || j == SIZE_MAX)
                        continue;
                sum[t] += (double)y - (double)p->expected[j];
                n[t]++;
                sum[tasks] += (double)y - (double)p->expected[j];
                n[tasks]++;
        }
        for (size_t t = 0; sum && t < tasks; t++)
                if (n[t] > 0 && index[t] != SIZE_MAX)
                        strength[index[t]] = (float)((sum[t] + s->shrink * sum[tasks] / n[tasks]) / (n[t] + s->shrink));
}

/* The mean outcome of each task that has not got one; of tasks that none of the old experts ran it is their mean of all. */
static void fill_expected(const struct training_set *l, const bool *use, const struct gates *old, struct gating *g, const size_t *index)
{
        double all = 0, n = 0;

        for (size_t j = 0; old && j < gates_parts(old)->instructions; j++)
                if (!isnan(g->expected[j])) {
                        all += (double)g->expected[j];
                        n++;
                }
        for (size_t t = 0; t < l->rows.n_labels; t++) {
                double sum = 0, m = 0;

                for (size_t i = 0; index[t] != SIZE_MAX && isnan(g->expected[index[t]]) && i < l->rows.n; i++) {
                        float y = l->task[i] == t && used(use, i) ? mean_outcome(l, i) : NAN;

                        if (!isnan(y)) {
                                sum += (double)y;
                                m++;
                        }
                }
                if (m > 0)
                        g->expected[index[t]] = (float)(n > 0 ? all / n : sum / m);
        }
}

int gating_open(const char *encoder_folder, const char *model, struct encoder **ret_encoder, struct gates **ret)
{
        char why[256] = "";
        int r = encoder_open(encoder_folder, ret_encoder, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "encoder '%s': %s\n", encoder_folder, why[0] ? why : "out of memory");
                return r;
        }
        r = model ? gates_open(model, ret, why, sizeof why) : 0;
        if (r < 0)
                (void)fprintf(stderr, "model '%s': %s\n", model, why[0] ? why : "out of memory");
        else if (model && (r = gates_check(*ret, *ret_encoder, why, sizeof why)) < 0)
                (void)fprintf(stderr, "encoder '%s': %s\n", encoder_folder, why);
        return r;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------ */

/* Room for the old model's and the training set's experts and instructions, the old model's copied. */
static int begin(const struct training_set *l, const struct gates *old, struct gating *g)
{
        const struct gates_parts *o = old ? gates_parts(old) : NULL;
        size_t experts = l->n_experts + (o ? o->experts : 0), dim = l->dim;
        size_t instructions = l->rows.n_labels + l->n_experts + (o ? o->instructions : 0);

        g->names = calloc(experts + 1, sizeof *g->names);
        g->texts = calloc(instructions + 1, sizeof *g->texts);
        g->centre = calloc(dim, sizeof *g->centre);
        g->reference = calloc(dim + 1, sizeof *g->reference);
        g->gates = calloc((experts + 1) * dim, sizeof *g->gates);
        g->vectors = calloc((instructions + 1) * dim, sizeof *g->vectors);
        g->expected = calloc(instructions + 1, sizeof *g->expected);
        g->background = calloc((size_t)GATES_BACKGROUND_MAX * dim, sizeof *g->background);
        g->means = calloc(experts + 1, sizeof *g->means);
        if (!g->means || !g->names || !g->texts || !g->centre || !g->reference || !g->gates || !g->vectors || !g->expected || !g->background)
                return -ENOMEM;
        g->parts = (struct gates_parts){ .dim = dim, .experts = experts, .names = g->names, .texts = g->texts, .centre = g->centre, .gates = g->gates,
                                         .vectors = g->vectors, .expected = g->expected, .reference = g->reference, .background = g->background,
                                         .means = g->means, .sure = .5, .window = l->window };
        for (size_t j = 0; j < instructions; j++)
                g->expected[j] = NAN;
        if (!o)
                return 0;
        memcpy(g->names, o->names, o->experts * sizeof *g->names);
        memcpy(g->gates, o->gates, o->experts * dim * sizeof *g->gates);
        memcpy(g->centre, o->centre, dim * sizeof *g->centre);
        memcpy(g->reference, o->reference, (dim + 1) * sizeof *g->reference);
        if (o->instructions) {
                memcpy(g->texts, o->texts, o->instructions * sizeof *g->texts);
                memcpy(g->vectors, o->vectors, o->instructions * dim * sizeof *g->vectors);
                memcpy(g->expected, o->expected, o->instructions * sizeof *g->expected);
        }
        if (o->means)
                memcpy(g->means, o->means, o->experts * sizeof *g->means);
        g->parts.delta = o->delta;
        g->parts.sure = o->sure;
        if (o->backgrounds)
                memcpy(g->background, o->background, o->backgrounds * dim * sizeof *g->background);
        g->parts.instructions = o->instructions;
        g->parts.backgrounds = o->backgrounds;
        return 0;
}

/* Which of the model's instructions each task's is (and each expert's own, behind them); SIZE_MAX: it has none. */
static int place_instructions(const struct training_set *l, const bool *use, struct gating *g, size_t *index)
{
        size_t tasks = l->rows.n_labels;

        for (size_t i = 0; i < tasks + l->n_experts; i++)
                index[i] = SIZE_MAX;
        for (size_t i = 0; i < l->rows.n; i++)
                if (used(use, i) && index[l->task[i]] == SIZE_MAX && l->task_instructions[l->task[i]])
                        index[l->task[i]] = 0;
        for (size_t t = 0; t < tasks + l->n_experts; t++) {
                const char *text = t >= tasks ? l->experts[t - tasks].instruction : index[t] == 0 ? l->task_instructions[t] : NULL;
                size_t before = g->parts.instructions;
                int r = 0;

                if (!text)
                        continue;
                index[t] = instruction_index(g, text);
                if (index[t] == before)
                        r = strlen(text) > GATES_INSTRUCTION_BYTES ? -E2BIG : training_set_encode(l->encoder, text, g->vectors + before * l->dim);
                if (r < 0 || g->parts.instructions > GATES_INSTRUCTIONS_MAX) {
                        (void)fprintf(stderr, "instruction '%.60s...' of %s '%s': %s\n", text, t < tasks ? "task" : "expert",
                                      t < tasks ? l->rows.labels[t] : l->experts[t - tasks].name,
                                      r == -E2BIG ? "longer than 1,024 bytes" : r == -EINVAL ? "the encoder knows nothing in it"
                                      : r < 0 ? "could not be encoded" : "one too many, at most 4,096 are possible");
                        return r < 0 ? r : -E2BIG;
                }
                (void)dot_normalise(g->vectors + index[t] * l->dim, l->dim);
        }
        return 0;
}

static void place_strengths(const struct training_set *l, const bool *use, const struct gates *old,
                            const struct gating_settings *s, struct gating *g, const size_t *index)
{
        const struct gates_parts *o = old ? gates_parts(old) : NULL;
        size_t first = o ? o->experts : 0, n = g->parts.instructions;

        for (size_t i = 0; i < g->parts.experts * n; i++)
                g->strengths[i] = NAN;
        for (size_t k = 0; k < first && o->instructions; k++)
                memcpy(g->strengths + k * n, o->strengths + k * o->instructions, o->instructions * sizeof *g->strengths);
        for (size_t k = 0; k < l->n_experts; k++) {
                float *row = g->strengths + (first + k) * n;

                if (l->experts[k].by_outcomes)
                        strengths_by_outcomes(l, use, s, &g->parts, index, k, row);
                else if (index[l->rows.n_labels + k] != SIZE_MAX)
                        row[index[l->rows.n_labels + k]] = 1;
        }
}

/* By how much each did better than all together on the prompts that it ran; those that are known by examples, and those that are added, as all. */
static void fit_means(const struct training_set *l, const bool *use, const struct gating_settings *s, float *means)
{
        for (size_t k = 0; k < l->n_experts; k++) {
                double sum = 0, n = 0;

                for (size_t i = 0; l->experts[k].by_outcomes && i < l->rows.n; i++) {
                        float y = training_set_outcome(l, i, k), all = mean_outcome(l, i);

                        if (!used(use, i) || isnan(y) || isnan(all))
                                continue;
                        sum += (double)y - (double)all;
                        n++;
                }
                means[k] = n > 0 ? (float)(sum / (n + s->shrink)) : 0;
        }
}

static int fit_gates(const struct training_set *l, const bool *use, size_t first, const struct gating_settings *s, struct gating *g)
{
        CLEANUP(free_p) float *v = calloc(l->dim + 1, sizeof *v);
        int r = v ? 0 : -ENOMEM;

        for (size_t k = 0; r == 0 && k < l->n_experts; k++) {
                memset(v, 0, (l->dim + 1) * sizeof *v);
                r = l->experts[k].by_outcomes ? fit_by_outcomes(l, use, s, &g->parts, k, v) : fit_by_examples(l, s, &g->parts, k, v);
                gates_layer_norm(v, l->dim); /* once it is trained, as finetune_gate.py does; its offset is left out */
                memcpy(g->gates + (first + k) * l->dim, v, l->dim * sizeof *v);
                g->names[first + k] = l->experts[k].name;
        }
        return r;
}

int gating_fit(const struct training_set *l, const bool *use, const struct gates *old, const struct gating_settings *s, struct gating *ret)
{
        struct gating g = { .held_in = NAN, .held_out = NAN, .single_in = NAN, .single_out = NAN };
        CLEANUP(free_p) size_t *index = calloc(l->rows.n_labels + l->n_experts + 1, sizeof *index);
        size_t first = old ? gates_parts(old)->experts : 0;
        int r = index ? begin(l, old, &g) : -ENOMEM;

        if (r == 0 && !old) {
                fit_centre(l, use, g.centre);
                g.parts.backgrounds = draw_background(l, use, s->seed, g.background);
                r = fit_reference(l, use, s, g.centre, g.reference);
                fit_means(l, use, s, g.means);
        }
        if (r == 0)
                r = place_instructions(l, use, &g, index);
        if (r == 0) {
                g.strengths = calloc(g.parts.experts * g.parts.instructions + 1, sizeof *g.strengths);
                r = g.strengths ? 0 : -ENOMEM;
        }
        if (r == 0) {
                g.parts.strengths = g.strengths;
                fill_expected(l, use, old, &g, index);
                place_strengths(l, use, old, s, &g, index);
                r = fit_gates(l, use, first, s, &g);
        }
        if (r == -ENOMEM)
                (void)fprintf(stderr, "out of memory for the model\n");
        if (r < 0) {
                gating_finish(&g);
                return r;
        }
        g.parts.gamma = isnan(s->gamma) ? old ? gates_parts(old)->gamma : 100 : s->gamma;
        g.parts.beta = isnan(s->beta) ? old ? gates_parts(old)->beta : 3 : s->beta;
        g.parts.threshold = isnan(s->threshold) ? old ? gates_parts(old)->threshold : .8 : s->threshold;
        g.parts.sharpness = old ? gates_parts(old)->sharpness : s->sharpness;
        g.parts.combine = old ? gates_parts(old)->combine : s->combine;
        *ret = g;
        return 0;
}

void gating_finish(struct gating *g)
{
        free(TAKE(g->names));
        free(TAKE(g->texts));
        free(TAKE(g->centre));
        free(TAKE(g->gates));
        free(TAKE(g->vectors));
        free(TAKE(g->strengths));
        free(TAKE(g->expected));
        free(TAKE(g->reference));
        free(TAKE(g->background));
        free(TAKE(g->means));
}

void gating_score(const struct gates *g, const struct training_set *l, size_t i, const float *sentence, float *scratch,
                  float *local, float *global, double *ret_near)
{
        size_t n = parts_of(l, i);

        memcpy(scratch, l->parts + l->first[i] * l->dim, n * l->dim * sizeof *scratch);
        gates_local(g, gates_parts(g)->combine, scratch, n, local);
        *ret_near = gates_global(g, sentence ? sentence : l->whole + i * l->dim, global, NULL);
}
