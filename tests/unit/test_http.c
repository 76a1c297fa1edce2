/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front over real sockets, with a request that does what the path says in place of request.c.  Server and client run in one
 * thread: whoever waits turns the loop.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "config.h"
#include "http.h"
#include "request.h"
#include "worker.h"

#include "base.h"

/* ---- the request --------------------------------------------------------------------------------------------------------- */

struct request {
        struct worker *w;
        struct http_conn *conn;
        struct wake wake;
        char path[64];
        char body[70000];
        size_t body_n;
        bool body_end, replied;
        int failed;
};

static struct request *held; /* the newest one that the test answers itself */
static unsigned begun, over, in_flight, most_in_flight, drained, dropped, refused;
static enum request_drop_why drop_why;
static int refused_status;

static const struct http_reply ok = { .status = 200, .content_type = "text/plain", .headers = { "x-a: b\r\n", 8 } };

static void request_finish(struct request *r)
{
        struct http_conn *c = r->conn;

        worker_unwake(r->w, &r->wake);
        if (held == r)
                held = NULL;
        free(r);
        in_flight--;
        over++;
        http_request_over(c);
}

static void answer(struct request *r, const char *text)
{
        http_reply(r->conn, &ok, (struct pm_str){ text, strlen(text) });
        request_finish(r);
}

static void request_act(void *arg)
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

struct request *request_begin(struct worker *w, struct http_conn *c, const struct h1_head *head)
{
        struct request *r = calloc(1, sizeof *r);

        cr_assert(r);
        r->w = w;
        r->conn = c;
        r->wake = (struct wake){ .fn = request_act, .arg = r };
        (void)snprintf(r->path, sizeof r->path, "%.*s", (int)head->path.n, head->path.p);
        begun++;
        in_flight++;
        most_in_flight = MAX(most_in_flight, in_flight);
        if (strcmp(r->path, "/hold") == 0)
                held = r;
        worker_wake(w, &r->wake);
        return r;
}

void request_body(struct request *r, const char *p, size_t n)
{
        if (r->body_n + n > sizeof r->body)
                n = sizeof r->body - r->body_n;
        memcpy(r->body + r->body_n, p, n);
        r->body_n += n;
}

void request_body_end(struct request *r)
{
        cr_assert_not(r->body_end);
        r->body_end = true;
        worker_wake(r->w, &r->wake);
}

void request_body_failed(struct request *r, int status, const char *why)
{
        cr_assert(why && *why);
        r->failed = status;
        worker_wake(r->w, &r->wake);
}

void request_drained(struct request *r)
{
        cr_assert(r);
        drained++;
}

void request_drop(struct request *r, enum request_drop_why why)
{
        cr_assert(strncmp(http_peer(r->conn), "127.0.0.1:", 10) == 0);
        worker_unwake(r->w, &r->wake);
        if (held == r)
                held = NULL;
        free(r);
        in_flight--;
        dropped++;
        drop_why = why;
}

void request_refuse(struct worker *w, struct http_conn *c, int status, const char *why)
{
        cr_assert(w);
        refused++;
        refused_status = status;
        http_reply(c, &(struct http_reply){ .status = status, .close = true }, (struct pm_str){ why, strlen(why) });
}

/* ---- the server ---------------------------------------------------------------------------------------------------------- */

static struct generation generation;
static struct listener listener;
static struct worker worker;
static uint16_t port;

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

static void start(void)
{
        const char *why = NULL;
        int fd = listen_somewhere();

        (void)signal(SIGPIPE, SIG_IGN);
        generation.listeners = &listener;
        generation.n_listeners = 1;
        if (generation.limits.head == 0)
                generation.limits = (struct limits){ .head = 8192, .headers = 20, .connections = 20, .head_time = 5000, .body_time = 5000,
                                                     .idle_time = 5000, .write_time = 5000, .buffer = 65536 };
        worker = (struct worker){ .generation = &generation };
        worker.ready_last = &worker.ready;
        worker.base = event_base_new();
        cr_assert(worker.base);
        worker.http = http_create(&worker, &generation, &fd, 1, &why);
        cr_assert(worker.http, "%s", why);
}

static void stop(void)
{
        http_destroy(TAKE(worker.http));
        cr_assert_null(worker.ready);
        event_base_free(worker.base);
        cr_assert_eq(in_flight, 0);
}

TestSuite(http, .init = start, .fini = stop, .timeout = 30);

static void turn(void)
{
        (void)event_base_loop(worker.base, EVLOOP_NONBLOCK);
        while (worker.ready) {
                struct wake *k = worker.ready;

                worker_unwake(&worker, k);
                k->fn(k->arg);
        }
}

static void turn_for(int ms)
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

static struct client the_client, another;

static struct client *dial(struct client *c)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        *c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        cr_assert(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0);
        (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
        return c;
}

static void hang_up(struct client *c)
{
        (void)close(c->fd);
        c->fd = -1;
}

static void say_n(struct client *c, const char *p, size_t n)
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

static void say(struct client *c, const char *text)
{
        say_n(c, text, strlen(text));
}

static bool hear(struct client *c)
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
static void expect_text(struct client *c, const char *text)
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

static void expect_eof(struct client *c)
{
        int64_t end = now_us() + 8000000;

        while (!c->eof) {
                cr_assert(now_us() < end, "no end, but '%.200s'", c->got);
                turn();
                (void)hear(c);
        }
}

#define H "Host: a\r\n"

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

Test(http, keep_alive)
{
        struct client *c = dial(&the_client);

        say(c, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello");
        expect_text(c, "HTTP/1.1 200 OK\r\nDate: ");
        expect_text(c, " GMT\r\nContent-Type: text/plain\r\nx-a: b\r\nContent-Length: 5\r\n\r\nhello");
        cr_assert_eq(c->n, 0);
        say(c, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
        expect_text(c, "Content-Length: 6\r\n\r\nabcdef");
        say(c, "HEAD /echo HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nxy");
        expect_text(c, "Content-Length: 2\r\n\r\n");
        cr_assert_eq(c->n, 0);
        say(c, "GET /empty HTTP/1.1\r\n" H "\r\n");
        expect_text(c, "204 No Content\r\n");
        expect_text(c, "GMT\r\n\r\n");
        say(c, "GET /big HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
        expect_text(c, "Content-Length: 1024000\r\nConnection: close\r\n\r\n");
        expect_eof(c);
        cr_assert_eq(c->n, 1024000);
        cr_assert_eq(c->error, 0);
        cr_assert_eq(begun, 5);
        cr_assert_eq(over, 5);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http, old_clients)
{
        struct client *c = dial(&the_client);

        say(c, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        expect_text(c, "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n");
        say(c, "GET /echo HTTP/1.0\r\n\r\n");
        expect_text(c, "Content-Length: 0\r\nConnection: close\r\n\r\n");
        expect_eof(c);
}

Test(http, pipelining)
{
        struct client *c = dial(&the_client);

        say(c, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n1"
               "GET /big HTTP/1.1\r\n" H "\r\n"
               "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n3"
               "GET /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET /echo HTTP/1.1\r\n" H "\r\n");
        expect_text(c, "\r\n\r\n1HTTP/1.1 200");
        expect_text(c, "\n999 ");
        expect_text(c, "\r\n\r\n3HTTP/1.1 200");
        expect_text(c, "Connection: close\r\n\r\n");
        expect_eof(c);
        cr_assert_eq(c->n, 0);
        cr_assert_eq(begun, 4);
        cr_assert_eq(most_in_flight, 1);
}

/* What is read ahead is bounded, and nothing of it is lost. */
Test(http, pipelining_has_a_bound)
{
        static const char one[] = "POST /echo HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nabcd";
        struct client *c = dial(&the_client);
        size_t sent = 0, all = 0;

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &(int){ 16384 }, sizeof(int));
        for (int quiet = 0; quiet < 200; quiet++) {
                ssize_t r = send(c->fd, one + sent % (sizeof one - 1), sizeof one - 1 - sent % (sizeof one - 1), MSG_NOSIGNAL);

                turn();
                if (r > 0) {
                        sent += (size_t)r;
                        quiet = 0;
                        cr_assert_lt(sent, 40u << 20, "reading ahead has no bound");
                } else {
                        (void)usleep(1000);
                }
        }
        all = sent / (sizeof one - 1);
        cr_assert_gt(all, 1000);
        cr_assert_eq(begun, 1);
        answer(held, "first");
        expect_text(c, "first");
        for (size_t i = 0; i < all; i++)
                expect_text(c, "\r\n\r\nabcd");
        cr_assert_eq(most_in_flight, 1);
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http, slow_writer)
{
        static const char text[] = "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhelloGET /echo HTTP/1.1\r\n" H "\r\n";
        struct client *c = dial(&the_client);

        for (size_t i = 0; i < sizeof text - 1; i++) {
                say_n(c, text + i, 1);
                turn_for(1);
        }
        expect_text(c, "\r\n\r\nhelloHTTP/1.1 200 OK\r\n");
        expect_text(c, "\r\n\r\n");
}

Test(http, client_leaves)
{
        struct client *c = dial(&the_client);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held);
        hang_up(c);
        TURN_UNTIL(dropped == 1);
        cr_assert_eq(drop_why, DROP_CLIENT_LEFT);
        cr_assert_eq(http_connections(worker.http), 0);

        dial(c); /* in the middle of a body */
        say(c, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhe");
        TURN_UNTIL(begun == 2);
        (void)shutdown(c->fd, SHUT_WR);
        TURN_UNTIL(dropped == 2);
        expect_eof(c);
        hang_up(c);

        dial(c); /* by reset, with a message waiting */
        say(c, "GET /hold HTTP/1.1\r\n" H "\r\nGET /echo HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held);
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        hang_up(c);
        TURN_UNTIL(dropped == 3);
        cr_assert_eq(drop_why, DROP_CLIENT_LEFT);

        dial(c); /* in the middle of a head: nobody hears of it */
        say(c, "GET /echo HT");
        turn_for(5);
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
        cr_assert_eq(begun, 3);
        cr_assert_eq(refused, 0);
}

/* A write that fails is told by a drop, later. */
Test(http, write_fails)
{
        struct client *c = dial(&the_client);
        static char text[100000];

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        hang_up(c);
        (void)usleep(20000);
        for (int i = 0; i < 5; i++)
                http_stream_data(held->conn, text, sizeof text);
        cr_assert_eq(dropped, 0, "not inside the call");
        TURN_UNTIL(dropped == 1);
        cr_assert_eq(http_connections(worker.http), 0);
}

Test(http, early_answer_short_body)
{
        struct client *c = dial(&the_client);

        say(c, "POST /early HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n");
        expect_text(c, "Content-Length: 5\r\n\r\nearly");
        for (int i = 0; i < 100; i++)
                say(c, "0123456789");
        say(c, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx");
        expect_text(c, "\r\n\r\nx");
        cr_assert_eq(http_connections(worker.http), 1);
}

Test(http, early_answer_long_body)
{
        static char body[300000];
        struct client *c = dial(&the_client);

        say(c, "POST /early HTTP/1.1\r\n" H "Content-Length: 300000\r\n\r\n");
        say_n(c, body, sizeof body);
        expect_text(c, "Connection: close\r\n\r\nearly");
        expect_eof(c);
        cr_assert_eq(c->error, 0, "the client can read the answer");
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);

        dial(c); /* one that never stops is cut */
        say(c, "POST /early HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
        expect_text(c, "Connection: close\r\n\r\nearly");
        expect_eof(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http, expect_continue)
{
        struct client *c = dial(&the_client);

        say(c, "POST /continue HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        expect_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
        cr_assert_eq(c->n, 0);
        say(c, "ok");
        expect_text(c, "HTTP/1.1 200 OK\r\n");
        expect_text(c, "\r\n\r\nok");
        say(c, "POST /continue HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok"); /* did not wait */
        expect_text(c, "HTTP/1.1 200 OK\r\n");
        expect_text(c, "\r\n\r\nok");
        say(c, "POST /early HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"); /* refused: the body may never come */
        expect_text(c, "Connection: close\r\n\r\nearly");
        expect_eof(c);
}

Test(http, streams)
{
        struct client *c = dial(&the_client);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        expect_text(c, "Transfer-Encoding: chunked\r\n\r\n");
        http_stream_data(held->conn, "one", 3);
        expect_text(c, "3\r\none\r\n");
        http_stream_data(held->conn, "0123456789abcdef", 16);
        http_stream_data(held->conn, "", 0);
        expect_text(c, "10\r\n0123456789abcdef\r\n");
        http_stream_end(held->conn, true);
        request_finish(held);
        expect_text(c, "0\r\n\r\n");

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n"); /* known length; more is not sent */
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, 4);
        http_stream_data(held->conn, "four and more", 13);
        http_stream_end(held->conn, true);
        request_finish(held);
        expect_text(c, "Content-Length: 4\r\n\r\nfour");

        say(c, "HEAD /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        http_stream_end(held->conn, true);
        request_finish(held);
        expect_text(c, "\r\n\r\n");
        say(c, "GET /echo HTTP/1.1\r\n" H "\r\n");
        expect_text(c, "HTTP/1.1 200 OK\r\n");
        expect_text(c, "\r\n\r\n");

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n"); /* cut */
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        http_stream_end(held->conn, false);
        request_finish(held);
        expect_text(c, "3\r\none\r\n");
        expect_eof(c);
        cr_assert_eq(c->n, 0, "no last chunk");
}

Test(http, streams_to_old_clients)
{
        struct client *c = dial(&the_client);

        say(c, "GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        http_stream_end(held->conn, true);
        request_finish(held);
        expect_text(c, "Connection: close\r\n\r\none");
        expect_eof(c);
        cr_assert_eq(c->error, 0);
        hang_up(c);

        dial(c);
        say(c, "GET /hold HTTP/1.0\r\n\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        expect_text(c, "Connection: close\r\n\r\none");
        http_stream_end(held->conn, false);
        request_finish(held);
        expect_eof(c);
        cr_assert_eq(c->error, ECONNRESET, "only a reset tells a cut");
}

static void fill_backlog(struct http_conn *conn)
{
        static char text[10000];

        memset(text, 'x', sizeof text);
        for (int i = 0; i < 2000 && http_backlog(conn) <= 65536; i++)
                http_stream_data(conn, text, sizeof text);
        cr_assert_gt(http_backlog(conn), 65536);
}

Test(http, backlog)
{
        struct client *c = dial(&the_client);
        size_t all;

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, 1 << 30);
        for (int round = 1; round <= 3; round++) {
                fill_backlog(held->conn);
                turn_for(20);
                cr_assert_eq(drained, (unsigned)round - 1);
                for (all = 0; drained < (unsigned)round; c->n = 0) {
                        turn();
                        if (hear(c))
                                all += c->n;
                        cr_assert_lt(all, 100u << 20);
                }
                cr_assert_leq(http_backlog(held->conn), 65536 / 4);
        }
        http_stream_end(held->conn, false);
        request_finish(held);
        c->n = 0;
        for (int64_t end = now_us() + 5000000; !c->eof && now_us() < end; c->n = 0) {
                turn();
                (void)hear(c);
        }
        cr_assert(c->eof);
        cr_assert_eq(c->error, 0);
}

static void short_times(void)
{
        generation.limits = (struct limits){ .head = 8192, .headers = 20, .connections = 2, .head_time = 300, .body_time = 300,
                                             .idle_time = 300, .write_time = 300, .buffer = 65536 };
        start();
}
TestSuite(http_limits, .init = short_times, .fini = stop, .timeout = 30);

Test(http_limits, stuck_client)
{
        struct client *c = dial(&the_client);

        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &(int){ 16384 }, sizeof(int));
        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        fill_backlog(held->conn);
        turn_for(200);
        cr_assert_eq(dropped, 0);
        TURN_UNTIL(dropped == 1);
        cr_assert_eq(drop_why, DROP_CLIENT_STUCK);
        cr_assert_eq(http_connections(worker.http), 0);
}

Test(http_limits, slow_head)
{
        struct client *c = dial(&the_client);
        int64_t began = now_us();

        say(c, "GET /echo HTTP/1.1\r\nHo");
        turn_for(200);
        say(c, "st");
        expect_text(c, "HTTP/1.1 408 Request Timeout\r\n");
        cr_assert(now_us() - began > 290000 && now_us() - began < 1500000);
        expect_text(c, "Connection: close\r\n\r\nthe request's head did not arrive in time");
        expect_eof(c);
        cr_assert_eq(refused, 1);
        cr_assert_eq(begun, 0);
}

Test(http_limits, slow_body)
{
        struct client *c = dial(&the_client);

        say(c, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhe");
        expect_text(c, "HTTP/1.1 408 Request Timeout\r\n");
        expect_text(c, "Connection: close\r\n\r\nfailed");
        expect_eof(c);
        cr_assert_eq(refused, 0);
        hang_up(c);

        dial(c); /* of an answer that is out already */
        say(c, "POST /early HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhe");
        expect_text(c, "\r\n\r\nearly");
        expect_eof(c);
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http_limits, idle)
{
        struct client *c = dial(&the_client);

        expect_eof(c);
        cr_assert_eq(c->n, 0);
        hang_up(c);
        dial(c);
        say(c, "GET /echo HTTP/1.1\r\n" H "\r\n");
        turn_for(200);
        say(c, "GET /echo HTTP/1.1\r\n" H "\r\n");
        turn_for(200);
        cr_assert_eq(begun, 2);
        say(c, "\r\n\r\n");
        expect_eof(c);
        cr_assert_eq(refused, 0);
}

Test(http_limits, running_requests_have_time)
{
        struct client *c = dial(&the_client);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        turn_for(1000);
        cr_assert(held);
        answer(held, "late");
        expect_text(c, "late");
}

Test(http_limits, connections)
{
        static struct client third;

        dial(&the_client);
        dial(&another);
        TURN_UNTIL(http_connections(worker.http) == 2);
        dial(&third);
        expect_text(&third, "HTTP/1.1 503 Service Unavailable\r\n");
        expect_text(&third, "retry-after: 1\r\n");
        expect_text(&third, "\"code\":\"overloaded\"}}");
        expect_eof(&third);
        hang_up(&third);
        hang_up(&another);
        TURN_UNTIL(http_connections(worker.http) == 1);
        dial(&third);
        say(&third, "GET /echo HTTP/1.1\r\n" H "\r\n");
        expect_text(&third, "HTTP/1.1 200 OK");
}

Test(http_limits, out_of_descriptors)
{
        struct rlimit before, none;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        dial(&the_client);
        none = (struct rlimit){ .rlim_cur = (rlim_t)the_client.fd + 1, .rlim_max = before.rlim_max };
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        turn_for(150);
        cr_assert_eq(http_connections(worker.http), 0);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        say(&the_client, "GET /echo HTTP/1.1\r\n" H "\r\n");
        expect_text(&the_client, "HTTP/1.1 200 OK");
}

Test(http, refusals)
{
        static const struct { const char *text, *status; } cases[] = {
                { "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
                { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 " },
                { "\x16\x03\x01\x02", "HTTP/1.1 400 " },
        };
        static char many[20000];
        struct client *c = &the_client;

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                dial(c);
                say(c, cases[i].text);
                expect_text(c, cases[i].status);
                expect_text(c, "Connection: close\r\n\r\n");
                expect_eof(c);
                cr_assert_eq(c->error, 0);
                hang_up(c);
                cr_assert_eq(refused, i + 1);
        }
        memset(many, 'a', sizeof many);
        dial(c);
        say(c, "GET / HTTP/1.1\r\nX: ");
        say_n(c, many, sizeof many);
        expect_text(c, "HTTP/1.1 431 ");
        expect_eof(c);
        cr_assert_eq(c->error, 0, "the client can read the answer");
        hang_up(c);

        dial(c); /* a body that goes wrong is the request's business */
        say(c, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
        expect_text(c, "HTTP/1.1 400 ");
        expect_text(c, "Connection: close\r\n\r\nfailed");
        expect_eof(c);
        cr_assert_eq(refused, LENGTH_OF(cases) + 1);
        cr_assert_eq(begun, 1);
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

/* The reply is out, the request is not over, and the client closes: not a client that left. */
Test(http, close_after_reply)
{
        struct client *c = dial(&the_client);

        say(c, "GET /slow-close HTTP/1.1\r\n" H "\r\n");
        expect_text(c, "\r\n\r\nx");
        hang_up(c);
        turn_for(10);
        cr_assert_eq(dropped, 0);
        request_finish(held);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http, drain)
{
        struct client *c = dial(&the_client), *resting = dial(&another);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && http_connections(worker.http) == 2);
        http_drain(worker.http);
        http_drain(worker.http);
        expect_eof(resting);
        cr_assert_eq(http_connections(worker.http), 1);
        answer(held, "last");
        expect_text(c, "Connection: close\r\n\r\nlast");
        expect_eof(c);
        cr_assert_eq(http_connections(worker.http), 0);
        hang_up(c);
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_lt(connect(c->fd, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
                                                                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
                             sizeof(struct sockaddr_in)), 0);
}

Test(http, destroy_drops)
{
        struct client *c = dial(&the_client);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held);
        http_destroy(TAKE(worker.http));
        cr_assert_eq(dropped, 1);
        cr_assert_eq(drop_why, DROP_SHUTDOWN);
        expect_eof(c);
}

/* ---- TLS ----------------------------------------------------------------------------------------------------------------- */

static char certificate_file[64], key_file[64];

/* A certificate for `name`, signed by itself. */
static void make_certificate(const char *name)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = X509_new();
        FILE *f;

        cr_assert(key && x);
        (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        (void)X509_gmtime_adj(X509_getm_notBefore(x), 0);
        (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
        (void)X509_set_pubkey(x, key);
        (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
        (void)X509_set_issuer_name(x, X509_get_subject_name(x));
        cr_assert_gt(X509_sign(x, key, EVP_sha256()), 0);
        f = fopen(certificate_file, "we");
        cr_assert(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
        f = fopen(key_file, "we");
        cr_assert(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
        X509_free(x);
        EVP_PKEY_free(key);
}

static void start_tls(void)
{
        (void)snprintf(certificate_file, sizeof certificate_file, "/tmp/pm-http-%d.pem", (int)getpid());
        (void)snprintf(key_file, sizeof key_file, "/tmp/pm-http-%d.key", (int)getpid());
        make_certificate("first");
        listener.tls = (struct tls_files){ certificate_file, key_file };
        start();
}

static void stop_tls(void)
{
        stop();
        (void)unlink(certificate_file);
        (void)unlink(key_file);
}

TestSuite(http_tls, .init = start_tls, .fini = stop_tls, .timeout = 30);

struct secure {
        struct client *c;
        SSL_CTX *ctx;
        SSL *ssl;
};

static void tls_wait(struct secure *s, int r, int64_t end)
{
        int e = SSL_get_error(s->ssl, r);

        cr_assert(e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE, "TLS error %d", e);
        cr_assert_lt(now_us(), end);
        turn();
}

static void tls_dial(struct secure *s, const char *protocols)
{
        int64_t end = now_us() + 8000000;
        int r;

        s->c = dial(&the_client);
        s->ctx = SSL_CTX_new(TLS_client_method());
        s->ssl = SSL_new(s->ctx);
        if (protocols)
                (void)SSL_set_alpn_protos(s->ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
        (void)SSL_set_fd(s->ssl, s->c->fd);
        while ((r = SSL_connect(s->ssl)) != 1)
                tls_wait(s, r, end);
}

static void tls_say(struct secure *s, const char *text)
{
        int64_t end = now_us() + 8000000;
        int r;

        while ((r = SSL_write(s->ssl, text, (int)strlen(text))) <= 0)
                tls_wait(s, r, end);
}

static void tls_expect(struct secure *s, const char *text)
{
        struct client *c = s->c;
        int64_t end = now_us() + 8000000;
        char *at;

        while (!(at = memmem(c->got, c->n, text, strlen(text)))) {
                int r = SSL_read(s->ssl, c->got + c->n, (int)(sizeof c->got - 1 - c->n));

                if (r > 0)
                        c->n += (size_t)r;
                else
                        tls_wait(s, r, end);
        }
        at += strlen(text);
        c->n -= (size_t)(at - c->got);
        memmove(c->got, at, c->n);
}

/* true: a proper end. */
static bool tls_end(struct secure *s)
{
        int64_t end = now_us() + 8000000;

        for (;;) {
                char one[256];
                int r = SSL_read(s->ssl, one, sizeof one), e = SSL_get_error(s->ssl, r);

                if (r > 0)
                        continue;
                if (e == SSL_ERROR_ZERO_RETURN)
                        return true;
                if (e != SSL_ERROR_WANT_READ)
                        return false;
                cr_assert_lt(now_us(), end);
                turn();
        }
}

static void tls_hang_up(struct secure *s)
{
        SSL_free(s->ssl);
        SSL_CTX_free(s->ctx);
        hang_up(s->c);
}

Test(http_tls, requests)
{
        struct secure s;
        const unsigned char *chosen;
        unsigned n;

        tls_dial(&s, "\x02h2\x08http/1.1");
        SSL_get0_alpn_selected(s.ssl, &chosen, &n);
        cr_assert(n == 8 && memcmp(chosen, "http/1.1", 8) == 0);
        cr_assert_geq(SSL_version(s.ssl), TLS1_2_VERSION);
        tls_say(&s, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello");
        tls_expect(&s, "\r\n\r\nhello");
        tls_say(&s, "GET /big HTTP/1.1\r\n" H "\r\nPOST /echo HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n2GET /echo HTTP/1.1\r\n" H
                    "Connection: close\r\n\r\n");
        tls_expect(&s, "\n999 ");
        tls_expect(&s, "\r\n\r\n2HTTP/1.1 200 OK\r\n");
        tls_expect(&s, "Connection: close\r\n\r\n");
        cr_assert(tls_end(&s), "close_notify before the end");
        tls_hang_up(&s);
        TURN_UNTIL(http_connections(worker.http) == 0);
}

Test(http_tls, streams_and_backlog)
{
        struct secure s;
        size_t all = 0;

        tls_dial(&s, NULL);
        tls_say(&s, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        tls_expect(&s, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        fill_backlog(held->conn);
        while (drained == 0) {
                int r;

                turn();
                r = SSL_read(s.ssl, s.c->got, sizeof s.c->got - 1);
                all += r > 0 ? (size_t)r : 0;
                cr_assert_lt(all, 100u << 20);
        }
        cr_assert_leq(http_backlog(held->conn), 65536 / 4);
        http_stream_end(held->conn, true);
        request_finish(held);
        s.c->n = 0;
        tls_expect(&s, "\r\n0\r\n\r\n");
        tls_say(&s, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held);
        tls_hang_up(&s);
        TURN_UNTIL(dropped == 1);
        cr_assert_eq(drop_why, DROP_CLIENT_LEFT);
        cr_assert_eq(http_connections(worker.http), 0);
}

Test(http_tls, cut_of_an_old_stream_has_no_close_notify)
{
        struct secure s;

        tls_dial(&s, NULL);
        tls_say(&s, "GET /hold HTTP/1.0\r\n\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        tls_expect(&s, "\r\n\r\none");
        http_stream_end(held->conn, false);
        request_finish(held);
        cr_assert_not(tls_end(&s));
        tls_hang_up(&s);
}

Test(http_tls, early_answer_and_garbage)
{
        struct client *c = &the_client;
        struct secure s;

        tls_dial(&s, NULL);
        tls_say(&s, "POST /early HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\nabc");
        tls_expect(&s, "Connection: close\r\n\r\nearly");
        cr_assert(tls_end(&s));
        tls_hang_up(&s);
        dial(c);
        say(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        expect_eof(c);
        hang_up(c);
        TURN_UNTIL(http_connections(worker.http) == 0);
        cr_assert_eq(begun, 1);
        cr_assert_eq(refused, 0);
}

static void expect_name(const char *wanted)
{
        char name[32];
        struct secure s;
        X509 *x;

        tls_dial(&s, NULL);
        x = SSL_get1_peer_certificate(s.ssl);
        cr_assert_gt(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name), 0);
        cr_assert_str_eq(name, wanted);
        X509_free(x);
        tls_hang_up(&s);
}

Test(http_tls, reload)
{
        const char *why = NULL;

        expect_name("first");
        make_certificate("second");
        cr_assert_eq(http_reload(worker.http, &generation, &why), 0);
        expect_name("second");
        cr_assert_eq(truncate(certificate_file, 10), 0);
        cr_assert_lt(http_reload(worker.http, &generation, &why), 0);
        cr_assert(strstr(why, certificate_file), "%s", why);
        expect_name("second");
}
