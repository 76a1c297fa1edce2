/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numeric addresses and localhost need no resolver; other names go through libevent's.  libevent reports a
 * cancelled lookup later; it is freed then and may outlive its owner.
 */
#include "connect.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <strings.h>

#include "resolver.h"

#include "base.h"

#define ADDRESS_TIME_US 250000 /* each address has at least so long to connect */

struct connect_lookup {
        struct connect_try *from; /* NULL: it has lost interest */
        struct evdns_getaddrinfo_request *request;
};

static void add_address(struct connect_try *c, const void *to, size_t n)
{
        if (c->n_addresses < MIN(c->most, CONNECT_ADDRESSES_MAX) && n <= sizeof c->to.ip[0])
                memcpy(&c->to.ip[c->n_addresses++], to, n);
}

static bool add_numeric(struct connect_try *c, const char *host, unsigned port)
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

        if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
                add_address(c, &in, sizeof in);
        else if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
                add_address(c, &in6, sizeof in6);
        else
                return false;
        return true;
}

static void on_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
        struct connect_lookup *l = arg;
        struct connect_try *c = l->from;

        free(l);
        for (struct evutil_addrinfo *i = list; c && i; i = i->ai_next)
                add_address(c, i->ai_addr, i->ai_addrlen);
        if (list)
                evutil_freeaddrinfo(list);
        if (!c)
                return;
        c->lookup = NULL;
        c->ops->resolved(c->owner, error);
}

static int resolve(struct connect_try *c, struct resolver *r, const char *host, unsigned port)
{
        struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
        struct evdns_base *dns = resolver_dns(r);
        struct connect_lookup *l = calloc(1, sizeof *l);
        struct evdns_getaddrinfo_request *request;
        char service[12];

        if (!dns || !l) {
                free(l);
                return -ENOMEM;
        }
        l->from = c;
        c->lookup = l;
        (void)snprintf(service, sizeof service, "%u", port);
        request = evdns_getaddrinfo(dns, host, service, &hints, on_resolved, l);
        if (request)
                l->request = request; /* else on_resolved() has run already, and l is gone */
        return -EINPROGRESS;
}

int connect_begin(struct connect_try *c, struct resolver *r, const char *host, unsigned port, unsigned most)
{
        c->n_addresses = c->at = 0;
        c->most = most;
        if (strcasecmp(host, "localhost") == 0) {
                (void)add_numeric(c, "127.0.0.1", port);
                (void)add_numeric(c, "::1", port);
        } else if (!add_numeric(c, host, port)) {
                return resolve(c, r, host, port);
        }
        return 0;
}

void connect_begin_unix(struct connect_try *c, const char *path)
{
        assert(strlen(path) < sizeof c->to.local.sun_path);
        c->to.local = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(c->to.local.sun_path, path, strlen(path));
        c->at = 0;
        c->n_addresses = 1;
}

static socklen_t length_of(sa_family_t family)
{
        return family == AF_UNIX ? sizeof(struct sockaddr_un) : family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

int connect_next(struct connect_try *c, int error, int64_t *ret_until_us)
{
        while (connect_more(c)) {
                const struct sockaddr *to = (const struct sockaddr *)&c->to.ip[c->at++];
                int64_t now = now_us(), slice = (c->until_us - now) / (int64_t)(c->n_addresses - c->at + 1);
                int fd;

                do
                        fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                while (fd < 0 && errno == EMFILE && c->ops->spare && c->ops->spare(c->owner));
                if (fd < 0) {
                        error = errno;
                        continue;
                }
                c->ops->options(c->owner, fd, to->sa_family);
                if (connect(fd, to, length_of(to->sa_family)) < 0 && errno != EINPROGRESS) {
                        error = errno;
                        (void)close(fd);
                        continue;
                }
                *ret_until_us = connect_more(c) ? now + MAX(slice, ADDRESS_TIME_US) : c->until_us;
                return fd;
        }
        return -error;
}

void connect_cancel(struct connect_try *c)
{
        struct connect_lookup *l = TAKE(c->lookup);

        if (!l)
                return;
        l->from = NULL; /* on_resolved() comes later, and frees it */
        evdns_getaddrinfo_cancel(l->request);
}
