/* SPDX-License-Identifier: Apache-2.0 */
/* What both transports do with their connections: keep, drop, try again. */
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transport.h"
#include "upstream_fixture.h"

#include "base.h"

/* ---- kept connections --------------------------------------------------------------------------------------------------- */
Test(upstream, kept_connections)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct peer *p;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                for (int k = 0; k < 5; k++)
                        exchange(&b, true);
                cr_assert(p->connections == 1 && p->requests == 6);
                cr_assert_eq(p->ends, 0u);
                bench_finish(&b);
        }
}

static void says_close(struct peer_conn *c)
{
        if (peer_take(c))
                (void)peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
}

static atomic_uint strays; /* that are in the client's socket */

/* More than was asked for: in the same packet, behind each kind of body, and after it. */
static void says_too_much(struct peer_conn *c)
{
        static const char stray[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
        static const char *const answers[] = {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        };
        static const char *const ends[] = { "", "", "0\r\n\r\n", "hello" };
        unsigned kind = c->number % 4;
        char text[300];

        if (!peer_take(c))
                return;
        if (c->number < 4) { /* afterwards */
                (void)(peer_say(c, answers[kind]) && peer_say(c, ends[kind]));
                peer_sleep(30);
                (void)peer_say(c, stray);
                atomic_fetch_add(&strays, 1);
        } else { /* at once; the last two kinds with the head, or a chunk, in a read of its own */
                snprintf(text, sizeof text, "%s%s", kind < 2 ? answers[kind] : ends[kind], stray);
                if (kind >= 2) {
                        (void)peer_say(c, answers[kind]);
                        peer_sleep(30);
                }
                (void)peer_say(c, text);
                atomic_fetch_add(&strays, 1);
        }
        peer_wait_end(c);
}

static void says_nothing_and_more(struct peer_conn *c)
{
        if (peer_take(c) && peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"))
                peer_wait_end(c);
}

Test(upstream, connections_that_must_not_be_kept)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct peer *p, *q, *r;
                struct owner o;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, says_close)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                exchange(&b, false);
                cr_assert_eq(p->connections, 2u);
                strays = 0;
                cr_assert((q = peer_start(ways[i].kind, says_too_much)));
                aim_at(&b, &ways[i], q);
                for (unsigned k = 0; k < 8; k++) {
                        exchange(&b, false);
                        WAIT(&b, strays == k + 1);
                        run_ms(&b, 20);
                        cr_assert_eq(q->connections, k + 1, "%s: a spoilt connection was used again after answer %u", ways[i].name, k);
                }
                WAIT(&b, q->ends >= 7); /* libcurl closes a resting one when it comes across it */
                cr_assert((r = peer_start(ways[i].kind, says_nothing_and_more)));
                aim_at(&b, &ways[i], r);
                for (unsigned k = 0; k < 2; k++) {
                        open_one(&b, &o);
                        wait_state(&b, &o, TRANSFER_DONE);
                        cr_assert(o.t->state == TRANSFER_DONE && o.t->length == 0 && !o.t->reused, "%s: %s", ways[i].name, o.t->error_text);
                        upstream_close(o.t);
                }
                cr_assert_eq(r->connections, 2u);
                bench_finish(&b);
        }
}

/* The stray bytes are there before the loop has looked: the request is not sent on that connection all the same. */
Test(upstream, stray_bytes_and_a_request_in_one_turn)
{
        for (size_t i = 1; i < WAYS; i++) { /* plain: requests begin after the sockets of the turn have been read */
                struct peer *p;
                struct bench b;

                bench_init(&b);
                strays = 0;
                cr_assert((p = peer_start(ways[i].kind, says_too_much)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                while (strays == 0)
                        peer_sleep(1); /* nobody turns the loop */
                exchange(&b, false);
                cr_assert_eq(p->connections, 2u, "%s", ways[i].name);
                WAIT(&b, strays == 2);
                bench_finish(&b);
        }
}

/* Answers once, then closes: at once, or when the second request has come. */
static void closes_idle(struct peer_conn *c)
{
        if (peer_take(c))
                (void)peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

static void closes_on_second(struct peer_conn *c)
{
        if (peer_take(c) && peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
                (void)peer_take(c);
}

static void resets_on_second(struct peer_conn *c)
{
        closes_on_second(c);
        peer_reset(c);
}

static void cuts_second(struct peer_conn *c)
{
        if (peer_take(c) && peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") && peer_take(c))
                (void)peer_say(c, "HTTP/1.1 200 OK\r\n");
}

Test(upstream, stale_connections)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct peer *p, *q, *r, *s;
                struct bench b;
                struct owner o;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, closes_idle)));
                aim_at(&b, &ways[i], p);
                for (unsigned k = 0; k < 3; k++) {
                        exchange(&b, false);
                        WAIT(&b, p->closed == k + 1);
                        run_ms(&b, 20);
                }
                cr_assert(p->connections == 3 && p->requests == 3);

                cr_assert((q = peer_start(ways[i].kind, closes_on_second)));
                aim_at(&b, &ways[i], q);
                exchange(&b, false);
                exchange(&b, false); /* begins on the kept one, ends on a fresh one */
                cr_assert(q->connections == 2 && q->requests == 3, "%s: %u, %u", ways[i].name, q->connections, q->requests);

                cr_assert((r = peer_start(ways[i].kind, resets_on_second)));
                aim_at(&b, &ways[i], r);
                exchange(&b, false);
                exchange(&b, false);
                cr_assert(r->connections == 2 && r->requests == 3, "%s: %u, %u", ways[i].name, r->connections, r->requests);

                /* a line of an answer has come: never again by itself */
                cr_assert((s = peer_start(ways[i].kind, cuts_second)));
                aim_at(&b, &ways[i], s);
                exchange(&b, false);
                open_one(&b, &o);
                wait_state(&b, &o, TRANSFER_DONE);
                cr_assert_eq(o.t->error, TRANSFER_RESET, "%s: %s", ways[i].name, o.t->error_text);
                upstream_close(o.t);
                cr_assert_eq(s->requests, 2u);
                bench_finish(&b);
        }
}

/* As many as were needed at once, up to the bound. */
Test(upstream, many_at_once_and_all_kept)
{
        enum { MANY = 100, FEW = 64 };

        for (size_t i = 0; i < WAY_TLS; i++) { /* by TLS libcurl waits with most of them until it knows that there is no HTTP/2 */
                struct owner o[MANY];
                struct peer *p;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                for (int again = 0; again < 3; again++) {
                        b.e.idle_max = again < 2 ? 1024 : FEW;
                        for (size_t k = 0; k < MANY; k++)
                                open_one(&b, &o[k]);
                        for (size_t k = 0; k < MANY; k++)
                                wait_state(&b, &o[k], TRANSFER_DONE);
                        for (size_t k = 0; k < MANY; k++) {
                                cr_assert_eq(o[k].t->state, TRANSFER_DONE, "%s: %s", ways[i].name, o[k].t->error_text);
                                cr_assert_eq(o[k].t->reused, again > 0, "%s", ways[i].name);
                                upstream_close(o[k].t);
                        }
                        cr_assert_eq(p->connections, MANY + 0u, "%s: %u connections", ways[i].name, p->connections);
                }
                WAIT(&b, p->ends >= MANY - FEW);
                run_ms(&b, 50);
                cr_assert_eq(p->ends, MANY - FEW + 0u, "%s: %u closed", ways[i].name, p->ends);
                b.e.idle_max = 0;
                exchange(&b, true);
                WAIT(&b, p->ends == MANY - FEW + 1);
                bench_finish(&b);
        }
}

static unsigned descriptors(void)
{
        unsigned n = 0;

        for (int fd = 0; fd < 1000; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* Also without any further request. */
Test(upstream, what_was_closed_at_rest_is_closed_here)
{
        for (size_t i = 1; i < WAYS; i++) { /* plain sees it at once */
                struct peer *p;
                struct bench b;
                unsigned before;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, closes_idle)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                WAIT(&b, p->closed == 1);
                run_ms(&b, 1200); /* libcurl looks once in a second */
                before = descriptors();
                cr_assert_neq(curl_sweep(b.u->curl, now_us()), DEADLINE_NONE);
                run_ms(&b, 20);
                cr_assert_eq(descriptors(), before, "%s: before its time", ways[i].name);
                (void)curl_sweep(b.u->curl, now_us() + 2 * TRANSPORT_IDLE_US);
                WAIT(&b, descriptors() == before - 1);
                cr_assert_eq(curl_sweep(b.u->curl, now_us()), DEADLINE_NONE);
                exchange(&b, false);
                WAIT(&b, p->closed == 2); /* it is a descriptor of ours as well */
                bench_finish(&b);
        }
}

Test(upstream, thousand_without_growth)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct mallinfo2 before = { 0 }, after;
                struct peer *p;
                struct bench b;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                for (int k = 0; k < 1000; k++) {
                        if (k == 100)
                                before = mallinfo2();
                        exchange(&b, true);
                }
                after = mallinfo2();
                cr_assert_eq(p->connections, 1u);
                cr_assert_lt(after.uordblks, before.uordblks + 2048, "%s: %zu bytes more", ways[i].name, after.uordblks - before.uordblks);
                bench_finish(&b);
        }
}

/* ---- no connection ------------------------------------------------------------------------------------------------------ */
static void expect_failure(struct bench *b, const struct upstream_call *call, enum transfer_error e, const char *text)
{
        struct owner o;

        open_with(b, &o, call);
        wait_state(b, &o, TRANSFER_DONE);
        cr_assert_eq(o.t->error, e, "%s: %s: %s", b->e.url, transfer_error_name(o.t->error), o.t->error_text);
        cr_assert(strstr(o.t->error_text, text), "%s: '%s'", b->e.url, o.t->error_text);
        cr_assert(!o.t->sent);
        upstream_close(o.t);
}

Test(upstream, refused)
{
        struct upstream_call call;
        struct bench b;
        char url[64];

        bench_init(&b);
        for (size_t i = 0; i < WAYS; i++) {
                snprintf(url, sizeof url, "%s://127.0.0.1:1/v1", ways[i].scheme);
                aim(&b, url, ways[i].plain);
                call = call_of(&b);
                expect_failure(&b, &call, TRANSFER_CONNECT, "connection refused");
        }
        aim(&b, "unix:/nonexistent/x.sock:/v1", false);
        call = call_of(&b);
        expect_failure(&b, &call, TRANSFER_CONNECT, "no such file");
        bench_finish(&b);
}

/* A listener whose queue is full takes no further connection and refuses none. */
Test(upstream, connect_takes_too_long)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int s = socket(AF_INET, SOCK_STREAM, 0), fill[8];
        struct upstream_call call;
        socklen_t n = sizeof a;
        struct bench b;
        char url[64];

        cr_assert(bind(s, (struct sockaddr *)&a, n) == 0 && listen(s, 0) == 0 && getsockname(s, (struct sockaddr *)&a, &n) == 0);
        for (size_t i = 0; i < LENGTH_OF(fill); i++) {
                fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                (void)!connect(fill[i], (struct sockaddr *)&a, n);
        }
        bench_init(&b);
        for (size_t i = 0; i < WAYS; i++) {
                int64_t from = now_us();

                snprintf(url, sizeof url, "%s://127.0.0.1:%u/v1", ways[i].scheme, ntohs(a.sin_port));
                aim(&b, url, ways[i].plain);
                call = call_of(&b);
                call.connect_ms = 200;
                expect_failure(&b, &call, TRANSFER_CONNECT_TIME, "within 200 ms");
                cr_assert(now_us() - from >= 200000 && now_us() - from < 5000000);
        }
        bench_finish(&b);
}

/* A peer at ::1 whose port nobody has at 127.0.0.1, where it is kept from others.  NULL: there is no IPv6. */
static struct peer *start_six(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct peer *six;

        while ((six = peer_start(PEER_TCP6, serves))) {
                int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, it refuses; it lives as long as the test */

                a.sin_port = htons((uint16_t)six->port);
                if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0)
                        break;
                (void)close(fd);
        }
        return six;
}

Test(upstream, names)
{
        struct upstream_call call;
        struct peer *p, *six;
        struct bench b;
        struct owner o;
        char url[64];

        bench_init(&b);
        cr_assert((p = peer_start(PEER_TCP, serves)));
        snprintf(url, sizeof url, "http://localhost:%u", p->port);
        aim(&b, url, true);
        exchange(&b, false);
        aim(&b, url, false);
        exchange(&b, false);
        if ((six = start_six())) {
                snprintf(url, sizeof url, "http://localhost:%u", six->port);
                aim(&b, url, true);
                exchange(&b, false);
                snprintf(url, sizeof url, "http://[::1]:%u", six->port);
                aim(&b, url, true);
                exchange(&b, false);
                aim(&b, url, false);
                exchange(&b, false);
        }
        /* .invalid exists nowhere; without a network nobody says so in time */
        for (size_t i = 0; i < 2; i++) {
                aim(&b, "http://no-such-host.invalid:80", ways[i].plain);
                call = call_of(&b);
                call.connect_ms = 500;
                open_with(&b, &o, &call);
                wait_state(&b, &o, TRANSFER_DONE);
                cr_assert(o.t->error == TRANSFER_CONNECT || o.t->error == TRANSFER_CONNECT_TIME, "%s", o.t->error_text);
                if (o.t->error == TRANSFER_CONNECT)
                        cr_assert(strstr(o.t->error_text, "no-such-host.invalid"), "%s", o.t->error_text);
                upstream_close(o.t);
                /* and closed while the name is looked up */
                open_with(&b, &o, &call);
                turn(&b);
                upstream_close(o.t);
                run_ms(&b, 20);
        }
        bench_finish(&b);
}

Test(upstream, unix_socket)
{
        struct peer *p;
        struct bench b;
        char url[128];

        bench_init(&b);
        cr_assert((p = peer_start(PEER_UNIX, serves)));
        snprintf(url, sizeof url, "unix:%s:/v1", p->path);
        aim(&b, url, false);
        exchange(&b, false);
        exchange(&b, true);
        cr_assert_eq(strncmp(p->head, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n", 53), 0, "%s", p->head);
        bench_finish(&b);
        (void)unlink(p->path);
}

Test(upstream, certificate_is_checked)
{
        struct upstream_call call;
        struct peer *p, *other;
        struct bench b;

        bench_init(&b);
        cr_assert((p = peer_start(PEER_TLS, serves)) && (other = peer_start(PEER_TLS, serves)));
        aim_at(&b, &ways[WAY_TLS], p);
        b.e.ca = NULL;
        call = call_of(&b);
        expect_failure(&b, &call, TRANSFER_CONNECT, "certificate");
        b.e.ca = other->path;
        expect_failure(&b, &call, TRANSFER_CONNECT, "certificate");
        b.e.ca = "/nonexistent.pem";
        expect_failure(&b, &call, TRANSFER_CONNECT, "trusted certificates");
        cr_assert_eq(p->requests, 0u);
        b.e.ca = p->path;
        exchange(&b, false);
        bench_finish(&b);
        (void)unlink(p->path);
        (void)unlink(other->path);
}
