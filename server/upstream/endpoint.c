/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.c - a URL of the configuration, taken apart and written in one way, so that one address has one state.
 */
#include <sys/un.h>

#include "address.h"
#include "expert.h"

#include "base.h"

#define URL_MAX 2048

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
                *why = "out of memory";
                return -ENOMEM;
        }
        return 0;
}

/* The authority: [host]:port or host:port. */
static int parse_authority(struct arena *a, struct pm_str text, unsigned preset, struct endpoint *e, const char **why)
{
        struct host_port parsed;
        int r;

        if (text.n > 0 && memchr(text.p, '@', text.n))
                return refuse(why, "no user or password belongs in a URL: use 'key'");
        r = address_parse(text, preset, &parsed, why);
        if (r < 0)
                return r;
        e->port = parsed.port;
        e->host = arena_strndup(a, parsed.host, strlen(parsed.host));
        if (parsed.port == preset)
                e->host_header = arena_printf(a, parsed.v6 ? "[%s]" : "%s", parsed.host);
        else
                e->host_header = arena_printf(a, parsed.v6 ? "[%s]:%u" : "%s:%u", parsed.host, parsed.port);
        if (e->host && e->host_header)
                return 0;
        *why = "out of memory";
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
        if (n >= sizeof((struct sockaddr_un *)0)->sun_path)
                return refuse(why, "the socket's path is longer than a Unix socket's address can be (107)");
        r = parse_base(a, colon ? colon + 1 : "", &e->base, why);
        if (r < 0)
                return r;
        e->host = e->host_header = "localhost";
        e->port = 80;
        e->unix_path = arena_strndup(a, p, n);
        e->url = e->unix_path ? arena_printf(a, "unix:%s:%s", e->unix_path, e->base) : NULL;
        if (!e->url) {
                *why = "out of memory";
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
        r = parse_authority(a, (struct pm_str){ rest, (size_t)(path - rest) }, tls ? 443 : 80, &e, why);
        if (r < 0)
                return r;
        r = parse_base(a, path, &e.base, why);
        if (r < 0)
                return r;
        e.plain = !tls;
        e.url = arena_printf(a, "%s://%s%s", tls ? "https" : "http", e.host_header, e.base);
        if (!e.url) {
                *why = "out of memory";
                return -ENOMEM;
        }
        *ret = e;
        return 0;
}
