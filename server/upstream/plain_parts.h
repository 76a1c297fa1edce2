/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_parts.h - between plain.c (requests out, answers in), plain_pool.c (connections at rest) and plain_connect.c (names,
 * addresses, connecting).
 */
#ifndef PM_PLAIN_PARTS_H
#define PM_PLAIN_PARTS_H

#include <sys/socket.h>

#include "transport.h"

struct evdns_base;
struct evdns_getaddrinfo_request;

struct conn {
        struct plain *plain;
        unsigned slot;
        int fd;
        struct event readable, writable;
        struct h1 *h1;
        size_t head_max;              /* what h1 was made with */
        struct evbuffer *out;         /* what the socket did not take; NULL or empty: nothing */
        struct plain_passage *user;   /* NULL: at rest in the pool */
        bool connected, reading, keep; /* keep: fit for another request */
        bool got;                     /* bytes of this answer have come */
        bool deaf;                    /* the expert takes no more of the request; it may have said why */
        bool resting;                 /* in the pool */
        int64_t idle_since;
        struct conn *newer, *older;   /* at rest */
};

/* Of one endpoint. */
struct plain_rest {
        struct conn *newest, *oldest;
        unsigned n;
};

struct address {
        struct sockaddr_storage to;
        socklen_t n;
};

/* A name being resolved; outlives a passage that is closed meanwhile. */
struct lookup {
        struct plain_passage *passage;
        struct evdns_getaddrinfo_request *request;
};

struct plain_passage {
        struct passage a;
        struct conn *conn;
        struct lookup *lookup;
        struct address addresses[4];
        unsigned n_addresses, address_at;
        int64_t connect_until, sent_us;
        bool fresh;                   /* a kept connection has failed it already */
        bool unproved;                /* sent on a kept connection: is there still anybody? */
        struct plain_passage *next_free;
};

struct plain {
        struct upstream *upstream;
        struct evdns_base *dns;
        struct plain_rest *rest;      /* by slot */
        unsigned n_slots;
        struct plain_passage *free;
        unsigned n_free;
        char scratch[65536];
};

/* Resolves, connects, and lets plain.c send when the connection stands; or fails the passage. */
void plain_connect(struct plain_passage *t);
/* The next address, after one has failed. */
void plain_connect_next(struct plain_passage *t);
/* Fails the passage with that error, in words; some are this machine's own. */
void plain_connect_failed(struct plain_passage *t, int error);
void plain_lookup_cancel(struct plain_passage *t);

/* plain_pool.c: no more I/O; the codec with the answer's head stays. */
void plain_conn_stop(struct conn *c);
void plain_conn_free(struct conn *c);
/* False: no memory. */
bool plain_conn_watch(struct conn *c, bool on);
/* Before anything else is asked of that slot.  False: no memory. */
bool plain_pool_room(struct plain *p, unsigned slot);
/* One that is fit for a request now; NULL: none. */
struct conn *plain_pool_take(struct plain *p, unsigned slot, size_t head_max);
/* Keeps it if it is fit for another request and fewer than `most` rest, or closes it. */
void plain_pool_give(struct plain *p, struct conn *c, unsigned most);
/* Closes the one that has rested longest, for its descriptor.  False: none rests. */
bool plain_pool_spare(struct plain *p);
void plain_pool_finish(struct plain *p);

/* plain.c: a connection around a socket, with nothing watched yet.  NULL: no memory, fd is still the caller's. */
struct conn *plain_conn_create(struct plain *p, const struct upstream_call *call, int fd);
#endif
