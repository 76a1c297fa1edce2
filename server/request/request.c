/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, from top to bottom.
 *
 * A request is a table of steps.  Each says GO (the next one), WAIT (something was started that will wake us) or DONE.  It waits for
 * at most one thing at a time; request_drop() undoes that one thing.  What http.c, the routers and the transports tell us is
 * recorded, and the loop runs the steps.
 */
#include "limiter.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <sys/random.h>

#include "base.h"
#include "browser.h"
#include "hops.h"
#include "log.h"
#include "memory.h"
#include "progress.h"
#include "settings.h"
#include "tenant.h"

enum {
        MEMORY_BESIDE_BODY = 32 << 20, /* what routing may use of a request's arena, apart from four times the body */
        BODY_IN_ARENA = 64 << 10
};

static enum next request_admit(struct request *r);
static enum next request_parse(struct request *r);
static enum next request_recall(struct request *r);
static enum next request_route(struct request *r);
static void request_free(struct request *r);
static void request_drop(struct request *r, enum request_drop_why why);
static void request_release(struct request *r);

static const struct {
        enum next (*run)(struct request *r);
} steps[STEPS] = {
#define X(step, metric, help) [STEP_##step] = { request_##step },
        REQUEST_STEPS(X)
#undef X
};

/* How far it has come: steps go back only for another attempt, another text of /v1/route or another user of /v1/recommend. */
static uint64_t distance(const struct request *r)
{
        return ((uint64_t)r->attempts + r->round) * STEPS + r->at;
}

/* The gateway ends, and this request has not come to its own end in time. */
static enum next cut_short(struct request *r)
{
        r->end = "shutdown";
        attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
        return r->headers_sent ? relay_cut_short(r, "shutting_down", "the gateway is shutting down (limits.drain_time has passed)")
                        : reply_error(r, 503, NULL, "shutting_down", "the gateway is shutting down (limits.drain_time has passed); try again");
}

/* The gateway's limit does not run while the gateway does not; the client's does. */
static void take_missed(struct request *r)
{
        (void)loop_clock(&r->worker->loop, r->woken_us);
        if (r->missed_us == r->worker->loop.missed_us)
                return;
        r->deadline += r->worker->loop.missed_us - r->missed_us;
        r->missed_us = r->worker->loop.missed_us;
}

/* The loop acts: called by the worker when something woke us. */
static void request_run(void *arg)
{
        struct request *r = arg;
        uint64_t before = distance(r);
        struct http_conn *c = r->conn;
        enum next next = GO;

        r->woken_us = now_us();
        take_missed(r);
        while (next == GO) {
                enum step at = r->at;

                next = UNLIKELY(r->cut_short && !r->response_done && !r->draining_upstream) ? cut_short(r) : steps[at].run(r);
                if (next == GO) {
                        int64_t now = now_us();

                        r->step_us[at] += now - r->step_started_us;
                        r->step_started_us = now;
                        if (r->at == at)
                                r->at++;
                        if (!progress(&r->worker->loop, LOOP_STEPS, distance(r) > before)) {
                                request_drop(r, DROP_NO_PROGRESS);
                                http_request_over(c);
                                return;
                        }
                        before = distance(r);
                }
        }
        if (next == DONE) {
                request_free(r);
                http_request_over(c);
        }
}

enum next request_answered(struct request *r)
{
        r->response_done = true;
        r->at = STEP_settle;
        return GO;
}

/* ---- 1. admit: key, quota, size ---- */

static const struct api *find_api(const struct worker *w, struct pm_str path)
{
        for (size_t i = 0; i < w->n_apis; i++) {
                const struct api *o = &w->apis[i];
                size_t n = strlen(o->path);

                if (path.n >= n && memcmp(path.p, o->path, n) == 0 && (o->prefix ? path.n > n : path.n == n))
                        return o;
        }
        return NULL;
}

static enum next check_key(struct request *r)
{
        const struct tenants *all = r->generation->tenants;
        struct pm_str key = { 0 };
        int e;

        if (!all || r->api->open)
                return GO;
        if (r->wire->key_header)
                key = h1_header(r->head, r->wire->key_header);
        e = key.n ? tenants_find_key(all, key, &r->tenant) : tenants_find(all, h1_header(r->head, "authorization"), &r->tenant);
        if (e == -ENOMEM)
                return reply_error(r, 503, NULL, NULL, "out of memory for looking up the API key");
        if (e < 0)
                return reply_error(r, 401, NULL, "invalid_api_key", "the API key is missing or not valid");
        return GO;
}

static enum next check_body(struct request *r)
{
        const struct h1_head *h = r->head;
        struct pm_str coding = h1_header(h, "content-encoding");

        if (!h->has_length && !h->chunked)
                return reply_error(r, 411, NULL, "length_required", "a body is needed, with Content-Length or Transfer-Encoding: chunked");
        if (coding.n && !(coding.n == 8 && strncasecmp(coding.p, "identity", 8) == 0))
                return reply_error(r, 415, NULL, "unsupported_encoding", "Content-Encoding '%.*s' is not supported; send the JSON as it is",
                                   (int)MIN(coding.n, 40), coding.p);
        if (h->length > r->generation->limits.body)
                return reply_error(r, 413, NULL, "body_too_large", "the body has %" PRId64 " bytes; limits.body allows %" PRId64, h->length,
                                   r->generation->limits.body);
        if (!memory_room() || (h->has_length && h->length > BODY_IN_ARENA && !memory_take(h->length)))
                return reply_error(r, 503, NULL, "overloaded", "the memory limit is reached (limits.memory); try again");
        if (h->has_length && h->length > BODY_IN_ARENA)
                r->body_counted = h->length;
        if (h->expect_continue)
                http_continue(r->conn);
        return GO;
}

static bool is_preflight(const struct h1_head *h)
{
        return h->method == H1_OPTIONS && h->origin.n && h1_header(h, "access-control-request-method").n;
}

/* What the limiter lets in begins with its body, or is answered at once. */
static enum next ask_limiter(struct request *r)
{
        if (!r->api->open && r->worker->limiter->admit(r) == WAIT) {
                r->admission = ADMIT_WAITS;
                return WAIT;
        }
        if (r->response_done) {
                r->admission = NOT_ADMITTED;
                return GO;
        }
        r->admission = r->api->open ? NOT_ADMITTED : ADMITTED;
        r->kind = r->api->kind;
        return r->api->answer ? r->api->answer(r) : check_body(r);
}

static enum next request_admit(struct request *r)
{
        const struct h1_head *h = r->head;
        enum h1_method method = h->method == H1_HEAD_METHOD ? H1_GET : h->method;
        const char *why;

        if (r->admission == ADMIT_WAITS)
                return ask_limiter(r);
        r->cors = h->origin.n && browser_allowed(h->origin, &r->generation->settings->cors.origins); /* it may read every answer, errors too */
        r->api = find_api(r->worker, h->path);
        r->wire = r->api && r->api->wire ? r->api->wire : wire_default;
        if (!r->api && r->cors && is_preflight(h))
                return reply_preflight(r);
        if (!r->api)
                return reply_error(r, 404, NULL, "unknown_url", "no such endpoint: %.*s", (int)MIN(h->path.n, 200), h->path.p);
        if (page_check(r) == GO && r->response_done)
                return GO; /* refused */
        if (r->cors && is_preflight(h))
                return reply_preflight(r);
        if (method != r->api->method)
                return reply_error(r, 405, NULL, "method_not_allowed", "%s allows %s, not %.*s", r->api->path,
                                   r->api->method == H1_GET ? "GET" : "POST", (int)MIN(h->method_text.n, 20), h->method_text.p);
        if ((why = hops_end(h->hops))) {
                r->no_retry = true;
                return reply_error(r, 508, NULL, "loop_detected", "loop detected: %s", why);
        }
        if (check_key(r) == GO && r->response_done)
                return GO; /* refused */
        return ask_limiter(r);
}

/* ---- 2. parse: the body, then who is meant by `model` ---- */

static enum next request_parse(struct request *r)
{
        static char empty[1];

        if (r->body_status) {
                r->body_us = r->woken_us - r->started_us;
                return reply_error(r, r->body_status, NULL, r->body_status == 413 ? "body_too_large" : r->body_status == 503 ? "overloaded" : NULL, "%s",
                                   r->body_why);
        }
        if (!r->body_end)
                return WAIT;
        r->step_started_us = MAX(r->step_started_us, r->started_us + r->body_us); /* waiting for the client is not parsing */
        if (!r->body)
                r->body = empty;
        return r->kind->parse(r);
}

enum next request_bad_body(struct request *r, const struct query_error *why)
{
        return reply_error(r, 400, why->param, why->code, "%s", why->message ? why->message : "the request is invalid");
}

enum next request_read(struct request *r)
{
        const struct limits *l = &r->generation->limits;
        struct query_limits limits = { .depth = (size_t)l->depth, .messages = (size_t)l->messages };
        struct query_error why;

        if (r->wire->parse((struct pm_str){ r->body, r->body_n }, r->wire->api, &limits, &r->arena, &r->query, &why) < 0)
                return request_bad_body(r, &why);
        return GO;
}

/* An expert's name goes straight there, a route's name asks the routers. */
enum next request_resolve(struct request *r)
{
        const struct generation *g = r->generation;
        struct expert *e = generation_expert(g, r->query.model);
        const struct route *route = e ? NULL : generation_route(g, r->query.model);
        const struct embedder *by = e || route ? NULL : generation_embedder_named(g, r->query.model);

        if (by && by->model)
                return reply_error(r, 404, "model", "model_not_found", "'%s' is a model for embeddings only: POST /v1/embeddings", by->name);
        if (e ? !tenant_may_use(r->tenant, e) : !route || !tenant_may_ask(r->tenant, route))
                return reply_error(r, 404, "model", "model_not_found", "the model '%.*s' does not exist, or this key has no access to it; GET /v1/models lists the models",
                                   (int)MIN(r->query.model.n, 200), r->query.model.p);
        if (e && r->api->wire && !(e->apis & r->api->wire->api))
                return reply_error(r, 400, "model", "unsupported_api", "expert '%s' does not offer %s", e->name, r->api->path);
        r->route = route;
        if (e)
                r->decision = (struct decision){ .how = DECISION_NAMED, .expert = e };
        return GO;
}

static enum next chat_parse(struct request *r)
{
        (void)request_read(r);
        return r->response_done ? GO : request_resolve(r);
}

/* ---- 3. recall: recall.c ---- */

static enum next request_recall(struct request *r)
{
        return r->kind->recall ? r->kind->recall(r) : GO;
}

/* ---- 4. route: ask the routers ---- */

static enum next request_route(struct request *r)
{
        return r->kind->route(r);
}

/* A pool job that had outlived its request's need is back. */
static void orphan_back(void *arg)
{
        struct request *r = arg;

        r->orphans--;
        if (r->released && r->orphans == 0)
                request_release(r);
}

void request_asked(struct request *r)
{
        if (r->routing && !routing_finish(r->routing, orphan_back, r))
                r->orphans++;
        r->routing = NULL;
}

struct routing_call request_call(struct request *r)
{
        return (struct routing_call){
                .worker = r->worker, .generation = r->generation, .arena = &r->arena, .head = r->head, .tenant = r->tenant, .route = r->route,
                .id = r->id, .owner = &r->wake, .deadline_us = r->recall.deadline_us,
                .wish = r->recall.off ? CALLOUT_UNCACHED : r->recall.refresh ? CALLOUT_REFRESH : CALLOUT_CACHED,
        };
}

enum next request_ask(struct request *r, const struct routing_call *call)
{
        if (!r->routing) {
                r->routing = arena_alloc(&r->arena, sizeof *r->routing);
                if (!r->routing)
                        return reply_error(r, 503, NULL, NULL, "out of memory for routing");
                routing_start(r->routing, call);
        }
        return r->routing->done ? GO : WAIT;
}

/* Where a conversation stays gives way only to a decision for one expert and no other. */
enum next request_decide(struct request *r, bool explain)
{
        bool insisting = r->route && r->route->insists && r->decision.expert && r->decision.how == DECISION_PINNED;
        struct routing_call call;

        if (!r->route)
                return GO; /* an expert was named */
        if (r->decision.expert && !insisting) { /* recalled */
                metrics_count_of(r->worker->loop.metrics, METRICS_ROUTE, r->route->metric, METRICS_AT(route, decided[r->decision.how]));
                return GO;
        }
        call = request_call(r);
        call.query = &r->query;
        call.insisting = insisting;
        call.explain = explain;
        if (request_ask(r, &call) == WAIT)
                return WAIT;
        if (r->response_done)
                return GO;
        if (!insisting || r->routing->decision.only)
                r->decision = r->routing->decision;
        metrics_count_of(r->worker->loop.metrics, METRICS_ROUTE, r->route->metric, METRICS_AT(route, decided[r->decision.how]));
        if (!insisting)
                recall_decided(r, r->routing);
        request_asked(r);
        return GO;
}

enum next request_next_round(struct request *r)
{
        r->round++;
        r->decision = (struct decision){ 0 };
        r->at = STEP_recall;
        return GO;
}

static enum next chat_route(struct request *r)
{
        if (request_decide(r, false) == WAIT)
                return WAIT;
        return r->response_done ? GO : forward_may(r);
}

const struct request_kind request_chat = { .parse = chat_parse, .recall = recall_step, .route = chat_route, .forwards = true };

/* ---- 5. forward: forward.c    6. relay: relay.c ---- */

/* ---- 7. settle: settle.c ---- */

/* ---- birth, news and the ways out ---- */

/* Unique for the life of the process and, by its prefix, among processes: req_<8 random><worker><number>, in hexadecimal. */
static struct pm_str new_id(struct worker *w, struct arena *a)
{
        static _Thread_local uint32_t prefix;
        static const char digits[] = "0123456789abcdef";
        char *p = arena_alloc(a, 24);
        uint64_t n = ++w->requests;

        if (!p)
                return (struct pm_str){ "req_", 4 };
        while (prefix == 0)
                if (getrandom(&prefix, sizeof prefix, 0) != sizeof prefix)
                        prefix = (uint32_t)now_us();
        memcpy(p, "req_", 4);
        for (int i = 0; i < 8; i++)
                p[4 + i] = digits[prefix >> (28 - 4 * i) & 15];
        p[12] = digits[w->loop.id >> 4 & 15];
        p[13] = digits[w->loop.id & 15];
        for (int i = 0; i < 10; i++)
                p[14 + i] = digits[n >> (36 - 4 * i) & 15];
        return (struct pm_str){ p, 24 };
}

static struct request *request_begin(void *owner, struct http_conn *c, const struct h1_head *head)
{
        struct worker *w = owner;
        struct generation *g = w->generation;
        struct arena arena;
        struct request *r;

        arena_init(&arena, &w->loop.arenas, (size_t)(4 * g->limits.body) + MEMORY_BESIDE_BODY);
        r = arena_zalloc(&arena, sizeof *r);
        if (!r) {
                arena_finish(&arena);
                return NULL;
        }
        r->arena = arena;
        r->worker = w;
        r->conn = c;
        r->generation = generation_take(g);
        r->head = head;
        r->wire = wire_default;
        r->wake = (struct wake){ .fn = request_run, .arg = r };
        r->tokens_in = r->tokens_out = r->least_tokens = -1;
        r->started_us = r->step_started_us = now_us();
        r->deadline = r->started_us + g->limits.request_time * 1000;
        (void)loop_clock(&w->loop, r->started_us);
        r->missed_us = w->loop.missed_us;
        r->id = new_id(w, &r->arena);
        loop_wake(&w->loop, &r->wake);
        return r;
}

static bool body_grow(struct request *r, size_t need)
{
        size_t room = MAX(2 * r->body_room, MAX(need, 1024));
        char *p;

        if (r->head->has_length && need <= (size_t)r->head->length)
                room = MIN(MAX(room, MIN((size_t)r->head->length, BODY_IN_ARENA)), (size_t)r->head->length);
        if (room > BODY_IN_ARENA && (int64_t)room > r->body_counted) {
                if (!memory_take((int64_t)room - r->body_counted))
                        return false;
                r->body_counted = (int64_t)room;
        }
        if (room <= BODY_IN_ARENA) {
                p = arena_alloc(&r->arena, room);
                if (p && r->body_n)
                        memcpy(p, r->body, r->body_n);
        } else if (r->body_heap) {
                p = realloc(r->body, room);
        } else {
                p = malloc(room);
                if (p && r->body_n)
                        memcpy(p, r->body, r->body_n);
        }
        if (!p)
                return false;
        r->body_heap = room > BODY_IN_ARENA;
        r->body = p;
        r->body_room = room;
        return true;
}

static void request_body(struct request *r, const char *p, size_t n)
{
        if (r->response_done || r->body_status || n == 0)
                return;
        if (r->body_n + n > (size_t)r->generation->limits.body) {
                r->body_status = 413;
                r->body_why = arena_printf(&r->arena, "the body has more than %" PRId64 " bytes, which is limits.body", r->generation->limits.body);
        } else if (r->body_n + n > r->body_room && !body_grow(r, r->body_n + n)) {
                r->body_status = 503;
                r->body_why = "out of memory for the body, or none that limits.memory allows; try again";
        }
        if (r->body_status) {
                if (!r->body_why)
                        r->body_why = "the body is too large";
                loop_wake(&r->worker->loop, &r->wake);
                return;
        }
        memcpy(r->body + r->body_n, p, n);
        r->body_n += n;
}

static void request_body_end(struct request *r)
{
        r->body_end = true;
        r->body_us = now_us() - r->started_us;
        loop_wake(&r->worker->loop, &r->wake);
}

static void request_body_failed(struct request *r, int status, const char *why)
{
        if (r->response_done || r->body_status)
                return;
        r->body_status = status;
        r->body_why = why;
        loop_wake(&r->worker->loop, &r->wake);
}

static void request_cut_short(struct request *r)
{
        r->cut_short = true;
        loop_wake(&r->worker->loop, &r->wake);
}

static void request_drained(struct request *r)
{
        loop_wake(&r->worker->loop, &r->wake);
}

static void request_drop(struct request *r, enum request_drop_why why)
{
        static const char *const ends[] = { [DROP_CLIENT_LEFT] = "client_left", [DROP_DEADLINE] = "deadline",
                                            [DROP_SHUTDOWN] = "shutdown", [DROP_CLIENT_STUCK] = "client_stuck", [DROP_NO_PROGRESS] = "no_progress" };

        bool whole = r->draining_upstream && http_backlog(r->conn) == 0; /* the client has taken all there was */

        r->step_us[r->at] += now_us() - r->step_started_us;
        if (r->at == STEP_parse && !r->body_end)
                r->body_us = now_us() - r->started_us;
        if (!whole && (!r->end || strcmp(r->end, "ok") == 0))
                r->end = ends[why];
        if (!whole && why == DROP_CLIENT_LEFT)
                metrics_count(r->worker->loop.metrics, METRICS_AT(plain, client_left));
        if (!r->status)
                r->status = 499;
        attempt_end(r, whole ? ATTEMPT_OK : ATTEMPT_CANCELLED, whole ? EXPERT_GOOD : EXPERT_NEUTRAL, 0);
        (void)request_settle(r);
        request_free(r);
}

/* The memory goes, at once or when a pool job that works on it is back. */
static void request_release(struct request *r)
{
        struct arena arena;
        struct generation *g = r->generation;

        if (r->body_heap)
                free(r->body);
        memory_held(-r->body_counted);
        if (r->out)
                evbuffer_free(r->out);
        if (r->recorded)
                evbuffer_free(r->recorded);
        arena = r->arena; /* it holds the request itself */
        arena_finish(&arena);
        generation_release(g);
}

static void request_free(struct request *r)
{
        attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
        if (r->timer)
                event_free(TAKE(r->timer));
        if (r->admission == ADMIT_WAITS)
                r->worker->limiter->cancel(r);
        recall_finish(r);
        follow_finish(r);
        if (r->kind && r->kind->finish)
                r->kind->finish(r);
        loop_unwake(&r->worker->loop, &r->wake);
        request_asked(r);
        r->released = true;
        if (r->orphans == 0)
                request_release(r);
}

static void request_refuse(void *owner, struct http_conn *c, int status, const char *why)
{
        struct worker *w = owner;
        struct arena a;
        struct pm_str body, id;
        struct log_line l;
        char *line;

        arena_init(&a, &w->loop.arenas, 65536);
        body = wire_default->error_body(&a, status, NULL, NULL, NULL, why);
        body = body.p ? body : wire_default->no_memory_body;
        id = new_id(w, &a);
        line = arena_printf(&a, "x-request-id: %.*s\r\n%s", (int)id.n, id.p, status == 503 ? "retry-after: 1\r\n" : "");
        http_reply(c, &(struct http_reply){ .status = status, .content_type = "application/json", .close = true,
                                            .headers = { line, line ? strlen(line) : 0 } }, body);
        metrics_request(w->loop.metrics, METRICS_OTHER, status);
        log_begin(&l, w->loop.log, PM_INFO, "request");
        log_str(&l, "id", id);
        log_int(&l, "status", status);
        log_text(&l, "client", http_peer(c));
        log_text(&l, "end", "refused");
        log_text(&l, "error", why);
        log_end(&l);
        arena_finish(&a);
}

const struct http_handler request_handler = { .begin = request_begin, .body = request_body, .body_end = request_body_end, .body_failed = request_body_failed,
                                              .drained = request_drained, .cut_short = request_cut_short, .drop = request_drop, .refuse = request_refuse };
