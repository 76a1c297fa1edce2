/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train category: a model from labelled prompts, in three steps.
 *
 * 1. One part of five is held back (by a hash of the text, so equal texts stay together); a model of the others says how good the
 *    recipe is, and its decisions on the held-back part calibrate the confidence.  With vectors, two recipes are tried: a softmax is
 *    ahead on short prompts of many categories, SVMs on long ones of few.  With --apart each part in turn is held back, and the parts
 *    are of whole sources: prompts of a source are alike, and a model is surer of a source that it knows than of what users will send.
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
#define SOURCES_MAX 4096
#define NEVER PARTS /* the part of rows that are always trained on */

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
        unsigned char *part;   /* of each row, or NEVER */
        unsigned rounds;       /* so many parts are held back, one after the other */
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
        ARGUMENT_TEXT(struct category_task, in.id, "apart", "FIELD", 0, NULL,
                      "where a prompt comes from: hold back whole values of this field, so that figures and confidence are those of sources "
                      "not seen; prompts where it is empty are always trained on"),
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

/* What was decided of the rows that were held back. */
struct judged_rows {
        struct decision *d;
        size_t *row;
        double *logit;
        bool *right;
        size_t n;
};

/* Adds the rows that f was not trained on, but for those of a category that none of its rows had: it cannot say that. */
static int judge(const struct category_task *t, const struct fitted *f, const bool *use, struct judged_rows *j)
{
        CLEANUP(free_p) bool *known = calloc(t->rows.n_labels, sizeof *known);
        float scores[CLASSIFIER_CATEGORIES_MAX];

        if (!known)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++)
                known[t->rows.list[i].label] |= use[i];
        for (size_t i = 0; i < t->rows.n; i++) {
                const struct jsonl_row *row = &t->rows.list[i];
                struct decision *d = &j->d[j->n];

                if (use[i] || (t->in.id && !known[row->label]) || !classifier_scores(f->classifier, row->text, row->n, 0, scores))
                        continue;
                d->truth = row->label;
                j->row[j->n] = i;
                j->logit[j->n] = classifier_logit(scores, t->rows.n_labels, &d->said);
                j->right[j->n] = d->said == d->truth;
                j->n++;
        }
        return 0;
}

/* Calibrates on these decisions, and measures with that calibration. */
static int measure(struct category_task *t, struct judged_rows *j)
{
        calibrate(j->logit, j->right, j->n, &t->slope, &t->offset);
        for (size_t i = 0; i < j->n; i++)
                j->d[i].confidence = 1 / (1 + exp(-(t->slope * j->logit[i] + t->offset)));
        t->n_held = j->n;
        return metrics_measure(j->d, j->n, t->rows.n_labels, .5, &t->held);
}

static void set_recipe(struct category_task *t, bool softmax)
{
        t->fit.softmax = softmax;
        t->fit.cost = t->cost > 0 ? t->cost : softmax ? 10 : 3;
        t->fit.dense_weight = t->dense_weight > 0 ? t->dense_weight : softmax ? 1 : .4;
}

/* Sources, the largest first, each into the part that is the smallest so far. */
struct source {
        const char *name;
        size_t rows;
        unsigned part;
};

static int by_rows(const void *a, const void *b)
{
        const struct source *x = a, *y = b;

        return x->rows != y->rows ? (x->rows < y->rows ? 1 : -1) : strcmp(x->name, y->name);
}

static size_t source_of(const struct source *list, size_t n, const char *name)
{
        size_t i = 0;

        while (i < n && strcmp(list[i].name, name) != 0)
                i++;
        return i;
}

static int part_sources(struct category_task *t)
{
        CLEANUP(free_p) struct source *list = calloc(SOURCES_MAX, sizeof *list);
        size_t n = 0, size[PARTS] = { 0 };

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++) {
                size_t k = source_of(list, n, t->rows.list[i].id);

                if (!*t->rows.list[i].id)
                        continue;
                if (k == SOURCES_MAX) {
                        (void)fprintf(stderr, "%s: field '%s' has more than %d values: it does not name a source\n", t->in.path, t->in.id, SOURCES_MAX);
                        return -EINVAL;
                }
                if (k == n)
                        list[n++].name = t->rows.list[i].id;
                list[k].rows++;
        }
        if (n < 2) {
                (void)fprintf(stderr, "%s: field '%s' names fewer than two sources: none can be held back\n", t->in.path, t->in.id);
                return -EINVAL;
        }
        qsort(list, n, sizeof *list, by_rows);
        for (size_t k = 0; k < n; k++) {
                for (unsigned p = 1; p < PARTS; p++)
                        if (size[p] < size[list[k].part])
                                list[k].part = p;
                size[list[k].part] += list[k].rows;
        }
        for (size_t i = 0; i < t->rows.n; i++)
                t->part[i] = *t->rows.list[i].id ? (unsigned char)list[source_of(list, n, t->rows.list[i].id)].part : NEVER;
        t->rounds = (unsigned)MIN(n, (size_t)PARTS);
        return 0;
}

static int part_rows(struct category_task *t)
{
        unsigned part;

        t->part = calloc(t->rows.n, sizeof *t->part);
        if (!t->part)
                return -ENOMEM;
        if (t->in.id)
                return part_sources(t);
        for (size_t i = 0; i < t->rows.n; i++) {
                if (jsonl_part(&t->rows.list[i], t->fit.seed, PARTS, &part) < 0)
                        return -ENOMEM;
                t->part[i] = (unsigned char)part;
        }
        t->rounds = 1;
        return 0;
}

/* A line for each source: what a model that never saw it says of its prompts. */
static int print_sources(const struct category_task *t, const struct judged_rows *j)
{
        CLEANUP(free_p) struct source *list = calloc(SOURCES_MAX, sizeof *list);
        CLEANUP(free_p) struct decision *d = calloc(j->n, sizeof *d);
        size_t n = 0;

        if (!list || !d)
                return -ENOMEM;
        for (size_t i = 0; i < j->n; i++) {
                const char *name = t->rows.list[j->row[i]].id;
                size_t k = source_of(list, n, name);

                if (k == n)
                        list[n++].name = name;
                list[k].rows++;
        }
        qsort(list, n, sizeof *list, by_rows);
        (void)printf("\n%-28s %8s %9s %9s %9s %12s\n", "source, not seen", "prompts", "accuracy", "macro-F1", "sure", "right if so");
        for (size_t k = 0; k < n; k++) {
                struct quality q;
                size_t m = 0;
                int r;

                for (size_t i = 0; i < j->n; i++)
                        if (strcmp(t->rows.list[j->row[i]].id, list[k].name) == 0)
                                d[m++] = j->d[i];
                r = metrics_measure(d, m, t->rows.n_labels, t->threshold >= 0 ? t->threshold : .5, &q);
                if (r < 0)
                        return r;
                (void)printf("%-28.28s %8zu %9.4f %9.4f %9.4f %12.4f\n", list[k].name, m, q.accuracy, q.macro_f1, q.kept, q.kept_accuracy);
        }
        return 0;
}

/* One recipe on all parts that are held back. */
static int try_recipe(struct category_task *t, bool softmax, bool *use, struct judged_rows *j)
{
        int r = 0;

        j->n = 0;
        set_recipe(t, softmax);
        for (unsigned part = 0; r == 0 && part < t->rounds; part++) {
                struct fitted f = { 0 };

                for (size_t i = 0; i < t->rows.n; i++)
                        use[i] = t->part[i] != part;
                r = fit(&t->rows, use, &t->fit, &f);
                if (r == 0)
                        r = judge(t, &f, use, j);
                fitted_finish(&f);
        }
        return r == 0 ? measure(t, j) : r;
}

/* Leaves the better recipe in the settings, with its calibration and figures in the task. */
static int hold_back(struct category_task *t)
{
        CLEANUP(free_p) bool *use = calloc(t->rows.n, sizeof *use), *right = calloc(2 * t->rows.n, sizeof *right);
        CLEANUP(free_p) struct decision *d = calloc(2 * t->rows.n, sizeof *d);
        CLEANUP(free_p) double *logit = calloc(2 * t->rows.n, sizeof *logit);
        CLEANUP(free_p) size_t *row = calloc(2 * t->rows.n, sizeof *row);
        struct judged_rows j[2] = { { d, row, logit, right, 0 } };
        bool both = t->opened && t->loss == BOTH;
        double hinge;
        int r;

        if (!use || !right || !d || !logit || !row)
                return -ENOMEM;
        j[1] = (struct judged_rows){ d + t->rows.n, row + t->rows.n, logit + t->rows.n, right + t->rows.n, 0 };
        r = part_rows(t);
        if (r == 0)
                r = try_recipe(t, t->loss == SOFTMAX, use, &j[0]);
        if (r == 0 && both) {
                hinge = t->held.accuracy;
                r = try_recipe(t, true, use, &j[1]);
                if (r == 0 && t->held.accuracy <= hinge) {
                        set_recipe(t, false);
                        r = measure(t, &j[0]);
                } else {
                        j[0] = j[1];
                }
        }
        if (r == 0 && t->n_held == 0) {
                (void)fprintf(stderr, "%s: %zu prompts are too few: none is held back to say how good the model is; some ten of each category is the least\n",
                              t->in.path, t->rows.n);
                r = -ENODATA;
        }
        if (r == 0 && !t->json) {
                (void)printf("held back: %zu of %zu prompts, %zu categories%s\n", t->n_held, t->rows.n, t->rows.n_labels,
                             t->in.id ? ", by source" : "");
                if (both)
                        (void)printf("loss: %s\n", t->fit.softmax ? "softmax" : "hinge");
                (void)printf("accuracy %.4f  macro-F1 %.4f  calibration error %.4f\n\n", t->held.accuracy, t->held.macro_f1,
                             t->held.ece);
                r = metrics_confusion(stdout, j[0].d, t->n_held, (const char *const *)t->rows.labels, t->rows.n_labels, WORST);
                if (r == 0 && t->in.id)
                        r = print_sources(t, &j[0]);
        }
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
        free(t.part);
        jsonl_finish(&t.rows);
        encoder_destroy(t.opened);
        return r < 0;
}
