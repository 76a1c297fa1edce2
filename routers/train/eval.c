/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train eval category: what a model is worth on labelled prompts, as the router would use it.
 */
#include <jansson.h>
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "classifier.h"
#include "commands.h"
#include "encoder.h"
#include "jsonl.h"
#include "metrics.h"
#include "progress.h"

#define WORST 10

struct eval_task {
        struct jsonl_source in;
        const char *model, *encoder, *unknown, *predictions, *id;
        double threshold; /* below 0: the model's */
        bool json;
        struct jsonl_rows rows;
        struct decision *list;
        struct classifier *classifier;
        struct encoder *opened;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct eval_task, model, "model", "FILE", PM_REQUIRED, NULL, "of pointsman-train category"),
        ARGUMENT_TEXT(struct eval_task, in.path, "in", "FILE", PM_REQUIRED, NULL,
                      "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct eval_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL,
                      "what the prompt is; fields are joined by newlines, a list gives a line for each item"),
        ARGUMENT_TEXT(struct eval_task, in.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        JSONL_ARGUMENT_WHERE(struct eval_task, in),
        ARGUMENT_TEXT(struct eval_task, unknown, "unknown", "LABEL", 0, NULL,
                      "lines of this label belong to no category and should come out below the threshold"),
        ARGUMENT_TEXT(struct eval_task, encoder, "encoder", "FOLDER", 0, NULL,
                      "the encoder that the model was trained with, if it uses vectors"),
        ARGUMENT_REAL(struct eval_task, threshold, "threshold", NULL, 0, 1, "instead of the model's own"),
        ARGUMENT_OUTPUT(struct eval_task, predictions, "predictions", "FILE", 0, ARGUMENT_WRITTEN,
                        "writes id, label, category and confidence of each line, tab-separated; tabs and lines' ends in "
                        "them as \\t, \\n"),
        ARGUMENT_TEXT(struct eval_task, id, "id", "FIELD", 0, "id", "the id of a line"),
        JSONL_ARGUMENT_MAX_BAD(struct eval_task, in.max_bad, "100"),
        ARGUMENT_FLAG(struct eval_task, json, "json", "one JSON object instead of the tables"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "eval category", .table = table,
                                            .known = "eval: what is to be measured? Known: eval category, eval interests, eval instruct, eval score, eval route" };

/* The model's index for each label of the file; labels that neither know is said of are a mistake, not an error of the model. */
static int match_labels(const struct eval_task *t, size_t *index)
{
        const struct classifier_parts *p = classifier_parts(t->classifier);

        for (size_t i = 0; i < t->rows.n_labels; i++) {
                const char *label = t->rows.labels[i];

                index[i] = SIZE_MAX;
                for (size_t k = 0; k < p->categories; k++)
                        if (strcmp(label, p->labels[k]) == 0)
                                index[i] = k;
                if (index[i] == SIZE_MAX && (!t->unknown || strcmp(label, t->unknown) != 0)) {
                        (void)fprintf(stderr, "%s: the model has no category '%s' (--unknown %s, if its prompts belong to none)\n",
                                      t->in.path, label, label);
                        return -EINVAL;
                }
        }
        return 0;
}

static int decide_all(struct eval_task *t)
{
        CLEANUP(free_p) size_t *index = calloc(t->rows.n_labels, sizeof *index);
        int r;

        t->list = calloc(t->rows.n, sizeof *t->list);
        if (!index || !t->list)
                return -ENOMEM;
        r = match_labels(t, index);
        for (size_t i = 0; r == 0 && i < t->rows.n; i++) {
                const struct jsonl_row *row = &t->rows.list[i];
                bool unknown = index[row->label] == SIZE_MAX;
                struct verdict v;

                classifier_decide(t->classifier, row->text, row->n, 0, &v);
                t->list[i] = (struct decision){ unknown ? 0 : index[row->label], v.category, v.confidence, unknown };
                if (i % 1024 == 0)
                        progress_show("deciding", i, t->rows.n);
        }
        progress_done();
        return r;
}

static int write_predictions(const struct eval_task *t)
{
        const struct classifier_parts *p = classifier_parts(t->classifier);
        FILE *f = fopen(t->predictions, "we");
        bool bad;

        if (f) {
                (void)fprintf(f, "#id\tlabel\tcategory\tconfidence\n");
                for (size_t i = 0; i < t->rows.n; i++) {
                        const char *cell[] = { t->rows.list[i].id, t->rows.labels[t->rows.list[i].label], p->labels[t->list[i].said] };

                        for (size_t k = 0; k < LENGTH_OF(cell); k++) {
                                jsonl_put(f, cell[k]);
                                (void)fputc('\t', f);
                        }
                        (void)fprintf(f, "%.4f\n", t->list[i].confidence);
                }
                bad = ferror(f) != 0;
                if (fclose(f) == 0 && !bad)
                        return 0;
        }
        (void)fprintf(stderr, "%s: cannot write: %s\n", t->predictions, ERRNO_TEXT(errno));
        return -EIO;
}

static void add_figure(json_t *o, const char *key, double x)
{
        if (isfinite(x))
                json_object_set_new(o, key, json_real(x));
}

static void print_json(const struct eval_task *t, const struct quality *q, double threshold)
{
        json_t *o = json_pack("{s:s, s:I, s:I}", "model", t->model, "known", (json_int_t)q->known, "unknown", (json_int_t)q->unknown);

        add_figure(o, "threshold", threshold);
        add_figure(o, "accuracy", q->accuracy);
        add_figure(o, "macro_f1", q->macro_f1);
        add_figure(o, "calibration_error", q->ece);
        add_figure(o, "kept", q->kept);
        add_figure(o, "kept_accuracy", q->kept_accuracy);
        if (q->unknown) {
                add_figure(o, "in_scope_accuracy", q->in_scope_accuracy);
                add_figure(o, "unknown_recall", q->recall_unknown);
                add_figure(o, "unknown_auroc", q->auroc);
        }
        (void)json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
        (void)putchar('\n');
        json_decref(o);
}

static int print_table(const struct eval_task *t, const struct quality *q, double threshold)
{
        const struct classifier_parts *p = classifier_parts(t->classifier);

        (void)printf("%zu prompts, %zu of them unknown; %zu categories; threshold %.4f\n\n", q->known + q->unknown,
                     q->unknown, p->categories, threshold);
        (void)printf("  accuracy                    %.4f\n  macro-F1                    %.4f\n", q->accuracy, q->macro_f1);
        (void)printf("  expected calibration error  %.4f\n", q->ece);
        (void)printf("  at or above the threshold   %.4f, accuracy among them %.4f\n", q->kept, q->kept_accuracy);
        if (q->unknown)
                (void)printf("  in-scope accuracy           %.4f (below the threshold counts as wrong)\n"
                             "  out-of-scope recall         %.4f\n  out-of-scope AUROC          %.4f\n",
                             q->in_scope_accuracy, q->recall_unknown, q->auroc);
        (void)putchar('\n');
        return metrics_confusion(stdout, t->list, t->rows.n, p->labels, p->categories, WORST);
}

static int attach(struct eval_task *t)
{
        bool needed = classifier_parts(t->classifier)->dim > 0;
        char why[256];
        int r;

        if (!needed || !t->encoder) {
                if (needed || t->encoder)
                        (void)fprintf(stderr, needed ? "%s: it uses vectors: --encoder is required\n"
                                                     : "%s: it uses no vectors: leave --encoder out\n", t->model);
                return needed || t->encoder ? -EINVAL : 0;
        }
        r = encoder_open(t->encoder, &t->opened, why, sizeof why);
        if (r == 0)
                r = classifier_attach(t->classifier, t->opened, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        return r;
}

static int evaluate(struct eval_task *t)
{
        struct quality q;
        char why[256];
        double threshold;
        int r = classifier_open(t->model, &t->classifier, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->model, why);
                return r;
        }
        r = attach(t);
        if (r < 0)
                return r;
        threshold = t->threshold >= 0 ? t->threshold : classifier_parts(t->classifier)->threshold;
        r = jsonl_read(&t->in, &t->rows);
        if (r == 0)
                r = decide_all(t);
        if (r == 0)
                r = metrics_measure(t->list, t->rows.n, classifier_parts(t->classifier)->categories, threshold, &q);
        if (r == 0 && t->predictions)
                r = write_predictions(t);
        if (r < 0)
                return r;
        if (t->json)
                print_json(t, &q, threshold);
        else
                r = print_table(t, &q, threshold);
        return r;
}

int command_eval(int argc, char **argv)
{
#ifdef WITH_FAISS
        if (argc > 1 && strcmp(argv[1], "interests") == 0)
                return command_eval_interests(argc, argv);
#endif
        if (argc > 1 && strcmp(argv[1], "instruct") == 0)
                return command_eval_instruct(argc, argv);
        if (argc > 1 && strcmp(argv[1], "route") == 0)
                return command_eval_route(argc, argv);
        if (argc > 1 && strcmp(argv[1], "score") == 0)
                return command_eval_score(argc, argv);
        struct eval_task t = { .threshold = -1 };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        if (t.predictions)
                t.in.id = t.id;
        r = evaluate(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "eval: out of memory\n");
        jsonl_finish(&t.rows);
        free(t.list);
        classifier_destroy(t.classifier);
        encoder_destroy(t.opened);
        return r < 0;
}
