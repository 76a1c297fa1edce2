/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache keys of decisions and pins.  The key of a decision covers everything that its routers read and nothing else.  The key of a pin
 * is the client's own name for the conversation, or else the conversation's first messages.
 */
#include "base.h"
#include "js.h"
#include "request_parts.h"
#include "tenant.h"
#include "text.h"

static const struct tenant *scope_of(const struct request *r)
{
        return r->route->cache.share_all ? NULL : r->tenant;
}

static void sum_headers(struct request *r, struct cache *c)
{
        const struct route_cache *rc = &r->route->cache;

        for (size_t i = 0; i < rc->n_headers; i++) {
                uint64_t n = 0;

                cache_sum_text(c, str_of(rc->headers[i]));
                for (size_t k = 0; r->head && k < r->head->n_headers; k++) {
                        const struct h1_header *h = &r->head->headers[k];

                        if (h->name.n != strlen(rc->headers[i]) || strncasecmp(h->name.p, rc->headers[i], h->name.n) != 0)
                                continue;
                        cache_sum_text(c, h->value);
                        n++;
                }
                cache_sum_bytes(c, &n, sizeof n);
        }
}

/* All that the route's routers read, and nothing that they do not. */
bool recall_decision_key(struct request *r)
{
        const struct route_cache *rc = &r->route->cache;
        struct cache *c = r->worker->cache;
        unsigned char api = (unsigned char)r->query.api;
        struct pm_query q = { .n_messages = 0 };

        if ((rc->reads & PM_READS_MESSAGES ? query_texts : query_last_text)(&r->query, &r->arena, &q) < 0)
                return false;
        cache_sum_begin(c);
        cache_sum_bytes(c, rc->fingerprint, sizeof rc->fingerprint);
        if (r->tenant && r->tenant->experts)
                cache_sum_bytes(c, r->tenant->fingerprint, sizeof r->tenant->fingerprint);
        cache_sum_bytes(c, &api, 1);
        if (rc->reads & PM_READS_TEXT && !(rc->reads & PM_READS_MESSAGES))
                cache_sum_text(c, q.text); /* else it is among the messages */
        cache_sum_bytes(c, &q.n_messages, sizeof q.n_messages);
        for (size_t i = 0; i < q.n_messages; i++) {
                cache_sum_text(c, q.messages[i]->role);
                cache_sum_text(c, q.messages[i]->text);
        }
        if (rc->reads & PM_READS_BODY)
                cache_sum_text(c, q.body);
        if (rc->reads & PM_READS_USER)
                cache_sum_text(c, q.user);
        if (rc->reads & PM_READS_TENANT)
                cache_sum_text(c, str_of(r->tenant ? r->tenant->name : ""));
        sum_headers(r, c);
        return cache_sum_key(c, r->generation, CACHE_KEY_DECISION, scope_of(r), r->route, &r->arena, &r->recall.decision);
}

static struct pm_str text_member(struct request *r, struct pm_str place)
{
        return js_type(place) == JS_STRING ? js_text(place, &r->arena) : (struct pm_str){ 0 };
}

/* How a conversation begins: its first system message and its first user message. */
static bool sum_beginning(struct request *r, struct cache *c)
{
        const struct query *q = &r->query;
        bool system = false, user = false;

        for (size_t i = 0; i < q->n_turns && !(system && user); i++) {
                const struct query_turn *t = &q->turns[i];
                bool is_user = query_is_user(t), is_system = js_string_is(t->role, "system") || js_string_is(t->role, "developer");
                struct pm_str text;

                if (!(is_user && !user) && !(is_system && !system))
                        continue;
                if (query_text_of(t->content, &r->arena, &text) < 0)
                        return false;
                cache_sum_text(c, str_of(is_user ? "user" : "system"));
                cache_sum_text(c, text);
                user = user || is_user;
                system = system || is_system;
        }
        return user;
}

/*
 * Whose turn it is: the client's own name for the conversation, else how it begins.  prompt_cache_key is none: all conversations of an
 * application may share one, so it only tells apart such as begin alike.  The headers that routers read stand in the key, too: a rule that goes
 * by one is asked when it changes, and what was pinned without it is found again without it.
 */
bool recall_pin_key(struct request *r)
{
        struct recall *k = &r->recall;
        struct cache *c = r->worker->cache;
        struct pm_str key, user, session = { 0 };

        cache_sum_begin(c);
        if ((key = text_member(r, query_conversation_name(&r->query))).n) {
                k->pinned_by = "user and conversation";
                user = text_member(r, r->query.user);
                cache_sum_text(c, key);
                cache_sum_text(c, user);
        } else if ((session = h1_header(r->head, "x-session-id")).n) {
                k->pinned_by = "x-session-id";
                cache_sum_text(c, session);
        } else {
                k->pinned_by = "its first messages";
                cache_sum_text(c, text_member(r, r->query.prompt_cache_key));
                if (r->wire->conversation == WIRE_NAMED || !sum_beginning(r, c))
                        return false;
                for (size_t i = 0; i < r->query.n_turns; i++)
                        if (js_string_is(r->query.turns[i].role, "assistant"))
                                k->pin_is = RECALL_PIN_SOUGHT;
        }
        cache_sum_text(c, str_of(k->pinned_by));
        if (strcmp(k->pinned_by, "its first messages") != 0)
                k->pin_is = RECALL_PIN_SOUGHT; /* it may have begun with another gateway */
        sum_headers(r, c);
        return cache_sum_key(c, r->generation, CACHE_KEY_PIN, r->tenant, r->route, &r->arena, &k->pin);
}
