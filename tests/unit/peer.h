/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - a server for tests of the client side: each connection is a thread that plays a function, on blocking sockets, with
 * or without TLS.  Counters tell what it saw.
 */
#ifndef PM_PEER_H
#define PM_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum peer_kind { PEER_TCP, PEER_TCP6, PEER_TLS, PEER_UNIX };

struct peer_conn;

struct peer {
        enum peer_kind kind;
        void (*play)(struct peer_conn *c);
        int fd;
        unsigned port;
        char path[64]; /* PEER_UNIX: the socket; PEER_TLS: the authority's certificate, PEM */
        void *tls;
        atomic_uint connections, requests, ends; /* ends: connections that the client closed or reset first */
        atomic_uint closed;                      /* that are closed here, by either side */
        char head[8192];                         /* of the last request */
        char request[16384];                     /* the same with its body, as far as it fits */
        uint64_t body_n, body_sum;
        pthread_t thread;
        struct peer_conn *conns; /* the accepting thread's, until it has ended */
        struct peer *next;
};

struct peer_conn {
        struct peer *peer;
        int fd;
        void *ssl;
        pthread_t thread;
        struct peer_conn *next;
        unsigned number, requests; /* 0, 1, ... of the peer's connections; requests taken from this one */
        char kept[65536];
        size_t n_kept;
};

/* Listens and plays until the process ends, which is how long it lives; NULL: this kind is not possible here (no IPv6). */
struct peer *peer_start(enum peer_kind kind, void (*play)(struct peer_conn *c));
/* Takes a whole request; false: the client has closed. */
bool peer_take(struct peer_conn *c);
/* Stands that in the last request? */
bool peer_was_asked(const struct peer *p, const char *text);
bool peer_send(struct peer_conn *c, const void *p, size_t n);
bool peer_say(struct peer_conn *c, const char *text);
/* Waits until the client closes. */
void peer_wait_end(struct peer_conn *c);
/* Closes with a reset. */
void peer_reset(struct peer_conn *c);
/* Or until the test is over. */
void peer_sleep(unsigned ms);
#endif
