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
#include <getopt.h>
#include <math.h>

#include "base.h"
#include "calibrate.h"
#include "commands.h"
#include "fit.h"
#include "metrics.h"
#include "ngrams.h"
#include "progress.h"
#include "rows.h"

#define PARTS 5
#define WORST 8

static const char help_text[] =
        "usage: pointsman-train category --in F.jsonl[.gz] --text FIELD[,FIELD...] --label FIELD --out M.safetensors\n"
        "\n"
        "  --in FILE              prompts, one JSON object a line; gzip'd or plain\n"
        "  --text FIELD,...       what the prompt is; fields are joined by newlines, a list gives a line for each item\n"
        "  --label FIELD          its category\n"
        "  --where FIELD=VALUE    only such lines (also FIELD!=VALUE; may be repeated: all must hold); after --threshold-on it is\n"
        "                         said of that file\n"
        "  --unknown LABEL        lines of this label belong to no category: not trained on, wanted below the threshold\n"
        "  --threshold-on FILE    choose the threshold that makes most decisions on these lines right\n"
        "  --threshold T          or take this one (0..1).  Neither: 0.5\n"
        "  --out FILE             the model (safetensors)\n"
        "  --seed N               of the held-back part and the solver (0)\n"
        "  --bits N               2^N buckets of features, 8..18 (17)\n"
        "  --loss hinge|softmax   a linear SVM of each category against the rest, or a softmax of all (hinge; with --encoder\n"
        "                         both are tried, and what is more often right on the held-back part is taken)\n"
        "  --cost C               higher fits closer (3, of a softmax 10)\n"
        "  --encoder FOLDER       a static model (configs/models/pointsman-static): look at the prompt's vector, too\n"
        "  --dense-weight W       its length beside the features, whose length is 1 (0.4, of a softmax 1)\n"
        "  --text-max N           bytes read of a prompt (16384)\n"
        "  --max-bad N            so many lines may be unusable (100)\n"
        "  --json                 print the figures as JSON\n"
        "\n"
        "The same input, options and build give the same bytes.\n";

struct task {
        struct rows_source in, on;
        struct fit_settings fit;
        const char *out, *unknown, *encoder, *loss;
        struct encoder *opened;
        double threshold;      /* below 0: not given */
        double cost, dense_weight; /* 0: not given */
        bool json;
        struct rows rows;
        struct quality held;   /* on the held-back part */
        double slope, offset;
        size_t n_held;
        const char *rule;      /* how the threshold came about */
        char rule_text[128];
};

enum argument {
        IN = 256, TEXT, LABEL, WHERE, UNKNOWN, ON, THRESHOLD, OUT, SEED, BITS, LOSS, COST, ENCODER, DENSE_WEIGHT, TEXT_MAX, MAX_BAD, JSON, HELP,
};

static const struct option long_options[] = {
        { "in", required_argument, NULL, IN },
        { "text", required_argument, NULL, TEXT },
        { "label", required_argument, NULL, LABEL },
        { "where", required_argument, NULL, WHERE },
        { "unknown", required_argument, NULL, UNKNOWN },
        { "threshold-on", required_argument, NULL, ON },
        { "threshold", required_argument, NULL, THRESHOLD },
        { "out", required_argument, NULL, OUT },
        { "seed", required_argument, NULL, SEED },
        { "bits", required_argument, NULL, BITS },
        { "loss", required_argument, NULL, LOSS },
        { "cost", required_argument, NULL, COST },
        { "encoder", required_argument, NULL, ENCODER },
        { "dense-weight", required_argument, NULL, DENSE_WEIGHT },
        { "text-max", required_argument, NULL, TEXT_MAX },
        { "max-bad", required_argument, NULL, MAX_BAD },
        { "json", no_argument, NULL, JSON },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
};

static int take_option(void *task, int option, const char *value)
{
        struct task *t = task;
        long n = 0;
        int r = 0;

        switch (option) {
        case IN: t->in.path = value; break;
        case TEXT: t->in.text = value; break;
        case LABEL: t->in.label = value; break;
        case WHERE: return rows_where(t->on.path ? &t->on : &t->in, value);
        case UNKNOWN: t->unknown = value; break;
        case ON: t->on.path = value; break;
        case THRESHOLD: return argument_real("--threshold", value, 0, 1, &t->threshold);
        case OUT: t->out = value; break;
        case SEED:
                r = argument_number("--seed", value, 0, INT_MAX, &n);
                t->fit.seed = (unsigned)n;
                break;
        case BITS:
                r = argument_number("--bits", value, NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, &n);
                t->fit.bits = (unsigned)n;
                break;
        case LOSS:
                if (strcmp(value, "hinge") != 0 && strcmp(value, "softmax") != 0) {
                        (void)fprintf(stderr, "--loss '%s': must be hinge or softmax\n", value);
                        return -EINVAL;
                }
                t->loss = value;
                break;
        case COST: return argument_real("--cost", value, 1e-4, 1e4, &t->cost);
        case ENCODER: t->encoder = value; break;
        case DENSE_WEIGHT: return argument_real("--dense-weight", value, 1e-3, 1e3, &t->dense_weight);
        case TEXT_MAX:
                r = argument_number("--text-max", value, NGRAMS_TEXT_MIN, NGRAMS_TEXT_MAX, &n);
                t->fit.text_max = (size_t)n;
                break;
        case MAX_BAD:
                r = argument_number("--max-bad", value, 0, LONG_MAX, &n);
                t->in.max_bad = (size_t)n;
                break;
        case JSON: t->json = true; break;
        default: return -EINVAL;
        }
        return r;
}

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct task *t, int argc, char **argv)
{
        int r = arguments_each(argc, argv, long_options, HELP, help_text, take_option, t);

        if (r)
                return r;
        if (optind < argc) {
                (void)fprintf(stderr, "category: what is '%s'?\n", argv[optind]);
                return 3;
        }
        if (!t->in.path || !t->in.text || !t->in.label || !t->out)
                return 1 + argument_missing("category", !t->in.path ? "--in" : !t->in.text ? "--text" : !t->in.label ? "--label" : "--out");
        if (t->on.path && t->threshold >= 0) {
                (void)fprintf(stderr, "category: --threshold and --threshold-on exclude each other\n");
                return 3;
        }
        t->on.text = t->in.text;
        t->on.label = t->in.label;
        t->on.max_bad = t->in.max_bad;
        return argument_output("--out", t->out, true);
}

/* Decides the held-back rows, calibrates on them, and measures with that calibration. */
static int judge(struct task *t, const struct fitted *f, const bool *use, struct decision *d, double *logit, bool *right)
{
        float scores[CLASSIFIER_CATEGORIES_MAX];
        size_t n = 0;

        for (size_t i = 0; i < t->rows.n; i++) {
                const struct row *row = &t->rows.list[i];

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

static void set_recipe(struct task *t, bool softmax)
{
        t->fit.softmax = softmax;
        t->fit.cost = t->cost > 0 ? t->cost : softmax ? 10 : 3;
        t->fit.dense_weight = t->dense_weight > 0 ? t->dense_weight : softmax ? 1 : .4;
}

/* Leaves the better recipe in the settings, with its calibration and figures in the task. */
static int hold_back(struct task *t)
{
        CLEANUP(free_p) bool *use = calloc(t->rows.n, sizeof *use), *right = calloc(t->rows.n, sizeof *right);
        CLEANUP(free_p) struct decision *d = calloc(t->rows.n, sizeof *d);
        CLEANUP(free_p) double *logit = calloc(t->rows.n, sizeof *logit);
        bool both = t->opened && !t->loss, softmax = t->loss && strcmp(t->loss, "softmax") == 0;
        struct fitted f[2] = { { 0 } };
        double hinge;
        int r;

        if (!use || !right || !d || !logit)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++)
                use[i] = rows_part(&t->rows.list[i], t->fit.seed, PARTS) != 0;
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

static size_t label_index(const struct rows *rows, const char *label)
{
        for (size_t i = 0; i < rows->n_labels; i++)
                if (strcmp(rows->labels[i], label) == 0)
                        return i;
        return SIZE_MAX;
}

static int choose_threshold(struct task *t, const struct fitted *f, double *ret)
{
        CLEANUP(free_p) struct judged *list = NULL;
        struct rows on = { 0 };
        size_t right, unknown = 0;
        int r = rows_read(&t->on, &on);

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
                (void)fprintf(stderr, "%s: no line is labelled '%s' (--unknown): no threshold can be chosen on it\n", t->on.path,
                              t->unknown ? t->unknown : "");
                r = -EINVAL;
        } else {
                *ret = calibrate_threshold(list, on.n, &right);
                (void)snprintf(t->rule_text, sizeof t->rule_text, "best on %zu prompts with %zu unknown: %.4f right", on.n, unknown,
                               (double)right / (double)on.n);
                t->rule = t->rule_text;
        }
        rows_finish(&on);
        return r;
}

static int write_model(struct task *t, const struct fitted *f)
{
        char digest[65], number[7][32], why[256] = "";
        const char *meta[24] = { "trained_by", "pointsman-train " PM_VERSION, "data_sha256", digest, "data_rows", number[0], "seed", number[1],
                                 "cost", number[2], "accepted_accuracy", number[3], "accepted_macro_f1", number[4],
                                 "accepted_calibration_error", number[5], "threshold_rule", t->rule };
        size_t n = 18;
        int r;

        rows_digest(&t->rows, digest);
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

static int train_model(struct task *t)
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

static int open_encoder(struct task *t)
{
        char why[256];
        int r = t->encoder ? encoder_open(t->encoder, &t->opened, why, sizeof why) : 0;

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        } else if (t->opened && encoder_needs_scratch(t->opened)) {
                (void)fprintf(stderr, "%s: its tokenizer is not of BERT's kind, which alone reads a text in one pass\n", t->encoder);
                r = -EINVAL;
        }
        t->fit.encoder = t->opened;
        return r;
}

int command_category(int argc, char **argv)
{
        struct task t = { .fit = { .bits = 17, .tolerance = .1, .text_max = 16384 }, .threshold = -1,
                          .in = { .max_bad = 100 }, .rule = "as often wrong as right" };
        int r = read_arguments(&t, argc, argv);

        if (r != 0)
                return r - 1;
        if (t.threshold >= 0)
                t.rule = "given";
        r = open_encoder(&t);
        if (r == 0)
                r = rows_read(&t.in, &t.rows);
        if (r < 0) {
                encoder_destroy(t.opened);
                return 1;
        }
        (void)rows_drop(&t.rows, t.unknown);
        if (t.rows.n_labels < 2) {
                (void)fprintf(stderr, "%s: field '%s' has only one value: there is nothing to choose\n", t.in.path, t.in.label);
                r = -EINVAL;
        } else {
                r = train_model(&t);
        }
        if (r == -ENOMEM)
                (void)fprintf(stderr, "category: out of memory\n");
        rows_finish(&t.rows);
        encoder_destroy(t.opened);
        return r < 0;
}
