/* SPDX-License-Identifier: Apache-2.0 */
/* One table of answers, good and bad, over both transports; what they send, how they pause, and that they close in any state. */
#include <criterion/criterion.h>
#include <event2/buffer.h>

#include "upstream_fixture.h"

#include "base.h"

static struct pm_str header_of(const struct transfer *t, const char *name)
{
        struct h1_head head = { .headers = t->headers, .n_headers = t->n_headers };

        return h1_header(&head, name);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */
#define SAYS(name, text)                                                                                                        \
        static void name(struct peer_conn *c)                                                                                    \
        {                                                                                                                        \
                if (peer_take(c))                                                                                                \
                        (void)peer_say(c, text);                                                                                 \
        }
#define SAYS_AND_WAITS(name, text)                                                                                              \
        static void name(struct peer_conn *c)                                                                                    \
        {                                                                                                                        \
                if (peer_take(c) && peer_say(c, text))                                                                           \
                        peer_wait_end(c);                                                                                        \
        }

SAYS_AND_WAITS(with_length, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello")
SAYS_AND_WAITS(chunked, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n")
SAYS(without_length, "HTTP/1.1 200 OK\r\n\r\nhello")
SAYS(old, "HTTP/1.0 200 OK\r\n\r\nhello")
SAYS_AND_WAITS(interim, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: no\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
SAYS_AND_WAITS(no_content, "HTTP/1.1 204 No Content\r\n\r\n")
SAYS_AND_WAITS(empty, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
SAYS_AND_WAITS(refuses, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nRetry-After: 7\r\n\r\noops")
SAYS(cut_length, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
SAYS(cut_chunk, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
SAYS(cut_head, "HTTP/1.1 200 OK\r\nContent-Le")
SAYS(says_nothing, "")
SAYS_AND_WAITS(never, "")
SAYS_AND_WAITS(head_only, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
SAYS_AND_WAITS(stalls, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
SAYS(garbage, "SSH-2.0-OpenSSH_9.2\r\n\r\n")
SAYS_AND_WAITS(bad_chunk, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")

static void resets(struct peer_conn *c)
{
        if (peer_take(c))
                peer_reset(c);
}

static void byte_by_byte(struct peer_conn *c)
{
        static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

        if (!peer_take(c))
                return;
        for (size_t i = 0; i < sizeof text - 1; i++) {
                (void)peer_send(c, text + i, 1);
                if (i % 4 == 0)
                        peer_sleep(1);
        }
        peer_wait_end(c);
}

static void large_head(struct peer_conn *c)
{
        if (!peer_take(c))
                return;
        (void)peer_say(c, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 30; i++) {
                char line[1000];

                snprintf(line, sizeof line, "X-%d: %0900d\r\n", i, 0);
                (void)peer_say(c, line);
        }
        (void)peer_say(c, "Content-Length: 0\r\n\r\n");
        peer_wait_end(c);
}

static void many_headers(struct peer_conn *c)
{
        if (!peer_take(c))
                return;
        (void)peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        for (int i = 0; i < 120; i++)
                (void)peer_say(c, "X-A: b\r\n");
        (void)peer_say(c, "\r\n");
        peer_wait_end(c);
}

static const struct {
        const char *name;
        void (*play)(struct peer_conn *c);
        enum transfer_state state;
        enum transfer_error error;
        int status;
        int64_t length;
        const char *body, *text; /* text: part of error_text */
        int64_t first_ms, idle_ms;
} answers[] = {
        { "with_length", with_length, TRANSFER_DONE, TRANSFER_OK, 200, 5, "hello", "", 5000, 5000 },
        { "chunked", chunked, TRANSFER_DONE, TRANSFER_OK, 200, -1, "hello", "", 5000, 5000 },
        { "without_length", without_length, TRANSFER_DONE, TRANSFER_OK, 200, -1, "hello", "", 5000, 5000 },
        { "old", old, TRANSFER_DONE, TRANSFER_OK, 200, -1, "hello", "", 5000, 5000 },
        { "interim", interim, TRANSFER_DONE, TRANSFER_OK, 200, 5, "hello", "", 5000, 5000 },
        { "no_content", no_content, TRANSFER_DONE, TRANSFER_OK, 204, -1, "", "", 5000, 5000 },
        { "empty", empty, TRANSFER_DONE, TRANSFER_OK, 200, 0, "", "", 5000, 5000 },
        { "refuses", refuses, TRANSFER_DONE, TRANSFER_OK, 500, 4, "oops", "", 5000, 5000 },
        { "byte_by_byte", byte_by_byte, TRANSFER_DONE, TRANSFER_OK, 200, -1, "hello", "", 5000, 5000 },
        { "cut_length", cut_length, TRANSFER_FAILED, TRANSFER_RESET, 200, 50, "hello", "5 of 50", 5000, 5000 },
        { "cut_chunk", cut_chunk, TRANSFER_FAILED, TRANSFER_RESET, 200, -1, "hello", "unfinished", 5000, 5000 },
        { "cut_head", cut_head, TRANSFER_FAILED, TRANSFER_RESET, 0, -1, "", "head", 5000, 5000 },
        { "says_nothing", says_nothing, TRANSFER_FAILED, TRANSFER_RESET, 0, -1, "", "before any answer", 5000, 5000 },
        { "resets", resets, TRANSFER_FAILED, TRANSFER_RESET, 0, -1, "", "before any answer", 5000, 5000 },
        { "never", never, TRANSFER_FAILED, TRANSFER_FIRST_TIME, 0, -1, "", "within 150 ms", 150, 5000 },
        { "head_only", head_only, TRANSFER_FAILED, TRANSFER_FIRST_TIME, 200, 5, "", "within 150 ms", 150, 5000 },
        { "stalls", stalls, TRANSFER_FAILED, TRANSFER_IDLE_TIME, 200, -1, "hello", "150 ms after 5 bytes", 5000, 150 },
        { "garbage", garbage, TRANSFER_FAILED, TRANSFER_PROTOCOL, 0, -1, "", "", 5000, 5000 },
        { "bad_chunk", bad_chunk, TRANSFER_FAILED, TRANSFER_PROTOCOL, 200, -1, "hello", "chunk", 5000, 5000 },
        { "large_head", large_head, TRANSFER_FAILED, TRANSFER_PROTOCOL, 0, -1, "", "head is too large", 5000, 5000 },
        { "many_headers", many_headers, TRANSFER_FAILED, TRANSFER_PROTOCOL, 0, -1, "", "headers", 5000, 5000 },
};

static void play_answers(const struct way *w)
{
        for (size_t i = 0; i < LENGTH_OF(answers); i++) {
                struct upstream_call call;
                char body[64] = "";
                struct peer *p;
                struct bench b;
                struct owner o;
                const char *name = answers[i].name;
                bool done = answers[i].state == TRANSFER_DONE;
                int64_t from, limit = MIN(answers[i].first_ms, answers[i].idle_ms) * 1000;

                bench_init(&b);
                cr_assert((p = peer_start(w->kind, answers[i].play)));
                aim_at(&b, w, p);
                call = call_of(&b);
                call.first_ms = answers[i].first_ms;
                call.idle_ms = answers[i].idle_ms;
                from = now_us(); /* loading certificates is not waiting */
                open_with(&b, &o, &call);
                wait_state(&b, &o, TRANSFER_DONE);
                cr_assert_eq(o.t->state, answers[i].state, "%s %s: state %d: %s", w->name, name, o.t->state, o.t->error_text);
                cr_assert_eq(o.t->error, answers[i].error, "%s %s: error %s: %s", w->name, name, transfer_error_name(o.t->error), o.t->error_text);
                cr_assert(strstr(o.t->error_text, answers[i].text), "%s %s: '%s'", w->name, name, o.t->error_text);
                cr_assert((o.t->error_text[0] == 0) == done, "%s %s: '%s'", w->name, name, o.t->error_text);
                if (answers[i].status)
                        cr_assert_eq(o.t->status, answers[i].status, "%s %s: status %d", w->name, name, o.t->status);
                cr_assert_eq(o.t->length, answers[i].length, "%s %s: length %" PRId64, w->name, name, o.t->length);
                evbuffer_copyout(o.t->in, body, sizeof body - 1);
                cr_assert_str_eq(body, answers[i].body, "%s %s: '%s'", w->name, name, body);
                if (strcmp(name, "with_length") == 0)
                        cr_assert(header_of(o.t, "x-a").n == 1 && header_of(o.t, "x-a").p[0] == 'b');
                if (strcmp(name, "refuses") == 0)
                        cr_assert_eq(header_of(o.t, "RETRY-AFTER").n, 1u);
                if (strcmp(name, "interim") == 0)
                        cr_assert_eq(header_of(o.t, "x-a").n, 0u, "a header of an interim answer");
                if (limit < 1000000)
                        cr_assert(now_us() - from >= limit && now_us() - from < limit + 3000000, "%s %s: late", w->name, name);
                cr_assert(o.t->sent && !o.t->reused && o.t->opened_us > 0);
                cr_assert(body[0] == 0 || (o.t->head_us > 0 && o.t->first_byte_us >= o.t->head_us));
                upstream_close(o.t);
                cr_assert_eq(p->requests, 1u, "%s %s: sent %u times", w->name, name, p->requests);
                bench_finish(&b);
        }
}

Test(upstream, answers_plain)
{
        play_answers(&ways[0]);
}

Test(upstream, answers_curl)
{
        play_answers(&ways[1]);
}

Test(upstream, answers_tls)
{
        play_answers(&ways[2]);
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */
static unsigned count(const char *text, const char *what)
{
        unsigned n = 0;

        for (; (text = strcasestr(text, what)); text++)
                n++;
        return n;
}

Test(upstream, what_is_sent)
{
        for (size_t i = 0; i < LENGTH_OF(ways); i++) {
                char host[64];
                struct peer *p;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                cr_assert_eq(strncmp(p->head, "POST /v1/chat/completions HTTP/1.1\r\n", 36), 0, "%s", p->head);
                snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", p->port);
                cr_assert_eq(count(p->head, host), 1u, "%s", p->head);
                cr_assert_eq(count(p->head, "\r\nAuthorization: Bearer k\r\n"), 1u);
                cr_assert_eq(count(p->head, "\r\nX-Title: test\r\n"), 1u);
                cr_assert_eq(count(p->head, "\r\nContent-Type: application/json\r\n"), 1u);
                cr_assert_eq(count(p->head, "\r\nx-request-id: r1\r\n"), 1u);
                cr_assert_eq(count(p->head, "\r\nContent-Length: 5\r\n"), 1u);
                cr_assert_eq(count(p->head, "\r\n"), 8u, "%s: something more: %s", ways[i].name, p->head);
                cr_assert_eq(p->body_n, 5u);
                bench_finish(&b);
        }
}

Test(upstream, large_body_in_pieces)
{
        for (size_t i = 0; i < LENGTH_OF(ways); i++) {
                struct iovec pieces[40];
                struct upstream_call call;
                uint64_t sum = 0, n = 0;
                struct peer *p;
                struct bench b;
                struct owner o;

                for (size_t k = 0; k < LENGTH_OF(pieces); k++) {
                        pieces[k].iov_len = k == 7 ? 0 : k * 20011;
                        pieces[k].iov_base = malloc(pieces[k].iov_len + 1);
                        for (size_t at = 0; at < pieces[k].iov_len; at++) {
                                ((char *)pieces[k].iov_base)[at] = (char)(at * 7 + k);
                                sum = sum * 31 + (unsigned char)(at * 7 + k);
                        }
                        n += pieces[k].iov_len;
                }
                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                call = call_of(&b);
                call.body = pieces;
                call.n_body = LENGTH_OF(pieces);
                for (int again = 0; again < 2; again++) {
                        open_with(&b, &o, &call);
                        wait_state(&b, &o, TRANSFER_DONE);
                        cr_assert_eq(o.t->state, TRANSFER_DONE, "%s: %s", ways[i].name, o.t->error_text);
                        cr_assert(p->body_n == n && p->body_sum == sum, "%s: %" PRIu64 " of %" PRIu64 " bytes", ways[i].name, p->body_n, n);
                        upstream_close(o.t);
                }
                cr_assert_eq(p->connections, 1u);
                bench_finish(&b);
                for (size_t k = 0; k < LENGTH_OF(pieces); k++)
                        free(pieces[k].iov_base);
        }
}

/* Says no before it has read the body. */
static void too_large(struct peer_conn *c)
{
        (void)peer_say(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        peer_wait_end(c);
}

Test(upstream, answered_before_all_was_sent)
{
        char *body = calloc(1, 16 << 20);

        for (size_t i = 0; i < LENGTH_OF(ways); i++) {
                struct iovec piece = { body, 16 << 20 };
                struct upstream_call call;
                struct peer *p;
                struct bench b;
                struct owner o;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, too_large)));
                aim_at(&b, &ways[i], p);
                call = call_of(&b);
                call.body = &piece;
                open_with(&b, &o, &call);
                wait_state(&b, &o, TRANSFER_DONE);
                cr_assert(o.t->state == TRANSFER_DONE && o.t->status == 413, "%s: %s", ways[i].name, o.t->error_text);
                upstream_close(o.t);
                WAIT(&b, p->ends == 1);
                bench_finish(&b);
        }
        free(body);
}

Test(upstream, paths_cannot_add_lines)
{
        static const char *const bad[] = { "/x HTTP/1.1\r\nEvil: 1", "/a b", "relative", "/\xc3\xa4" };
        struct bench b;
        struct owner o;

        bench_init(&b);
        for (size_t i = 0; i < 2; i++) {
                aim(&b, "http://127.0.0.1:1/v1", ways[i].plain);
                for (size_t k = 0; k < LENGTH_OF(bad); k++) {
                        struct upstream_call call = call_of(&b);

                        call.path = bad[k];
                        open_with(&b, &o, &call);
                        wait_state(&b, &o, TRANSFER_DONE);
                        cr_assert_eq(o.t->error, TRANSFER_PROTOCOL, "%s: %s", bad[k], o.t->error_text);
                        upstream_close(o.t);
                }
        }
        bench_finish(&b);
}

/* ---- back-pressure ------------------------------------------------------------------------------------------------------ */
#define LARGE (10 << 20)

static void large(struct peer_conn *c)
{
        char *body = malloc(LARGE);

        for (size_t i = 0; i < LARGE; i++)
                body[i] = (char)(i * 31 >> 3);
        while (peer_take(c)) {
                if (c->requests % 2) {
                        char head[80];

                        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE);
                        (void)(peer_say(c, head) && peer_send(c, body, LARGE));
                        continue;
                }
                (void)peer_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for (size_t at = 0; at < LARGE; at += 8192)
                        if (!peer_say(c, "2000\r\n") || !peer_send(c, body + at, 8192) || !peer_say(c, "\r\n"))
                                break;
                (void)peer_say(c, "0\r\n\r\n");
        }
        free(body);
}

Test(upstream, pauses_and_goes_on)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct upstream_call call;
                struct peer *p;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, large)));
                aim_at(&b, &ways[i], p);
                call = call_of(&b);
                call.idle_ms = 800; /* a peer on a busy machine is slow as well */
                for (int again = 0; again < 2; again++) {
                        size_t got = 0, most = 0, n;
                        struct owner o;

                        open_with(&b, &o, &call);
                        WAIT(&b, evbuffer_get_length(o.t->in) >= call.high_water);
                        run_ms(&b, 1000); /* the owner is slow: not the expert's silence */
                        cr_assert_eq(o.t->state, TRANSFER_HEAD, "%s", o.t->error_text);
                        upstream_consumed(o.t); /* nothing was drained: nothing changes */
                        while (o.t->state != TRANSFER_DONE || evbuffer_get_length(o.t->in) > 0) {
                                char piece[30000];

                                cr_assert_neq(o.t->state, TRANSFER_FAILED, "%s", o.t->error_text);
                                n = evbuffer_get_length(o.t->in);
                                most = MAX(most, n);
                                n = (size_t)evbuffer_remove(o.t->in, piece, sizeof piece);
                                for (size_t k = 0; k < n; k++)
                                        if (piece[k] != (char)((got + k) * 31 >> 3))
                                                cr_assert(false, "%s: byte %zu is wrong", ways[i].name, got + k);
                                got += n;
                                upstream_consumed(o.t);
                                if (n < sizeof piece)
                                        turn(&b);
                        }
                        cr_assert_eq(got, (size_t)LARGE);
                        cr_assert_leq(most, call.high_water + 16384, "%s: %zu bytes waiting", ways[i].name, most);
                        upstream_close(o.t);
                }
                cr_assert_eq(p->connections, 1u);
                bench_finish(&b);
        }
}

/* ---- closing ------------------------------------------------------------------------------------------------------------ */
static void slow(struct peer_conn *c)
{
        if (!peer_take(c))
                return;
        peer_sleep(100);
        if (peer_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) {
                peer_sleep(100);
                (void)peer_say(c, "5\r\nhello\r\n");
        }
        peer_wait_end(c);
}

static void close_when(const struct way *w, void (*play)(struct peer_conn *c), int turns, enum transfer_state s, bool body)
{
        struct peer *p;
        struct bench b;
        struct owner o;
        unsigned woken;

        bench_init(&b);
        cr_assert((p = peer_start(w->kind, play)));
        aim_at(&b, w, p);
        open_one(&b, &o);
        for (int i = 0; i < turns; i++)
                turn(&b);
        WAIT(&b, o.t->state >= s && (!body || evbuffer_get_length(o.t->in) > 0));
        if (s == TRANSFER_OPENING && turns > 5)
                WAIT(&b, p->requests == 1);
        woken = o.woken;
        upstream_close(o.t);
        if (p->connections == 1)
                WAIT(&b, p->ends == 1); /* the upstream sees it at once */
        run_ms(&b, 30);
        cr_assert_eq(o.woken, woken, "woken after it was closed");
        bench_finish(&b);
}

Test(upstream, closed_in_every_state)
{
        for (size_t i = 0; i < WAYS; i++) {
                for (int turns = 0; turns < 10; turns++)
                        close_when(&ways[i], slow, turns, TRANSFER_OPENING, false);
                close_when(&ways[i], slow, 1, TRANSFER_HEAD, false);
                close_when(&ways[i], slow, 1, TRANSFER_HEAD, true);
                close_when(&ways[i], large, 1, TRANSFER_HEAD, true); /* paused, or about to be */
        }
}

/* The wake is pending when the owner closes: it does not come. */
Test(upstream, closed_with_a_wake_pending)
{
        struct bench b;
        struct owner o;

        bench_init(&b);
        for (size_t i = 0; i < 2; i++) {
                struct upstream_call call;

                aim(&b, "http://127.0.0.1:1", ways[i].plain);
                call = call_of(&b);
                call.path = "bad path";
                open_with(&b, &o, &call);
                cr_assert(b.loop.ready == &o.wake && o.t->state == TRANSFER_FAILED);
                upstream_close(o.t);
                cr_assert_null(b.loop.ready);
                run_ms(&b, 10);
                cr_assert_eq(o.woken, 0u);
        }
        upstream_close(NULL);
        bench_finish(&b);
}
