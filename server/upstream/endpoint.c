/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.c - a URL of the configuration, taken apart and written in one way, so that one address has one state.
 */
#include <arpa/inet.h>
#include <sys/un.h>

#include "expert.h"

#include "base.h"

#define URL_MAX 2048
#define HOST_MAX 253

static int refuse(const char **why, const char *text)
{
        *why = text;
        return -EINVAL;
}

/* "/v1/" becomes "/v1"; what is beyond printable ASCII would have to be written as %XX. */
static int parse_base(struct arena *a, const char *p, const char **ret, const char **why)
{
        size_t n = strlen(p);

        if (strchr(p, '?'))
                return refuse(why, "a base URL has no query ('?')");
        if (strchr(p, '#'))
                return refuse(why, "a base URL has no fragment ('#')");
        if (n > 0 && *p != '/')
                return refuse(why, "the path must begin with '/'");
        for (const char *c = p; *c; c++)
                if (strchr("\"<>\\^`{|}", *c))
                        return refuse(why, "the path has a character that must be written as %XX");
        while (n > 0 && p[n - 1] == '/')
                n--;
        *ret = arena_strndup(a, p, n);
        if (!*ret) {
                *why = "no memory";
                return -ENOMEM;
        }
        return 0;
}

static int parse_port(const char *p, size_t n, unsigned *ret, const char **why)
{
        unsigned port = 0;

        if (n == 0 || n > 5)
                return refuse(why, "the port must be 1..65535");
        for (size_t i = 0; i < n; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return refuse(why, "the port must be 1..65535");
                port = port * 10 + (unsigned)(p[i] - '0');
        }
        if (port == 0 || port > 65535)
                return refuse(why, "the port must be 1..65535");
        *ret = port;
        return 0;
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

/* The authority: [host]:port or host:port, in [p, p + n). */
static int parse_authority(struct arena *a, const char *p, size_t n, unsigned preset, struct endpoint *e, const char **why)
{
        const char *end = p + n, *host_end, *port = NULL;
        bool brackets = n > 0 && *p == '[';
        struct in6_addr six;
        char *host;
        int r;

        if (memchr(p, '@', n))
                return refuse(why, "no user or password belongs in a URL: use 'key'");
        if (brackets) {
                host_end = memchr(p, ']', n);
                if (!host_end)
                        return refuse(why, "'[' without ']'");
                p++;
                if (host_end + 1 < end) {
                        if (host_end[1] != ':')
                                return refuse(why, "after ']' only ':port' may follow");
                        port = host_end + 2;
                }
        } else {
                host_end = memchr(p, ':', n);
                if (host_end) {
                        port = host_end + 1;
                        if (memchr(port, ':', (size_t)(end - port)))
                                return refuse(why, "an IPv6 address must be in brackets: [::1]:8080");
                } else {
                        host_end = end;
                }
        }
        if (host_end == p)
                return refuse(why, "no host name");
        if (host_end - p > HOST_MAX)
                return refuse(why, "the host name is longer than 253 characters");
        e->port = preset;
        if (port) {
                r = parse_port(port, (size_t)(end - port), &e->port, why);
                if (r < 0)
                        return r;
        }
        host = arena_strndup(a, p, (size_t)(host_end - p));
        if (!host)
                goto no_memory;
        if (brackets) {
                char text[INET6_ADDRSTRLEN];

                if (inet_pton(AF_INET6, host, &six) != 1)
                        return refuse(why, "not an IPv6 address in the brackets");
                /* the usual spelling, so that one address has one state */
                if (inet_ntop(AF_INET6, &six, text, sizeof text))
                        host = arena_strndup(a, text, strlen(text));
                if (!host)
                        goto no_memory;
        } else if (!fold_name(host)) {
                return refuse(why, "not a host name: letters, digits, '-', '_' and single dots are allowed");
        }
        e->host = host;
        if (e->port == preset)
                e->host_header = arena_printf(a, brackets ? "[%s]" : "%s", host);
        else
                e->host_header = arena_printf(a, brackets ? "[%s]:%u" : "%s:%u", host, e->port);
        if (e->host_header)
                return 0;
no_memory:
        *why = "no memory";
        return -ENOMEM;
}

/* unix:/run/llama.sock:/v1 */
static int parse_unix(struct arena *a, const char *p, struct endpoint *e, const char **why)
{
        const char *colon = strrchr(p, ':');
        size_t n = colon ? (size_t)(colon - p) : strlen(p);
        int r;

        if (*p != '/' || n < 2)
                return refuse(why, "unix: needs an absolute path: unix:/run/expert.sock:/v1");
        if (n >= sizeof ((struct sockaddr_un *)0)->sun_path)
                return refuse(why, "the socket's path is longer than a Unix socket's address can be (107)");
        r = parse_base(a, colon ? colon + 1 : "", &e->base, why);
        if (r < 0)
                return r;
        e->host = e->host_header = "localhost";
        e->port = 80;
        e->unix_path = arena_strndup(a, p, n);
        e->url = e->unix_path ? arena_printf(a, "unix:%s:%s", e->unix_path, e->base) : NULL;
        if (!e->url) {
                *why = "no memory";
                return -ENOMEM;
        }
        return 0;
}

int endpoint_parse(struct arena *a, const char *url, struct endpoint *ret, const char **why)
{
        struct endpoint e = { 0 };
        const char *rest, *path;
        bool tls;
        int r;

        if (strlen(url) > URL_MAX)
                return refuse(why, "the URL is longer than 2048 characters");
        for (const unsigned char *c = (const unsigned char *)url; *c; c++)
                if (*c <= ' ' || *c >= 0x7f)
                        return refuse(why, "the URL has a space, a control character or a letter beyond ASCII");
        if (strncasecmp(url, "unix:", 5) == 0) {
                r = parse_unix(a, url + 5, &e, why);
                if (r == 0)
                        *ret = e;
                return r;
        }
        tls = strncasecmp(url, "https://", 8) == 0;
        if (!tls && strncasecmp(url, "http://", 7) != 0)
                return refuse(why, "expected http://host:port/base, https://host/base or unix:/path.sock:/base");
        rest = url + (tls ? 8 : 7);
        path = rest + strcspn(rest, "/?#");
        r = parse_authority(a, rest, (size_t)(path - rest), tls ? 443 : 80, &e, why);
        if (r < 0)
                return r;
        r = parse_base(a, path, &e.base, why);
        if (r < 0)
                return r;
        e.plain = !tls;
        e.url = arena_printf(a, "%s://%s%s", tls ? "https" : "http", e.host_header, e.base);
        if (!e.url) {
                *why = "no memory";
                return -ENOMEM;
        }
        *ret = e;
        return 0;
}
