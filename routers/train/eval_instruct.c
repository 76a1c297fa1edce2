/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train eval instruct: which experts an instruct model chooses for prompts that it has not seen, and how those did.
 */
#include <jansson.h>
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "chunks.h"
#include "commands.h"
#include "dot.h"
#include "gating.h"
#include "parallel.h"

enum method { LOCAL, LOCAL_OTHER, GLOBAL, JOINED, METHODS };
static const char *const method_names[METHODS] = { "local", "local, combined the other way", "global", "joined" };
static const char *const method_keys[METHODS] = { "local", "local_other", "global", "joined" };

struct eval_instruct_task {
        struct training_set_source source;
        const char *model, *encoder_folder, *predictions;
        bool json;
        struct encoder *encoder;
        struct gates *gates;
        struct training_set set;
        size_t *column;    /* of the model's experts: which of the set's */
        float *sentences;  /* of tasks, length one */
        double sum[METHODS], n[METHODS], random, oracle, prompts;
        double *own, *own_n; /* [experts]: of each alone */
        FILE *out;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct eval_instruct_task, model, "model", "FILE", PM_REQUIRED, NULL, "of pointsman-train instruct"),
        ARGUMENT_TEXT(struct eval_instruct_task, encoder_folder, "encoder", "FOLDER", PM_REQUIRED, NULL,
                      "the one that it was trained with"),
        TRAINING_SET_ARGUMENTS(struct eval_instruct_task, source, PM_REQUIRED, ": what an LLM would say of a prompt of that task; without it, and for tasks that are not in it, the "
                                                            "prompt's own vector stands for the sentence's"),
        ARGUMENT_OUTPUT(struct eval_instruct_task, predictions, "predictions", "FILE", 0, ARGUMENT_WRITTEN,
                        "id, task, cosine of the nearest instruction, and the experts chosen from near, from afar and by "
                        "both"),
        ARGUMENT_FLAG(struct eval_instruct_task, json, "json", "one JSON object instead of the table"),
        ARGUMENT_END,
};

static const struct arguments arguments = {
        .command = "eval instruct",
        .forms = "usage: pointsman-train eval instruct --model M --encoder FOLDER --outcomes F.tsv --in F.jsonl --text FIELD --label FIELD\n",
        .table = table,
};

static int match(struct eval_instruct_task *t)
{
        const struct gates_parts *p = gates_parts(t->gates);
        const struct training_set *l = &t->set;

        t->column = calloc(p->experts, sizeof *t->column);
        t->own = calloc(2 * p->experts, sizeof *t->own);
        t->own_n = t->own ? t->own + p->experts : NULL;
        t->sentences = calloc(l->rows.n_labels + 1, l->dim * sizeof *t->sentences);
        if (!t->column || !t->sentences || !t->own)
                return -ENOMEM;
        for (size_t k = 0; k < p->experts; k++) {
                size_t c = 0;

                while (c < l->n_experts && strcmp(l->experts[c].name, p->names[k]) != 0)
                        c++;
                if (c == l->n_experts) {
                        (void)fprintf(stderr, "%s has no column for expert '%s' of model '%s' (--columns %s=COLUMN)\n", t->source.outcomes, p->names[k], t->model,
                                      p->names[k]);
                        return -EINVAL;
                }
                t->column[k] = c;
        }
        for (size_t i = 0; i < l->rows.n_labels; i++)
                if (l->task_instructions[i] && training_set_encode(t->encoder, l->task_instructions[i], t->sentences + i * l->dim) == 0)
                        (void)dot_normalise(t->sentences + i * l->dim, l->dim);
        return 0;
}

static size_t best(const float *a, const float *b, float alpha, size_t n)
{
        size_t at = 0;

        for (size_t k = 1; k < n; k++)
                if (a[k] + alpha * b[k] > a[at] + alpha * b[at])
                        at = k;
        return at;
}

static void count(struct eval_instruct_task *t, size_t i, const size_t *chosen)
{
        const struct gates_parts *p = gates_parts(t->gates);
        double sum = 0, n = 0, most = 0;

        for (enum method m = 0; m < METHODS; m++) {
                float y = training_set_outcome(&t->set, i, t->column[chosen[m]]);

                if (!isnan(y)) {
                        t->sum[m] += (double)y;
                        t->n[m]++;
                }
        }
        for (size_t k = 0; k < p->experts; k++) {
                float y = training_set_outcome(&t->set, i, t->column[k]);

                if (!isnan(y)) {
                        t->own[k] += (double)y;
                        t->own_n[k]++;
                        sum += (double)y;
                        n++;
                        most = MAX(most, (double)y);
                }
        }
        if (n > 0) {
                t->random += sum / n;
                t->oracle += most;
                t->prompts++;
        }
}

static void put_prediction(const struct eval_instruct_task *t, size_t i, double near, const size_t *chosen)
{
        jsonl_put(t->out, t->set.rows.list[i].id);
        (void)fputc('\t', t->out);
        jsonl_put(t->out, t->set.rows.labels[t->set.task[i]]);
        (void)fprintf(t->out, "\t%.4f", near);
        for (enum method m = 0; m < METHODS; m++) {
                (void)fputc('\t', t->out);
                jsonl_put(t->out, gates_parts(t->gates)->names[chosen[m]]);
        }
        (void)fputc('\n', t->out);
}

static int score_all(struct eval_instruct_task *t)
{
        const struct gates_parts *p = gates_parts(t->gates);
        const struct training_set *l = &t->set;
        CLEANUP(free_p) float *scratch = calloc((size_t)TRAINING_SET_PARTS_MAX * l->dim, sizeof *scratch);
        CLEANUP(free_p) float *scores = calloc(4 * p->experts, sizeof *scores);
        float *local = scores, *other = scores + p->experts, *global = scores + 2 * p->experts, *none = scores + 3 * p->experts;

        if (!scratch || !scores)
                return -ENOMEM;
        for (size_t i = 0; i < l->rows.n; i++) {
                size_t task = l->task[i], parts = l->first[i + 1] - l->first[i];
                double near;
                size_t chosen[METHODS];

                gating_score(t->gates, l, i, l->task_instructions[task] ? t->sentences + task * l->dim : NULL, scratch, local, global, &near);
                memcpy(scratch, l->parts + l->first[i] * l->dim, parts * l->dim * sizeof *scratch);
                gates_local(t->gates, p->combine == GATES_MEAN ? GATES_MAX : GATES_MEAN, scratch, parts, other);
                chosen[LOCAL] = best(local, none, 0, p->experts);
                chosen[LOCAL_OTHER] = best(other, none, 0, p->experts);
                chosen[GLOBAL] = best(global, none, 0, p->experts);
                chosen[JOINED] = best(local, global, (float)(near >= p->threshold ? p->gamma : p->beta), p->experts);
                count(t, i, chosen);
                if (t->out)
                        put_prediction(t, i, near, chosen);
        }
        return 0;
}

/* The expert that did best of all when it answered alone, and how well. */
static size_t best_alone(const struct eval_instruct_task *t, double *ret)
{
        size_t best = 0, n = gates_parts(t->gates)->experts;

        for (size_t k = 0; k < n; k++)
                if (t->own_n[k] > 0 && (!(t->own_n[best] > 0) || t->own[k] / t->own_n[k] > t->own[best] / t->own_n[best]))
                        best = k;
        *ret = t->own_n[best] > 0 ? t->own[best] / t->own_n[best] : NAN;
        return best;
}

static json_t *rounded(double x)
{
        return isfinite(x) ? json_real(round(x * 1e5) / 1e5) : json_null();
}

static void print_json(const struct eval_instruct_task *t, size_t best, double single)
{
        json_t *o = json_pack("{s:I, s:o, s:o, s:o, s:s}", "prompts", (json_int_t)t->prompts, "random", rounded(t->random / t->prompts), "oracle",
                              rounded(t->oracle / t->prompts), "single", rounded(single), "single_expert", gates_parts(t->gates)->names[best]);

        for (enum method m = 0; m < METHODS; m++)
                (void)json_object_set_new(o, method_keys[m], rounded(t->sum[m] / t->n[m]));
        (void)json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
        (void)putchar('\n');
        json_decref(o);
}

static int print(const struct eval_instruct_task *t)
{
        const struct gates_parts *p = gates_parts(t->gates);
        char title[80];
        double single;
        size_t best = best_alone(t, &single);

        if (t->prompts <= 0) {
                (void)fprintf(stderr, "eval instruct: %s has no outcome for any of the %zu prompts\n", t->source.outcomes, t->set.rows.n);
                return -ENODATA;
        }
        if (t->json) {
                print_json(t, best, single);
        } else {
                (void)printf("%.0f prompts, %zu experts; gamma %g, beta %g, threshold %g, delta %g; parts combined by %s\n\n", t->prompts, p->experts, p->gamma,
                             p->beta, p->threshold, p->delta, p->combine == GATES_MEAN ? "mean" : "maximum");
                (void)snprintf(title, sizeof title, "best alone, %.40s", p->names[best]);
                (void)printf("%-32s %.4f\n%-32s %.4f\n", "random", t->random / t->prompts, title, single);
                for (enum method m = 0; m < METHODS; m++)
                        if (t->n[m] > 0)
                                (void)printf("%-32s %.4f\n", method_names[m], t->sum[m] / t->n[m]);
                (void)printf("%-32s %.4f\n", "oracle", t->oracle / t->prompts);
        }
        if (t->n[JOINED] > 0 && t->sum[JOINED] / t->n[JOINED] < single)
                (void)fprintf(stderr, "warning: on these prompts it is worse than '%s' alone\n", p->names[best]);
        return 0;
}

static int run(struct eval_instruct_task *t)
{
        int r = gating_open(t->encoder_folder, t->model, &t->encoder, &t->gates);

        if (r == 0) {
                t->source.window = gates_parts(t->gates)->window;
                r = training_set_read(&t->source, t->encoder, &t->set);
        }
        if (r == 0)
                r = match(t);
        if (r == 0 && t->predictions) {
                t->out = fopen(t->predictions, "we");
                if (t->out)
                        (void)fprintf(t->out, "#id\ttask\tnear\tlocal\tlocal_other\tglobal\tjoined\n");
                r = t->out ? 0 : -EIO;
        }
        if (r == 0)
                r = score_all(t);
        if (t->out && (ferror(t->out) | fclose(t->out)) != 0)
                r = -EIO;
        if (r == -EIO && t->predictions)
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->predictions, ERRNO_TEXT(errno));
        return r == 0 ? print(t) : r;
}

int command_eval_instruct(int argc, char **argv)
{
        struct eval_instruct_task t = { .source = { .threads = parallel_processors() } };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r)
                return r - 1;
        r = training_set_missing(arguments.command, &t.source);
        if (r)
                return r;
        r = run(&t);
        free(t.column);
        free(t.sentences);
        free(t.own);
        training_set_finish(&t.set);
        gates_destroy(t.gates);
        encoder_destroy(t.encoder);
        return r < 0;
}
