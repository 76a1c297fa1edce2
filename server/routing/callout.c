/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the background, too, the query's own callout looks into memory and Redis, which takes microseconds.  What is found nowhere is handed
 * over to an callout of the worker's (struct background_call), with its own memory and a hold on its generation, and the query goes on without it.
 */
#include "callout.h"

#include "base.h"
#include "config.h"
#include "expert.h"
#include "list.h"
#include "log.h"
#include "settings.h"

enum { MEMORY_BESIDE = 256 << 10 };

struct background_call {
        struct callout callout;
        struct arena arena;
        struct callouts *all;
        struct background_call *next, **pprev;
};

struct callouts {
        struct worker *worker;
        struct background_call *first;
        unsigned n;
        struct log_said said;
};

static void count(const struct callout *e, enum metrics_call how)
{
        metrics_count_of(e->lookup.loop->metrics, METRICS_ROUTER, e->call.router->metric, METRICS_AT(router, calls[how]));
}

static void ended(struct callout *e, int status, enum metrics_call how, const char *why)
{
        e->status = status;
        (void)snprintf(e->error, sizeof e->error, "%s", why);
        e->done = true;
        count(e, how);
}

/* What was kept may be longer than this one wants it. */
static void take_kept(struct callout *e)
{
        enum metrics_recall from = e->lookup.from;

        if (e->lookup.value.n > e->call.max_reply) {
                ended(e, PM_ETOOBIG, ROUTER_CALL_FAILED, "the cached reply is longer than max_reply");
                return;
        }
        e->reply = e->lookup.value;
        e->http_status = 200;
        ended(e, PM_OK, from == METRICS_RECALL_LOCAL ? ROUTER_CALL_LOCAL : from == METRICS_RECALL_SHARED ? ROUTER_CALL_SHARED : ROUTER_CALL_JOINED, "");
}

static void go_and_ask(struct callout *e)
{
        const struct callout_request *c = &e->call;
        int64_t left = (e->until_us - now_us() + 999) / 1000;

        e->asked = true;
        exchange_start(&e->ask, e->worker, e->lookup.arena, &e->wake, c->expert, c->path, c->body, MAX(left, 1), c->max_reply);
}

/* Of an exchange that has ended, for those that wait for it and later ones.  An empty reply is not worth keeping. */
static void keep_answer(struct callout *e)
{
        const struct exchange *a = &e->ask;

        if (e->lookup.key.local.p)
                lookup_done(&e->lookup, a->status == PM_OK && a->reply.n ? a->reply : (struct pm_str){ 0 }, e->call.keep_ms);
}

static void read_answer(struct callout *e)
{
        const struct exchange *a = &e->ask;

        keep_answer(e);
        e->http_status = a->http_status;
        e->reply = a->reply;
        ended(e, a->status, a->status == PM_OK ? ROUTER_CALL_ASKED : ROUTER_CALL_FAILED, a->status == PM_OK ? "" : a->error);
}

/* ---- in the background ---------------------------------------------------------------------------------------------------- */

static void background_call_free(struct background_call *s)
{
        struct generation *g = s->callout.call.generation;

        LIST_UNLINK(s);
        s->all->n--;
        lookup_cancel(&s->callout.lookup);
        exchange_cancel(&s->callout.ask);
        arena_finish(&s->arena);
        free(s);
        generation_release(g);
}

/* It failed out of anybody's sight. */
static void tell_failure(struct callouts *all, const struct callout *e)
{
        struct log_line l;

        metrics_count_of(all->worker->loop.metrics, METRICS_ROUTER, e->call.router->metric, METRICS_AT(router, sent_failed));
        if (!log_may_say(&all->said, e->call.router->metric))
                return;
        log_begin(&l, all->worker->loop.log, PM_WARN, "background callout failed");
        log_text(&l, "router", e->call.router->name);
        log_text(&l, "error", e->ask.error);
        log_end(&l);
}

static void on_sent_news(void *arg)
{
        struct background_call *s = arg;

        if (!s->callout.ask.done)
                return;
        keep_answer(&s->callout);
        if (s->callout.ask.status != PM_OK)
                tell_failure(s->all, &s->callout);
        background_call_free(s);
}

static struct background_call *background_call_create(struct callouts *all, const struct callout *from)
{
        const struct callout_request *c = &from->call;
        struct background_call *s = calloc(1, sizeof *s);
        struct callout *e;
        size_t prefix = from->lookup.key.shared.n - from->lookup.key.local.n;

        if (!s)
                return NULL;
        arena_init(&s->arena, &all->worker->loop.arenas, c->body.n + 2 * c->max_reply + MEMORY_BESIDE);
        e = &s->callout;
        e->call = *c;
        e->call.path = arena_strndup(&s->arena, c->path, strlen(c->path));
        e->call.body.p = arena_strndup(&s->arena, c->body.p, c->body.n);
        e->wake = (struct wake){ .fn = on_sent_news, .arg = s };
        e->until_us = now_us() + c->timeout_ms * 1000;
        e->lookup = (struct lookup){ .loop = &all->worker->loop, .cache = all->worker->cache, .arena = &s->arena,
                                      .owner = &e->wake, .of = METRICS_CACHE_REPLIES, .key = from->lookup.key };
        e->worker = all->worker;
        e->lookup.key.shared.p = arena_strndup(&s->arena, from->lookup.key.shared.p, from->lookup.key.shared.n);
        if (!e->call.path || !e->call.body.p || !e->lookup.key.shared.p) {
                arena_finish(&s->arena);
                free(s);
                return NULL;
        }
        e->lookup.key.local.p = e->lookup.key.shared.p + prefix;
        e->call.generation = generation_take(c->generation);
        s->all = all;
        LIST_PUSH(&all->first, s);
        all->n++;
        return s;
}

/* Found nowhere.  Those that wait for this callout will find the worker's in its place. */
static void start_background(struct callout *e)
{
        struct callouts *all = e->worker->callouts;
        bool room = all->n < CALLOUTS_MAX;
        struct background_call *s;

        lookup_cancel(&e->lookup);
        s = room ? background_call_create(all, e) : NULL;
        if (!s) {
                ended(e, PM_EBUSY, ROUTER_CALL_BUSY, room ? "out of memory" : "64 background callouts are already in flight");
        } else if (lookup_lead(&s->callout.lookup)) {
                go_and_ask(&s->callout);
                ended(e, PM_ELATER, ROUTER_CALL_SENT, "it is called in the background");
        } else {
                background_call_free(s);
                ended(e, PM_ELATER, ROUTER_CALL_LATER, "it is already in flight");
        }
}

/* ---- of a query ----------------------------------------------------------------------------------------------------------- */

static void in_flight(struct callout *e)
{
        lookup_cancel(&e->lookup);
        ended(e, PM_ELATER, ROUTER_CALL_LATER, "it is already in flight");
}

/* On as far as it goes now.  It waits for another's exchange as long as one of its own could take; in the background only while that one
 * looks into the store. */
static void advance(struct callout *e, enum lookup_state state)
{
        bool background = e->call.background;

        switch (state) {
        case LOOKUP_NEW:
        case LOOKUP_FETCHING:
                break;
        case LOOKUP_JOINED:
                if (background && lookup_leader_computes(&e->lookup))
                        in_flight(e);
                break;
        case LOOKUP_FOUND:
                take_kept(e);
                break;
        case LOOKUP_COMPUTE:
                if (background)
                        start_background(e);
                else
                        go_and_ask(e);
                break;
        case LOOKUP_TIMED_OUT:
                if (background)
                        in_flight(e);
                else
                        ended(e, PM_ETIMEOUT, ROUTER_CALL_FAILED, "timeout of the call that it waited for");
                break;
        }
}

static void on_news(void *arg)
{
        struct callout *e = arg;

        if (e->done)
                return;
        if (!e->asked)
                advance(e, lookup_state(&e->lookup));
        else if (e->ask.done)
                read_answer(e);
        if (e->done)
                loop_wake(e->lookup.loop, e->owner);
}

/* The expert's name and model, not its endpoint: a model that answers from another place is the same model. */
static bool make_key(struct callout *e)
{
        const struct callout_request *c = &e->call;
        struct cache *cache = e->lookup.cache;

        cache_sum_begin(cache);
        cache_sum_text(cache, (struct pm_str){ c->expert->name, strlen(c->expert->name) });
        cache_sum_text(cache, (struct pm_str){ c->expert->model, strlen(c->expert->model) });
        cache_sum_text(cache, (struct pm_str){ c->path, strlen(c->path) });
        cache_sum_text(cache, c->body);
        return cache_sum_key(cache, c->generation, CACHE_KEY_REPLY, c->scope, c->route, e->lookup.arena, &e->lookup.key);
}

/* Nothing is looked for; the reply of a refresh is kept in place of what there may be. */
static void start_anew(struct callout *e)
{
        if (!e->call.background) {
                go_and_ask(e);
        } else if (e->call.wish == CALLOUT_REFRESH) {
                start_background(e);
        } else {
                ended(e, PM_ELATER, ROUTER_CALL_LATER, "the client disabled caching");
        }
}

bool callout_start(struct callout *e, struct worker *w, struct arena *arena, struct wake *owner, const struct callout_request *call)
{
        *e = (struct callout){ .call = *call, .owner = owner, .until_us = now_us() + call->timeout_ms * 1000 };
        e->wake = (struct wake){ .fn = on_news, .arg = e };
        e->lookup = (struct lookup){ .loop = &w->loop, .cache = w->cache, .arena = arena, .owner = &e->wake, .of = METRICS_CACHE_REPLIES };
        e->worker = w;
        e->lookup.store_us = MIN(call->generation->cache->redis.timeout, call->timeout_ms) * 1000;
        e->lookup.until_us = call->background ? now_us() + e->lookup.store_us : e->until_us;
        if (call->keep_ms <= 0 || call->wish == CALLOUT_UNCACHED) {
                start_anew(e);
        } else if (!make_key(e)) {
                e->lookup.key = (struct cache_key){ 0 };
                ended(e, PM_EBUSY, ROUTER_CALL_FAILED, "out of memory for a key");
        } else if (call->wish == CALLOUT_REFRESH) {
                start_anew(e);
        } else {
                advance(e, lookup_begin(&e->lookup));
        }
        return e->done;
}

void callout_shorten(struct callout *e, int64_t keep_ms)
{
        if (e->lookup.key.local.p && keep_ms < e->call.keep_ms)
                lookup_shorten(&e->lookup, e->reply, keep_ms);
}

void callout_cancel(struct callout *e)
{
        if (!e->lookup.loop)
                return;
        loop_unwake(e->lookup.loop, e->owner);
        lookup_cancel(&e->lookup);
        exchange_cancel(&e->ask); /* takes e->wake off too */
        if (!e->done)
                ended(e, PM_ETIMEOUT, ROUTER_CALL_CANCELLED, "cancelled");
}

/* ---- the worker's --------------------------------------------------------------------------------------------------------- */

struct callouts *callouts_create(struct worker *w)
{
        struct callouts *all = calloc(1, sizeof *all);

        if (all)
                all->worker = w;
        return all;
}

void callouts_destroy(struct callouts *all)
{
        if (!all)
                return;
        while (all->first)
                background_call_free(all->first);
        free(all);
}
