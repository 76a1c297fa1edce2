/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages in, events out.  Each message of the tables is fed whole, cut in two at every byte, and byte by byte; the events,
 * with the pieces of a body joined, must be the same each time.
 */
#include <criterion/criterion.h>

#include "h1.h"

#include "base.h"

#define HEAD_MAX 16384
#define HEADERS_MAX 20

struct script {
        char text[65536];
        size_t n;
        bool in_body;
};

PRINTF(2, 3) static void say(struct script *s, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        s->n += (size_t)vsnprintf(s->text + s->n, sizeof s->text - s->n, fmt, args);
        va_end(args);
        cr_assert_lt(s->n, sizeof s->text);
}

static void say_head(struct script *s, const struct h1 *h)
{
        const struct h1_head *d = h1_head(h);

        if (d->status)
                say(s, "%d", d->status);
        else
                say(s, "%.*s %.*s", (int)d->method_text.n, d->method_text.p, (int)d->path.n, d->path.p);
        if (d->query.n)
                say(s, "?%.*s", (int)d->query.n, d->query.p);
        say(s, " 1.%d", d->minor);
        if (d->has_length)
                say(s, " length=%lld", (long long)d->length);
        else
                cr_assert_eq(d->length, -1);
        say(s, "%s%s%s%s", d->chunked ? " chunked" : "", d->keep_alive ? " keep" : "", d->expect_continue ? " expect" : "",
            d->upgrade ? " upgrade" : "");
        for (size_t i = 0; i < d->n_headers; i++) {
                const struct h1_header *x = &d->headers[i];

                if (x->name.n > 2 && strncasecmp(x->name.p, "x-", 2) == 0)
                        say(s, " %.*s=[%.*s]", (int)x->name.n, x->name.p, (int)x->value.n, x->value.p);
        }
        say(s, ";");
}

/* Feeds data in one piece; false after an error. */
static bool feed(struct script *s, struct h1 *h, const char *data, size_t n)
{
        CLEANUP(free_p) char *copy = malloc(n + 1); /* of its own size, so that the sanitizer sees a read beyond */
        size_t at = 0;

        cr_assert(copy);
        copy = realloc(copy, n ? n : 1);
        memcpy(copy, data, n);
        for (;;) {
                struct pm_str piece = { NULL, 0 };
                size_t used;
                enum h1_event e = h1_feed(h, copy + at, n - at, &used, &piece);
                const char *why;

                cr_assert_leq(used, n - at);
                at += used;
                if (e != H1_BODY && s->in_body && e != H1_MORE) {
                        s->in_body = false;
                        say(s, ";");
                }
                switch (e) {
                case H1_MORE:
                        cr_assert_eq(at, n);
                        return true;
                case H1_HEAD:
                        say_head(s, h);
                        break;
                case H1_BODY:
                        cr_assert(piece.n > 0 && piece.p >= copy && piece.p + piece.n <= copy + n);
                        say(s, "%s%.*s", s->in_body ? "" : "body ", (int)piece.n, piece.p);
                        s->in_body = true;
                        break;
                case H1_END:
                        say(s, "end;");
                        h1_next(h);
                        cr_assert(h1_idle(h));
                        break;
                case H1_ERROR:
                        say(s, "error %d", h1_error(h, &why));
                        cr_assert(why && strlen(why) > 8);
                        return false;
                }
        }
}

static void feed_eof(struct script *s, struct h1 *h)
{
        enum h1_event e = h1_eof(h);

        if (s->in_body)
                say(s, ";");
        say(s, "%s", e == H1_END ? "end at eof" : e == H1_MORE ? "eof" : "cut");
}

/* The events of a message cut at `cut`; 0: whole; SIZE_MAX: byte by byte. */
static void play(struct script *s, enum h1_side side, const char *data, size_t n, size_t cut, bool no_body)
{
        struct h1 *h = h1_create(side, HEAD_MAX, HEADERS_MAX);
        bool going = true;

        s->n = 0;
        s->in_body = false;
        cr_assert(h);
        if (no_body)
                h1_expect_no_body(h);
        if (cut == SIZE_MAX) {
                for (size_t i = 0; i < n && going; i++)
                        going = feed(s, h, data + i, 1);
        } else {
                going = feed(s, h, data, cut) && feed(s, h, data + cut, n - cut);
        }
        if (going)
                feed_eof(s, h);
        h1_destroy(h);
}

static void expect(enum h1_side side, const char *data, size_t n, const char *wanted, bool no_body)
{
        static struct script s;

        for (size_t cut = 0; cut <= n; cut++) {
                play(&s, side, data, n, cut, no_body);
                cr_expect_str_eq(s.text, wanted, "cut at %zu of %.60s:\n got  %s\n want %s", cut, data, s.text, wanted);
        }
        play(&s, side, data, n, SIZE_MAX, no_body);
        cr_expect_str_eq(s.text, wanted, "byte by byte %.60s:\n got  %s\n want %s", data, s.text, wanted);
}

struct message {
        const char *data;
        const char *events;
};
#define H "Host: a\r\n"

static const struct message good_requests[] = {
        { "GET / HTTP/1.1\r\n" H "\r\n", "GET / 1.1 keep;end;eof" },
        { "GET /v1/models?a=b&c=?d HTTP/1.1\r\n" H "\r\n", "GET /v1/models?a=b&c=?d 1.1 keep;end;eof" },
        { "GET http://a.b:80/p?q HTTP/1.1\r\n" H "\r\n", "GET /p?q 1.1 keep;end;eof" },
        { "GET http://a.b HTTP/1.1\r\n" H "\r\n", "GET / 1.1 keep;end;eof" },
        { "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * 1.1 keep;end;eof" },
        { "PATCH /x HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "PATCH /x 1.1 length=0 keep;end;eof" },
        { "POST /x HTTP/1.1\r\n" H "\r\n", "POST /x 1.1 keep;end;eof" },
        { "POST /x HTTP/1.1\r\n" H "content-LENGTH:5 \r\n\r\nhello", "POST /x 1.1 length=5 keep;body hello;end;eof" },
        { "POST /x HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhel", "POST /x 1.1 length=5 keep;body hel;cut" },
        { "GET / HTTP/1.0\r\n\r\n", "GET / 1.0;end;eof" },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0 keep;end;eof" },
        { "GET / HTTP/1.1\r\n" H "Connection: foo , Close\r\n\r\n", "GET / 1.1;end;eof" },
        { "GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\nConnection: close\r\n\r\n", "GET / 1.1;end;eof" },
        { "GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", "GET / 1.1 keep;end;eof" },
        { "GET / HTTP/1.1\r\nHOST:\r\nX-A:\r\nX-B: \r\nX-C:\t v w \t\r\n\r\n", "GET / 1.1 keep X-A=[] X-B=[] X-C=[v w];end;eof" },
        { "GET / HTTP/1.1\r\n" H "x-a: a:b\r\nX-a: \xc3\xa4\r\n\r\n", "GET / 1.1 keep x-a=[a:b] X-a=[\xc3\xa4];end;eof" },
        { "POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", "POST / 1.1 length=1 keep expect;body x;end;eof" },
        { "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "POST / 1.0 length=1;body x;end;eof" },
        { "POST / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 2\r\n\r\nok"
          "GET / HTTP/1.1\r\n" H "\r\n", "POST / 1.1 length=2 keep upgrade;body ok;end;GET / 1.1 keep;end;eof" },
        /* pipelined, with stray line ends between */
        { "GET /1 HTTP/1.1\r\n" H "\r\n\r\nPOST /2 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc\r\nGET /3 HTTP/1.1\r\n" H "\r\n",
          "GET /1 1.1 keep;end;POST /2 1.1 length=3 keep;body abc;end;GET /3 1.1 keep;end;eof" },
        /* chunked */
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST / 1.1 chunked keep;body hello;end;eof" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / 1.1 chunked keep;end;eof" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhe\nlo\r\n00A;c=\"d\"\r\n0123456789\r\n0;z\r\nX-T: 1\r\nB: 2\r\n\r\n"
          "GET / HTTP/1.1\r\n" H "\r\n", "POST / 1.1 chunked keep;body he\nlo0123456789;end;GET / 1.1 keep;end;eof" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "POST / 1.1 chunked keep;body hello;cut" },
};

static const struct message bad_requests[] = {
        { "GET / HTTP/1.1\r\n\r\n", "error 400" },                                            /* no Host */
        { "GET / HTTP/1.1\r\n" H H "\r\n", "error 400" },
        { "GET / HTTP/1.1\r\nHost: a\n\r\n", "error 400" },                                 /* bare LF */
        { "GET / HTTP/1.1\r\n" H "\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "\rX", "error 400" },                                        /* bare CR */
        { "GET / HTTP/1.1\r\n" H "X-A: a\rb\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X-A: a\r\n b\r\n\r\n", "error 400" },                       /* folded */
        { "GET / HTTP/1.1\r\n" H "X-A:\r\n b\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X-A: a\r\n \r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n X-A: a\r\n" H "\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X-A : a\r\n\r\n", "error 400" },                            /* spaces in names */
        { "GET / HTTP/1.1\r\n" H "X A: a\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello", "error 400" },
        { "GET / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X(A): a\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X-A\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n" H "X-A: \x01\r\n\r\n", "error 400" },
        { "GET  / HTTP/1.1\r\n" H "\r\n", "error 400" },                                      /* request line */
        { "GET /  HTTP/1.1\r\n" H "\r\n", "error 400" },
        { "GET / HTTP/1.1 \r\n" H "\r\n", "error 505" },
        { "GET /\x80 HTTP/1.1\r\n" H "\r\n", "error 400" },
        { "GET /\t HTTP/1.1\r\n" H "\r\n", "error 400" },
        { "GET /a#b HTTP/1.1\r\n" H "\r\n", "error 400" },
        { "GET a HTTP/1.1\r\n" H "\r\n", "error 400" },
        { "hello\r\n\r\n", "error 400" },
        { "\x16\x03\x01\x02", "error 400" },
        { "XYZZY / HTTP/1.1\r\n" H "\r\n", "error 501" },
        { "CONNECT a:443 HTTP/1.1\r\n" H "\r\n", "error 501" },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "error 505" },
        { "GET / HTTP/2.0\r\n" H "\r\n", "error 505" },
        { "GET / HTTP/1.2\r\n" H "\r\n", "error 505" },
        { "GET /\r\n\r\n", "error 505" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "error 400" }, /* two meanings */
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\nhello", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1234567890123456789\r\n\r\n", "error 413" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "error 501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", "error 501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", "error 501" },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 400" },
};

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_HEAD "POST / 1.1 chunked keep;"
static const struct message bad_chunks[] = {
        { CHUNKED "x\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "-1\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "fffffffffffffffff\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "5\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "5;a\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "2;a\rxy\r\n0\r\n\r\n", CHUNKED_HEAD "error 400" },
        { CHUNKED "0\r\n\rX", CHUNKED_HEAD "error 400" },
        { CHUNKED "0\r\nX-A: b\n\r\n", CHUNKED_HEAD "error 400" },
};

/* The piece before the mistake may or may not be seen first, so only the end is compared. */
static const char *const torn_chunks[] = {
        CHUNKED "5\r\nhelloX\n0\r\n\r\n",
        CHUNKED "5\r\nhello\rX0\r\n\r\n",
        CHUNKED "5\r\nhello\n0\r\n\r\n",
        CHUNKED "5\r\nhello0\r\n\r\n",
};

static const struct message responses[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 1.1 length=5 keep;body hello;end;eof" },
        { "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 1.1 length=0 keep;end;eof" },
        { "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 1.1 length=0 keep;end;eof" },
        { "HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 1.1;body until the end;end at eof" },
        { "HTTP/1.0 200 OK\r\nX-A: b\r\n\r\n", "200 1.0 X-A=[b];end at eof" },
        { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "200 1.0 length=1 keep;body x;end;eof" },
        { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "200 1.1 length=1;body x;end;eof" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", "200 1.1 chunked keep;body x0123456789abcdef;end;eof" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "200 1.1 chunked keep;body x;cut" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "200 1.1 length=5 keep;body hel;cut" },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 1.1 length=1 keep;body x;end;eof" },
        { "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "101 1.1 upgrade;end;eof" },
        { "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "204 1.1 keep;end;304 1.1 length=9 keep;end;eof" },
        { "HTTP/1.1 99 x\r\n\r\n", "error 400" },
        { "HTTP/1.1 2000 x\r\n\r\n", "error 400" },
        { "HTTP/2.0 200 OK\r\n\r\n", "error 400" },
        { "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "error 400" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "error 400" },
        { "GET / HTTP/1.1\r\n\r\n", "error 400" },
        { "HTTP/1.1 200 OK\r\nTrans", "cut" },
        { "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "error 400" }, /* a request may begin so, an answer not */
        { "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "error 400" },
        { "HTTP/1.1 200 OK\r\ncontent-encoding: Identity\r\nContent-Length: 0\r\n\r\n", "200 1.1 length=0 keep;end;eof" },
        { "HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "500 1.1 length=0 keep;end;eof" },
};

Test(h1, good_requests)
{
        for (size_t i = 0; i < LENGTH_OF(good_requests); i++)
                expect(H1_REQUESTS, good_requests[i].data, strlen(good_requests[i].data), good_requests[i].events, false);
}

Test(h1, bad_requests)
{
        for (size_t i = 0; i < LENGTH_OF(bad_requests); i++)
                expect(H1_REQUESTS, bad_requests[i].data, strlen(bad_requests[i].data), bad_requests[i].events, false);
}

Test(h1, bad_chunks)
{
        static struct script s;

        for (size_t i = 0; i < LENGTH_OF(bad_chunks); i++)
                expect(H1_REQUESTS, bad_chunks[i].data, strlen(bad_chunks[i].data), bad_chunks[i].events, false);
        for (size_t cut = 0; cut < 20; cut++) { /* the libraries differ in what is wrong with it */
                play(&s, H1_REQUESTS, "GET / HTTP/1.1\n" H "\r\n", 26, cut, false);
                cr_expect(strncmp(s.text, "error ", 6) == 0, "%s", s.text);
        }
        for (size_t i = 0; i < LENGTH_OF(torn_chunks); i++)
                for (size_t cut = 0; cut < strlen(torn_chunks[i]); cut++) {
                        play(&s, H1_REQUESTS, torn_chunks[i], strlen(torn_chunks[i]), cut, false);
                        cr_expect(strstr(s.text, "error 400"), "%s: %s", torn_chunks[i], s.text);
                }
}

Test(h1, responses)
{
        for (size_t i = 0; i < LENGTH_OF(responses); i++)
                expect(H1_RESPONSES, responses[i].data, strlen(responses[i].data), responses[i].events, false);
}

/* Interim answers count with the head that they precede; what is between chunks has a limit of its own. */
Test(h1, answers_have_bounds)
{
        static const char early[] = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", last[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        static const char chunks[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        struct pm_str piece;
        const char *why;
        size_t used;

        for (size_t n = 1; n < 20; n++) {
                struct h1 *h = h1_create(H1_RESPONSES, 10 * (sizeof early - 1) + sizeof last, 10);

                for (size_t i = 0; i < n; i++)
                        if (h1_feed(h, early, sizeof early - 1, &used, &piece) == H1_ERROR)
                                break;
                cr_assert_eq(h1_feed(h, last, sizeof last - 1, &used, &piece), n <= 10 ? H1_HEAD : H1_ERROR, "%zu", n);
                if (n > 10)
                        cr_expect_eq(h1_error(h, &why), 431, "%zu", n);
                h1_destroy(h);
        }
        for (size_t n = 100; n < 1000; n += 800) {
                struct h1 *h = h1_create(H1_RESPONSES, 4096, 10);

                cr_assert_eq(h1_feed(h, chunks, sizeof chunks - 1, &used, &piece), H1_HEAD);
                (void)h1_feed(h, chunks + used, sizeof chunks - 1 - used, &used, &piece);
                for (size_t i = 0; i < n; i++)
                        if (h1_feed(h, "X: a\r\n", 6, &used, &piece) == H1_ERROR)
                                break;
                if (n == 100)
                        cr_expect_eq(h1_feed(h, "\r\n", 2, &used, &piece), H1_END);
                else
                        cr_expect_eq(h1_error(h, &why), 400);
                h1_reset(h); /* wherever it was */
                cr_expect_eq(h1_feed(h, last, sizeof last - 1, &used, &piece), H1_HEAD);
                h1_destroy(h);
        }
}

Test(h1, response_to_head_has_no_body)
{
        static const char with_length[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        static const char endless[] = "HTTP/1.1 200 OK\r\n\r\n";

        expect(H1_RESPONSES, with_length, sizeof with_length - 1, "200 1.1 length=5 keep;end;eof", true);
        expect(H1_RESPONSES, chunked, sizeof chunked - 1, "200 1.1 chunked keep;end;eof", true);
        expect(H1_RESPONSES, endless, sizeof endless - 1, "200 1.1 keep;end;eof", true);
}

/* Long messages are cut at some places only. */
static void expect_long(const char *data, size_t n, const char *wanted)
{
        static struct script s;

        for (size_t cut = 0; cut <= n; cut += MAX(n / 97, 1)) {
                play(&s, H1_REQUESTS, data, n, cut, false);
                cr_expect(strncmp(s.text, wanted, strlen(wanted)) == 0, "cut at %zu: got %.80s, want %s", cut, s.text, wanted);
        }
        play(&s, H1_REQUESTS, data, n, SIZE_MAX, false);
        cr_expect(strncmp(s.text, wanted, strlen(wanted)) == 0, "byte by byte: got %.80s, want %s", s.text, wanted);
}

/* "<before><n times fill><after>" */
static char *filled(const char *before, char fill, size_t n, const char *after, size_t *ret_n)
{
        size_t a = strlen(before), b = strlen(after);
        char *p = malloc(a + n + b + 1);

        cr_assert(p);
        memcpy(p, before, a);
        memset(p + a, fill, n);
        memcpy(p + a + n, after, b + 1);
        *ret_n = a + n + b;
        return p;
}

Test(h1, limits)
{
        struct {
                const char *before;
                char fill;
                size_t fills;
                const char *after, *wanted;
        } cases[] = {
                { "GET /", 'a', 8191, " HTTP/1.1\r\n" H "\r\n", "GET /aaa" },
                { "GET /", 'a', 8192, " HTTP/1.1\r\n" H "\r\n", "error 414" },
                { "GET /", 'a', 9000, " HTTP/1.1\r\n" H "\r\n", "error 414" },
                { "GET /", 'a', 9000, "\x01 HTTP/1.1\r\n" H "\r\n", "error 414" },
                { "GET / HTTP/1.1\r\n" H "X-A: ", 'a', HEAD_MAX - 34, "\r\n\r\n", "GET / 1.1 keep X-A=[aaa" },
                { "GET / HTTP/1.1\r\n" H "X-A: ", 'a', HEAD_MAX - 33, "\r\n\r\n", "error 431" },
                { "GET / HTTP/1.1\r\n" H "X-A: ", 'a', HEAD_MAX + 900, "\x01", "error 431" },
                { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;", 'a', 17000, "\r\nx\r\n0\r\n\r\n", CHUNKED_HEAD "error 400" },
                { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", 'a', 17000, "\r\n\r\n", CHUNKED_HEAD "error 400" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                size_t n;
                CLEANUP(free_p) char *p = filled(cases[i].before, cases[i].fill, cases[i].fills, cases[i].after, &n);

                expect_long(p, n, cases[i].wanted);
        }
}

Test(h1, too_many_headers)
{
        char many[2048] = "GET / HTTP/1.1\r\nHost: a\r\n";
        size_t n = strlen(many), n_most;

        for (int i = 1; i < HEADERS_MAX; i++)
                n += (size_t)snprintf(many + n, sizeof many - n, "A%d: b\r\n", i);
        n_most = n;
        memcpy(many + n, "\r\n", 3);
        expect(H1_REQUESTS, many, n + 2, "GET / 1.1 keep;end;eof", false);
        n = n_most + (size_t)snprintf(many + n_most, sizeof many - n_most, "B: c\r\n\r\n");
        expect(H1_REQUESTS, many, n, "error 431", false);
        n = n_most + (size_t)snprintf(many + n_most, sizeof many - n_most, "B: \x01\r\n\r\n");
        expect(H1_REQUESTS, many, n, "error 431", false);
        n = n_most + (size_t)snprintf(many + n_most, sizeof many - n_most, "B\x01: c\r\n\r\n");
        expect(H1_REQUESTS, many, n, "error 431", false);
}

Test(h1, header_lookup)
{
        static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nx-y: 1\r\nX-Y: 2\r\nUser-Agent: ua\r\n\r\n";
        struct h1 *h = h1_create(H1_REQUESTS, HEAD_MAX, HEADERS_MAX);
        struct pm_str ret, v;
        size_t used;

        cr_assert_eq(h1_feed(h, text, sizeof text - 1, &used, &ret), H1_HEAD);
        v = h1_header(h1_head(h), "authorization");
        cr_assert(v.n == 8 && memcmp(v.p, "Bearer x", 8) == 0);
        v = h1_header(h1_head(h), "X-y");
        cr_assert(v.n == 1 && *v.p == '1');
        cr_assert_eq(h1_header(h1_head(h), "x-z").n, 0);
        cr_assert_eq(h1_head(h)->method, H1_GET);
        h1_destroy(h);
}

/* Views into the head stay while the body comes. */
Test(h1, head_stays_until_next)
{
        static char head[] = "POST /p HTTP/1.1\r\nHost: a\r\nX-A: stays\r\nContent-Length: 4\r\n\r\n";
        struct h1 *h = h1_create(H1_REQUESTS, HEAD_MAX, HEADERS_MAX);
        struct pm_str ret;
        size_t used;

        cr_assert_eq(h1_feed(h, head, sizeof head - 1, &used, &ret), H1_HEAD);
        cr_assert_eq(used, sizeof head - 1);
        memset(head, 'z', sizeof head);
        cr_assert_eq(h1_feed(h, "bo", 2, &used, &ret), H1_BODY);
        cr_assert(h1_header(h1_head(h), "x-a").n == 5 && memcmp(h1_header(h1_head(h), "x-a").p, "stays", 5) == 0);
        cr_assert_eq(h1_feed(h, "dy", 2, &used, &ret), H1_BODY);
        cr_assert_eq(h1_feed(h, NULL, 0, &used, &ret), H1_END);
        cr_assert_eq(h1_feed(h, "x", 1, &used, &ret), H1_END, "the next message waits for h1_next()");
        cr_assert_eq(used, 0);
        cr_assert_not(h1_idle(h));
        h1_next(h);
        cr_assert(h1_idle(h));
        h1_destroy(h);
        h1_destroy(NULL);
}

Test(h1, errors_speak)
{
        struct h1 *h = h1_create(H1_REQUESTS, HEAD_MAX, HEADERS_MAX);
        struct pm_str ret;
        const char *why;
        size_t used;

        cr_assert_eq(h1_feed(h, "GET / HTTP/1.1\r\nHo\x01st: a\r\n\r\n", 29, &used, &ret), H1_ERROR);
        cr_assert_eq(h1_error(h, &why), 400);
        cr_assert(strstr(why, "at byte 18 (0x01)"), "%s", why);
        cr_assert_eq(h1_feed(h, "GET", 3, &used, &ret), H1_ERROR, "an error is final");
        cr_assert_eq(h1_eof(h), H1_ERROR);
        h1_destroy(h);
        cr_assert_str_eq(h1_reason(404), "Not Found");
        cr_assert_str_eq(h1_reason(599), "Server Error");
}
