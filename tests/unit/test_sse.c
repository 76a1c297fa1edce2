/* SPDX-License-Identifier: Apache-2.0 */
/* Events however they are cut. */
#include <criterion/criterion.h>
#include <event2/buffer.h>

#include "sse.h"

#include "base.h"

struct expected {
        const char *raw, *name, *data;
};

static void expect_str(struct pm_str got, const char *want, const char *what)
{
        cr_assert(got.n == strlen(want) && (got.n == 0 || memcmp(got.p, want, got.n) == 0), "%s: '%.*s', expected '%s'",
                  what, (int)got.n, got.p, want);
}

/* Feeds `text` in pieces of `step` bytes, each a chain of its own, and compares all events. */
static void split(const char *text, size_t step, const struct expected *want, size_t n_want)
{
        struct evbuffer *in = evbuffer_new();
        size_t n = strlen(text), seen = 0;
        struct stream_event e;
        struct stream_reader s;
        int r;

        stream_reader_init(&s, 4096);
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
        struct stream_event e;
        struct stream_reader s;

        stream_reader_init(&s, 16);
        evbuffer_add(in, "data: 12345678\n\n", 16);
        cr_assert_eq(sse_next(&s, in, false, &e), 1);
        evbuffer_drain(in, 16);
        evbuffer_add(in, "data: 123456789\n\n", 17);
        cr_assert_eq(sse_next(&s, in, false, &e), -EMSGSIZE);

        /* without an end in sight, whole and in pieces */
        evbuffer_drain(in, 17);
        stream_reader_init(&s, 16);
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
        struct stream_event e;
        struct stream_reader s;
        int64_t from = now_us();
        size_t n = 4 << 20;
        int r = 0;

        stream_reader_init(&s, 8 << 20);
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
