/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cached value begins with a header, in memory and in Redis: a version byte, which rejects values of other formats; the expiry time (8
 * bytes, little-endian, milliseconds since 1970), with which a value from Redis can be cached in memory; and the first 8 bytes of the
 * digest of its key, which reject a value that was stored under another key.
 */
#include "lookup.h"

#include <hiredis/hiredis.h>

#include "base.h"
#include "lru.h"
#include "metrics.h"

enum { VERSION = 3, HEAD = 1 + 8 + 8, SET_TIMEOUT_US = 1000000 };

static void count(struct lookup *l, enum metrics_recall how)
{
        l->from = how;
        metrics_recall(l->loop->metrics, l->of, how);
}

static void put_head(char *p, int64_t ends_ms, uint64_t key)
{
        p[0] = VERSION;
        for (int i = 0; i < 8; i++)
                p[1 + i] = (char)((uint64_t)ends_ms >> 8 * i & 0xFF);
        memcpy(p + 9, &key, sizeof key);
}

/* Of at least HEAD bytes. */
static int64_t ends_of(const char *p)
{
        uint64_t n = 0;

        for (int i = 0; i < 8; i++)
                n |= (uint64_t)(unsigned char)p[1 + i] << 8 * i;
        return (int64_t)n;
}

/* Copies a kept value into the arena without its head, if it is good: `from`.  Else FOREIGN or STALE. */
static enum metrics_recall take(struct lookup *l, struct pm_str kept, enum metrics_recall from)
{
        size_t n = kept.n > HEAD ? kept.n - HEAD : 0;
        char *copy;

        if (!n || kept.p[0] != VERSION || memcmp(kept.p + 9, &l->key.hash, sizeof l->key.hash) != 0)
                return RECALL_FOREIGN;
        if (ends_of(kept.p) <= cache_now_ms())
                return RECALL_STALE;
        copy = arena_alloc(l->arena, n);
        if (!copy)
                return RECALL_FOREIGN;
        l->value = (struct pm_str){ memcpy(copy, kept.p + HEAD, n), n };
        l->state = LOOKUP_FOUND;
        return from;
}

static void keep_here(struct lookup *l, struct pm_str kept)
{
        (void)lru_put(cache_vectors(l->cache), l->key.hash, l->key.local, kept, ends_of(kept.p), cache_now_ms());
        cache_publish(l->cache);
}

static void on_landed(struct singleflight *f, struct pm_str value, bool failed)
{
        struct lookup *l = CONTAINER_OF(f, struct lookup, singleflight);

        l->alone = failed; /* it would fail for us too, one after another */
        if (value.p && take(l, value, RECALL_JOINED) == RECALL_JOINED)
                count(l, RECALL_JOINED);
        loop_wake(l->loop, l->owner);
}

static void on_fetched(struct redis_call *call, enum redis_result result, const struct redisReply *reply)
{
        struct lookup *l = CONTAINER_OF(call, struct lookup, call);

        if (result == REDIS_ANSWERED) {
                struct pm_str kept = { reply->str, reply->type == REDIS_REPLY_STRING ? reply->len : 0 };
                enum metrics_recall how = take(l, kept, RECALL_SHARED);

                count(l, how);
                if (how == RECALL_SHARED) {
                        keep_here(l, kept);
                        singleflight_end(l->cache, &l->singleflight, kept, false);
                }
        }
        loop_wake(l->loop, l->owner);
}

/* The leader looks into Redis first, if there is one. */
static enum lookup_state lead(struct lookup *l)
{
        l->redis = cache_redis(l->cache);
        l->call.done = on_fetched;
        if (l->redis && redis_get(l->redis, &l->call, l->key.shared, l->redis_us) == 0)
                return l->state = LOOKUP_WAITS;
        count(l, RECALL_MISS);
        return l->state = LOOKUP_COMPUTE;
}

static enum lookup_state join_or_lead(struct lookup *l)
{
        l->singleflight.on_result = on_landed;
        if (!l->alone && !l->singleflight.is_leader && !singleflight_join(l->cache, &l->singleflight, &l->key))
                return l->state = LOOKUP_WAITS;
        return lead(l);
}

bool lookup_lead(struct lookup *l)
{
        if (!singleflight_join(l->cache, &l->singleflight, &l->key)) {
                singleflight_end(l->cache, &l->singleflight, (struct pm_str){ 0 }, false);
                return false;
        }
        l->redis = cache_redis(l->cache);
        l->state = LOOKUP_COMPUTE;
        return true;
}

bool lookup_follows(const struct lookup *l, bool *ret_computes)
{
        struct singleflight *leader = l->state == LOOKUP_WAITS ? l->singleflight.leader : NULL;

        if (leader)
                *ret_computes = CONTAINER_OF(leader, struct lookup, singleflight)->state == LOOKUP_COMPUTE; /* keys of these kinds are used by lookups alone, so the leader is inside a lookup */
        return leader != NULL;
}

/* In the worker's memory. */
static bool look_here(struct lookup *l)
{
        struct pm_str kept;

        if (!lru_get(cache_vectors(l->cache), l->key.hash, l->key.local, cache_now_ms(), &kept, NULL) ||
            take(l, kept, RECALL_LOCAL) != RECALL_LOCAL)
                return false;
        count(l, RECALL_LOCAL);
        return true;
}

enum lookup_state lookup_begin(struct lookup *l)
{
        return look_here(l) ? l->state : join_or_lead(l);
}

/* Redis had nothing.  Those that wait may not want to wait for more than that. */
static enum lookup_state compute(struct lookup *l)
{
        count(l, RECALL_MISS);
        l->state = LOOKUP_COMPUTE;
        for (struct singleflight *f = l->singleflight.first; f; f = f->next) {
                struct lookup *one = CONTAINER_OF(f, struct lookup, singleflight);

                loop_wake(one->loop, one->owner);
        }
        return l->state;
}

enum lookup_state lookup_state(struct lookup *l)
{
        if (l->state != LOOKUP_WAITS || l->call.ticket || l->singleflight.leader)
                return l->state;
        if (l->redis)
                return compute(l);
        return join_or_lead(l); /* the leader has left, or has failed */
}

void lookup_shorten(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        struct redis *redis = cache_redis(l->cache);
        struct lru *here = cache_vectors(l->cache);
        int64_t now = cache_now_ms(), ends;
        struct pm_str kept;
        char *p;

        if (lru_get(here, l->key.hash, l->key.local, now, &kept, &ends) && ends <= now + keep_ms)
                return; /* somebody has said so before */
        p = keep_ms > 0 ? arena_alloc(l->arena, HEAD + value.n) : NULL;
        kept = (struct pm_str){ p, HEAD + value.n };
        if (p) {
                put_head(p, now + keep_ms, l->key.hash);
                memcpy(p + HEAD, value.p, value.n);
                keep_here(l, kept);
        } else {
                (void)lru_remove(here, l->key.hash, l->key.local);
                cache_publish(l->cache);
        }
        if (redis && p)
                (void)redis_set(redis, NULL, l->key.shared, kept, keep_ms, SET_TIMEOUT_US);
        else if (redis)
                (void)redis_command(redis, NULL, 1, 2, (const char *[]){ "DEL", l->key.shared.p }, (size_t[]){ 3, l->key.shared.n }, SET_TIMEOUT_US);
}

void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        char *kept = value.p ? arena_alloc(l->arena, HEAD + value.n) : NULL;
        struct pm_str whole = { kept, HEAD + value.n };
        struct redis *redis = l->redis ? cache_redis(l->cache) : NULL; /* the one that was asked may be gone by now */

        if (kept) {
                put_head(kept, cache_now_ms() + keep_ms, l->key.hash);
                memcpy(kept + HEAD, value.p, value.n);
                keep_here(l, whole);
                if (redis)
                        (void)redis_set(redis, NULL, l->key.shared, whole, keep_ms, SET_TIMEOUT_US);
        }
        singleflight_end(l->cache, &l->singleflight, whole, true);
}

void lookup_cancel(struct lookup *l)
{
        if (!l->loop)
                return;
        if (l->call.ticket)
                redis_cancel(l->redis, &l->call);
        singleflight_end(l->cache, &l->singleflight, (struct pm_str){ 0 }, false);
        loop_unwake(l->loop, l->owner);
}
