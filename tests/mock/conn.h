/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - a connection as serve.c (its life, requests in) and reply.c (answers out) both see it.
 */
#ifndef MOCK_CONN_H
#define MOCK_CONN_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <http_parser.h>

#include "mock.h"

#define MEMO_N 4

struct memo {
        const struct expert *expert;
        enum kind kind;
        struct buf body;
        struct plan *plan;
};

/* A listening socket: whose it is. */
struct door {
        struct loop *loop;
        struct expert *expert;
        struct evconnlistener *listener;
};

struct loop {
        struct event_base *base;
        SSL_CTX *tls;
        int stop_fd;
        struct event *stop;
        struct conn *conns;
        struct door doors[MAX_PORTS];
        int door_n;
        struct buf scratch, event;
        struct memo memo[MEMO_N];
        unsigned memo_next;
        uint64_t serial;
};

enum state { READING, WAITING, STREAMING, SILENT, CLOSING, DEAD };

struct conn {
        struct loop *loop;
        struct expert *expert;
        struct conn *next, **back;
        struct bufferevent *bev;
        SSL *ssl;
        struct event timer, tick; /* timer: what the answer waits for; tick: slow reading and split writing */
        enum state state;
        int64_t number; /* of the connection */

        http_parser parser;
        struct buf target, heads, body; /* heads: name NUL value NUL ... */
        bool in_value, too_large, keep_alive, http10, faulted;
        bool reading; /* conn_read() is on the stack */
        bool hard;    /* end without a TLS goodbye */
        struct fault fault;
        char refused[160]; /* a fault that was not understood */

        struct plan *plan;
        size_t at, events, sent; /* the next event, how many there are, bytes of body gone */
        int64_t started, seq;
        int status;
        bool chunked;
        struct evbuffer *pending; /* of "split" */
};

/* serve.c */
void conn_kill(struct conn *c, const struct timeval *after);
void conn_read(struct conn *c);    /* goes on with what the client has sent */
void conn_settled(struct conn *c); /* all bytes may be gone: was that the last answer? */
void in_flight_ends(struct conn *c);

/* reply.c */
void reply_begin(struct conn *c); /* a whole request has come */
void reply_go(struct conn *c);    /* its delay is over */
void reply_pump(struct conn *c);  /* sends the events whose time has come */
void reply_error(struct conn *c, int status, const char *message, const char *param, const char *code);
void reply_push(struct conn *c, const char *p, size_t n);
bool is_control(const struct conn *c);

#endif
