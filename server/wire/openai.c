/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is OpenAI's alone and no file of its own: when an answer may be kept and when a stream was all of it, ids, errors.  Then the four tables.
 */
#include "openai.h"

#include "as_events.h"
#include "base.h"
#include "h1.h"
#include "js.h"
#include "sse.h"
#include "text.h"

#define STR(literal) { "" literal, sizeof(literal) - 1 }
#define EVENTS "text/event-stream"

/* ---- the request --------------------------------------------------------------------------------------------------------- */

static bool absent_or_empty(struct pm_str list)
{
        struct pm_str key;
        struct js j;

        if (!list.p || js_type(list) == JS_NULL)
                return true;
        if (js_type(list) != JS_ARRAY)
                return false;
        js_start(&j, list, 512);
        return js_enter(&j) && !js_more(&j, &key);
}

/* 0, 0.0, -0, 0e5: digits before an exponent that are all zero. */
static bool is_zero(struct pm_str number)
{
        if (js_type(number) != JS_NUMBER)
                return false;
        for (size_t i = 0; i < number.n && (number.p[i] | 0x20) != 'e'; i++)
                if (number.p[i] >= '1' && number.p[i] <= '9')
                        return false;
        return true;
}

static bool repeats(const struct query *q)
{
        return !q->ambiguous && is_zero(q->temperature) && absent_or_empty(q->tools) && absent_or_empty(q->functions);
}

/* How many choices were asked for: at least 1. */
static int64_t choices_asked(const struct query *q)
{
        struct pm_str n = js_member(js_trim(q->body), "n");
        int64_t asked;

        return n.p && js_int(n, &asked) ? MAX(asked, 1) : 1;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------------- */

static void look(struct reading *x, struct evbuffer *in, const struct h1_header *headers, size_t n_headers, bool ended)
{
        static const char type[] = EVENTS;
        struct pm_str v;

        if (reading_look_quickly(x, in))
                return;
        v = h1_header(&(struct h1_head){ .headers = headers, .n_headers = n_headers }, "content-type");
        reading_look(x, in, ended, v.n >= sizeof type - 1 && strncasecmp(v.p, type, sizeof type - 1) == 0);
}

static const char *read_answer(struct pm_str body, enum expert_api api, struct facts *ret)
{
        facts_read(body, ret);
        return facts_fault(ret, api);
}

static int tell_as_events(struct pm_str answer, const struct query *q, struct evbuffer *out)
{
        return as_events(answer, q->api, q->wants_usage, out);
}

/* ---- the stream ---------------------------------------------------------------------------------------------------------- */

static int read_event(struct stream_reader *s, struct evbuffer *in, bool ended, struct stream_event *e, struct facts *f)
{
        int got = sse_next(s, in, ended, e);

        if (got == 1 && e->data.n > 0 && !e->done)
                facts_read_event(e, f);
        return got;
}

/* Some servers never say a finish reason; one that does says it for each choice. */
static const char *done_fault(const struct reading *x)
{
        if (!x->content && !x->finished)
                return "its stream has no answer";
        return x->finished && !reading_ended(x) ? "its stream says [DONE], but not all choices have a finish reason" : NULL;
}

static bool is_all(const struct reading *x, const struct query *q)
{
        return reading_has_all(x, choices_asked(q));
}

static bool strip(const struct stream_event *e, const struct facts *f)
{
        if (f->usage_null) {
                facts_blank(e->data, f->usage);
        } else if (f->n_choices == 0) {
                if (facts_only_usage(e->data))
                        return false;
                facts_blank(e->data, f->usage); /* servers put their timings, citations, ... there too */
        }
        return true;
}

/* ---- streams of /responses ----------------------------------------------------------------------------------------------- */

static const char *response_done_fault(const struct reading *x)
{
        return x->finished ? done_fault(x) : "its stream says [DONE] without response.completed";
}

static bool response_is_all(const struct reading *x, const struct query *q)
{
        (void)q;
        return reading_has_all(x, 0);
}

enum { ITEMS_MAX = 32 };

static struct pm_str text_of(struct pm_str value, struct arena *a)
{
        return js_type(value) == JS_STRING ? js_text(value, a) : (struct pm_str){ 0 };
}

static void item_ids(struct pm_str item, struct arena *a, wire_id_fn *each, void *arg)
{
        each(arg, text_of(js_member(item, "id"), a), false);
        each(arg, text_of(js_member(item, "encrypted_content"), a), true);
}

/* A response: its id, its conversation, its items.  It need not be all there: what has been read counts. */
static void answer_ids(struct pm_str json, struct arena *a, wire_id_fn *each, void *arg)
{
        struct pm_str key, ignored;
        size_t items = 0;
        struct js j;

        js_start(&j, json, 512);
        for (js_enter(&j); js_more(&j, &key);) {
                if (js_equal(key, "output") && js_peek(&j) == JS_ARRAY) {
                        for (js_enter(&j); js_more(&j, &ignored);) {
                                struct pm_str item = js_take(&j);

                                if (!j.error && items++ < ITEMS_MAX)
                                        item_ids(item, a, each, arg);
                        }
                        continue;
                }

                struct pm_str v = js_take(&j);

                if (j.error)
                        return;
                if (js_equal(key, "id"))
                        each(arg, text_of(v, a), false);
                else if (js_equal(key, "conversation"))
                        each(arg, text_of(js_type(v) == JS_OBJECT ? js_member(v, "id") : v, a), false);
        }
}

/* response.created has the response's id, response.output_item.done one item; what ends the stream has them again. */
static bool ids(struct pm_str json, bool event, struct arena *a, wire_id_fn *each, void *arg)
{
        struct pm_str type = event ? js_member(json, "type") : (struct pm_str){ 0 };

        if (!event || js_string_is(type, "response.created")) {
                answer_ids(event ? js_member(json, "response") : json, a, each, arg);
                return true;
        }
        if (js_string_is(type, "response.output_item.done"))
                item_ids(js_member(json, "item"), a, each, arg);
        return false;
}

/* ---- errors -------------------------------------------------------------------------------------------------------------- */

#define NO_MEMORY_WORDS "the gateway is out of memory"
#define NO_MEMORY "{\"error\":{\"message\":\"" NO_MEMORY_WORDS "\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"

static const char *type_of(int status)
{
        switch (status) {
        case 401:
                return "authentication_error";
        case 403:
                return "permission_error";
        case 429:
                return "rate_limit_error";
        default:
                return status >= 500 && status != 501 && status != 505 ? "server_error" : "invalid_request_error";
        }
}

static void put_quoted(struct text *t, const char *s)
{
        if (!s) {
                TEXT_PUT(t, "null");
                return;
        }
        TEXT_PUT(t, "\"");
        t->n += js_escape((struct pm_str){ s, strlen(s) }, t->p + t->n);
        TEXT_PUT(t, "\"");
}

static struct pm_str error_body(struct arena *a, int status, const char *type, const char *param, const char *code, const char *message)
{
        struct text t = { 0 };

        type = type ? type : type_of(status);
        t.room = 256 + 6 * (strlen(message) + strlen(type) + (param ? strlen(param) : 0) + (code ? strlen(code) : 0));
        t.p = arena_alloc(a, t.room);
        if (!t.p)
                return (struct pm_str){ 0 };
        TEXT_PUT(&t, "{\"error\":{\"message\":");
        put_quoted(&t, message);
        TEXT_PUT(&t, ",\"type\":");
        put_quoted(&t, type);
        TEXT_PUT(&t, ",\"param\":");
        put_quoted(&t, param);
        TEXT_PUT(&t, ",\"code\":");
        put_quoted(&t, code);
        TEXT_PUT(&t, "}}");
        return (struct pm_str){ t.p, t.n };
}

static struct pm_str error_event(struct arena *a, const char *code, const char *message)
{
        struct pm_str error = error_body(a, 500, NULL, NULL, code, message);
        struct text t = { .room = error.n + 16 };

        t.p = error.p ? arena_alloc(a, t.room) : NULL;
        if (!t.p)
                return (struct pm_str){ 0 };
        TEXT_PUT(&t, "data: ");
        text_put(&t, error.p, error.n);
        TEXT_PUT(&t, "\n\n");
        return (struct pm_str){ t.p, t.n };
}

static struct pm_str response_error_event(struct arena *a, const char *code, const char *message)
{
        struct text t = { .room = 512 + 6 * (strlen(message) + (code ? strlen(code) : 0)) };

        t.p = arena_alloc(a, t.room);
        if (!t.p)
                return (struct pm_str){ 0 };
        TEXT_PUT(&t, "event: error\ndata: {\"type\":\"error\",\"code\":");
        put_quoted(&t, code);
        TEXT_PUT(&t, ",\"message\":");
        put_quoted(&t, message);
        TEXT_PUT(&t, ",\"param\":null}\n\n");
        return (struct pm_str){ t.p, t.n };
}

/* A message, its type a text, param and code texts or null, all of them there. */
static bool is_error(struct pm_str body)
{
        struct pm_str error = js_member(js_trim(body), "error"), param = js_member(error, "param"), code = js_member(error, "code");

        return js_type(js_member(error, "message")) == JS_STRING && js_type(js_member(error, "type")) == JS_STRING &&
               (js_type(param) == JS_STRING || js_type(param) == JS_NULL) && (js_type(code) == JS_STRING || js_type(code) == JS_NULL);
}

/* ---- the tables ---------------------------------------------------------------------------------------------------------- */

#define ASK(type) STR("Content-Type: application/json\r\nAccept: " type "\r\n")

/* What all four have. */
#define OPENAI                                                                                                                   \
        .stream_type = EVENTS, .ask_whole = ASK("application/json"), .ask_stream = ASK(EVENTS), .parse = query_parse,            \
        .edit = query_edits, .splice = query_splice, .look = look, .read_answer = read_answer,                                   \
        .tell_as_events = tell_as_events,                                                                                        \
        .read_event = read_event, .event_end = STR("\n\n"), .error_body = error_body, .no_memory_body = STR(NO_MEMORY), .is_error = is_error

#define ENDS_IN_DONE                                                                                                             \
        .done = STR("data: [DONE]\n\n"), .done_fault = done_fault, .is_all = is_all, .strip = strip, .repeats = repeats,         \
        .error_event = error_event, .no_memory_event = STR("data: " NO_MEMORY "\n\n")

const struct wire openai_chat = {
        .api = EXPERT_CHAT, .path = "/chat/completions", .conversation = WIRE_FIRST_MESSAGES,
        .shape = { "choices", '[', "without choices" }, OPENAI, ENDS_IN_DONE,
};

const struct wire openai_completions = {
        .api = EXPERT_COMPLETIONS, .path = "/completions", .conversation = WIRE_NAMED,
        .shape = { "choices", '[', "without choices" }, OPENAI, ENDS_IN_DONE,
};

const struct wire openai_responses = {
        .api = EXPERT_RESPONSES, .path = "/responses", .conversation = WIRE_FIRST_MESSAGES,
        .shape = { "output", '[', "without output" }, OPENAI, .done_fault = response_done_fault, .is_all = response_is_all, .ids = ids,
        .error_event = response_error_event,
        .no_memory_event = STR("event: error\ndata: {\"type\":\"error\",\"code\":null,\"message\":\"" NO_MEMORY_WORDS "\",\"param\":null}\n\n"),
};

const struct wire openai_embeddings = {
        .api = EXPERT_EMBEDDINGS, .path = "/embeddings", .conversation = WIRE_NO_CONVERSATION,
        .shape = { "data", '[', "without data" }, OPENAI, .done_fault = response_done_fault, .is_all = response_is_all,
        .error_event = error_event, .no_memory_event = STR("data: " NO_MEMORY "\n\n"),
};

const struct wire *const wire_default = &openai_chat;
