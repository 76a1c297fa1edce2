/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train category: a model from labelled prompts, in three steps.
 *
 * 1. One part of five is held back (by a hash of the text, so equal texts stay together); a model of the others says how good the
 *    recipe is, and its decisions on the held-back part calibrate the confidence.  With vectors, two recipes are tried: a softmax is
 *    ahead on short prompts of many categories, SVMs on long ones of few.
 * 2. The model that is written is trained on everything.
 * 3. The threshold: given, or chosen on prompts with unknown ones among them, or .5, where a decision is as often wrong as right.
 */
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "calibrate.h"
#include "commands.h"
#include "fit.h"
#include "jsonl.h"
#include "metrics.h"
#include "ngrams.h"
#include "progress.h"

#define PARTS 5
#define WORST 8

enum loss { HINGE, SOFTMAX, BOTH }; /* BOTH: none was given */

struct category_task {
        struct jsonl_source in, on;
        struct fit_settings fit;
        const char *out, *unknown, *encoder;
        int loss;              /* enum loss */
        struct encoder *opened;
        double threshold;      /* below 0: not given */
        double cost, dense_weight; /* 0: not given */
        bool json;
        struct jsonl_rows rows;
        struct quality held;   /* on the held-back part */
        double slope, offset;
        size_t n_held;
        const char *rule;      /* how the threshold came about */
        char rule_text[128];
};

static int take_where(void *task, const char *value)
{
        struct category_task *t = task;

        return jsonl_where(t->on.path ? &t->on : &t->in, value);
}

static const struct argument table[] = {
        ARGUMENT_TEXT(struct category_task, in.path, "in", "FILE", PM_REQUIRED, NULL,
                      "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct category_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL,
                      "what the prompt is; fields are joined by newlines, a list gives a line for each item"),
        ARGUMENT_TEXT(struct category_task, in.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        { .is = { .key = "where", .help = JSONL_WHERE_HELP "; after --threshold-on it is said of that file" },
          .value = "FIELD=VALUE", .take = take_where },
        ARGUMENT_TEXT(struct category_task, unknown, "unknown", "LABEL", 0, NULL,
                      "lines of this label belong to no category: not trained on, wanted below the threshold"),
        ARGUMENT_TEXT(struct category_task, on.path, "threshold-on", "FILE", 0, NULL,
                      "choose the threshold that makes most decisions on these lines right"),
        ARGUMENT_REAL(struct category_task, threshold, "threshold", NULL, 0, 1, "or take this one (neither: 0.5)"),
        ARGUMENT_NUMBER(struct category_task, fit.seed, "seed", "0", 0, INT_MAX, "of the held-back part and the solver"),
        ARGUMENT_NUMBER(struct category_task, fit.bits, "bits", "17", NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, "2^N buckets of features"),
        ARGUMENT_CHOICE(struct category_task, loss, "loss", NULL, "hinge|softmax",
                        "a linear SVM of each category against the rest, or a softmax of all (hinge; with --encoder both "
                        "are tried, and what is more often right on the held-back part is taken)"),
        ARGUMENT_REAL(struct category_task, cost, "cost", NULL, 1e-4, 1e4, "higher fits closer (3, of a softmax 10)"),
        ARGUMENT_TEXT(struct category_task, encoder, "encoder", "FOLDER", 0, NULL,
                      "a static model (configs/models/pointsman-static): look at the prompt's vector, too"),
        ARGUMENT_REAL(struct category_task, dense_weight, "dense-weight", NULL, 1e-3, 1e3,
                      "its length beside the features, whose length is 1 (0.4, of a softmax 1)"),
        ARGUMENT_NUMBER(struct category_task, fit.text_max, "text-max", "16384", NGRAMS_TEXT_MIN, NGRAMS_TEXT_MAX,
                        "bytes read of a prompt"),
        JSONL_ARGUMENT_MAX_BAD(struct category_task, in.max_bad, "100"),
        ARGUMENT_FLAG(struct category_task, json, "json", "print the figures as JSON"),
        ARGUMENT_OUTPUT(struct category_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_REPLACED, "the model (safetensors)"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "category", .table = table,
                                            .note = "The same input, options and build give the same bytes." };

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct category_task *t, int argc, char **argv)
{
        int r = arguments_read(&arguments, argc, argv, t);

        if (r)
                return r;
        if (t->on.path && t->threshold >= 0) {
                (void)fprintf(stderr, "category: --threshold and --threshold-on exclude each other\n");
                return 3;
        }
        t->on.text = t->in.text;
        t->on.label = t->in.label;
        t->on.max_bad = t->in.max_bad;
        return 0;
}

/* Decides the held-back rows, calibrates on them, and measures with that calibration. */
static int judge(struct category_task *t, const struct fitted *f, const bool *use, struct decision *d, double *logit, bool *right)
{
        float scores[CLASSIFIER_CATEGORIES_MAX];
        size_t n = 0;

        for (size_t i = 0; i < t->rows.n; i++) {
                const struct jsonl_row *row = &t->rows.list[i];

                if (use[i] || !classifier_scores(f->classifier, row->text, row->n, 0, scores))
                        continue;
                d[n].truth = row->label;
                logit[n] = classifier_logit(scores, t->rows.n_labels, &d[n].said);
                right[n] = d[n].said == d[n].truth;
                n++;
        }
        calibrate(logit, right, n, &t->slope, &t->offset);
        for (size_t i = 0; i < n; i++)
                d[i].confidence = 1 / (1 + exp(-(t->slope * logit[i] + t->offset)));
        t->n_held = n;
        return metrics_measure(d, n, t->rows.n_labels, .5, &t->held);
}

static void set_recipe(struct category_task *t, bool softmax)
{
        t->fit.softmax = softmax;
        t->fit.cost = t->cost > 0 ? t->cost : softmax ? 10 : 3;
        t->fit.dense_weight = t->dense_weight > 0 ? t->dense_weight : softmax ? 1 : .4;
}

/* Leaves the better recipe in the settings, with its calibration and figures in the task. */
static int hold_back(struct category_task *t)
{
        CLEANUP(free_p) bool *use = calloc(t->rows.n, sizeof *use), *right = calloc(t->rows.n, sizeof *right);
        CLEANUP(free_p) struct decision *d = calloc(t->rows.n, sizeof *d);
        CLEANUP(free_p) double *logit = calloc(t->rows.n, sizeof *logit);
        bool both = t->opened && t->loss == BOTH, softmax = t->loss == SOFTMAX;
        struct fitted f[2] = { { 0 } };
        double hinge;
        unsigned part;
        int r;

        if (!use || !right || !d || !logit)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++) {
                if (jsonl_part(&t->rows.list[i], t->fit.seed, PARTS, &part) < 0)
                        return -ENOMEM;
                use[i] = part != 0;
        }
        set_recipe(t, softmax);
        r = fit(&t->rows, use, &t->fit, &f[0]);
        if (r == 0)
                r = judge(t, &f[0], use, d, logit, right);
        if (r == 0 && both) {
                hinge = t->held.accuracy;
                set_recipe(t, true);
                r = fit(&t->rows, use, &t->fit, &f[1]);
                if (r == 0)
                        r = judge(t, &f[1], use, d, logit, right);
                if (r == 0 && t->held.accuracy <= hinge) {
                        set_recipe(t, false);
                        r = judge(t, &f[0], use, d, logit, right);
                }
        }
        if (r == 0 && t->n_held == 0) {
                (void)fprintf(stderr, "%s: %zu prompts are too few: none is held back to say how good the model is; some ten of each category is the least\n",
                              t->in.path, t->rows.n);
                r = -ENODATA;
        }
        if (r == 0 && !t->json) {
                (void)printf("held back: %zu of %zu prompts, %zu categories\n", t->n_held, t->rows.n, t->rows.n_labels);
                if (both)
                        (void)printf("loss: %s\n", t->fit.softmax ? "softmax" : "hinge");
                (void)printf("accuracy %.4f  macro-F1 %.4f  calibration error %.4f\n\n", t->held.accuracy, t->held.macro_f1,
                             t->held.ece);
                r = metrics_confusion(stdout, d, t->n_held, (const char *const *)t->rows.labels, t->rows.n_labels, WORST);
        }
        fitted_finish(&f[0]);
        fitted_finish(&f[1]);
        return r;
}

static size_t label_index(const struct jsonl_rows *rows, const char *label)
{
        for (size_t i = 0; i < rows->n_labels; i++)
                if (strcmp(rows->labels[i], label) == 0)
                        return i;
        return SIZE_MAX;
}

static int choose_threshold(struct category_task *t, const struct fitted *f, double *ret)
{
        CLEANUP(free_p) struct judged *list = NULL;
        struct jsonl_rows on = { 0 };
        size_t right, unknown = 0;
        int r = jsonl_read(&t->on, &on);

        if (r < 0)
                return r;
        list = calloc(on.n, sizeof *list);
        for (size_t i = 0; list && i < on.n; i++) {
                const char *label = on.labels[on.list[i].label];
                struct verdict v;

                classifier_decide(f->classifier, on.list[i].text, on.list[i].n, 0, &v);
                list[i] = (struct judged){ v.confidence, label_index(&t->rows, label) == v.category,
                                           t->unknown && strcmp(label, t->unknown) == 0 };
                unknown += list[i].unknown;
        }
        if (!list) {
                r = -ENOMEM;
        } else if (unknown == 0) {
                (void)fprintf(stderr, "%s: no line is labelled '%s' (--unknown): no threshold can be chosen on it\n",
                              t->on.path, t->unknown ? t->unknown : "");
                r = -EINVAL;
        } else {
                *ret = calibrate_threshold(list, on.n, &right);
                (void)snprintf(t->rule_text, sizeof t->rule_text, "best on %zu prompts with %zu unknown: %.4f right", on.n,
                               unknown, (double)right / (double)on.n);
                t->rule = t->rule_text;
        }
        jsonl_finish(&on);
        return r;
}

static int write_model(struct category_task *t, const struct fitted *f)
{
        char digest[65], number[7][32], why[256] = "";
        const char *meta[24] = { "trained_by", "pointsman-train " PM_VERSION, "data_sha256", digest, "data_rows", number[0], "seed", number[1],
                                 "cost", number[2], "accepted_accuracy", number[3], "accepted_macro_f1", number[4],
                                 "accepted_calibration_error", number[5], "threshold_rule", t->rule };
        size_t n = 18;
        int r;

        r = jsonl_digest(&t->rows, digest);
        if (r < 0)
                return r;
        (void)snprintf(number[0], sizeof number[0], "%zu", t->rows.n);
        (void)snprintf(number[1], sizeof number[1], "%u", t->fit.seed);
        (void)snprintf(number[2], sizeof number[2], "%g", t->fit.cost);
        (void)snprintf(number[3], sizeof number[3], "%.4f", t->held.accuracy);
        (void)snprintf(number[4], sizeof number[4], "%.4f", t->held.macro_f1);
        (void)snprintf(number[5], sizeof number[5], "%.4f", t->held.ece);
        (void)snprintf(number[6], sizeof number[6], "%g", t->fit.dense_weight);
        if (t->encoder) {
                meta[n++] = "dense_weight";
                meta[n++] = number[6];
        }
        if (t->fit.softmax) {
                meta[n++] = "loss";
                meta[n++] = "softmax";
        }
        r = classifier_save(f->classifier, t->out, meta, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", t->out, why);
        else if (t->json)
                (void)printf("{\"out\": \"%s\", \"rows\": %zu, \"held_back\": %zu, \"accuracy\": %.4f, \"macro_f1\": %.4f, "
                             "\"calibration_error\": %.4f, \"threshold\": %.6f, \"data_sha256\": \"%s\"}\n",
                             t->out, t->rows.n, t->n_held, t->held.accuracy, t->held.macro_f1, t->held.ece,
                             classifier_parts(f->classifier)->threshold, digest);
        else
                (void)printf("\nthreshold %.4f (%s)\n%s: trained on %zu prompts, sha256 of the data %s\n",
                             classifier_parts(f->classifier)->threshold, t->rule, t->out, t->rows.n, digest);
        return r;
}

static int train_model(struct category_task *t)
{
        double threshold = t->threshold >= 0 ? t->threshold : .5;
        struct fitted f = { 0 };
        int r = hold_back(t);

        if (r == 0)
                r = fit(&t->rows, NULL, &t->fit, &f);
        if (r == 0)
                r = fitted_set(&f, t->opened, t->slope, t->offset, threshold);
        if (r == 0 && t->on.path) {
                r = choose_threshold(t, &f, &threshold);
                if (r == 0)
                        r = fitted_set(&f, t->opened, t->slope, t->offset, threshold);
        }
        if (r == 0)
                r = write_model(t, &f);
        fitted_finish(&f);
        return r;
}

static int open_encoder(struct category_task *t)
{
        char why[256];
        int r = t->encoder ? encoder_open(t->encoder, &t->opened, why, sizeof why) : 0;

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        } else if (t->opened && encoder_needs_scratch(t->opened)) {
                (void)fprintf(stderr, "%s: its tokenizer is not BERT's, the only one that reads a text in one pass\n", t->encoder);
                r = -EINVAL;
        }
        t->fit.encoder = t->opened;
        return r;
}

int command_category(int argc, char **argv)
{
        struct category_task t = { .fit = { .tolerance = .1 }, .loss = BOTH, .threshold = -1, .rule = "as often wrong as right" };
        int r = read_arguments(&t, argc, argv);

        if (r != 0)
                return r - 1;
        if (t.threshold >= 0)
                t.rule = "given";
        r = open_encoder(&t);
        if (r == 0)
                r = jsonl_read(&t.in, &t.rows);
        if (r < 0) {
                encoder_destroy(t.opened);
                return 1;
        }
        (void)jsonl_drop(&t.rows, t.unknown);
        if (t.rows.n_labels < 2) {
                (void)fprintf(stderr, "%s: field '%s' has only one value: there is nothing to choose\n", t.in.path, t.in.label);
                r = -EINVAL;
        } else {
                r = train_model(&t);
        }
        if (r == -ENOMEM)
                (void)fprintf(stderr, "category: out of memory\n");
        jsonl_finish(&t.rows);
        encoder_destroy(t.opened);
        return r < 0;
}
