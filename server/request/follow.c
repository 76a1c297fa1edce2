/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An unknown id is routed like any other request: the expert may know it, and answers with an error if not.  If the id's expert is gone or
 * its breaker is open, no other expert is asked: it could only fail.  A plain item carries all of its content, so its expert is only
 * preferred.
 */
#include "follow.h"

#include <event2/buffer.h>

#include "base.h"
#include "cache.h"
#include "cache_store.h"
#include "decision_codec.h"
#include "js.h"
#include "request_parts.h"
#include "settings.h"
#include "shared_cache.h"
#include "tenant.h"

enum { ID_MAX = 512 };

static const struct {
        const char *name, *param, *code;
        bool alone; /* no other expert can go on from it */
} kinds[FOLLOWS] = {
        [FOLLOW_RESPONSE] = { "response", "previous_response_id", "previous_response_not_found", true },
        [FOLLOW_CONVERSATION] = { "conversation", "conversation", "conversation_not_found", true },
        [FOLLOW_SEALED] = { "encrypted reasoning", "input", "invalid_encrypted_content", true },
        [FOLLOW_ITEM] = { "item", "input", "item_not_found", false },
};

/* An id is told apart from encrypted words, and from nothing else: the same text is the same thing. */
static bool key_of(struct request *r, struct pm_str text, bool sealed, struct cache_key *ret)
{
        struct cache *c = r->worker->cache;

        cache_sum_begin(c);
        cache_sum_text(c, (struct pm_str){ sealed ? "sealed" : "id", sealed ? 6 : 2 });
        cache_sum_text(c, text);
        return cache_sum_key_named(c, r->generation, CACHE_KEY_STATE, r->tenant ? r->tenant->name : "*", "responses", &r->arena, ret);
}

/* ---- whom to follow ------------------------------------------------------------------------------------------------------ */

static void name_it(struct request *r, int which, struct pm_str place)
{
        struct pm_str text = js_type(place) == JS_STRING ? js_text(place, &r->arena) : (struct pm_str){ 0 };

        if (text.n && (which == FOLLOW_SEALED || text.n <= ID_MAX))
                (void)key_of(r, text, which == FOLLOW_SEALED, &r->follow.keys[which]);
}

static void name_all(struct request *r)
{
        const struct query *q = &r->query;

        name_it(r, FOLLOW_RESPONSE, q->previous_response_id);
        name_it(r, FOLLOW_CONVERSATION, query_conversation(q));
        name_it(r, FOLLOW_SEALED, q->sealed);
        name_it(r, FOLLOW_ITEM, q->item_id);
}

/* FOUND with r->decision, REFUSED with the answer, or NOTHING: this value says nothing. */
static enum follow_result take(struct request *r, int which, struct pm_str value)
{
        struct decision d = { .how = DECISION_PINNED };
        struct expert **candidates;
        struct cached_decision k;
        bool all;
        size_t n;

        if (decision_decode(value, &k) < 0 || k.key != r->follow.keys[which].hash || k.ends_ms <= cache_now_ms())
                return FOLLOW_NOTHING;
        d.expert = generation_expert(r->generation, k.expert);
        if (!d.expert || !route_may_use(r->route, r->tenant, r->query.api, d.expert)) {
                if (!kinds[which].alone)
                        return FOLLOW_NOTHING;
                (void)reply_error(r, 400, kinds[which].param, kinds[which].code,
                                  "this %s was given by an expert that route '%s' does not ask any more, and no other one knows it", kinds[which].name,
                                  r->route->name);
                return FOLLOW_REFUSED;
        }
        d.reason = arena_printf(&r->arena, "it goes on from %s%s that %s gave", strchr("aeiou", *kinds[which].name) ? "an " : "a ",
                                kinds[which].name, d.expert->name);
        d.only = k.only;
        if (!kinds[which].alone && !d.only) {
                if (!expert_available(d.expert, now_us()) ||
                    route_candidates(r->route, r->tenant, &r->query, &r->arena, &candidates, &n, &all) < 0)
                        return FOLLOW_NOTHING;
                route_complete_fallbacks(&d, r->route, candidates, n, &r->arena);
        }
        r->decision = d;
        return FOLLOW_FOUND;
}

/* For the strongest of what is named: one command is what a request may wait for. */
static bool ask_store(struct request *r)
{
        struct follow *f = &r->follow;
        struct cache *c = r->worker->cache;

        f->asked = true;
        for (f->which = 0; f->which < FOLLOWS && !f->keys[f->which].local.p;)
                f->which++;
        return f->which < FOLLOWS && cache_store_ready(c) && (f->fetch = arena_alloc(&r->arena, sizeof *f->fetch)) &&
               cache_fetch(c, f->fetch, &f->keys[f->which], &r->arena, &r->wake, r->generation->cache->redis.timeout * 1000);
}

enum follow_result follow_find(struct request *r)
{
        struct follow *f = &r->follow;
        enum follow_result got = FOLLOW_NOTHING;
        int64_t now_ms = cache_now_ms();
        struct pm_str value;

        if (f->fetch && cache_fetching(f->fetch))
                return FOLLOW_WAITS;
        if (!f->begun) {
                f->begun = true;
                name_all(r);
                for (int i = 0; i < FOLLOWS && got == FOLLOW_NOTHING; i++)
                        if (f->keys[i].local.p && shared_cache_get(SHARED_CACHE_STATES, f->keys[i].hash, f->keys[i].local, now_ms, &r->arena, &value))
                                got = take(r, i, value);
                if (got != FOLLOW_NOTHING)
                        return got;
        }
        if (!f->asked && ask_store(r))
                return FOLLOW_WAITS;
        if (!f->fetch)
                return FOLLOW_NOTHING;
        value = f->fetch->value;
        f->fetch->value = (struct pm_str){ 0 };
        return value.p ? take(r, f->which, value) : FOLLOW_NOTHING;
}

void follow_finish(struct request *r)
{
        if (r->follow.fetch)
                cache_fetch_cancel(r->follow.fetch);
        r->follow = (struct follow){ .begun = false };
}

/* ---- who is to be followed ----------------------------------------------------------------------------------------------- */

static void remember(void *arg, struct pm_str text, bool sealed)
{
        struct request *r = arg;
        const struct cache_settings *s = r->generation->cache;
        const char *expert = r->attempt.expert->name;
        int64_t now_ms = cache_now_ms();
        struct cache_key key = { .hash = 0 };
        unsigned char *out;
        struct pm_str value;
        struct cached_decision k;

        if (!text.n || (!sealed && text.n > ID_MAX) || !key_of(r, text, sealed, &key))
                return;
        k = (struct cached_decision){ .ends_ms = now_ms + s->responses_time, .key = key.hash, .only = r->decision.only, .expert = { expert, strlen(expert) } };
        out = arena_alloc(&r->arena, decision_encoded_size(&k));
        if (!out)
                return;
        decision_encode(&k, out);
        value = (struct pm_str){ (const char *)out, decision_encoded_size(&k) };
        shared_cache_put(SHARED_CACHE_STATES, key.hash, key.local, value, k.ends_ms, now_ms);
        cache_share(r->worker->cache, &key, value, s->responses_time);
}

void follow_answer(struct request *r, struct pm_str json, bool event)
{
        struct pm_str conversation;

        if (!r->wire->ids || !r->attempt.expert || r->generation->cache->responses == 0 || !r->wire->ids(json, event, &r->arena, remember, r))
                return;
        conversation = query_conversation(&r->query);
        if (conversation.p)
                remember(r, js_text(conversation, &r->arena), false);
}
