/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker is built on the main thread, so that what fails is reported before anything serves, and from then on touched by its
 * own thread only.  What is woken runs in passes over a list: a pass runs what was on the list when it began, and after a few
 * passes in a row, or a millisecond of them, the sockets have their turn.
 */
#include "worker.h"

#include <event2/event.h>
#include <stdatomic.h>

#include "cache.h"
#include "errand.h"
#include "config.h"
#include "crash.h"
#include "http.h"
#include "log.h"
#include "metrics.h"
#include "pool.h"
#include "upstream.h"
#include "watchdog.h"
#include "writer.h"

#include "base.h"

#define ARENA_BLOCKS_KEPT 256
#define PASSES_IN_A_ROW 8
#define PASSES_US 1000

/* ---- what is woken ------------------------------------------------------------------------------------------------------ */
static void append(struct worker *w, struct wake *k)
{
        k->next = NULL;
        k->pprev = w->ready_last;
        *w->ready_last = k;
        w->ready_last = &k->next;
}

void worker_wake(struct worker *w, struct wake *k)
{
        if (k->pprev)
                return;
        if (!w->ready)
                event_active(w->run, 0, 0); /* no system call: the loop is between two looks at the sockets */
        append(w, k);
}

void worker_unwake(struct worker *w, struct wake *k)
{
        if (!k->pprev)
                return;
        *k->pprev = k->next;
        if (k->next)
                k->next->pprev = k->pprev;
        else
                w->ready_last = k->pprev;
        k->next = NULL;
        k->pprev = NULL;
}

/* For whoever scrapes: after each turn that ran something, and each second as long as there are connections. */
static void publish_connections(struct worker *w)
{
        static const struct timeval second = { 1, 0 };
        unsigned n = w->http ? http_connections(w->http) : 0;

        atomic_store_explicit(&w->connections, n, memory_order_relaxed);
        if (n && !w->counting)
                w->counting = event_add(w->count, &second) == 0;
}

static void on_count(evutil_socket_t fd, short what, void *arg)
{
        struct worker *w = arg;

        (void)fd, (void)what;
        w->counting = false;
        publish_connections(w);
}

static void run_pass(struct worker *w)
{
        struct wake *k;

        append(w, &w->mark);
        while ((k = w->ready) != &w->mark) {
                worker_unwake(w, k);
                k->fn(k->arg);
        }
        worker_unwake(w, &w->mark);
}

static void on_run(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval at_once = { 0, 0 };
        struct worker *w = arg;

        (void)fd;
        if (what & EV_TIMEOUT)
                w->passes = 0;
        if (w->passes == 0)
                w->passes_began_us = now_us();
        run_pass(w);
        publish_connections(w);
        if (!w->ready)
                w->passes = 0;
        else if (++w->passes < PASSES_IN_A_ROW && now_us() - w->passes_began_us < PASSES_US)
                event_active(w->run, 0, 0);
        else
                (void)event_add(w->run, &at_once); /* after the next look at the sockets */
}

/* ---- messages ----------------------------------------------------------------------------------------------------------- */
static void on_stop(struct message *m, void *owner)
{
        struct worker *w = owner;

        (void)m;
        (void)event_base_loopbreak(w->base);
}

static void on_drain_poll(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval interval = { 0, 10000 };
        struct worker *w = arg;

        (void)fd, (void)what;
        publish_connections(w);
        if (http_connections(w->http) == 0)
                inbox_post(w->home, &w->drained);
        else
                (void)event_add(w->drain_poll, &interval);
}

static void on_drain(struct message *m, void *owner)
{
        struct worker *w = owner;

        (void)m;
        w->draining = true;
        http_drain(w->http);
        on_drain_poll(-1, 0, w);
}

struct new_generation {
        struct message m;
        struct generation *g;
};

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
        struct new_generation *n = CONTAINER_OF(m, struct new_generation, m);
        struct generation *before;
        struct worker *w = owner;
        const char *why = NULL;

        pool_calm_openmp();
        if (same_listeners(w->generation, n->g) && http_reload(w->http, n->g, &why) < 0)
                log_msg(w->log, PM_ERROR, "cannot take the new certificates: %s, using the old ones", why);
        before = w->generation;
        w->generation = n->g;
        generation_release(before);
        cache_reload(w->cache, n->g);
        free(n);
}

int worker_post_generation(struct worker *w, struct generation *g)
{
        struct new_generation *n = calloc(1, sizeof *n);

        if (!n)
                return -ENOMEM;
        n->m.deliver = on_generation;
        n->g = generation_take(g);
        inbox_post(&w->inbox, &n->m);
        return 0;
}

void worker_post_drain(struct worker *w)
{
        inbox_post(&w->inbox, &w->drain);
}

static void on_cut_short(struct message *m, void *owner)
{
        struct worker *w = owner;

        (void)m;
        http_cut_short(w->http);
}

void worker_post_cut_short(struct worker *w)
{
        inbox_post(&w->inbox, &w->cut_short);
}

/* If `to` ends first it was told to, and so were its clients. */
static void on_given(struct message *m, void *owner)
{
        struct http_given *given = CONTAINER_OF(m, struct http_given, message);
        struct worker *w = owner;

        if (w->http) {
                http_take(w->http, given);
                return;
        }
        (void)close(given->fd);
        free(given);
}

static void give(void *arg, struct http_given *given)
{
        struct worker *to = arg;

        given->message.deliver = on_given;
        inbox_post(&to->inbox, &given->message);
}

void worker_relieve(struct worker *from, struct worker *to)
{
        http_relieve(from->http, give, to);
}

unsigned worker_connections(const struct worker *w)
{
        return atomic_load_explicit(&w->connections, memory_order_relaxed);
}

/* ---- the thread --------------------------------------------------------------------------------------------------------- */
static void on_beat(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        (void)worker_clock(arg, now_us());
        watchdog_beat();
}

static void *worker_main(void *arg)
{
        static const struct timeval beat = { 0, WATCHDOG_BEAT_MS * 1000 };
        struct worker *w = arg;
        char name[16];

        w->turned_us = now_us();
        crash_thread_begin();
        (void)snprintf(name, sizeof name, "worker %u", w->id);
        watchdog_thread_begin(name, WATCHDOG_WORKER, w);
        pool_calm_openmp();
        if (event_add(w->beat, &beat) < 0)
                log_msg(w->log, PM_ERROR, "no memory for the heartbeat of worker %u", w->id);
        (void)event_base_dispatch(w->base);
        http_destroy(TAKE(w->http));
        while (w->ready) /* what the dropped requests have woken */
                run_pass(w);
        log_buffer_flush(w->log);
        watchdog_thread_end();
        return NULL;
}

static int loop_create(struct worker *w)
{
        struct event_config *config = event_config_new();

        if (!config)
                return -ENOMEM;
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* one thread only */
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
        w->base = event_base_new_with_config(config);
        event_config_free(config);
        if (!w->base)
                return -ENOMEM;
        w->run = event_new(w->base, -1, 0, on_run, w);
        w->drain_poll = event_new(w->base, -1, 0, on_drain_poll, w);
        w->count = event_new(w->base, -1, 0, on_count, w);
        w->beat = event_new(w->base, -1, EV_PERSIST, on_beat, w);
        w->log = log_buffer_create(w->base);
        w->metrics = metrics_shard_create();
        if (!w->run || !w->drain_poll || !w->count || !w->beat || !w->log || !w->metrics)
                return -ENOMEM;
        return inbox_init(&w->inbox, w->base, w);
}

static int thread_start(struct worker *w)
{
        sigset_t former;
        char name[16];
        int r;

        crash_block_signals(&former);
        r = pthread_create(&w->thread, NULL, worker_main, w);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r != 0)
                return -r;
        (void)snprintf(name, sizeof name, "worker/%u", w->id);
        (void)pthread_setname_np(w->thread, name);
        return 0;
}

struct worker *worker_create(const struct worker_setup *s, const char **why)
{
        struct worker *w = calloc(1, sizeof *w);
        size_t unowned = s->n_fds;

        *why = "out of memory";
        if (w) {
                w->id = s->id;
                w->gateway = s->gateway;
                w->pool = s->pool;
                w->home = s->home;
                w->clients = s->clients ? s->clients : UINT_MAX;
                w->away = s->away;
                w->ready_last = &w->ready;
                w->stop.deliver = on_stop;
                w->drain.deliver = on_drain;
                w->cut_short.deliver = on_cut_short;
                w->drained.deliver = s->drained;
                w->generation = generation_take(s->generation);
                arena_pool_init(&w->arenas, ARENA_BLOCKS_KEPT);
                if (loop_create(w) == 0 && (w->upstream = upstream_create(w)) != NULL && (w->cache = cache_create(w, s->generation)) != NULL &&
                    (w->writer = writer_create(w)) != NULL && (w->errands = errands_create(w)) != NULL) {
                        unowned = 0;
                        w->http = http_create(w, s->generation, s->fds, s->n_fds, why);
                        if (w->http && thread_start(w) == 0)
                                return w;
                        if (w->http)
                                *why = "cannot start a thread";
                }
        }
        for (size_t i = 0; i < unowned; i++)
                (void)close(s->fds[i]);
        worker_destroy(w);
        return NULL;
}

void worker_stop(struct worker *w)
{
        inbox_post(&w->inbox, &w->stop);
        (void)pthread_join(w->thread, NULL);
}

void worker_destroy(struct worker *w)
{
        if (!w)
                return;
        http_destroy(TAKE(w->http)); /* if its thread never ran */
        inbox_finish(&w->inbox);
        while (w->ready)
                run_pass(w);
        errands_destroy(w->errands);
        if (w->upstream)
                upstream_destroy(w->upstream);
        cache_destroy(w->cache);
        writer_destroy(w->writer);
        log_buffer_destroy(w->log);
        metrics_shard_destroy(w->metrics);
        if (w->run)
                event_free(w->run);
        if (w->drain_poll)
                event_free(w->drain_poll);
        if (w->count)
                event_free(w->count);
        if (w->beat)
                event_free(w->beat);
        generation_release(w->generation);
        arena_pool_finish(&w->arenas);
        if (w->base)
                event_base_free(w->base);
        free(w);
}
