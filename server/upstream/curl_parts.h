/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl_parts.h - between curl.c (the multi handle on our loop, transfers), curl_request.c (what libcurl is told), curl_answer.c (what
 * comes, and how it ended) and curl_socket.c (sockets, and whether a resting one is fit to be used again).
 */
#ifndef PM_CURL_PARTS_H
#define PM_CURL_PARTS_H

#include <curl/curl.h>

#include "transport.h"

#define CURL_PORTS 256 /* power of two */

struct curl_socket;

/* What is known of an endpoint here, by its slot. */
struct curl_slot {
        unsigned open;     /* sockets */
        unsigned running;  /* transfer_bases whose answer is not complete */
        bool moved;        /* it could not be reached: its name is to be resolved anew */
};

struct curl {
        struct upstream *upstream;
        CURLM *multi;
        CURL *broom; /* sweeps away what rests too long */
        struct event timer;
        struct curl_transfer *free;
        unsigned n_free;
        struct curl_slot *slots;
        unsigned n_slots;
        struct curl_socket **by_fd;            /* all that libcurl has opened */
        unsigned n_fds, n_open, n_running;     /* places; sockets; handles in the multi */
        bool left;                             /* an HTTP/2 connection was: its other streams are to be told */
        int left_fd;
        int64_t used_us;                       /* when a request last ended */
        struct curl_socket *by_port[CURL_PORTS]; /* the same, by local port once that is known */
};

/* What one request is and has; nothing of it outlives the request. */
struct curl_run {
        bool running;           /* in the multi handle */
        bool connected, fresh;  /* fresh: a socket was made for it */
        bool paused;
        bool h2;                /* the connection speaks HTTP/2 */
        bool ended;             /* the answer is complete */
        bool over;              /* libcurl is through with it */
        bool again;             /* a kept connection has failed it already */
        bool unproved;          /* sent on a kept connection: is there still anybody? */
        bool failed;            /* libcurl says so: the handle is not used again */
        int os_error;           /* of socket() */
        int fd;                 /* that it was sent on; -1: not known */
        size_t piece, at;       /* of the body: what is sent next */
        int64_t body_n, sent_us;
        int64_t missed_us;      /* by the loop's clock when it began */
        size_t head_n;          /* header lines, interim answers and trailers included */
        char refused[200];      /* why the request cannot be made */
        char error[CURL_ERROR_SIZE];
};

struct curl_transfer {
        struct transfer_base a;
        struct curl *curl;
        CURL *easy;
        bool used;              /* the handle has carried a request before */
        struct h1 *h1;          /* reads the answer, whatever brought it */
        size_t head_max;        /* what h1 was made with */
        struct curl_slist *lines, *resolve;
        struct curl_run run;
        struct curl_transfer *free_next;
};

/* curl.c: sends the request again on a connection of its own.  Not from a callback of libcurl's. */
void curl_again(struct curl_transfer *p);
struct curl_slot *curl_slot_of(struct curl_transfer *p);
/* What libcurl holds back on that HTTP/2 connection leaves, if anybody else uses it. */
void curl_flush(const struct curl_transfer *p);
/* The connection of p cannot be used for it any more, and perhaps not for other requests either. */
void curl_left(const struct curl_transfer *p);

/* curl_request.c: tells p->easy what to do.  False: run.refused says what it did not take; or there is no memory, and it is empty. */
bool curl_request_set(struct curl_transfer *p);
size_t curl_on_wants_body(char *to, size_t one, size_t n, void *arg);
int curl_on_seek(void *arg, curl_off_t to, int origin);

/* curl_answer.c: libcurl's callbacks. */
size_t curl_on_header(char *line, size_t one, size_t n, void *arg);
size_t curl_on_body(char *data, size_t one, size_t n, void *arg);
/* The transfer has ended.  False: it was begun again. */
bool curl_ended(struct curl_transfer *p, CURLcode r);
/* Its connection is closed as soon as no other stream runs on it.  False: libcurl does not take that. */
bool curl_no_reuse(struct curl_transfer *p);
void curl_fail(struct curl_transfer *p, CURLcode r);

/* curl_socket.c: libcurl's callbacks, and: */
curl_socket_t curl_on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to);
int curl_on_close(void *arg, curl_socket_t fd);
int curl_on_connected(void *arg, char *ip, char *local_ip, int port, int local_port);
void curl_socket_watched(struct curl *c, curl_socket_t fd, bool on);
/* Nothing runs: all that rests is fit for nothing more. */
void curl_sockets_end(struct curl *c);
void curl_sockets_finish(struct curl *c);
/* For a request that is to get no connection. */
curl_socket_t curl_on_open_none(void *arg, curlsocktype purpose, struct curl_sockaddr *to);
#endif
