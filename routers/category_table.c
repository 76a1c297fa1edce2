/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base.h"
#include "category_parts.h"

static bool configured(const struct pm_open *o, const char *expert)
{
        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], expert) == 0)
                        return true;
        return false;
}

/* Keeps the configured ones of names[0..n) as the ranking of a category. */
static int keep(const struct pm_open *o, const char *category, const char *const *names, size_t n, struct ranking *ret)
{
        *ret = (struct ranking){ category, calloc(n + 1, sizeof *ret->expert), 0 };
        if (!ret->expert)
                return o->refuse(o, "out of memory");
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < ret->n; k++)
                        if (strcmp(ret->expert[k], names[i]) == 0)
                                return o->refuse(o, "category '%s': expert '%s' is ranked twice", category, names[i]);
                if (configured(o, names[i]))
                        ret->expert[ret->n++] = names[i];
        }
        return 0;
}

/* Experts of the map that are not configured: said once, for a misspelt name would be silent otherwise. */
struct strangers {
        const char *name[EXPERTS_MAX];
        size_t n;
};

static void note_strangers(const struct pm_open *o, const char *const *names, size_t n, struct strangers *s)
{
        for (size_t i = 0; i < n; i++) {
                size_t k = 0;

                while (k < s->n && strcmp(s->name[k], names[i]) != 0)
                        k++;
                if (k == s->n && s->n < EXPERTS_MAX && !configured(o, names[i]))
                        s->name[s->n++] = names[i];
        }
}

/* Names for a message: "a, b, c", cut where the room ends. */
static const char *listed(const char *const *names, size_t n, char *buf, size_t room)
{
        size_t used = 0;

        buf[0] = '\0';
        for (size_t i = 0; i < n && used < room; i++)
                used += (size_t)snprintf(buf + used, room - used, "%s%s", i ? ", " : "", names[i]);
        return buf;
}

/* The names ranked for a category in the map or in `experts:`; returns how many, 0 if it is not there. */
static size_t names_of(const struct category *c, const char *category, const char **names)
{
        const struct inline_ranking *table = c->experts.items;
        const struct score_row *row = c->table ? score_table_row(c->table, category) : NULL;
        size_t n = 0;

        for (size_t i = 0; i < c->experts.n; i++)
                if (strcmp(table[i].category, category) == 0) {
                        for (size_t k = 0; k < table[i].ranking.n && k < EXPERTS_MAX; k++)
                                names[n++] = table[i].ranking.items[k];
                        return n;
                }
        for (; row && n < row->n; n++)
                names[n] = score_table_parts(c->table)->experts[row->ranking[n]];
        return n;
}

/* A category of the table that the model does not have would never be used: probably misspelt, or another model's map. */
static int check_category(const struct category *c, const struct pm_open *o, const char *category)
{
        for (size_t i = 0; i < c->n_rankings; i++)
                if (strcmp(c->rankings[i].category, category) == 0)
                        return 0;
        for (size_t i = 0; i < c->n_pairs; i++)
                if (strcmp(c->pairs[i].category, category) == 0)
                        return 0;
        if (c->tasks)
                return o->refuse(o, "'%s' ranks experts for category '%s': model '%s' has no such category, nor are there such a one and a task of '%s'",
                                 c->map ? c->map : "experts", category, c->model, c->task_model);
        return o->refuse(o, "'%s' ranks experts for category '%s', which model '%s' does not have",
                         c->map ? c->map : "experts", category, c->model);
}

static int check_categories(const struct category *c, const struct pm_open *o)
{
        const struct inline_ranking *table = c->experts.items;
        const struct score_table_parts *p = c->table ? score_table_parts(c->table) : NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && p && i < p->n; i++)
                r = check_category(c, o, p->rows[i].category);
        for (size_t i = 0; r == 0 && i < c->experts.n; i++)
                r = check_category(c, o, table[i].category);
        return r;
}

/* A ranking for each category and task.  Most are empty: the table has only those rows where the task makes a difference. */
static int fill_pairs(struct category *c, const struct pm_open *o, struct strangers *strangers)
{
        const struct classifier_parts *tasks = classifier_parts(c->tasks);
        const char *names[EXPERTS_MAX];
        int r = 0;

        c->pairs = calloc(c->n_rankings * tasks->categories, sizeof *c->pairs);
        if (!c->pairs)
                return o->refuse(o, "out of memory");
        for (; r == 0 && c->n_pairs < c->n_rankings * tasks->categories; c->n_pairs++) {
                const char *category = c->rankings[c->n_pairs / tasks->categories].category, *task = tasks->labels[c->n_pairs % tasks->categories];
                size_t room = strlen(category) + strlen(task) + 2, n;
                char *name = malloc(room);

                if (!name)
                        return o->refuse(o, "out of memory");
                (void)snprintf(name, room, "%s/%s", category, task);
                c->pairs[c->n_pairs].category = name;
                n = names_of(c, name, names);
                r = keep(o, name, names, n, &c->pairs[c->n_pairs]);
                note_strangers(o, names, n, strangers);
        }
        return r;
}

static int fill_rankings(struct category *c, const struct pm_open *o)
{
        const struct classifier_parts *p = classifier_parts(c->classifier);
        const char *names[EXPERTS_MAX];
        struct strangers strangers = { .n = 0 };
        char text[512];
        size_t n;
        int r;

        c->rankings = calloc(p->categories + 1, sizeof *c->rankings);
        if (!c->rankings)
                return o->refuse(o, "out of memory");
        for (c->n_rankings = 0; c->n_rankings <= p->categories; c->n_rankings++) {
                const char *category = c->n_rankings < p->categories ? p->labels[c->n_rankings] : c->general;

                n = names_of(c, category, names);
                r = keep(o, category, names, n, &c->rankings[c->n_rankings]);
                if (r < 0)
                        return r;
                note_strangers(o, names, n, &strangers);
        }
        r = c->tasks ? fill_pairs(c, o, &strangers) : 0;
        if (r == 0)
                r = check_categories(c, o);
        if (r < 0)
                return r;
        if (strangers.n > 0)
                o->log(o, PM_WARN, "%s ranks experts that are not configured, passing them over: %s", c->map ? c->map : "experts",
                       listed(strangers.name, strangers.n, text, sizeof text));
        if (c->rankings[p->categories].n == 0)
                return o->refuse(o, "%s ranks %zu experts for category '%s' and none of them is configured; configured are: %s",
                                 c->map ? c->map : "experts", n, c->general, listed(o->experts, o->n_experts, text, sizeof text));
        return 0;
}

/* ---- scores -------------------------------------------------------------------------------------------------------------- */

static bool among(const char *const *names, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* All that are ranked anywhere and configured, in the order of general's ranking; others behind them. */
static int list_candidates(struct category *c, const struct pm_open *o)
{
        const struct ranking *general = &c->rankings[classifier_parts(c->classifier)->categories];
        const char **name = calloc(MIN(o->n_experts, (size_t)EXPERTS_MAX) + 1, sizeof *name);
        size_t n = 0;

        c->candidates.name = name;
        if (!name)
                return o->refuse(o, "out of memory");
        for (size_t i = 0; i < c->n_rankings; i++) {
                const struct ranking *r = i == 0 ? general : &c->rankings[i - 1];

                for (size_t k = 0; k < r->n; k++)
                        if (n < EXPERTS_MAX && !among(name, n, r->expert[k]))
                                name[n++] = r->expert[k];
        }
        c->candidates.n = n;
        return 0;
}

/* An expert's score in a category, else in general, else NAN. */
static float score_of(const struct category *c, const char *category, const char *expert)
{
        const struct score_table_parts *p = score_table_parts(c->table);
        const struct score_row *row = score_table_row(c->table, category), *general = score_table_row(c->table, c->general);
        size_t k = 0;

        while (strcmp(p->experts[k], expert) != 0) /* it came from there */
                k++;
        if (row && !isnan(row->score[k]))
                return row->score[k];
        return general ? general->score[k] : NAN;
}

/* Of whom nothing is known in a category, nor in general, it is expected to be as bad as the worst there. */
static void fill_row(const struct category *c, const char *category, float *row)
{
        float worst = 1;

        for (size_t k = 0; k < c->candidates.n; k++) {
                row[k] = score_of(c, category, c->candidates.name[k]);
                worst = isnan(row[k]) ? worst : MIN(worst, row[k]);
        }
        for (size_t k = 0; k < c->candidates.n; k++)
                row[k] = isnan(row[k]) ? worst : row[k];
}

static int fill_scores(struct category *c, const struct pm_open *o)
{
        size_t categories = classifier_parts(c->classifier)->categories;
        int r = list_candidates(c, o);

        if (r < 0)
                return r;
        c->scores = calloc((categories + 1) * (c->candidates.n + 1), sizeof *c->scores);
        if (!c->scores)
                return o->refuse(o, "out of memory");
        for (size_t i = 0; i <= categories; i++)
                fill_row(c, c->rankings[i].category, c->scores + i * c->candidates.n);
        return 0;
}

static void take_doubt(struct category *c)
{
        struct score_table_doubt none = { NAN, NAN, NAN }, tuned = c->table ? score_table_parts(c->table)->doubt : none;

        c->doubt.confidence = c->threshold >= 0 ? c->threshold : isnan(tuned.confidence) ? classifier_parts(c->classifier)->threshold : tuned.confidence;
        c->doubt.entropy = c->entropy >= 0 ? c->entropy : tuned.entropy;
        c->doubt.margin = c->margin >= 0 ? c->margin : tuned.margin;
        c->threshold = c->doubt.confidence;
}

int category_rankings(struct category *c, const struct pm_open *o)
{
        char why[512] = "";
        bool scores;
        int r = c->map ? score_table_open(c->map, &c->table, why, sizeof why) : 0;

        if (r < 0)
                return o->refuse(o, "map '%s': %s", c->map, why[0] ? why : "out of memory");
        r = fill_rankings(c, o);
        if (r < 0)
                return r;
        scores = c->table && score_table_parts(c->table)->scores;
        if (c->by == CATEGORY_BY_SCORES && !scores)
                return o->refuse(o, "by: %s has no scores, only rankings", c->map ? c->map : "experts");
        if (c->by == CATEGORY_BY_EITHER)
                scores = scores && !score_table_parts(c->table)->composed;
        if (c->by == CATEGORY_BY_RANKINGS)
                scores = false;
        take_doubt(c);
        if (!scores && (c->preferences.weights.lambda > 0 || c->preferences.weights.mu > 0 || c->preferences.weights.nu > 0 || c->preferences.tiers.n > 0))
                return o->refuse(o, "lambda, mu, nu and tiers are weighed against scores, and here rankings decide");
        r = preferences_check(&c->preferences, o);
        return r < 0 || !scores ? r : fill_scores(c, o);
}
