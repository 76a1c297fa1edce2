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
#include "base.h"
#include "category_parts.h"

#define INLINE_MAX 8192             /* bytes of text that are classified on the loop: about a tenth of a millisecond */
#define INLINE_DENSE_MAX 4096       /* the same where a vector is made, too */

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
        return category_rankings(c, o);
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
