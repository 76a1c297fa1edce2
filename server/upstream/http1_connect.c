/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an endpoint to a connection that is being made: connect.c finds and tries the addresses.
 */
#include <event2/event.h>
#include <event2/util.h>

#include "expert.h"
#include "http1_parts.h"
#include "loop.h"
#include "text.h"

#include "base.h"

#define ADDRESSES_MAX 4 /* of one name */

void http1_connect_failed(struct http1_transfer *t, int error)
{
        bool local = upstream_errno_is_local(error);
        char text[80];

        transfer_fail(&t->a, local ? TRANSFER_LOCAL : TRANSFER_CONNECT, "%s%s",
                      local ? "this machine cannot open another connection: " : "", errno_clause(error, text, sizeof text));
}

void http1_connect_next(struct http1_transfer *t)
{
        struct http1 *p = t->a.upstream->http1;
        int64_t until;
        int fd = connect_next(&t->connect, EHOSTUNREACH, &until);

        if (fd < 0) {
                http1_connect_failed(t, -fd);
                return;
        }
        t->conn = http1_conn_create(p, &t->a.call, fd);
        if (!t->conn) {
                (void)close(fd);
                transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory for a connection");
                return;
        }
        t->conn->user = t;
        if (event_add(&t->conn->writable, NULL) < 0) {
                transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory for a connection");
                return;
        }
        transfer_deadline(&t->a, until);
}

static void set_options(void *owner, int fd, int family)
{
        struct http1_transfer *t = owner;

        (void)family;
        upstream_socket_set(fd, t->a.call.endpoint);
}

static bool spare(void *owner)
{
        struct http1_transfer *t = owner;

        return http1_pool_spare(t->a.upstream->http1);
}

static void on_resolved(void *owner, int error)
{
        struct http1_transfer *t = owner;
        int ours = connect_more(&t->connect) ? 0 : upstream_descriptors_short();

        if (connect_more(&t->connect))
                http1_connect_next(t);
        else if (ours)
                http1_connect_failed(t, ours);
        else
                transfer_fail(&t->a, TRANSFER_CONNECT, "cannot resolve '%s': %s", t->a.call.endpoint->host, evutil_gai_strerror(error));
}

void http1_connect(struct http1_transfer *t)
{
        static const struct connect_ops ops = { .options = set_options, .spare = spare, .resolved = on_resolved };
        const struct endpoint *e = t->a.call.endpoint;
        int r;

        t->connect.ops = &ops;
        t->connect.owner = t;
        t->connect.until_us = now_us() + t->a.call.connect_ms * 1000;
        transfer_deadline(&t->a, t->connect.until_us);
        r = connect_begin(&t->connect, &t->a.upstream->loop->resolver, e->host, e->port, ADDRESSES_MAX);
        if (r == 0)
                http1_connect_next(t);
        else if (r != -EINPROGRESS)
                transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory: cannot resolve '%s'", e->host);
}
