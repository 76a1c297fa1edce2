/* SPDX-License-Identifier: Apache-2.0 */
/* A value that may be kept: looked for in memory, then in Redis, then computed by one and waited for by others. */
#include "lookup.h"

#include <hiredis/hiredis.h>

#include "base.h"
#include "cache.h"
#include "cache_store.h"
#include "envelope.h"
#include "lru.h"
#include "metrics.h"

enum { VERSION = 3 };

static void count(struct lookup *l, enum metrics_recall how)
{
        l->from = how;
        metrics_count(l->loop->metrics, METRICS_AT(plain, lookups[l->of][how]));
}

/* Copies a kept value into the arena without its head, if it is good: `from`.  Else FOREIGN or STALE. */
static enum metrics_recall take(struct lookup *l, struct pm_str kept, enum metrics_recall from)
{
        struct pm_str value = envelope_value(kept, VERSION, l->key.hash);
        char *copy;

        if (!value.p)
                return METRICS_RECALL_FOREIGN;
        if (envelope_ends(kept.p) <= cache_now_ms())
                return METRICS_RECALL_STALE;
        copy = arena_alloc(l->arena, value.n);
        if (!copy)
                return METRICS_RECALL_FOREIGN;
        l->value = (struct pm_str){ memcpy(copy, value.p, value.n), value.n };
        l->state = LOOKUP_FOUND;
        return from;
}

static void keep_here(struct lookup *l, struct pm_str kept)
{
        (void)lru_put(cache_vectors(l->cache), l->key.hash, l->key.local, kept, envelope_ends(kept.p), cache_now_ms());
        cache_publish(l->cache);
}

static void on_landed(struct singleflight *f, struct pm_str value, bool failed)
{
        struct lookup *l = CONTAINER_OF(f, struct lookup, singleflight);

        l->alone = failed; /* it would fail for us too, one after another */
        if (value.p && take(l, value, METRICS_RECALL_JOINED) == METRICS_RECALL_JOINED)
                count(l, METRICS_RECALL_JOINED);
        loop_wake(l->loop, l->owner);
}

static void on_fetched(struct redis_call *call, enum redis_result result, const struct redisReply *reply)
{
        struct lookup *l = CONTAINER_OF(call, struct lookup, call);

        if (result == REDIS_ANSWERED) {
                struct pm_str kept = { reply->str, reply->type == REDIS_REPLY_STRING ? reply->len : 0 };
                enum metrics_recall how = take(l, kept, METRICS_RECALL_SHARED);

                count(l, how);
                if (how == METRICS_RECALL_SHARED) {
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
        count(l, METRICS_RECALL_MISS);
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
            take(l, kept, METRICS_RECALL_LOCAL) != METRICS_RECALL_LOCAL)
                return false;
        count(l, METRICS_RECALL_LOCAL);
        return true;
}

enum lookup_state lookup_begin(struct lookup *l)
{
        return look_here(l) ? l->state : join_or_lead(l);
}

/* Redis had nothing.  Those that wait may not want to wait for more than that. */
static enum lookup_state compute(struct lookup *l)
{
        count(l, METRICS_RECALL_MISS);
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
        p = keep_ms > 0 ? arena_alloc(l->arena, ENVELOPE_SIZE + value.n) : NULL;
        kept = (struct pm_str){ p, ENVELOPE_SIZE + value.n };
        if (p) {
                memcpy(envelope_put(p, VERSION, now + keep_ms, l->key.hash), value.p, value.n);
                keep_here(l, kept);
        } else {
                (void)lru_remove(here, l->key.hash, l->key.local);
                cache_publish(l->cache);
        }
        if (p)
                cache_share(l->cache, &l->key, kept, keep_ms);
        else if (redis)
                (void)redis_command(redis, NULL, 1, 2, (const char *[]){ "DEL", l->key.shared.p }, (size_t[]){ 3, l->key.shared.n }, CACHE_SHARE_US);
}

void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        char *kept = value.p ? arena_alloc(l->arena, ENVELOPE_SIZE + value.n) : NULL;
        struct pm_str whole = { kept, ENVELOPE_SIZE + value.n };

        if (kept) {
                memcpy(envelope_put(kept, VERSION, cache_now_ms() + keep_ms, l->key.hash), value.p, value.n);
                keep_here(l, whole);
                if (l->redis) /* the one that was asked may be gone by now */
                        cache_share(l->cache, &l->key, whole, keep_ms);
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
