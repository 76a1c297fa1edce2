/* SPDX-License-Identifier: Apache-2.0 */
/* What the Redis client takes apart itself: addresses.  An accepted one, written out, must be accepted again as the same. */
#include "redis_address.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void address(const char *text)
{
        struct redis_address a = { .port = 7 }, b;
        char why[256] = "", out[REDIS_HOST_MAX + 160];
        size_t n = 0;

        if (redis_address_parse(text, REDIS_PORT, &a, why, sizeof why) < 0) {
                assert(why[0] && a.port == 7 && !a.host[0]);
                return;
        }
        assert(!a.host[0] == !!a.path[0] && (a.path[0] || (a.port >= 1 && a.port <= 65535)));
        if (a.host[0])
                n = (size_t)snprintf(out, sizeof out, "redis://"); /* a host may be called "unix" */
        (void)redis_address_text(&a, out + n, sizeof out - n);
        assert(redis_address_parse(out, 1, &b, why, sizeof why) == 0 && redis_address_same(&a, &b));
        if (a.host[0])
                assert(redis_address_set(&b, (struct pm_str){ a.host, strlen(a.host) }, a.port) == 0 && redis_address_same(&a, &b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(free_p) char *text = malloc(n + 1);

        assert(text);
        if (n > 0)
                memcpy(text, data, n);
        text[n] = 0;
        address(text);
        return 0;
}
