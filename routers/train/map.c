/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train map: which expert is best at which category, from recorded outcomes.
 *
 * An expert's score for a category is its mean outcome there, drawn toward its overall mean as if `shrink` prompts of overall
 * quality had been seen as well: few prompts move a ranking little.  The whole ranking is kept, so that the next best expert can
 * stand in for one that is down.
 */
#include <getopt.h>
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "commands.h"
#include "outcomes.h"
#include "rows.h"

static const char help_text[] =
        "usage: pointsman-train map --outcomes F.tsv[.gz] --labels F.jsonl[.gz] --label FIELD --out map.json\n"
        "\n"
        "  --outcomes FILE        first line '#id' and a column for each expert; then a prompt a line: 0..1, or '-' for not run\n"
        "  --labels FILE          the prompts' categories, one JSON object a line\n"
        "  --label FIELD          the category\n"
        "  --id FIELD             what joins both files (id)\n"
        "  --where FIELD=VALUE    only such lines of --labels (also FIELD!=VALUE; may be repeated: all must hold)\n"
        "  --experts A,B,...      only these columns; NAME=COLUMN gives a column another name\n"
        "  --general NAME         the category for prompts of no category (general)\n"
        "  --shrink N             prompts of overall quality that every category begins with (20)\n"
        "  --max-bad N            so many lines may be unusable (100)\n"
        "  --out FILE             JSON: a ranking for each category\n";

struct task {
        struct rows_source labels;
        const char *outcomes, *experts, *general, *out;
        double shrink;
        struct rows rows;
        struct outcomes table;
};

enum argument { OUTCOMES = 256, LABELS, LABEL, ID, WHERE, EXPERTS, GENERAL, SHRINK, MAX_BAD, OUT, HELP };

static const struct option long_options[] = {
        { "outcomes", required_argument, NULL, OUTCOMES },
        { "labels", required_argument, NULL, LABELS },
        { "label", required_argument, NULL, LABEL },
        { "id", required_argument, NULL, ID },
        { "where", required_argument, NULL, WHERE },
        { "experts", required_argument, NULL, EXPERTS },
        { "general", required_argument, NULL, GENERAL },
        { "shrink", required_argument, NULL, SHRINK },
        { "max-bad", required_argument, NULL, MAX_BAD },
        { "out", required_argument, NULL, OUT },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
};

static int take_option(void *task, int option, const char *value)
{
        struct task *t = task;
        long n = 0;
        int r;

        switch (option) {
        case OUTCOMES: t->outcomes = value; break;
        case LABELS: t->labels.path = value; break;
        case LABEL: t->labels.label = t->labels.text = value; break;
        case ID: t->labels.id = value; break;
        case WHERE: return rows_where(&t->labels, value);
        case EXPERTS: t->experts = value; break;
        case GENERAL: t->general = value; break;
        case SHRINK: return argument_real("--shrink", value, 0, 1e6, &t->shrink);
        case MAX_BAD:
                r = argument_number("--max-bad", value, 0, LONG_MAX, &n);
                t->labels.max_bad = (size_t)n;
                return r;
        case OUT: t->out = value; break;
        default: return -EINVAL;
        }
        return 0;
}

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct task *t, int argc, char **argv)
{
        int r = arguments_each(argc, argv, long_options, HELP, help_text, take_option, t);

        if (r)
                return r;
        if (optind < argc) {
                (void)fprintf(stderr, "map: what is '%s'?\n", argv[optind]);
                return 3;
        }
        if (!t->outcomes || !t->labels.path || !t->labels.label || !t->out)
                return 1 + argument_missing("map", !t->outcomes ? "--outcomes" : !t->labels.path ? "--labels"
                                                   : !t->labels.label ? "--label" : "--out");
        return argument_output("--out", t->out, false);
}

struct standing {
        const char *expert;
        double score;
};

static int by_score(const void *a, const void *b)
{
        const struct standing *x = a, *y = b;

        if (x->score > y->score || x->score < y->score)
                return x->score > y->score ? -1 : 1;
        return strcmp(x->expert, y->expert);
}

/* Sums and numbers: [category][expert], the last category being all together. */
struct tally {
        double *sum, *n;
        size_t experts, categories;
        size_t matched;
};

static int count(const struct task *t, struct tally *y)
{
        size_t experts = t->table.n_experts, all = t->rows.n_labels;

        y->sum = calloc((all + 1) * experts, sizeof *y->sum);
        y->n = calloc((all + 1) * experts, sizeof *y->n);
        if (!y->sum || !y->n)
                return -ENOMEM;
        y->experts = experts;
        y->categories = all;
        for (size_t i = 0; i < t->rows.n; i++) {
                const float *row = outcomes_find(&t->table, t->rows.list[i].id);

                y->matched += row != NULL;
                for (size_t e = 0; row && e < experts; e++)
                        if (!isnan(row[e])) {
                                y->sum[t->rows.list[i].label * experts + e] += row[e];
                                y->n[t->rows.list[i].label * experts + e]++;
                                y->sum[all * experts + e] += row[e];
                                y->n[all * experts + e]++;
                        }
        }
        if (y->matched == 0) {
                (void)fprintf(stderr, "no id of %s is in %s: is --id %s the right field?\n", t->labels.path, t->outcomes, t->labels.id);
                return -EINVAL;
        }
        if (y->matched < t->rows.n)
                (void)fprintf(stderr, "%zu of %zu prompts have no outcomes, ignoring them\n", t->rows.n - y->matched, t->rows.n);
        for (size_t e = 0; e < experts; e++)
                if (y->n[all * experts + e] <= 0) {
                        (void)fprintf(stderr, "expert '%s' has no outcome on these prompts\n", t->table.experts[e]);
                        return -EINVAL;
                }
        return 0;
}

static void rank(const struct task *t, const struct tally *y, size_t category, struct standing *s)
{
        for (size_t e = 0; e < y->experts; e++) {
                size_t here = category * y->experts + e, all = y->categories * y->experts + e;
                double overall = y->sum[all] / y->n[all];

                s[e].expert = t->table.experts[e];
                s[e].score = category == y->categories ? overall : (y->sum[here] + t->shrink * overall) / (y->n[here] + t->shrink);
                if (y->n[here] + t->shrink <= 0)
                        s[e].score = overall;
        }
        qsort(s, y->experts, sizeof *s, by_score);
}

static int add_ranking(json_t *rankings, json_t *scores, const char *category, const struct standing *s, size_t n)
{
        json_t *names = json_array(), *values = json_object();

        for (size_t e = 0; e < n; e++) {
                json_array_append_new(names, json_string(s[e].expert));
                json_object_set_new(values, s[e].expert, json_real(s[e].score));
        }
        (void)printf("%-20s", category);
        for (size_t e = 0; e < n; e++)
                (void)printf("  %s %.3f", s[e].expert, s[e].score);
        (void)putchar('\n');
        return json_object_set_new(rankings, category, names) < 0 || json_object_set_new(scores, category, values) < 0 ? -ENOMEM : 0;
}

static int write_map(const struct task *t, const struct tally *y)
{
        CLEANUP(free_p) struct standing *s = calloc(y->experts, sizeof *s);
        json_t *rankings = json_object(), *scores = json_object(), *map;
        char digest[65];
        int r = s ? 0 : -ENOMEM;

        for (size_t c = 0; r == 0 && c <= y->categories; c++) {
                rank(t, y, c, s);
                r = add_ranking(rankings, scores, c < y->categories ? t->rows.labels[c] : t->general, s, y->experts);
        }
        rows_digest(&t->rows, digest);
        map = json_pack("{s:s, s:i, s:s, s:I, s:f, s:s, s:o, s:o}", "kind", "pointsman.map", "version", 1, "general", t->general,
                        "prompts", (json_int_t)y->matched, "shrink", t->shrink, "labels_sha256", digest, "rankings", rankings,
                        "scores", scores);
        if (r == 0 && (!map || json_dump_file(map, t->out, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) < 0)) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->out, ERRNO_TEXT(errno));
                r = -EIO;
        }
        json_decref(map);
        return r;
}

static int make_map(struct task *t)
{
        struct tally y = { 0 };
        int r = rows_read(&t->labels, &t->rows);

        for (size_t i = 0; r == 0 && i < t->rows.n_labels; i++)
                if (strcmp(t->rows.labels[i], t->general) == 0) {
                        (void)fprintf(stderr, "a category is called '%s': choose another name by --general\n", t->general);
                        r = -EINVAL;
                }
        if (r == 0)
                r = outcomes_read(t->outcomes, t->experts, &t->table);
        if (r == 0)
                r = count(t, &y);
        if (r == 0)
                r = write_map(t, &y);
        free(y.sum);
        free(y.n);
        return r;
}

int command_map(int argc, char **argv)
{
        struct task t = { .general = "general", .shrink = 20, .labels = { .id = "id", .max_bad = 100 } };
        int r = read_arguments(&t, argc, argv);

        if (r != 0)
                return r - 1;
        r = make_map(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "map: out of memory\n");
        outcomes_finish(&t.table);
        rows_finish(&t.rows);
        return r < 0;
}
