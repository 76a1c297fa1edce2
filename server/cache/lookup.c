/* SPDX-License-Identifier: Apache-2.0 */
/* A value as it is kept has a head (envelope.h), in memory and in the store, and on its way from one lookup to another. */
#include "lookup.h"

#include "base.h"
#include "cache.h"
#include "envelope.h"
#include "lru.h"

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

/* ---- from state to state ------------------------------------------------------------------------------------------------- */

static bool find_here(struct lookup *l)
{
        struct pm_str kept;

        if (!lru_get(cache_vectors(l->cache), l->key.hash, l->key.local, cache_now_ms(), &kept, NULL) ||
            take(l, kept, METRICS_RECALL_LOCAL) != METRICS_RECALL_LOCAL)
                return false;
        count(l, METRICS_RECALL_LOCAL);
        return true;
}

static void on_landed(struct singleflight *f, struct pm_str value, enum singleflight_result result)
{
        struct lookup *l = CONTAINER_OF(f, struct lookup, singleflight);

        l->alone = result != SINGLEFLIGHT_LEFT;
        if (result == SINGLEFLIGHT_LATE)
                l->state = LOOKUP_TIMED_OUT;
        if (value.p && take(l, value, METRICS_RECALL_JOINED) == METRICS_RECALL_JOINED)
                count(l, METRICS_RECALL_JOINED);
        loop_wake(l->loop, l->owner);
}

/* Those that wait may not want to wait for more than the store. */
static enum lookup_state compute(struct lookup *l)
{
        count(l, METRICS_RECALL_MISS);
        l->state = LOOKUP_COMPUTE;
        for (struct singleflight *f = l->singleflight.first; f; f = f->next)
                loop_wake(l->loop, CONTAINER_OF(f, struct lookup, singleflight)->owner);
        return l->state;
}

static enum lookup_state join_or_lead(struct lookup *l)
{
        l->singleflight.on_result = on_landed;
        if (!l->alone && singleflight_join(l->cache, &l->singleflight, &l->key, l->until_us) == SINGLEFLIGHT_WAITS)
                return l->state = LOOKUP_JOINED;
        if (cache_fetch(l->cache, &l->fetch, &l->key, l->arena, l->owner, l->store_us))
                return l->state = LOOKUP_FETCHING;
        return compute(l);
}

/* The store has answered, or has not in time. */
static enum lookup_state fetched(struct lookup *l)
{
        struct pm_str kept = l->fetch.value;
        enum metrics_recall how;

        if (!kept.p)
                return compute(l);
        how = take(l, kept, METRICS_RECALL_SHARED);
        count(l, how);
        if (how != METRICS_RECALL_SHARED)
                return compute(l);
        keep_here(l, kept);
        singleflight_end(l->cache, &l->singleflight, kept, SINGLEFLIGHT_DONE);
        return l->state;
}

enum lookup_state lookup_begin(struct lookup *l)
{
        return find_here(l) ? l->state : join_or_lead(l);
}

bool lookup_lead(struct lookup *l)
{
        l->state = LOOKUP_COMPUTE;
        if (singleflight_join(l->cache, &l->singleflight, &l->key, 0) == SINGLEFLIGHT_LEADS)
                return true;
        singleflight_leave(l->cache, &l->singleflight);
        return false;
}

enum lookup_state lookup_state(struct lookup *l)
{
        if (l->state == LOOKUP_FETCHING && !cache_fetching(&l->fetch))
                return fetched(l);
        if (l->state == LOOKUP_JOINED && !l->singleflight.leader)
                return join_or_lead(l); /* the leader has left, or has failed */
        return l->state;
}

/* Keys of these kinds are used by lookups alone, so the leader is inside a lookup. */
bool lookup_leader_computes(const struct lookup *l)
{
        struct singleflight *leader = l->singleflight.leader;

        return leader && CONTAINER_OF(leader, struct lookup, singleflight)->state == LOOKUP_COMPUTE;
}

/* ---- written back -------------------------------------------------------------------------------------------------------- */

/* p NULL: no memory. */
static struct pm_str keep(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        char *kept = arena_alloc(l->arena, ENVELOPE_SIZE + value.n);
        struct pm_str whole = { kept, ENVELOPE_SIZE + value.n };

        if (!kept)
                return whole;
        memcpy(envelope_put(kept, VERSION, cache_now_ms() + keep_ms, l->key.hash), value.p, value.n);
        keep_here(l, whole);
        cache_share(l->cache, &l->key, whole, keep_ms);
        return whole;
}

void lookup_done(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        struct pm_str kept = value.p ? keep(l, value, keep_ms) : (struct pm_str){ 0 };

        singleflight_end(l->cache, &l->singleflight, kept, kept.p ? SINGLEFLIGHT_DONE : SINGLEFLIGHT_FAILED);
}

void lookup_shorten(struct lookup *l, struct pm_str value, int64_t keep_ms)
{
        struct lru *here = cache_vectors(l->cache);
        int64_t now = cache_now_ms(), ends;
        struct pm_str kept;

        if (lru_get(here, l->key.hash, l->key.local, now, &kept, &ends) && ends <= now + keep_ms)
                return; /* somebody has said so before */
        if (keep_ms > 0 && keep(l, value, keep_ms).p)
                return;
        (void)lru_remove(here, l->key.hash, l->key.local);
        cache_publish(l->cache);
        cache_unshare(l->cache, &l->key);
}

void lookup_cancel(struct lookup *l)
{
        if (!l->loop)
                return;
        cache_fetch_cancel(&l->fetch);
        singleflight_leave(l->cache, &l->singleflight);
        loop_unwake(l->loop, l->owner);
}
