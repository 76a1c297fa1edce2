/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_fixture.h - the front over real sockets, with a request that does what the path says in place of request.c.  Server and
 * client run in one thread: a test that waits runs the loop.
 */
#ifndef PM_HTTP_FIXTURE_H
#define PM_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include "http.h"
#include "limit.h"
#include "listen.h"
#include "loop.h"

#include "base.h"

#define UNUSED __attribute__((unused))

/* ---- the request --------------------------------------------------------------------------------------------------------- */

struct request {
        struct http_conn *conn;
        struct wake wake;
        char path[64];
        char body[70000];
        size_t body_n;
        bool body_end, replied;
        int failed;
};

static struct loop loop;
static struct http *front;
static struct request *held; /* the newest one that the test answers itself */
static uint16_t port;
static unsigned begun, over, in_flight, most_in_flight, drained, dropped, refused;
static enum request_drop_why drop_why;
static int refused_status;

static const struct http_reply ok = { .status = 200, .content_type = "text/plain", .headers = { "x-a: b\r\n", 8 } };

UNUSED static void request_finish(struct request *r)
{
        struct http_conn *c = r->conn;

        loop_unwake(&loop, &r->wake);
        if (held == r)
                held = NULL;
        free(r);
        in_flight--;
        over++;
        http_request_over(c);
}

UNUSED static void answer(struct request *r, const char *text)
{
        http_reply(r->conn, &ok, (struct pm_str){ text, strlen(text) });
        request_finish(r);
}

UNUSED static void request_act(void *arg)
{
        struct request *r = arg;

        if (r->failed) {
                http_reply(r->conn, &(struct http_reply){ .status = r->failed }, (struct pm_str){ "failed", 6 });
                request_finish(r);
        } else if (strcmp(r->path, "/early") == 0) {
                answer(r, "early");
        } else if (strcmp(r->path, "/slow-close") == 0 && !r->replied) {
                r->replied = true; /* answers at once, ends later */
                http_reply(r->conn, &ok, (struct pm_str){ "x", 1 });
                held = r;
        } else if (strcmp(r->path, "/continue") == 0 && !r->body_end) {
                http_continue(r->conn);
        } else if (r->body_end && strcmp(r->path, "/big") == 0) {
                struct evbuffer *b = evbuffer_new();

                for (int i = 0; i < 1000; i++)
                        evbuffer_add_printf(b, "%-1023d\n", i);
                http_reply_buffer(r->conn, &ok, b);
                evbuffer_free(b);
                request_finish(r);
        } else if (r->body_end && strcmp(r->path, "/empty") == 0) {
                http_reply(r->conn, &(struct http_reply){ .status = 204 }, (struct pm_str){ NULL, 0 });
                request_finish(r);
        } else if (r->body_end && strcmp(r->path, "/hold") != 0) {
                http_reply(r->conn, &ok, (struct pm_str){ r->body, r->body_n });
                request_finish(r);
        }
}

static struct request *request_begin(void *owner, struct http_conn *c, const struct h1_head *head)
{
        struct request *r = calloc(1, sizeof *r);

        cr_assert(r);
        cr_assert_eq(owner, &port);
        r->conn = c;
        r->wake = (struct wake){ .fn = request_act, .arg = r };
        (void)snprintf(r->path, sizeof r->path, "%.*s", (int)head->path.n, head->path.p);
        begun++;
        in_flight++;
        most_in_flight = MAX(most_in_flight, in_flight);
        if (strcmp(r->path, "/hold") == 0)
                held = r;
        loop_wake(&loop, &r->wake);
        return r;
}

static void request_body(struct request *r, const char *p, size_t n)
{
        if (r->body_n + n > sizeof r->body)
                n = sizeof r->body - r->body_n;
        memcpy(r->body + r->body_n, p, n);
        r->body_n += n;
}

static void request_body_end(struct request *r)
{
        cr_assert_not(r->body_end);
        r->body_end = true;
        loop_wake(&loop, &r->wake);
}

static void request_body_failed(struct request *r, int status, const char *why)
{
        cr_assert(why && *why);
        r->failed = status;
        loop_wake(&loop, &r->wake);
}

static void request_drained(struct request *r)
{
        cr_assert(r);
        drained++;
}

static void request_drop(struct request *r, enum request_drop_why why)
{
        cr_assert(strncmp(http_peer(r->conn), "127.0.0.1:", 10) == 0);
        loop_unwake(&loop, &r->wake);
        if (held == r)
                held = NULL;
        free(r);
        in_flight--;
        dropped++;
        drop_why = why;
}

static void request_cut_short(struct request *r)
{
        request_drop(r, DROP_SHUTDOWN);
}

static void request_refuse(void *owner, struct http_conn *c, int status, const char *why)
{
        cr_assert_eq(owner, &port);
        refused++;
        refused_status = status;
        http_reply(c, &(struct http_reply){ .status = status, .close = true }, (struct pm_str){ why, strlen(why) });
}

static const struct http_handler handler = { .begin = request_begin, .body = request_body, .body_end = request_body_end, .body_failed = request_body_failed,
                                             .drained = request_drained, .cut_short = request_cut_short, .drop = request_drop, .refuse = request_refuse };

/* ---- the server ---------------------------------------------------------------------------------------------------------- */

static struct limits limits;
static struct listener listener;

static int listen_somewhere(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof a;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0);
        cr_assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
        port = ntohs(a.sin_port);
        return fd;
}

UNUSED static void start(void)
{
        const struct http_setup setup = { .handler = &handler, .owner = &port, .limits = &limits, .listeners = &listener, .fds = (int[]){ listen_somewhere() }, .n = 1 };
        const char *why = NULL;

        (void)signal(SIGPIPE, SIG_IGN);
        if (limits.head == 0)
                limits = (struct limits){ .head = 8192, .headers = 20, .connections = 20, .head_time = 5000, .body_time = 5000,
                                          .idle_time = 5000, .write_time = 5000, .buffer = 65536 };
        cr_assert_eq(loop_init(&loop, 0, NULL, NULL), 0);
        front = http_create(&loop, &setup, &why);
        cr_assert(front, "%s", why);
}

UNUSED static void stop(void)
{
        http_destroy(TAKE(front));
        cr_assert_null(loop.ready);
        loop_finish_inbox(&loop);
        loop_finish(&loop);
        cr_assert_eq(in_flight, 0);
}

UNUSED static void turn(void)
{
        (void)event_base_loop(loop.base, EVLOOP_NONBLOCK);
}

UNUSED static void turn_for(int ms)
{
        int64_t end = now_us() + ms * 1000;

        while (now_us() < end) {
                turn();
                (void)usleep(500);
        }
}

#define TURN_UNTIL(condition)                                                                      \
        do {                                                                                       \
                int64_t end_ = now_us() + 8000000;                                                 \
                while (!(condition) && now_us() < end_) {                                          \
                        turn();                                                                    \
                        (void)usleep(100);                                                         \
                }                                                                                  \
                cr_assert(condition);                                                              \
        } while (0)

/* ---- the client ---------------------------------------------------------------------------------------------------------- */

struct client {
        int fd;
        char got[2 << 20];
        size_t n;
        bool eof;
        int error;
};

UNUSED static struct client the_client, another;

UNUSED static struct client *dial(struct client *c)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        *c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        cr_assert(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0);
        (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
        return c;
}

UNUSED static void hang_up(struct client *c)
{
        (void)close(c->fd);
        c->fd = -1;
}

UNUSED static void say_n(struct client *c, const char *p, size_t n)
{
        int64_t end = now_us() + 8000000;

        for (size_t at = 0; at < n;) {
                ssize_t r = send(c->fd, p + at, n - at, MSG_NOSIGNAL);

                cr_assert(r > 0 || errno == EAGAIN, "%s", ERRNO_TEXT(errno));
                cr_assert_lt(now_us(), end, "the server does not read");
                if (r > 0)
                        at += (size_t)r;
                turn();
        }
}

UNUSED static void say(struct client *c, const char *text)
{
        say_n(c, text, strlen(text));
}

UNUSED static bool hear(struct client *c)
{
        ssize_t r = recv(c->fd, c->got + c->n, sizeof c->got - 1 - c->n, 0);

        if (r > 0) {
                c->n += (size_t)r;
                c->got[c->n] = 0;
        } else if (r == 0) {
                c->eof = true;
        } else if (errno != EAGAIN) {
                c->eof = true;
                c->error = errno;
        }
        return r > 0;
}

/* Turns until the text has come, and forgets what came before its end. */
UNUSED static void expect_text(struct client *c, const char *text)
{
        int64_t end = now_us() + 8000000;
        char *at;

        while (!(at = memmem(c->got, c->n, text, strlen(text)))) {
                cr_assert(!c->eof && now_us() < end, "no '%s' in '%.2000s'%s", text, c->got, c->eof ? " (eof)" : "");
                turn();
                (void)hear(c);
        }
        at += strlen(text);
        c->n -= (size_t)(at - c->got);
        memmove(c->got, at, c->n);
        c->got[c->n] = 0;
}

UNUSED static void expect_eof(struct client *c)
{
        int64_t end = now_us() + 8000000;

        while (!c->eof) {
                cr_assert(now_us() < end, "no end, but '%.200s'", c->got);
                turn();
                (void)hear(c);
        }
}

#define H "Host: a\r\n"

UNUSED static void fill_backlog(struct http_conn *conn)
{
        static char text[10000];

        memset(text, 'x', sizeof text);
        for (int i = 0; i < 2000 && http_backlog(conn) <= 65536; i++)
                http_stream_data(conn, text, sizeof text);
        cr_assert_gt(http_backlog(conn), 65536);
}
#endif
