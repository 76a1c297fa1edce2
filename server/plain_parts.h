/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_parts.h - between plain.c (requests out, answers in, the pool) and plain_connect.c (names, addresses, connecting).
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
        int64_t idle_since;
        struct conn *next, **pprev;   /* at rest: newest first */
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
        int64_t connect_until;
        bool fresh;                   /* a kept connection has failed it already */
        struct plain_passage *next_free;
};

struct plain {
        struct upstream *upstream;
        struct evdns_base *dns;
        struct conn **idle;           /* by slot */
        unsigned *n_idle;
        unsigned n_slots;
        struct plain_passage *free;
        unsigned n_free;
        char scratch[65536];
};

/* Resolves, connects, and lets plain.c send when the connection stands; or fails the passage. */
void plain_connect(struct plain_passage *t);
/* The next address, after one has failed. */
void plain_connect_next(struct plain_passage *t);
void plain_lookup_cancel(struct plain_passage *t);

/* plain.c: a connection around a socket, with nothing watched yet.  NULL: no memory, fd is still the caller's. */
struct conn *plain_conn_create(struct plain *p, const struct upstream_call *call, int fd);
#endif
