/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train predict category: what a model says of prompts without labels, one line each, in their order.
 */
#include <jansson.h>

#include "arguments.h"
#include "base.h"
#include "classifier.h"
#include "commands.h"
#include "encoder.h"
#include "jsonl.h"

#define COLUMNS_MAX 64

struct predict_task {
        const char *model, *in, *text, *id, *encoder, *out_path;
        double threshold; /* below 0: the model's */
        bool plain, tsv;
        size_t max_bad, bad;
        struct classifier *classifier;
        struct encoder *opened;
        FILE *out;
        bool begun, table;
        int id_column, text_column[COLUMNS_MAX];
        size_t n_text;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct predict_task, model, "model", "FILE", PM_REQUIRED, NULL, "of pointsman-train category"),
        ARGUMENT_TEXT(struct predict_task, in, "in", "FILE", 0, "-", "prompts, plain or gzip'd; - is standard input.  A line that "
                      "begins with { is a JSON object; if the first line has tabs it names the columns of a table; else "
                      "each line is a prompt"),
        ARGUMENT_TEXT(struct predict_task, text, "text", "FIELD,...", 0, "text",
                      "what the prompt is, of an object or a table; fields are joined by newlines"),
        ARGUMENT_TEXT(struct predict_task, id, "id", "FIELD", 0, "id", "what is said beside it; where there is none, the line's "
                      "number"),
        ARGUMENT_FLAG(struct predict_task, plain, "plain", "each line is a prompt, even if it looks like JSON or a table"),
        ARGUMENT_TEXT(struct predict_task, encoder, "encoder", "FOLDER", 0, NULL,
                      "the encoder that the model was trained with, if it uses vectors"),
        ARGUMENT_REAL(struct predict_task, threshold, "threshold", NULL, 0, 1,
                      "instead of the model's own: below it a prediction is not sure"),
        ARGUMENT_OUTPUT(struct predict_task, out_path, "out", "FILE", 0, ARGUMENT_WRITTEN, "instead of standard output"),
        ARGUMENT_FLAG(struct predict_task, tsv, "tsv", "id, category, confidence and sure, tab-separated, instead of JSON objects"),
        JSONL_ARGUMENT_MAX_BAD(struct predict_task, max_bad, "0"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "predict category", .table = table,
                                            .known = "predict: what to predict with is missing: predict category" };

/* ---- one prompt ----------------------------------------------------------------------------------------------------------- */

static int say(struct predict_task *t, const char *id, json_t *id_value, const char *text, size_t n)
{
        const struct classifier_parts *p = classifier_parts(t->classifier);
        struct verdict v;
        json_t *o;
        bool sure;

        classifier_decide(t->classifier, text, n, 0, &v);
        sure = v.confidence > 0 && v.confidence >= t->threshold;
        if (t->tsv) {
                jsonl_put(t->out, id);
                (void)fputc('\t', t->out);
                jsonl_put(t->out, p->labels[v.category]);
                (void)fprintf(t->out, "\t%.4f\t%s\n", v.confidence, sure ? "true" : "false");
        } else {
                o = json_pack("{s:o, s:s, s:f, s:b}", "id", id_value ? json_incref(id_value) : json_string(id), "category", p->labels[v.category], "confidence",
                              v.confidence, "sure", sure);
                if (!o)
                        return -ENOMEM;
                (void)json_dumpf(o, t->out, JSON_COMPACT | JSON_REAL_PRECISION(5));
                (void)fputc('\n', t->out);
                json_decref(o);
        }
        return ferror(t->out) ? -EIO : 0;
}

static int bad_line(struct predict_task *t, size_t number, const char *why)
{
        (void)fprintf(stderr, "%s:%zu: %s\n", t->in, number, why);
        return ++t->bad > t->max_bad ? -EINVAL : 0;
}

static int take_object(struct predict_task *t, const char *line, size_t n, size_t number)
{
        json_error_t error;
        json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error), *id = json_object_get(o, t->id);
        char why[256], buf[32];
        const char *id_text = jsonl_scalar(id, buf);
        char *text = NULL;
        size_t text_n = 0;
        int r;

        if (!o)
                (void)snprintf(why, sizeof why, "invalid JSON at column %d: %.160s", error.column, error.text);
        else
                text = jsonl_text(o, t->text, &text_n, why, sizeof why);
        if (!id_text) {
                (void)snprintf(buf, sizeof buf, "%zu", number);
                id_text = buf;
        }
        r = text ? say(t, id_text, id && jsonl_scalar(id, (char[32]){ 0 }) ? id : NULL, text, text_n) : bad_line(t, number, why);
        free(text);
        json_decref(o);
        return r;
}

/* ---- tables --------------------------------------------------------------------------------------------------------------- */

/* The cell of a column, or NULL. */
static const char *cell(const char *line, int column, size_t *ret_n)
{
        for (; column > 0 && (line = strchr(line, '\t')) != NULL; column--)
                line++;
        *ret_n = line ? strcspn(line, "\t\r") : 0;
        return line;
}

static int column_of(const char *titles, const char *name, size_t name_n)
{
        const char *at;
        size_t n;

        for (int i = 0; i < COLUMNS_MAX && (at = cell(titles, i, &n)) != NULL; i++)
                if (n == name_n && memcmp(at, name, n) == 0)
                        return i;
        return -1;
}

static int take_titles(struct predict_task *t, const char *line)
{
        line += *line == '#';
        t->id_column = column_of(line, t->id, strlen(t->id));
        for (const char *p = t->text; *p; p += *p == ',') {
                size_t n = strcspn(p, ",");
                int column = column_of(line, p, n);

                if (column < 0 || t->n_text == COLUMNS_MAX) {
                        (void)fprintf(stderr, "%s:1: it has tabs, and no column '%.*s' (--text names it; --plain, if each line is a prompt)\n", t->in, (int)n, p);
                        return -EINVAL;
                }
                t->text_column[t->n_text++] = column;
                p += n;
        }
        t->table = true;
        return 0;
}

static int take_table_line(struct predict_task *t, const char *line, size_t n, size_t number)
{
        CLEANUP(free_p) char *text = malloc(n + t->n_text + 2);
        char id[600];
        size_t used = 0, id_n = 0;
        const char *at = t->id_column < 0 ? NULL : cell(line, t->id_column, &id_n);

        if (!text)
                return -ENOMEM;
        if (at && id_n > 0 && id_n < sizeof id)
                (void)snprintf(id, sizeof id, "%.*s", (int)id_n, at);
        else
                (void)snprintf(id, sizeof id, "%zu", number);
        for (size_t i = 0; i < t->n_text; i++) {
                size_t cell_n;

                at = cell(line, t->text_column[i], &cell_n);
                if (!at || used + cell_n + 1 > n + t->n_text)
                        return bad_line(t, number, "it has fewer columns than the first line");
                if (i > 0)
                        text[used++] = '\n';
                memcpy(text + used, at, cell_n);
                used += cell_n;
        }
        return say(t, id, NULL, text, used);
}

/* ---- all ------------------------------------------------------------------------------------------------------------------ */

static int take_line(void *ctx, char *line, size_t n, size_t number)
{
        struct predict_task *t = ctx;
        bool first = !t->begun;
        char id[24];

        t->begun = true;
        if (!t->plain && first && *line != '{' && memchr(line, '\t', n))
                return take_titles(t, line);
        if (t->table)
                return take_table_line(t, line, n, number);
        if (!t->plain && *line == '{')
                return take_object(t, line, n, number);
        (void)snprintf(id, sizeof id, "%zu", number);
        n -= n > 0 && line[n - 1] == '\r';
        return say(t, id, NULL, line, n);
}

static int open_model(struct predict_task *t)
{
        char why[256];
        int r = classifier_open(t->model, &t->classifier, why, sizeof why);
        bool needed;

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->model, why);
                return r;
        }
        needed = classifier_parts(t->classifier)->dim > 0;
        if (needed != (t->encoder != NULL)) {
                (void)fprintf(stderr, needed ? "%s: it uses vectors: --encoder is required\n"
                                             : "%s: it uses no vectors: leave --encoder out\n", t->model);
                return -EINVAL;
        }
        if (needed) {
                r = encoder_open(t->encoder, &t->opened, why, sizeof why);
                if (r == 0)
                        r = classifier_attach(t->classifier, t->opened, why, sizeof why);
                if (r < 0)
                        (void)fprintf(stderr, "%s: %s\n", t->encoder, why);
        }
        if (t->threshold < 0)
                t->threshold = classifier_parts(t->classifier)->threshold;
        return r;
}

static int predict(struct predict_task *t)
{
        int r = open_model(t);

        if (r < 0)
                return r;
        t->out = t->out_path ? fopen(t->out_path, "we") : stdout;
        if (!t->out) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->out_path, ERRNO_TEXT(errno));
                return -EIO;
        }
        if (t->tsv)
                (void)fprintf(t->out, "#id\tcategory\tconfidence\tsure\n");
        r = jsonl_lines(t->in, take_line, t);
        if ((t->out_path ? fclose(t->out) : fflush(t->out)) != 0 || r == -EIO) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->out_path ? t->out_path : "standard output", ERRNO_TEXT(errno));
                r = -EIO;
        }
        if (r == 0 && !t->begun) {
                (void)fprintf(stderr, "%s: there is no prompt\n", t->in);
                r = -ENODATA;
        }
        return r;
}

int command_predict(int argc, char **argv)
{
        struct predict_task t = { .threshold = -1 };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = predict(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "predict: out of memory\n");
        classifier_destroy(t.classifier);
        encoder_destroy(t.opened);
        return r < 0;
}
