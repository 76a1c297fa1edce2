/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "listen.h"
#include "options.h"

#include "base.h"

static struct problems *problems;

static void setup(void)
{
        problems = problems_create(10);
}

static void teardown(void)
{
        problems_destroy(problems);
}

TestSuite(listen, .init = setup, .fini = teardown);

static unsigned port_of(int fd)
{
        struct sockaddr_in in = { 0 };
        socklen_t n = sizeof in;

        cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &n), 0);
        return ntohs(in.sin_port);
}

static void close_all(const int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                cr_assert_eq(close(fds[i]), 0);
}

Test(listen, port_0_is_one_port_for_all)
{
        char name[LISTEN_NAME_MAX], expected[LISTEN_NAME_MAX];
        int fds[4], accepting;
        socklen_t n = sizeof accepting;

        cr_assert_eq(listen_open("127.0.0.1:0", 4, problems, fds, name), 0, "%s", problems_text(problems));
        (void)snprintf(expected, sizeof expected, "127.0.0.1:%u", port_of(fds[0]));
        cr_assert_str_eq(name, expected);
        for (int i = 0; i < 4; i++) {
                cr_assert_eq(port_of(fds[i]), port_of(fds[0]));
                cr_assert_eq(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &accepting, &n), 0);
                cr_assert_eq(accepting, 1);
        }
        close_all(fds, 4);
}

Test(listen, all_sockets_get_connections)
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        char name[LISTEN_NAME_MAX];
        int fds[2], accepted[2] = { 0 };

        cr_assert_eq(listen_open("localhost:0", 2, problems, fds, name), 0, "%s", problems_text(problems));
        if (strncmp(name, "127.", 4) != 0) { /* a system whose localhost is ::1 */
                close_all(fds, 2);
                return;
        }
        in.sin_port = htons((uint16_t)port_of(fds[0]));
        for (int i = 0; i < 64; i++) {
                int c = socket(AF_INET, SOCK_STREAM, 0);

                cr_assert_eq(connect(c, (struct sockaddr *)&in, sizeof in), 0);
                for (int k = 0; k < 2; k++) {
                        int a = accept(fds[k], NULL, NULL);

                        if (a >= 0) {
                                accepted[k]++;
                                cr_assert_eq(close(a), 0);
                        }
                }
                cr_assert_eq(close(c), 0);
        }
        cr_assert_eq(accepted[0] + accepted[1], 64);
        cr_assert(accepted[0] > 0 && accepted[1] > 0, "%d and %d", accepted[0], accepted[1]);
        close_all(fds, 2);
}

Test(listen, a_second_gateway_on_the_address_is_an_error)
{
        char name[LISTEN_NAME_MAX], other[LISTEN_NAME_MAX];
        int fds[2], more[2] = { -7, -7 };

        cr_assert_eq(listen_open("127.0.0.1:0", 2, problems, fds, name), 0);
        cr_assert_eq(listen_open(name, 2, problems, more, other), -EADDRINUSE);
        cr_assert_not_null(strstr(problems_text(problems), "cannot listen on 127.0.0.1:"));
        cr_assert_not_null(strstr(problems_text(problems), ": Address already in use\n"));
        close_all(fds, 2);
        cr_assert_eq(listen_open(name, 2, problems, more, other), 0, "free again");
        cr_assert_str_eq(name, other);
        close_all(more, 2);
}

Test(listen, ipv6_in_brackets)
{
        char name[LISTEN_NAME_MAX];
        int fd, r = listen_open("[::1]:0", 1, problems, &fd, name);

        if (r < 0) { /* a machine without IPv6: then it is said */
                cr_assert_not_null(strstr(problems_text(problems), "cannot listen on [::1]:0: "));
                return;
        }
        cr_assert_eq(strncmp(name, "[::1]:", 6), 0, "%s", name);
        cr_assert_eq(close(fd), 0);
}

Test(listen, what_is_no_address)
{
        static const char *const wrong[] = { "", ":", "127.0.0.1", "127.0.0.1:", ":8080", "::1:8080", "[::1]", "[]:80",
                                             "127.0.0.1:http", "127.0.0.1:99999999", "no such host:1" };
        char name[LISTEN_NAME_MAX];
        int fd;

        for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
                cr_assert_eq(listen_open(wrong[i], 1, problems, &fd, name), -EINVAL, "%s", wrong[i]);
                cr_assert_eq(problems_count(problems), i + 1);
        }
        cr_assert_not_null(strstr(problems_text(problems), "'127.0.0.1' is not host:port: the port is missing"));
}
