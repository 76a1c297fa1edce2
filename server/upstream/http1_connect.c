/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an endpoint to a socket that is being connected.  Numeric addresses and localhost need no resolver; other names go through
 * libevent's, which does not block.  Each address has its share of the time.
 */
#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "expert.h"
#include "loop.h"
#include "http1_parts.h"
#include "text.h"

#include "base.h"

#define ADDRESS_TIME_US 250000 /* each address has at least so long to connect */

void http1_connect_failed(struct http1_transfer *t, int error)
{
        bool local = upstream_errno_is_local(error);
        char text[80];

        transfer_fail(&t->a, local ? TRANSFER_LOCAL : TRANSFER_CONNECT, "%s%s", local ? "this machine opens no further connection: " : "",
                     errno_clause(error, text, sizeof text));
}

/* Tries the addresses in order; the last one's failure is the transfer_base's. */
void http1_connect_next(struct http1_transfer *t)
{
        struct http1 *p = t->a.upstream->http1;
        int64_t now, slice;
        int e = EHOSTUNREACH;

        while (t->address_at < t->n_addresses) {
                const struct address *to = &t->addresses[t->address_at++];
                int fd;

                do
                        fd = socket(to->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                while (fd < 0 && errno == EMFILE && http1_pool_spare(p));
                if (fd < 0) {
                        e = errno;
                        continue;
                }
                upstream_socket_set(fd, t->a.call.endpoint);
                if (connect(fd, (const struct sockaddr *)&to->to, to->n) < 0 && errno != EINPROGRESS) {
                        e = errno;
                        (void)close(fd);
                        continue;
                }
                t->conn = http1_conn_create(p, &t->a.call, fd);
                if (!t->conn) {
                        (void)close(fd);
                        transfer_fail(&t->a, TRANSFER_MEMORY, "no memory for a connection");
                        return;
                }
                t->conn->user = t;
                if (event_add(&t->conn->writable, NULL) < 0) {
                        transfer_fail(&t->a, TRANSFER_MEMORY, "no memory for a connection");
                        return;
                }
                now = now_us();
                slice = (t->connect_until - now) / (int64_t)(t->n_addresses - t->address_at + 1);
                transfer_deadline(&t->a, t->address_at == t->n_addresses ? t->connect_until : now + MAX(slice, ADDRESS_TIME_US));
                return;
        }
        http1_connect_failed(t, e);
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static void add_address(struct http1_transfer *t, const struct sockaddr *to, socklen_t n)
{
        if (t->n_addresses == LENGTH_OF(t->addresses) || n > sizeof t->addresses[0].to)
                return;
        memcpy(&t->addresses[t->n_addresses].to, to, n);
        t->addresses[t->n_addresses++].n = n;
}

static bool add_numeric(struct http1_transfer *t, const char *host, unsigned port)
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

        if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
                add_address(t, (struct sockaddr *)&in, sizeof in);
        else if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
                add_address(t, (struct sockaddr *)&in6, sizeof in6);
        else
                return false;
        return true;
}

static void on_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
        struct lookup *l = arg;
        struct http1_transfer *t = l->transfer_base;
        int ours;

        free(l);
        if (t) {
                t->lookup = NULL;
                for (struct evutil_addrinfo *i = list; i; i = i->ai_next)
                        add_address(t, i->ai_addr, (socklen_t)i->ai_addrlen);
                ours = t->n_addresses ? 0 : upstream_descriptors_short();
                if (t->n_addresses)
                        http1_connect_next(t);
                else if (ours)
                        http1_connect_failed(t, ours);
                else
                        transfer_fail(&t->a, TRANSFER_CONNECT, "cannot resolve '%s': %s", t->a.call.endpoint->host, evutil_gai_strerror(error));
        }
        if (list)
                evutil_freeaddrinfo(list);
}

/* /etc/hosts and /etc/resolv.conf, read once; without name servers names in hosts still resolve. */
static struct evdns_base *names(struct http1 *p)
{
        if (!p->dns) {
                p->dns = evdns_base_new(p->upstream->loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
                if (p->dns)
                        (void)evdns_base_resolv_conf_parse(p->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
        }
        return p->dns;
}

static void resolve(struct http1_transfer *t)
{
        const struct endpoint *e = t->a.call.endpoint;
        struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
        struct evdns_base *dns = names(t->a.upstream->http1);
        struct lookup *l = calloc(1, sizeof *l);
        struct evdns_getaddrinfo_request *request;
        char port[12];

        if (!dns || !l) {
                free(l);
                transfer_fail(&t->a, TRANSFER_MEMORY, "no memory to resolve '%s'", e->host);
                return;
        }
        l->transfer_base = t;
        t->lookup = l;
        (void)snprintf(port, sizeof port, "%u", e->port);
        request = evdns_getaddrinfo(dns, e->host, port, &hints, on_resolved, l);
        if (request)
                l->request = request; /* else on_resolved() has run already, and l is gone */
}

void http1_lookup_cancel(struct http1_transfer *t)
{
        struct lookup *l = TAKE(t->lookup);

        if (!l)
                return;
        l->transfer_base = NULL; /* on_resolved() comes later, and frees it */
        evdns_getaddrinfo_cancel(l->request);
}

void http1_connect(struct http1_transfer *t)
{
        const struct endpoint *e = t->a.call.endpoint;

        t->connect_until = now_us() + t->a.call.connect_ms * 1000;
        transfer_deadline(&t->a, t->connect_until);
        t->n_addresses = t->address_at = 0;
        if (strcmp(e->host, "localhost") == 0) {
                (void)add_numeric(t, "127.0.0.1", e->port);
                (void)add_numeric(t, "::1", e->port);
        } else if (!add_numeric(t, e->host, e->port)) {
                resolve(t);
                return;
        }
        http1_connect_next(t);
}
