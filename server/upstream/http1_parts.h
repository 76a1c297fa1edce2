/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1_parts.h - between http1.c (requests out, answers in), http1_pool.c (connections at rest) and http1_connect.c
 * (connecting).
 */
#ifndef PM_PLAIN_PARTS_H
#define PM_PLAIN_PARTS_H

#include "connect.h"
#include "transport.h"

struct conn {
        struct http1 *plain;
        unsigned slot;
        int fd;
        struct event readable, writable;
        struct h1 *h1;
        size_t head_max;              /* what h1 was made with */
        struct evbuffer *out;         /* what the socket did not take; NULL or empty: nothing */
        struct http1_transfer *user;   /* NULL: at rest in the pool */
        bool connected, reading, keep; /* keep: fit for another request */
        bool got;                     /* bytes of this answer have come */
        bool deaf;                    /* the expert takes no more of the request; it may have said why */
        bool resting;                 /* in the pool */
        int64_t idle_since;
        struct conn *newer, *older;   /* at rest */
};

/* Of one endpoint. */
struct http1_rest {
        struct conn *newest, *oldest;
        unsigned n;
};

struct http1_transfer {
        struct transfer_base a;
        struct conn *conn;
        struct connect_try connect;
        int64_t sent_us;
        bool fresh;                   /* a kept connection has failed it already */
        bool unproved;                /* sent on a kept connection: is there still anybody? */
        struct http1_transfer *next_free;
};

struct http1 {
        struct upstream *upstream;
        struct http1_rest *rest;      /* by slot */
        unsigned n_slots;
        struct http1_transfer *free;
        unsigned n_free;
        char scratch[65536];
};

/* Resolves, connects, and lets http1.c send when the connection stands; or fails the transfer_base. */
void http1_connect(struct http1_transfer *t);
/* The next address, after one has failed. */
void http1_connect_next(struct http1_transfer *t);
/* Fails the transfer_base with that error, in words; some are this machine's own. */
void http1_connect_failed(struct http1_transfer *t, int error);

/* http1_pool.c: no more I/O; the codec with the answer's head stays. */
void http1_conn_stop(struct conn *c);
void http1_conn_free(struct conn *c);
/* False: no memory. */
bool http1_conn_watch(struct conn *c, bool on);
/* Before anything else is asked of that slot.  False: no memory. */
bool http1_pool_room(struct http1 *p, unsigned slot);
/* One that is fit for a request now; NULL: none. */
struct conn *http1_pool_take(struct http1 *p, unsigned slot, size_t head_max);
/* Keeps it if it is fit for another request and fewer than `most` rest, or closes it. */
void http1_pool_give(struct http1 *p, struct conn *c, unsigned most);
/* Closes the one that has rested longest, for its descriptor.  False: none rests. */
bool http1_pool_spare(struct http1 *p);
void http1_pool_finish(struct http1 *p);

/* http1.c: a connection around a socket, with nothing watched yet.  NULL: no memory, fd is still the caller's. */
struct conn *http1_conn_create(struct http1 *p, const struct upstream_call *call, int fd);
#endif
