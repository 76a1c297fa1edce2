/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1.h - HTTP/1.1 messages in and out, for both sides: the only file that knows the parser.
 *
 * A pull parser: feed bytes, get one event at a time.  Heads are copied once into the parser's own bounded buffer, so that the
 * views below stay valid until h1_next(); body events are slices of the bytes just fed.  Stricter than the grammar library where
 * leniency would let a message mean two things (request smuggling): both Content-Length and Transfer-Encoding, two lengths,
 * codings other than chunked, spaces before a colon, bare CR, obs-fold: refused.  So is an answer in a content coding, which nobody
 * has asked for.  head_max and headers_max bound a head; interim answers count with the one that they precede.
 */
#ifndef PM_H1_H
#define PM_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

enum h1_side { H1_REQUESTS, H1_RESPONSES };
enum h1_method { H1_GET = 1, H1_HEAD_METHOD, H1_POST, H1_PUT, H1_DELETE, H1_OPTIONS, H1_PATCH, H1_OTHER };

struct h1_header {
        struct pm_str name, value; /* value without surrounding space; name as it came */
};

struct h1_head {
        enum h1_method method;   /* requests */
        struct pm_str method_text, target, path, query; /* target as it came; path up to '?' */
        int status;              /* responses */
        int minor;               /* HTTP/1.minor */
        bool keep_alive;         /* the connection may carry another message after this one */
        bool chunked, has_length, expect_continue, upgrade;
        int64_t length;          /* Content-Length; -1: none */
        struct pm_str host, origin, fetch_site, hops; /* requests: these headers' values (x-pointsman-hops); empty: not there */
        const struct h1_header *headers;
        size_t n_headers;
};

enum h1_event {
        H1_MORE,  /* all bytes used, nothing complete yet */
        H1_HEAD,  /* head complete: h1_head() */
        H1_BODY,  /* *ret is a piece of the body */
        H1_END,   /* message complete: h1_next() before feeding on */
        H1_ERROR  /* h1_error() */
};

struct h1;
struct h1 *h1_create(enum h1_side side, size_t head_max, size_t headers_max); /* NULL: no memory */
void h1_destroy(struct h1 *h);

/* Uses some of data[0..n), says how many in *used, and returns the first event.  Call again with the rest, even when the rest is
 * empty, until H1_MORE.  Interim responses (1xx but 101) are passed over. */
enum h1_event h1_feed(struct h1 *h, const char *data, size_t n, size_t *used, struct pm_str *ret);
/* The other side closed.  H1_END if that completes a response without length, H1_MORE between messages, else H1_ERROR. */
enum h1_event h1_eof(struct h1 *h);
/* Between messages, before any byte of the next? */
bool h1_idle(const struct h1 *h);
void h1_next(struct h1 *h);
/* Forgets what has come, wherever it was: the next byte begins a message. */
void h1_reset(struct h1 *h);
/* Responses: the request was HEAD, so no body follows.  Before the response or right after its H1_HEAD. */
void h1_expect_no_body(struct h1 *h);

const struct h1_head *h1_head(const struct h1 *h);
/* The first header of that name, or an empty one. */
struct pm_str h1_header(const struct h1_head *head, const char *name);
/* After H1_ERROR: the HTTP status that a server answers (400, 413, 414, 431, 501, 505) and one sentence. */
int h1_error(const struct h1 *h, const char **why);

const char *h1_reason(int status); /* "Not Found" */
#endif
