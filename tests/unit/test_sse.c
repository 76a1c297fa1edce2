/* SPDX-License-Identifier: Apache-2.0 */
/* Events however they are cut, and what their chunks say. */
#include <criterion/criterion.h>
#include <event2/buffer.h>

#include "sse.h"

#include "base.h"

struct expected {
        const char *raw, *name, *data;
};

static struct pm_str str(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

static void expect_str(struct pm_str got, const char *want, const char *what)
{
        cr_assert(got.n == strlen(want) && (got.n == 0 || memcmp(got.p, want, got.n) == 0), "%s: '%.*s', expected '%s'", what, (int)got.n,
                  got.p, want);
}

/* Feeds `text` in pieces of `step` bytes, each a chain of its own, and compares all events. */
static void split(const char *text, size_t step, const struct expected *want, size_t n_want)
{
        struct evbuffer *in = evbuffer_new();
        size_t n = strlen(text), seen = 0;
        struct sse_event e;
        struct sse s;
        int r;

        sse_init(&s, 4096);
        for (size_t at = 0; at < n || at == 0; at += step) {
                bool ended = at + step >= n;
                struct evbuffer *piece = evbuffer_new();

                evbuffer_add(piece, text + at, MIN(step, n - at));
                evbuffer_add_buffer(in, piece);
                evbuffer_free(piece);
                while ((r = sse_next(&s, in, ended, &e)) == 1) {
                        cr_assert_lt(seen, n_want, "more events than expected");
                        expect_str(e.raw, want[seen].raw, "raw");
                        expect_str(e.name, want[seen].name, "name");
                        expect_str(e.data, want[seen].data, "data");
                        cr_assert_eq(e.done, strcmp(want[seen].data, "[DONE]") == 0);
                        evbuffer_drain(in, e.raw.n);
                        seen++;
                }
                cr_assert_eq(r, 0);
        }
        cr_assert_eq(seen, n_want, "%zu events of %zu with pieces of %zu", seen, n_want, step);
        cr_assert_eq(evbuffer_get_length(in), 0u);
        evbuffer_free(in);
}

static void split_all_ways(const char *text, const struct expected *want, size_t n_want)
{
        for (size_t step = 1; step <= strlen(text); step++)
                split(text, step, want, n_want);
}

#define EVENTS(text, ...)                                                                                                       \
        do {                                                                                                                     \
                const struct expected want_[] = { __VA_ARGS__ };                                                                 \
                split_all_ways(text, want_, LENGTH_OF(want_));                                                                   \
        } while (0)

Test(sse, usual)
{
        EVENTS("data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n", { "data: {\"a\":1}\n\n", "", "{\"a\":1}" },
               { "data: {\"b\":2}\n\n", "", "{\"b\":2}" }, { "data: [DONE]\n\n", "", "[DONE]" });
}

Test(sse, line_endings)
{
        EVENTS("data: a\r\n\r\ndata: b\r\n\r\n", { "data: a\r\n\r\n", "", "a" }, { "data: b\r\n\r\n", "", "b" });
        EVENTS("data: a\r\rdata: b\r\r", { "data: a\r\r", "", "a" }, { "data: b\r\r", "", "b" });
        EVENTS("data: a\n\r\ndata: b\r\n\ndata:c\r\r\n", { "data: a\n\r\n", "", "a" }, { "data: b\r\n\n", "", "b" }, { "data:c\r\r\n", "", "c" });
}

Test(sse, names_comments_and_unknown_fields)
{
        EVENTS(": hello\n\nevent: response.created\nid: 7\ndata: {}\n\n:\ndata:x\nretry: 3\n\n", { ": hello\n\n", "", "" },
               { "event: response.created\nid: 7\ndata: {}\n\n", "response.created", "{}" }, { ":\ndata:x\nretry: 3\n\n", "", "x" });
        EVENTS("\n\ndatax: 1\n\ndata\n\n", { "\n", "", "" }, { "\n", "", "" }, { "datax: 1\n\n", "", "" }, { "data\n\n", "", "" });
}

Test(sse, no_final_newline)
{
        EVENTS("data: a\n\ndata: [DONE]", { "data: a\n\n", "", "a" }, { "data: [DONE]", "", "[DONE]" });
        EVENTS("data: a\n\ndata: b\n", { "data: a\n\n", "", "a" }, { "data: b\n", "", "b" });
        EVENTS("data: a\r\n\r", { "data: a\r\n\r", "", "a" });
}

Test(sse, several_data_lines_become_one_that_can_be_relayed)
{
        EVENTS("data: {\ndata: \"a\":1}\n\n", { "data:{ \"a\":1}       \n\n", "", "{ \"a\":1}" });
        EVENTS("data: {\nevent: x\ndata: 1}\r\n\r\ndata: z\n\n", { "event: x\ndata:{ 1}        \n\r\n", "x", "{ 1}" },
               { "data: z\n\n", "", "z" });
        EVENTS("data\ndata", { "data:    ", "", "" });
        EVENTS("data:a\ndata:b\n", { "data:a b     \n", "", "a b" });
}

Test(sse, a_byte_order_mark_may_stand_first)
{
        EVENTS("\xEF\xBB\xBF" "data: a\n\ndata: b\n\n", { "data: a\n\n", "", "a" }, { "data: b\n\n", "", "b" });
        EVENTS("data: a\n\n\xEF\xBB\xBF" "data: b\n\n", { "data: a\n\n", "", "a" }, { "\xEF\xBB\xBF" "data: b\n\n", "", "" });
        EVENTS("\xEF\xBB", { "\xEF\xBB", "", "" });
}

Test(sse, blanks_around_data_say_nothing)
{
        EVENTS("data: [DONE] \n\n", { "data: [DONE] \n\n", "", "[DONE]" });
        EVENTS("data:  \t[DONE]\r\n\r\n", { "data:  \t[DONE]\r\n\r\n", "", "[DONE]" });
        EVENTS("data:\n\ndata:   \n\n", { "data:\n\n", "", "" }, { "data:   \n\n", "", "" });
        EVENTS("data:   {\"a\":1}  \n\n", { "data:   {\"a\":1}  \n\n", "", "{\"a\":1}" });
}

Test(sse, nothing)
{
        EVENTS("\n", { "\n", "", "" });
        split("", 1, NULL, 0);
}

Test(sse, bounded)
{
        struct evbuffer *in = evbuffer_new();
        struct sse_event e;
        struct sse s;

        sse_init(&s, 16);
        evbuffer_add(in, "data: 12345678\n\n", 16);
        cr_assert_eq(sse_next(&s, in, false, &e), 1);
        evbuffer_drain(in, 16);
        evbuffer_add(in, "data: 123456789\n\n", 17);
        cr_assert_eq(sse_next(&s, in, false, &e), -EMSGSIZE);

        /* without an end in sight, whole and in pieces */
        evbuffer_drain(in, 17);
        sse_init(&s, 16);
        evbuffer_add(in, "data: 1234567890", 16);
        cr_assert_eq(sse_next(&s, in, false, &e), 0);
        evbuffer_add(in, "1", 1);
        cr_assert_eq(sse_next(&s, in, false, &e), -EMSGSIZE);
        cr_assert_eq(sse_next(&s, in, true, &e), -EMSGSIZE);
        evbuffer_free(in);
}

/* A long event in many small pieces must not be looked at from its beginning each time. */
Test(sse, long_event_in_small_pieces)
{
        struct evbuffer *in = evbuffer_new();
        struct sse_event e;
        struct sse s;
        int64_t from = now_us();
        size_t n = 4 << 20;
        int r = 0;

        sse_init(&s, 8 << 20);
        evbuffer_add(in, "data: ", 6);
        for (size_t i = 0; i < n; i += 16) {
                evbuffer_add(in, "\r x 0123456789  ", 16);
                r |= sse_next(&s, in, false, &e);
        }
        cr_assert_eq(r, 0);
        evbuffer_add(in, "\n\n", 2);
        cr_assert_eq(sse_next(&s, in, false, &e), 1);
        cr_assert_eq(e.raw.n, n + 8);
        cr_assert_lt(now_us() - from, 3000000, "bytes were looked at again and again");
        evbuffer_free(in);
}

/* ---- facts -------------------------------------------------------------------------------------------------------------- */
static struct sse_facts facts(const char *data)
{
        struct sse_event e = { .data = str(data) };
        struct sse_facts f;

        sse_read(&e, &f);
        return f;
}

Test(sse, chat_chunks)
{
        struct sse_facts f = facts("{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m/x\",\"choices\":[{\"index\":0,"
                                   "\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}");

        cr_assert(f.json && f.has_choices && f.content && !f.finished && !f.error && !f.has_usage);
        cr_assert_eq(f.tokens_in, -1);
        expect_str(f.id, "c-1", "id");
        expect_str(f.model, "m/x", "model");

        f = facts("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}");
        cr_assert(f.json && f.has_choices && !f.content && !f.finished);
        f = facts("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"index\":0}]}}]}");
        cr_assert(f.content);
        f = facts("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"tool_calls\":[ ],\"audio\":{ }}}]}");
        cr_assert(!f.content);
        f = facts("{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"},\"finish_reason\":\"\"}]}");
        cr_assert(f.content && !f.finished);
        f = facts("{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}");
        cr_assert(f.finished && !f.content);
        f = facts("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46}}");
        cr_assert(f.json && !f.has_choices && f.has_usage);
        cr_assert_eq(f.tokens_in, 12);
        cr_assert_eq(f.tokens_out, 34);
        f = facts("{\"choices\":null}");
        cr_assert(f.json && !f.has_choices && !f.error);
        f = facts("{\"\\u0069d\":\"escaped key\",\"model\":\"a\\/b\"}");
        expect_str(f.id, "escaped key", "id");
        expect_str(f.model, "", "model with escapes");
        f = facts("{\"object\":\"text_completion\",\"choices\":[{\"text\":\"x\",\"finish_reason\":\"length\"}]}");
        cr_assert(f.content && f.finished);
        f = facts("{\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":1.5}}");
        cr_assert(f.has_usage && f.tokens_in == -1 && f.tokens_out == -1);
}

Test(sse, errors)
{
        struct sse_event named = { .name = { "error", 5 }, .data = { "{}", 2 } };
        struct sse_facts f;

        cr_assert(facts("{\"error\":{\"message\":\"no\"}}").error);
        cr_assert(facts("{\"error\":\"no\"}").error);
        cr_assert(facts("{\"object\":\"error\",\"message\":\"no\"}").error);
        cr_assert(facts("{\"type\":\"error\",\"code\":\"x\"}").error);
        cr_assert(!facts("{\"error\":null,\"choices\":[]}").error);
        cr_assert(!facts("{\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\": {}\"}}]}").error);
        sse_read(&named, &f);
        cr_assert(f.error && f.json);
}

Test(sse, not_json)
{
        static const char *const bad[] = { "", "[DONE]", "[]", "{", "{\"a\":1}}", "{\"a\":}", "hello", "{\"id\":\"x\",}", "{\"id\":\"x\"",
                                           "{\"error\":{\"message\":\"cut", "\"text\"", "1", "{\"id\":\"\xff\"}" };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                struct sse_facts f = facts(bad[i]);

                cr_assert(!f.json && !f.error && !f.finished && !f.content && f.id.n == 0, "%s", bad[i]);
        }
        cr_assert(facts("  {\"id\":\"x\"} ").json);
}

Test(sse, responses_events)
{
        struct sse_facts f = facts("{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"status\":\"in_progress\",\"error\":null}}");

        cr_assert(f.json && !f.content && !f.finished && !f.error);
        expect_str(f.id, "resp_1", "id");
        expect_str(f.model, "m", "model");
        cr_assert(facts("{\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}").content);
        cr_assert(facts("{\"delta\":\"Hi\",\"type\":\"response.function_call_arguments.delta\"}").content);
        cr_assert(!facts("{\"type\":\"response.output_text.delta\",\"delta\":\"\"}").content);
        cr_assert(!facts("{\"type\":\"response.output_text.done\",\"text\":\"Hi\"}").finished);
        f = facts("{\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"error\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}");
        cr_assert(f.finished && f.has_usage && f.tokens_in == 5 && f.tokens_out == 6 && !f.error);
        cr_assert(facts("{\"type\":\"response.incomplete\",\"response\":{}}").finished);
        f = facts("{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}");
        cr_assert(f.error && !f.finished);
}

Test(sse, whole_answers)
{
        struct sse_facts f;

        sse_read_answer(str("{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},"
                            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n"), &f);
        cr_assert(f.json && f.content && f.finished && f.has_usage && f.tokens_in == 1 && f.tokens_out == 2);
        sse_read_answer(str("{\"object\":\"response\",\"id\":\"r\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"message\"}],"
                            "\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}"), &f);
        cr_assert(f.json && f.finished && f.content && !f.error && f.tokens_in == 3 && f.tokens_out == 4);
        sse_read_answer(str("{\"object\":\"list\",\"model\":\"e\",\"data\":[{\"embedding\":[0.1,2e3]}],\"usage\":{\"prompt_tokens\":9}}"), &f);
        cr_assert(f.json && f.has_usage && f.tokens_in == 9 && f.tokens_out == -1);
        sse_read_answer(str("<html>502</html>"), &f);
        cr_assert(!f.json);
}
