/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host side of pm_router.h.  A move only records what the router wants (host_api.c); route_advance() carries it out when the
 * step has returned.  So a router is never entered twice at once, one operation is in flight, and cancelling means undoing that one.
 */
#include "routing.h"

#include <event2/event.h>
#include <stdatomic.h>

#include "base.h"
#include "callout.h"
#include "config.h"
#include "embed.h"
#include "host_api.h"
#include "loader.h"
#include "log.h"
#include "metrics.h"
#include "query.h"
#include "tenant.h"
#include "watchdog.h"

enum {
        STEPS_MAX = 64,          /* of one router for one query; a router that goes on and on is broken */
        STALL_US = 5000,
        CALL_MS = 2000,
        REPLY_MAX = 1 << 20
};

static void route_advance(struct routing *x, pm_step_fn *step);
static void ask_next(struct routing *x);

static uint64_t new_ticket(void)
{
        static _Thread_local uint64_t n;

        if (n == 0)
                n = (uint64_t)now_us() * 0x9E3779B97F4A7C15ull | 1;
        n += 0x9E3779B97F4A7C15ull | 1;
        return n ? n : new_ticket();
}

static int64_t step_begins(struct routing *x)
{
        int64_t now = now_us();

        x->move = NO_MOVE;
        x->ticket = new_ticket();
        x->query.left_ms = MAX((x->deadline_us - now) / 1000, 0);
        (void)loader_enter(x->router->name, "a step"); /* never inside of another */
        return now;
}

/* Time in which the machine had no core for us is not the router's. */
static void step_ends(struct routing *x, int64_t began)
{
        static _Thread_local struct log_said said;
        int64_t took = now_us() - began, waited;
        char text[200];

        loader_leave((struct loader_call){ 0 });
        if (took < STALL_US)
                return;
        waited = watchdog_waited_us();
        if (took - waited < STALL_US)
                return;
        metrics_count_of(x->call.worker->loop.metrics, METRICS_ROUTER, x->router->metric, METRICS_AT(router, stalls));
        if (!log_may_say(&said, x->router->metric)) /* which it keeps over reloads */
                return;
        snprintf(text, sizeof text, "router '%s' blocked the event loop of worker %u for %.1f ms%s; move long work to pm_offload",
                 x->router->name, x->call.worker->loop.id, (double)(took - waited) / 1000, waited > took / 4 ? " at least (the machine is busy)" : "");
        route_say(x, PM_WARN, text);
}

static void end_router(struct routing *x, enum metrics_decision how)
{
        metrics_router(x->call.worker->loop.metrics, x->router->metric, how, now_us() - x->asked_us);
}

const char *decision_how_name(enum decision_how how)
{
#define V(how, name) name,
        static const char *const names[] = { DECISION_HOWS(V) };
#undef V

        _Static_assert(LENGTH_OF(names) == METRICS_HOWS, "metrics.h counts each way to decide");
        return names[how];
}

static struct expert *preset_of(const struct route *r, struct expert *const *candidates, size_t n)
{
        return r->preset && route_listed(candidates, n, r->preset) ? r->preset : n ? candidates[0] : NULL;
}

void route_complete_fallbacks(struct decision *d, const struct route *route, struct expert *const *candidates, size_t n_candidates, struct arena *a)
{
        size_t most = (size_t)MAX(route->fallbacks, 0), n = 0;
        struct expert **all = arena_alloc(a, (d->n_fallbacks + n_candidates + 1) * sizeof(struct expert *));
        struct expert *preset = preset_of(route, candidates, n_candidates);

        if (!all) {
                d->n_fallbacks = MIN(d->n_fallbacks, most);
                return;
        }
        for (size_t i = 0; i < d->n_fallbacks; i++)
                all[n++] = d->fallbacks[i];
        if (preset && preset != d->expert && !route_listed(all, n, preset))
                all[n++] = preset;
        for (size_t i = 0; i < n_candidates; i++)
                if (candidates[i] != d->expert && !route_listed(all, n, candidates[i]))
                        all[n++] = candidates[i];
        d->fallbacks = all;
        d->n_fallbacks = MIN(n, most);
}

static void finished(struct routing *x)
{
        if (x->decision.expert && !x->decision.only)
                route_complete_fallbacks(&x->decision, x->call.route, x->experts, x->query.n_experts, x->call.arena);
        x->done = true;
        if (x->timer)
                event_free(TAKE(x->timer));
        if (!x->starting)
                loop_wake(&x->call.worker->loop, x->call.owner);
}

static void decide_default(struct routing *x, const char *reason)
{
        x->decision = (struct decision){ .how = DECISION_DEFAULT, .reason = reason, .provisional = x->provisional,
                                            .expert = preset_of(x->call.route, x->experts, x->query.n_experts) };
        finished(x);
}

static void route_end(struct routing *x, enum move how)
{
        static _Thread_local struct log_said said;
        char text[512];

        switch (how) {
        case DECIDE:
        case CANDIDATES:
                end_router(x, ROUTER_DECIDED);
                finished(x);
                return;
        case PASS:
                end_router(x, ROUTER_PASSED);
                ask_next(x);
                return;
        case REJECT:
                end_router(x, ROUTER_REJECTED);
                x->decision = (struct decision){ .how = DECISION_DEFAULT, .router = x->router, .reason = x->text };
                x->rejected = true;
                finished(x);
                return;
        case FAIL:
                end_router(x, ROUTER_FAILED);
                snprintf(text, sizeof text, "router '%s' failed: %s%s%s", x->router->name, x->text ? x->text : "(out of memory for its reason)",
                         x->trouble ? "; " : "", x->trouble ? x->trouble : "");
                if (x->query.kind == PM_RECOMMEND) /* nobody answers in its place, so that its words are the client's */
                        x->failed = arena_printf(x->call.arena, "%s", text);
                break;
        case REFUSED:
                end_router(x, ROUTER_BROKEN);
                snprintf(text, sizeof text, "router '%s' is refused: it %s", x->router->name, x->text ? x->text : "ran out of memory");
                break;
        default:
                end_router(x, ROUTER_BROKEN);
                snprintf(text, sizeof text, "router '%s' is broken: %s", x->router->name,
                         x->move == TWO_MOVES   ? "it made two moves in one step"
                         : x->steps > STEPS_MAX ? "it took more than 64 steps for one query"
                         : x->move == NO_MOVE   ? "it returned without a move"
                                                : "it returned a step that its move did not make");
                break;
        }
        x->decision = (struct decision){ .explained = NULL };
        x->keepable = false; /* the next time it may succeed */
        if (log_may_say(&said, x->router->metric) || log_wants(PM_DEBUG))
                route_say(x, how == FAIL ? PM_WARN : PM_ERROR, text);
        if (x->only) { /* nobody else may have it, for all that is wrong with it */
                x->decision = (struct decision){ .how = DECISION_COMPUTED, .router = x->router, .only = true,
                                                 .reason = "the router's decision for one expert and no other is refused, see the log" };
                finished(x);
                return;
        }
        ask_next(x);
}

/* ---- continuations ---- */

static void job_done(struct pool_job *j)
{
        struct routing *x = j->arg;

        x->job = NULL;
        if (x->orphan) {
                x->free_me(x->free_arg);
                return;
        }
        if (x->done)
                return; /* the deadline came first */
        x->query.status = PM_OK;
        route_advance(x, x->then);
}

static void job_work(void *arg)
{
        struct routing *x = arg;

        struct loader_call before = loader_enter(x->router->name, "an offload");

        x->work(x->work_arg);
        loader_leave(before);
}

static void take_vector(struct routing *x)
{
        struct embed *e = TAKE(x->embed);

        x->query.status = e->status;
        x->query.http_status = e->ask.http_status;
        x->query.vector = e->vector;
        x->query.dim = e->dim;
        x->trouble = e->status < 0 ? e->error : NULL;
}

static void take_reply(struct routing *x)
{
        struct callout *e = TAKE(x->callout);

        x->query.status = e->status;
        x->query.http_status = e->http_status;
        x->query.reply = e->reply;
        x->replied = e->status == PM_OK ? e : NULL;
        x->later = x->later || e->status == PM_ELATER || (e->call.background && e->status == PM_EBUSY);
        x->trouble = e->status < 0 ? e->error : NULL;
}

static void operation_done(void *arg)
{
        struct routing *x = arg;

        if (x->embed && x->embed->done) {
                take_vector(x);
        } else if (x->callout && x->callout->done) {
                take_reply(x);
        } else {
                return;
        }
        route_advance(x, x->then);
}

/* The loop has not turned for so long that the deadline passed unseen: once more what was left of it, at most, so that what has come is
 * read first. */
static bool put_off(struct routing *x)
{
        int64_t now = now_us(), left = MIN(x->call.route->deadline_ms * 1000, LOOP_TURN_US);
        struct timeval t = { left / 1000000, left % 1000000 };

        if (now - x->deadline_us < LOOP_TURN_US || evtimer_add(x->timer, &t) < 0)
                return false;
        x->deadline_us = now + left;
        return true;
}

/* A pool job that runs goes on: x->job is left then. */
static void cancel_operation(struct routing *x)
{
        if (x->embed)
                embed_cancel(TAKE(x->embed));
        if (x->callout)
                callout_cancel(TAKE(x->callout));
        if (x->job && pool_withdraw(x->call.worker->pool, x->job))
                x->job = NULL;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
        struct routing *x = arg;
        const char *reason;

        (void)fd;
        (void)what;
        if (x->done || put_off(x))
                return;
        cancel_operation(x);
        end_router(x, ROUTER_DEADLINE);
        reason = arena_printf(x->call.arena, "router '%s' did not answer within %" PRId64 " ms", x->router->name,
                              x->call.route->deadline_ms);
        decide_default(x, reason);
}

static bool arm_deadline(struct routing *x)
{
        int64_t left = MAX(x->deadline_us - now_us(), 0);
        struct timeval t = { left / 1000000, left % 1000000 };

        if (x->timer)
                return true;
        x->timer = evtimer_new(x->call.worker->loop.base, on_deadline, x);
        if (x->timer && evtimer_add(x->timer, &t) == 0)
                return true;
        if (x->timer)
                event_free(TAKE(x->timer));
        return false;
}

/* Each move: AT_ONCE: its result is in the query.  UNDER_WAY: the loop calls us again.  Else the status that the router is told at once. */
enum { AT_ONCE = 1, UNDER_WAY = 0 };

/* The router is told that we are busy, and its failure says why. */
static int no_memory(struct routing *x)
{
        x->trouble = "the gateway is out of memory for this move";
        return PM_EBUSY;
}

static int start_embed(struct routing *x)
{
        const struct embedder *by = generation_embedder(x->call.generation, x->text ? x->text : "");

        if (!by)
                return PM_EINVAL;
        x->embed = x->to_embed.n && !x->to_embed.p ? NULL : arena_alloc(x->call.arena, sizeof *x->embed);
        if (!x->embed)
                return no_memory(x);
        if (!embed_start(x->embed, x->call.worker, x->call.arena, &x->wake, x->call.generation, by, x->to_embed, MAX(x->query.left_ms, 1)))
                return UNDER_WAY;
        take_vector(x);
        return AT_ONCE;
}

/* It goes into a request line as it is. */
static bool path_ok(const char *path)
{
        for (const char *p = path; *p; p++)
                if (*p <= ' ' || *p >= 0x7F)
                        return false;
        return *path == '/';
}

static int start_call(struct routing *x)
{
        const struct pm_call *c = &x->pm_call;
        int64_t limit = c->timeout_ms > 0 ? c->timeout_ms : CALL_MS;
        bool background = c->background && c->keep_s > 0;

        if (!x->asked || (c->path && !path_ok(c->path)))
                return PM_EINVAL;
        x->callout = c->path && c->body.p ? arena_alloc(x->call.arena, sizeof *x->callout) : NULL;
        if (!x->callout)
                return no_memory(x);
        if (!callout_start(x->callout, x->call.worker, x->call.arena, &x->wake,
                          &(struct callout_request){ .expert = x->asked, .path = c->path, .body = c->body, .router = x->router,
                                                 .generation = x->call.generation, .route = x->call.route,
                                                 .scope = x->call.route->cache.share_all ? NULL : x->call.tenant,
                                                 .timeout_ms = background ? limit : MAX(MIN(limit, x->query.left_ms), 1), .background = background,
                                                 .keep_ms = (int64_t)MAX(c->keep_s, 0) * 1000, .wish = x->call.wish,
                                                 .max_reply = c->max_reply ? MIN(c->max_reply, ROUTE_ALLOC_MAX) : REPLY_MAX }))
                return UNDER_WAY;
        take_reply(x);
        return AT_ONCE;
}

static int start_offload(struct routing *x)
{
        /* a new one each time: the last may still be on its way out of the pool's hands */
        struct pool_job *j = arena_zalloc(x->call.arena, sizeof *j);
        union { const struct router *from; struct router *to; } router = { x->router }; /* its share of the queue is counted there */

        if (!j)
                return no_memory(x);
        j->work = job_work;
        j->done = job_done;
        j->arg = x;
        j->inbox = &x->call.worker->loop.inbox;
        j->customer = &router.to->pool;
        if (pool_submit(x->call.worker->pool, j) < 0)
                return PM_EBUSY;
        x->job = j;
        return 0;
}

static int move_start(struct routing *x)
{
        x->trouble = NULL;
        x->replied = NULL;
        x->query.http_status = 0;
        x->query.reply = (struct pm_str){ 0 };
        x->query.vector = NULL;
        x->query.dim = 0;
        if (!arm_deadline(x))
                return no_memory(x);
        switch (x->move) {
        case EMBED:
                return start_embed(x);
        case CALL:
                return start_call(x);
        default:
                return start_offload(x);
        }
}

static void route_advance(struct routing *x, pm_step_fn *step)
{
        for (;;) {
                int64_t began = step_begins(x);
                int started;
                pm_step got = step(x->router->self, &x->query);

                step_ends(x, began);
                if (got.ticket != x->ticket || x->move == NO_MOVE || x->move == TWO_MOVES || ++x->steps > STEPS_MAX) {
                        route_end(x, BROKEN);
                        return;
                }
                if (x->move <= LAST_ENDING) {
                        route_end(x, (enum move)x->move);
                        return;
                }
                started = move_start(x);
                if (started == UNDER_WAY)
                        return; /* the loop calls us again */
                if (started != AT_ONCE)
                        x->query.status = started;
                step = x->then;
        }
}

static pm_step_fn *first_step(const struct routing *x, const struct router *r)
{
        return x->query.kind == PM_RECOMMEND ? r->table->recommend : r->table->route;
}

static void ask_next(struct routing *x)
{
        const struct route *r = x->call.route;

        x->provisional = x->provisional || x->later;
        x->later = false;
        while (x->next < r->n_routers && (!first_step(x, r->routers[x->next]) || (x->call.insisting && !r->routers[x->next]->insists)))
                x->next++; /* it is for the other kind of query, or has nothing to say to this one */
        if (x->next >= r->n_routers) {
                decide_default(x, x->query.kind == PM_CHAT && x->query.n_experts == 0 ? "no expert is available"
                                  : x->failed                                         ? x->failed
                                  : r->n_routers                                      ? "no router decided"
                                                                                      : "the route has no routers");
                return;
        }
        if (now_us() >= x->deadline_us) {
                decide_default(x, "the route's deadline has passed");
                return;
        }
        x->router = r->routers[x->next++];
        x->keepable = x->keepable && x->next <= r->cache.n_routers;
        view_for(&x->query, &x->all, x->router->table->reads);
        x->replied = NULL;
        x->steps = 0;
        x->asked_us = now_us();
        x->query.state = NULL;
        x->query.status = PM_OK;
        x->trouble = NULL;
        route_advance(x, first_step(x, x->router));
}

bool route_may_use(const struct route *route, const struct tenant *tenant, enum expert_api api, const struct expert *e)
{
        return route_listed(route->experts, route->n_experts, e) && e->apis & api && tenant_may_use(tenant, e);
}

int route_candidates(const struct route *route, const struct tenant *tenant, const struct query *q, struct arena *a,
                     struct expert ***ret, size_t *ret_n, bool *ret_all)
{
        struct expert **list = arena_alloc(a, (route->n_experts + 1) * sizeof(struct expert *)), *longest = NULL;
        int64_t now = now_us(), least = -1;
        size_t n = 0;
        bool all = true;

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < route->n_experts; i++) {
                struct expert *e = route->experts[i];

                if (!(e->apis & q->api) || !tenant_may_use(tenant, e))
                        continue;
                if (!expert_available(e, now)) {
                        all = false;
                } else if (e->context && !query_fits(q, e->context, &least)) {
                        all = false;
                        longest = !longest || e->context > longest->context ? e : longest;
                } else {
                        list[n++] = e;
                }
        }
        if (n == 0 && longest)
                list[n++] = longest;
        *ret_all = all;
        *ret = list;
        *ret_n = n;
        return 0;
}

/* What routers see of the candidates, as they are now. */
static int show_experts(struct routing *x)
{
        size_t n = x->query.n_experts;
        struct pm_expert *shown = arena_alloc(x->call.arena, (n + 1) * sizeof *shown);
        const struct pm_expert **list = arena_alloc(x->call.arena, (n + 1) * sizeof *list);

        if (!shown || !list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const struct expert *e = x->experts[i];

                list[i] = &shown[i];
                shown[i] = (struct pm_expert){
                        .name = e->name, .price_in = e->price_in, .price_out = e->price_out, .context = e->context,
                        .first_token_ms = (double)atomic_load_explicit(&e->state->first_us, memory_order_relaxed) / 1000,
                        .in_flight = atomic_load_explicit(&e->state->in_flight, memory_order_relaxed),
                };
        }
        x->query.experts = list;
        return 0;
}

static void start_recommend(struct routing *x)
{
        const struct recommend_query *from = x->call.recommend;
        struct pm_query *q = &x->query;

        q->kind = PM_RECOMMEND;
        q->model = (struct pm_str){ x->call.route->name, strlen(x->call.route->name) };
        q->user = from->user;
        q->body = from->body;
        q->history = from->history;
        q->n_history = from->n_history;
        q->exclude = from->exclude;
        q->n_exclude = from->n_exclude;
        q->wanted = from->wanted;
        q->allow = from->allow;
        q->n_allow = from->n_allow;
        q->filters = from->filters;
        q->n_filters = from->n_filters;
        q->keep_seen = from->keep_seen;
        x->all = view_of(q);
        ask_next(x);
}

static void start(struct routing *x, const struct routing_call *call)
{
        const struct tenant *t = call->tenant;

        *x = (struct routing){ .call = *call, .deadline_us = call->deadline_us ? call->deadline_us : now_us() + call->route->deadline_ms * 1000,
                               .starting = true };
        x->wake = (struct wake){ .fn = operation_done, .arg = x };
        x->query = (struct pm_query){
                .size = sizeof(struct pm_query), .kind = PM_CHAT, .host = &route_host, .id = call->id,
                .tenant = { t ? t->name : "", t ? strlen(t->name) : 0 }, .explain = call->explain,
        };
        if (call->recommend) {
                start_recommend(x);
                return;
        }
        x->query.model = call->query->model;
        if (route_candidates(call->route, t, call->query, call->arena, &x->experts, &x->query.n_experts, &x->keepable) < 0 ||
            (call->route->reads_messages ? query_texts : query_last_text)(call->query, call->arena, &x->query) < 0 || show_experts(x) < 0) {
                x->query.n_experts = 0;
                decide_default(x, "out of memory for routing");
                return;
        }
        x->all = view_of(&x->query);
        if (x->query.n_experts == 0) /* to say so is for those who mean one that is not there */
                x->call.insisting = true;
        ask_next(x);
}

void routing_start(struct routing *x, const struct routing_call *call)
{
        start(x, call);
        x->starting = false;
}

bool routing_finish(struct routing *x, void (*free_me)(void *arg), void *arg)
{
        if (!x->call.worker)
                return true;
        loop_unwake(&x->call.worker->loop, &x->wake);
        loop_unwake(&x->call.worker->loop, x->call.owner);
        if (x->timer)
                event_free(TAKE(x->timer));
        if (!x->done && x->router)
                end_router(x, ROUTER_CANCELLED);
        x->done = true;
        cancel_operation(x);
        if (!x->job)
                return true;
        x->orphan = true;
        x->free_me = free_me;
        x->free_arg = arg;
        return false;
}
