/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - the front: connections, requests in, replies and streams out.
 *
 * One struct http a worker, with its listeners and connections; TLS through libevent's OpenSSL bufferevents.  A connection has
 * at most one request; pipelined ones wait in the input buffer, whose size is bounded.  While a request runs its connection goes
 * on reading, so a client that leaves is seen at once.  The front calls the functions of its http_handler, which answers with the
 * http_reply and http_stream functions here.  All on the worker's thread.
 */
#ifndef PM_HTTP_H
#define PM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "h1.h"
#include "inbox.h"
#include "pm_router.h"

struct listener;
struct limits;
struct loop;
struct request;
struct http;
struct http_conn;
struct evbuffer;

enum request_drop_why { DROP_CLIENT_LEFT, DROP_DEADLINE, DROP_SHUTDOWN, DROP_CLIENT_STUCK, DROP_NO_PROGRESS };

/* What the front tells the request that it has begun.  None of these may call back: they record, wake, and the loop goes on. */
struct http_handler {
        /* A head has come to the front of `owner`.  It stays until the request is over.  NULL: no memory; the connection is closed. */
        struct request *(*begin)(void *owner, struct http_conn *c, const struct h1_head *head);
        void (*body)(struct request *r, const char *p, size_t n);
        void (*body_end)(struct request *r);
        /* The body will not come as it should: an error of the grammar (status, why), or too slow (408). */
        void (*body_failed)(struct request *r, int status, const char *why);
        /* The backlog has fallen: more may be sent. */
        void (*drained)(struct request *r);
        /* The time to drain has passed: the client is told so, in a stream by its last event, and nothing more comes. */
        void (*cut_short)(struct request *r);
        /* The one way out before the end: frees the request; http_request_over() is not called, the connection is the front's. */
        void (*drop)(struct request *r, enum request_drop_why why);
        /* A message that never became a request (bad grammar, head too large or too slow): answered and logged, then closed. */
        void (*refuse)(void *owner, struct http_conn *c, int status, const char *why);
};

struct http_setup {
        const struct http_handler *handler; /* kept */
        void *owner;                        /* for begin() and refuse() */
        const struct limits *limits;        /* copied */
        const struct listener *listeners;   /* n of them */
        const int *fds;                     /* a listening socket for each; owned from http_create() on */
        size_t n;
        unsigned clients, away;             /* connections at most, and how many above that are told so at once; 0: not known */
};

/* NULL with *why: all sockets are closed. */
struct http *http_create(struct loop *loop, const struct http_setup *setup, const char **why);
/* Stops accepting and closes resting connections; running requests go on, their connections close afterwards. */
void http_drain(struct http *h);
/* The time for that has passed: running requests are told to end (cut_short), which takes as long as their clients take to read it. */
void http_cut_short(struct http *h);
/* Closes everything; running requests are dropped. */
void http_destroy(struct http *h);
unsigned http_connections(const struct http *h);

/* A connection that another thread has accepted, on its way. */
struct http_given {
        struct message message;
        size_t listener; /* which of http_setup's */
        int fd;
        struct sockaddr_storage from;
};

/* Any thread: takes what waits at the listeners of h, whose own thread does not, and gives it to `take`, which owns each from then on (heap). */
void http_relieve(struct http *h, void (*take)(void *arg, struct http_given *given), void *arg);
/* On the thread of h, which is another's front: the connection is its own from now on; frees `given`. */
void http_take(struct http *h, struct http_given *given);

/* After a reload: for what comes from now on. */
void http_set_limits(struct http *h, const struct limits *l);
/* New certificates take effect for new connections. -errno with *why: the old ones stay. */
int http_set_certificates(struct http *h, const struct listener *ls, size_t n, const char **why);

/* A reply's head.  `headers` are ready-made lines, each ended by \r\n (may be empty); the front adds Date, Content-Length or
 * Transfer-Encoding, and Connection where it must. */
struct http_reply {
        int status;
        const char *content_type; /* NULL: none */
        struct pm_str headers;
        bool close; /* the connection ends after this reply */
};

/* A whole reply in one write.  The request's body need not have come; what is left of it is read and thrown away if it is short,
 * else the connection closes.  Body bytes are copied. */
void http_reply(struct http_conn *c, const struct http_reply *head, struct pm_str body);
/* The same with the body moved out of an evbuffer. */
void http_reply_buffer(struct http_conn *c, const struct http_reply *head, struct evbuffer *body);

/* A reply in pieces: begin, data..., end.  HTTP/1.0 clients get no chunks: the end is the end of the connection.  `length` -1:
 * not known.  Each call of http_stream_data is one chunk and is written at once. */
void http_stream_begin(struct http_conn *c, const struct http_reply *head, int64_t length);
void http_stream_data(struct http_conn *c, const char *p, size_t n);
/* clean: the answer is complete.  Else the connection is cut without the last chunk, so that the client knows. */
void http_stream_end(struct http_conn *c, bool clean);
/* Bytes waiting for the client.  Above limits.buffer stop; drained() says when it has fallen below a quarter. */
size_t http_backlog(const struct http_conn *c);

/* "100 Continue" if the client waits for it. */
void http_continue(struct http_conn *c);
/* The request is over and its memory goes: the connection takes its next message or closes.  Exactly once for each request. */
void http_request_over(struct http_conn *c);
/* It has come to a listener that only this machine can reach. */
bool http_on_loopback(const struct http_conn *c);
/* "127.0.0.1:51234", for the log. */
const char *http_peer(const struct http_conn *c);
#endif
