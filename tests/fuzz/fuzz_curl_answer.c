/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an expert answers, as libcurl hands it over: its head line by line, its body in pieces.  The first byte says which HTTP (its lowest
 * bit: 2) and how long the pieces are.
 *
 * Nothing that comes may be taken for more than the limits allow, or for a line of its own.  For HTTP/1.1 the same bytes given to h1.c, as
 * http1.c does, must come to the same verdict: status, headers, body, and whether it is an answer at all.
 */
#include <event2/buffer.h>

#include "curl_parts.h"
#include "expert.h"
#include "h1.h"
#include "loop.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HEAD_MAX 1024
#define BODY_MAX 4096 /* above it libcurl would be paused */

/* All that a transfer_base stands on, and nothing that runs. */
static struct {
        struct loop loop;
        struct upstream upstream;
        struct curl curl;
        struct curl_slot slot;
        struct endpoint_state state;
        struct endpoint endpoint;
        struct wake wake, *awake;
        CURL *easy;
} x = { .slot = { .open = 1, .running = 1 }, .endpoint = { .state = &x.state } };

static void begin(struct curl_transfer *p, bool h2)
{
        struct upstream_call call = { .endpoint = &x.endpoint, .high_water = BODY_MAX, .head_max = HEAD_MAX, .idle_ms = 1000 };

        if (!x.easy)
                x.easy = curl_easy_init();
        x.slot = (struct curl_slot){ .open = 1, .running = 1 };
        x.curl.slots = &x.slot;
        x.curl.n_slots = 1;
        x.upstream.loop = &x.loop;
        x.wake = (struct wake){ .pprev = &x.awake }; /* it is on the list already: nobody is woken */
        *p = (struct curl_transfer){ .curl = &x.curl, .easy = x.easy, .head_max = HEAD_MAX, .run = { .running = true, .connected = true, .h2 = h2, .fd = -1 } };
        p->h1 = h1_create(H1_RESPONSES, HEAD_MAX, TRANSPORT_HEADERS_MAX);
        assert(x.easy && p->h1 && transfer_init(&p->a, &x.upstream, &curl_transport, &call, &x.wake, 1));
}

static void end(struct curl_transfer *p)
{
        transfer_finish(&p->a);
        evbuffer_free(p->a.t.in);
        h1_destroy(p->h1);
}

/* A copy of that very size each time, as what libcurl gives may end anywhere. */
static bool give(struct curl_transfer *p, size_t (*to)(char *, size_t, size_t, void *), const char *data, size_t n)
{
        CLEANUP(free_p) char *copy = malloc(n);
        size_t took;

        assert(copy);
        memcpy(copy, data, n);
        took = to(copy, 1, n, p);
        assert(took == n || took == 0 || p->run.paused);
        assert(took == n || p->run.paused || (p->a.t.state == TRANSFER_FAILED && p->a.t.error_text[0]));
        return took == n;
}

/* Returns how much was given. */
static size_t play(struct curl_transfer *p, const char *data, size_t n, size_t piece)
{
        size_t at = 0;

        while (at < n && p->a.t.state == TRANSFER_OPENING) {
                const char *stop = memchr(data + at, '\n', n - at);
                size_t line = stop ? (size_t)(stop + 1 - (data + at)) : n - at;

                if (!give(p, curl_on_header, data + at, line))
                        return at + line;
                at += line;
        }
        while (at < n && p->a.t.state == TRANSFER_HEAD && !p->run.ended) {
                size_t take = MIN(piece, n - at);

                if (!give(p, curl_on_body, data + at, take))
                        return at + take;
                at += take;
        }
        if (at < n && p->run.h2 && p->a.t.state == TRANSFER_HEAD) /* a trailer, which is counted */
                (void)give(p, curl_on_header, data + at, n - at);
        return at;
}

static void check(const struct curl_transfer *p)
{
        const struct transfer *t = &p->a.t;
        size_t size = 0;

        assert(p->run.head_n <= HEAD_MAX || t->state == TRANSFER_FAILED);
        if (t->state != TRANSFER_HEAD)
                return;
        assert(t->status >= 200 && t->status <= 999 && t->n_headers <= TRANSPORT_HEADERS_MAX && t->length >= -1);
        for (size_t i = 0; i < t->n_headers; i++) {
                const struct h1_header *h = &t->headers[i];

                assert(h->name.n > 0);
                for (size_t k = 0; k < h->name.n; k++)
                        assert((unsigned char)h->name.p[k] > ' ' && (unsigned char)h->name.p[k] < 0x7F && h->name.p[k] != ':');
                for (size_t k = 0; k < h->value.n; k++)
                        assert((unsigned char)h->value.p[k] >= ' ' || h->value.p[k] == '\t');
                size += h->name.n + h->value.n;
        }
        assert(size <= HEAD_MAX);
}

static bool same(struct pm_str a, struct pm_str b)
{
        return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The same bytes, all at once, to the reader of the other transport. */
static void compare(const struct curl_transfer *p, const char *data, size_t n)
{
        const struct transfer *t = &p->a.t;
        struct h1 *h = h1_create(H1_RESPONSES, HEAD_MAX, TRANSPORT_HEADERS_MAX);
        enum h1_event e = H1_HEAD;
        size_t at = 0, body = 0;

        assert(h);
        while (e == H1_HEAD || e == H1_BODY) {
                struct pm_str piece;
                size_t used;

                e = h1_feed(h, data + at, n - at, &used, &piece);
                at += used;
                if (e == H1_BODY) {
                        assert(t->state != TRANSFER_HEAD || (body + piece.n <= evbuffer_get_length(t->in)));
                        body += piece.n;
                } else if (e == H1_HEAD) {
                        const struct h1_head *head = h1_head(h);

                        if (head->status < 200)
                                break; /* refused there, and another protocol here */
                        if (t->state != TRANSFER_HEAD)
                                continue;
                        assert(head->status == t->status && head->n_headers == t->n_headers && (head->has_length ? head->length : -1) == t->length);
                        for (size_t i = 0; i < t->n_headers; i++)
                                assert(same(head->headers[i].name, t->headers[i].name) && same(head->headers[i].value, t->headers[i].value));
                }
        }
        if (t->state == TRANSFER_HEAD && e != H1_HEAD) {
                assert(e == (p->run.ended ? H1_END : H1_MORE) && body == p->a.body_got);
        } else if (t->state == TRANSFER_FAILED && e != H1_HEAD) {
                assert(e == H1_ERROR || p->run.head_n > HEAD_MAX);
        }
        h1_destroy(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const char *p = (const char *)data + 1;
        struct curl_transfer transfer_base;
        size_t given;

        if (n < 2 || n > BODY_MAX)
                return 0;
        begin(&transfer_base, data[0] & 1);
        given = play(&transfer_base, p, n - 1, 1u + (data[0] >> 1));
        check(&transfer_base);
        if (!transfer_base.run.h2)
                compare(&transfer_base, p, given);
        end(&transfer_base);
        return 0;
}
