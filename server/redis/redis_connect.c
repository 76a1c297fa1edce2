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

static void set_timer(struct link *l, int64_t at)
{
        int64_t us = MAX(at - now_us(), 0);

        (void)event_add(&l->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
        struct link *l = arg;
        int e = 0;
        socklen_t n = sizeof e;

        (void)what;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
                e = errno;
        if (e == 0) {
                link_connected(l);
                return;
        }
        (void)close(l->fd);
        l->fd = -1;
        link_connect_next(l, e);
}

/* The next address, or the end with that error. */
void link_connect_next(struct link *l, int error)
{
        char text[80];
        int64_t until;
        int fd;

        while ((fd = connect_next(&l->connect, error, &until)) >= 0) {
                l->fd = fd;
                (void)event_assign(&l->writable, l->r->base, fd, EV_WRITE, on_connect, l);
                if (event_add(&l->writable, NULL) == 0) {
                        set_timer(l, MIN(until, l->connect.until_us));
                        return;
                }
                error = ENOMEM;
                (void)close(fd);
                l->fd = -1;
        }
        link_fail(l, SAID_GONE, "%s", errno_clause(-fd, text, sizeof text));
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
        struct link *l = owner;

        if (connect_more(&l->connect))
                link_connect_next(l, EHOSTUNREACH);
        else
                link_fail(l, SAID_GONE, "cannot resolve the name: %s", evutil_gai_strerror(error));
}

void link_connect(struct link *l)
{
        static const struct connect_ops ops = { .options = set_options, .resolved = on_resolved };
        int r = 0;

        l->state = LINK_CONNECTING;
        l->connect.ops = &ops;
        l->connect.owner = l;
        l->connect.until_us = now_us() + l->r->config.connect_ms * 1000;
        set_timer(l, l->connect.until_us);
        if (!l->to.host[0])
                connect_begin_unix(&l->connect, l->to.path);
        else
                r = connect_begin(&l->connect, l->r->resolver, l->to.host, l->to.port, CONNECT_ADDRESSES_MAX);
        if (r == 0)
                link_connect_next(l, EHOSTUNREACH);
        else if (r != -EINPROGRESS)
                link_fail(l, SAID_GONE, "out of memory: cannot resolve the name");
}
