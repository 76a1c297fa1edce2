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

static void set_host(struct redis_address *ret, const struct host_port *from)
{
        *ret = (struct redis_address){ .port = from->port };
        memcpy(ret->host, from->host, strlen(from->host) + 1);
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
        const char *host = text, *rest, *clause;
        struct host_port parsed;
        size_t len;

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
        if (address_parse((struct pm_str){ host, len }, default_port, &parsed, &clause) < 0)
                return refuse(why, n, clause);
        set_host(ret, &parsed);
        return 0;
}

int redis_address_set(struct redis_address *a, struct pm_str host, long long port)
{
        struct host_port parsed;

        if (address_set(&parsed, host, port) < 0)
                return -EINVAL;
        set_host(a, &parsed);
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
