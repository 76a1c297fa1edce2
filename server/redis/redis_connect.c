/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an address to a connected socket.  hiredis would resolve names itself, and block the loop; so it is given no socket at all:
 * connect.c finds and tries the addresses.
 */
#include <event2/util.h>
#include <netinet/tcp.h>

#include "redis_parts.h"
#include "text.h"

#include "base.h"

static void set_timer(struct redis_conn *conn, int64_t at)
{
        int64_t us = MAX(at - now_us(), 0);

        (void)event_add(&conn->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
        struct redis_conn *conn = arg;
        int e = 0;
        socklen_t n = sizeof e;

        (void)what;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
                e = errno;
        if (e == 0) {
                redis_conn_connected(conn);
                return;
        }
        (void)close(conn->fd);
        conn->fd = -1;
        redis_conn_connect_next(conn, e);
}

/* The next address, or the end with that error. */
void redis_conn_connect_next(struct redis_conn *conn, int error)
{
        char text[80];
        int64_t until;
        int fd;

        while ((fd = connect_next(&conn->connect, error, &until)) >= 0) {
                conn->fd = fd;
                (void)event_assign(&conn->writable, conn->r->base, fd, EV_WRITE, on_connect, conn);
                if (event_add(&conn->writable, NULL) == 0) {
                        set_timer(conn, MIN(until, conn->connect.until_us));
                        return;
                }
                error = ENOMEM;
                (void)close(fd);
                conn->fd = -1;
        }
        redis_conn_fail(conn, SAID_GONE, "%s", errno_clause(-fd, text, sizeof text));
}

static void set_options(void *owner, int fd, int family)
{
        (void)owner;
        if (family == AF_UNIX)
                return;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 60 }, sizeof(int));
}

static void on_resolved(void *owner, int error)
{
        struct redis_conn *conn = owner;

        if (connect_more(&conn->connect))
                redis_conn_connect_next(conn, EHOSTUNREACH);
        else
                redis_conn_fail(conn, SAID_GONE, "cannot resolve the name: %s", evutil_gai_strerror(error));
}

void redis_conn_connect(struct redis_conn *conn)
{
        static const struct connect_ops ops = { .options = set_options, .resolved = on_resolved };
        int r = 0;

        conn->state = REDIS_CONN_CONNECTING;
        conn->connect.ops = &ops;
        conn->connect.owner = conn;
        conn->connect.until_us = now_us() + conn->r->config.connect_ms * 1000;
        set_timer(conn, conn->connect.until_us);
        if (!conn->to.host[0])
                connect_begin_unix(&conn->connect, conn->to.path);
        else
                r = connect_begin(&conn->connect, conn->r->resolver, conn->to.host, conn->to.port, CONNECT_ADDRESSES_MAX);
        if (r == 0)
                redis_conn_connect_next(conn, EHOSTUNREACH);
        else if (r != -EINPROGRESS)
                redis_conn_fail(conn, SAID_GONE, "out of memory: cannot resolve the name");
}
