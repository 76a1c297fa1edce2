/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score - the expert with the best expected score on this prompt, less what it costs.
 *
 * A model says what score is to be expected of each expert (retrieval/model/scorer.h): categories and a table of recorded outcomes, and a
 * regression of each expert's own outcomes, weighed against each other.  What remains after the cost (choice.h) decides; the others in that order
 * are the fallbacks.
 *
 *         by_score: { plugin: score, model: models/score.safetensors, lambda: 0.05 }
 *
 * Of two experts, one strong and one weak, a share of the prompts can go to the strong one, those for which it is expected to be most ahead
 * (the question of RouteLLM, Ong et al., 2024):
 *
 *         by_need: { plugin: score, model: models/score.safetensors, strong: large, weak: small, strong_share: 0.3 }
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "choice.h"
#include "encoder.h"
#include "pm_router.h"
#include "scorer.h"

#define INLINE_MAX 8192       /* bytes of text that are read on the loop: about a tenth of a millisecond */
#define INLINE_DENSE_MAX 4096 /* the same where a vector is made, too */
#define GENERAL "general"

struct score {
        const char *model, *encoder_folder, *strong, *weak;
        double threshold, strong_share;
        int64_t max_text;
        struct preferences preferences;

        struct scorer *scorer;
        struct encoder *encoder;      /* NULL: the model looks at features alone */
        size_t inline_max;
        bool known[SCORER_EXPERTS_MAX]; /* which of the model's experts are configured */
        struct score_table_doubt doubt;
        struct candidates candidates; /* the model's experts, all of them */
        size_t strong_at, weak_at;    /* in the model, if strong is given */
        float lead;                   /* that strong must have */
};

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct score, model, "model", PM_REQUIRED, NULL, "score model (safetensors) of pointsman-train score"),
        PM_PATH_OPTION(struct score, encoder_folder, "encoder", 0, NULL, "folder of the static encoder that the model was trained with, if it uses vectors"),
        PM_REAL_OPTION(struct score, threshold, "threshold", "-1", -1, 1,
                       "minimum confidence of the category; below it the experts' overall scores count more and more; -1: the model's own threshold"),
        PREFERENCES_OPTIONS(struct score, preferences),
        PM_STR_OPTION(struct score, strong, "strong", 0, NULL, "expert that gets strong_share of the prompts, those for which it is expected to be most ahead of weak"),
        PM_STR_OPTION(struct score, weak, "weak", 0, NULL, "expert that gets the others"),
        PM_REAL_OPTION(struct score, strong_share, "strong_share", "0.5", 0, 1, "share of prompts for strong, if they are as those that the model was trained on"),
        PM_SIZE_OPTION(struct score, max_text, "max_text", "0", 0, 1048576,
                       "bytes of a prompt that are read, half from its beginning and half from its end, at least 64; 0: as the model was trained"),
        PM_END_OPTION
};

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

static int load_encoder(struct score *s, const struct pm_open *o)
{
        struct classifier *c = scorer_classifier(s->scorer);
        size_t dim = classifier_parts(c)->dim;
        char why[256] = "";
        int r;

        s->inline_max = dim ? INLINE_DENSE_MAX : INLINE_MAX;
        if (!s->encoder_folder && dim)
                return o->refuse(o, "model '%s' looks at vectors of %zu dimensions: 'encoder' must name the encoder's folder", s->model, dim);
        if (!s->encoder_folder)
                return 0;
        if (!dim)
                return o->refuse(o, "encoder '%s' is for nothing: model '%s' was trained without one", s->encoder_folder, s->model);
        r = encoder_open(s->encoder_folder, &s->encoder, why, sizeof why);
        if (r == 0)
                r = classifier_attach(c, s->encoder, why, sizeof why);
        return r < 0 ? o->refuse(o, "encoder '%s': %s", s->encoder_folder, why[0] ? why : "out of memory") : 0;
}

static bool configured(const struct pm_open *o, const char *expert)
{
        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], expert) == 0)
                        return true;
        return false;
}

/* Which of the model's experts are there; others are named once, for a misspelt name would be silent otherwise. */
static int place_experts(struct score *s, const struct pm_open *o)
{
        const struct scorer_parts *p = scorer_parts(s->scorer);
        char others[512] = "";
        size_t used = 0, n = 0;

        for (size_t k = 0; k < p->experts; k++) {
                s->known[k] = configured(o, p->names[k]);
                n += s->known[k];
                if (!s->known[k] && used < sizeof others)
                        used += (size_t)snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "", p->names[k]);
        }
        if (n == 0)
                return o->refuse(o, "model '%s' knows %s, and none of them is a configured expert", s->model, others);
        if (used > 0)
                o->log(o, PM_WARN, "%s knows experts that are not configured, passing them over: %s", s->model, others);
        s->candidates = (struct candidates){ p->names, p->experts };
        return 0;
}

static int find_expert(const struct score *s, const struct pm_open *o, const char *option, const char *name, size_t *ret)
{
        const struct scorer_parts *p = scorer_parts(s->scorer);

        for (*ret = 0; *ret < p->experts; (*ret)++)
                if (strcmp(p->names[*ret], name) == 0)
                        return s->known[*ret] ? 0 : o->refuse(o, "%s: '%s' is not a configured expert", option, name);
        return o->refuse(o, "%s: model '%s' does not know expert '%s'", option, s->model, name);
}

static int take_pair(struct score *s, const struct pm_open *o)
{
        const struct weights *w = &s->preferences.weights;
        int r;

        if (!s->strong != !s->weak)
                return o->refuse(o, "strong and weak: one without the other says nothing");
        if (!s->strong)
                return 0;
        if (w->lambda > 0 || w->mu > 0 || w->nu > 0 || s->preferences.tiers.n > 0)
                return o->refuse(o, "strong_share says how many prompts the strong expert gets: lambda, mu, nu and tiers are for nothing beside it");
        r = find_expert(s, o, "strong", s->strong, &s->strong_at);
        if (r == 0)
                r = find_expert(s, o, "weak", s->weak, &s->weak_at);
        if (r < 0)
                return r;
        if (s->strong_at == s->weak_at)
                return o->refuse(o, "strong and weak are the same expert, '%s'", s->strong);
        s->lead = scorer_lead(s->scorer, s->strong_at, s->weak_at, s->strong_share);
        return 0;
}

static int load(struct score *s, const struct pm_open *o)
{
        char why[256] = "";
        int r = scorer_open(s->model, &s->scorer, why, sizeof why);

        if (r < 0)
                return o->refuse(o, "model '%s': %s", s->model, why[0] ? why : "out of memory");
        if (s->max_text > 0 && s->max_text < 64)
                return o->refuse(o, "max_text: %lld bytes are too few: 0, or from 64", (long long)s->max_text);
        s->doubt = (struct score_table_doubt){ s->threshold >= 0 ? s->threshold : classifier_parts(scorer_classifier(s->scorer))->threshold, NAN, NAN };
        r = load_encoder(s, o);
        if (r == 0)
                r = place_experts(s, o);
        if (r == 0)
                r = preferences_check(&s->preferences, o);
        return r < 0 ? r : take_pair(s, o);
}

static void closed(void *self)
{
        struct score *s = self;

        scorer_destroy(TAKE(s->scorer));
        encoder_destroy(TAKE(s->encoder));
}

static int opened(void *self, const struct pm_open *o)
{
        int r = load(self, o);

        if (r < 0)
                closed(self); /* once more does no harm */
        return r;
}

/* ---- routing ------------------------------------------------------------------------------------------------------------ */

/* What is known of a prompt; also the job of a pool thread, which sees nothing else. */
struct score_look {
        const struct score *router;
        struct pm_str text;
        size_t max_text;
        struct verdict verdict;
        double doubt;
        float estimate[SCORER_EXPERTS_MAX];
};

static void look(void *arg)
{
        struct score_look *l = arg;
        const struct score *s = l->router;

        scorer_estimate(s->scorer, l->text.p, l->text.n, l->max_text, &s->doubt, l->estimate, &l->verdict, &l->doubt);
        for (size_t k = 0; k < s->candidates.n; k++)
                if (!s->known[k])
                        l->estimate[k] = NAN;
}

/* The one that the share wants first, the other second, and the rest as they are. */
static void choose_of_pair(struct pm_query *q, const struct score_look *l, struct choice *c)
{
        const struct score *s = l->router;
        bool strong = l->estimate[s->strong_at] - l->estimate[s->weak_at] >= s->lead;
        float ordered[SCORER_EXPERTS_MAX];

        memcpy(ordered, l->estimate, s->candidates.n * sizeof *ordered);
        ordered[s->strong_at] += strong ? 4 : 2; /* estimates are 0..1 */
        ordered[s->weak_at] += strong ? 2 : 4;
        choice_make(q, &s->preferences, &s->candidates, ordered, c);
        for (size_t i = 0; i < c->n; i++)
                c->score[i] = (double)l->estimate[c->best[i]];
}

static void explain(struct pm_query *q, const struct score_look *l, const char *category, const struct choice *choice)
{
        json_t *o = json_pack("{s:s, s:f, s:f, s:o}", "likeliest", category, "confidence", l->verdict.confidence, "doubt", l->doubt, "experts",
                              choice_explained(choice));
        char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

        if (text)
                pm_explain(q, text);
        free(text);
        json_decref(o);
}

static pm_step decide(struct pm_query *q, const struct score_look *l)
{
        const struct score *s = l->router;
        const struct scorer_parts *p = scorer_parts(s->scorer);
        const char *category = l->verdict.confidence > 0 ? p->labels[l->verdict.category] : GENERAL;
        struct choice choice;
        char reason[512] = "expected score";

        if (s->strong)
                choose_of_pair(q, l, &choice);
        else
                choice_make(q, &s->preferences, &s->candidates, l->estimate, &choice);
        if (choice.n == 0)
                return pm_pass(q);
        choice_reason(&choice, reason, sizeof reason);
        if (q->explain)
                explain(q, l, category, &choice);
        return pm_decide(q, .expert = choice.name[0], .fallbacks = choice.name + 1, .category = category, .confidence = choice.score[0], .reason = reason,
                         .unsure = l->doubt > 0);
}

static pm_step looked(void *self, struct pm_query *q)
{
        const struct score_look *l = q->state;

        (void)self;
        if (q->status < 0)
                return pm_fail(q, "could not read a prompt of %zu bytes in the pool (%d)", l->text.n, q->status);
        return decide(q, l);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct score *s = self;
        size_t max_text = s->max_text ? (size_t)s->max_text : classifier_parts(scorer_classifier(s->scorer))->text_max;
        struct score_look here, *l = &here;

        if (MIN(q->text.n, max_text) > s->inline_max)
                l = q->state = q->host->alloc(q, sizeof *l);
        if (!l)
                return pm_fail(q, "out of memory for a prompt of %zu bytes", q->text.n);
        l->router = s;
        l->text = q->text;
        l->max_text = max_text;
        if (l != &here)
                return pm_offload(q, look, l, looked);
        look(l);
        return decide(q, l);
}

PM_ROUTER(.name = "score", .version = "1", .summary = "routes by expected score: estimates each expert's score on the prompt, less what it costs",
          .self_size = sizeof(struct score), .options = options, .open = opened, .close = closed, .route = route,
          .reads = PM_READS_TEXT | PM_READS_HEADERS)
