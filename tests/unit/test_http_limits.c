/* SPDX-License-Identifier: Apache-2.0 */
/* The front's times and bounds: each wait has its end, and who comes too many is told so. */
#include <sys/resource.h>

#include "http_fixture.h"

#include "base.h"

static void short_times(void)
{
        limits = (struct limits){ .head = 8192, .headers = 20, .connections = 2, .head_time = 300, .body_time = 300,
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
        cr_assert_eq(http_connections(front), 0);
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
        TURN_UNTIL(http_connections(front) == 0);
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
        TURN_UNTIL(http_connections(front) == 2);
        dial(&third);
        expect_text(&third, "HTTP/1.1 503 Service Unavailable\r\n");
        expect_text(&third, "retry-after: 1\r\n");
        expect_text(&third, "\"code\":\"overloaded\"}}");
        expect_eof(&third);
        hang_up(&third);
        hang_up(&another);
        TURN_UNTIL(http_connections(front) == 1);
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
        cr_assert_eq(http_connections(front), 0);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        say(&the_client, "GET /echo HTTP/1.1\r\n" H "\r\n");
        expect_text(&the_client, "HTTP/1.1 200 OK");
}
