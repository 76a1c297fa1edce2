/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sockets to experts have in common, by whichever transport: how a machine that has vanished is noticed, and which errors
 * are our own machine's.
 */
#include <event2/util.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "expert.h"
#include "transport.h"

#include "base.h"

#define PROBES 3 /* without an answer, after which the system gives a silent connection up */

/* Options that a socket does not know (a Unix socket has none of these) are no mistake. */
static void set(int fd, int level, int option, int64_t value)
{
        int v = (int)MIN(value, INT32_MAX);

        (void)setsockopt(fd, level, option, &v, sizeof v);
}

void upstream_socket_set(int fd, const struct endpoint *e)
{
        int64_t seconds = (e->keepalive_ms + 999) / 1000;

        set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (e->unacknowledged_ms)
                set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, e->unacknowledged_ms);
        if (!e->keepalive_ms)
                return;
        set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, MAX(seconds / PROBES, 1));
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

bool upstream_socket_gone(int fd)
{
        struct tcp_info info = { 0 };
        socklen_t n = sizeof info;

        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_unacked > 0 && info.tcpi_retransmits > 0;
}

bool upstream_socket_spoke(int fd)
{
        char byte;

        return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

bool upstream_errno_is_local(int error)
{
        return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL;
}

int upstream_descriptors_short(void)
{
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
                return errno == EMFILE || errno == ENFILE ? errno : 0;
        (void)close(fd);
        return 0;
}
