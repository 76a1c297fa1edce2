/* SPDX-License-Identifier: Apache-2.0 */
#include "listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "address.h"
#include "options.h"

#include "base.h"

#define BACKLOG 4096 /* the kernel's own limit (net.core.somaxconn) applies too */

bool listen_is_loopback(const char *address)
{
        struct host_port parsed;
        const char *why;

        return address_parse((struct pm_str){ address, strlen(address) }, 0, &parsed, &why) == 0 && address_is_loopback(&parsed);
}

static void address_format(const struct sockaddr *sa, char *out, size_t size)
{
        char host[INET6_ADDRSTRLEN] = "?";

        if (sa->sa_family == AF_INET6) {
                struct sockaddr_in6 in6;

                memcpy(&in6, sa, sizeof in6);
                (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
                (void)snprintf(out, size, "[%s]:%u", host, ntohs(in6.sin6_port));
        } else {
                struct sockaddr_in in;

                memcpy(&in, sa, sizeof in);
                (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
                (void)snprintf(out, size, "%s:%u", host, ntohs(in.sin_port));
        }
}

static int socket_bind(const struct sockaddr *sa, socklen_t length, bool first, bool share)
{
        const int on = 1;
        int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

        if (fd < 0)
                return -errno;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* connections of the last run may linger */
        if ((!first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) || bind(fd, sa, length) < 0 ||
            (first && share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        return fd;
}

int listen_open(const char *address, size_t n, struct problems *p, int *fds, char *name)
{
        const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;
        struct sockaddr_storage sa;
        struct host_port parsed;
        const char *why;
        char port[12];
        socklen_t length = 0;
        int r, e = 0;

        if (address_parse((struct pm_str){ address, strlen(address) }, 0, &parsed, &why) < 0) {
                problems_add(p, NULL, "", "'%s' is not host:port: %s", address, why);
                return -EINVAL;
        }
        (void)snprintf(port, sizeof port, "%u", parsed.port);
        r = getaddrinfo(parsed.host, port, &hints, &found);
        if (r != 0 || found->ai_addrlen > sizeof sa) {
                problems_add(p, NULL, "", "cannot listen on %s: %s", address, r ? gai_strerror(r) : "address too long");
                if (found)
                        freeaddrinfo(found);
                return -EINVAL;
        }
        memcpy(&sa, found->ai_addr, length = found->ai_addrlen);
        freeaddrinfo(found);

        for (size_t i = 0; i < n; i++) {
                fds[i] = socket_bind((const struct sockaddr *)&sa, length, i == 0, n > 1);
                e = fds[i] < 0 ? fds[i] : 0;
                /* the first's port is the others'; bound, but listening only when all are: nobody is let in halfway */
                if (e == 0 && i == 0 && getsockname(fds[0], (struct sockaddr *)&sa, &length) < 0)
                        e = -errno;
                if (e < 0) {
                        n = fds[i] < 0 ? i : i + 1;
                        break;
                }
        }
        for (size_t i = 0; e == 0 && i < n; i++)
                if (listen(fds[i], BACKLOG) < 0)
                        e = -errno;
        if (e < 0) {
                problems_add(p, NULL, "", "cannot listen on %s: %s", address, ERRNO_TEXT(e));
                for (size_t i = 0; i < n; i++)
                        (void)close(fds[i]);
                return e;
        }
        address_format((const struct sockaddr *)&sa, name, LISTEN_NAME_MAX);
        return 0;
}
