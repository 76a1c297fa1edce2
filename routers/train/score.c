/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train score: what score is to be expected of each expert on a prompt, from prompts with categories and recorded outcomes.
 *
 * What is printed was said of prompts by a model that had not seen them (score_train.h); only how the two halves are weighed, two numbers and one
 * of three, was chosen on all of them.  `eval score` measures a model on prompts of which it has seen nothing.
 */
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "ngrams.h"
#include "outcomes.h"
#include "score_tell.h"
#include "score_train.h"

struct score_task {
        struct jsonl_source in;
        struct score_settings settings;
        const char *outcomes, *experts, *out, *encoder, *parent, *add;
        int loss; /* 0: hinge, 1: softmax */
        bool json;
        struct jsonl_rows rows;
        struct outcomes table;
        struct encoder *opened;
        float *target;
        size_t *parents, n_parents;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct score_task, outcomes, "outcomes", "FILE", PM_REQUIRED, NULL, OUTCOMES_HELP),
        ARGUMENT_TEXT(struct score_task, in.path, "in", "FILE", PM_REQUIRED, NULL, "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct score_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL,
                      "what the prompt is; fields are joined by newlines, a list gives a line for each item"),
        ARGUMENT_TEXT(struct score_task, in.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        ARGUMENT_TEXT(struct score_task, parent, "parent", "FIELD", 0, NULL, "a coarser category, to which categories of few outcomes are drawn before the mean of all"),
        ARGUMENT_TEXT(struct score_task, add, "add", "MODEL", 0, NULL,
                      "take the experts into this model, which stays as it is otherwise: features, categories and weights are its own"),
        ARGUMENT_TEXT(struct score_task, in.id, "id", "FIELD", 0, "id", "what joins both files"),
        JSONL_ARGUMENT_WHERE(struct score_task, in),
        ARGUMENT_TEXT(struct score_task, experts, "experts", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),
        ARGUMENT_TEXT(struct score_task, encoder, "encoder", "FOLDER", 0, NULL,
                      "a static model (configs/models/pointsman-static): look at the prompt's vector, too"),
        ARGUMENT_REAL(struct score_task, settings.shrink, "shrink", "20", 0, 1e6, "prompts of overall quality that every category begins with"),
        ARGUMENT_REAL(struct score_task, settings.ridge, "ridge", "0", 0, 1e6, "lambda of the regressions, higher holds them back more; 0: the best of 10, 30 and 100"),
        ARGUMENT_REAL(struct score_task, settings.threshold, "threshold", "0", 0, 1, "confidence below which a prompt is more and more as one of no category"),
        ARGUMENT_NUMBER(struct score_task, settings.parts, "parts", "5", 2, 20, "that the prompts are divided into"),
        ARGUMENT_NUMBER(struct score_task, settings.fit.seed, "seed", "0", 0, INT_MAX, "of the parts and the solver"),
        ARGUMENT_NUMBER(struct score_task, settings.fit.bits, "bits", "17", NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, "2^N buckets of features"),
        ARGUMENT_CHOICE(struct score_task, loss, "loss", "hinge", "hinge|softmax", "of the categories: a linear SVM of each against the rest, or a softmax of all"),
        ARGUMENT_REAL(struct score_task, settings.fit.cost, "cost", "0", 0, 1e4, "higher fits the categories closer (0: 3, of a softmax 10)"),
        ARGUMENT_NUMBER(struct score_task, settings.fit.text_max, "text-max", "16384", NGRAMS_TEXT_MIN, NGRAMS_TEXT_MAX, "bytes read of a prompt"),
        JSONL_ARGUMENT_MAX_BAD(struct score_task, in.max_bad, "100"),
        ARGUMENT_FLAG(struct score_task, json, "json", "print the figures as JSON"),
        ARGUMENT_OUTPUT(struct score_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_REPLACED, "the model (safetensors)"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "score", .table = table,
                                            .note = "The same input, options and build give the same bytes." };

static int write_model(struct score_task *t, const struct score_trained *m, double gain)
{
        char digest[65], number[8][32], why[256] = "";
        const char *meta[] = { "trained_by", "pointsman-train " PM_VERSION, "data_sha256", digest, "data_rows", number[0], "seed", number[1],
                               "shrink", number[2], "ridge", number[3], "cost", number[4], isnan(gain) ? NULL : "accepted_score", number[5], NULL };
        int r = jsonl_digest(&t->rows, digest);

        if (r < 0)
                return r;
        (void)snprintf(number[0], sizeof number[0], "%zu", t->rows.n);
        (void)snprintf(number[1], sizeof number[1], "%u", t->settings.fit.seed);
        (void)snprintf(number[2], sizeof number[2], "%g", t->settings.shrink);
        (void)snprintf(number[3], sizeof number[3], "%g", m->ridge);
        (void)snprintf(number[4], sizeof number[4], "%g", t->settings.fit.cost);
        (void)snprintf(number[5], sizeof number[5], "%.4f", gain);
        r = scorer_save(m->scorer, t->out, meta, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", t->out, why[0] ? why : "out of memory");
        else if (!t->json)
                (void)printf("\nridge %g, table weighs %.3f, heads %.3f\n%s: trained on %zu prompts, sha256 of the data %s\n", m->ridge, m->a, m->b, t->out,
                             t->rows.n, digest);
        return r;
}

static int train_model(struct score_task *t)
{
        struct score_set set = { &t->rows, t->table.experts, t->table.n_experts, t->target, t->parents, t->n_parents };
        struct score_trained m = { 0 };
        int r = score_train(&set, NULL, &t->settings, &m);

        if (r == 0) {
                struct score_choices seen[] = { { "best single", m.seen.single }, { "likeliest category", m.seen.likeliest },
                                                { "all categories", m.seen.two }, { "regression", m.seen.head }, { "score", m.seen.mixed },
                                                { "true category", m.seen.truth } };

                r = score_tell(t->target, t->rows.n, t->table.n_experts, seen, LENGTH_OF(seen), t->json);
                if (r == 0)
                        r = write_model(t, &m, seen[4].earned);
        }
        score_trained_finish(&m);
        return r;
}

static int add_to_model(struct score_task *t)
{
        struct score_set set = { &t->rows, t->table.experts, t->table.n_experts, t->target, NULL, 0 };
        struct score_trained m = { 0 };
        struct scorer *old = NULL;
        const char *ridge;
        char why[256] = "";
        bool vectors;
        int r = scorer_open(t->add, &old, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->add, why[0] ? why : "out of memory");
                return r;
        }
        vectors = classifier_parts(scorer_classifier(old))->dim > 0;
        if (vectors != (t->opened != NULL)) {
                (void)fprintf(stderr, vectors ? "%s: it looks at vectors: --encoder must say of which encoder\n"
                                              : "%s: it looks at no vectors: --encoder is for nothing\n", t->add);
                r = -EINVAL;
        } else if (vectors && (r = classifier_attach(scorer_classifier(old), t->opened, why, sizeof why)) < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        }
        ridge = classifier_meta(scorer_classifier(old), "ridge");
        if (r == 0)
                r = score_add(old, t->opened, &set, t->settings.shrink, t->settings.ridge > 0 ? t->settings.ridge : ridge ? strtod(ridge, NULL) : 30, &m);
        if (r == 0)
                r = write_model(t, &m, NAN);
        score_trained_finish(&m);
        scorer_destroy(old);
        return r;
}

static int run(struct score_task *t)
{
        int r = score_fit_settings(t->encoder, t->loss == 1, &t->settings.fit, &t->opened);

        if (r < 0)
                return r;
        r = score_read(&t->in, t->outcomes, t->experts, &t->rows, &t->table, &t->target);
        if (r == 0 && t->add)
                return add_to_model(t);
        if (r == 0 && (t->rows.n_labels < 2 || t->table.n_experts < 2)) {
                (void)fprintf(stderr, "%s: %zu categories and %zu experts: there is nothing to choose\n", t->in.path, t->rows.n_labels, t->table.n_experts);
                r = -EINVAL;
        }
        if (r == 0 && t->parent)
                r = score_read_parents(&t->in, t->parent, &t->rows, &t->parents, &t->n_parents);
        return r < 0 ? r : train_model(t);
}

int command_score(int argc, char **argv)
{
        struct score_task t = { .settings = { .fit = { .tolerance = .1 } } };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = run(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "score: out of memory\n");
        jsonl_finish(&t.rows);
        outcomes_finish(&t.table);
        encoder_destroy(t.opened);
        free(t.target);
        free(t.parents);
        return r < 0;
}

/* ---- eval score --------------------------------------------------------------------------------------------------------- */

struct eval_score_task {
        struct jsonl_source in;
        const char *model, *encoder, *outcomes, *predictions;
        double threshold;
        bool json;
        struct jsonl_rows rows;
        struct outcomes table;
        struct scorer *scorer;
        struct encoder *opened;
        float *target, *two, *head, *estimate, *single, *truth;
};

static const struct argument eval_table[] = {
        ARGUMENT_TEXT(struct eval_score_task, model, "model", "FILE", PM_REQUIRED, NULL, "a model of pointsman-train score"),
        ARGUMENT_TEXT(struct eval_score_task, encoder, "encoder", "FOLDER", 0, NULL, "of the encoder that it was trained with, if it looks at vectors"),
        ARGUMENT_TEXT(struct eval_score_task, outcomes, "outcomes", "FILE", PM_REQUIRED, NULL, OUTCOMES_HELP "; columns are called as the model calls its experts"),
        ARGUMENT_TEXT(struct eval_score_task, in.path, "in", "FILE", PM_REQUIRED, NULL, "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct eval_score_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL, "what the prompt is, as it was trained"),
        ARGUMENT_TEXT(struct eval_score_task, in.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        ARGUMENT_TEXT(struct eval_score_task, in.id, "id", "FIELD", 0, "id", "what joins both files"),
        JSONL_ARGUMENT_WHERE(struct eval_score_task, in),
        JSONL_ARGUMENT_MAX_BAD(struct eval_score_task, in.max_bad, "100"),
        ARGUMENT_REAL(struct eval_score_task, threshold, "threshold", "-1", -1, 1, "another one than the model's"),
        ARGUMENT_FLAG(struct eval_score_task, json, "json", "print the figures as JSON"),
        ARGUMENT_OUTPUT(struct eval_score_task, predictions, "predictions", "FILE", 0, ARGUMENT_WRITTEN, "write each prompt's estimates, tab-separated"),
        ARGUMENT_END,
};

static const struct arguments eval_arguments = { .command = "eval score", .table = eval_table };

static int open_scorer(struct eval_score_task *t)
{
        char why[256] = "";
        int r = scorer_open(t->model, &t->scorer, why, sizeof why);
        bool vectors;

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->model, why[0] ? why : "out of memory");
                return r;
        }
        vectors = classifier_parts(scorer_classifier(t->scorer))->dim > 0;
        if (vectors != (t->encoder != NULL)) {
                (void)fprintf(stderr, vectors ? "%s: it looks at vectors: --encoder must say of which encoder\n"
                                              : "%s: it looks at no vectors: --encoder is for nothing\n", t->model);
                return -EINVAL;
        }
        r = t->encoder ? encoder_open(t->encoder, &t->opened, why, sizeof why) : 0;
        if (r == 0 && t->opened)
                r = classifier_attach(scorer_classifier(t->scorer), t->opened, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        return r;
}

/* The model's experts as a list of columns. */
static char *columns_of(const struct scorer_parts *p)
{
        size_t room = 1;
        char *text, *end;

        for (size_t k = 0; k < p->experts; k++)
                room += strlen(p->names[k]) + 1;
        text = end = malloc(room);
        for (size_t k = 0; text && k < p->experts; k++)
                end += snprintf(end, room - (size_t)(end - text), "%s%s", k ? "," : "", p->names[k]);
        return text;
}

static int write_predictions(const struct eval_score_task *t)
{
        const struct scorer_parts *p = scorer_parts(t->scorer);
        CLEANUP(fclose_p) FILE *f = fopen(t->predictions, "we");

        if (f)
                (void)fputs("#id", f);
        for (size_t k = 0; f && k < p->experts; k++)
                (void)fprintf(f, "\t%s", p->names[k]);
        for (size_t i = 0; f && i < t->rows.n; i++) {
                (void)fputc('\n', f);
                jsonl_put(f, t->rows.list[i].id);
                for (size_t k = 0; k < p->experts; k++)
                        (void)fprintf(f, "\t%.5f", (double)t->estimate[i * p->experts + k]);
        }
        if (!f || fputc('\n', f) == EOF || fflush(f) != 0) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->predictions, ERRNO_TEXT(errno));
                return -EIO;
        }
        return 0;
}

/* Of the table: the category's, or general's. */
static size_t row_of(const struct scorer_parts *p, const char *label)
{
        size_t i = 0;

        while (i < p->categories && strcmp(p->labels[i], label) != 0)
                i++;
        return i;
}

static int estimate(struct eval_score_task *t)
{
        const struct scorer_parts *p = scorer_parts(t->scorer);
        double threshold = t->threshold >= 0 ? t->threshold : classifier_parts(scorer_classifier(t->scorer))->threshold;
        struct score_table_doubt limits = { threshold, NAN, NAN };
        size_t cells = t->rows.n * p->experts;

        t->two = calloc(cells, sizeof *t->two);
        t->head = calloc(cells, sizeof *t->head);
        t->estimate = calloc(cells, sizeof *t->estimate);
        t->single = calloc(cells, sizeof *t->single);
        t->truth = calloc(cells, sizeof *t->truth);
        if (!t->truth || !t->two || !t->head || !t->estimate || !t->single)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++) {
                const struct jsonl_row *row = &t->rows.list[i];
                size_t at = i * p->experts;
                struct verdict v;
                double doubt;

                (void)scorer_inputs(t->scorer, row->text, row->n, 0, &limits, t->two + at, t->head + at, &v, &doubt);
                scorer_estimate(t->scorer, row->text, row->n, 0, &limits, t->estimate + at, &v, &doubt);
                memcpy(t->single + at, p->table + p->categories * p->experts, p->experts * sizeof *t->single);
                memcpy(t->truth + at, p->table + row_of(p, t->rows.labels[row->label]) * p->experts, p->experts * sizeof *t->truth);
        }
        return t->predictions ? write_predictions(t) : 0;
}

static int evaluate(struct eval_score_task *t)
{
        CLEANUP(free_p) char *columns = NULL;
        int r = open_scorer(t);

        if (r < 0)
                return r;
        columns = columns_of(scorer_parts(t->scorer));
        r = columns ? score_read(&t->in, t->outcomes, columns, &t->rows, &t->table, &t->target) : -ENOMEM;
        if (r == 0)
                r = estimate(t);
        if (r == 0) {
                struct score_choices said[] = { { "best single", t->single }, { "all categories", t->two }, { "regression", t->head }, { "score", t->estimate },
                                                { "true category", t->truth } };

                r = score_tell(t->target, t->rows.n, t->table.n_experts, said, LENGTH_OF(said), t->json);
        }
        return r;
}

int command_eval_score(int argc, char **argv)
{
        struct eval_score_task t = { .threshold = -1 };
        int r = arguments_read(&eval_arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = evaluate(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "eval: out of memory\n");
        jsonl_finish(&t.rows);
        outcomes_finish(&t.table);
        scorer_destroy(t.scorer);
        encoder_destroy(t.opened);
        free(t.target);
        free(t.two);
        free(t.head);
        free(t.estimate);
        free(t.single);
        free(t.truth);
        return r < 0;
}
