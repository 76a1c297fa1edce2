/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruct - the expert that fits a conversation's task, seen from afar, and its parts, seen from near.
 *
 * After GLIDER (Li et al., 2024): from afar a sentence that a language model has written of the prompt is compared with those of the experts,
 * from near each part of the prompt with each expert's trained gate; the view from afar counts for much where an expert's sentence is close,
 * for little where none is (retrieval/model/gates.h has the formula).  The model is asked once for a prompt; while its sentence is not there the
 * prompt's own vector stands for it, and the decision is provisional.
 *
 *         by_task: { plugin: instruct, model: models/instruct.safetensors, encoder: models/pointsman-static, llm: small, mode: background }
 *
 * Adapters on one backbone are experts of their own here: `adapters` says which server carries each, and the weights go into the body.
 */
#include <math.h>

#include "base.h"
#include "chunks.h"
#include "encoder.h"
#include "gates.h"
#include "instruct_adapters.h"
#include "instruct_explain.h"
#include "instruction.h"
#include "pm_router.h"

#define PARTS_MAX 64
#define INLINE_MAX 8192 /* bytes of text that are looked at on the loop: about a tenth of a millisecond */
#define TOP_MAX 16
#define USELESS_S 60     /* what is no sentence is kept for so long: not to be asked for at each request, nor to stand for a day */
#define FALLBACKS_MAX 16 /* named to the host, which adds others if it needs more */

enum mode { MODE_OFF, MODE_BACKGROUND, MODE_INLINE };
enum { UNSURE_DECIDE, UNSURE_PASS };

struct instruct {
        const char *model, *encoder_folder, *llm, *llm_model;
        int64_t mode, timeout, keep, prompt_max, max_tokens, max_text, top_k;
        double gamma, beta, threshold, sure;
        int64_t combine, unsure;
        struct pm_tables adapters;

        struct gates *gates;
        struct encoder *encoder;
        struct gates_parts parts; /* as the options changed them */
        struct placed *placed;    /* [experts]: who serves each */
};

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct instruct, model, "model", PM_REQUIRED, NULL, "instruct model (safetensors) of pointsman-train instruct"),
        PM_PATH_OPTION(struct instruct, encoder_folder, "encoder", PM_REQUIRED, NULL, "folder of the static encoder that the model was trained with"),
        PM_STR_OPTION(struct instruct, llm, "llm", 0, NULL, "expert that is asked to name a prompt's task in one sentence; absent: the prompt's own vector is used"),
        PM_STR_OPTION(struct instruct, llm_model, "llm_model", 0, NULL, "model name that is sent to it; default: the name of llm"),
        PM_CHOICE_OPTION(struct instruct, mode, "mode", "background", "off|background|inline",
                         "when llm is asked: off: never; background: for the next request; inline: the request waits for it"),
        PM_TIME_OPTION(struct instruct, timeout, "timeout", "2s", 1, 600000, "timeout of llm"),
        PM_TIME_OPTION(struct instruct, keep, "keep", "24h", 1000, 2592000000., "TTL of its cached sentences"),
        PM_SIZE_OPTION(struct instruct, prompt_max, "prompt_max", "2KiB", 64, 65536, "bytes of a prompt that are sent to llm, half from its beginning and half from its end"),
        PM_INT_OPTION(struct instruct, max_tokens, "max_tokens", "80", 8, 1024, "maximum number of tokens in its answer"),
        PM_SIZE_OPTION(struct instruct, max_text, "max_text", "16KiB", 64, 1048576, "bytes of a conversation that are read, the newest messages first"),
        PM_INT_OPTION(struct instruct, top_k, "top_k", "2", 1, TOP_MAX, "number of experts that get weight; the first answers, the others are its fallbacks"),
        PM_REAL_OPTION(struct instruct, gamma, "gamma", "-1", -1, 1e6, "weight of the global score when a known instruction is similar; -1: the model's"),
        PM_REAL_OPTION(struct instruct, beta, "beta", "-1", -1, 1e6, "weight of the global score when none is; -1: the model's"),
        PM_REAL_OPTION(struct instruct, threshold, "threshold", "-2", -2, 2, "minimum cosine similarity to a known instruction; -2: the model's"),
        PM_REAL_OPTION(struct instruct, sure, "sure", "-1", -1, 1,
                       "minimum share of the first expert against the second; below it the decision is not sure (.5 is a tie); -1: the model's"),
        PM_CHOICE_OPTION(struct instruct, unsure, "unsure", "decide", "decide|pass",
                         "what happens then: decide: the first expert answers, but the conversation is not pinned to it; pass: the next router is asked"),
        PM_CHOICE_OPTION(struct instruct, combine, "combine", "model", "model|mean|max", "how the scores of a prompt's parts are combined; model: as it was trained"),
        PM_TABLES_OPTION(struct instruct, adapters, struct adapter, "adapters", 0, 0, GATES_EXPERTS_MAX, adapter_options,
                         "experts of the model that are LoRA adapters on a shared server, one entry each"),
        PM_END_OPTION
};

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

static int open_files(struct instruct *s, const struct pm_open *o)
{
        char why[256] = "";
        int r = gates_open(s->model, &s->gates, why, sizeof why);

        if (r < 0)
                return o->refuse(o, "model '%s': %s", s->model, why[0] ? why : "out of memory");
        r = encoder_open(s->encoder_folder, &s->encoder, why, sizeof why);
        if (r < 0)
                return o->refuse(o, "encoder '%s': %s", s->encoder_folder, why[0] ? why : "out of memory");
        s->parts = *gates_parts(s->gates);
        r = gates_check(s->gates, s->encoder, why, sizeof why);
        if (r < 0)
                return o->refuse(o, "encoder '%s': %s", s->encoder_folder, why);
        if (encoder_needs_scratch(s->encoder))
                return o->refuse(o, "encoder '%s': its tokenizer is not BERT's, the only one that reads a text in one pass", s->encoder_folder);
        return 0;
}

static int load(struct instruct *s, const struct pm_open *o)
{
        int r = open_files(s, o);

        if (r < 0)
                return r;
        if (s->gamma >= 0)
                s->parts.gamma = s->gamma;
        if (s->beta >= 0)
                s->parts.beta = s->beta;
        if (s->threshold >= -1)
                s->parts.threshold = s->threshold;
        if (s->sure >= 0)
                s->parts.sure = s->sure;
        if (s->combine > 0)
                s->parts.combine = s->combine == 1 ? GATES_MEAN : GATES_MAX;
        if (s->llm && !adapters_configured(o, s->llm))
                return o->refuse(o, "llm: '%s' is not a configured expert", s->llm);
        if (!s->llm)
                s->mode = MODE_OFF;
        if (!s->llm_model)
                s->llm_model = s->llm;
        return adapters_place(o, &s->adapters, s->model, &s->parts, &s->placed);
}

static void closed(void *self)
{
        struct instruct *s = self;

        free(TAKE(s->placed));
        gates_destroy(TAKE(s->gates));
        encoder_destroy(TAKE(s->encoder));
}

static int opened(void *self, const struct pm_open *o)
{
        int r = load(self, o);

        if (r < 0)
                closed(self); /* once more does no harm */
        return r;
}

/* ---- one query ---------------------------------------------------------------------------------------------------------- */

/* What is carried from step to step; also the job of a pool thread, which sees nothing else. */
struct instruct_look {
        const struct instruct *router;
        struct chunk parts[PARTS_MAX];
        size_t n_parts;
        bool one_part;                 /* which is the last user message, but for blanks around it */
        struct pm_str text;            /* the last user message */
        float *vectors, *sentence;     /* [n_parts][dim]; [dim] of the prompt, then of the sentence */
        float *local, *global, *score; /* [experts] */
        double near, alpha;
        size_t nearest;
        bool unknown;                  /* the encoder knows nothing in it */
        bool failed;                   /* the model's numbers are not finite */
        char said[INSTRUCTION_MAX + 1]; /* the sentence; "" while there is none */
        char source[160];              /* where it came from, or why it did not */
        bool provisional;
};

static bool has_role(const struct pm_message *m, const char *role)
{
        return m->role.n == strlen(role) && memcmp(m->role.p, role, m->role.n) == 0;
}

/* Parts of the newest messages of user and system, as many as are to be looked at. */
static void split(struct instruct_look *l, const struct pm_query *q)
{
        size_t left = (size_t)l->router->max_text, messages = 0;
        bool whole = false;

        for (size_t i = q->n_messages; i-- > 0 && left > 0 && l->n_parts < PARTS_MAX;) {
                const struct pm_message *m = q->messages[i];
                size_t n = MIN(m->text.n, left);

                if (n == 0 || !(has_role(m, "user") || has_role(m, "system") || has_role(m, "developer")))
                        continue;
                l->n_parts += chunks_split(m->text.p, n, l->router->parts.window, l->parts + l->n_parts, PARTS_MAX - l->n_parts);
                left -= n;
                messages++;
                whole = has_role(m, "user") && n == l->text.n;
        }
        l->one_part = whole && messages == 1 && l->n_parts == 1;
}

static void encode(const struct instruct *s, struct instruct_look *l, const char *text, size_t n, float *ret)
{
        if (encoder_encode(s->encoder, NULL, text ? text : "", n, MAX((size_t)s->max_text, (size_t)ENCODER_TEXT_MIN), ret, NULL) < 0)
                l->failed = true;
}

static void look(void *arg)
{
        struct instruct_look *l = arg;
        const struct instruct *s = l->router;

        for (size_t i = 0; i < l->n_parts; i++)
                encode(s, l, l->parts[i].p, l->parts[i].n, l->vectors + i * s->parts.dim);
        if (l->one_part)
                memcpy(l->sentence, l->vectors, s->parts.dim * sizeof *l->sentence);
        else
                encode(s, l, l->text.p, l->text.n, l->sentence);
        l->unknown = true;
        for (size_t i = 0; i < l->n_parts * s->parts.dim && l->unknown; i++)
                l->unknown = !(l->vectors[i] < 0 || l->vectors[i] > 0);
        gates_local(s->gates, s->parts.combine, l->vectors, l->n_parts, l->local);
}

static struct instruct_look *begin(const struct instruct *s, struct pm_query *q)
{
        size_t dim = s->parts.dim, experts = s->parts.experts;
        struct instruct_look *l = pm_alloc(q, sizeof *l);

        if (!l)
                return NULL;
        l->router = s;
        l->text = q->text;
        split(l, q);
        l->vectors = pm_alloc(q, (l->n_parts + 1) * dim * sizeof(float));
        l->local = pm_alloc(q, 3 * experts * sizeof(float));
        if (!l->vectors || !l->local)
                return NULL;
        l->sentence = l->vectors + l->n_parts * dim;
        l->global = l->local + experts;
        l->score = l->global + experts;
        return l;
}

/* ---- deciding ----------------------------------------------------------------------------------------------------------- */

/* Weights of the best that could serve: softmax of the scores, those behind top_k left out (2.1: T, w_k). */
static size_t choose(const struct instruct *s, const struct pm_query *q, const struct instruct_look *l, struct ranked *ranked)
{
        bool usable[GATES_EXPERTS_MAX];
        size_t n = 0;
        double all = 0;

        adapters_usable(s->placed, s->parts.experts, q, usable);
        for (size_t k = 0; k < s->parts.experts; k++) {
                struct ranked r = { k, l->score[k], 0 };
                size_t at = n;

                if (!usable[k])
                        continue;
                n++;
                for (; at > 0 && ranked[at - 1].score < r.score; at--)
                        ranked[at] = ranked[at - 1];
                ranked[at] = r;
        }
        for (size_t i = 0; i < MIN(n, (size_t)s->top_k); i++)
                all += ranked[i].weight = exp(ranked[i].score - ranked[0].score);
        for (size_t i = 0; i < MIN(n, (size_t)s->top_k); i++)
                ranked[i].weight /= all;
        return n;
}

/* How much the first is to be preferred to the second, whatever top_k is; 1: there is no second. */
static double share(const struct ranked *ranked, size_t n)
{
        return n > 1 ? 1 / (1 + exp(ranked[1].score - ranked[0].score)) : 1;
}

static pm_step decide(const struct instruct *s, struct pm_query *q, struct instruct_look *l)
{
        struct ranked *ranked = pm_alloc(q, s->parts.experts * sizeof *ranked);
        const char **fallbacks = pm_alloc(q, (FALLBACKS_MAX + 1) * sizeof *fallbacks);
        const struct placed *first;
        char reason[512];
        bool sure;
        size_t n;

        if (!ranked || !fallbacks)
                return pm_fail(q, "out of memory for %zu experts", s->parts.experts);
        if (l->failed)
                return pm_fail(q, "encoder '%s' has numbers that are not finite", s->encoder_folder);
        l->near = gates_global(s->gates, l->sentence, l->global, &l->nearest);
        l->alpha = l->near >= s->parts.threshold ? s->parts.gamma : s->parts.beta;
        for (size_t k = 0; k < s->parts.experts; k++)
                l->score[k] = l->local[k] + (float)l->alpha * l->global[k];
        n = choose(s, q, l, ranked);
        if (n == 0)
                return pm_pass(q);
        for (size_t i = 1; i < MIN(n, (size_t)FALLBACKS_MAX + 1); i++)
                fallbacks[i - 1] = s->placed[ranked[i].expert].server;
        first = &s->placed[ranked[0].expert];
        sure = share(ranked, n) >= s->parts.sure && !l->unknown;
        (void)snprintf(reason, sizeof reason, "%s %.2f (near %.2f, afar %.3f x %g)%s; task by %s", s->parts.names[ranked[0].expert], ranked[0].weight,
                       (double)l->local[ranked[0].expert], (double)l->global[ranked[0].expert], l->alpha, sure ? "" : ", not sure", l->source);
        if (q->explain)
                explain(q, &(struct explained){ .parts = &s->parts, .ranked = ranked, .n = n, .local = l->local, .global = l->global, .alpha = l->alpha,
                                                .near = l->near, .nearest = l->nearest, .sentence = l->said, .source = l->source, .n_parts = l->n_parts });
        if (!sure && s->unsure == UNSURE_PASS)
                return pm_pass(q);
        return pm_decide(q, .expert = first->server, .fallbacks = fallbacks, .category = s->parts.names[ranked[0].expert], .confidence = ranked[0].weight,
                         .reason = reason, .extra = adapters_extra(q, s->placed, ranked, MIN(n, (size_t)s->top_k)), .provisional = l->provisional,
                         .unsure = !sure);
}

/* ---- the sentence ------------------------------------------------------------------------------------------------------- */

static void free_text(void *text)
{
        free(text);
}

static void without(struct instruct_look *l, const char *fmt, ...) PRINTF(2, 3);
static void without(struct instruct_look *l, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(l->source, sizeof l->source, fmt, args);
        va_end(args);
        l->provisional = true;
}

static pm_step answered(void *self, struct pm_query *q)
{
        const struct instruct *s = self;
        struct instruct_look *l = q->state;
        char why[200];
        float *vector;

        if (q->status == PM_ELATER) {
                without(l, "the prompt, while '%s' is asked", s->llm);
        } else if (q->status < 0) {
                without(l, "the prompt, since '%s' did not answer (%s)", s->llm,
                        q->status == PM_ETIMEOUT ? "too slow" : q->status == PM_EUPSTREAM ? "an error" : q->status == PM_EBUSY ? "busy" : "unreachable");
        } else if (instruction_read(q->reply.p, q->reply.n, l->said, why, sizeof why) < 0) {
                l->said[0] = '\0';
                pm_log(q, PM_DEBUG, "'%s' was asked for a sentence: %s", s->llm, why);
                pm_keep(q, USELESS_S);
                without(l, "the prompt, since '%s' wrote no sentence", s->llm);
        } else {
                vector = pm_alloc(q, s->parts.dim * sizeof *vector);
                if (!vector)
                        return pm_fail(q, "out of memory for a vector");
                encode(s, l, l->said, strlen(l->said), vector);
                l->sentence = vector;
                (void)snprintf(l->source, sizeof l->source, "'%s'", s->llm);
        }
        return decide(s, q, l);
}

static pm_step looked(void *self, struct pm_query *q)
{
        const struct instruct *s = self;
        struct instruct_look *l = q->state;
        struct instruction_prompt prompt = { q->text.p ? q->text.p : "", q->text.n };
        char *body;

        if (q->status < 0)
                return pm_fail(q, "could not look at a prompt of %zu bytes in the pool (%d)", q->text.n, q->status);
        (void)snprintf(l->source, sizeof l->source, "the prompt");
        if (s->mode == MODE_OFF || q->text.n == 0)
                return decide(s, q, l);
        body = instruction_body(s->llm_model, &prompt, 1, (size_t)s->prompt_max, (size_t)s->max_tokens);
        if (!body || pm_defer(q, free_text, body) < 0)
                return pm_fail(q, "out of memory for what '%s' is asked", s->llm);
        return pm_call(q, answered, .expert = s->llm, .body = { body, strlen(body) }, .timeout_ms = (int)s->timeout,
                       .max_reply = 65536, .keep_s = (int)(s->keep / 1000), .background = s->mode == MODE_BACKGROUND);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct instruct *s = self;
        struct instruct_look *l = q->state = begin(s, q);
        size_t bytes = q->text.n;

        if (!l)
                return pm_fail(q, "out of memory for a prompt of %zu bytes", q->text.n);
        for (size_t i = 0; i < l->n_parts; i++)
                bytes += l->parts[i].n;
        if (bytes > 2 * INLINE_MAX)
                return pm_offload(q, look, l, looked);
        look(l);
        return looked(self, q);
}

PM_ROUTER(.name = "instruct", .version = "1", .summary = "routes by task: a language model names the task, a classifier scores the parts of the prompt",
          .self_size = sizeof(struct instruct), .options = options, .open = opened, .close = closed, .route = route, .reads = PM_READS_MESSAGES)
