/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/recommend: a body into queries, what the user has taken lately (recall), the candidates of the routers that recommend (route) as JSON.
 *
 * {"user" or "users", "history", "n", "exclude", "deny", "allow", "filter", "seen", "explain", "model"}: read once, here, and shown to the
 * routers as fields of the query.  What else stands in the body is their business (they see all of it).  A member of ours that comes twice, or
 * in other letters ("Deny"), is refused: a list of what must not be recommended is not to be lost over its spelling.
 */
#include "recommend.h"

#include <event2/buffer.h>

#include "alike.h"
#include "apis.h"
#include "base.h"
#include "cache.h"
#include "feedback.h"
#include "history_codec.h"
#include "js.h"
#include "request_parts.h"
#include "settings.h"
#include "shared_cache.h"
#include "tenant.h"

enum { N_PRESET = 20, USERS_MAX = 256, ID_MAX = 512, FILTERS_MAX = 64, VALUES_MAX = 10000 };

/* What is particular to a request that recommends. */
struct recommend {
        struct recommend_query *queries; /* one for each user */
        size_t n;
        bool list;                       /* `users` was given: the answer is a list */
        bool explain;

        bool asked;                      /* for the history of the user whose turn it is */
        struct cache_fetch recent;       /* newest first */
        struct cache_key key;
};

/* ---- the body ------------------------------------------------------------------------------------------------------------ */

static bool recommends(const struct route *route)
{
        for (size_t i = 0; i < route->n_routers; i++)
                if (route->routers[i]->table->recommend)
                        return true;
        return false;
}

/* Of /v1/recommend and of /v1/feedback. */
static const char *const members[] = { "model", "user", "users", "history", "n", "exclude", "seen", "filter", "allow", "deny", "explain", "events",
                                       "item", "weight", "time" };

/* A member's value; null is what is not given. */
static struct pm_str given(struct pm_str body, const char *name)
{
        struct pm_str v = js_member(body, name);

        return js_type(v) == JS_NULL ? (struct pm_str){ 0 } : v;
}

const struct route *recommend_route_of(struct request *r, struct pm_str body)
{
        const struct generation *g = r->generation;
        const struct route *route = NULL;
        struct pm_str model, raw;
        const char *why, *ours;
        size_t at;

        if (js_check(body, (size_t)g->limits.depth, &at, &why) < 0 || js_type(body) != JS_OBJECT) {
                (void)reply_error(r, 400, NULL, NULL, "the body must be a JSON object%s%s", body.n ? "" : ", and is empty",
                                  body.n && js_type(body) == JS_OBJECT ? ": its text is not valid JSON" : "");
                return NULL;
        }
        if (alike_find(body, members, LENGTH_OF(members), &ours, &raw)) {
                (void)reply_error(r, 400, ours, NULL, "'%s' appears more than once in the body, spelled differently ('%.*s')", ours,
                                  (int)MIN(raw.n, (size_t)60), raw.p);
                return NULL;
        }
        model = given(body, "model");
        if (model.p && js_type(model) != JS_STRING) {
                (void)reply_error(r, 400, "model", NULL, "'model' must be a text: the name of a route");
                return NULL;
        }
        if (model.p) {
                struct pm_str name = js_text(model, &r->arena);

                route = name.p ? generation_route(g, name) : NULL;
                if (!route || !tenant_may_ask(r->tenant, route)) {
                        (void)reply_error(r, 404, "model", "model_not_found", "the route '%.*s' does not exist, or this key has no access to it",
                                          (int)MIN(name.n, 200), name.p ? name.p : "");
                        return NULL;
                }
        } else {
                for (size_t i = 0; i < g->n_routes && !route; i++)
                        if (recommends(g->routes[i]) && tenant_may_ask(r->tenant, g->routes[i]))
                                route = g->routes[i];
        }
        if (route && recommends(route))
                return route;
        (void)reply_error(r, 404, "model", "nothing_recommends", route ? "no router of route '%s' recommends" : "no route of this gateway recommends%s",
                          route ? route->name : "");
        return NULL;
}

/* Texts of a list into *ret, each a pm_str in the arena.  GO, or r is answered. */
static enum next read_ids(struct request *r, struct pm_str list, const char *name, size_t max, const struct pm_str *const **ret, size_t *ret_n)
{
        const struct pm_str **out;
        struct pm_str *ids, key;
        size_t n = 0, room = 0;
        struct js j;

        *ret_n = 0;
        if (!list.p)
                return GO;
        if (js_type(list) != JS_ARRAY)
                return reply_error(r, 400, name, NULL, "'%s' must be a list of ids", name);
        js_start(&j, list, 4);
        for (js_enter(&j); js_more(&j, &key); room++)
                (void)js_take(&j);
        if (room > max)
                return reply_error(r, 400, name, NULL, "'%s' has %zu ids, at most %zu are allowed (limits.ids)", name, room, max);
        out = arena_alloc(&r->arena, (room + 1) * sizeof *out);
        ids = arena_alloc(&r->arena, (room + 1) * sizeof *ids);
        if (!out || !ids)
                return reply_error(r, 503, NULL, NULL, "out of memory for the ids");
        js_start(&j, list, 4);
        for (js_enter(&j); js_more(&j, &key); n++) {
                struct pm_str v = js_take(&j);

                ids[n] = js_type(v) == JS_STRING ? js_text(v, &r->arena) : (struct pm_str){ 0 };
                out[n] = &ids[n];
                if (ids[n].n == 0 || ids[n].n > ID_MAX)
                        return reply_error(r, 400, arena_printf(&r->arena, "%s[%zu]", name, n), NULL,
                                           "'%s[%zu]' is not an id: a text of 1 to %d bytes", name, n, ID_MAX);
        }
        *ret = out;
        *ret_n = n;
        return GO;
}

/* Of an attribute, as a router compares it; p NULL: not one. */
static struct pm_str plain_value(struct request *r, struct pm_str v)
{
        int64_t number;
        char *text;

        switch (js_type(v)) {
        case JS_STRING:
                return js_text(v, &r->arena);
        case JS_TRUE:
        case JS_FALSE:
                return v;
        case JS_NUMBER: /* 2 and 02 are written alike, 2.5 and 2^64 are nobody's attribute */
                text = js_int(v, &number) ? arena_printf(&r->arena, "%" PRId64, number) : NULL;
                return (struct pm_str){ text, text ? strlen(text) : 0 };
        default:
                return (struct pm_str){ 0 };
        }
}

static enum next bad_filter(struct request *r, const char *what)
{
        return reply_error(r, 400, "filter", NULL, "'filter' %s", what);
}

static size_t values_in(struct pm_str v)
{
        struct pm_str key;
        struct js j;
        size_t n = 0;

        if (js_type(v) != JS_ARRAY)
                return 1;
        js_start(&j, v, 4);
        for (js_enter(&j); js_more(&j, &key); n++)
                (void)js_take(&j);
        return n;
}

/* One attribute with a value, or with a list of values; *left: how many more there may be. */
static enum next read_attribute(struct request *r, struct pm_str raw_key, struct pm_str v, size_t *left, struct pm_filter *ret)
{
        size_t room = values_in(v), n = 0;
        const struct pm_str **values;
        struct pm_str *texts, ignored;
        struct js j;

        if (room > *left)
                return bad_filter(r, "has more than 10000 values");
        *left -= room;
        values = arena_alloc(&r->arena, (room + 1) * sizeof *values);
        texts = arena_alloc(&r->arena, (room + 1) * sizeof *texts);
        ret->key = js_text((struct pm_str){ raw_key.p - 1, raw_key.n + 2 }, &r->arena);
        if (!values || !texts || !ret->key.p)
                return reply_error(r, 503, NULL, NULL, "out of memory for the filter");
        js_start(&j, v, 4);
        if (js_type(v) == JS_ARRAY)
                (void)js_enter(&j);
        while (js_type(v) == JS_ARRAY ? js_more(&j, &ignored) : n < 1) {
                texts[n] = plain_value(r, js_take(&j));
                values[n] = &texts[n];
                if (!texts[n++].p)
                        return bad_filter(r, "must be an object of attributes, each with a text, a whole number, true, false, or a list of these");
        }
        ret->values = values;
        ret->n = n;
        return GO;
}

static enum next read_filter(struct request *r, struct pm_str filter, struct recommend_query *q)
{
        size_t left = VALUES_MAX, n = 0;
        const struct pm_filter **out;
        struct pm_filter *filters;
        struct pm_str key;
        struct js j;

        if (!filter.p)
                return GO;
        if (js_type(filter) != JS_OBJECT)
                return bad_filter(r, "must be an object of attributes, each with a text, a whole number, true, false, or a list of these");
        out = arena_alloc(&r->arena, FILTERS_MAX * sizeof *out);
        filters = arena_alloc(&r->arena, FILTERS_MAX * sizeof *filters);
        if (!out || !filters)
                return reply_error(r, 503, NULL, NULL, "out of memory for the filter");
        js_start(&j, filter, 8);
        for (js_enter(&j); js_more(&j, &key) && !r->response_done; n++) {
                if (n == FILTERS_MAX)
                        return bad_filter(r, "has more than 64 attributes");
                out[n] = &filters[n];
                (void)read_attribute(r, key, js_take(&j), &left, &filters[n]);
                for (size_t i = 0; i < n && !r->response_done; i++)
                        if (filters[i].key.n == filters[n].key.n && memcmp(filters[i].key.p, filters[n].key.p, filters[n].key.n) == 0)
                                return bad_filter(r, "has the same attribute twice; a list is one of several values");
        }
        q->filters = out;
        q->n_filters = n;
        return GO;
}

/* What may come back: `deny` is more of `exclude`. */
static enum next read_limits(struct request *r, struct pm_str body, struct recommend_query *q)
{
        struct pm_str seen = given(body, "seen"), allow = given(body, "allow"), explain = given(body, "explain");
        size_t most = (size_t)r->generation->limits.ids, n_deny = 0;
        const struct pm_str *const *deny = NULL;
        const struct pm_str **both;

        if (seen.p && !js_string_is(seen, "keep") && !js_string_is(seen, "drop"))
                return reply_error(r, 400, "seen", NULL, "'seen' must be \"keep\" or \"drop\"");
        if (explain.p && js_type(explain) != JS_TRUE && js_type(explain) != JS_FALSE)
                return reply_error(r, 400, "explain", NULL, "'explain' must be true or false");
        q->keep_seen = js_string_is(seen, "keep");
        (void)read_filter(r, given(body, "filter"), q);
        if (!r->response_done)
                (void)read_ids(r, allow, "allow", most, &q->allow, &q->n_allow);
        if (!r->response_done)
                (void)read_ids(r, given(body, "exclude"), "exclude", most, &q->exclude, &q->n_exclude);
        if (!r->response_done)
                (void)read_ids(r, given(body, "deny"), "deny", most, &deny, &n_deny);
        if (r->response_done || n_deny == 0)
                return GO;
        both = arena_alloc(&r->arena, (q->n_exclude + n_deny) * sizeof *both);
        if (!both)
                return reply_error(r, 503, NULL, NULL, "out of memory for the ids");
        for (size_t i = 0; i < q->n_exclude; i++)
                both[i] = q->exclude[i];
        for (size_t i = 0; i < n_deny; i++)
                both[q->n_exclude + i] = deny[i];
        q->exclude = both;
        q->n_exclude += n_deny;
        return GO;
}

static struct pm_str user_of(struct request *r, struct pm_str v, const char *name)
{
        struct pm_str user = js_type(v) == JS_STRING ? js_text(v, &r->arena) : (struct pm_str){ 0 };

        if (v.p && (js_type(v) != JS_STRING || user.n > ID_MAX))
                (void)reply_error(r, 400, name, NULL, "'%s' must be a text of at most %d bytes", name, ID_MAX);
        return user;
}

static enum next recommend_parse(struct request *r)
{
        struct pm_str body = js_trim((struct pm_str){ r->body, r->body_n }), users, n;
        const struct pm_str *const *ids = NULL;
        struct recommend *m = arena_zalloc(&r->arena, sizeof *m);
        struct recommend_query one = { .wanted = N_PRESET };
        int64_t wanted;

        r->route = recommend_route_of(r, body);
        if (r->response_done)
                return GO;
        if (!m)
                return reply_error(r, 503, NULL, NULL, "out of memory for the request");
        n = given(body, "n");
        if (n.p && (!js_int(n, &wanted) || wanted < 1 || wanted > r->generation->limits.items))
                return reply_error(r, 400, "n", NULL, "'n' must be a whole number, 1 to %" PRId64 " (limits.items)", r->generation->limits.items);
        one.wanted = n.p ? (size_t)wanted : one.wanted;
        one.body = body;
        (void)read_limits(r, body, &one);
        if (!r->response_done)
                (void)read_ids(r, given(body, "history"), "history", (size_t)r->generation->limits.ids, &one.history, &one.n_history);
        users = given(body, "users");
        m->list = users.p != NULL;
        m->n = 1;
        if (m->list && !r->response_done) {
                (void)read_ids(r, users, "users", USERS_MAX, &ids, &m->n);
                if (!r->response_done && (m->n == 0 || given(body, "user").p))
                        return reply_error(r, 400, "users", NULL, m->n ? "'user' and 'users' cannot be used together" : "'users' is empty");
        } else if (!r->response_done) {
                one.user = user_of(r, given(body, "user"), "user");
        }
        if (r->response_done)
                return GO;
        m->queries = arena_alloc(&r->arena, m->n * sizeof *m->queries);
        if (!m->queries)
                return reply_error(r, 503, NULL, NULL, "out of memory for the request");
        for (size_t i = 0; i < m->n; i++) {
                m->queries[i] = one;
                if (m->list)
                        m->queries[i].user = *ids[i];
        }
        m->explain = js_type(given(body, "explain")) == JS_TRUE;
        r->query.model = (struct pm_str){ r->route->name, strlen(r->route->name) };
        r->own = m;
        return GO;
}

/* ---- what the user has taken lately -------------------------------------------------------------------------------------- */

static bool ask_store(struct request *r, struct recommend *m)
{
        return cache_fetch_list(r->worker->cache, &m->recent, &m->key, r->generation->feedback->keep, &r->arena, &r->wake,
                                r->generation->cache->redis.timeout * 1000);
}

/* The client's own list, then what came in since, the oldest first. */
static bool add_recent(struct request *r, struct recommend *m)
{
        struct recommend_query *q = &m->queries[r->round];
        const struct pm_str **all = arena_alloc(&r->arena, (q->n_history + m->recent.n_items + 1) * sizeof *all);
        size_t n = 0;

        if (!all)
                return false;
        for (size_t i = 0; i < q->n_history; i++)
                all[n++] = q->history[i];
        for (size_t i = m->recent.n_items; i-- > 0;)
                all[n++] = &m->recent.items[i];
        q->history = all;
        q->n_history = n;
        return true;
}

static enum next recommend_recall(struct request *r)
{
        const struct feedback_settings *s = r->generation->feedback;
        struct recommend *m = r->own;
        const struct recommend_query *q = &m->queries[r->round];
        struct pm_str value;

        if (cache_fetching(&m->recent))
                return WAIT;
        if (!m->asked) {
                m->asked = true;
                m->recent.n_items = 0;
                if (!s->keep || !q->user.n)
                        return GO;
                if (!feedback_key(r, r->route, q->user, &m->key))
                        return reply_error(r, 503, NULL, NULL, "out of memory for the user's history");
                if (ask_store(r, m))
                        return WAIT;
        }
        if (m->key.local.p && m->recent.n_items == 0 &&
            shared_cache_get(SHARED_CACHE_HISTORIES, m->key.hash, m->key.local, cache_now_ms(), &r->arena, &value)) {
                m->recent.items = arena_alloc(&r->arena, (size_t)s->keep * sizeof *m->recent.items);
                m->recent.n_items = m->recent.items ? history_decode(value, m->recent.items, (size_t)s->keep) : 0;
        }
        if (m->recent.n_items && !add_recent(r, m))
                return reply_error(r, 503, NULL, NULL, "out of memory for the user's history");
        return GO;
}

static void recommend_finish(struct request *r)
{
        struct recommend *m = r->own;

        if (m)
                cache_fetch_cancel(&m->recent);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------------- */

static void put(struct evbuffer *out, const char *text)
{
        reply_put(out, text, strlen(text));
}

static void put_member(struct evbuffer *out, const char *name, const char *text)
{
        if (!text)
                return;
        put(out, name);
        reply_put_text(out, (struct pm_str){ text, strlen(text) });
}

/* Members of the router's explanation, without its braces; `items` and the like of ours come first and count. */
static void put_explained(struct evbuffer *out, const char *json)
{
        struct pm_str o = js_trim((struct pm_str){ json, strlen(json) });

        if (o.n > 2 && js_trim((struct pm_str){ o.p + 1, o.n - 2 }).n) {
                put(out, ",");
                reply_put(out, o.p + 1, o.n - 2);
        }
}

static void put_answer(struct request *r, const struct routing *x)
{
        const struct recommend *m = r->own;
        const struct recommend_query *q = &m->queries[r->round];
        struct evbuffer *out = r->out;
        char number[40];

        put(out, "{\"object\":\"recommendation\",\"model\":");
        reply_put_text(out, r->query.model);
        put_member(out, ",\"router\":", x->decision.router ? x->decision.router->name : NULL);
        if (q->user.n) {
                put(out, ",\"user\":");
                reply_put_text(out, q->user);
        }
        put(out, ",\"items\":[");
        for (size_t i = 0; i < x->n_items; i++) {
                const struct pm_item *item = x->items[i];

                put(out, i ? ",{\"id\":" : "{\"id\":");
                reply_put_text(out, item->id);
                (void)snprintf(number, sizeof number, ",\"score\":%.7g", item->score);
                put(out, number);
                put_member(out, ",\"interest\":", item->interest);
                put_member(out, ",\"source\":", item->source);
                put(out, "}");
        }
        put(out, "]");
        if (x->decision.explained)
                put_explained(out, x->decision.explained);
        put(out, "}");
}

static enum next answer(struct request *r, const struct routing *x)
{
        struct recommend *m = r->own;

        if (x->rejected)
                return reply_error(r, 400, x->param, NULL, "%s", x->text ? x->text : "a router of this route cannot answer such a request");
        if (x->decision.how != DECISION_COMPUTED)
                return reply_error(r, 503, NULL, "not_recommended", "route '%s' has no recommendation: %s", r->route->name,
                                   x->decision.reason ? x->decision.reason : "no router gave one");
        if (!r->out && !(r->out = evbuffer_new()))
                return reply_error(r, 503, NULL, NULL, "out of memory for the answer");
        if (m->list)
                put(r->out, r->round ? "," : "{\"object\":\"list\",\"data\":[");
        put_answer(r, x);
        m->asked = false;
        m->key = (struct cache_key){ .hash = 0 };
        if (r->round + 1 < m->n)
                return request_next_round(r);
        if (m->list)
                put(r->out, "]}");
        return reply_buffer(r, 200, "application/json", r->out);
}

static enum next recommend_route(struct request *r)
{
        const struct recommend *m = r->own;
        struct routing_call call = request_call(r);

        call.recommend = &m->queries[r->round];
        call.explain = m->explain;
        if (request_ask(r, &call) == WAIT)
                return WAIT;
        if (r->response_done)
                return GO;
        r->decision = r->routing->decision;
        metrics_count_of(r->worker->loop.metrics, METRICS_ROUTE, r->route->metric, METRICS_AT(route, decided[r->decision.how]));
        (void)answer(r, r->routing); /* the items are the routing's */
        request_asked(r);
        return GO;
}

const struct request_kind recommend_kind = { .parse = recommend_parse, .recall = recommend_recall, .route = recommend_route, .finish = recommend_finish };
