/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an address to a connected socket.  hiredis would resolve names itself, and block the loop; so it is given no socket at all:
 * names go through libevent's resolver, numbers and localhost need none, each address has its share of the time.
 */
#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include "redis_parts.h"
#include "text.h"

#include "base.h"

#define ADDRESS_TIME_US 250000 /* each address has at least so long */

struct redis_lookup {
        struct link *link; /* NULL: it has lost interest */
        struct evdns_getaddrinfo_request *request;
};

static void add_address(struct link *l, const void *to, socklen_t n)
{
        if (l->n_addresses == LENGTH_OF(l->addresses) || n > sizeof l->addresses[0].to)
                return;
        memcpy(&l->addresses[l->n_addresses].to, to, n);
        l->addresses[l->n_addresses++].n = n;
}

static bool add_numeric(struct link *l, const char *host, unsigned port)
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

        if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
                add_address(l, &in, sizeof in);
        else if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
                add_address(l, &in6, sizeof in6);
        else
                return false;
        return true;
}

static void set_timer(struct link *l, int64_t at)
{
        int64_t us = MAX(at - now_us(), 0);

        (void)event_add(&l->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

/* ---- sockets ------------------------------------------------------------------------------------------------------------ */
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

        while (l->address_at < l->n_addresses) {
                const struct sockaddr *to = (const struct sockaddr *)&l->addresses[l->address_at].to;
                socklen_t n = l->addresses[l->address_at++].n;
                int64_t now = now_us(), slice = (l->connect_until_us - now) / (int64_t)(l->n_addresses - l->address_at + 1);
                int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

                if (fd < 0) {
                        error = errno;
                        continue;
                }
                if (to->sa_family != AF_UNIX) {
                        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
                        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
                        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 60 }, sizeof(int));
                }
                if (connect(fd, to, n) < 0 && errno != EINPROGRESS) {
                        error = errno;
                        (void)close(fd);
                        continue;
                }
                l->fd = fd;
                (void)event_assign(&l->writable, l->r->base, fd, EV_WRITE, on_connect, l);
                if (event_add(&l->writable, NULL) < 0) {
                        error = ENOMEM;
                        (void)close(fd);
                        l->fd = -1;
                        continue;
                }
                set_timer(l, l->address_at == l->n_addresses ? l->connect_until_us : MIN(now + MAX(slice, ADDRESS_TIME_US), l->connect_until_us));
                return;
        }
        link_fail(l, SAID_GONE, "%s", errno_clause(error, text, sizeof text));
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */
static void on_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
        struct redis_lookup *p = arg;
        struct link *l = p->link;

        free(p);
        if (l) {
                l->lookup = NULL;
                for (struct evutil_addrinfo *i = list; i; i = i->ai_next)
                        add_address(l, i->ai_addr, (socklen_t)i->ai_addrlen);
                if (l->n_addresses)
                        link_connect_next(l, EHOSTUNREACH);
                else
                        link_fail(l, SAID_GONE, "cannot resolve the name: %s", evutil_gai_strerror(error));
        }
        if (list)
                evutil_freeaddrinfo(list);
}

static void resolve(struct link *l)
{
        struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
        struct redis_lookup *p = calloc(1, sizeof *p);
        struct evdns_getaddrinfo_request *request;
        char port[12];

        /* /etc/hosts and /etc/resolv.conf, read once */
        if (!l->r->dns) {
                l->r->dns = evdns_base_new(l->r->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
                if (l->r->dns)
                        (void)evdns_base_resolv_conf_parse(l->r->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
        }
        if (!p || !l->r->dns) {
                free(p);
                link_fail(l, SAID_GONE, "no memory to resolve the name");
                return;
        }
        p->link = l;
        l->lookup = p;
        (void)snprintf(port, sizeof port, "%u", l->to.port);
        request = evdns_getaddrinfo(l->r->dns, l->to.host, port, &hints, on_resolved, p);
        if (request)
                p->request = request; /* else on_resolved() has run already, and p is gone */
}

void link_connect_cancel(struct link *l)
{
        struct redis_lookup *p = TAKE(l->lookup);

        if (!p)
                return;
        p->link = NULL; /* on_resolved() comes later, and frees it */
        evdns_getaddrinfo_cancel(p->request);
}

void link_connect(struct link *l)
{
        struct sockaddr_un un = { .sun_family = AF_UNIX };

        l->state = LINK_CONNECTING;
        l->connect_until_us = now_us() + l->r->config.connect_ms * 1000;
        l->n_addresses = l->address_at = 0;
        set_timer(l, l->connect_until_us);
        if (!l->to.host[0]) {
                _Static_assert(sizeof un.sun_path == sizeof l->to.path, "a path that was accepted fits");
                memcpy(un.sun_path, l->to.path, sizeof un.sun_path);
                add_address(l, &un, sizeof un);
        } else if (strcasecmp(l->to.host, "localhost") == 0) {
                (void)add_numeric(l, "127.0.0.1", l->to.port);
                (void)add_numeric(l, "::1", l->to.port);
        } else if (!add_numeric(l, l->to.host, l->to.port)) {
                resolve(l);
                return;
        }
        link_connect_next(l, EHOSTUNREACH);
}
