/* SPDX-License-Identifier: Apache-2.0 */
/* The wires of OpenAI's API, function by function: what the steps of a request are told. */
#include <criterion/criterion.h>

#include <event2/buffer.h>

#include "h1.h"
#include "js.h"
#include "openai.h"

#include "base.h"

static const struct wire *const all[] = { &openai_chat, &openai_completions, &openai_responses, &openai_embeddings };
static struct arena a;

static void begin(void)
{
        arena_init(&a, NULL, 1 << 20);
}

static void end(void)
{
        arena_finish(&a);
}

static struct pm_str str(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

static void is(struct pm_str got, const char *want)
{
        cr_assert(got.n == strlen(want) && memcmp(got.p, want, got.n) == 0, "'%.*s', not '%s'", (int)got.n, got.p, want);
}

/* Nothing that a step calls without asking is missing. */
Test(openai, tables)
{
        for (size_t i = 0; i < LENGTH_OF(all); i++) {
                const struct wire *w = all[i];

                cr_assert(w->parse && w->splice && w->look && w->read_answer && w->tell_as_events && w->read_event && w->done_fault && w->is_all &&
                          w->error_body && w->error_event && w->is_error, "%s", w->path);
                cr_assert(w->shape.name && w->shape.fault && w->no_memory_body.n && w->no_memory_event.n && w->event_end.n && w->ask_stream.n);
                cr_assert_eq(js_check(w->no_memory_body, 8, NULL, NULL), 0);
                cr_assert(w->is_error(w->no_memory_body));
                cr_assert_eq(__builtin_popcount(w->api), 1);
                for (size_t k = 0; k < i; k++)
                        cr_assert(w->api != all[k]->api && strcmp(w->path, all[k]->path) != 0);
        }
        cr_assert(wire_default->error_body == openai_chat.error_body);
}

/* ---- the request --------------------------------------------------------------------------------------------------------- */

static struct query parsed(const struct wire *w, const char *body)
{
        const struct query_limits limits = { .depth = 64, .messages = 100 };
        struct query_error why;
        struct query q;

        cr_assert_eq(w->parse(str(body), w->api, &limits, &a, &q, &why), 0, "%s: %s", body, why.message);
        cr_assert_eq(q.api, w->api);
        return q;
}

#define CHAT_WITH(more) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]" more "}"

Test(openai, which_answers_repeat, .init = begin, .fini = end)
{
        static const struct {
                const char *body;
                bool repeats;
        } rows[] = {
                { CHAT_WITH(""), false }, { CHAT_WITH(",\"temperature\":0"), true }, { CHAT_WITH(",\"temperature\":-0.0e5"), true },
                { CHAT_WITH(",\"temperature\":0.01"), false }, { CHAT_WITH(",\"temperature\":\"0\""), false }, { CHAT_WITH(",\"temperature\":null"), false },
                { CHAT_WITH(",\"temperature\":0,\"tools\":[]"), true }, { CHAT_WITH(",\"temperature\":0,\"tools\":null"), true },
                { CHAT_WITH(",\"temperature\":0,\"tools\":[{}]"), false }, { CHAT_WITH(",\"temperature\":0,\"functions\":[1]"), false },
                { CHAT_WITH(",\"temperature\":0,\"functions\":{}"), false }, { CHAT_WITH(",\"temperature\":1,\"temperature\":0"), false },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct query q = parsed(&openai_chat, rows[i].body);

                cr_assert_eq(openai_chat.repeats(&q), rows[i].repeats, "%s", rows[i].body);
        }
        cr_assert(openai_completions.repeats && !openai_responses.repeats && !openai_embeddings.repeats);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------------- */

static enum reading_kind looks(const char *type, const char *bytes, bool ended)
{
        struct h1_header h = { { "Content-Type", 12 }, str(type) };
        struct evbuffer *in = evbuffer_new();
        struct reading x = READING_NONE;

        cr_assert_eq(evbuffer_add(in, bytes, strlen(bytes)), 0);
        openai_chat.look(&x, in, &h, 1, ended);
        evbuffer_free(in);
        return x.kind;
}

Test(openai, what_comes)
{
        cr_assert_eq(looks("application/json", "{\"a\":1}", false), READING_WHOLE);
        cr_assert_eq(looks("text/event-stream", "{\"error\":1}", false), READING_WHOLE, "whatever it says");
        cr_assert_eq(looks("text/html", "data: {", false), READING_EVENTS, "servers name their streams as they like");
        cr_assert_eq(looks("Text/Event-Stream; charset=utf-8", "x: 1", false), READING_EVENTS);
        cr_assert_eq(looks("text/event", "x: 1", false), READING_WHOLE);
        cr_assert_eq(looks("application/json", "  da", false), READING_UNKNOWN);
        cr_assert_eq(looks("application/json", "  da", true), READING_WHOLE);
        cr_assert_eq(looks("text/event-stream", "", false), READING_UNKNOWN);
        cr_assert_eq(looks("text/event-stream", "", true), READING_EVENTS);
}

Test(openai, is_it_an_answer)
{
        static const char *const bodies[] = { "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "{\"choices\":[{\"text\":\"a\"}]}", "{\"output\":[]}", "{\"data\":[1]}" };
        struct facts f;

        for (size_t i = 0; i < LENGTH_OF(all); i++)
                for (size_t k = 0; k < LENGTH_OF(bodies); k++) {
                        const char *fault = all[i]->read_answer(str(bodies[k]), all[i]->api, &f);

                        cr_assert_eq(!fault, i == k, "%s: %s: %s", all[i]->path, bodies[k], fault);
                }
        cr_assert_str_eq(openai_chat.read_answer(str("{}"), EXPERT_CHAT, &f), "without choices");
        cr_assert_str_eq(openai_chat.read_answer(str("[]"), EXPERT_CHAT, &f), "with something that is not a JSON object");
        cr_assert_str_eq(openai_chat.read_answer(str("{\"error\":{\"message\":\"m\"}}"), EXPERT_CHAT, &f), "with an error");
        cr_assert(f.error);
        (void)openai_chat.read_answer(str("{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}"), EXPERT_CHAT, &f);
        cr_assert(f.tokens_in == 3 && f.tokens_out == 4);
}

Test(openai, a_whole_answer_as_events, .init = begin, .fini = end)
{
        static const char answer[] = "{\"choices\":[{\"index\":0,\"text\":\"a\",\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"output\":[],\"usage\":{\"total_tokens\":1}}";
        struct query with = parsed(&openai_chat, CHAT_WITH(",\"stream\":true,\"stream_options\":{\"include_usage\":true}")), without = parsed(&openai_chat, CHAT_WITH(",\"stream\":true")),
                     response = parsed(&openai_responses, "{\"model\":\"m\",\"input\":\"Hi\",\"stream\":true}");
        struct evbuffer *out = evbuffer_new();

        cr_assert_eq(openai_chat.tell_as_events(str(answer), &without, out), 0);
        cr_assert_lt(evbuffer_search(out, "total_tokens", 12, NULL).pos, 0);
        cr_assert_lt(evbuffer_search(out, "[DONE]", 6, NULL).pos, 0, "the step says that");
        cr_assert_eq(openai_chat.tell_as_events(str(answer), &with, out), 0);
        cr_assert_gt(evbuffer_search(out, "total_tokens", 12, NULL).pos, 0);
        cr_assert_lt(openai_responses.tell_as_events(str(answer), &response, out), 0, "it has events of its own");
        evbuffer_free(out);
}

/* ---- the stream ---------------------------------------------------------------------------------------------------------- */

/* Reads all of it: the last result, and what it came to. */
static struct reading told(const struct wire *w, const char *text, bool *ret_done, bool *ret_closed)
{
        struct evbuffer *in = evbuffer_new();
        struct reading x = READING_NONE;
        struct stream_event e;
        struct facts f;

        *ret_done = *ret_closed = false;
        stream_reader_init(&x.reader, 4096);
        cr_assert_eq(evbuffer_add(in, text, strlen(text)), 0);
        while (w->read_event(&x.reader, in, true, &e, &f) == 1) {
                *ret_done |= e.done;
                if (!e.done && e.data.n) {
                        reading_add(&x, &f);
                        *ret_closed |= f.closes;
                }
                evbuffer_drain(in, e.raw.n);
        }
        evbuffer_free(in);
        return x;
}

#define CHUNK(index, more) "data: {\"choices\":[{\"index\":" index "," more "}]}\n\n"

Test(openai, when_a_stream_was_all, .init = begin, .fini = end)
{
        static const struct {
                const char *n, *events, *fault; /* fault: if it now says that it is done */
                bool all;
        } rows[] = {
                { "", ": comment\n\n", "its stream has no answer", false },
                { "", CHUNK("0", "\"delta\":{\"content\":\"a\"}"), NULL, false },
                { "", CHUNK("0", "\"delta\":{\"content\":\"a\"}") CHUNK("0", "\"finish_reason\":\"stop\""), NULL, true },
                { ",\"n\":2", CHUNK("0", "\"finish_reason\":\"stop\""), NULL, false },
                { ",\"n\":2", CHUNK("0", "\"finish_reason\":\"stop\"") CHUNK("1", "\"finish_reason\":\"length\""), NULL, true },
                { "", CHUNK("0", "\"finish_reason\":\"stop\"") CHUNK("1", "\"delta\":{}"), "its stream says [DONE], but not all choices have a finish reason", false },
        };
        bool done, closed;

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct query q = parsed(&openai_chat, arena_printf(&a, CHAT_WITH("%s"), rows[i].n));
                struct reading x = told(&openai_chat, rows[i].events, &done, &closed);
                const char *fault = openai_chat.done_fault(&x);

                cr_assert(!done && !closed);
                cr_assert((!fault && !rows[i].fault) || (fault && rows[i].fault && strcmp(fault, rows[i].fault) == 0), "%zu: %s", i, fault);
                cr_assert_eq(openai_chat.is_all(&x, &q), rows[i].all, "%zu", i);
        }
        (void)told(&openai_chat, CHUNK("0", "\"delta\":{}") "data: [DONE]\n\n", &done, &closed);
        cr_assert(done);
        is(openai_chat.done, "data: [DONE]\n\n");
}

Test(openai, when_a_response_was_all, .init = begin, .fini = end)
{
        struct query q = parsed(&openai_responses, "{\"model\":\"m\",\"input\":\"Hi\"}");
        bool done, closed;
        struct reading x = told(&openai_responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n", &done, &closed);

        cr_assert(x.content && !closed && !openai_responses.is_all(&x, &q));
        cr_assert_str_eq(openai_responses.done_fault(&x), "its stream says [DONE] without response.completed");
        x = told(&openai_responses, "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}", &done, &closed);
        cr_assert(closed && openai_responses.is_all(&x, &q));
        cr_assert_null(openai_responses.done_fault(&x));
        cr_assert_eq(openai_responses.done.n, 0);
}

Test(openai, usage_that_was_not_asked_for)
{
        static const struct {
                const char *in, *out; /* out NULL: nothing else is in it */
        } rows[] = {
                { "{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", NULL },
                { "{\"choices\":[{\"delta\":{}}],\"usage\":null}", "{\"choices\":[{\"delta\":{}}]             }" },
                { "{\"choices\":[],\"usage\":{\"a\":1},\"timings\":{\"ms\":1}}", "{\"choices\":[],                \"timings\":{\"ms\":1}}" },
                { "{\"choices\":[{\"delta\":{}}],\"usage\":{\"a\":1}}", "{\"choices\":[{\"delta\":{}}],\"usage\":{\"a\":1}}" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char text[128];
                struct stream_event e = { .data = { text, strlen(rows[i].in) } };
                struct facts f;

                memcpy(text, rows[i].in, strlen(rows[i].in) + 1);
                facts_read_event(&e, &f);
                cr_assert_eq(openai_chat.strip(&e, &f), rows[i].out != NULL, "%zu", i);
                if (rows[i].out)
                        cr_assert_str_eq(text, rows[i].out);
        }
        cr_assert(openai_completions.strip && !openai_responses.strip && !openai_embeddings.strip);
}

Test(openai, ragged_events, .init = begin, .fini = end)
{
        static const struct {
                const char *bytes;
                bool ragged;
        } rows[] = {
                { "data: {\"a\":1}\n\n", false }, { "data: {\"a\":1}\r\n\r\n", false }, { "data: {\"a\":1}\r\r", false }, { "data:{\"a\":1}\n\n", false },
                { "data: {\"a\":1}\n", true }, { "data: {\"a\":1}", true }, { "data: {\"a\":1}\r\n\n", false }, { "data: {\"a\":1}\n\r\n", true },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct evbuffer *in = evbuffer_new();
                struct stream_reader s;
                struct stream_event e;
                struct facts f;

                stream_reader_init(&s, 4096);
                cr_assert_eq(evbuffer_add(in, rows[i].bytes, strlen(rows[i].bytes)), 0);
                cr_assert_eq(openai_chat.read_event(&s, in, true, &e, &f), 1);
                cr_assert(f.json && e.ragged == rows[i].ragged, "%zu", i);
                evbuffer_free(in);
        }
}

/* ---- ids ----------------------------------------------------------------------------------------------------------------- */

static void note(void *arg, struct pm_str id, bool sealed)
{
        char *to = arg;

        if (id.n)
                (void)snprintf(to + strlen(to), 256 - strlen(to), "%s%.*s ", sealed ? "sealed:" : "", (int)id.n, id.p);
}

Test(openai, ids, .init = begin, .fini = end)
{
        static const struct {
                const char *json, *ids;
                bool event, own;
        } rows[] = {
                { "{\"id\":\"r1\",\"output\":[{\"id\":\"i1\"},{\"id\":\"i2\",\"encrypted_content\":\"s\"},3],\"conversation\":{\"id\":\"c\"}}", "r1 i1 i2 sealed:s c ", false, true },
                { "{\"conversation\":\"c\",\"id\":7,\"output\":null}", "c ", false, true },
                { "{\"id\":\"r1\",\"output\":[{\"id\":\"i1\"},{\"id\":", "r1 i1 ", false, true },
                { "{\"type\":\"response.created\",\"response\":{\"id\":\"r1\"}}", "r1 ", true, true },
                { "{\"type\":\"response.output_item.done\",\"item\":{\"id\":\"i1\",\"encrypted_content\":\"s\"}}", "i1 sealed:s ", true, false },
                { "{\"type\":\"response.output_text.delta\",\"id\":\"x\",\"item\":{\"id\":\"i1\"}}", "", true, false },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char got[256] = "";

                cr_assert_eq(openai_responses.ids(str(rows[i].json), rows[i].event, &a, note, got), rows[i].own, "%zu", i);
                cr_assert_str_eq(got, rows[i].ids, "%zu", i);
        }
        cr_assert(!openai_chat.ids && !openai_completions.ids && !openai_embeddings.ids);
}

/* ---- errors -------------------------------------------------------------------------------------------------------------- */

Test(openai, errors, .init = begin, .fini = end)
{
        static const struct {
                int status;
                const char *type;
        } rows[] = { { 400, "invalid_request_error" }, { 401, "authentication_error" }, { 403, "permission_error" }, { 404, "invalid_request_error" },
                     { 429, "rate_limit_error" }, { 500, "server_error" }, { 501, "invalid_request_error" }, { 503, "server_error" } };

        for (size_t i = 0; i < LENGTH_OF(rows); i++)
                is(openai_chat.error_body(&a, rows[i].status, NULL, "p", NULL, "a \"word\"\n"),
                   arena_printf(&a, "{\"error\":{\"message\":\"a \\\"word\\\"\\n\",\"type\":\"%s\",\"param\":\"p\",\"code\":null}}", rows[i].type));
        is(openai_chat.error_body(&a, 400, "its own", NULL, "c", "m"), "{\"error\":{\"message\":\"m\",\"type\":\"its own\",\"param\":null,\"code\":\"c\"}}");
        is(openai_chat.error_event(&a, "c", "m"), "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":\"c\"}}\n\n");
        is(openai_embeddings.error_event(&a, NULL, "m"), "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n");
        is(openai_responses.error_event(&a, NULL, "m\n"), "event: error\ndata: {\"type\":\"error\",\"code\":null,\"message\":\"m\\n\",\"param\":null}\n\n");
}

Test(openai, errors_without_memory)
{
        struct arena none;

        arena_init(&none, NULL, 0);
        for (size_t i = 0; i < LENGTH_OF(all); i++) {
                cr_assert_null(all[i]->error_body(&none, 500, NULL, NULL, NULL, "m").p);
                cr_assert_null(all[i]->error_event(&none, NULL, "m").p);
        }
        arena_finish(&none);
}

Test(openai, whose_error_it_is)
{
        static const struct {
                const char *body;
                bool ours;
        } rows[] = {
                { " {\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":\"c\"},\"more\":1}\n", true },
                { "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":\"p\",\"code\":null}}", true },
                { "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":3}}", false }, { "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null}}", false },
                { "{\"error\":{\"message\":null,\"type\":\"t\",\"param\":null,\"code\":null}}", false }, { "{\"error\":\"m\"}", false }, { "{}", false },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++)
                cr_assert_eq(openai_chat.is_error(str(rows[i].body)), rows[i].ours, "%s", rows[i].body);
}
