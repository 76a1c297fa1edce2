/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - what an expert would say.
 *
 * The text names the expert and gives the prompt's words back, so that a person sees who answered and a test can check it. Shapes are
 * those of OpenAI's reference as vLLM serves them: the same id, created and model in every chunk, usage as asked.
 */
#include <math.h>

#include "mock.h"

#define BIG_TOKEN 1024 /* a token of the "big" fault */
#define MAX_WORDS 256

/* ---- understanding a request ------------------------------------------------------------------------------------------------ */

static void word_add(struct plan *p, const char *s, size_t n)
{
        if (p->word_n == MAX_WORDS)
                return;
        p->word_at[p->word_n++] = (uint32_t)p->words.n;
        buf_add(&p->words, " ", 1);
        buf_json(&p->words, s, n);
        p->word_at[p->word_n] = (uint32_t)p->words.n;
}

static void words_of(struct plan *p, const char *s)
{
        while (*s) {
                size_t blank = strspn(s, " \t\r\n"), n = strcspn(s + blank, " \t\r\n");

                if (n)
                        word_add(p, s + blank, MIN(n, (size_t)64));
                s += blank + n;
                if (n > 64)
                        return; /* not words; and a cut in the middle of a character would not be UTF-8 */
        }
}

/* A message's content is a string or a list of parts with "text". Returns its length and the last text. */
static size_t content_length(const json_t *content, const char **text)
{
        size_t n = 0, i;
        const json_t *part;

        if (json_is_string(content)) {
                *text = json_string_value(content);
                return json_string_length(content);
        }
        json_array_foreach((json_t *)(uintptr_t)content, i, part) {
                const json_t *t = json_is_string(part) ? part : json_object_get(part, "text");

                if (json_is_string(t)) {
                        *text = json_string_value(t);
                        n += json_string_length(t);
                }
        }
        return n;
}

struct refusal {
        const char **param;
        char *why;
        size_t why_n;
};

static int refuse(struct refusal r, const char *param, const char *what)
{
        *r.param = param;
        (void)snprintf(r.why, r.why_n, "%s", what);
        return -EINVAL;
}

static int read_prompt(struct plan *p, const json_t *root, struct refusal no)
{
        const char *last = "";
        size_t chars = 0, i;
        const json_t *m;

        if (p->kind == CHAT) {
                const json_t *messages = json_object_get(root, "messages");

                if (!json_is_array(messages) || json_array_size(messages) == 0)
                        return refuse(no, "messages", "Field required: 'messages', a list of at least one message");
                json_array_foreach((json_t *)(uintptr_t)messages, i, m) {
                        const char *role = json_string_value(json_object_get(m, "role")), *text = NULL;

                        if (!role)
                                return refuse(no, "messages", "Field required: 'role' of a message");
                        chars += content_length(json_object_get(m, "content"), &text);
                        if (text && strcmp(role, "user") == 0)
                                last = text;
                }
        } else {
                const char *name = p->kind == TEXT ? "prompt" : "input";
                const json_t *v = json_object_get(root, name);

                if (!json_is_string(v) && !json_is_array(v))
                        return refuse(no, name, p->kind == TEXT ? "Field required: 'prompt'" : "Field required: 'input'");
                chars = content_length(v, &last);
                json_array_foreach((json_t *)(uintptr_t)v, i, m)
                        chars += content_length(json_object_get(m, "content"), &last);
        }
        p->prompt_tokens = (long)(chars / 4) + 1;
        words_of(p, last);
        return 0;
}

static int read_limit(struct plan *p, const json_t *root, struct refusal no)
{
        static const char *const keys[] = { "max_completion_tokens", "max_tokens", "max_output_tokens" };

        for (size_t i = 0; i < LENGTH_OF(keys); i++) {
                const json_t *v = json_object_get(root, keys[i]);

                if (!v || json_is_null(v))
                        continue;
                if (!json_is_number(v) || json_number_value(v) < 1)
                        return refuse(no, keys[i], "a limit of tokens is an integer from 1");
                if (json_number_value(v) < (double)p->tokens) {
                        p->tokens = (long)json_number_value(v);
                        p->length_cut = true;
                }
                return 0;
        }
        return 0;
}

static int read_body(struct plan *p, const struct expert *e, const json_t *root, const struct fault *f, struct refusal no)
{
        const json_t *model = json_object_get(root, "model"), *stream = json_object_get(root, "stream"), *v;

        if (!json_is_object(root))
                return refuse(no, NULL, "the body is not a JSON object");
        if (model && !json_is_string(model))
                return refuse(no, "model", "'model' is a string");
        if (stream && !json_is_boolean(stream) && !json_is_null(stream))
                return refuse(no, "stream", "'stream' is a boolean");
        (void)snprintf(p->model, sizeof p->model, "%s", model ? json_string_value(model) : e->name);
        if (p->kind == EMBEDDINGS) {
                const char *as = json_string_value(json_object_get(root, "encoding_format"));

                v = json_object_get(root, "input");
                if (!json_is_string(v) && !json_is_array(v))
                        return refuse(no, "input", "Field required: 'input', a string or a list");
                p->input = json_incref((json_t *)(uintptr_t)v);
                p->base64 = as && strcmp(as, "base64") == 0;
                v = json_object_get(root, "dimensions");
                p->dimension = json_is_integer(v) ? (long)json_integer_value(v) : options.dimension;
                return p->dimension >= 1 && p->dimension <= 8192 ? 0 : refuse(no, "dimensions", "'dimensions' is from 1 to 8192");
        }
        p->stream = json_is_true(stream);
        p->include_usage = json_is_true(json_object_get(json_object_get(root, "stream_options"), "include_usage"));
        p->tokens = f->tokens >= 0 ? f->tokens : options.tokens;
        if (f->say[0]) {
                words_of(p, f->say);
                p->tokens = (long)p->word_n;
        } else {
                word_add(p, e->name, strlen(e->name));
                word_add(p, "heard:", 6);
        }
        if (f->big >= 0)
                p->tokens = (f->big + BIG_TOKEN - 1) / BIG_TOKEN;
        else if (read_limit(p, root, no) < 0)
                return -EINVAL;
        return read_prompt(p, root, no);
}

int plan_make(const struct expert *e, enum kind kind, const char *body, size_t n, const struct fault *f, struct plan **ret,
              const char **param, char *why, size_t why_n)
{
        static const char *const prefix[] = { "chatcmpl-", "cmpl-", "resp_", "embd-" };
        struct refusal no = { param, why, why_n };
        json_error_t error;
        json_t *root = json_loadb(body, n, JSON_ALLOW_NUL, &error);
        struct plan *p;
        int r;

        if (!root) /* an integer beyond 64 bits is JSON too */
                root = json_loadb(body, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
        *param = NULL;
        if (!root) {
                (void)snprintf(why, why_n, "the body is not JSON: line %d column %d: %s", error.line, error.column, error.text);
                return -EINVAL;
        }
        p = calloc(1, sizeof *p);
        assert(p);
        *p = (struct plan){ .refs = 1, .kind = kind, .created = (int64_t)time(NULL), .id_digits = strlen(prefix[kind]) };
        (void)snprintf(p->id, sizeof p->id, "%s%016d", prefix[kind], 0);
        p->word_at = calloc(MAX_WORDS + 1, sizeof *p->word_at);
        assert(p->word_at);
        r = read_body(p, e, root, f, no);
        json_decref(root);
        if (r < 0) {
                plan_drop(p);
                return r;
        }
        *ret = p;
        return 0;
}

struct plan *plan_hold(struct plan *p)
{
        p->refs++;
        return p;
}

void plan_drop(struct plan *p)
{
        if (!p || --p->refs > 0)
                return;
        buf_free(&p->words);
        free(p->word_at);
        json_decref(p->input);
        free(p);
}

void plan_name(struct plan *p, uint64_t serial)
{
        for (int i = 15; i >= 0; i--, serial >>= 4)
                p->id[p->id_digits + (size_t)i] = "0123456789abcdef"[serial & 15];
}

/* ---- pieces ----------------------------------------------------------------------------------------------------------------- */

static void token_add(const struct plan *p, const struct fault *f, long i, struct buf *out)
{
        bool first = i == 0; /* no leading space */

        if (f->big >= 0) {
                static const char xs[64] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ";
                long left = MIN((long)BIG_TOKEN, f->big - i * BIG_TOKEN);

                for (; left > 0; left -= (long)sizeof xs)
                        buf_add(out, xs, (size_t)MIN(left, (long)sizeof xs));
                return;
        }
        i %= (long)p->word_n;
        buf_add(out, p->words.p + p->word_at[i] + first, p->word_at[i + 1] - p->word_at[i] - first);
}

static void text_add(const struct plan *p, const struct fault *f, struct buf *out)
{
        for (long i = 0; i < p->tokens; i++)
                token_add(p, f, i, out);
}

static const char *finish_of(const struct plan *p, const struct fault *f)
{
        return f->finish[0] ? f->finish : p->length_cut ? "length" : "stop";
}

static void usage_add(const struct plan *p, struct buf *out)
{
        if (p->kind == RESPONSES)
                buf_printf(out,
                           "\"usage\":{\"input_tokens\":%ld,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":%ld,"
                           "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%ld}",
                           p->prompt_tokens, p->tokens, p->prompt_tokens + p->tokens);
        else
                buf_printf(out, "\"usage\":{\"prompt_tokens\":%ld,\"completion_tokens\":%ld,\"total_tokens\":%ld}", p->prompt_tokens,
                           p->tokens, p->prompt_tokens + p->tokens);
}

static void model_add(const struct plan *p, struct buf *out)
{
        buf_str(out, "\"model\":\"");
        buf_json(out, p->model, strlen(p->model));
        buf_str(out, "\"");
}

static void head_add(const struct plan *p, const char *object, struct buf *out)
{
        buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",", p->id, object, p->created);
        model_add(p, out);
        buf_str(out, ",");
}

/* ---- whole answers ---------------------------------------------------------------------------------------------------------- */

static void response_head(const struct plan *p, const char *status, struct buf *out)
{
        buf_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%" PRId64 ",\"status\":\"%s\",\"error\":null,", p->id,
                   p->created, status);
        model_add(p, out);
}

static void response_part(const struct plan *p, const struct fault *f, struct buf *out)
{
        buf_str(out, "{\"type\":\"output_text\",\"annotations\":[],\"text\":\"");
        text_add(p, f, out);
        buf_str(out, "\"}");
}

static void response_item(const struct plan *p, const struct fault *f, const char *status, struct buf *out)
{
        bool done = strcmp(status, "completed") == 0;

        buf_printf(out, "{\"type\":\"message\",\"id\":\"msg_%s\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
                   p->id + p->id_digits, status);
        if (done)
                response_part(p, f, out);
        buf_str(out, "]}");
}

static void response_whole(const struct plan *p, const struct fault *f, struct buf *out)
{
        response_head(p, "completed", out);
        buf_str(out, ",\"output\":[");
        response_item(p, f, "completed", out);
        buf_str(out, "]");
        if (f->usage_absent < 0) {
                buf_str(out, ",");
                usage_add(p, out);
        }
        buf_str(out, "}");
}

/* The same text gives the same unit vector on every machine: FNV-1a seeds splitmix64. */
static void embed(const char *s, size_t n, long dimension, float *out)
{
        uint64_t h = 14695981039346656037u;
        double norm = 0;

        for (size_t i = 0; i < n; i++)
                h = (h ^ (unsigned char)s[i]) * 1099511628211u;
        for (long i = 0; i < dimension; i++) {
                uint64_t z = (h += 0x9e3779b97f4a7c15u);

                z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
                z = (z ^ z >> 27) * 0x94d049bb133111ebu;
                z ^= z >> 31;
                out[i] = (float)((double)(z >> 11) / 9007199254740992.0 - 0.5);
                norm += (double)out[i] * (double)out[i];
        }
        norm = sqrt(norm);
        for (long i = 0; i < dimension; i++)
                out[i] = (float)((double)out[i] / norm);
}

static void embedding_add(const struct plan *p, const json_t *one, size_t index, long *chars, struct buf *out)
{
        float *v = calloc((size_t)p->dimension, sizeof *v);
        char *dumped = NULL;
        const char *s = json_string_value(one);
        size_t n = json_string_length(one);

        assert(v);
        if (!s) {
                dumped = json_dumps(one, JSON_COMPACT | JSON_ENCODE_ANY); /* a list of token ids */
                s = dumped ? dumped : "";
                n = strlen(s);
        }
        *chars += (long)n;
        embed(s, n, p->dimension, v);
        buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index ? "," : "", index);
        if (p->base64) {
                buf_str(out, "\"");
                buf_base64(out, v, (size_t)p->dimension * sizeof *v);
                buf_str(out, "\"}");
        } else {
                for (long i = 0; i < p->dimension; i++)
                        buf_printf(out, "%c%.8g", i ? ',' : '[', (double)v[i]);
                buf_str(out, "]}");
        }
        free(dumped);
        free(v);
}

static void embeddings_whole(const struct plan *p, struct buf *out)
{
        const json_t *first = json_array_get(p->input, 0);
        long chars = 0;

        buf_str(out, "{\"object\":\"list\",\"data\":[");
        if (json_is_string(p->input) || json_is_integer(first)) {
                embedding_add(p, p->input, 0, &chars, out);
        } else {
                size_t i;
                const json_t *one;

                json_array_foreach(p->input, i, one)
                        embedding_add(p, one, i, &chars, out);
        }
        buf_str(out, "],");
        model_add(p, out);
        buf_printf(out, ",\"usage\":{\"prompt_tokens\":%ld,\"total_tokens\":%ld}}", chars / 4 + 1, chars / 4 + 1);
}

void answer_whole(const struct plan *p, const struct fault *f, struct buf *out)
{
        if (p->kind == EMBEDDINGS) {
                embeddings_whole(p, out);
                return;
        }
        if (p->kind == RESPONSES) {
                response_whole(p, f, out);
                return;
        }
        head_add(p, p->kind == CHAT ? "chat.completion" : "text_completion", out);
        if (f->choices_null >= 0) {
                buf_str(out, "\"choices\":null");
        } else {
                buf_str(out, p->kind == CHAT ? "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\""
                                             : "\"choices\":[{\"index\":0,\"text\":\"");
                text_add(p, f, out);
                buf_printf(out, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}]", p->kind == CHAT ? "\"}" : "\"", finish_of(p, f));
        }
        if (f->usage_absent < 0) {
                buf_str(out, ",");
                usage_add(p, out);
        }
        buf_str(out, "}");
}

void answer_error(int status, const char *message, const char *param, const char *code, struct buf *out)
{
        const char *type = status == 429   ? "rate_limit_error"
                           : status >= 500 ? "server_error"
                           : status == 401 ? "authentication_error"
                                           : "invalid_request_error";

        buf_str(out, "{\"error\":{\"message\":\"");
        buf_json(out, message, strlen(message));
        buf_printf(out, "\",\"type\":\"%s\",\"param\":", type);
        buf_printf(out, param ? "\"%s\"" : "null%s", param ? param : "");
        buf_printf(out, code ? ",\"code\":\"%s\"}}" : ",\"code\":null%s}}", code ? code : "");
}

void answer_models(struct buf *out)
{
        buf_str(out, "{\"object\":\"list\",\"data\":[");
        for (int i = 0; i < options.port_n; i++) {
                buf_str(out, i ? ",{\"id\":\"" : "{\"id\":\"");
                buf_json(out, options.ports[i].name, strlen(options.ports[i].name));
                buf_str(out, "\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"mock\"}");
        }
        buf_str(out, "]}");
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------- */

enum part { OPENING, TOKEN, CLOSING, FINISH, USAGE, DONE };

static size_t lead(const struct plan *p)
{
        return p->kind == CHAT ? 1 : p->kind == RESPONSES ? 3 : 0;
}

/* Which part of the stream event i is; *k counts within the part. */
static enum part part_of(const struct plan *p, const struct fault *f, size_t i, size_t *k)
{
        size_t tokens = (size_t)p->tokens;

        *k = i;
        if (i < lead(p))
                return OPENING;
        *k = i - lead(p);
        if (*k < tokens)
                return TOKEN;
        *k -= tokens;
        if (p->kind == RESPONSES)
                return *k < 3 ? CLOSING : DONE;
        if (f->no_finish < 0 && (*k)-- == 0)
                return FINISH;
        if (p->include_usage && f->usage_absent < 0 && (*k)-- == 0)
                return USAGE;
        return DONE;
}

size_t stream_events(const struct plan *p, const struct fault *f)
{
        size_t n = lead(p) + (size_t)p->tokens;

        if (f->error_event >= 0 || f->error_object >= 0)
                return (size_t)MAX(f->error_event, f->error_object) + 1;
        if (p->kind == RESPONSES)
                return n + 3 + (f->no_done < 0 ? 1 : 0);
        return n + (f->no_finish < 0 ? 1 : 0) + (p->include_usage && f->usage_absent < 0 ? 1 : 0) + (f->no_done < 0 ? 1 : 0);
}

long stream_token(const struct plan *p, size_t i)
{
        long before = (long)i - (long)lead(p);

        return MAX(0, MIN(before, p->tokens - 1));
}

static void chunk_json(const struct plan *p, const struct fault *f, enum part part, size_t k, struct buf *out)
{
        bool chat = p->kind == CHAT;

        head_add(p, chat ? "chat.completion.chunk" : "text_completion", out);
        if (part == USAGE) {
                buf_str(out, f->choices_null >= 0 ? "\"choices\":null," : "\"choices\":[],");
                usage_add(p, out);
                buf_str(out, "}");
                return;
        }
        buf_str(out, chat ? "\"choices\":[{\"index\":0,\"delta\":{" : "\"choices\":[{\"index\":0,\"text\":\"");
        if (chat && part == OPENING)
                buf_str(out, "\"role\":\"assistant\",\"content\":\"\"");
        if (part == TOKEN) {
                buf_str(out, chat ? "\"content\":\"" : "");
                token_add(p, f, (long)k, out);
                buf_str(out, chat ? "\"" : "");
        }
        buf_str(out, chat ? "},\"logprobs\":null,\"finish_reason\":" : "\",\"logprobs\":null,\"finish_reason\":");
        buf_printf(out, part == FINISH ? "\"%s\"}]" : "null%s}]", part == FINISH ? finish_of(p, f) : "");
        buf_str(out, p->include_usage ? ",\"usage\":null}" : "}");
}

static const char *response_json(const struct plan *p, const struct fault *f, enum part part, size_t k, size_t i, struct buf *out)
{
        static const char *const opening[] = { "response.created", "response.output_item.added", "response.content_part.added" };
        static const char *const closing[] = { "response.output_text.done", "response.content_part.done", "response.output_item.done" };
        const char *name = part == OPENING   ? opening[k]
                           : part == TOKEN   ? "response.output_text.delta"
                           : part == CLOSING ? closing[k]
                                             : "response.completed";

        buf_printf(out, "{\"type\":\"%s\",\"sequence_number\":%zu", name, i);
        if (part == OPENING && k == 0) {
                buf_str(out, ",\"response\":");
                response_head(p, "in_progress", out);
                buf_str(out, ",\"output\":[]}}");
        } else if (part == DONE) {
                buf_str(out, ",\"response\":");
                response_whole(p, f, out);
                buf_str(out, "}");
        } else if ((part == OPENING && k == 1) || (part == CLOSING && k == 2)) {
                buf_str(out, ",\"output_index\":0,\"item\":");
                response_item(p, f, part == OPENING ? "in_progress" : "completed", out);
                buf_str(out, "}");
        } else {
                buf_printf(out, ",\"item_id\":\"msg_%s\",\"output_index\":0,\"content_index\":0,", p->id + p->id_digits);
                if (part == OPENING) {
                        buf_str(out, "\"part\":{\"type\":\"output_text\",\"annotations\":[],\"text\":\"\"}}");
                } else if (part == CLOSING && k == 1) {
                        buf_str(out, "\"part\":");
                        response_part(p, f, out);
                        buf_str(out, "}");
                } else {
                        buf_str(out, part == TOKEN ? "\"delta\":\"" : "\"text\":\"");
                        if (part == TOKEN)
                                token_add(p, f, (long)k, out);
                        else
                                text_add(p, f, out);
                        buf_str(out, "\"}");
                }
        }
        return name;
}

void stream_event(const struct plan *p, const struct fault *f, size_t i, struct buf *out)
{
        const char *nl = f->crlf >= 0 ? "\r\n" : "\n", *name = NULL;
        struct buf json = { 0 };
        size_t k;
        enum part part = part_of(p, f, i, &k);
        bool last = i + 1 == stream_events(p, f);

        if (f->comments >= 0)
                buf_printf(out, ": keep-alive%s%s", nl, nl);
        if (f->choices_null >= 0 && i == 0 && p->kind != RESPONSES) {
                buf_str(out, "data: ");
                head_add(p, p->kind == CHAT ? "chat.completion.chunk" : "text_completion", out);
                buf_printf(out, "\"choices\":null}%s%s", nl, nl);
        }
        if (f->error_event == (long)i)
                answer_error(500, "The model has run out of memory.", NULL, "engine_error", &json);
        else if (f->error_object == (long)i)
                buf_str(&json, "{\"object\":\"error\",\"message\":\"The engine is dead.\",\"type\":\"InternalServerError\",\"param\":null,"
                               "\"code\":500}");
        else if (p->kind == RESPONSES)
                name = response_json(p, f, part, k, i, &json);
        else if (part == DONE)
                buf_str(&json, "[DONE]");
        else
                chunk_json(p, f, part, k, &json);
        if (name)
                buf_printf(out, "event: %s%s", name, nl);
        buf_str(out, "data: ");
        buf_add(out, json.p, f->malformed_at == (long)i ? json.n / 2 : json.n);
        if (!last || f->no_final_newline < 0)
                buf_printf(out, "%s%s", nl, nl);
        buf_free(&json);
}
