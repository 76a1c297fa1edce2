/* SPDX-License-Identifier: Apache-2.0 */
/* The front: messages, streams, who leaves when, refusals, the end.  Times and TLS have files of their own. */
#include "http_fixture.h"

#include "base.h"

TestSuite(http, .init = start, .fini = stop, .timeout = 30);

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
        TURN_UNTIL(http_connections(front) == 0);
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
        TURN_UNTIL(http_connections(front) == 0);
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
        cr_assert_eq(http_connections(front), 0);

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
        TURN_UNTIL(http_connections(front) == 0);
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
        cr_assert_eq(http_connections(front), 0);
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
        cr_assert_eq(http_connections(front), 1);
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
        TURN_UNTIL(http_connections(front) == 0);

        dial(c); /* one that never stops is cut */
        say(c, "POST /early HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
        expect_text(c, "Connection: close\r\n\r\nearly");
        expect_eof(c);
        TURN_UNTIL(http_connections(front) == 0);
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
        TURN_UNTIL(http_connections(front) == 0);
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
        TURN_UNTIL(http_connections(front) == 0);
}

Test(http, drain)
{
        struct client *c = dial(&the_client), *resting = dial(&another);

        say(c, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && http_connections(front) == 2);
        http_drain(front);
        http_drain(front);
        expect_eof(resting);
        cr_assert_eq(http_connections(front), 1);
        answer(held, "last");
        expect_text(c, "Connection: close\r\n\r\nlast");
        expect_eof(c);
        cr_assert_eq(http_connections(front), 0);
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
        http_destroy(TAKE(front));
        cr_assert_eq(dropped, 1);
        cr_assert_eq(drop_why, DROP_SHUTDOWN);
        expect_eof(c);
}
