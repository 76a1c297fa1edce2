/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/embeddings for a model in the process: text in, vectors out, as float or base64, whole or with fewer dimensions.
 *
 * A batch is computed in pieces of about a millisecond; between two pieces the event loop runs.  Fewer dimensions are the first ones,
 * normalised again: our models put the most informative ones first.
 */
#include <event2/buffer.h>
#include <math.h>
#include <openssl/evp.h>

#include "apis.h"
#include "base.h"
#include "embed_model.h"
#include "js.h"
#include "request_parts.h"

enum { PIECE_US = 1000 };

static const struct request_kind in_process;

struct embeddings {
        const struct embedder *by;
        size_t dim, at;
        bool base64;
        float *vector;       /* [of the model] */
        unsigned char *text; /* base64 of one vector */
        size_t tokens;
};

static enum next prepare(struct request *r, const struct embedder *by)
{
        struct pm_str body = js_trim(r->query.body), format = js_member(body, "encoding_format"), dim = js_member(body, "dimensions");
        struct pm_str input = js_member(body, "input"), key;
        size_t whole = embed_model_dim(by->model);
        struct embeddings *e = arena_zalloc(&r->arena, sizeof *e);
        struct js j;
        int64_t wanted = (int64_t)whole;

        if (js_type(input) == JS_ARRAY) {
                js_start(&j, input, 8);
                for (js_enter(&j); js_more(&j, &key);)
                        if (js_type(js_take(&j)) != JS_STRING)
                                return reply_error(r, 400, "input", NULL, "'input' must be a text or a list of texts: '%s' cannot use tokens of another model",
                                                   by->name);
        }
        if (r->query.n_turns == 0 || r->query.n_turns > (size_t)r->generation->limits.messages)
                return reply_error(r, 400, "input", NULL, "'input' has %zu texts, 1 to %" PRId64 " are allowed (limits.messages)", r->query.n_turns,
                                   r->generation->limits.messages);
        if (format.p && !js_string_is(format, "float") && !js_string_is(format, "base64") && js_type(format) != JS_NULL)
                return reply_error(r, 400, "encoding_format", NULL, "'encoding_format' must be \"float\" or \"base64\"");
        if (dim.p && js_type(dim) != JS_NULL && (!js_int(dim, &wanted) || wanted < 1 || wanted > (int64_t)whole))
                return reply_error(r, 400, "dimensions", NULL, "'dimensions' must be a whole number, 1 to %zu for '%s'", whole, by->name);
        if (e) {
                *e = (struct embeddings){ .by = by, .dim = (size_t)wanted, .base64 = js_string_is(format, "base64"),
                                          .vector = arena_alloc(&r->arena, whole * sizeof(float)),
                                          .text = arena_alloc(&r->arena, 4 * (whole * sizeof(float) / 3 + 2)) };
                r->out = evbuffer_new();
        }
        if (!e || !e->vector || !e->text || !r->out)
                return reply_error(r, 503, NULL, NULL, "out of memory for the vectors");
        r->own = e;
        r->kind = &in_process;
        return GO;
}

static void shorten(float *v, size_t dim)
{
        double sum = 0;

        for (size_t i = 0; i < dim; i++)
                sum += (double)v[i] * (double)v[i];
        if (sum <= 0)
                return;
        for (size_t i = 0; i < dim; i++)
                v[i] = (float)((double)v[i] / sqrt(sum));
}

static void put_vector(struct embeddings *e, struct evbuffer *out, size_t index)
{
        char number[32];

        reply_printf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index ? "," : "", index);
        if (e->base64) { /* float32s, little-endian, as the API has it */
                int n = EVP_EncodeBlock(e->text, (const unsigned char *)e->vector, (int)(e->dim * sizeof(float)));

                reply_put(out, "\"", 1);
                reply_put(out, (const char *)e->text, (size_t)n);
                reply_put(out, "\"}", 2);
                return;
        }
        for (size_t i = 0; i < e->dim; i++)
                reply_put(out, number, (size_t)snprintf(number, sizeof number, "%c%.9g", i ? ',' : '[', (double)e->vector[i]));
        reply_put(out, "]}", 2);
}

static void put_end(struct request *r, const struct embeddings *e)
{
        reply_printf(r->out, "],\"model\":");
        reply_put_text(r->out, (struct pm_str){ e->by->name, strlen(e->by->name) });
        reply_printf(r->out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", e->tokens, e->tokens);
}

/* WAIT: there is more to do, and the loop has its turn first. */
static enum next embeddings_run(struct request *r)
{
        struct embeddings *e = r->own;
        const int64_t began = now_us();

        if (e->at == 0)
                reply_printf(r->out, "{\"object\":\"list\",\"data\":[");
        for (; e->at < r->query.n_turns; e->at++) {
                struct pm_str text;
                size_t tokens = 0;

                if (now_us() - began >= PIECE_US) {
                        loop_wake(&r->worker->loop, &r->wake);
                        return WAIT;
                }
                if (query_text_of(r->query.turns[e->at].content, &r->arena, &text) < 0)
                        return reply_error(r, 503, NULL, NULL, "out of memory for the texts");
                if (embed_model_run(e->by->model, r->worker->loop.id, text, e->vector, &tokens) < 0)
                        return reply_error(r, 500, NULL, NULL, "embedder '%s' has no vector for text %zu", e->by->name, e->at);
                if (e->dim < embed_model_dim(e->by->model))
                        shorten(e->vector, e->dim);
                put_vector(e, r->out, e->at);
                e->tokens += tokens;
        }
        put_end(r, e);
        r->tokens_in = (int64_t)e->tokens;
        return reply_buffer(r, 200, "application/json", r->out);
}

static const struct request_kind in_process = { .route = embeddings_run };

static enum next embeddings_parse(struct request *r)
{
        const struct generation *g = r->generation;
        const struct embedder *by;

        (void)request_read(r);
        if (r->response_done)
                return GO;
        by = generation_embedder_named(g, r->query.model);
        if (by && by->model && !generation_expert(g, r->query.model) && !generation_route(g, r->query.model))
                return prepare(r, by);
        return request_resolve(r);
}

static enum next embeddings_route(struct request *r)
{
        return request_chat.route(r);
}

const struct request_kind embeddings_kind = { .parse = embeddings_parse, .recall = recall_step, .route = embeddings_route, .forwards = true };
