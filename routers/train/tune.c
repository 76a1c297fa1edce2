/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train tune: when the category router is unsure, and whom it asks then, chosen by what the chosen experts have earned.
 *
 * The prompts are divided into parts; a category model and a table of the other parts are asked about each (score_look.h).  Every limit of the
 * confidence, the entropy or the margin makes some prompts doubtful (posterior.h); general's scores are then the outcomes of those that are in fact
 * doubtful, of the other parts.  What earns most is kept, if that is more than a standard error better than no doubt at all, prompts in pairs; else
 * the most cautious limit that costs nothing.  The map that is written has scores of all prompts, general's of the doubtful ones, and the limit.
 */
#include <jansson.h>
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "ngrams.h"
#include "posterior.h"
#include "score_look.h"
#include "score_tell.h"

#define LIMITS 19 /* of each kind, so that .05, .10, ... .95 of the prompts are doubtful */

static const char *const measure_names[POSTERIOR_MEASURES] = { "confidence", "entropy", "margin" };

struct tune_task {
        struct jsonl_source in;
        struct score_settings settings;
        const char *outcomes, *experts, *out, *encoder, *unknown, *general;
        int loss;
        struct jsonl_rows rows;
        struct outcomes table;
        struct encoder *opened;
        float *target;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct tune_task, outcomes, "outcomes", "FILE", PM_REQUIRED, NULL, OUTCOMES_HELP),
        ARGUMENT_TEXT(struct tune_task, in.path, "in", "FILE", PM_REQUIRED, NULL, "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct tune_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL,
                      "what the prompt is; fields are joined by newlines, a list gives a line for each item"),
        ARGUMENT_TEXT(struct tune_task, in.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        ARGUMENT_TEXT(struct tune_task, in.id, "id", "FIELD", 0, "id", "what joins both files"),
        JSONL_ARGUMENT_WHERE(struct tune_task, in),
        ARGUMENT_TEXT(struct tune_task, unknown, "unknown", "LABEL", 0, NULL, "prompts of this label belong to no category: not trained on, but asked about"),
        ARGUMENT_TEXT(struct tune_task, experts, "experts", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),
        ARGUMENT_TEXT(struct tune_task, general, "general", "NAME", 0, "general", "the category for prompts of no category"),
        ARGUMENT_TEXT(struct tune_task, encoder, "encoder", "FOLDER", 0, NULL, "as the category model is trained"),
        ARGUMENT_REAL(struct tune_task, settings.shrink, "shrink", "20", 0, 1e6, "prompts of overall quality that every category begins with"),
        ARGUMENT_NUMBER(struct tune_task, settings.parts, "parts", "5", 2, 20, "that the prompts are divided into"),
        ARGUMENT_NUMBER(struct tune_task, settings.fit.seed, "seed", "0", 0, INT_MAX, "of the parts and the solver"),
        ARGUMENT_NUMBER(struct tune_task, settings.fit.bits, "bits", "17", NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, "2^N buckets of features"),
        ARGUMENT_CHOICE(struct tune_task, loss, "loss", "hinge", "hinge|softmax", "as the category model is trained"),
        ARGUMENT_REAL(struct tune_task, settings.fit.cost, "cost", "0", 0, 1e4, "as the category model is trained (0: 3, of a softmax 10)"),
        ARGUMENT_NUMBER(struct tune_task, settings.fit.text_max, "text-max", "16384", NGRAMS_TEXT_MIN, NGRAMS_TEXT_MAX, "bytes read of a prompt"),
        JSONL_ARGUMENT_MAX_BAD(struct tune_task, in.max_bad, "100"),
        ARGUMENT_OUTPUT(struct tune_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_WRITTEN, "JSON: a map with scores, and when to be unsure"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "tune", .table = table };

static struct score_table_doubt limit_of(enum posterior_measure m, double value)
{
        struct score_table_doubt d = { NAN, NAN, NAN };

        *(m == POSTERIOR_CONFIDENCE ? &d.confidence : m == POSTERIOR_ENTROPY ? &d.entropy : &d.margin) = value;
        return d;
}

/* What is asked again for every limit. */
struct tuning {
        const struct score_work *w;
        float *general;  /* [parts + 1][experts]: of the doubtful prompts of all other parts; the last one of all parts */
        double *doubt;   /* [n] */
        double *earned;  /* [n], NAN: not counted */
};

/* Outcomes of doubtful prompts, each as much as it is, drawn to the mean of all. */
static void fit_general(struct tuning *t)
{
        const struct score_work *w = t->w;

        for (unsigned part = 0; part <= w->s->parts; part++)
                for (size_t k = 0; k < w->experts; k++) {
                        double sum = 0, n = 0, all = 0, count = 0;

                        for (size_t i = 0; i < w->n; i++) {
                                float y = w->set->target[i * w->experts + k];

                                if (!w->seen[i] || w->part[i] == part || isnan(y))
                                        continue;
                                sum += t->doubt[i] * (double)y;
                                n += t->doubt[i];
                                all += (double)y;
                                count++;
                        }
                        all = count > 0 ? all / count : 0;
                        t->general[part * w->experts + k] = (float)(n + w->s->shrink > 0 ? (sum + w->s->shrink * all) / (n + w->s->shrink) : all);
                }
}

/* The outcome of the expert that is chosen for a prompt; NAN: not all are known. */
static double outcome_of(const struct tuning *t, size_t i)
{
        const struct score_work *w = t->w;
        const float *y = w->set->target + i * w->experts, *two = w->two + i * w->experts, *general = t->general + w->part[i] * w->experts;
        double most = -1;
        size_t best = 0;

        for (size_t k = 0; k < w->experts; k++) {
                double e = (1 - t->doubt[i]) * (double)two[k] + t->doubt[i] * (double)general[k];

                if (isnan(y[k]))
                        return NAN;
                if (e > most) {
                        most = e;
                        best = k;
                }
        }
        return (double)y[best];
}

struct earning { double mean, doubtful; size_t n; };

static struct earning earn(struct tuning *t, struct score_table_doubt limit)
{
        const struct score_work *w = t->w;
        struct earning e = { 0 };

        for (size_t i = 0; i < w->n; i++)
                t->doubt[i] = w->seen[i] ? posterior_doubt(&limit, w->category + i * (w->labels + 1), w->labels, w->confidence[i]) : 0;
        fit_general(t);
        for (size_t i = 0; i < w->n; i++) {
                t->earned[i] = w->seen[i] ? outcome_of(t, i) : NAN;
                if (isnan(t->earned[i]))
                        continue;
                e.mean += t->earned[i];
                e.doubtful += t->doubt[i] > 0;
                e.n++;
        }
        if (e.n > 0) {
                e.mean /= (double)e.n;
                e.doubtful /= (double)e.n;
        }
        return e;
}

/* Standard error of the difference to `than`, prompts in pairs. */
static double error_of(const double *earned, const double *than, size_t n)
{
        double sum = 0, squares = 0, m = 0;

        for (size_t i = 0; i < n; i++)
                if (!isnan(earned[i]) && !isnan(than[i])) {
                        double d = earned[i] - than[i];

                        sum += d;
                        squares += d * d;
                        m++;
                }
        return m > 1 ? sqrt(MAX(0., squares - sum * sum / m) / (m - 1) / m) : INFINITY;
}

static int by_value(const void *a, const void *b)
{
        const double *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

/* What each limit has to be for the share i / (LIMITS + 1) of the prompts to be beyond it. */
static int spread_limits(const struct tuning *t, enum posterior_measure m, double limit[LIMITS])
{
        const struct score_work *w = t->w;
        CLEANUP(free_p) double *value = calloc(w->n + 1, sizeof *value);
        size_t n = 0;

        if (!value)
                return -ENOMEM;
        for (size_t i = 0; i < w->n; i++)
                if (w->seen[i])
                        value[n++] = posterior_measure(m, w->category + i * (w->labels + 1), w->labels, w->confidence[i]);
        qsort(value, n, sizeof *value, by_value);
        for (size_t i = 1; i <= LIMITS; i++) {
                size_t at = i * n / (LIMITS + 1);

                limit[i - 1] = n > 0 ? value[m == POSTERIOR_ENTROPY ? n - 1 - at : at] : 0;
        }
        return 0;
}

struct chosen { enum posterior_measure measure; double value, mean, doubtful; bool any; };

static int choose(struct tuning *t, struct chosen *ret)
{
        CLEANUP(free_p) double *without = calloc(t->w->n + 1, sizeof *without);
        struct earning none;
        struct chosen best = { .any = false }, cautious = { .any = false };

        if (!without)
                return -ENOMEM;
        none = earn(t, limit_of(POSTERIOR_CONFIDENCE, 0));
        if (none.n == 0) {
                (void)fprintf(stderr, "there is no prompt of which all outcomes are known\n");
                return -ENODATA;
        }
        memcpy(without, t->earned, t->w->n * sizeof *without);
        (void)printf("mean outcome of the chosen expert, %zu prompts; without doubt %.4f\n", none.n, none.mean);
        for (unsigned m = 0; m < POSTERIOR_MEASURES; m++) {
                double limit[LIMITS];

                if (spread_limits(t, m, limit) < 0)
                        return -ENOMEM;
                for (unsigned i = 0; i < LIMITS; i++) {
                        double value = limit[i];
                        struct earning e = earn(t, limit_of(m, value));

                        (void)printf("  %-10s %.4f  %.4f  doubtful %.3f\n", measure_names[m], value, e.mean, e.doubtful);
                        if (e.mean - none.mean > error_of(t->earned, without, t->w->n) && (!best.any || e.mean > best.mean))
                                best = (struct chosen){ m, value, e.mean, e.doubtful, true };
                        if (e.mean >= none.mean && (!cautious.any || e.doubtful > cautious.doubtful))
                                cautious = (struct chosen){ m, value, e.mean, e.doubtful, true };
                }
        }
        *ret = best.any ? best : cautious.any ? cautious : (struct chosen){ POSTERIOR_CONFIDENCE, 0, none.mean, 0, true };
        return 0;
}

/* ---- the map ------------------------------------------------------------------------------------------------------------ */

static int add_row(json_t *rankings, json_t *scores, const char *category, char *const *experts, const float *row, size_t n)
{
        json_t *names = json_array(), *values = json_object();
        CLEANUP(free_p) bool *done = calloc(n + 1, sizeof *done);

        for (size_t i = 0; done && i < n; i++) {
                size_t best = SIZE_MAX;

                for (size_t k = 0; k < n; k++)
                        if (!done[k] && (best == SIZE_MAX || row[k] > row[best]))
                                best = k;
                done[best] = true;
                json_array_append_new(names, json_string(experts[best]));
                json_object_set_new(values, experts[best], json_real((double)row[best]));
        }
        return json_object_set_new(rankings, category, names) < 0 || json_object_set_new(scores, category, values) < 0 || !done ? -ENOMEM : 0;
}

static int write_map(const struct tune_task *t, const struct score_set *set, const float *rows, const float *general, const struct chosen *c)
{
        json_t *rankings = json_object(), *scores = json_object(), *map;
        char digest[65] = "";
        int r = 0;

        for (size_t i = 0; r == 0 && i < t->rows.n_labels; i++)
                if (!t->unknown || strcmp(t->rows.labels[i], t->unknown) != 0)
                        r = add_row(rankings, scores, t->rows.labels[i], set->experts, rows + i * set->n_experts, set->n_experts);
        if (r == 0)
                r = add_row(rankings, scores, t->general, set->experts, general, set->n_experts);
        if (r == 0)
                r = jsonl_digest(&t->rows, digest);
        map = json_pack("{s:s, s:i, s:s, s:I, s:f, s:s, s:{s:f}, s:o, s:o}", "kind", "pointsman.map", "version", 1, "general", t->general, "prompts",
                        (json_int_t)t->rows.n, "shrink", t->settings.shrink, "labels_sha256", digest, "unsure", measure_names[c->measure], c->value, "rankings",
                        rankings, "scores", scores);
        if (map && c->measure != POSTERIOR_CONFIDENCE) /* else the model's own threshold would count as well */
                r = json_object_set_new(json_object_get(map, "unsure"), "confidence", json_real(0)) < 0 ? -ENOMEM : r;
        if (r == 0 && (!map || json_dump_file(map, t->out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) < 0)) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->out, ERRNO_TEXT(errno));
                r = -EIO;
        }
        json_decref(map);
        if (r == 0)
                (void)printf("\nunsure by %s %.4f: %.4f, doubtful %.3f\n%s: from %zu prompts, sha256 of the data %s\n", measure_names[c->measure], c->value, c->mean,
                             c->doubtful, t->out, t->rows.n, digest);
        return r;
}

static int tune(struct tune_task *t, struct score_work *w)
{
        struct tuning u = { .w = w };
        CLEANUP(free_p) float *rows = calloc((w->set->rows->n_labels + 1) * w->set->n_experts, sizeof *rows);
        CLEANUP(free_p) float *general = calloc((t->settings.parts + 1) * w->set->n_experts, sizeof *general);
        CLEANUP(free_p) double *numbers = calloc(2 * w->set->rows->n + 1, sizeof *numbers);
        struct chosen c;
        int r = rows && general && numbers ? score_look(w) : -ENOMEM;

        u.general = general;
        u.doubt = numbers;
        u.earned = numbers ? numbers + w->set->rows->n : NULL;
        if (r == 0)
                r = choose(&u, &c);
        if (r == 0)
                r = score_look_table(w->set, NULL, t->settings.shrink, rows);
        if (r == 0) {
                (void)earn(&u, limit_of(c.measure, c.value)); /* general's scores once more, of all parts */
                r = write_map(t, w->set, rows, general + t->settings.parts * w->experts, &c);
        }
        return r;
}

static int run(struct tune_task *t)
{
        struct score_set set;
        struct score_work w = { .set = &set, .s = &t->settings, .unknown = SIZE_MAX };
        int r = score_fit_settings(t->encoder, t->loss == 1, &t->settings.fit, &t->opened);

        if (r < 0)
                return r;
        r = score_read(&t->in, t->outcomes, t->experts, &t->rows, &t->table, &t->target);
        for (size_t i = 0; r == 0 && i < t->rows.n_labels; i++) {
                if (t->unknown && strcmp(t->rows.labels[i], t->unknown) == 0)
                        w.unknown = i;
                if (strcmp(t->rows.labels[i], t->general) == 0) {
                        (void)fprintf(stderr, "a category is called '%s': choose another name by --general\n", t->general);
                        r = -EINVAL;
                }
        }
        if (r == 0 && t->unknown && w.unknown == SIZE_MAX) {
                (void)fprintf(stderr, "%s: no line is labelled '%s' (--unknown)\n", t->in.path, t->unknown);
                r = -EINVAL;
        }
        if (r < 0)
                return r;
        set = (struct score_set){ &t->rows, t->table.experts, t->table.n_experts, t->target, NULL, 0 };
        r = tune(t, &w);
        score_look_finish(&w);
        return r;
}

int command_tune(int argc, char **argv)
{
        struct tune_task t = { .settings = { .fit = { .tolerance = .1 } } };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = run(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "tune: out of memory\n");
        jsonl_finish(&t.rows);
        outcomes_finish(&t.table);
        encoder_destroy(t.opened);
        free(t.target);
        return r < 0;
}
