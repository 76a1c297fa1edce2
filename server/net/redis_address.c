/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses are taken apart before anything is connected, so that a mistake is found by `check`.  What belongs elsewhere in the
 * configuration (user, password, database) is refused with the place where it belongs: a URL with a secret ends up in logs.
 */
#include "redis_address.h"

#include "base.h"

static int refuse(char *why, size_t n, const char *text)
{
        (void)snprintf(why, n, "%s", text);
        return -EINVAL;
}

static bool host_ok(const char *p, size_t n, bool v6)
{
        if (n == 0 || n > REDIS_HOST_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                char c = p[i];

                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
                      (v6 && c == ':')))
                        return false;
        }
        return true;
}

static bool port_ok(const char *p, size_t n, unsigned *ret)
{
        unsigned port = 0;

        if (n == 0 || n > 5)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return false;
                port = port * 10 + (unsigned)(p[i] - '0');
        }
        if (port == 0 || port > 65535)
                return false;
        *ret = port;
        return true;
}

static int parse_unix(const char *path, struct redis_address *ret, char *why, size_t n)
{
        size_t len = strlen(path);

        if (*path != '/')
                return refuse(why, n, "the path of a Unix socket must begin with '/': unix:/run/redis/redis.sock");
        if (len >= sizeof ret->path) {
                (void)snprintf(why, n, "the path of a Unix socket has at most %zu characters, this one %zu", sizeof ret->path - 1, len);
                return -EINVAL;
        }
        *ret = (struct redis_address){ 0 };
        memcpy(ret->path, path, len + 1);
        return 0;
}

int redis_address_parse(const char *text, unsigned default_port, struct redis_address *ret, char *why, size_t n)
{
        struct redis_address a = { .port = default_port };
        const char *host = text, *rest;
        size_t len;
        bool v6 = false;

        if (strncmp(text, "unix:", 5) == 0)
                return parse_unix(text + 5, ret, why, n);
        if (strncasecmp(text, "rediss://", 9) == 0)
                return refuse(why, n, "rediss:// (TLS) is not spoken here: run a TLS tunnel beside the gateway (stunnel with client = yes) and "
                              "give its Unix socket or redis://127.0.0.1:port");
        if (strncasecmp(text, "redis://", 8) == 0)
                host += 8;
        else if (strstr(text, "://"))
                return refuse(why, n, "the address must be redis://host:port, host:port or unix:/path");
        len = strcspn(host, "/?#");
        rest = host + len;
        if (memchr(host, '@', len))
                return refuse(why, n, "user and password do not belong into the address: they have keys of their own");
        if (rest[0] == '/' && rest[1] != 0)
                return refuse(why, n, "nothing may follow host and port: the database has a key of its own");
        if (rest[0] == '?' || rest[0] == '#')
                return refuse(why, n, "nothing may follow host and port");
        if (*host == '[') {
                const char *end = memchr(host, ']', len);

                if (!end)
                        return refuse(why, n, "']' is missing after the IPv6 address");
                v6 = true;
                len -= (size_t)(end + 1 - host);
                host++;
                rest = end + 1;
                if (len > 0 && (*rest != ':' || !port_ok(rest + 1, len - 1, &a.port)))
                        return refuse(why, n, "the port must be 1..65535");
                len = (size_t)(end - host);
        } else {
                const char *colon = memchr(host, ':', len);

                if (colon) {
                        if (memchr(colon + 1, ':', len - (size_t)(colon + 1 - host)))
                                return refuse(why, n, "an IPv6 address stands in brackets: [::1]:6379");
                        if (!port_ok(colon + 1, len - (size_t)(colon + 1 - host), &a.port))
                                return refuse(why, n, "the port must be 1..65535");
                        len = (size_t)(colon - host);
                }
        }
        if (!host_ok(host, len, v6))
                return refuse(why, n, "a host name or address is missing or has characters that none may have");
        memcpy(a.host, host, len);
        *ret = a;
        return 0;
}

int redis_address_set(struct redis_address *a, struct pm_str host, long long port)
{
        if (port < 1 || port > 65535 || !host.p || !host_ok(host.p, host.n, true))
                return -EINVAL;
        *a = (struct redis_address){ .port = (unsigned)port };
        memcpy(a->host, host.p, host.n);
        return 0;
}

bool redis_address_same(const struct redis_address *a, const struct redis_address *b)
{
        return a->port == b->port && strcasecmp(a->host, b->host) == 0 && strcmp(a->path, b->path) == 0;
}

const char *redis_address_text(const struct redis_address *a, char *buf, size_t n)
{
        if (!a->host[0])
                (void)snprintf(buf, n, "unix:%s", a->path);
        else if (strchr(a->host, ':'))
                (void)snprintf(buf, n, "[%s]:%u", a->host, a->port);
        else
                (void)snprintf(buf, n, "%s:%u", a->host, a->port);
        return buf;
}
