/* SPDX-License-Identifier: Apache-2.0 */
#include "score_table.h"

#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

#include "base.h"
#include "error.h"

struct score_table {
        struct score_table_parts parts;
        json_t *json; /* holds the names */
        const char **experts;
        struct score_row *rows;
};

static void score_table_p(struct score_table **t)
{
        score_table_destroy(*t);
}

void score_table_destroy(struct score_table *t)
{
        if (!t)
                return;
        for (size_t i = 0; t->rows && i < t->parts.n; i++) {
                free((void *)(uintptr_t)t->rows[i].ranking);
                free((void *)(uintptr_t)t->rows[i].score);
        }
        free(t->rows);
        free(t->experts);
        json_decref(t->json);
        free(t);
}

const struct score_table_parts *score_table_parts(const struct score_table *t)
{
        return &t->parts;
}

const struct score_row *score_table_row(const struct score_table *t, const char *category)
{
        for (size_t i = 0; i < t->parts.n; i++)
                if (strcmp(t->rows[i].category, category) == 0)
                        return &t->rows[i];
        return NULL;
}

/* Index of an expert, which is a new one if it was not there; SIZE_MAX: too many. */
static size_t expert_index(struct score_table *t, const char *name)
{
        size_t i = 0;

        while (i < t->parts.n_experts && strcmp(t->experts[i], name) != 0)
                i++;
        if (i == SCORE_TABLE_NAMES_MAX)
                return SIZE_MAX;
        if (i == t->parts.n_experts)
                t->experts[t->parts.n_experts++] = name;
        return i;
}

static int read_ranking(struct score_table *t, struct score_row *row, json_t *list, char *why, size_t why_size)
{
        size_t n = json_array_size(list), *ranking;

        if (!json_is_array(list) || n == 0 || n > SCORE_TABLE_EXPERTS_MAX)
                return set_error(why, why_size, "ranking of '%.200s' must be a list of 1 to %d names", row->category, SCORE_TABLE_EXPERTS_MAX);
        row->ranking = ranking = calloc(n, sizeof *ranking);
        if (!ranking)
                return -ENOMEM;
        for (; row->n < n; row->n++) {
                const char *name = json_string_value(json_array_get(list, row->n));

                if (!name)
                        return set_error(why, why_size, "ranking of '%.200s': item %zu is not a name", row->category, row->n);
                ranking[row->n] = expert_index(t, name);
                if (ranking[row->n] == SIZE_MAX)
                        return set_error(why, why_size, "more than %d experts", SCORE_TABLE_NAMES_MAX);
                for (size_t i = 0; i < row->n; i++)
                        if (ranking[i] == ranking[row->n])
                                return set_error(why, why_size, "category '%.200s': expert '%.200s' is ranked twice", row->category, name);
        }
        return 0;
}

static int read_rankings(struct score_table *t, char *why, size_t why_size)
{
        json_t *rankings = json_object_get(t->json, "rankings"), *list;
        size_t n = json_object_size(rankings), names = 0;
        const char *category;
        int r = 0;

        if (!json_is_object(rankings) || n > SCORE_TABLE_CATEGORIES_MAX)
                return set_error(why, why_size, "'rankings' must be an object of at most %d lists", SCORE_TABLE_CATEGORIES_MAX);
        json_object_foreach(rankings, category, list)
                names += json_array_size(list);
        t->parts.rows = t->rows = calloc(n + 1, sizeof *t->rows);
        t->parts.experts = t->experts = calloc(MIN(names, (size_t)SCORE_TABLE_NAMES_MAX) + 1, sizeof *t->experts);
        if (!t->rows || !t->experts)
                return -ENOMEM;
        json_object_foreach(rankings, category, list) {
                struct score_row *row = &t->rows[t->parts.n++];

                row->category = category;
                r = read_ranking(t, row, list, why, why_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Of experts that a category ranks; others' are not looked at.  Sets scores to whether all of them are there. */
static int read_scores_of(struct score_table *t, struct score_row *row, json_t *scores, char *why, size_t why_size)
{
        float *score;

        if (!json_is_object(scores))
                return set_error(why, why_size, "scores of '%.200s' must be an object of numbers", row->category);
        row->score = score = calloc(t->parts.n_experts + 1, sizeof *score);
        if (!score)
                return -ENOMEM;
        for (size_t i = 0; i < t->parts.n_experts; i++)
                score[i] = NAN;
        for (size_t i = 0; i < row->n; i++) {
                const char *name = t->experts[row->ranking[i]];
                json_t *value = json_object_get(scores, name);

                if (!value || json_is_null(value)) {
                        t->parts.scores = false;
                        continue;
                }
                if (!json_is_number(value) || !(json_number_value(value) >= 0 && json_number_value(value) <= 1))
                        return set_error(why, why_size, "score of '%.200s' in '%.200s' is not a number in 0..1", name, row->category);
                score[row->ranking[i]] = (float)json_number_value(value);
        }
        return 0;
}

static int read_scores(struct score_table *t, char *why, size_t why_size)
{
        json_t *scores = json_object_get(t->json, "scores");

        if (!scores)
                return 0;
        if (!json_is_object(scores))
                return set_error(why, why_size, "'scores' must be an object of objects");
        t->parts.scores = t->parts.n > 0;
        for (size_t i = 0; i < t->parts.n; i++) {
                json_t *its = json_object_get(scores, t->rows[i].category);
                int r = its ? read_scores_of(t, &t->rows[i], its, why, why_size) : 0;

                if (!its)
                        t->parts.scores = false;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_doubt(json_t *doubt, const char *key, double max, double *ret, char *why, size_t why_size)
{
        json_t *value = json_object_get(doubt, key);

        *ret = NAN;
        if (!value || json_is_null(value))
                return 0;
        if (!json_is_number(value) || !(json_number_value(value) >= 0 && json_number_value(value) <= max))
                return set_error(why, why_size, "'%s' of 'unsure' is not a number in 0..%g", key, max);
        *ret = json_number_value(value);
        return 0;
}

static int read_rest(struct score_table *t, char *why, size_t why_size)
{
        json_t *general = json_object_get(t->json, "general"), *doubt = json_object_get(t->json, "unsure");
        int r;

        if ((general && !json_is_string(general)) || (doubt && !json_is_object(doubt)))
                return set_error(why, why_size, "'%s' must be %s", general && !json_is_string(general) ? "general" : "unsure",
                                 general && !json_is_string(general) ? "a name" : "an object of numbers");
        t->parts.general = general ? json_string_value(general) : SCORE_TABLE_GENERAL;
        t->parts.composed = json_object_get(t->json, "composition") != NULL;
        r = read_doubt(doubt, "confidence", 1, &t->parts.doubt.confidence, why, why_size);
        if (r == 0)
                r = read_doubt(doubt, "entropy", 1, &t->parts.doubt.entropy, why, why_size);
        if (r == 0)
                r = read_doubt(doubt, "margin", 1, &t->parts.doubt.margin, why, why_size);
        return r;
}

static int load(const char *path, struct score_table *t, char *why, size_t why_size)
{
        const char *kind;
        json_error_t e;
        struct stat st;
        int r;

        if (stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > SCORE_TABLE_BYTES_MAX))
                return set_error(why, why_size, "must be a file of at most %d MiB", SCORE_TABLE_BYTES_MAX >> 20);
        errno = 0;
        t->json = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
        if (!t->json && json_lacked_memory())
                return set_error(why, why_size, "out of memory");
        if (!t->json)
                return set_error(why, why_size, "%s (line %d, column %d)", e.text, e.line, e.column);
        kind = json_string_value(json_object_get(t->json, "kind"));
        if (!kind || strcmp(kind, "pointsman.map") != 0 || json_integer_value(json_object_get(t->json, "version")) != 1)
                return set_error(why, why_size, "kind is '%.40s', wanted 'pointsman.map' of version 1 (pointsman-train map writes it)", kind ? kind : "");
        r = read_rankings(t, why, why_size);
        if (r == 0)
                r = read_scores(t, why, why_size);
        return r < 0 ? r : read_rest(t, why, why_size);
}

int score_table_open(const char *path, struct score_table **ret, char *why, size_t why_size)
{
        CLEANUP(score_table_p) struct score_table *t = calloc(1, sizeof *t);
        int r;

        why[0] = '\0';
        if (!t)
                return -ENOMEM;
        r = load(path, t, why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}
