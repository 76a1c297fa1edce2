/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only headers that a page cannot set are read, so what a browser sends is true.  Other clients may send what they like: the checks are
 * about browsers.
 */
#include "browser.h"

#include <arpa/inet.h>

#include "base.h"

static bool same(struct pm_str a, const char *b, size_t n)
{
        return a.n == n && strncasecmp(a.p, b, n) == 0;
}

bool browser_allowed(struct pm_str origin, const struct pm_strs *origins)
{
        for (size_t i = 0; i < origins->n; i++)
                if (strcmp(origins->items[i], "*") == 0 || same(origin, origins->items[i], strlen(origins->items[i])))
                        return true;
        return false;
}

/* Without its port, and without the brackets of an IPv6 address (*ret_six). */
static struct pm_str name_of(struct pm_str host, bool *ret_six)
{
        const char *end;

        *ret_six = host.n && host.p[0] == '[';
        if (*ret_six) {
                end = memchr(host.p, ']', host.n);
                return (struct pm_str){ host.p + 1, end ? (size_t)(end - host.p - 1) : 0 };
        }
        end = host.n ? memchr(host.p, ':', host.n) : NULL;
        return (struct pm_str){ host.p, end ? (size_t)(end - host.p) : host.n };
}

bool browser_host_ok(struct pm_str host, const struct pm_strs *names)
{
        static const char local[] = ".localhost"; /* names below it are loopback's by RFC 6761, and nobody can own them */
        char text[INET6_ADDRSTRLEN];
        unsigned char address[16];
        struct pm_str name;
        bool six;

        if (host.n == 0) /* HTTP/1.0 without it: no browser */
                return true;
        name = name_of(host, &six);
        if (name.n && name.n < sizeof text && (six || (name.p[0] >= '0' && name.p[0] <= '9'))) {
                memcpy(text, name.p, name.n);
                text[name.n] = '\0';
                if (inet_pton(six ? AF_INET6 : AF_INET, text, address) == 1)
                        return true;
        }
        if (six || name.n == 0)
                return false;
        if (same(name, local + 1, sizeof local - 2) ||
            (name.n > sizeof local - 1 && strncasecmp(name.p + name.n - (sizeof local - 1), local, sizeof local - 1) == 0))
                return true;
        for (size_t i = 0; i < names->n; i++)
                if (same(name, names->items[i], strlen(names->items[i])))
                        return true;
        return false;
}

bool browser_page_ok(const struct browser_says *s, const struct pm_strs *origins)
{
        const char *authority = s->origin.n ? memmem(s->origin.p, s->origin.n, "://", 3) : NULL;

        if (s->origin.n && browser_allowed(s->origin, origins))
                return true;
        if (same(s->site, "same-origin", 11))
                return true;
        if (!s->origin.n)
                return !s->site.n || same(s->site, "none", 4);
        if (!authority || s->site.n) /* "null"; and a browser that says where it comes from has said something else */
                return false;
        authority += 3;
        return same(s->host, authority, (size_t)(s->origin.p + s->origin.n - authority));
}

bool browser_is_origin(const char *text)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]";
        const char *colon = strstr(text, "://");
        size_t n = colon ? strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.") : 0;

        return strcmp(text, "*") == 0 || (colon && n && text + n == colon && colon[3] && colon[3 + strspn(colon + 3, letters)] == '\0');
}
