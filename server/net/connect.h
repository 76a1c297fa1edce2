/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.h - from a host and a port to a socket that is being connected: names are resolved without blocking the loop, the
 * addresses are tried in order, and each has its share of the time.  Events and timers are the owner's.
 */
#ifndef PM_CONNECT_H
#define PM_CONNECT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECT_ADDRESSES_MAX 8

struct connect_lookup;
struct resolver;

struct connect_ops {
        void (*options)(void *owner, int fd, int family); /* of a socket, before it connects */
        bool (*spare)(void *owner);                       /* no descriptor is left: closes one.  False: there is none to close.  NULL: likewise */
        void (*resolved)(void *owner, int error);         /* after CONNECT_RESOLVING; an EVUTIL_EAI_ error when n_addresses is 0 */
};

struct connect_try {
        const struct connect_ops *ops;
        void *owner;
        int64_t until_us;        /* all addresses together */
        unsigned n_addresses, at, most;
        struct connect_lookup *lookup; /* NULL: no name is being resolved */
        union {
                union {
                        sa_family_t family;
                        struct sockaddr_in v4;
                        struct sockaddr_in6 v6;
                } ip[CONNECT_ADDRESSES_MAX];
                struct sockaddr_un local;
        } to;
};

/*
 * Finds the addresses, `most` at most; ops, owner and until_us stay as they are.  0: connect_next() may follow.  -EINPROGRESS: resolved() tells the end, or has
 * told it already.  -ENOMEM.
 */
int connect_begin(struct connect_try *c, struct resolver *r, const char *host, unsigned port, unsigned most);
/* A Unix socket's path, which fits. */
void connect_begin_unix(struct connect_try *c, const char *path);
/*
 * A socket that connects to the next address, and until when it should have done so; or, when there is none, -errno: the last
 * failure's in this call, else `error`.
 */
int connect_next(struct connect_try *c, int error, int64_t *ret_until_us);
/* Is there another one to try? */
static inline bool connect_more(const struct connect_try *c)
{
        return c->at < c->n_addresses;
}
/* The name's addresses are of no interest any more. */
void connect_cancel(struct connect_try *c);
#endif
