/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar is llhttp's, or http-parser's where that is what the system has; it reads heads and chunked framing.  Bodies with
 * a length are only counted.  The parser runs over the caller's bytes and its callbacks note offsets; the head's raw bytes are
 * then copied once, so the views point into one buffer and a header that came in pieces needs no care.  When the head is
 * complete h1_head.c refuses what the grammar let through and finds the few facts that framing depends on.
 *
 * Every refusal depends on the bytes alone and never on how they were cut into feeds: where a limit lies ahead no more bytes
 * than up to that limit are given to the parser.
 */
#include "h1.h"

#include <ctype.h>
#include <pthread.h>

#include "base.h"
#include "h1_grammar.h"
#include "h1_head.h"
#include "memory.h"

#define LINE_MAX_BYTES (H1_TARGET_MAX + 64u) /* a request line that has not ended here has too long a target */
#define FRAMING_MAX 16384u           /* bytes between two pieces of a chunked body: extensions, trailers */
#define RESPONSE_FRAMING_MAX 4000u   /* of an answer: what libcurl takes, so that both transports refuse alike */
#define RAW_FIRST 1024u
#define RAW_KEEP 8192u               /* a larger buffer is not kept for the next message */
#define HEADERS_FIRST 16u

enum stage { IN_HEAD, IN_LENGTH, IN_CHUNKS, IN_REST, DONE, FAILED };

struct h1 {
        struct grammar grammar;
        enum h1_side side;
        enum stage stage;
        size_t head_max, headers_max, framing_max;

        /* the head */
        char *raw;
        size_t n, cap;
        uintptr_t origin; /* address of the byte whose offset in raw would be 0, for the bytes being parsed */
        struct h1_span *spans;
        struct h1_header *headers;
        size_t n_spans, spans_cap;
        uint32_t target, target_n;
        bool in_value, no_body;
        size_t interim_n; /* bytes of interim answers before this head: they count, too */
        struct h1_head head;

        /* the body */
        uint64_t left;
        struct pm_str piece;
        const char *framing; /* from here the bytes being parsed are chunk framing */
        size_t framing_n;
        char before;         /* the framing byte before this one */
        bool complete, bad_framing;

        int status;
        const char *why;
        char text[160];
};

static enum h1_event fail(struct h1 *h, int status, const char *why)
{
        h->stage = FAILED;
        h->status = status;
        h->why = why;
        return H1_ERROR;
}

/* ---- the library ------------------------------------------------------------------------------------------------------- */

static struct h1 *of(parser *p)
{
        return p->data;
}

static int on_target(parser *p, const char *at, size_t n)
{
        struct h1 *h = of(p);
        uint32_t off = (uint32_t)((uintptr_t)at - h->origin);

        if (h->target_n == 0)
                h->target = off;
        h->target_n = off + (uint32_t)n - h->target;
        return 0;
}

static int grow_spans(struct h1 *h)
{
        size_t cap = MIN(MAX(h->spans_cap * 2, HEADERS_FIRST), h->headers_max);
        struct h1_header *headers;
        struct h1_span *spans;

        if (h->n_spans == h->headers_max) {
                (void)fail(h, 431, "the message has too many headers");
                return -E2BIG;
        }
        spans = realloc(h->spans, cap * sizeof *spans);
        if (spans)
                h->spans = spans;
        headers = realloc(h->headers, cap * sizeof *headers);
        if (headers)
                h->headers = headers;
        if (!spans || !headers) {
                (void)fail(h, 503, "out of memory for the message's headers");
                return -ENOMEM;
        }
        h->spans_cap = cap;
        return 0;
}

static int on_field(parser *p, const char *at, size_t n)
{
        struct h1 *h = of(p);
        uint32_t off = (uint32_t)((uintptr_t)at - h->origin);
        struct h1_span *s;

        if (h->in_value || h->n_spans == 0) {
                if (h->n_spans == h->spans_cap && grow_spans(h) < 0)
                        return -1;
                h->in_value = false;
                h->spans[h->n_spans++] = (struct h1_span){ .name = off, .name_n = (uint32_t)n };
                return 0;
        }
        s = &h->spans[h->n_spans - 1];
        s->name_n = off + (uint32_t)n - s->name;
        return 0;
}

static int on_value(parser *p, const char *at, size_t n)
{
        struct h1 *h = of(p);
        uint32_t off = (uint32_t)((uintptr_t)at - h->origin);
        struct h1_span *s = &h->spans[h->n_spans - 1];

        h->in_value = true;
        if (s->value_n == 0)
                s->value = off;
        if (off == s->value + s->value_n)
                s->value_n += (uint32_t)n; /* else a folded line: the pass over the head refuses what lies between */
        return 0;
}

static int on_head(parser *p)
{
        return grammar_pause(p);
}

/* CR and LF only as a pair, and a pair after each chunk: the grammar library lets some of that through in extensions. */
static void check_framing(struct h1 *h, const char *from, const char *to)
{
        h->framing_n += (size_t)(to - from);
        if (h->framing_n > h->framing_max)
                h->bad_framing = true;
        for (; from < to; from++) {
                if (h->before == 'b' ? *from != '\r' : (h->before == '\r') != (*from == '\n'))
                        h->bad_framing = true;
                h->before = *from == '\r' || *from == '\n' ? *from : '.';
        }
}

static int on_piece(parser *p, const char *at, size_t n)
{
        struct h1 *h = of(p);

        check_framing(h, h->framing, at);
        h->piece = (struct pm_str){ at, n };
        h->framing = at + n;
        h->framing_n = 0;
        h->before = 'b';
        return grammar_pause(p);
}

static int on_complete(parser *p)
{
        of(p)->complete = true;
        return grammar_pause(p);
}

static const grammar_callbacks head_callbacks = {
        .on_url = on_target, .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_head,
};
static const grammar_callbacks chunk_callbacks = { .on_body = on_piece, .on_message_complete = on_complete };

/* ---- the head ---------------------------------------------------------------------------------------------------------- */

static int keep_raw(struct h1 *h, const char *p, size_t n)
{
        if (h->n + n + H1_RAW_SLACK > h->cap) {
                size_t cap = MAX(h->cap, RAW_FIRST);
                char *raw;

                while (cap < h->n + n + H1_RAW_SLACK)
                        cap *= 2;
                if (h->side == H1_REQUESTS && cap > RAW_KEEP && !memory_room())
                        return -ENOMEM;
                raw = realloc(h->raw, cap);
                if (!raw)
                        return -ENOMEM;
                memory_held((int64_t)cap - (int64_t)h->cap);
                h->raw = raw;
                h->cap = cap;
        }
        memcpy(h->raw + h->n, p, n);
        h->n += n;
        return 0;
}

/* What the bytes up to the wrong one, raw[n), are: looks at nothing but them. */
static enum h1_event refuse_head(struct h1 *h, size_t n)
{
        const char *side = h->side == H1_REQUESTS ? "request" : "response";
        unsigned char wrong = (unsigned char)h->raw[h->n - 1];
        size_t lines = 0;

        if (h->stage == FAILED)
                return H1_ERROR;
        if (h->raw[0] == 0x16)
                return fail(h, 400, "a TLS handshake on a listener without TLS: use http:// here, or give this listener a certificate");
        if (h->side == H1_REQUESTS && h->n >= 3 && memcmp(h->raw, "PRI", 3) == 0)
                return fail(h, 505, "an HTTP/2 connection preface: this server speaks HTTP/1.1 (ALPN http/1.1, no prior knowledge)");
        for (size_t i = 1; i < n; i++) /* the grammar library may take CR and any byte for a line's end */
                if (h->raw[i] == '\n' || h->raw[i - 1] == '\r')
                        lines++;
        if (lines > h->headers_max)
                return fail(h, 431, "the message has too many headers");
        if (h->side == H1_REQUESTS && grammar_error(&h->grammar) == (int)HPE_INVALID_METHOD && (isupper(wrong) || wrong == '-'))
                return fail(h, 501, "the request's method is not known");
        if (grammar_error(&h->grammar) == (int)HPE_INVALID_VERSION)
                return fail(h, 505, "the HTTP version is not 1.0 or 1.1");
        (void)snprintf(h->text, sizeof h->text, "malformed %s at byte %zu (0x%02x): %s", side, h->n - 1, wrong,
                       grammar_complaint(&h->grammar));
        return fail(h, 400, h->text);
}

static enum h1_method method_of(unsigned m)
{
        switch (m) {
        case HTTP_GET: return H1_GET;
        case HTTP_HEAD: return H1_HEAD_METHOD;
        case HTTP_POST: return H1_POST;
        case HTTP_PUT: return H1_PUT;
        case HTTP_DELETE: return H1_DELETE;
        case HTTP_OPTIONS: return H1_OPTIONS;
        case HTTP_PATCH: return H1_PATCH;
        default: return H1_OTHER;
        }
}

/* How the body ends. */
static void take_framing(struct h1 *h)
{
        struct h1_head *d = &h->head;
        bool response = h->side == H1_RESPONSES;

        h->left = d->has_length ? (uint64_t)d->length : 0;
        h->stage = IN_LENGTH;
        if (response && (h->no_body || d->status < 200 || d->status == 204 || d->status == 304)) {
                h->left = 0;
        } else if (d->chunked) {
                h->stage = IN_CHUNKS;
                grammar_enter_chunks(&h->grammar, &chunk_callbacks);
        } else if (response && !d->has_length) {
                h->stage = IN_REST;
                d->keep_alive = false;
        }
        if (d->status == 101)
                d->keep_alive = false;
}

/* False: h1_error(). */
static bool take_head(struct h1 *h)
{
        struct h1_raw r = {
                .side = h->side, .raw = h->raw, .n = h->n, .target = h->target, .target_n = h->target_n,
                .method = method_of(h->grammar.parser.method), .status = (int)h->grammar.parser.status_code,
                .spans = h->spans, .n_spans = h->n_spans, .headers = h->headers,
        };
        const char *why;
        int e;

        if (h->side == H1_REQUESTS && h->grammar.parser.method == HTTP_CONNECT) {
                (void)fail(h, 501, "CONNECT is not served here");
                return false;
        }
        e = h1_head_take(&r, &h->head, &why);
        if (e != 0) {
                (void)fail(h, e, why);
                return false;
        }
        take_framing(h);
        return true;
}

static void start_head(struct h1 *h)
{
        grammar_start(&h->grammar, h->side == H1_REQUESTS, &head_callbacks, h);
        h->stage = IN_HEAD;
        h->n = 0;
        h->n_spans = 0;
        h->target = h->target_n = 0;
        h->in_value = false;
        h->complete = h->bad_framing = false;
        h->framing_n = 0;
        h->before = '.';
}

/* How many bytes may be parsed before a limit must be looked at. */
static size_t until_limit(const struct h1 *h)
{
        size_t max = h->head_max - h->interim_n - h->n;

        return h->side == H1_REQUESTS && h->n < LINE_MAX_BYTES ? MIN(max, LINE_MAX_BYTES - h->n) : max;
}

static enum h1_event feed_head(struct h1 *h, const char *data, size_t n, size_t *used)
{
        size_t i = 0;

        for (;;) {
                size_t take, pos, keep;
                enum ran ran;

                if (h->n == 0 && h->side == H1_REQUESTS) /* a few clients end a body with a line end of their own */
                        while (i < n && (data[i] == '\r' || data[i] == '\n'))
                                i++;
                *used = i;
                if (i == n)
                        return H1_MORE;
                take = MIN(n - i, until_limit(h));
                h->origin = (uintptr_t)(data + i) - h->n;
                ran = grammar_run(&h->grammar, &head_callbacks, data + i, take, &pos);
                keep = ran == RAN_WRONG ? MIN(pos + 1, take) : pos;
                if (keep_raw(h, data + i, keep) < 0)
                        return fail(h, 503, "out of memory for the message's head, or none that limits.memory allows");
                i += keep;
                *used = i;
                if (ran == RAN_WRONG)
                        return refuse_head(h, h->n - keep + pos);
                if (ran == RAN_PAUSED) {
                        if (!take_head(h))
                                return H1_ERROR;
                        if (h->side == H1_REQUESTS || h->head.status >= 200 || h->head.status == 101)
                                return H1_HEAD;
                        h->interim_n += h->n; /* an interim response says nothing to us */
                        if (h->interim_n >= h->head_max)
                                return fail(h, 431, "the message's head is too large, interim answers included");
                        start_head(h);
                        continue;
                }
                if (h->side == H1_REQUESTS && h->n == LINE_MAX_BYTES && !memchr(h->raw, '\n', h->n))
                        return fail(h, 414, "the request's target is longer than 8 KiB");
                if (h->interim_n + h->n == h->head_max)
                        return fail(h, 431, "the message's head is too large");
        }
}

/* ---- the body ---------------------------------------------------------------------------------------------------------- */

static enum h1_event feed_length(struct h1 *h, const char *data, size_t n, size_t *used, struct pm_str *ret)
{
        size_t take = n < h->left ? n : (size_t)h->left;

        if (h->left == 0) {
                h->stage = DONE;
                return H1_END;
        }
        if (n == 0)
                return H1_MORE;
        h->left -= take;
        *used = take;
        *ret = (struct pm_str){ data, take };
        return H1_BODY;
}

static enum h1_event feed_chunks(struct h1 *h, const char *data, size_t n, size_t *used, struct pm_str *ret)
{
        enum ran ran;
        size_t pos;

        if (n == 0)
                return H1_MORE;
        h->piece = (struct pm_str){ NULL, 0 };
        h->framing = data;
        ran = grammar_run(&h->grammar, &chunk_callbacks, data, n, &pos);
        check_framing(h, h->framing, data + pos);
        *used = pos;
        if (ran == RAN_WRONG || h->bad_framing)
                return fail(h, 400, "malformed chunked body");
        if (h->complete) {
                h->stage = DONE;
                return H1_END;
        }
        if (h->piece.n == 0)
                return H1_MORE;
        *ret = h->piece;
        return H1_BODY;
}

/* ---- the header's functions -------------------------------------------------------------------------------------------- */

struct h1 *h1_create(enum h1_side side, size_t head_max, size_t headers_max)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        struct h1 *h = calloc(1, sizeof *h);

        if (!h)
                return NULL;
        (void)pthread_once(&once, grammar_setup);
        assert(head_max > 0 && head_max < INT32_MAX / 2 && headers_max > 0);
        h->side = side;
        h->head_max = head_max;
        h->headers_max = headers_max;
        h->framing_max = side == H1_REQUESTS ? FRAMING_MAX : RESPONSE_FRAMING_MAX;
        start_head(h);
        return h;
}

static void free_raw(struct h1 *h)
{
        free(h->raw);
        memory_held(-(int64_t)h->cap);
        h->raw = NULL;
        h->cap = 0;
}

void h1_destroy(struct h1 *h)
{
        if (!h)
                return;
        free_raw(h);
        free(h->spans);
        free(h->headers);
        free(h);
}

enum h1_event h1_feed(struct h1 *h, const char *data, size_t n, size_t *used, struct pm_str *ret)
{
        *used = 0;
        switch (h->stage) {
        case IN_HEAD:
                return feed_head(h, data, n, used);
        case IN_LENGTH:
                return feed_length(h, data, n, used, ret);
        case IN_CHUNKS:
                return feed_chunks(h, data, n, used, ret);
        case IN_REST:
                if (n == 0)
                        return H1_MORE;
                *used = n;
                *ret = (struct pm_str){ data, n };
                return H1_BODY;
        case DONE:
                return H1_END;
        case FAILED:
                return H1_ERROR;
        }
        abort();
}

enum h1_event h1_eof(struct h1 *h)
{
        if (h->stage == FAILED)
                return H1_ERROR;
        if (h1_idle(h))
                return H1_MORE;
        if (h->stage == IN_REST || h->stage == DONE || (h->stage == IN_LENGTH && h->left == 0)) {
                h->stage = DONE;
                return H1_END;
        }
        return fail(h, 400, h->stage == IN_HEAD ? "the connection was closed in the middle of a head"
                                                : "the connection was closed in the middle of a body");
}

bool h1_idle(const struct h1 *h)
{
        return h->stage == IN_HEAD && h->n == 0;
}

void h1_next(struct h1 *h)
{
        assert(h->stage == DONE);
        h1_reset(h);
}

void h1_reset(struct h1 *h)
{
        if (h->cap > RAW_KEEP)
                free_raw(h);
        h->no_body = false;
        h->interim_n = 0;
        start_head(h);
}

void h1_expect_no_body(struct h1 *h)
{
        h->no_body = true;
        if (h->stage == IN_CHUNKS || h->stage == IN_REST || h->stage == IN_LENGTH) { /* told after the head */
                h->stage = IN_LENGTH;
                h->left = 0;
        }
}

const struct h1_head *h1_head(const struct h1 *h)
{
        return &h->head;
}

struct pm_str h1_header(const struct h1_head *head, const char *name)
{
        size_t n = strlen(name);

        for (size_t i = 0; i < head->n_headers; i++) {
                const struct h1_header *x = &head->headers[i];

                if (x->name.n == n && ((x->name.p[0] ^ name[0]) & ~0x20) == 0 && strncasecmp(x->name.p, name, n) == 0)
                        return x->value;
        }
        return (struct pm_str){ "", 0 };
}

int h1_error(const struct h1 *h, const char **why)
{
        assert(h->stage == FAILED);
        *why = h->why;
        return h->status;
}
