/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One parser for every host and port of the configuration.  An address is written in one way afterwards, so that one address has one
 * state: small letters, and IPv6 as inet_ntop() writes it.
 */
#include "address.h"

#include <arpa/inet.h>

#include "base.h"

static int refuse(const char **why, const char *text)
{
        *why = text;
        return -EINVAL;
}

static bool parse_port(struct pm_str text, unsigned lowest, unsigned *ret)
{
        unsigned port = 0;

        if (text.n == 0 || text.n > 5)
                return false;
        for (size_t i = 0; i < text.n; i++) {
                if (text.p[i] < '0' || text.p[i] > '9')
                        return false;
                port = port * 10 + (unsigned)(text.p[i] - '0');
        }
        if (port < lowest || port > 65535)
                return false;
        *ret = port;
        return true;
}

/* A name's or an IPv4 address's characters; small letters in place. */
static bool fold_name(char *p)
{
        size_t label = 0;

        for (; *p; p++) {
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
                if (*p == '.') {
                        if (label == 0)
                                return false;
                        label = 0;
                } else if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '_') {
                        if (++label > 63)
                                return false;
                } else {
                        return false;
                }
        }
        return true;
}

/* Fills host and v6. */
static int parse_host(struct host_port *a, struct pm_str host, bool v6, const char **why)
{
        struct in6_addr six;

        if (host.n == 0)
                return refuse(why, "no host name");
        if (host.n > ADDRESS_HOST_MAX)
                return refuse(why, "the host name is longer than 253 characters");
        memcpy(a->host, host.p, host.n);
        a->host[host.n] = '\0';
        a->v6 = v6;
        if (!v6)
                return fold_name(a->host) && strlen(a->host) == host.n ? 0 :
                       refuse(why, "not a host name: letters, digits, '-', '_' and single dots are allowed");
        if (strlen(a->host) != host.n || inet_pton(AF_INET6, a->host, &six) != 1 || !inet_ntop(AF_INET6, &six, a->host, sizeof a->host))
                return refuse(why, "not an IPv6 address in the brackets");
        return 0;
}

int address_parse(struct pm_str text, unsigned default_port, struct host_port *ret, const char **why)
{
        bool v6 = text.n > 0 && text.p[0] == '[';
        const char *p = text.p + v6, *end = text.p + text.n, *host_end = end, *port = NULL;
        struct host_port a = { .port = default_port };
        int r;

        if (v6) {
                host_end = memchr(p, ']', (size_t)(end - p));
                if (!host_end)
                        return refuse(why, "'[' without ']'");
                if (host_end + 1 < end) {
                        if (host_end[1] != ':')
                                return refuse(why, "after ']' only ':port' may follow");
                        port = host_end + 2;
                }
        } else if (text.n > 0 && (port = memchr(p, ':', text.n))) {
                host_end = port++;
                if (memchr(port, ':', (size_t)(end - port)))
                        return refuse(why, "an IPv6 address must be in brackets: [::1]:8080");
        }
        r = parse_host(&a, (struct pm_str){ p, (size_t)(host_end - p) }, v6, why);
        if (r < 0)
                return r;
        if (!port && default_port == 0)
                return refuse(why, "the port is missing");
        if (port && !parse_port((struct pm_str){ port, (size_t)(end - port) }, default_port ? 1 : 0, &a.port))
                return refuse(why, default_port ? "the port must be 1..65535" : "the port must be 0..65535");
        *ret = a;
        return 0;
}

int address_set(struct host_port *a, struct pm_str host, long long port)
{
        struct host_port b = { .port = (unsigned)port };
        const char *why;

        if (port < 1 || port > 65535 || !host.p || parse_host(&b, host, memchr(host.p, ':', host.n) != NULL, &why) < 0)
                return -EINVAL;
        *a = b;
        return 0;
}

const char *address_text(const struct host_port *a, char *buf, size_t n)
{
        (void)snprintf(buf, n, a->v6 ? "[%s]:%u" : "%s:%u", a->host, a->port);
        return buf;
}

bool address_is_numeric(const struct host_port *a)
{
        struct in_addr four;

        return a->v6 || inet_pton(AF_INET, a->host, &four) == 1;
}

bool address_is_loopback(const struct host_port *a)
{
        struct in6_addr six;
        struct in_addr four;

        if (a->v6 && inet_pton(AF_INET6, a->host, &six) == 1)
                return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
        if (inet_pton(AF_INET, a->host, &four) == 1)
                return ntohl(four.s_addr) >> 24 == 127;
        return strcmp(a->host, "localhost") == 0;
}
