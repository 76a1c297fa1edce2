/* SPDX-License-Identifier: Apache-2.0 */
/* In memory and in Redis a value has a byte of version before it, so that a foreign one is told apart. */
#include "lookup.h"

#include <hiredis/hiredis.h>

#include "base.h"
#include "lru.h"
#include "metrics.h"

enum { VERSION = 1, SET_TIMEOUT_US = 1000000 };

static void count(struct lookup *l, enum metrics_recall how)
{
        l->from = how;
        metrics_recall(l->worker->metrics, l->of, how);
}

/* Copies a kept value into the arena without its version. */
static bool take(struct lookup *l, struct pm_str kept)
{
        char *copy = kept.n > 1 && kept.p[0] == VERSION ? arena_alloc(l->arena, kept.n - 1) : NULL;

        if (!copy)
                return false;
        l->value = (struct pm_str){ memcpy(copy, kept.p + 1, kept.n - 1), kept.n - 1 };
        l->state = LOOKUP_FOUND;
        return true;
}

static void on_landed(struct flight *f, struct pm_str value, bool failed)
{
        struct lookup *l = CONTAINER_OF(f, struct lookup, flight);

        l->alone = failed; /* it would fail for us too, one after another */
        if (value.p && take(l, value))
                count(l, RECALL_JOINED);
        worker_wake(l->worker, l->owner);
}

static void on_fetched(struct redis_call *call, enum redis_result result, const struct redisReply *reply)
{
        struct lookup *l = CONTAINER_OF(call, struct lookup, call);

        if (result == REDIS_ANSWERED) {
                struct pm_str kept = { reply->str, reply->type == REDIS_REPLY_STRING ? reply->len : 0 };
                bool good = take(l, kept);

                count(l, good ? RECALL_SHARED : RECALL_FOREIGN);
                if (good)
                        flight_end(l->worker->cache, &l->flight, kept, false);
        }
        worker_wake(l->worker, l->owner);
}

/* The leader looks into Redis first, if there is one. */
static enum lookup_state lead(struct lookup *l)
{
        l->redis = cache_redis(l->worker->cache);
        l->call.done = on_fetched;
        if (l->redis && redis_get(l->redis, &l->call, l->key.shared, l->redis_us) == 0)
                return l->state = LOOKUP_WAITS;
        count(l, RECALL_MISS);
        return l->state = LOOKUP_COMPUTE;
}

static enum lookup_state join_or_lead(struct lookup *l)
{
        l->flight.landed = on_landed;
        if (!l->alone && !l->flight.leads && !flight_join(l->worker->cache, &l->flight, &l->key))
                return l->state = LOOKUP_WAITS;
        return lead(l);
}

bool lookup_lead(struct lookup *l)
{
        if (!flight_join(l->worker->cache, &l->flight, &l->key)) {
                flight_end(l->worker->cache, &l->flight, (struct pm_str){ 0 }, false);
                return false;
        }
        l->redis = cache_redis(l->worker->cache);
        l->state = LOOKUP_COMPUTE;
        return true;
}

bool lookup_follows(const struct lookup *l, bool *ret_computes)
{
        struct flight *leader = l->state == LOOKUP_WAITS ? l->flight.leader : NULL;

        if (leader)
                *ret_computes = CONTAINER_OF(leader, struct lookup, flight)->state == LOOKUP_COMPUTE; /* keys of a kind are a lookup's or none */
        return leader != NULL;
}

/* In the worker's memory. */
static bool look_here(struct lookup *l)
{
        struct pm_str kept;

        if (!lru_get(cache_vectors(l->worker->cache), l->key.hash, l->key.local, cache_now_ms(), &kept, NULL) || !take(l, kept))
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
        for (struct flight *f = l->flight.first; f; f = f->next) {
                struct lookup *one = CONTAINER_OF(f, struct lookup, flight);

                worker_wake(one->worker, one->owner);
        }
        return l->state;
}

enum lookup_state lookup_state(struct lookup *l)
{
        if (l->state != LOOKUP_WAITS || l->call.ticket || l->flight.leader)
                return l->state;
        if (l->redis)
                return compute(l);
        return join_or_lead(l); /* the leader has left, or has failed */
}

void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        int64_t now_ms = cache_now_ms();
        char *kept = value.p ? arena_alloc(l->arena, value.n + 1) : NULL;
        struct pm_str whole = { kept, value.n + 1 };
        struct redis *redis = l->redis ? cache_redis(l->worker->cache) : NULL; /* the one that was asked may be gone by now */

        if (kept) {
                kept[0] = VERSION;
                memcpy(kept + 1, value.p, value.n);
                (void)lru_put(cache_vectors(l->worker->cache), l->key.hash, l->key.local, whole, now_ms + keep_ms, now_ms);
                cache_publish(l->worker->cache);
                if (redis)
                        (void)redis_set(redis, NULL, l->key.shared, whole, keep_ms, SET_TIMEOUT_US);
        }
        flight_end(l->worker->cache, &l->flight, whole, true);
}

void lookup_cancel(struct lookup *l)
{
        if (!l->worker)
                return;
        if (l->call.ticket)
                redis_cancel(l->redis, &l->call);
        flight_end(l->worker->cache, &l->flight, (struct pm_str){ 0 }, false);
        worker_unwake(l->worker, l->owner);
}
