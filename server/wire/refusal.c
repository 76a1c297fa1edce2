/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members are found by their names at any depth; the status and a few words decide what the refusal is.
 *
 * Wordings of "context length exceeded": "maximum context length" (OpenAI, vLLM), "longer than the maximum model length" (vLLM),
 * exceed_context_size_error (llama.cpp), "exceeds the context length", "exceeded max context length" (Ollama), "prompt is too long"
 * (Anthropic), "`inputs` must have less than", "`inputs` tokens + `max_new_tokens`" (TGI, Together), "input token count" (Gemini), "longer than
 * the model's context length" (SGLang), "total number of tokens in the prompt cannot exceed" (Cohere), "when context the overflows" (LM Studio).
 * Whatever the expert's own code is (Mistral's is "3051"), clients get context_length_exceeded.
 */
#include "refusal.h"

#include "base.h"
#include "js.h"
#include "secrets.h"

enum { WORDS_MAX = 500, READ_MAX = 4096, BODY_MAX = 16384, NAME_MAX_BYTES = 100, DEPTH = 64, NESTED = 6 };

/* Places in the body; p NULL: not there. */
struct parts {
        struct pm_str message, type, param, code;
        int64_t status;          /* a number that can be one; 0: none */
        struct pm_str loc;       /* FastAPI's list: where */
};

static bool holds(const char *text, const char *words)
{
        return text && strcasestr(text, words);
}

static bool is(const char *text, const char *word)
{
        return text && strcasecmp(text, word) == 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static bool is_text(struct pm_str v)
{
        return js_type(v) == JS_STRING;
}

static void keep(struct pm_str *to, struct pm_str v)
{
        if (!to->p && v.p)
                *to = v;
}

static void read_value(struct pm_str v, struct parts *p, int depth);

static struct pm_str first_of(struct pm_str list)
{
        struct pm_str key;
        struct js j;

        js_start(&j, list, DEPTH);
        return js_enter(&j) && js_more(&j, &key) ? js_take(&j) : (struct pm_str){ 0 };
}

/* One problem of FastAPI's: {"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}. */
static void read_detail(struct pm_str one, struct parts *p)
{
        keep(&p->message, js_member(one, "msg"));
        if (!js_string_is(js_member(one, "type"), "error") && !js_string_is(js_member(one, "type"), "response.failed")) /* an event's own */
                keep(&p->type, js_member(one, "type"));
        keep(&p->loc, js_member(one, "loc"));
}

static void read_object(struct pm_str o, struct parts *p, int depth)
{
        static const char *const inside[] = { "error", "response", "detail", "errors", "message" };
        struct pm_str type, status;
        int64_t n;

        if (is_text(js_member(o, "message")))
                keep(&p->message, js_member(o, "message"));
        read_detail(o, p);
        keep(&p->param, js_member(o, "param"));
        keep(&p->code, js_member(o, "code"));
        type = js_member(o, "error_type"); /* TGI's */
        status = js_member(o, "status");   /* Google's "INVALID_ARGUMENT" */
        keep(&p->type, is_text(type) ? type : is_text(status) && !js_string_is(status, "error") ? status : (struct pm_str){ 0 });
        for (size_t i = 0; i < 3 && !p->status; i++) {
                status = js_member(o, (const char *const[]){ "code", "status", "status_code" }[i]);
                if (js_int(status, &n) && n >= 400 && n < 600)
                        p->status = n;
        }
        for (size_t i = 0; i < LENGTH_OF(inside); i++) {
                struct pm_str v = js_member(o, inside[i]);

                if (js_type(v) == JS_OBJECT || js_type(v) == JS_ARRAY || (is_text(v) && i != 4))
                        read_value(v, p, depth - 1);
        }
}

static void read_value(struct pm_str v, struct parts *p, int depth)
{
        if (depth == 0)
                return;
        switch (js_type(v)) {
        case JS_OBJECT:
                /* What the inner object says of itself counts before what is around it. */
                if (js_type(js_member(v, "error")) == JS_OBJECT)
                        read_value(js_member(v, "error"), p, depth - 1);
                read_object(v, p, depth);
                break;
        case JS_ARRAY:
                read_value(first_of(v), p, depth - 1);
                break;
        case JS_STRING:
        case JS_NUMBER:
                keep(&p->message, v);
                break;
        default:
                break;
        }
}

const char *refusal_words(struct pm_str text, struct pm_str secrets, struct arena *a)
{
        char *out = arena_alloc(a, WORDS_MAX + 4);

        if (!out)
                return "";
        text.n = MIN(text.n, (size_t)READ_MAX);
        out[secrets_hide(text, secrets, out, WORDS_MAX)] = 0;
        return out;
}

/* "body", "messages", 0 becomes messages[0]. */
static const char *path_of(struct pm_str loc, struct pm_str secrets, struct arena *a)
{
        char *out = arena_alloc(a, NAME_MAX_BYTES + 4);
        struct pm_str key;
        size_t n = 0;
        struct js j;

        if (!out || js_type(loc) != JS_ARRAY)
                return NULL;
        js_start(&j, loc, DEPTH);
        for (bool first = js_enter(&j), all = first; all && js_more(&j, &key); first = false) {
                struct pm_str v = js_take(&j), text = js_text(v, a);
                bool number = js_type(v) == JS_NUMBER;

                if (first && js_string_is(v, "body"))
                        continue;
                if (!number && !text.p)
                        return NULL;
                if (number)
                        text = v;
                if (text.n + 3 > NAME_MAX_BYTES - n)
                        break;
                if (number || n)
                        out[n++] = number ? '[' : '.';
                memcpy(out + n, text.p, text.n);
                n += text.n;
                if (number)
                        out[n++] = ']';
        }
        return n ? refusal_words((struct pm_str){ out, n }, secrets, a) : NULL;
}

/* A text's words; a number as it stands. */
static const char *words_of(struct pm_str v, struct pm_str secrets, struct arena *a)
{
        struct pm_str text = js_type(v) == JS_NUMBER ? v : js_text(v, a);
        const char *words = text.n ? refusal_words(text, secrets, a) : "";

        return *words ? words : NULL;
}

/* ---- judging ------------------------------------------------------------------------------------------------------------ */

/* What a code or a type stands for; 0: nothing known. */
static int status_of_word(const char *word)
{
        static const struct {
                const char *part;
                int status;
        } words[] = {
                { "rate_limit", 429 }, { "RateLimit", 429 }, { "too_many_requests", 429 }, { "RESOURCE_EXHAUSTED", 429 },
                { "insufficient_quota", 429 }, { "billing", 402 }, { "context_length", 400 }, { "context_size", 400 },
                { "context_window", 400 }, { "ContextWindow", 400 }, { "content_filter", 400 }, { "content_policy", 400 },
                { "invalid_api_key", 401 }, { "authentication", 401 }, { "UNAUTHENTICATED", 401 }, { "permission", 403 },
                { "not_found", 404 }, { "NotFound", 404 }, { "too_large", 413 }, { "invalid_request", 400 }, { "BadRequest", 400 },
                { "INVALID_ARGUMENT", 400 }, { "validation", 422 }, { "Unprocessable", 422 }, { "overloaded", 503 }, { "unavailable", 503 },
                { "timeout", 504 },
        };

        for (size_t i = 0; word && i < LENGTH_OF(words); i++)
                if (strcasestr(word, words[i].part))
                        return words[i].status;
        return 0;
}

static bool says_context(const struct refusal *r)
{
        static const char *const names[] = { "context_length_exceeded", "exceed_context_size_error", "context_window_exceeded",
                                             "ContextWindowExceededError" };
        static const char *const words[] = {
                "maximum context length", "max context length", "context length exceeded", "exceeds the context length",
                "exceeds context length", "exceeds the available context size", "exceed the context window", "exceeds the context window",
                "exceeds the model's context", "longer than the maximum model length", "prompt is too long", "prompt too long",
                "input is too long", "input length exceeds", "inputs` must have less than", "inputs` tokens + `max_new_tokens`",
                "input token count", "context window exceeded", "longer than the model's context length",
                "total number of tokens in the prompt cannot exceed", "tokens when context the overflows", "tokens when the context overflows",
        };

        for (size_t i = 0; i < LENGTH_OF(names); i++)
                if (is(r->code, names[i]) || is(r->type, names[i]))
                        return true;
        for (size_t i = 0; i < LENGTH_OF(words); i++)
                if (holds(r->message, words[i]))
                        return true;
        return false;
}

static bool says_filter(const struct refusal *r)
{
        return holds(r->code, "content_filter") || holds(r->code, "content_policy") || holds(r->type, "content_filter");
}

static bool says_quota(const struct refusal *r)
{
        return holds(r->code, "insufficient_quota") || holds(r->type, "insufficient_quota") || holds(r->code, "billing_") ||
               holds(r->code, "insufficient_balance");
}

static bool has(struct pm_str text, const char *word)
{
        return text.n && memmem(text.p, text.n, word, strlen(word));
}

static enum refusal_kind kind_of(const struct refusal *r, bool told, struct pm_str body)
{
        bool client = r->status >= 400 && r->status < 500 && r->status != 408;

        if (r->status == 402 || (r->status == 429 && says_quota(r)))
                return REFUSAL_QUOTA;
        if (r->status == 429 || ((r->status == 503 || r->status == 529) && told))
                return REFUSAL_BUSY;
        if (r->status == 401 || r->status == 403 || r->status == 404)
                return r->status != 401 && says_filter(r) ? REFUSAL_REQUEST : REFUSAL_ACCESS;
        if ((client || r->status == 500) && r->json && says_context(r))
                return REFUSAL_CONTEXT;
        if (client)
                return has(body, "stream_options") || has(body, "include_usage") ? REFUSAL_OPTIONS : REFUSAL_REQUEST;
        return (r->status == 500 || r->status == 501) && r->json ? REFUSAL_DOUBT : REFUSAL_FAULT;
}

static void read_parts(struct refusal *r, struct pm_str body, struct pm_str secrets, struct arena *a, int64_t *ret_status)
{
        struct parts p = { 0 };
        struct pm_str text = js_trim(body);

        *ret_status = 0;
        if (js_check(body, DEPTH, NULL, NULL) < 0) {
                if (text.n && text.p[0] != '<') { /* a proxy's page says nothing to people who read an error */
                        r->message = refusal_words(text, secrets, a);
                        r->message = *r->message ? r->message : NULL;
                }
                return;
        }
        r->json = true;
        read_value(text, &p, NESTED);
        r->message = words_of(p.message, secrets, a);
        r->type = is_text(p.type) ? words_of(p.type, secrets, a) : NULL;
        r->code = is_text(p.code) ? words_of(p.code, secrets, a) : NULL;
        r->param = is_text(p.param) ? words_of(p.param, secrets, a) : path_of(p.loc, secrets, a);
        *ret_status = p.status;
        if (!r->message)
                r->message = refusal_words(text, secrets, a);
}

static void judge(struct refusal *r, bool told, struct pm_str body, struct pm_str secrets)
{
        r->kind = kind_of(r, told, body);
        r->clean = r->json && js_trim(body).n <= BODY_MAX && !secrets_found(js_trim(body), secrets);
        if (r->kind == REFUSAL_CONTEXT && r->status >= 500)
                r->status = 400; /* older llama.cpp; clients would come again with the same prompt */
        if (r->kind == REFUSAL_CONTEXT && !is(r->code, "context_length_exceeded")) { /* the one word that clients know */
                r->code = "context_length_exceeded";
                r->clean = false;
        }
}

void refusal_read(int status, bool told, struct pm_str body, struct pm_str secrets, struct arena *a, struct refusal *ret)
{
        int64_t said;

        *ret = (struct refusal){ .status = status };
        read_parts(ret, body, secrets, a, &said);
        judge(ret, told, body, secrets);
}

void refusal_read_event(struct pm_str data, struct pm_str secrets, struct arena *a, struct refusal *ret)
{
        int64_t said;

        *ret = (struct refusal){ .event = true };
        read_parts(ret, data, secrets, a, &said);
        ret->status = (int)said;
        if (!ret->status)
                ret->status = status_of_word(ret->code);
        if (!ret->status)
                ret->status = status_of_word(ret->type);
        if (!ret->status)
                ret->status = says_context(ret) ? 400 : 500;
        judge(ret, false, data, secrets);
}
