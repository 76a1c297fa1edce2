/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_parts.h - what http.c (listeners, times), http_conn.c (bytes in) and http_reply.c (bytes out) share; for them alone.
 *
 * Nothing frees a connection but conn_update(), the last thing that each of libevent's callbacks, each wake and each look at the
 * clock does.  All else only notes what should become of it.
 */
#ifndef PM_HTTP_PARTS_H
#define PM_HTTP_PARTS_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "http.h"
#include "limit.h"
#include "listen.h"
#include "loop.h"

struct bufferevent;

#define HTTP_AHEAD_MAX 65536u   /* bytes read ahead of the message that is being answered */
#define HTTP_DISCARD_MAX 65536  /* of a body that is not read, before the connection is closed instead */
#define HTTP_READ_MAX 65536u
#define HTTP_LINGER_MS 1000     /* how long a client may go on sending after our last byte */

struct http_listener {
        struct http *http;
        int fd;
        struct event *event;
        SSL_CTX *tls; /* NULL: plain */
        bool loopback;
};

struct http {
        struct loop *loop;
        const struct http_handler *handler;
        void *owner;              /* for the handler */
        struct limits limits;
        unsigned clients, away_max; /* connections at most, and how many above that are told so at once */
        struct http_listener *listeners;
        size_t n_listeners;
        pthread_mutex_t closing;  /* held while the listening sockets close, and while another thread accepts from them */
        struct http_conn *conns;
        unsigned n_conns, n_away; /* n_away: of these, connections above the limit that are told so */
        struct event *sweep, *resume;
        bool sweeping, draining, resting; /* resting: no connections are accepted */
        int64_t complained_us;    /* when we last said that connections cannot be taken */
        time_t date_s;
        char date[40];            /* "Date: ...\r\n" of that second */
        size_t date_n;
        char scratch[HTTP_READ_MAX]; /* what a plain socket gave */
};

/* What the client is given time for. */
enum http_wait { WAIT_NOTHING, WAIT_HANDSHAKE, WAIT_IDLE, WAIT_HEAD, WAIT_BODY, WAIT_LINGER };
enum http_sent { SENT_NOTHING, SENT_HEAD, SENT_ALL };

struct http_conn {
        struct http_conn *next, **pprev;
        struct http *http;
        struct h1 *h1;
        struct request *request; /* NULL: none runs */
        struct wake wake;

        bool loopback; /* its listener is */

        /* plain: these three; TLS: bev */
        int fd;
        struct event readable, writable;
        struct evbuffer *in, *out; /* ahead of their time, and backlog; NULL until needed; TLS: bev's */
        struct bufferevent *bev;

        /* the message */
        bool head_received;
        bool body_received;   /* to its end */
        int64_t body_seen;
        bool reply_bodiless;  /* to HEAD, and by its status */
        bool http_1_0;
        bool keep_alive;      /* the next message may follow */
        bool expects_continue;

        /* the reply */
        enum http_sent sent;
        bool chunked, until_close;
        int64_t length_left;  /* of Content-Length; -1: not counted */
        size_t buffer;        /* limits.buffer as the request knows it: a reload may bring another */
        bool drain_due;       /* the backlog has reached it: the handler is told when it has fallen */

        /* what should become of the connection */
        bool write_armed;     /* plain: the event is */
        bool read_paused;
        bool discards;        /* what comes is thrown away */
        bool eof;
        bool close_after;     /* the backlog */
        bool close_lingers;   /* not before the client has had time to read */
        bool write_closed;
        bool fail_at_end;     /* the end must look like a failure */
        bool above_limit;     /* of connections */
        bool dead;            /* now */
        enum request_drop_why dead_why;

        enum http_wait wait;
        int64_t deadline;     /* 0: the next sweep sets it */
        size_t counted;       /* bytes of the backlog that limits.memory knows of */
        uint64_t queued;      /* bytes that ever went into the backlog */
        uint64_t taken;       /* of these had left, when last looked at */
        int64_t stuck_at;     /* 0: the next sweep sets it */
        char peer[INET6_ADDRSTRLEN + 10];
};

/* http.c: a connection has gone, another may come. */
void http_room(struct http *h);

/* http_conn.c */
/* Takes the socket; tls NULL: plain.  NULL: no memory, the socket is closed. */
struct http_conn *conn_create(struct http *h, int fd, SSL_CTX *tls, const char *peer);
/* The one place that closes and frees. */
void conn_update(struct http_conn *c);
void conn_abort(struct http_conn *c, enum request_drop_why why);
void conn_wait(struct http_conn *c, enum http_wait wait);
/* The time that it had is over. */
void conn_late(struct http_conn *c);
/* The message that is being answered is over on both sides, or the connection is. */
void conn_message_over(struct http_conn *c);

/* http_reply.c */
/* The backlog has grown or fallen: limits.memory is told. */
void conn_count(struct http_conn *c, size_t backlog);
void conn_on_writable(evutil_socket_t fd, short what, void *arg);
void conn_on_bev_written(struct bufferevent *bev, void *arg);
/* A connection above the limit. */
void conn_reject(struct http_conn *c);
#endif
