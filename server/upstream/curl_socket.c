/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that libcurl uses, and whether one that has rested may carry another request.
 *
 * libcurl before 8.0 takes an idle connection for alive although unsolicited bytes wait on it; they would become the
 * answer to the next request, which may be another client's.  So each request on a kept HTTP/1.1 connection looks at the socket, and at what TLS
 * has read of it, before a byte of it leaves: if anything is there, the connection is closed and the request goes out on another.
 * (HTTP/2 may send frames at any time.  TLS 1.3's session tickets come before the first answer; one that comes later costs a
 * connection, no more.)
 */
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "curl_parts.h"
#include "expert.h"
#include "list.h"

#include "base.h"

struct curl_socket {
        struct curl_socket *next, **pprev;
        int fd;
        ino_t inode;         /* libcurl closes some sockets in silence: is fd still this one? */
        unsigned slot, port; /* port 0: not known yet, or there is none */
        bool watched;        /* by libcurl: in use */
};

static void enlist(struct curl *c, struct curl_socket *s, unsigned port)
{
        struct curl_socket **list = &c->by_port[port % CURL_PORTS];

        if (s->pprev)
                LIST_UNLINK(s);
        s->port = port;
        LIST_PUSH(list, s);
}

static unsigned port_of(int fd)
{
        struct sockaddr_storage a = { 0 };
        socklen_t n = sizeof a;

        if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
                return 0;
        return a.ss_family == AF_INET    ? ntohs(((struct sockaddr_in *)(void *)&a)->sin_port)
               : a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)(void *)&a)->sin6_port)
                                         : 0;
}

static void forget(struct curl *c, struct curl_socket *s)
{
        LIST_UNLINK(s);
        c->slots[s->slot].open--;
        c->n_open--;
        c->by_fd[s->fd] = NULL;
        free(s);
}

static ino_t inode_of(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Its local port; or it is forgotten, since a connection that never stood was closed without a word. */
static bool settle(struct curl *c, struct curl_socket *s)
{
        unsigned port;

        if (inode_of(s->fd) != s->inode) {
                forget(c, s);
                return false;
        }
        port = s->port ? s->port : port_of(s->fd);
        if (port != s->port)
                enlist(c, s, port);
        return true;
}

/* Those whose port is not known, or that have none. */
static void settle_new(struct curl *c)
{
        struct curl_socket *next;

        for (struct curl_socket *s = c->by_port[0]; s; s = next) {
                next = s->next;
                if (s->port == 0)
                        (void)settle(c, s);
        }
}

static bool room_for_fd(struct curl *c, unsigned fd)
{
        unsigned n = MAX(2 * c->n_fds, fd + 64);
        struct curl_socket **by_fd;

        if (fd < c->n_fds)
                return true;
        by_fd = realloc(c->by_fd, n * sizeof(struct curl_socket *));
        if (!by_fd)
                return false;
        memset(by_fd + c->n_fds, 0, (n - c->n_fds) * sizeof(struct curl_socket *));
        c->by_fd = by_fd;
        c->n_fds = n;
        return true;
}

curl_socket_t curl_on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
        struct curl_transfer *p = arg;
        int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
        struct curl_socket *s;

        (void)purpose; /* there is one */
        curl_left(p); /* libcurl sends it again of itself */
        p->run.fd = -1;
        p->run.unproved = false;
        p->run.fresh = true;
        p->run.connected = false;
        if (fd < 0) {
                p->run.os_error = errno;
                return CURL_SOCKET_BAD;
        }
        s = calloc(1, sizeof *s);
        if (!s || !room_for_fd(p->curl, (unsigned)fd)) {
                free(s);
                (void)close(fd);
                p->run.os_error = ENOMEM;
                return CURL_SOCKET_BAD;
        }
        settle_new(p->curl);
        if (p->curl->by_fd[fd])
                forget(p->curl, p->curl->by_fd[fd]);
        upstream_socket_set(fd, p->a.call.endpoint);
        s->fd = fd;
        s->inode = inode_of(fd);
        s->slot = p->a.call.endpoint->state->slot;
        p->curl->by_fd[fd] = s;
        enlist(p->curl, s, 0);
        p->curl->slots[s->slot].open++;
        p->curl->n_open++;
        return fd;
}

curl_socket_t curl_on_open_none(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
        (void)arg, (void)purpose, (void)to;
        return CURL_SOCKET_BAD;
}

int curl_on_close(void *arg, curl_socket_t fd)
{
        struct curl *c = arg;
        struct curl_socket *s = (unsigned)fd < c->n_fds ? c->by_fd[fd] : NULL;

        if (s)
                forget(c, s);
        return close(fd);
}

void curl_socket_watched(struct curl *c, curl_socket_t fd, bool on)
{
        if ((unsigned)fd < c->n_fds && c->by_fd[fd])
                c->by_fd[fd]->watched = on;
}

/* The TLS session of the transfer_base's connection; NULL: there is none, or it is not OpenSSL's. */
static SSL *session_of(const struct curl_transfer *p)
{
        struct curl_tlssessioninfo *info = NULL;

        if (curl_easy_getinfo(p->easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info || info->backend != CURLSSLBACKEND_OPENSSL)
                return NULL;
        return info->internals;
}

static bool speaks_h2(const SSL *ssl)
{
        const unsigned char *name = NULL;
        unsigned n = 0;

        if (ssl)
                SSL_get0_alpn_selected(ssl, &name, &n);
        return n == 2 && memcmp(name, "h2", 2) == 0;
}

/* The sockets with that local port, which are one but for rare cases.  libcurl does not say which one it has chosen, nor for whom: two
 * base URLs at one host share connections.  NULL: none. */
static struct curl_socket *sockets_at(struct curl *c, unsigned port)
{
        struct curl_socket *next;

        settle_new(c);
        for (struct curl_socket *s = c->by_port[port % CURL_PORTS]; s; s = next) {
                next = s->next;
                if (s->port == port && settle(c, s))
                        return s;
        }
        return NULL;
}

static bool one_has_spoken(const struct curl_socket *s, unsigned port)
{
        for (; s; s = s->next)
                if (s->port == port && inode_of(s->fd) == s->inode && upstream_socket_spoke(s->fd))
                        return true;
        return false;
}

/* Unix sockets have no port.  Each that rests and has spoken is ended for good: libcurl finds it dead when it looks. */
static bool end_spoilt_unix(struct curl *c)
{
        bool any = false;

        settle_new(c);
        for (struct curl_socket *s = c->by_port[0]; s; s = s->next)
                if (s->port == 0 && !s->watched && upstream_socket_spoke(s->fd)) {
                        (void)shutdown(s->fd, SHUT_RDWR);
                        any = true;
                }
        return any;
}

/* The connection stands, with TLS, and the request is about to leave.  For HTTP/2 nothing is looked at. */
int curl_on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
        struct curl_transfer *p = arg;
        const struct upstream_call *call = &p->a.call;
        struct curl_socket *s = local_port > 0 ? sockets_at(p->curl, (unsigned)local_port) : NULL;
        SSL *ssl = session_of(p);
        int64_t now = now_us();

        (void)ip, (void)local_ip, (void)port;
        curl_left(p);
        p->run.h2 = speaks_h2(ssl);
        p->run.connected = true;
        p->run.fd = s ? s->fd : -1;
        p->a.t.reused = !p->run.fresh;
        if (p->a.t.reused && !p->run.h2 &&
            ((ssl && SSL_pending(ssl) > 0) ||
             (s ? one_has_spoken(s, (unsigned)local_port) : local_port > 0 || end_spoilt_unix(p->curl)))) {
                p->run.again = true;
                return CURL_PREREQFUNC_ABORT; /* which closes the connection; curl_ended() goes on */
        }
        p->run.sent_us = now;
        p->run.unproved = p->a.t.reused && p->run.fd >= 0;
        transfer_deadline(&p->a, now + (p->run.unproved ? MIN(call->connect_ms, call->first_ms) : call->first_ms) * 1000);
        return CURL_PREREQFUNC_OK;
}

void curl_sockets_end(struct curl *c)
{
        char bytes[4096];

        for (unsigned i = 0; i < c->n_fds; i++) {
                if (!c->by_fd[i] || !settle(c, c->by_fd[i]))
                        continue;
                (void)shutdown(c->by_fd[i]->fd, SHUT_RDWR);
                for (int left = 100; left && recv(c->by_fd[i]->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; left--)
                        ; /* with TLS libcurl takes what is unread for a sign of life */
        }
}

void curl_sockets_finish(struct curl *c)
{
        for (unsigned i = 0; i < c->n_fds; i++)
                free(c->by_fd[i]); /* none is left, unless libcurl has lost one */
        free(c->by_fd);
}
