/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream.h - one transfer to an endpoint: request out, answer in.
 *
 * Two transports stand behind it: http1.c (HTTP/1.1 on the loop with the codec of h1.h and a keep-alive pool for each worker
 * and endpoint) and curl.c (libcurl multi: TLS, HTTP/2, proxies, Unix sockets).  Callbacks record into struct transfer and wake
 * its owner; nothing of the owner runs inside a call.  One struct upstream a worker, all on its thread.
 */
#ifndef PM_UPSTREAM_H
#define PM_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "h1.h"
#include "pm_router.h"

struct loop;
struct wake;
struct endpoint;
struct evbuffer;
struct upstream;

/* What to send.  All it points to must live until upstream_close(). */
struct upstream_call {
        const struct endpoint *endpoint;
        const char *path;           /* below the endpoint's base: "/chat/completions" */
        struct pm_str headers;      /* ready-made lines, each ended by \r\n: content-type, accept, x-request-id, traceparent */
        const struct iovec *body;   /* pieces, sent one after another as one body with Content-Length */
        size_t n_body;
        int64_t connect_ms;         /* until the connection (and TLS) stands */
        int64_t first_ms;           /* from then until the answer's head and its first body byte have come */
        bool by_content;            /* first_ms is until the owner says upstream_content(), whatever comes before */
        int64_t idle_ms;            /* silence after that */
        size_t high_water;          /* bytes in `in` at which reading pauses; one read (16 KiB at most) may go beyond */
        size_t head_max;
};

enum transfer_state {
        TRANSFER_OPENING, /* connecting or sending; nothing has come */
        TRANSFER_HEAD,    /* the head is there: status, headers; body may be arriving in `in` */
        TRANSFER_DONE,    /* complete: all of the body is in `in` */
        TRANSFER_FAILED   /* see error; what had come stays in `in` */
};

enum transfer_error {
        TRANSFER_OK,
        TRANSFER_CONNECT,     /* refused, unreachable, no such name, TLS */
        TRANSFER_CONNECT_TIME,
        TRANSFER_FIRST_TIME,  /* connected, sent, no answer in time */
        TRANSFER_IDLE_TIME,   /* silence in the answer */
        TRANSFER_RESET,       /* closed or reset before the answer was complete */
        TRANSFER_PROTOCOL,    /* not HTTP, or beyond limits */
        TRANSFER_MEMORY,
        TRANSFER_LOCAL        /* this machine has no descriptor, port or buffer left, or its libcurl does not do it */
};

/* Ours: it says nothing about the expert. */
static inline bool transfer_error_is_ours(enum transfer_error e)
{
        return e == TRANSFER_MEMORY || e == TRANSFER_LOCAL;
}

struct transfer {
        struct loop *loop;
        struct wake *wake;             /* the owner's; woken on every change */
        enum transfer_state state;
        enum transfer_error error;
        char error_text[160];          /* one clause for people, without the endpoint's name */
        int status;
        const struct h1_header *headers; /* valid from TRANSFER_HEAD to upstream_close() */
        size_t n_headers;
        int64_t length;                /* Content-Length of the answer; -1: none */
        struct evbuffer *in;           /* body bytes as they came, chunking removed; the owner drains them */
        bool reused;                   /* went out on a connection that had served before */
        bool sent;                     /* some bytes of the request have left: the expert may have begun to work */
        int64_t opened_us, head_us, first_byte_us; /* by now_us(); 0: not yet */
};

struct upstream *upstream_create(struct loop *loop); /* NULL: no memory */
void upstream_destroy(struct upstream *u);          /* no transfer may be open */

/* What goes wrong at once is reported by a wake and TRANSFER_FAILED; NULL: no memory, no wake comes.  The call is copied.  A request
 * on a kept connection that was closed before any byte of an answer came is sent again by itself on a fresh one, once. */
struct transfer *upstream_open(struct upstream *u, const struct upstream_call *call, struct wake *wake);
/* The owner has drained some of `in`: reading goes on if it was paused and `in` is below high_water.  An owner that waits for n
 * bytes before it drains any needs a high_water above n. */
void upstream_consumed(struct transfer *t);
/* Content has arrived: the call.by_content timeout ends, the idle timeout applies from now on. */
void upstream_content(struct transfer *t);
/* The owner cannot drain before there is more: reading goes on up to this new high_water. */
void upstream_room(struct transfer *t, size_t high_water);
/* Done with it, in any state: a complete one's connection goes back to the pool, any other is closed at once.  NULL is fine.
 * The wake will not come any more. */
void upstream_close(struct transfer *t);

const char *transfer_error_name(enum transfer_error e); /* "connect", "first_token_timeout", ... for logs */
#endif
