/* SPDX-License-Identifier: Apache-2.0 */
/*
 * category - the expert that is best at what a prompt is about.
 *
 * Two steps, after Composition of Experts (Jain et al., 2024): a classifier says how likely each category is, and a table how well each
 * expert does on it.  The expert with the best expected score is taken, less what it costs (choice.h); when the classifier is not sure enough,
 * the score is more and more that of `general`, the category of all other prompts (posterior.h).  A table without scores, or one that keeps to a
 * budget, is followed as it ranks: the best of the likeliest category, or of general.  Experts that are down or not for this tenant are passed
 * over; those behind the chosen one are the fallbacks.
 *
 *         by_category: { plugin: category, model: models/mmlupro-category.safetensors, map: models/mmlupro-map.json }
 *
 * or, without a map file, the table in place:   experts: { math: { ranking: [big, small] }, general: { ranking: [small] } }
 *
 * A second model may say what is wanted, beside what it is about (task_model).  Its task stands behind the category, and rankings may have rows
 * for both:   experts: { coding: { ranking: [coder] }, "coding/translate": { ranking: [linguist] }, general: { ranking: [small] } }
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "category_parts.h"
#include "posterior.h"

#define INLINE_MAX 8192             /* bytes of text that are classified on the loop: about a tenth of a millisecond */
#define INLINE_DENSE_MAX 4096       /* the same where a vector is made, too */

static const struct pm_option ranking_options[] = {
        PM_KEY_OPTION(struct inline_ranking, category),
        PM_STRS_OPTION(struct inline_ranking, ranking, "ranking", PM_REQUIRED, 1, EXPERTS_MAX, "experts, best first"),
        PM_END_OPTION
};

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct category, model, "model", PM_REQUIRED, NULL, "category model (safetensors) of pointsman-train"),
        PM_PATH_OPTION(struct category, task_model, "task_model", 0, NULL,
                       "a second category model, of tasks: where it is sure, the category is CATEGORY/TASK, and a ranking of that name is followed if there is one"),
        PM_PATH_OPTION(struct category, encoder_folder, "encoder", 0, NULL,
                       "folder of the static encoder that the model was trained with, if it uses vectors"),
        PM_PATH_OPTION(struct category, map, "map", 0, NULL, "scores and rankings of experts (JSON) of pointsman-train map"),
        PM_TABLES_OPTION(struct category, experts, struct inline_ranking, "experts", 0, 0, 1024, ranking_options,
                         "rankings instead of a map file, one per category"),
        PM_CHOICE_OPTION(struct category, by, "by", "either", "either|scores|rankings",
                         "what decides: the expected score over all categories, or the ranking of the likeliest one; either: scores, where the map has "
                         "them and was not made under conditions"),
        PM_REAL_OPTION(struct category, threshold, "threshold", "-1", -1, 1,
                       "minimum confidence; below it the category is 'general'; -1: the map's own threshold, else the model's"),
        PM_REAL_OPTION(struct category, entropy, "max_entropy", "-1", -1, 1,
                       "maximum entropy of the categories' probabilities, 1 being all alike; above it the category is 'general'; -1: the map's, else none"),
        PM_REAL_OPTION(struct category, margin, "min_margin", "-1", -1, 1,
                       "minimum lead of the likeliest category over the second; below it the category is 'general'; -1: the map's, else none"),
        PREFERENCES_OPTIONS(struct category, preferences),
        PM_STR_OPTION(struct category, general, "general", 0, "general", "name of the category for all other prompts"),
        PM_SIZE_OPTION(struct category, max_text, "max_text", "0", 0, 1048576,
                       "bytes of a prompt that are read, half from its beginning and half from its end, at least 64; 0: as the model was trained"),
        PM_SIZE_OPTION(struct category, short_text, "short_text", "40", 0, 65536,
                       "a last message of the user with fewer bytes is read with the user's messages before it, as of 'and why?'"),
        PM_END_OPTION
};

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

static int attach(struct category *c, const struct pm_open *o, struct classifier *model)
{
        char why[256];

        if (!model || !classifier_parts(model)->dim || classifier_attach(model, c->encoder, why, sizeof why) == 0)
                return 0;
        return o->refuse(o, "encoder '%s': %s", c->encoder_folder, why);
}

static int load_encoder(struct category *c, const struct pm_open *o)
{
        size_t dim = classifier_parts(c->classifier)->dim, of_tasks = c->tasks ? classifier_parts(c->tasks)->dim : 0;
        const char *model = dim ? c->model : c->task_model;
        char why[256];
        int r;

        c->inline_max = (dim || of_tasks ? INLINE_DENSE_MAX : INLINE_MAX) / (c->tasks ? 2 : 1);
        if (!c->encoder_folder && (dim || of_tasks))
                return o->refuse(o, "model '%s' looks at vectors of %zu dimensions: 'encoder' must name the encoder's folder", model, dim ? dim : of_tasks);
        if (!c->encoder_folder)
                return 0;
        if (!dim && !of_tasks)
                return o->refuse(o, "encoder '%s' is not used: model '%s' was trained without one", c->encoder_folder, c->model);
        r = encoder_open(c->encoder_folder, &c->encoder, why, sizeof why);
        if (r < 0)
                return o->refuse(o, "encoder '%s': %s", c->encoder_folder, why[0] ? why : "out of memory");
        r = attach(c, o, c->classifier);
        return r < 0 ? r : attach(c, o, c->tasks);
}

static int load(struct category *c, const struct pm_open *o)
{
        char why[256];
        int r = classifier_open(c->model, &c->classifier, why, sizeof why);

        if (r < 0)
                return o->refuse(o, "model '%s': %s", c->model, why[0] ? why : "out of memory");
        r = c->task_model ? classifier_open(c->task_model, &c->tasks, why, sizeof why) : 0;
        if (r < 0)
                return o->refuse(o, "task_model '%s': %s", c->task_model, why[0] ? why : "out of memory");
        r = load_encoder(c, o);
        if (r < 0)
                return r;
        if (!c->map == (c->experts.n == 0))
                return o->refuse(o, "either 'map' or 'experts' must say which experts are good at which category");
        if (c->max_text > 0 && c->max_text < 64)
                return o->refuse(o, "max_text: %lld bytes are too few: 0, or from 64", (long long)c->max_text);
        return category_rankings(c, o);
}

static void closed(void *self)
{
        struct category *c = self;

        for (size_t i = 0; c->rankings && i <= classifier_parts(c->classifier)->categories; i++)
                free(c->rankings[i].expert);
        free(TAKE(c->rankings));
        for (size_t i = 0; c->pairs && i < c->n_pairs; i++) {
                free(c->pairs[i].expert);
                free((void *)(uintptr_t)c->pairs[i].category);
        }
        free(TAKE(c->pairs));
        free(TAKE(c->scores));
        free((void *)(uintptr_t)TAKE(c->candidates.name));
        score_table_destroy(TAKE(c->table));
        classifier_destroy(TAKE(c->classifier));
        classifier_destroy(TAKE(c->tasks));
        encoder_destroy(TAKE(c->encoder));
}

static int opened(void *self, const struct pm_open *o)
{
        int r = load(self, o);

        if (r < 0)
                closed(self); /* once more does no harm */
        return r;
}

/* ---- routing ------------------------------------------------------------------------------------------------------------ */

static bool usable(const struct pm_query *q, const char *expert)
{
        for (size_t i = 0; i < q->n_experts; i++)
                if (strcmp(q->experts[i]->name, expert) == 0)
                        return true;
        return false;
}

/* What is known of a prompt; also the job of a pool thread, which sees nothing else. */
struct category_look {
        const struct category *router;
        struct pm_str text;
        size_t max_text;
        struct verdict verdict, task;
        double doubt;    /* 0: sure */
        float *expected; /* [candidates.n]; NULL: rankings decide */
};

static void look(void *arg)
{
        struct category_look *l = arg;
        const struct category *c = l->router;
        size_t categories = classifier_parts(c->classifier)->categories;
        float p[CLASSIFIER_CATEGORIES_MAX + 1];

        if (c->tasks)
                classifier_decide(c->tasks, l->text.p, l->text.n, l->max_text, &l->task);
        if (!l->expected && isnan(c->doubt.entropy) && isnan(c->doubt.margin)) { /* who is second does not matter */
                classifier_decide(c->classifier, l->text.p, l->text.n, l->max_text, &l->verdict);
                l->doubt = posterior_doubt(&c->doubt, p, 0, l->verdict.confidence);
                return;
        }
        (void)posterior_of(c->classifier, l->text.p, l->text.n, l->max_text, p, &l->verdict);
        l->doubt = posterior_doubt(&c->doubt, p, categories, l->verdict.confidence);
        if (l->expected)
                posterior_expect(p, l->doubt, c->scores, categories, c->candidates.n, l->expected);
}

/* Which category it is, for people. */
static void say_category(const struct category_look *l, char *buf, size_t room)
{
        const struct category *c = l->router;
        const char *label = c->rankings[l->verdict.category].category;

        if (!(l->doubt > 0))
                (void)snprintf(buf, room, "category %s (%.2f)", label, l->verdict.confidence);
        else if (!(l->verdict.confidence > 0))
                (void)snprintf(buf, room, "category %s: no text", c->general);
        else if (l->verdict.confidence < c->threshold)
                (void)snprintf(buf, room, "category %s: %s is not sure (%.2f, below %.2f)", c->general, label, l->verdict.confidence, c->threshold);
        else
                (void)snprintf(buf, room, "category %s: %s is not sure (%.2f, but others are near)", c->general, label, l->verdict.confidence);
}

static bool task_is_sure(const struct category_look *l)
{
        const struct classifier *tasks = l->router->tasks;

        return tasks && l->task.confidence > 0 && l->task.confidence >= classifier_parts(tasks)->threshold;
}

/* Of the category, or of general; with the task, where that is sure.  Rankings of pairs may be empty. */
static const struct ranking *ranking_of(const struct category_look *l, bool with_task)
{
        const struct category *c = l->router;
        size_t i = l->doubt > 0 ? classifier_parts(c->classifier)->categories : l->verdict.category;

        return with_task ? &c->pairs[i * classifier_parts(c->tasks)->categories + l->task.category] : &c->rankings[i];
}

static const char *category_of(const struct category_look *l)
{
        return ranking_of(l, task_is_sure(l))->category;
}

static void say_task(const struct category_look *l, char *buf, size_t room)
{
        size_t used = strlen(buf);

        if (task_is_sure(l))
                (void)snprintf(buf + used, room - used, ", task %s (%.2f)", classifier_parts(l->router->tasks)->labels[l->task.category], l->task.confidence);
}

static pm_step follow_ranking(struct pm_query *q, const struct category_look *l)
{
        const struct category *c = l->router;
        size_t general = classifier_parts(c->classifier)->categories, i = 0;
        const struct ranking *r = ranking_of(l, task_is_sure(l));
        char reason[512];

        if (r->n == 0)
                r = ranking_of(l, false);
        if (r->n == 0)
                r = &c->rankings[general]; /* a category that the table does not rank */
        while (i < r->n && !usable(q, r->expert[i]))
                i++;
        if (i == r->n)
                return pm_pass(q);
        say_category(l, reason, sizeof reason);
        say_task(l, reason, sizeof reason);
        return pm_decide(q, .expert = r->expert[i], .fallbacks = r->expert + i + 1, .category = category_of(l), .confidence = l->verdict.confidence,
                         .reason = reason, .unsure = l->doubt > 0);
}

static void explain(struct pm_query *q, const struct category_look *l, const struct choice *choice)
{
        json_t *o = json_pack("{s:s, s:f, s:f, s:o}", "likeliest", l->router->rankings[l->verdict.category].category, "confidence", l->verdict.confidence,
                              "doubt", l->doubt, "experts", choice_explained(choice));
        char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

        if (text)
                pm_explain(q, text);
        free(text);
        json_decref(o);
}

static pm_step decide(struct pm_query *q, const struct category_look *l)
{
        struct choice choice;
        char reason[512];

        if (!l->expected)
                return follow_ranking(q, l);
        choice_make(q, &l->router->preferences, &l->router->candidates, l->expected, &choice);
        if (choice.n == 0)
                return pm_pass(q);
        say_category(l, reason, sizeof reason);
        say_task(l, reason, sizeof reason);
        choice_reason(&choice, reason, sizeof reason);
        if (q->explain)
                explain(q, l, &choice);
        return pm_decide(q, .expert = choice.name[0], .fallbacks = choice.name + 1, .category = category_of(l), .confidence = l->verdict.confidence,
                         .reason = reason, .unsure = l->doubt > 0);
}

static pm_step looked(void *self, struct pm_query *q)
{
        const struct category_look *l = q->state;

        (void)self;
        if (q->status < 0)
                return pm_fail(q, "could not classify a prompt of %zu bytes in the pool (%d)", l->text.n, q->status);
        return decide(q, l);
}

static bool is_users(const struct pm_message *m)
{
        return m->role.n == 4 && memcmp(m->role.p, "user", 4) == 0;
}

/* What is to be classified: the last message of the user, after those before it where it is too short to say what it is about. */
static struct pm_str text_of(const struct category *c, struct pm_query *q)
{
        size_t enough = (size_t)c->short_text, first = q->n_messages, n = 0;
        char *joined, *at;

        if (q->text.n >= enough || q->n_messages < 2)
                return q->text;
        for (size_t i = q->n_messages; i-- > 0 && n < enough;)
                if (is_users(q->messages[i])) {
                        n += q->messages[i]->text.n + 1;
                        first = i;
                }
        joined = at = n > q->text.n + 1 ? q->host->alloc(q, n) : NULL;
        if (!joined)
                return q->text;
        for (size_t i = first; i < q->n_messages; i++) {
                const struct pm_str *text = &q->messages[i]->text;

                if (!is_users(q->messages[i]))
                        continue;
                if (text->n > 0)
                        memcpy(at, text->p, text->n);
                at += text->n;
                *at++ = '\n';
        }
        return (struct pm_str){ joined, (size_t)(at - joined) - 1 };
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct category *c = self;
        size_t max_text = c->max_text ? (size_t)c->max_text : classifier_parts(c->classifier)->text_max;
        float expected[EXPERTS_MAX];
        struct category_look here = { .router = c, .text = text_of(c, q), .max_text = max_text, .expected = c->scores ? expected : NULL }, *l;

        if (MIN(here.text.n, max_text) <= c->inline_max) {
                look(&here);
                return decide(q, &here);
        }
        l = q->state = q->host->alloc(q, sizeof *l + sizeof expected);
        if (!l)
                return pm_fail(q, "out of memory for a prompt of %zu bytes", q->text.n);
        *l = here;
        l->expected = c->scores ? (float *)(l + 1) : NULL;
        return pm_offload(q, look, l, looked);
}

PM_ROUTER(.name = "category", .version = "1", .summary = "routes by topic: classifies the prompt and takes the expert with the best expected score",
          .self_size = sizeof(struct category), .options = options, .open = opened, .close = closed, .route = route, .reads = PM_READS_TEXT | PM_READS_MESSAGES | PM_READS_HEADERS)
