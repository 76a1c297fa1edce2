/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker is built on the main thread, so that what fails is reported before anything serves, and from then on touched by its
 * own thread only.
 */
#include "worker_thread.h"

#include <event2/event.h>
#include <stdatomic.h>

#include "cache.h"
#include "callout.h"
#include "config.h"
#include "crash.h"
#include "event_log.h"
#include "http.h"
#include "limiter.h"
#include "log.h"
#include "metrics.h"
#include "paths.h"
#include "pool.h"
#include "request.h"
#include "upstream.h"
#include "watchdog.h"

#include "base.h"

struct worker_thread {
        struct worker worker;          /* first: worker_connections() */
        struct http *http;             /* the front: listeners and connections */
        pthread_t thread;
        struct event *drain_poll, *count, *beat;
        bool counting;
        _Atomic unsigned connections;
        struct inbox *home;
        struct message stop, drain, cut_short, drained;
};

static struct worker_thread *thread_of(struct worker *w)
{
        return CONTAINER_OF(w, struct worker_thread, worker);
}

/* For scrapes: after each turn that ran something, and each second as long as there are connections. */
static void publish_connections(void *owner)
{
        static const struct timeval second = { 1, 0 };
        struct worker_thread *t = thread_of(owner);
        unsigned n = t->http ? http_connections(t->http) : 0;

        atomic_store_explicit(&t->connections, n, memory_order_relaxed);
        if (n && !t->counting)
                t->counting = event_add(t->count, &second) == 0;
}

static void on_count(evutil_socket_t fd, short what, void *arg)
{
        struct worker_thread *t = arg;

        (void)fd, (void)what;
        t->counting = false;
        publish_connections(&t->worker);
}

/* ---- messages ----------------------------------------------------------------------------------------------------------- */
static void on_stop(struct message *m, void *owner)
{
        struct worker *w = owner;

        (void)m;
        (void)event_base_loopbreak(w->loop.base);
}

static void on_drain_poll(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval interval = { 0, 10000 };
        struct worker_thread *t = arg;

        (void)fd, (void)what;
        publish_connections(&t->worker);
        if (http_connections(t->http) == 0)
                inbox_post(t->home, &t->drained);
        else
                (void)event_add(t->drain_poll, &interval);
}

static void on_drain(struct message *m, void *owner)
{
        struct worker_thread *t = thread_of(owner);

        (void)m;
        http_drain(t->http);
        on_drain_poll(-1, 0, t);
}

/* Only certificates may change; other listeners wait for the next start, as the gateway has said. */
static bool same_listeners(const struct generation *a, const struct generation *b)
{
        if (a->n_listeners != b->n_listeners)
                return false;
        for (size_t i = 0; i < a->n_listeners; i++)
                if (strcmp(a->listeners[i].address, b->listeners[i].address) != 0 ||
                    !a->listeners[i].tls.certificate != !b->listeners[i].tls.certificate)
                        return false;
        return true;
}

static void on_generation(struct message *m, void *owner)
{
        struct generation_message *n = CONTAINER_OF(m, struct generation_message, m);
        struct generation *before;
        struct worker *w = owner;
        const char *why = NULL;

        pool_calm_openmp();
        http_set_limits(thread_of(w)->http, &n->g->limits);
        if (same_listeners(w->generation, n->g) && http_set_certificates(thread_of(w)->http, n->g->listeners, n->g->n_listeners, &why) < 0)
                log_msg(w->loop.log, PM_ERROR, "cannot load the new certificates: %s; keeping the old ones", why);
        before = w->generation;
        w->generation = n->g;
        generation_release(before);
        cache_reload(w->cache, n->g);
}

void worker_post_generation(struct worker *w, struct generation *g, struct generation_message *n)
{
        *n = (struct generation_message){ .m.deliver = on_generation, .g = generation_take(g) };
        inbox_post(&w->loop.inbox, &n->m);
}

void worker_post_drain(struct worker *w)
{
        inbox_post(&w->loop.inbox, &thread_of(w)->drain);
}

static void on_cut_short(struct message *m, void *owner)
{
        (void)m;
        http_cut_short(thread_of(owner)->http);
}

void worker_post_cut_short(struct worker *w)
{
        inbox_post(&w->loop.inbox, &thread_of(w)->cut_short);
}

/* If `to` ends first it was told to, and so were its clients. */
static void on_given(struct message *m, void *owner)
{
        struct http_given *given = CONTAINER_OF(m, struct http_given, message);
        struct worker_thread *t = thread_of(owner);

        if (t->http) {
                http_take(t->http, given);
                return;
        }
        (void)close(given->fd);
        free(given);
}

static void give(void *arg, struct http_given *given)
{
        struct worker *to = arg;

        given->message.deliver = on_given;
        inbox_post(&to->loop.inbox, &given->message);
}

void worker_relieve(struct worker *from, struct worker *to)
{
        http_relieve(thread_of(from)->http, give, to);
}

unsigned worker_connections(const struct worker *w)
{
        return atomic_load_explicit(&((const struct worker_thread *)w)->connections, memory_order_relaxed);
}

/* ---- the thread --------------------------------------------------------------------------------------------------------- */
static void on_beat(evutil_socket_t fd, short what, void *arg)
{
        struct worker_thread *t = arg;

        (void)fd, (void)what;
        (void)loop_clock(&t->worker.loop, now_us());
        watchdog_beat();
}

static void *thread_main(void *arg)
{
        static const struct timeval beat = { 0, WATCHDOG_BEAT_MS * 1000 };
        struct worker_thread *t = arg;
        struct loop *l = &t->worker.loop;
        char name[16];

        l->turned_us = now_us();
        crash_thread_begin();
        (void)snprintf(name, sizeof name, "worker %u", l->id);
        watchdog_thread_begin(name, WATCHDOG_WORKER, &t->worker);
        pool_calm_openmp();
        if (event_add(t->beat, &beat) < 0)
                log_msg(l->log, PM_ERROR, "out of memory for the heartbeat of worker %u", l->id);
        (void)event_base_dispatch(l->base);
        http_destroy(TAKE(t->http));
        loop_run_woken(l); /* what the dropped requests have woken */
        log_buffer_flush(l->log);
        watchdog_thread_end();
        return NULL;
}

static int thread_start(struct worker_thread *t)
{
        sigset_t former;
        char name[16];
        int r;

        crash_block_signals(&former);
        r = pthread_create(&t->thread, NULL, thread_main, t);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r != 0)
                return -r;
        (void)snprintf(name, sizeof name, "worker/%u", t->worker.loop.id);
        (void)pthread_setname_np(t->thread, name);
        return 0;
}

static int events_create(struct worker_thread *t)
{
        struct event_base *base = t->worker.loop.base;

        t->drain_poll = event_new(base, -1, 0, on_drain_poll, t);
        t->count = event_new(base, -1, 0, on_count, t);
        t->beat = event_new(base, -1, EV_PERSIST, on_beat, t);
        return t->drain_poll && t->count && t->beat ? 0 : -ENOMEM;
}

static int services_create(struct worker *w, const struct generation *g)
{
        w->upstream = upstream_create(&w->loop);
        w->cache = cache_create(&w->loop, g);
        w->event_log = event_log_create(w->loop.base);
        w->callouts = callouts_create(w);
        return w->upstream && w->cache && w->event_log && w->callouts ? 0 : -ENOMEM;
}

static struct http *front_create(struct worker *w, const struct worker_setup *s, const char **why)
{
        const struct http_setup setup = { .handler = &request_handler, .owner = w, .limits = &s->generation->limits,
                                          .listeners = s->generation->listeners, .fds = s->fds, .n = s->n_fds,
                                          .clients = s->clients, .away = s->away };

        return http_create(&w->loop, &setup, why);
}

struct worker *worker_create(const struct worker_setup *s, const char **why)
{
        struct worker_thread *t = calloc(1, sizeof *t);
        size_t unowned = s->n_fds;

        *why = "out of memory";
        if (t) {
                struct worker *w = &t->worker;

                w->gateway = s->gateway;
                w->pool = s->pool;
                w->limiter = &limiter_in_flight;
                w->apis = paths_all(&w->n_apis);
                t->home = s->home;
                t->stop.deliver = on_stop;
                t->drain.deliver = on_drain;
                t->cut_short.deliver = on_cut_short;
                t->drained.deliver = s->drained;
                w->generation = generation_take(s->generation);
                if (loop_init(&w->loop, s->id, publish_connections, w) == 0 && events_create(t) == 0 && services_create(w, s->generation) == 0) {
                        unowned = 0;
                        t->http = front_create(w, s, why);
                        if (t->http && thread_start(t) == 0)
                                return w;
                        if (t->http)
                                *why = "cannot start a thread: out of memory, or of threads";
                }
        }
        for (size_t i = 0; i < unowned; i++)
                (void)close(s->fds[i]);
        worker_destroy(t ? &t->worker : NULL);
        return NULL;
}

void worker_stop(struct worker *w)
{
        struct worker_thread *t = thread_of(w);

        inbox_post(&w->loop.inbox, &t->stop);
        (void)pthread_join(t->thread, NULL);
}

void worker_destroy(struct worker *w)
{
        struct worker_thread *t;

        if (!w)
                return;
        t = thread_of(w);
        http_destroy(TAKE(t->http)); /* if its thread never ran */
        loop_finish_inbox(&w->loop);
        callouts_destroy(w->callouts);
        upstream_destroy(w->upstream);
        cache_destroy(w->cache);
        event_log_destroy(w->event_log);
        if (t->drain_poll)
                event_free(t->drain_poll);
        if (t->count)
                event_free(t->count);
        if (t->beat)
                event_free(t->beat);
        generation_release(w->generation);
        loop_finish(&w->loop);
        free(t);
}
