/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train map: which expert is best at which category, from recorded outcomes.
 *
 * An expert's score for a category is its mean outcome there, drawn toward its overall mean as if `shrink` prompts of overall
 * quality had been seen as well: few prompts move a ranking little.  The whole ranking is kept, so that the next best expert can
 * stand in for one that is down.  Under conditions (map_budget.h) the rankings have loaded experts only, the chosen one first.
 */
#include <jansson.h>
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "jsonl.h"
#include "map_budget.h"
#include "outcomes.h"

struct map_task {
        struct jsonl_source labels;
        const char *outcomes, *experts, *general, *out;
        double shrink;
        struct map_budget budget;
        struct jsonl_rows rows;
        struct outcomes table;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct map_task, outcomes, "outcomes", "FILE", PM_REQUIRED, NULL, OUTCOMES_HELP),
        ARGUMENT_TEXT(struct map_task, labels.path, "labels", "FILE", PM_REQUIRED, NULL,
                      "the prompts' categories, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct map_task, labels.label, "label", "FIELD", PM_REQUIRED, NULL, "the category"),
        ARGUMENT_TEXT(struct map_task, labels.id, "id", "FIELD", 0, "id", "what joins both files"),
        JSONL_ARGUMENT_WHERE(struct map_task, labels),
        ARGUMENT_TEXT(struct map_task, experts, "experts", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),
        ARGUMENT_TEXT(struct map_task, general, "general", "NAME", 0, "general", "the category for prompts of no category"),
        ARGUMENT_REAL(struct map_task, shrink, "shrink", "20", 0, 1e6, "prompts of overall quality that every category begins "
                      "with"),
        JSONL_ARGUMENT_MAX_BAD(struct map_task, labels.max_bad, "100"),
        ARGUMENT_OUTPUT(struct map_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_WRITTEN,
                        "JSON: a ranking for each category"),
        MAP_BUDGET_ARGUMENTS(struct map_task, budget),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "map", .table = table };

struct standing {
        const char *expert;
        double score;
        bool chosen;
};

static int by_score(const void *a, const void *b)
{
        const struct standing *x = a, *y = b;

        if (x->chosen != y->chosen)
                return x->chosen ? -1 : 1;
        if (x->score > y->score || x->score < y->score)
                return x->score > y->score ? -1 : 1;
        return strcmp(x->expert, y->expert);
}

/* Sums and numbers: [category][expert], the last category being all together. */
struct map_counts {
        double *sum, *n;
        size_t experts, categories;
        size_t matched;
};

static int count(const struct map_task *t, struct map_counts *y)
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

static double score_of(const struct map_task *t, const struct map_counts *y, size_t category, size_t e)
{
        size_t here = category * y->experts + e, all = y->categories * y->experts + e;
        double overall = y->sum[all] / y->n[all];

        if (category == y->categories || y->n[here] + t->shrink <= 0)
                return overall;
        return (y->sum[here] + t->shrink * overall) / (y->n[here] + t->shrink);
}

/* Those of a category, best first; `under`: of a map under conditions, or NULL.  Returns how many there are. */
static size_t rank(const struct map_task *t, const struct map_counts *y, size_t category, const struct programme_answer *under, struct standing *s)
{
        size_t n = 0;

        for (size_t e = 0; e < y->experts; e++)
                if (!under || under->loaded[e])
                        s[n++] = (struct standing){ t->table.experts[e], score_of(t, y, category, e), under && under->chosen[category] == e };
        qsort(s, n, sizeof *s, by_score);
        return n;
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

static const char *category_name(const struct map_task *t, size_t category)
{
        return category < t->rows.n_labels ? t->rows.labels[category] : t->general;
}

static int write_map(const struct map_task *t, const struct map_counts *y, const struct programme_answer *under, json_t *conditions)
{
        CLEANUP(free_p) struct standing *s = calloc(y->experts, sizeof *s);
        json_t *rankings = json_object(), *scores = json_object(), *map;
        char digest[65] = "";
        int r = s ? 0 : -ENOMEM;

        for (size_t c = 0; r == 0 && c <= y->categories; c++) {
                size_t n = rank(t, y, c, under, s);

                r = add_ranking(rankings, scores, category_name(t, c), s, n);
        }
        if (r == 0)
                r = jsonl_digest(&t->rows, digest);
        map = json_pack("{s:s, s:i, s:s, s:I, s:f, s:s, s:o, s:o}", "kind", "pointsman.map", "version", 1, "general",
                        t->general, "prompts", (json_int_t)y->matched, "shrink", t->shrink, "labels_sha256", digest,
                        "rankings", rankings, "scores", scores);
        if (conditions && json_object_set(map, "composition", conditions) < 0)
                r = -ENOMEM;
        if (r == 0 && (!map || json_dump_file(map, t->out, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) < 0)) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->out, ERRNO_TEXT(errno));
                r = -EIO;
        }
        json_decref(map);
        return r;
}

static int write_under_conditions(const struct map_task *t, const struct map_counts *y)
{
        size_t categories = y->categories + 1;
        CLEANUP(free_p) double *score = calloc(categories * y->experts, sizeof *score), *prompts = calloc(categories, sizeof *prompts);
        CLEANUP(free_p) const char **category = calloc(categories, sizeof *category);
        struct map_choice choice = { categories, y->experts, category, t->table.experts, score, prompts };
        struct programme_answer a = { 0 };
        json_t *conditions = NULL;
        int r = score && prompts && category ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < t->rows.n; i++)
                prompts[t->rows.list[i].label] += outcomes_find(&t->table, t->rows.list[i].id) != NULL;
        for (size_t c = 0; r == 0 && c < categories; c++) {
                category[c] = category_name(t, c);
                for (size_t e = 0; e < y->experts; e++)
                        score[c * y->experts + e] = score_of(t, y, c, e);
        }
        if (r == 0)
                r = map_budget_solve(&t->budget, &choice, &a);
        if (r < 0)
                return r;
        conditions = map_budget_tell(&t->budget, &choice, &a);
        r = conditions ? write_map(t, y, &a, conditions) : -ENOMEM;
        json_decref(conditions);
        programme_answer_finish(&a);
        return r;
}

static int make_map(struct map_task *t)
{
        struct map_counts y = { 0 };
        int r = jsonl_read(&t->labels, &t->rows);

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
                r = map_budget_wanted(&t->budget) ? write_under_conditions(t, &y) : write_map(t, &y, NULL, NULL);
        free(y.sum);
        free(y.n);
        return r;
}

int command_map(int argc, char **argv)
{
        struct map_task t = { .budget = MAP_BUDGET_NONE };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        t.labels.text = t.labels.label;
        r = make_map(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "map: out of memory\n");
        outcomes_finish(&t.table);
        jsonl_finish(&t.rows);
        return r < 0;
}
