/* SPDX-License-Identifier: Apache-2.0 */
/*
 * category - the expert that is best at what a prompt is about.
 *
 * Two steps, after Composition of Experts (Jain et al., 2024): a classifier says which category a prompt belongs to, and a table
 * says which experts are good at that category, best first.  When the classifier is not sure enough, the category is `general`,
 * whose ranking is the experts' overall one.  Experts that are down or not for this tenant are passed over in the ranking; those
 * behind the chosen one are the fallbacks.
 *
 *         by_category: { plugin: category, model: models/mmlupro-category.safetensors, map: models/mmlupro-map.json }
 *
 * or, without a map file, the table in place:   experts: { math: { ranking: [big, small] }, general: { ranking: [small] } }
 */
#include <jansson.h>
#include <sys/stat.h>

#include "base.h"
#include "classifier.h"
#include "encoder.h"
#include "pm_router.h"

#define MAP_MAX (4 << 20)           /* bytes of a map file */
#define EXPERTS_MAX 256             /* in one ranking */
#define INLINE_MAX 8192             /* bytes of text that are classified on the loop: about a tenth of a millisecond */
#define INLINE_DENSE_MAX 4096       /* the same where a vector is made, too */

struct ranking {
        const char *category;
        const char **expert; /* configured ones, best first, NULL at the end */
        size_t n;
};

/* One entry of `experts:`. */
struct inline_ranking {
        const char *category;
        struct pm_strs ranking;
};

struct category {
        const char *model, *encoder_folder, *map, *general;
        struct pm_tables experts;
        double threshold;
        int64_t max_text;

        struct classifier *classifier;
        struct encoder *encoder;     /* NULL: the model looks at features alone */
        size_t inline_max;           /* bytes of text that are classified on the loop */
        json_t *map_json;            /* holds the names of a map file */
        struct ranking *rankings;    /* one for each category of the model, then general */
        size_t n_rankings;
};

static const struct pm_option ranking_options[] = {
        PM_KEY_OPTION(struct inline_ranking, category),
        PM_STRS_OPTION(struct inline_ranking, ranking, "ranking", PM_REQUIRED, 1, EXPERTS_MAX, "experts, best first"),
        PM_END_OPTION
};

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct category, model, "model", PM_REQUIRED, NULL, "category model (safetensors) of pointsman-train"),
        PM_PATH_OPTION(struct category, encoder_folder, "encoder", 0, NULL,
                       "folder of the static encoder that the model was trained with, if it uses vectors"),
        PM_PATH_OPTION(struct category, map, "map", 0, NULL, "rankings of experts (JSON) of pointsman-train map"),
        PM_TABLES_OPTION(struct category, experts, struct inline_ranking, "experts", 0, 0, 1024, ranking_options,
                         "rankings instead of a map file, one per category"),
        PM_REAL_OPTION(struct category, threshold, "threshold", "-1", -1, 1,
                       "minimum confidence; below it the category is 'general'; -1: the model's own threshold"),
        PM_STR_OPTION(struct category, general, "general", 0, "general", "name of the category for all other prompts"),
        PM_SIZE_OPTION(struct category, max_text, "max_text", "0", 0, 1048576,
                       "bytes of a prompt that are read, half from its beginning and half from its end, at least 64; 0: as the model was trained"),
        PM_END_OPTION
};

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

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

static int read_map(struct category *c, const struct pm_open *o)
{
        const char *kind;
        json_error_t e;
        struct stat st;

        if (stat(c->map, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > MAP_MAX))
                return o->refuse(o, "map '%s' must be a file of at most %d MiB", c->map, MAP_MAX >> 20);
        c->map_json = json_load_file(c->map, JSON_REJECT_DUPLICATES, &e);
        if (!c->map_json)
                return o->refuse(o, "map '%s': %s (line %d, column %d)", c->map, e.text, e.line, e.column);
        kind = json_string_value(json_object_get(c->map_json, "kind"));
        if (!kind || strcmp(kind, "pointsman.map") != 0 || json_integer_value(json_object_get(c->map_json, "version")) != 1)
                return o->refuse(o, "map '%s': kind is '%.40s', wanted 'pointsman.map' of version 1 (pointsman-train map writes it)",
                                 c->map, kind ? kind : "");
        if (!json_is_object(json_object_get(c->map_json, "rankings")))
                return o->refuse(o, "map '%s': 'rankings' must be an object of lists", c->map);
        return 0;
}

/* The names ranked for a category in the map or in `experts:`; *ret_n 0 if it is not there. */
static int names_of(const struct category *c, const struct pm_open *o, const char *category, const char **names, size_t *ret_n)
{
        const struct inline_ranking *table = c->experts.items;
        json_t *list;

        *ret_n = 0;
        for (size_t i = 0; i < c->experts.n; i++)
                if (strcmp(table[i].category, category) == 0) {
                        for (size_t k = 0; k < table[i].ranking.n && k < EXPERTS_MAX; k++)
                                names[(*ret_n)++] = table[i].ranking.items[k];
                        return 0;
                }
        list = json_object_get(json_object_get(c->map_json, "rankings"), category);
        if (!list)
                return 0;
        if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > EXPERTS_MAX)
                return o->refuse(o, "map '%s': ranking of '%s' must be a list of 1 to %d names", c->map, category, EXPERTS_MAX);
        for (size_t i = 0; i < json_array_size(list); i++) {
                names[i] = json_string_value(json_array_get(list, i));
                if (!names[i])
                        return o->refuse(o, "map '%s': ranking of '%s': item %zu is not a name", c->map, category, i);
        }
        *ret_n = json_array_size(list);
        return 0;
}

/* A category of the table that the model does not have would never be used: probably misspelt, or another model's map. */
static int check_category(const struct category *c, const struct pm_open *o, const char *category)
{
        const struct classifier_parts *p = classifier_parts(c->classifier);

        if (strcmp(category, c->general) == 0)
                return 0;
        for (size_t i = 0; i < p->categories; i++)
                if (strcmp(p->labels[i], category) == 0)
                        return 0;
        return o->refuse(o, "'%s' ranks experts for category '%s', which model '%s' does not have",
                         c->map ? c->map : "experts", category, c->model);
}

static int check_categories(const struct category *c, const struct pm_open *o)
{
        const struct inline_ranking *table = c->experts.items;
        const char *category;
        json_t *list;
        int r = 0;

        json_object_foreach(json_object_get(c->map_json, "rankings"), category, list) {
                r = check_category(c, o, category);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; r == 0 && i < c->experts.n; i++)
                r = check_category(c, o, table[i].category);
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

                r = names_of(c, o, category, names, &n);
                if (r == 0)
                        r = keep(o, category, names, n, &c->rankings[c->n_rankings]);
                if (r < 0)
                        return r;
                note_strangers(o, names, n, &strangers);
        }
        if (strangers.n > 0)
                o->log(o, PM_WARN, "%s ranks experts that are not configured, passing them over: %s", c->map ? c->map : "experts",
                       listed(strangers.name, strangers.n, text, sizeof text));
        if (c->rankings[p->categories].n == 0)
                return o->refuse(o, "%s ranks %zu experts for category '%s' and none of them is configured; configured are: %s",
                                 c->map ? c->map : "experts", n, c->general, listed(o->experts, o->n_experts, text, sizeof text));
        return 0;
}

static int load_encoder(struct category *c, const struct pm_open *o)
{
        size_t dim = classifier_parts(c->classifier)->dim;
        char why[256];
        int r;

        c->inline_max = dim ? INLINE_DENSE_MAX : INLINE_MAX;
        if (!c->encoder_folder && dim)
                return o->refuse(o, "model '%s' looks at vectors of %zu dimensions: 'encoder' must name the encoder's folder", c->model, dim);
        if (!c->encoder_folder)
                return 0;
        if (!dim)
                return o->refuse(o, "encoder '%s' is for nothing: model '%s' was trained without one", c->encoder_folder, c->model);
        r = encoder_open(c->encoder_folder, &c->encoder, why, sizeof why);
        if (r == 0)
                r = classifier_attach(c->classifier, c->encoder, why, sizeof why);
        return r < 0 ? o->refuse(o, "encoder '%s': %s", c->encoder_folder, why[0] ? why : "out of memory") : 0;
}

static int load(struct category *c, const struct pm_open *o)
{
        char why[256];
        int r = classifier_open(c->model, &c->classifier, why, sizeof why);

        if (r < 0)
                return o->refuse(o, "model '%s': %s", c->model, why[0] ? why : "out of memory");
        r = load_encoder(c, o);
        if (r < 0)
                return r;
        if (!c->map == (c->experts.n == 0))
                return o->refuse(o, "either 'map' or 'experts' must say which experts are good at which category");
        if (c->max_text > 0 && c->max_text < 64)
                return o->refuse(o, "max_text: %lld bytes are too few: 0, or from 64", (long long)c->max_text);
        if (c->threshold < 0)
                c->threshold = classifier_parts(c->classifier)->threshold;
        if (c->map) {
                r = read_map(c, o);
                if (r < 0)
                        return r;
        }
        r = check_categories(c, o);
        return r < 0 ? r : fill_rankings(c, o);
}

static void closed(void *self)
{
        struct category *c = self;

        for (size_t i = 0; c->rankings && i <= classifier_parts(c->classifier)->categories; i++)
                free(c->rankings[i].expert);
        free(TAKE(c->rankings));
        json_decref(TAKE(c->map_json));
        classifier_destroy(TAKE(c->classifier));
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

static pm_step decide(const struct category *c, struct pm_query *q, const struct verdict *v)
{
        size_t general = classifier_parts(c->classifier)->categories;
        bool sure = v->confidence > 0 && v->confidence >= c->threshold;
        const struct ranking *r = &c->rankings[sure ? v->category : general];
        const char *label = c->rankings[v->category].category;
        char reason[320];
        size_t i = 0;

        if (r->n == 0)
                r = &c->rankings[general]; /* a category that the table does not rank */
        while (i < r->n && !usable(q, r->expert[i]))
                i++;
        if (i == r->n)
                return pm_pass(q);
        if (sure)
                (void)snprintf(reason, sizeof reason, "category %s (%.2f)", label, v->confidence);
        else if (v->confidence > 0)
                (void)snprintf(reason, sizeof reason, "category %s: %s is not sure (%.2f, below %.2f)", c->general, label,
                               v->confidence, c->threshold);
        else
                (void)snprintf(reason, sizeof reason, "category %s: no text", c->general);
        return pm_decide(q, .expert = r->expert[i], .fallbacks = r->expert + i + 1, .category = sure ? label : c->general,
                         .confidence = v->confidence, .reason = reason, .unsure = !sure);
}

/* A long prompt's work, away from the loop. */
struct category_job {
        const struct classifier *classifier;
        struct pm_str text;
        size_t max_text;
        struct verdict verdict;
};

static void classify(void *arg)
{
        struct category_job *job = arg;

        classifier_decide(job->classifier, job->text.p, job->text.n, job->max_text, &job->verdict);
}

static pm_step classified(void *self, struct pm_query *q)
{
        const struct category_job *job = q->state;

        if (q->status < 0)
                return pm_fail(q, "could not classify a prompt of %zu bytes in the pool (%d)", job->text.n, q->status);
        return decide(self, q, &job->verdict);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct category *c = self;
        size_t max_text = c->max_text ? (size_t)c->max_text : classifier_parts(c->classifier)->text_max;
        struct verdict v;
        struct category_job *job;

        if (MIN(q->text.n, max_text) <= c->inline_max) {
                classifier_decide(c->classifier, q->text.p, q->text.n, max_text, &v);
                return decide(c, q, &v);
        }
        job = q->state = q->host->alloc(q, sizeof *job);
        if (!job)
                return pm_fail(q, "out of memory for a prompt of %zu bytes", q->text.n);
        *job = (struct category_job){ .classifier = c->classifier, .text = q->text, .max_text = max_text };
        return pm_offload(q, classify, job, classified);
}

PM_ROUTER(.name = "category", .version = "1", .summary = "routes by topic: classifies the prompt and looks up a ranking of experts",
          .self_size = sizeof(struct category), .options = options, .open = opened, .close = closed, .route = route, .reads = PM_READS_TEXT)
