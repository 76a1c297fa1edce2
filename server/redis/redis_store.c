/* SPDX-License-Identifier: Apache-2.0 */
/* Redis as a store: its commands, and its replies as the store's.  A call waits in the slot of its command (redis.c), by its ticket. */
#include "redis_parts.h"

#include "base.h"

static struct redis *redis_of(struct store *s)
{
        return CONTAINER_OF(s, struct redis, store);
}

static bool store_ready(struct store *s)
{
        return redis_ready(redis_of(s));
}

static bool store_whole(struct store *s)
{
        return redis_whole(redis_of(s));
}

static int64_t store_rtt_us(struct store *s)
{
        return redis_rtt_us(redis_of(s));
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */
/* What was sent last is the first of those in use. */
static int wait_for(struct redis *r, struct store_call *c, int sent)
{
        if (sent == 0 && c) {
                assert(c->ticket == 0 && !r->used->call);
                r->used->store_call = c;
                c->ticket = r->used->ticket;
        }
        return sent;
}

static int store_command(struct store *s, struct store_call *c, int argc, const char *const *argv, const size_t *argvlen, int64_t timeout_us)
{
        return wait_for(redis_of(s), c, redis_command(redis_of(s), NULL, 1, argc, argv, argvlen, timeout_us));
}

static int store_get(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us)
{
        return wait_for(redis_of(s), c, redis_get(redis_of(s), NULL, key, timeout_us));
}

static int store_set(struct store *s, struct store_call *c, struct pm_str key, struct pm_str value, int64_t lives_ms, int64_t timeout_us)
{
        return wait_for(redis_of(s), c, redis_set(redis_of(s), NULL, key, value, lives_ms, timeout_us));
}

static int store_remove(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us)
{
        return store_command(s, c, 2, (const char *[]){ "DEL", key.p }, (size_t[]){ 3, key.n }, timeout_us);
}

static int store_push(struct store *s, struct pm_str key, struct pm_str item, int64_t keep, int64_t lives_ms, int64_t timeout_us)
{
        char last[24], lives[24];
        size_t n = (size_t)snprintf(last, sizeof last, "%" PRId64, keep - 1), m = (size_t)snprintf(lives, sizeof lives, "%" PRId64, lives_ms);

        (void)store_command(s, NULL, 3, (const char *[]){ "LPUSH", key.p, item.p }, (size_t[]){ 5, key.n, item.n }, timeout_us);
        (void)store_command(s, NULL, 4, (const char *[]){ "LTRIM", key.p, "0", last }, (size_t[]){ 5, key.n, 1, n }, timeout_us);
        return store_command(s, NULL, 3, (const char *[]){ "PEXPIRE", key.p, lives }, (size_t[]){ 7, key.n, m }, timeout_us);
}

static int store_list(struct store *s, struct store_call *c, struct pm_str key, int64_t max, int64_t timeout_us)
{
        char last[24];
        size_t n = (size_t)snprintf(last, sizeof last, "%" PRId64, max - 1);

        return store_command(s, c, 4, (const char *[]){ "LRANGE", key.p, "0", last }, (size_t[]){ 6, key.n, 1, n }, timeout_us);
}

static void store_cancel(struct store *s, struct store_call *c)
{
        redis_drop(redis_of(s), TAKE(c->ticket));
}

/* ---- replies ------------------------------------------------------------------------------------------------------------ */
/* Without memory there are none. */
static struct pm_str *items_of(const redisReply *reply, size_t *ret_n)
{
        struct pm_str *items = calloc(MAX(reply->elements, (size_t)1), sizeof *items);
        size_t n = 0;

        for (size_t i = 0; items && i < reply->elements; i++)
                if (reply->element[i]->type == REDIS_REPLY_STRING)
                        items[n++] = (struct pm_str){ reply->element[i]->str, reply->element[i]->len };
        *ret_n = n;
        return items;
}

static void store_done(struct store_call *c, enum redis_result result, const redisReply *reply)
{
        static const enum store_result results[] = {
                [REDIS_ANSWERED] = STORE_OK, [REDIS_NIL] = STORE_NONE, [REDIS_SAID_ERROR] = STORE_ERROR,
                [REDIS_LATE] = STORE_LATE, [REDIS_LOST] = STORE_LOST,
        };
        CLEANUP(free_p) struct pm_str *items = NULL;
        struct store_reply r = { .n_items = 0 };

        c->ticket = 0;
        if (reply && reply->type == REDIS_REPLY_ARRAY)
                r.items = items = items_of(reply, &r.n_items);
        else if (reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR))
                r.value = (struct pm_str){ reply->str, reply->len };
        r.foreign = result == REDIS_SAID_ERROR && r.value.n >= 9 && memcmp(r.value.p, "WRONGTYPE", 9) == 0;
        c->done(c, results[result], &r);
}

/* ---- all keys ----------------------------------------------------------------------------------------------------------- */
/* As a pattern of SCAN in which every character stands for itself. */
static int store_scan(struct store *s, struct store_scan *scan, struct pm_str prefix, int64_t timeout_us)
{
        CLEANUP(free_p) char *pattern = malloc(2 * prefix.n + 1);
        size_t n = 0;

        if (!pattern)
                return -ENOMEM;
        for (size_t i = 0; i < prefix.n; i++) {
                if (prefix.p[i] && strchr("*?[]\\^", prefix.p[i]))
                        pattern[n++] = '\\';
                pattern[n++] = prefix.p[i];
        }
        pattern[n++] = '*';
        return redis_scan(redis_of(s), scan, (struct pm_str){ pattern, n }, timeout_us);
}

static void store_scan_cancel(struct store *s, struct store_scan *scan)
{
        (void)s;
        redis_scan_cancel(scan);
}

static void store_destroy(struct store *s)
{
        redis_destroy(redis_of(s));
}

static const struct store_ops redis_store_ops = {
        .ready = store_ready, .whole = store_whole, .rtt_us = store_rtt_us, .get = store_get, .set = store_set, .remove = store_remove, .push = store_push, .list = store_list,
        .cancel = store_cancel, .scan = store_scan, .scan_cancel = store_scan_cancel, .destroy = store_destroy,
};

struct store *redis_store(struct redis *r)
{
        if (!r)
                return NULL;
        r->store.ops = &redis_store_ops;
        r->store_done = store_done;
        return &r->store;
}
