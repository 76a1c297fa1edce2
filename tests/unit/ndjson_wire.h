/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ndjson_wire.h - a second wire, for tests: in the shape of Ollama's /api/chat.
 *
 * Streams are the default and are lines of JSON, the last of which says "done": true; there is no other end.  An answer has a `message` and no
 * choices, tokens are counted in members of their own, an error is a text, and the key stands in a header of its own.
 */
#ifndef PM_TEST_NDJSON_WIRE_H
#define PM_TEST_NDJSON_WIRE_H

#include <event2/buffer.h>

#include "h1.h"
#include "js.h"
#include "openai.h"

#include "base.h"

#define NDJSON_API ((enum expert_api)16)
#define NDJSON_PATH "/api/chat"

static int ndjson_wrong(struct query_error *why, const char *param, const char *message)
{
        *why = (struct query_error){ .message = message, .param = param };
        return -EINVAL;
}

static int ndjson_parse(struct pm_str body, enum expert_api api, const struct query_limits *limits, struct arena *a, struct query *ret,
                        struct query_error *why)
{
        struct query q = { .api = api, .body = body };
        struct pm_str object = js_trim(body), messages, key;
        struct js j;

        if (js_check(body, limits->depth, NULL, NULL) < 0 || js_type(object) != JS_OBJECT)
                return ndjson_wrong(why, NULL, "the body is no JSON object");
        q.model_value = js_member(object, "model");
        if (js_type(q.model_value) != JS_STRING)
                return ndjson_wrong(why, "model", "model is required");
        q.model = js_text(q.model_value, a);
        q.stream_value = js_member(object, "stream");
        q.stream = js_type(q.stream_value) != JS_FALSE;
        q.temperature = js_member(js_member(object, "options"), "temperature");
        messages = js_member(object, "messages");
        q.turns = arena_alloc(a, limits->messages * sizeof *q.turns);
        js_start(&j, messages, limits->depth);
        for (js_enter(&j); q.turns && q.n_turns < limits->messages && js_more(&j, &key);) {
                struct pm_str m = js_take(&j);

                q.turns[q.n_turns++] = (struct query_turn){ js_member(m, "role"), js_member(m, "content") };
        }
        if (q.n_turns == 0)
                return ndjson_wrong(why, "messages", "messages is empty");
        *ret = q;
        return 0;
}

static bool ndjson_repeats(const struct query *q)
{
        return q->temperature.n == 1 && *q->temperature.p == '0';
}

static void ndjson_look(struct reading *x, struct evbuffer *in, const struct h1_header *headers, size_t n_headers, bool ended)
{
        struct pm_str type = h1_header(&(struct h1_head){ .headers = headers, .n_headers = n_headers }, "content-type");

        if (evbuffer_get_length(in) > 0 || ended) /* both begin with '{' */
                x->kind = type.n == 20 && memcmp(type.p, "application/x-ndjson", 20) == 0 ? READING_EVENTS : READING_WHOLE;
}

static void ndjson_read(struct pm_str json, struct facts *ret)
{
        struct pm_str content = js_member(js_member(json, "message"), "content");

        *ret = (struct facts){ .tokens_in = -1, .tokens_out = -1 };
        if (js_check(json, 64, NULL, NULL) < 0 || js_type(json) != JS_OBJECT)
                return;
        ret->json = true;
        ret->error = js_member(json, "error").p;
        ret->content = content.n > 2;
        ret->closes = ret->finished = js_type(js_member(json, "done")) == JS_TRUE;
        ret->has_usage = js_int(js_member(json, "eval_count"), &ret->tokens_out);
        (void)js_int(js_member(json, "prompt_eval_count"), &ret->tokens_in);
}

static const char *ndjson_read_answer(struct pm_str body, enum expert_api api, struct facts *ret)
{
        (void)api;
        ndjson_read(js_trim(body), ret);
        if (!ret->json)
                return "with something that is not a JSON object";
        if (ret->error)
                return "with an error";
        return js_type(js_member(js_trim(body), "message")) == JS_OBJECT ? NULL : "without a message";
}

static int ndjson_tell(struct pm_str answer, const struct query *q, struct evbuffer *out)
{
        struct pm_str line = js_trim(answer);

        (void)q;
        return evbuffer_add(out, line.p, line.n) < 0 || evbuffer_add(out, "\n", 1) < 0 ? -ENOMEM : 0;
}

static int ndjson_read_event(struct stream_reader *s, struct evbuffer *in, bool ended, struct stream_event *e, struct facts *f)
{
        size_t n = evbuffer_get_length(in);
        const char *p = n ? (const char *)evbuffer_pullup(in, -1) : NULL, *end = p ? memchr(p, '\n', n) : NULL;

        if (n && !p)
                return -ENOMEM;
        if ((end ? (size_t)(end + 1 - p) : n) > s->max)
                return -EMSGSIZE;
        if (!end && !(ended && n))
                return 0;
        *e = (struct stream_event){ .raw = { p, end ? (size_t)(end + 1 - p) : n }, .ragged = !end, .has_data = true };
        e->data = js_trim(e->raw);
        if (e->data.n)
                ndjson_read(e->data, f);
        return 1;
}

static bool ndjson_is_all(const struct reading *x, const struct query *q)
{
        (void)q;
        return x->finished;
}

static struct pm_str ndjson_error(struct arena *a, const char *message, const char *end)
{
        size_t n = strlen(message);
        char *p = arena_alloc(a, 6 * n + 16);

        if (!p)
                return (struct pm_str){ 0 };
        n = 10 + js_escape((struct pm_str){ message, n }, (char *)memcpy(p, "{\"error\":\"", 10) + 10);
        memcpy(p + n, "\"}", 2);
        memcpy(p + n + 2, end, strlen(end));
        return (struct pm_str){ p, n + 2 + strlen(end) };
}

static struct pm_str ndjson_error_body(struct arena *a, int status, const char *type, const char *param, const char *code, const char *message)
{
        (void)status, (void)type, (void)param, (void)code;
        return ndjson_error(a, message, "");
}

static struct pm_str ndjson_error_event(struct arena *a, const char *code, const char *message)
{
        (void)code;
        return ndjson_error(a, message, "\n");
}

static bool ndjson_is_error(struct pm_str body)
{
        return js_type(js_member(js_trim(body), "error")) == JS_STRING;
}

#define NDJSON_STR(literal) { "" literal, sizeof(literal) - 1 }

static const struct wire ndjson_wire = {
        .api = NDJSON_API, .path = NDJSON_PATH, .stream_type = "application/x-ndjson", .key_header = "x-ndjson-key",
        .ask_whole = NDJSON_STR("Content-Type: application/json\r\nAccept: application/json\r\n"),
        .ask_stream = NDJSON_STR("Content-Type: application/json\r\nAccept: application/x-ndjson\r\n"),
        .parse = ndjson_parse, .edit = query_edits, .splice = query_splice, .conversation = WIRE_FIRST_MESSAGES, .repeats = ndjson_repeats,
        .look = ndjson_look, .read_answer = ndjson_read_answer, .shape = { "message", '{', "without a message" }, .tell_as_events = ndjson_tell,
        .read_event = ndjson_read_event, .event_end = NDJSON_STR("\n"), .is_all = ndjson_is_all,
        .error_body = ndjson_error_body, .error_event = ndjson_error_event, .is_error = ndjson_is_error,
        .no_memory_body = NDJSON_STR("{\"error\":\"no memory\"}"), .no_memory_event = NDJSON_STR("{\"error\":\"no memory\"}\n"),
};
#endif
