/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start, reload, drain and stop.  The main loop does nothing for requests: it has signals, the admin listener, and an
 * inbox.  Workers report there that they are drained, and generations that no request uses them any more.
 */
#include "gateway.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "admin.h"
#include "cache.h"
#include "cache_store.h"
#include "config.h"
#include "config_check.h"
#include "descriptors.h"
#include "event_log.h"
#include "listen.h"
#include "log.h"
#include "memory.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "settings.h"
#include "shared_cache.h"
#include "signals.h"
#include "tlsfiles.h"
#include "watchdog.h"
#include "worker_thread.h"

#include "base.h"

#define PROBLEMS_MAX 200
#define LAST_WORDS_MS 1000 /* for clients to read that their answer is cut */
#define STOP_US 10000000 /* for threads to end once requests are cut; then the process is ended */

/* A generation and its way home. */
struct held {
        struct message retired;
        struct generation *g;
        struct held *next;
};

struct gateway {
        struct gateway_options options;
        struct event_base *base;
        struct inbox inbox;
        struct event *hangup, *drain_limit;
        struct pool *pool;
        struct worker **workers;
        _Atomic unsigned n_workers;    /* stored after workers[] has them: the first may serve while others are made */
        unsigned not_drained;
        struct descriptors descriptors; /* as they were shared among the workers */
        unsigned relief;               /* the watchdog's: who takes the next connections of a worker that hangs */
        struct admin *admin;
        int64_t started_us;

        pthread_mutex_t lock;          /* the list, because gauges are read on any thread */
        struct held *generations;
        struct generation *current;    /* we hold it */
        uint64_t loaded;               /* number of the last that was tried */

        struct config_check *checking;
        bool again;                    /* a hangup came while checking */
        gateway_reloaded *reloaded;
        void *reloaded_arg;

        _Atomic bool ready;
        bool draining, cut_short;      /* cut_short: drain_time has passed, what runs has been told to end */
        _Atomic uint64_t number, reloads, failures;
};

/* ---- generations -------------------------------------------------------------------------------------------------------- */
static void on_retired(struct message *m, void *owner)
{
        struct held *h = CONTAINER_OF(m, struct held, retired);
        struct gateway *g = owner;

        pthread_mutex_lock(&g->lock);
        for (struct held **p = &g->generations; *p; p = &(*p)->next)
                if (*p == h) {
                        *p = h->next;
                        break;
                }
        pthread_mutex_unlock(&g->lock);
        log_msg(NULL, PM_DEBUG, "generation %" PRIu64 " closed", h->g->number);
        generation_destroy(h->g);
        free(h);
}

/* Any thread: the last holder has let go. */
static void retire(struct generation *gen, void *arg)
{
        struct gateway *g = arg;
        struct held *h;

        pthread_mutex_lock(&g->lock);
        for (h = g->generations; h && h->g != gen;)
                h = h->next;
        pthread_mutex_unlock(&g->lock);
        assert(h);
        inbox_post(&g->inbox, &h->retired);
}

static int load(struct gateway *g, struct problems *p, struct generation **ret)
{
        struct held *h = calloc(1, sizeof *h);
        int r;

        if (!h)
                return -ENOMEM;
        r = generation_load(g->options.file, g->loaded + 1, p, &h->g);
        if (r < 0) {
                free(h);
                return r;
        }
        g->loaded++;
        h->retired.deliver = on_retired;
        h->g->retired = retire;
        h->g->retired_arg = g;
        pthread_mutex_lock(&g->lock);
        h->next = g->generations;
        g->generations = h;
        pthread_mutex_unlock(&g->lock);
        *ret = h->g;
        return 0;
}

static void take_into_force(struct gateway *g, struct generation *gen)
{
        g->current = gen;
        if (shared_cache_bound(SHARED_CACHE_PINS, (size_t)gen->cache->pins) < 0)
                log_msg(NULL, PM_ERROR, "out of memory: cache.pins keeps its old size");
        if (shared_cache_bound(SHARED_CACHE_STATES, (size_t)gen->cache->responses) < 0)
                log_msg(NULL, PM_ERROR, "out of memory: cache.responses keeps its old size");
        if (shared_cache_bound(SHARED_CACHE_HISTORIES, (size_t)gen->feedback->memory) < 0)
                log_msg(NULL, PM_ERROR, "out of memory: feedback.memory keeps its old size");
        log_setup((enum pm_level)gen->log_level, (enum log_format)(g->options.log_format >= 0 ? g->options.log_format : gen->log_format));
        watchdog_limit(gen->watchdog);
        memory_limit(gen->limits.memory);
        atomic_store_explicit(&g->number, gen->number, memory_order_relaxed);
}

struct generation *gateway_generation(const struct gateway *g)
{
        return g->current;
}

/* One line of the log for each line of text. */
static void log_lines(enum pm_level level, const char *before, const char *lines)
{
        while (*lines) {
                size_t n = strcspn(lines, "\n");

                if (n)
                        log_msg(NULL, level, "%s%.*s", before, (int)MIN(n, 2000), lines);
                lines += n + (lines[n] == '\n');
        }
}

/* ---- reload ------------------------------------------------------------------------------------------------------------- */
static void reload_end(struct gateway *g, bool ok, const char *mistakes)
{
        gateway_reloaded *done = TAKE(g->reloaded);

        atomic_fetch_add_explicit(ok ? &g->reloads : &g->failures, 1, memory_order_relaxed);
        if (ok) {
                log_msg(NULL, PM_INFO, "reloaded, generation %" PRIu64 " is active", g->current->number);
        } else {
                log_lines(PM_ERROR, "reload: ", mistakes);
                log_msg(NULL, PM_ERROR, "reload failed, generation %" PRIu64 " stays active", g->current->number);
        }
        if (done)
                done(g->reloaded_arg, ok, g->current->number, mistakes);
        if (TAKE(g->again) && !g->draining)
                (void)gateway_reload(g, NULL, NULL);
}

/* What is fixed while the process runs is said, not passed over in silence. */
static void say_what_waits(const struct generation *a, const struct generation *b)
{
        bool listeners = a->n_listeners != b->n_listeners;

        for (size_t i = 0; !listeners && i < a->n_listeners; i++)
                listeners = strcmp(a->listeners[i].address, b->listeners[i].address) != 0 ||
                            !a->listeners[i].tls.certificate != !b->listeners[i].tls.certificate;
        if (listeners)
                log_msg(NULL, PM_WARN, "reload: a change of 'listen' needs a restart; keeping the old listeners");
        if (!a->admin.address != !b->admin.address || (a->admin.address && strcmp(a->admin.address, b->admin.address) != 0))
                log_msg(NULL, PM_WARN, "reload: a change of 'admin.address' needs a restart; keeping the old one");
        if (a->workers != b->workers || a->pool_threads != b->pool_threads)
                log_msg(NULL, PM_WARN, "reload: a change of 'workers' or 'pool.threads' needs a restart; keeping the old numbers");
}

static void on_checked(void *arg, bool ok, const char *lines)
{
        struct gateway *g = arg;
        struct generation *new, *old = g->current;
        struct generation_message *messages;
        struct problems *p;
        int r;

        g->checking = NULL;
        if (!ok) {
                reload_end(g, false, lines);
                return;
        }
        p = problems_create(PROBLEMS_MAX);
        r = p ? load(g, p, &new) : -ENOMEM;
        if (r < 0) {
                reload_end(g, false, p && problems_count(p) ? problems_text(p) : "out of memory\n");
                problems_destroy(p);
                return;
        }
        problems_destroy(p);
        messages = arena_zalloc(&new->arena, g->n_workers * sizeof *messages); /* of all, before the first is posted: all have it, or none */
        if (!messages) {
                generation_release(new);
                reload_end(g, false, "out of memory\n");
                return;
        }
        say_what_waits(old, new);
        if (new->limits.connections != old->limits.connections)
                descriptors_say(&g->descriptors, new, g->n_workers);
        for (unsigned i = 0; i < g->n_workers; i++)
                worker_post_generation(g->workers[i], new, &messages[i]);
        take_into_force(g, new);
        generation_release(old);
        reload_end(g, true, "");
}

int gateway_reload(struct gateway *g, gateway_reloaded *done, void *arg)
{
        int r;

        if (g->checking || g->draining)
                return -EBUSY;
        g->reloaded = done;
        g->reloaded_arg = arg;
        log_msg(NULL, PM_INFO, "reloading %s", g->options.file);
        r = config_check_start(g->base, g->options.file, on_checked, g, &g->checking);
        if (r < 0) {
                char text[160];

                (void)snprintf(text, sizeof text, "cannot start the check: %s\n", ERRNO_TEXT(r));
                reload_end(g, false, text);
        }
        return 0;
}

static void on_hangup(evutil_socket_t sig, short what, void *arg)
{
        struct gateway *g = arg;

        (void)sig, (void)what;
        if (gateway_reload(g, NULL, NULL) < 0)
                g->again = true;
}

/* ---- drain and stop ----------------------------------------------------------------------------------------------------- */
static void on_drained(struct message *m, void *owner)
{
        struct gateway *g = owner;

        (void)m;
        assert(g->not_drained > 0);
        if (--g->not_drained == 0)
                (void)event_base_loopbreak(g->base);
}

static void on_drain_limit(evutil_socket_t fd, short what, void *arg)
{
        struct gateway *g = arg;
        struct metrics_gauges now;

        (void)fd, (void)what;
        gateway_gauges(g, &now);
        if (TAKE(g->cut_short)) {
                (void)event_base_loopbreak(g->base);
                return;
        }
        log_msg(NULL, PM_WARN, "drain timeout (limits.drain_time): aborting %u requests in flight", now.in_flight);
        g->cut_short = true;
        for (unsigned i = 0; i < g->n_workers; i++)
                worker_post_cut_short(g->workers[i]);
        (void)event_add(g->drain_limit, &(struct timeval){ LAST_WORDS_MS / 1000, LAST_WORDS_MS % 1000 * 1000 });
}

static void on_stop(void *arg, int sig)
{
        struct gateway *g = arg;
        struct metrics_gauges now;
        int64_t ms = g->current->limits.drain_time;

        gateway_gauges(g, &now);
        if (g->draining) {
                log_msg(NULL, PM_WARN, "signal %d again: aborting %u requests in flight", sig, now.in_flight);
                (void)event_base_loopbreak(g->base);
                return;
        }
        g->draining = true;
        atomic_store_explicit(&g->ready, false, memory_order_relaxed);
        log_msg(NULL, PM_INFO, "signal %d, draining: %u requests in flight have %" PRId64 " ms to finish", sig, now.in_flight, ms);
        g->not_drained = g->n_workers;
        for (unsigned i = 0; i < g->n_workers; i++)
                worker_post_drain(g->workers[i]);
        (void)event_add(g->drain_limit, &(struct timeval){ ms / 1000, ms % 1000 * 1000 });
}

/* ---- what others ask ---------------------------------------------------------------------------------------------------- */
struct worker **gateway_workers(const struct gateway *g, unsigned *ret_n)
{
        *ret_n = atomic_load(&g->n_workers);
        return g->workers;
}

struct inbox *gateway_inbox(struct gateway *g)
{
        return &g->inbox;
}

int64_t gateway_uptime_s(const struct gateway *g)
{
        return (now_us() - g->started_us) / 1000000;
}

bool gateway_ready(const struct gateway *g)
{
        return atomic_load_explicit(&g->ready, memory_order_relaxed);
}

void gateway_gauges(const struct gateway *const_g, struct metrics_gauges *out)
{
        struct gateway *g = (struct gateway *)(uintptr_t)const_g; /* for the lock only */
        const unsigned workers = atomic_load(&g->n_workers);
        const struct lru_counts pins = shared_cache_counts(SHARED_CACHE_PINS);
        int64_t holders = 0;

        pthread_mutex_lock(&g->lock);
        for (const struct held *h = g->generations; h; h = h->next)
                holders += atomic_load_explicit(&h->g->holders, memory_order_relaxed);
        pthread_mutex_unlock(&g->lock);
        holders -= 1 + (int64_t)workers; /* the rest are requests */
        *out = (struct metrics_gauges){
                .workers = workers, .hanging = watchdog_hanging(), .memory = memory_used(),
                .in_flight = (unsigned)MAX(holders, 0),
                .pool_waiting = pool_waiting(g->pool),
                .generation = atomic_load_explicit(&g->number, memory_order_relaxed),
                .reloads = atomic_load_explicit(&g->reloads, memory_order_relaxed),
                .reload_failures = atomic_load_explicit(&g->failures, memory_order_relaxed),
                .log_dropped = log_dropped(),
                .pins = pins.entries, .pin_bytes = pins.bytes, .pins_evicted = pins.evicted, .redis = cache_redis_stats(),
        };
        for (unsigned i = 0; i < workers; i++)
                out->connections += worker_connections(g->workers[i]);
}

/* ---- start -------------------------------------------------------------------------------------------------------------- */
static unsigned cores(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* A few lines in ten seconds: what it complains of may come again with each turn of a loop. */
static void on_libevent(int severity, const char *text)
{
        enum { LINES = 5, WINDOW_US = 10000000 };
        static _Atomic int64_t window;
        static _Atomic unsigned lines;
        int64_t now = now_us(), began = atomic_load_explicit(&window, memory_order_relaxed);
        unsigned before;

        if (now - began > WINDOW_US && atomic_compare_exchange_strong(&window, &began, now)) {
                before = atomic_exchange(&lines, 0);
                if (before > LINES)
                        log_msg(NULL, PM_WARN, "libevent: %u more lines suppressed", before - LINES);
        }
        if (atomic_fetch_add(&lines, 1) >= LINES)
                return;
        log_msg(NULL, severity >= EVENT_LOG_ERR ? PM_ERROR : severity == EVENT_LOG_WARN ? PM_WARN : PM_DEBUG, "libevent: %s", text);
}

int gateway_prepare(void)
{
        struct sigaction ignore = { .sa_handler = SIG_IGN };

        (void)sigaction(SIGPIPE, &ignore, NULL);
        descriptors_raise();
        event_set_log_callback(on_libevent);
        json_object_seed(0);
        return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;
}

static int signals_create(struct gateway *g)
{
        g->hangup = evsignal_new(g->base, SIGHUP, on_hangup, g);
        g->drain_limit = evtimer_new(g->base, on_drain_limit, g);
        if (!g->hangup || !g->drain_limit || event_add(g->hangup, NULL) < 0)
                return -ENOMEM;
        return signals_catch(g->base, on_stop, g);
}

/* On the watchdog's thread: those that do not hang take a hanging worker's connections in turn; if all hang, they wait. */
static void on_hanging(void *arg, void *owner)
{
        struct gateway *g = arg;
        const unsigned n = atomic_load(&g->n_workers);

        for (unsigned i = 0; i < n; i++) {
                struct worker *w = g->workers[g->relief++ % n];

                if (w != owner && !watchdog_is_hanging(w)) {
                        worker_relieve(owner, w);
                        return;
                }
        }
}

static void say_open_keys(const struct generation *gen)
{
        for (size_t i = 0; i < gen->n_listeners; i++)
                if (gen->listeners[i].tls.key && tlsfiles_readable_by_all(gen->listeners[i].tls.key))
                        log_msg(NULL, PM_WARN, "listen[%zu].tls.key '%s' is world-readable: chmod 600 would be right", i,
                                gen->listeners[i].tls.key);
}

/* All sockets of all listeners, worker by worker in *ret; every address that cannot be had is in p. */
static int listeners_open(struct gateway *g, unsigned workers, struct problems *p, int **ret)
{
        const size_t n = g->current->n_listeners;
        CLEANUP(free_p) int *fds = calloc(workers * n, sizeof *fds), *column = calloc(workers, sizeof *column);
        CLEANUP(free_p) char *names = calloc(n, LISTEN_NAME_MAX);

        if (!fds || !column || !names)
                return -ENOMEM;
        for (size_t i = 0; i < workers * n; i++)
                fds[i] = -1;
        for (size_t i = 0; i < n; i++) {
                if (listen_open(g->current->listeners[i].address, workers, p, column, names + i * LISTEN_NAME_MAX) < 0)
                        continue;
                for (unsigned w = 0; w < workers; w++)
                        fds[w * n + i] = column[w];
        }
        if (problems_count(p)) {
                for (size_t i = 0; i < workers * n; i++)
                        close_p(&fds[i]);
                return -EADDRINUSE; /* or the admin listener's */
        }
        for (size_t i = 0; i < n; i++) {
                struct log_line l;

                log_begin(&l, NULL, PM_INFO, "listening");
                log_text(&l, "address", names + i * LISTEN_NAME_MAX);
                log_text(&l, "tls", g->current->listeners[i].tls.certificate ? "true" : "false");
                log_end(&l);
        }
        say_open_keys(g->current);
        *ret = TAKE(fds);
        return 0;
}

/* fds is used up in any case. */
static int workers_start(struct gateway *g, unsigned n, const int *fds, struct problems *p)
{
        const size_t listeners = g->current->n_listeners;
        int r = 0;

        g->workers = calloc(n, sizeof(struct worker *));
        if (!g->workers)
                r = -ENOMEM;
        for (unsigned i = 0; i < n; i++) {
                const struct worker_setup setup = { .gateway = g, .id = i, .generation = g->current, .pool = g->pool,
                                                    .clients = g->descriptors.clients, .away = g->descriptors.away,
                                                    .fds = fds + i * listeners, .n_fds = listeners,
                                                    .home = &g->inbox, .drained = on_drained };
                const char *why;

                if (r < 0) {
                        for (size_t k = 0; k < listeners; k++)
                                (void)close(setup.fds[k]);
                        continue;
                }
                g->workers[i] = worker_create(&setup, &why);
                if (g->workers[i]) {
                        atomic_store(&g->n_workers, i + 1);
                } else {
                        problems_add(p, NULL, "", "cannot start worker %u: %s", i, why);
                        r = -EINVAL;
                }
        }
        return r;
}

static int start(struct gateway *g, struct problems *p)
{
        CLEANUP(free_p) int *fds = NULL;
        struct generation *gen;
        unsigned workers;
        int r;

        if (gateway_prepare() < 0)
                return -ENOMEM;
        r = load(g, p, &gen);
        if (r < 0)
                return r;
        take_into_force(g, gen);
        workers = gen->workers > 0 ? (unsigned)gen->workers : cores();
        g->pool = pool_create(gen->pool_threads > 0 ? (unsigned)gen->pool_threads : cores());
        if (!g->pool)
                return -EAGAIN;
        r = signals_create(g);
        if (r == 0)
                r = watchdog_start(on_hanging, g);
        if (r < 0)
                return r;
        if (gen->admin.address && gen->admin_token && *gen->admin_token)
                (void)admin_create(g, g->base, gen->admin.address, p, &g->admin);
        g->descriptors = descriptors_share(gen, workers);
        descriptors_say(&g->descriptors, gen, workers);
        r = listeners_open(g, workers, p, &fds); /* all addresses that cannot be had are named together */
        if (r < 0)
                return r;
        return workers_start(g, workers, fds, p);
}

static void stop(struct gateway *g)
{
        const unsigned n = atomic_load(&g->n_workers);

        watchdog_calm();
        watchdog_end_by(now_us() + STOP_US);
        for (unsigned i = 0; i < n; i++)
                worker_stop(g->workers[i]);
        pool_destroy(TAKE(g->pool)); /* its jobs go home to the workers' inboxes */
        inbox_deliver(&g->inbox); /* what workers have posted of themselves goes with them */
        for (unsigned i = 0; i < n; i++)
                worker_destroy(g->workers[i]);
        event_log_end();
        atomic_store(&g->n_workers, 0);
        free(TAKE(g->workers));
        config_check_cancel(TAKE(g->checking));
        if (g->reloaded)
                TAKE(g->reloaded)(g->reloaded_arg, false, g->current->number, "the gateway stops\n");
        admin_destroy(g->admin);
        if (g->current)
                generation_release(g->current);
        inbox_finish(&g->inbox); /* closes the generations */
        signals_release();
        if (g->hangup)
                event_free(g->hangup);
        if (g->drain_limit)
                event_free(g->drain_limit);
        watchdog_stop();
}

int gateway_run(const struct gateway_options *o)
{
        struct gateway g = { .options = *o, .started_us = now_us() };
        struct problems *p = problems_create(PROBLEMS_MAX);
        int r = -ENOMEM, log;

        log_setup(PM_INFO, (enum log_format)MAX(o->log_format, 0));
        log = log_start();
        if (log < 0)
                log_msg(NULL, PM_WARN, "cannot start the log thread (%s): a slow reader of standard error blocks the gateway", ERRNO_TEXT(log));
        pthread_mutex_init(&g.lock, NULL);
        g.base = event_base_new();
        if (p && g.base && inbox_init(&g.inbox, g.base, &g) == 0) {
                r = start(&g, p);
                if (r == 0) {
                        atomic_store_explicit(&g.ready, true, memory_order_relaxed);
                        log_msg(NULL, PM_INFO, "ready: version " PM_VERSION ", %u workers, %zu experts, %zu routers", atomic_load(&g.n_workers),
                                g.current->n_experts, g.current->n_routers);
                        (void)event_base_dispatch(g.base);
                }
                stop(&g);
        }
        if (r < 0) {
                log_lines(PM_ERROR, "", p && problems_count(p) ? problems_text(p) : r == -EAGAIN ? "cannot start a thread: out of memory, or of threads" : ERRNO_TEXT(r));
                log_msg(NULL, PM_ERROR, "not started");
        } else {
                log_msg(NULL, PM_INFO, "stopped");
        }
        problems_destroy(p);
        if (g.base)
                event_base_free(g.base);
        pthread_mutex_destroy(&g.lock);
        curl_global_cleanup();
        log_stop();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
