/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An errand in the background is an errand of the worker's own (struct sent), with its own memory and a hold on its generation.  The query's
 * errand watches it only while Redis is asked, which takes microseconds, and never while an expert is.
 */
#include "errand.h"

#include "base.h"
#include "config.h"
#include "expert.h"
#include "log.h"
#include "settings.h"

enum { SAY_AGAIN_US = 60000000, MEMORY_BESIDE = 256 << 10 };

struct sent {
        struct errand errand;
        struct arena arena;
        struct wake wake;        /* the errand has ended */
        struct errand *watcher;  /* NULL: nobody waits */
        struct errands *all;
        struct sent *next, **pprev;
};

struct errands {
        struct worker *worker;
        struct sent *first;
        unsigned n;
        int64_t said_at;
};

static void failed(struct errand *e, int status, const char *why)
{
        e->status = status;
        (void)snprintf(e->error, sizeof e->error, "%s", why);
        e->done = true;
}

static void take(struct errand *e, struct pm_str reply)
{
        e->reply = reply;
        e->http_status = 200;
        e->status = PM_OK;
        e->done = true;
}

static void go_and_ask(struct errand *e)
{
        const struct errand_call *c = &e->call;

        e->asked = true;
        ask_start(&e->ask, e->lookup.worker, e->lookup.arena, &e->wake, c->expert, c->path, c->body, c->timeout_ms, c->max_reply);
}

static void read_answer(struct errand *e)
{
        const struct ask *a = &e->ask;
        bool good = a->status == PM_OK;

        e->http_status = a->http_status;
        e->reply = a->reply;
        e->status = a->status;
        if (!good)
                (void)snprintf(e->error, sizeof e->error, "%s", a->error);
        if (e->lookup.key.local.p)
                lookup_done(&e->lookup, good ? a->reply : (struct pm_str){ 0 }, e->call.keep_ms);
        e->done = true;
}

/* On as far as it goes now. */
static void advance(struct errand *e, enum lookup_state state)
{
        if (state == LOOKUP_FOUND)
                take(e, e->lookup.value);
        else if (state == LOOKUP_COMPUTE)
                go_and_ask(e);
}

static void on_news(void *arg)
{
        struct errand *e = arg;

        if (e->done)
                return;
        if (!e->asked)
                advance(e, lookup_state(&e->lookup));
        else if (e->ask.done)
                read_answer(e);
        if (e->done)
                worker_wake(e->lookup.worker, e->owner);
}

/* The expert's model and name, not its endpoint: a model that answers from another place is the same model. */
static bool make_key(struct errand *e)
{
        const struct errand_call *c = &e->call;
        struct cache *cache = e->lookup.worker->cache;

        cache_sum_begin(cache);
        cache_sum_text(cache, (struct pm_str){ c->expert->name, strlen(c->expert->name) });
        cache_sum_text(cache, (struct pm_str){ c->expert->model, strlen(c->expert->model) });
        cache_sum_text(cache, (struct pm_str){ c->path, strlen(c->path) });
        cache_sum_text(cache, c->body);
        return cache_sum_key(cache, c->generation, CACHE_KEY_REPLY, c->scope, c->route, e->lookup.arena, &e->lookup.key);
}

/* ---- in the background ---------------------------------------------------------------------------------------------------- */

/* What failed out of anybody's sight: a line a minute. */
static void say(struct errands *all, const struct errand *e)
{
        struct log_line l;
        int64_t now = now_us();

        if (all->said_at && now - all->said_at < SAY_AGAIN_US)
                return;
        all->said_at = now;
        log_begin(&l, all->worker->log, PM_WARN, "what a router has sent for in the background did not come");
        log_text(&l, "router", e->call.router);
        log_text(&l, "error", e->error);
        log_end(&l);
}

static void sent_free(struct sent *s)
{
        struct errand_call c = s->errand.call;

        *s->pprev = s->next;
        if (s->next)
                s->next->pprev = s->pprev;
        s->all->n--;
        worker_unwake(s->all->worker, &s->wake);
        errand_cancel(&s->errand);
        arena_finish(&s->arena);
        free(s);
        generation_release(c.generation);
}

/* Redis has been asked: who watched goes on. */
static void tell_watcher(struct sent *s)
{
        struct errand *e = TAKE(s->watcher);
        char *copy;

        if (!e)
                return;
        e->sent = NULL;
        if (!s->errand.done) {
                failed(e, PM_ELATER, "it was sent for");
        } else {
                copy = arena_strndup(e->lookup.arena, s->errand.reply.p, s->errand.reply.n);
                if (copy)
                        take(e, (struct pm_str){ copy, s->errand.reply.n });
                else
                        failed(e, PM_ETOOBIG, "no memory for a kept reply");
        }
        worker_wake(e->lookup.worker, e->owner);
}

static void on_sent_done(void *arg)
{
        struct sent *s = arg;

        tell_watcher(s);
        if (s->errand.status != PM_OK)
                say(s->all, &s->errand);
        sent_free(s);
}

/* As on_news, and whoever watches is told when Redis had nothing. */
static void on_sent_news(void *arg)
{
        struct sent *s = arg;

        on_news(&s->errand);
        if (s->errand.asked)
                tell_watcher(s);
}

static struct sent *sent_create(struct errands *all, const struct errand *e)
{
        const struct errand_call *c = &e->call;
        struct sent *s = calloc(1, sizeof *s);
        struct errand *mine;

        if (!s)
                return NULL;
        arena_init(&s->arena, &all->worker->arenas, c->body.n + 2 * c->max_reply + MEMORY_BESIDE);
        mine = &s->errand;
        mine->call = *c;
        mine->call.path = arena_strndup(&s->arena, c->path, strlen(c->path));
        mine->call.body.p = arena_strndup(&s->arena, c->body.p, c->body.n);
        mine->call.router = arena_strndup(&s->arena, c->router, strlen(c->router));
        mine->lookup = (struct lookup){ .worker = all->worker, .arena = &s->arena, .owner = &mine->wake, .redis_us = e->lookup.redis_us };
        mine->wake = (struct wake){ .fn = on_sent_news, .arg = s };
        mine->owner = &s->wake;
        s->wake = (struct wake){ .fn = on_sent_done, .arg = s };
        if (!mine->call.path || !mine->call.body.p || !mine->call.router || !make_key(mine)) {
                arena_finish(&s->arena);
                free(s);
                return NULL;
        }
        mine->call.generation = generation_take(c->generation);
        s->all = all;
        s->next = all->first;
        if (s->next)
                s->next->pprev = &s->next;
        s->pprev = &all->first;
        all->first = s;
        all->n++;
        return s;
}

static void send_for(struct errand *e, struct errands *all)
{
        struct sent *s = all->n < ERRANDS_MAX ? sent_create(all, e) : NULL;
        enum lookup_state state;

        if (!s) {
                failed(e, PM_EBUSY, all->n < ERRANDS_MAX ? "no memory" : "too much is being sent for already");
                return;
        }
        state = lookup_begin(&s->errand.lookup);
        if (state == LOOKUP_WAITS && !s->errand.lookup.flight.leader) {
                s->watcher = e;
                e->sent = s;
                return;
        }
        if (state == LOOKUP_COMPUTE)
                go_and_ask(&s->errand);
        else
                sent_free(s); /* somebody else is at it */
        failed(e, PM_ELATER, "it was sent for");
}


bool errand_start(struct errand *e, struct worker *w, struct arena *arena, struct wake *owner, const struct errand_call *call)
{
        *e = (struct errand){ .call = *call, .owner = owner };
        e->wake = (struct wake){ .fn = on_news, .arg = e };
        e->lookup = (struct lookup){ .worker = w, .arena = arena, .owner = &e->wake };
        e->lookup.redis_us = MIN(call->generation->cache->redis.timeout, call->timeout_ms) * 1000;
        if (call->keep_ms <= 0 || !make_key(e)) {
                e->lookup.key = (struct cache_key){ 0 };
                go_and_ask(e);
                return false;
        }
        if (call->background) {
                if (lookup_local(&e->lookup))
                        take(e, e->lookup.value);
                else
                        send_for(e, w->errands);
                return e->done;
        }
        advance(e, lookup_begin(&e->lookup));
        return e->done;
}

void errand_cancel(struct errand *e)
{
        if (!e->lookup.worker)
                return;
        worker_unwake(e->lookup.worker, e->owner);
        if (e->sent)
                TAKE(e->sent)->watcher = NULL;
        lookup_cancel(&e->lookup);
        ask_cancel(&e->ask); /* takes e->wake off too */
        e->done = true;
}

struct errands *errands_create(struct worker *w)
{
        struct errands *all = calloc(1, sizeof *all);

        if (all)
                all->worker = w;
        return all;
}

void errands_destroy(struct errands *all)
{
        if (!all)
                return;
        while (all->first)
                sent_free(all->first);
        free(all);
}
