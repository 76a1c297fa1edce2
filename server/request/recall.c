/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found is believed only as far as it can be checked: a decision names experts of the route that this tenant may use and that
 * are available now, a pin's expert must still have room for the conversation.  Anything else is counted and computed anew.
 *
 * A decision is kept if it would come out the same again: all candidates were there, no router failed on the way, and every router that
 * was asked says what it reads.
 */
#include "recall.h"

#include <event2/buffer.h>

#include "answers.h"
#include "base.h"
#include "decision_codec.h"
#include "edits.h"
#include "js.h"
#include "lru.h"
#include "request_parts.h"
#include "settings.h"
#include "shared_cache.h"
#include "stages.h"
#include "tenant.h"
#include "text.h"

enum {
        JITTER = 10             /* a decision ends up to a tenth of its time earlier */
};

static void move(struct recall *k, enum recall_at to)
{
        static const unsigned char from[] = {
                [RECALL_AT_MEMORY] = 1 << RECALL_AT_START, [RECALL_AT_STORE] = 1 << RECALL_AT_MEMORY,
                [RECALL_AT_REPLY] = 1 << RECALL_AT_MEMORY | 1 << RECALL_AT_STORE, [RECALL_AT_JOIN] = 1 << RECALL_AT_REPLY | 1 << RECALL_AT_WAIT,
                [RECALL_AT_WAIT] = 1 << RECALL_AT_JOIN, [RECALL_AT_END] = 1 << RECALL_AT_MEMORY | 1 << RECALL_AT_JOIN | 1 << RECALL_AT_WAIT,
        };

        assert(from[to] & 1 << k->at);
        k->at = to;
}

/* ---- what was found ------------------------------------------------------------------------------------------------------ */

/* Names into what they name.  The texts stay where k has them.  False: it names what this configuration does not have. */
static bool look_up(struct request *r, const struct cached_decision *k, struct decision *ret)
{
        struct decision d = { .expert = generation_expert(r->generation, k->expert), .category = k->category.p, .reason = k->reason.p,
                              .extra = k->extra.p, .confidence = k->confidence, .unsure = k->unsure, .only = k->only };
        const char *why;

        if (!d.expert || !route_may_use(r->route, r->tenant, r->query.api, d.expert))
                return false;
        if (k->router.p && !(d.router = generation_router(r->generation, k->router)))
                return false;
        if (k->category.n > DECISION_WORDS_MAX || k->reason.n > DECISION_WORDS_MAX || (k->extra.p && edits_extra_check(k->extra, NULL, &why) < 0))
                return false;
        if (!js_utf8(k->category) || !js_utf8(k->reason)) /* they go out in JSON */
                return false;
        d.fallbacks = arena_alloc(&r->arena, (k->n_fallbacks + 1) * sizeof(struct expert *));
        if (!d.fallbacks)
                return false;
        for (size_t i = 0; i < k->n_fallbacks; i++) {
                struct expert *e = generation_expert(r->generation, k->fallbacks[i]);

                if (!e || !route_may_use(r->route, r->tenant, r->query.api, e))
                        return false;
                d.fallbacks[d.n_fallbacks++] = e;
        }
        *ret = d;
        return true;
}

/* The value must be in the arena, or copied there first: the decision's texts stay in it. */
static enum metrics_recall understand(struct request *r, const struct cache_key *key, struct pm_str value, int64_t now_ms, struct cached_decision *k,
                                      struct decision *ret)
{
        if (decision_decode(value, k) < 0 || k->key != key->hash)
                return METRICS_RECALL_FOREIGN;
        if (k->ends_ms <= now_ms)
                return METRICS_RECALL_STALE;
        return look_up(r, k, ret) ? METRICS_RECALL_LOCAL : METRICS_RECALL_FOREIGN;
}

static bool copied(struct request *r, struct pm_str *value)
{
        char *copy = arena_alloc(&r->arena, MAX(value->n, (size_t)1));

        if (!copy)
                return false;
        *value = (struct pm_str){ memcpy(copy, value->p, value->n), value->n };
        return true;
}

static void count(struct request *r, enum metrics_cache which, enum metrics_recall how)
{
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, lookups[which][how]));
}

/* A decision for this question.  True: r->decision is it. */
static bool take_decision(struct request *r, struct pm_str value, enum metrics_recall from)
{
        int64_t now_ms = cache_now_ms();
        struct decision d;
        struct cached_decision kept;
        enum metrics_recall how = understand(r, &r->recall.decision, value, now_ms, &kept, &d);

        if (how == METRICS_RECALL_LOCAL && (!expert_available(d.expert, now_us()) || !query_fits(&r->query, d.expert->context, &r->least_tokens)))
                how = METRICS_RECALL_STALE; /* the routers say what is best without it; that is not kept */
        if (how != METRICS_RECALL_LOCAL) {
                count(r, METRICS_CACHE_DECISIONS, how);
                r->recall.passed_over = r->recall.passed_over || from == METRICS_RECALL_LOCAL;
                return false;
        }
        count(r, METRICS_CACHE_DECISIONS, from);
        d.how = from == METRICS_RECALL_SHARED ? DECISION_CACHED_SHARED : DECISION_CACHED_LOCAL;
        r->decision = d;
        if (from == METRICS_RECALL_SHARED && r->route->cache.levels != CACHE_LEVELS_OFF) {
                (void)lru_put(cache_decisions(r->worker->cache), r->recall.decision.hash, r->recall.decision.local, value, kept.ends_ms, now_ms);
                cache_publish(r->worker->cache);
        }
        return true;
}

/* The expert that this conversation stays with.  True: r->decision is it. */
static bool take_pin(struct request *r, struct pm_str value, enum metrics_recall from)
{
        struct recall *k = &r->recall;
        struct expert **candidates;
        struct decision d;
        struct cached_decision kept;
        enum metrics_recall how = understand(r, &k->pin, value, cache_now_ms(), &kept, &d);
        bool all;
        size_t n;

        if (how == METRICS_RECALL_LOCAL && !d.only && (!expert_available(d.expert, now_us()) || !query_fits(&r->query, d.expert->context, &r->least_tokens)))
                how = METRICS_RECALL_STALE;
        if (how == METRICS_RECALL_LOCAL && route_candidates(r->route, r->tenant, &r->query, &r->arena, &candidates, &n, &all) < 0)
                how = METRICS_RECALL_STALE;
        if (how != METRICS_RECALL_LOCAL) {
                count(r, METRICS_CACHE_PINS, how);
                k->pin_is = RECALL_PIN_MOVED;
                shared_cache_remove(SHARED_CACHE_PINS, k->pin.hash, k->pin.local);
                return false;
        }
        count(r, METRICS_CACHE_PINS, from);
        d.how = DECISION_PINNED;
        d.reason = arena_printf(&r->arena, "the conversation is pinned to %s by %s", d.expert->name, k->pinned_by);
        d.n_fallbacks = 0;
        if (!d.only) /* what was said before is in each of its requests */
                route_complete_fallbacks(&d, r->route, candidates, n, &r->arena);
        r->decision = d;
        k->pin_ends_ms = kept.ends_ms;
        return true;
}

/* ---- the store ----------------------------------------------------------------------------------------------------------- */

static void fetch(struct request *r, enum recall_what what, const struct cache_key *key, int64_t limit_us)
{
        (void)cache_fetch(r->worker->cache, &r->recall.fetches[what], key, &r->arena, &r->wake, limit_us); /* what cannot be asked is not there */
}

static bool fetching(const struct recall *k)
{
        for (int i = 0; k->fetches && i < FETCHES; i++)
                if (cache_fetching(&k->fetches[i]))
                        return true;
        return false;
}

/* Asks for all that may be there, at once.  True: something is under way. */
static bool start_fetch(struct request *r)
{
        struct recall *k = &r->recall;
        struct cache *c = r->worker->cache;
        int64_t now = now_us(), limit = MIN(r->generation->cache->redis.timeout * 1000, k->deadline_us - now);

        if (!cache_has_store(c) || limit <= 0 || !(k->fetches = arena_alloc(&r->arena, FETCHES * sizeof *k->fetches)))
                return false;
        memset(k->fetches, 0, FETCHES * sizeof *k->fetches);
        k->fetched_us = now;
        if (k->answer.local.p)
                fetch(r, FETCH_ANSWER, &k->answer, limit);
        if (k->pin.local.p && k->pin_is != RECALL_PIN_NEW)
                fetch(r, FETCH_PIN, &k->pin, limit);
        if (k->decision.local.p && cache_shared_pays(c, r->route))
                fetch(r, FETCH_DECISION, &k->decision, limit);
        return fetching(k);
}

/* Keys of ours that have something else than a text. */
static void count_foreign(struct request *r)
{
        static const enum metrics_cache of[FETCHES] = { [FETCH_DECISION] = METRICS_CACHE_DECISIONS, [FETCH_PIN] = METRICS_CACHE_PINS, [FETCH_ANSWER] = METRICS_CACHE_ANSWERS };

        for (int i = 0; r->recall.fetches && i < FETCHES; i++)
                if (r->recall.fetches[i].foreign)
                        count(r, of[i], METRICS_RECALL_FOREIGN);
}

static struct pm_str *fetched(struct recall *k, enum recall_what what)
{
        return k->fetches && k->fetches[what].value.p ? &k->fetches[what].value : NULL;
}

/* ---- waiting for another's computation ----------------------------------------------------------------------------------- */

static void on_landed(struct singleflight *f, struct pm_str value, enum singleflight_result result)
{
        struct recall *k = CONTAINER_OF(f, struct recall, singleflight);
        struct request *r = CONTAINER_OF(k, struct request, recall);

        move(k, result == SINGLEFLIGHT_LEFT ? RECALL_AT_JOIN : RECALL_AT_END);
        if (value.p && copied(r, &value))
                k->given = value;
        loop_wake(&r->worker->loop, &r->wake);
}

/* True: somebody is computing it, and we wait. */
static bool wait_for_other(struct request *r)
{
        struct recall *k = &r->recall;

        k->singleflight.on_result = on_landed;
        if (singleflight_join(r->worker->cache, &k->singleflight, &k->decision, k->deadline_us) != SINGLEFLIGHT_WAITS)
                return false;
        move(k, RECALL_AT_WAIT);
        return true;
}

/* ---- the step ------------------------------------------------------------------------------------------------------------ */

static enum next begin(struct request *r)
{
        const struct route_cache *rc = &r->route->cache;
        struct pm_str wish = h1_header(r->head, "x-pointsman-cache");
        struct recall *k = &r->recall;

        move(k, RECALL_AT_MEMORY);
        k->deadline_us = now_us() + r->route->deadline_ms * 1000;
        k->off = wish.n == 3 && strncasecmp(wish.p, "off", 3) == 0;
        k->refresh = wish.n == 7 && strncasecmp(wish.p, "refresh", 7) == 0;
        if (wish.n && !k->off && !k->refresh)
                return reply_error(r, 400, "x-pointsman-cache", NULL, "x-pointsman-cache is '%.*s', where 'off' or 'refresh' would be right",
                                   (int)MIN(wish.n, 40), wish.p);
        if (k->off)
                return GO;
        if (rc->answers_ms && r->kind->forwards)
                answers_key(r);
        if (rc->pin_ms && r->wire->conversation != WIRE_NO_CONVERSATION)
                (void)recall_pin_key(r); /* a conversation without a user's words has none */
        if (rc->n_routers && rc->levels != CACHE_LEVELS_OFF)
                (void)recall_decision_key(r);
        return GO;
}

/* The store has not been asked, and can be. */
static bool can_ask(const struct request *r)
{
        return r->recall.at == RECALL_AT_MEMORY && cache_store_ready(r->worker->cache);
}

/* In memory.  True: r->decision is it. */
static bool recall_local(struct request *r)
{
        struct recall *k = &r->recall;
        int64_t now_ms = cache_now_ms();
        struct pm_str value;

        if (k->answer.local.p && can_ask(r))
                return false; /* the answer may be there, and comes before all */
        if (k->pin.local.p && k->pin_is == RECALL_PIN_SOUGHT) {
                if (shared_cache_get(SHARED_CACHE_PINS, k->pin.hash, k->pin.local, now_ms, &r->arena, &value) && take_pin(r, value, METRICS_RECALL_LOCAL))
                        return true;
                if (can_ask(r))
                        return false; /* the pin may be there, and comes before a decision */
        }
        return k->decision.local.p && !k->passed_over &&
               lru_get(cache_decisions(r->worker->cache), k->decision.hash, k->decision.local, now_ms, &value, NULL) &&
               copied(r, &value) && take_decision(r, value, METRICS_RECALL_LOCAL);
}

static bool recall_shared(struct request *r)
{
        struct recall *k = &r->recall;
        struct pm_str *pin = fetched(k, FETCH_PIN), *decision = fetched(k, FETCH_DECISION);

        if (k->fetched_us) {
                metrics_time(r->worker->loop.metrics, METRICS_AT(plain, shared), now_us() - k->fetched_us);
                k->fetched_us = 0;
        }
        if (pin && take_pin(r, *pin, METRICS_RECALL_SHARED)) {
                shared_cache_put(SHARED_CACHE_PINS, k->pin.hash, k->pin.local, *pin, k->pin_ends_ms, cache_now_ms());
                return true;
        }
        if (recall_local(r)) /* what was left for the pin's sake */
                return true;
        return decision && take_decision(r, *decision, METRICS_RECALL_SHARED);
}

static enum next recall(struct request *r)
{
        struct recall *k = &r->recall;

        if (!r->route)
                return GO; /* an expert was named */
        if (k->at == RECALL_AT_START) {
                if (r->wire->ids) {
                        switch (follow_find(r)) {
                        case FOLLOW_WAITS:
                                return WAIT;
                        case FOLLOW_FOUND:
                        case FOLLOW_REFUSED:
                                return GO;
                        case FOLLOW_NOTHING:
                                break;
                        }
                }
                (void)begin(r);
                if (r->response_done || k->off || k->refresh || answers_recall(r, NULL) || recall_local(r))
                        return GO;
                move(k, start_fetch(r) ? RECALL_AT_STORE : RECALL_AT_REPLY);
        }
        if (k->at == RECALL_AT_STORE) {
                if (fetching(k))
                        return WAIT;
                move(k, RECALL_AT_REPLY);
        }
        if (k->at == RECALL_AT_REPLY) {
                move(k, RECALL_AT_JOIN);
                count_foreign(r);
                if (answers_recall(r, fetched(k, FETCH_ANSWER)) || recall_shared(r))
                        return GO;
        }
        if (k->at == RECALL_AT_WAIT)
                return WAIT;
        if (k->given.p && take_decision(r, k->given, METRICS_RECALL_JOINED))
                return GO;
        if (k->at == RECALL_AT_END || !k->decision.local.p)
                return GO;
        return wait_for_other(r) ? WAIT : GO;
}

/* What was looked for and has to be done after all. */
static void count_misses(struct request *r)
{
        const struct recall *k = &r->recall;

        if (k->refresh || r->replayed)
                return;
        if (k->answer.local.p)
                count(r, METRICS_CACHE_ANSWERS, METRICS_RECALL_MISS);
        if (k->pin.local.p && k->pin_is != RECALL_PIN_NEW && r->decision.how != DECISION_PINNED)
                count(r, METRICS_CACHE_PINS, METRICS_RECALL_MISS);
        if (k->decision.local.p && !r->decision.expert)
                count(r, METRICS_CACHE_DECISIONS, METRICS_RECALL_MISS);
}

enum next recall_step(struct request *r)
{
        struct recall *k = &r->recall;
        enum next next;

        if (UNLIKELY(r->generation->n_stages > 0) && (stages_request(r) == WAIT || r->response_done))
                return r->response_done ? GO : WAIT;
        next = recall(r);
        if (next == GO) {
                count_misses(r);
                if (k->at != RECALL_AT_START && k->at != RECALL_AT_END)
                        move(k, RECALL_AT_END);
        }
        return next;
}

/* ---- what is kept -------------------------------------------------------------------------------------------------------- */

/* p NULL: no memory. */
static struct pm_str kept_bytes(struct request *r, const struct cached_decision *k)
{
        size_t n = decision_encoded_size(k);
        unsigned char *out = arena_alloc(&r->arena, n);

        if (!out)
                return (struct pm_str){ 0 };
        decision_encode(k, out);
        return (struct pm_str){ (const char *)out, n };
}

static struct cached_decision kept_of(const struct decision *d, const struct cache_key *key, int64_t ends_ms)
{
        struct cached_decision k = { .ends_ms = ends_ms, .confidence = d->confidence, .unsure = d->unsure, .only = d->only, .key = key->hash, .expert = str_of(d->expert->name),
                          .router = str_of(d->router ? d->router->name : NULL), .category = str_of(d->category), .reason = str_of(d->reason),
                          .extra = str_of(d->extra), .n_fallbacks = MIN(d->n_fallbacks, (size_t)DECISION_FALLBACKS_MAX) };

        for (size_t i = 0; i < k.n_fallbacks; i++)
                k.fallbacks[i] = str_of(d->fallbacks[i]->name);
        return k;
}

void recall_decided(struct request *r, const struct routing *x)
{
        const struct route_cache *rc = &r->route->cache;
        const struct decision *d = &r->decision;
        struct recall *k = &r->recall;
        struct cache *c = r->worker->cache;
        int64_t now_ms = cache_now_ms();
        struct cached_decision kept;

        if (d->how == DECISION_COMPUTED)
                cache_computed(c, r->route, now_us() - r->step_started_us);
        if (d->how == DECISION_COMPUTED && x->keepable && k->decision.local.p) {
                k->kept_ends_ms = now_ms + rc->time_ms - (int64_t)(k->decision.hash % (uint64_t)(rc->time_ms / JITTER + 1));
                kept = kept_of(d, &k->decision, k->kept_ends_ms);
                k->kept = kept_bytes(r, &kept);
        }
        if (k->kept.p) {
                (void)lru_put(cache_decisions(c), k->decision.hash, k->decision.local, k->kept, k->kept_ends_ms, now_ms);
                cache_publish(c);
        }
        singleflight_end(c, &k->singleflight, k->kept, k->kept.p ? SINGLEFLIGHT_DONE : SINGLEFLIGHT_FAILED);
        if (k->kept.p && !cache_shared_pays(c, r->route))
                k->kept = (struct pm_str){ 0 };
}

/* Written anew when a quarter of its time has gone: a busy conversation does not write with each turn. */
static void pin(struct request *r)
{
        const struct expert *e = r->attempt.expert;
        struct recall *k = &r->recall;
        struct decision d = r->decision;
        int64_t now_ms = cache_now_ms(), lives = r->route->cache.pin_ms;
        struct pm_str value;
        struct cached_decision kept;

        if (d.how == DECISION_PINNED && e == d.expert && k->pin_ends_ms - now_ms > lives - lives / 4)
                return;
        if (e != d.expert)
                d.extra = NULL; /* it was meant for the other */
        d.expert = r->attempt.expert;
        d.n_fallbacks = 0;
        d.reason = NULL;
        d.unsure = false;
        kept = kept_of(&d, &k->pin, now_ms + lives);
        value = kept_bytes(r, &kept);
        if (!value.p)
                return;
        shared_cache_put(SHARED_CACHE_PINS, k->pin.hash, k->pin.local, value, kept.ends_ms, now_ms);
        cache_share(r->worker->cache, &k->pin, value, lives);
}

/* A default or an unsure decision says nothing about where a conversation belongs, and who decided provisionally will say better: the first
 * sure decision is the one that counts. */
void recall_begun(struct request *r)
{
        const struct decision *d = &r->decision;
        const struct transfer *t = r->attempt.transfer;

        if (t && r->wire->ids && !r->query.stream && evbuffer_get_length(t->in))
                follow_answer(r, (struct pm_str){ (const char *)evbuffer_pullup(t->in, -1), evbuffer_get_length(t->in) }, false);
        if (r->recall.pin.local.p && r->status == 200 && d->how != DECISION_DEFAULT && !d->provisional && !d->unsure)
                pin(r);
}

void recall_settle(struct request *r)
{
        struct recall *k = &r->recall;

        if (!r->route || k->at == RECALL_AT_START)
                return;
        if (k->kept.p)
                cache_share(r->worker->cache, &k->decision, k->kept, MAX(k->kept_ends_ms - cache_now_ms(), 1));
        answers_settle(r);
}

void recall_finish(struct request *r)
{
        struct recall *k = &r->recall;

        if (k->at == RECALL_AT_START)
                return;
        for (int i = 0; k->fetches && i < FETCHES; i++)
                cache_fetch_cancel(&k->fetches[i]);
        singleflight_leave(r->worker->cache, &k->singleflight);
        *k = (struct recall){ 0 };
}
