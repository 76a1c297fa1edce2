/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - private to upstream.c and the two transports.
 *
 * What a transport carries begins with struct transfer_base, which begins with the owner's struct transfer.  Deadlines are kept here: one
 * timer a worker, set to the soonest, looked at no more often than every 50 ms, so that a short request sets no timer at all.
 */
#ifndef PM_TRANSPORT_H
#define PM_TRANSPORT_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "loop.h"
#include "upstream.h"

#define DEADLINE_NONE INT64_MAX
#define TRANSPORT_IDLE_US 55000000  /* a kept connection that nobody used for so long is closed: below what servers allow */
#define TRANSPORT_HEADERS_MAX 100

struct transfer_base {
        struct transfer t;
        struct upstream *upstream;
        const struct transport *transport;
        struct upstream_call call;
        int64_t deadline_us;           /* by loop_clock() */
        int64_t content_by;            /* and no later than this: call.by_content; DEADLINE_NONE: it has come, or nobody waits for it */
        uint64_t body_got;             /* bytes of the answer's body in all */
        size_t counted;                /* bytes of `in` that limits.memory knows of */
        struct transfer_base *next, **pprev; /* all that are open */
};

struct http1;
struct curl;

struct upstream {
        struct loop *loop;
        struct transfer_base *open;
        struct event tick;
        int64_t tick_at;     /* when it fires, by now_us(); DEADLINE_NONE: not set */
        struct http1 *http1; /* made when first needed */
        struct curl *curl;
};

struct transport {
        struct transfer_base *(*open)(struct upstream *u, const struct upstream_call *call, struct wake *wake); /* NULL: no memory */
        void (*consumed)(struct transfer_base *a);
        void (*expired)(struct transfer_base *a, int64_t now); /* its deadline has passed */
        void (*close)(struct transfer_base *a);                /* frees it */
};

extern const struct transport http1_transport, curl_transport;
void http1_destroy(struct http1 *p);
/* Closes what has been idle too long; when to come again. */
int64_t http1_sweep(struct http1 *p, int64_t now);
int64_t curl_sweep(struct curl *c, int64_t now);
void curl_destroy(struct curl *c);

/* a->t.in is kept from use to use: NULL or empty.  False: no memory. */
bool transfer_init(struct transfer_base *a, struct upstream *u, const struct transport *x, const struct upstream_call *call,
                   struct wake *wake, int64_t now);
/* Off all lists; `in` is emptied. */
void transfer_finish(struct transfer_base *a);
void transfer_wake(struct transfer_base *a);
/* The tick comes no later than 50 ms after `at`. */
void upstream_tick_by(struct upstream *u, int64_t at);
/* at: by now_us(). */
static inline void transfer_deadline(struct transfer_base *a, int64_t at)
{
        int64_t missed = a->upstream->loop->missed_us;

        if (at != DEADLINE_NONE)
                at -= missed;
        if (at > a->content_by)
                at = a->content_by;
        a->deadline_us = at;
        if (at != DEADLINE_NONE && at + missed < a->upstream->tick_at)
                upstream_tick_by(a->upstream, at + missed);
}
/* The answer's head is there; the caller has set status, headers and length. */
void transfer_head(struct transfer_base *a, int64_t now);
/* Body bytes into `in`; false: no memory, and the transfer_base has failed. */
bool transfer_body(struct transfer_base *a, const char *p, size_t n, int64_t now);
void transfer_done(struct transfer_base *a);
void transfer_fail(struct transfer_base *a, enum transfer_error e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Which limit has passed after the connection stood, in words. */
void transfer_fail_late(struct transfer_base *a);
/* Paths come from configuration and from routers: one must not be able to add a line to the head.  False: the transfer has failed. */
bool transfer_path_ok(struct transfer_base *a);
/* Options of a socket to that endpoint: no delay, keep-alive probes, how long the other side may acknowledge nothing. */
void upstream_socket_set(int fd, const struct endpoint *e);
/* Sent again at least once, and nothing of it acknowledged since: is there still anybody? */
bool upstream_socket_gone(int fd);
/* Bytes, the end, or an error is there: of a connection at rest all of them are out of turn. */
bool upstream_socket_spoke(int fd);
/* Of socket() and connect(): says nothing about the expert, but that this machine is short of something. */
bool upstream_errno_is_local(int error);
/* EMFILE or ENFILE while no descriptor can be had, else 0: for libraries that do not say why they failed. */
int upstream_descriptors_short(void);
#endif
