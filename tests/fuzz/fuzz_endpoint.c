/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as an endpoint's URL: refused with a reason, or taken apart into parts that can stand in a Host line and a request's first
 * line, and whose own URL means the same again.  And any text as host and port, which must survive being written and read again.
 */
#include <sys/un.h>

#include "address.h"
#include "expert.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MEMORY_MAX ((size_t)1 << 20)

/* What can go over the wire as it is: no blanks, no control characters, nothing beyond ASCII. */
static void assert_printable(const char *text)
{
        for (const unsigned char *c = (const unsigned char *)text; *c; c++)
                assert(*c > ' ' && *c < 0x7F);
}

static void check(const struct endpoint *e)
{
        size_t base = strlen(e->base);

        assert(e->host[0] && e->host_header[0] && e->port >= 1 && e->port <= 65535);
        assert_printable(e->url);
        assert_printable(e->host);
        assert_printable(e->host_header);
        assert_printable(e->base);
        assert(!strpbrk(e->host_header, "/?#@") && !strpbrk(e->base, "?#"));
        assert(base == 0 || (e->base[0] == '/' && e->base[base - 1] != '/'));
        assert(!e->unix_path || (e->unix_path[0] == '/' && strlen(e->unix_path) < sizeof ((struct sockaddr_un *)NULL)->sun_path));
        assert(!e->plain || !e->unix_path);
}

static void same(const struct endpoint *a, const struct endpoint *b)
{
        assert(strcmp(a->url, b->url) == 0 && strcmp(a->host, b->host) == 0 && a->port == b->port && a->plain == b->plain);
        assert(strcmp(a->base, b->base) == 0 && strcmp(a->host_header, b->host_header) == 0);
        assert(!a->unix_path == !b->unix_path && (!a->unix_path || strcmp(a->unix_path, b->unix_path) == 0));
}

static void host_and_port(const char *p, size_t n, unsigned default_port)
{
        struct host_port a = { .port = 7 }, b;
        char text[ADDRESS_TEXT_MAX];
        const char *why = NULL;

        if (address_parse((struct pm_str){ p, n }, default_port, &a, &why) < 0) {
                assert(why && why[0] && a.port == 7 && !a.host[0]);
                return;
        }
        assert_printable(a.host);
        assert(a.host[0] && a.port <= 65535 && (a.port > 0 || default_port == 0));
        (void)address_text(&a, text, sizeof text);
        assert(address_parse((struct pm_str){ text, strlen(text) }, 0, &b, &why) == 0);
        assert(strcmp(a.host, b.host) == 0 && a.port == b.port && a.v6 == b.v6 && address_is_loopback(&a) == address_is_loopback(&b));
        assert(a.port == 0 || (address_set(&b, (struct pm_str){ a.host, strlen(a.host) }, a.port) == 0 && a.v6 == b.v6));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(free_p) char *text = malloc(n + 1);
        struct endpoint e = { .port = 7 }, again;
        const char *why = NULL;
        struct arena a;

        assert(text);
        if (n > 0)
                memcpy(text, data, n);
        text[n] = '\0';
        arena_init(&a, NULL, MEMORY_MAX);
        if (endpoint_parse(&a, text, &e, &why) == 0) {
                check(&e);
                assert(endpoint_parse(&a, e.url, &again, &why) == 0);
                same(&e, &again);
        } else {
                assert(why && why[0] && e.port == 7 && !e.url);
        }
        arena_finish(&a);
        host_and_port(text, n, 0); /* with its NUL bytes, too */
        host_and_port(text, n, 80);
        return 0;
}
