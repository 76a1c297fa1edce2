/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Redis client takes apart itself.  Addresses: an accepted one, written out, must be accepted again as the same.  A cluster's
 * redirections.  And its table of slots, as hiredis' reader hands it over, when the input begins with what a reply begins with.
 */
#include <hiredis/hiredis.h>

#include "redis_slots.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void address(const char *text)
{
        struct redis_address a = { .port = 7 }, b;
        char why[256] = "", out[ADDRESS_HOST_MAX + 160];
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

static int on_range(void *arg, unsigned first, unsigned last, const struct redis_address *to)
{
        unsigned *ranges = arg;

        assert(first <= last && last < REDIS_SLOTS && to->host[0] && to->port >= 1 && to->port <= 65535);
        return ++*ranges > 1000 ? -E2BIG : 0;
}

static const struct redis_address from = { .host = "node", .port = 7000 };

/* hiredis takes memory for as many elements as an array says; the client bounds that, and so does this. */
#if HIREDIS_MAJOR >= 1
typedef size_t elements_n;
#else
typedef int elements_n;
#endif
static redisReplyObjectFunctions theirs, makers;

static void *make_array(const redisReadTask *t, elements_n n)
{
        return n <= 20000 ? theirs.createArray(t, n) : NULL;
}

static void table(const char *p, size_t n)
{
        redisReader *r = redisReaderCreate();
        void *reply = NULL;
        unsigned ranges = 0;

        assert(r);
        theirs = makers = *r->fn;
        makers.createArray = make_array;
        r->fn = &makers;
        if (redisReaderFeed(r, p, n) == REDIS_OK && redisReaderGetReply(r, &reply) == REDIS_OK && reply) {
                int rc = redis_slots_read(reply, &from, on_range, &ranges);

                assert(rc == 0 || rc == -EINVAL || (rc == -E2BIG && ranges > 1000));
        }
        freeReplyObject(reply);
        redisReaderFree(r);
}

static void move(const char *p, size_t n)
{
        struct redis_address to = { .port = 7 };
        unsigned slot = REDIS_SLOTS;
        enum redis_move m = redis_move_read((struct pm_str){ p, n }, &from, &slot, &to);

        if (m == REDIS_MOVED || m == REDIS_ASK)
                assert(slot < REDIS_SLOTS && to.host[0] && to.port >= 1 && to.port <= 65535);
        else
                assert(slot == REDIS_SLOTS && to.port == 7);
        assert(redis_slot_of_key((struct pm_str){ p, n }) < REDIS_SLOTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(free_p) char *text = malloc(n + 1);

        assert(text);
        if (n > 0)
                memcpy(text, data, n);
        text[n] = 0;
        address(text);
        move(text, n);
        if (n > 0 && *text == '*')
                table(text, n);
        return 0;
}
