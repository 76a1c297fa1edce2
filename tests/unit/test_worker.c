/* SPDX-License-Identifier: Apache-2.0 */
/* A worker without listeners: its thread, what it wakes, its messages, its end. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "config.h"
#include "pool.h"
#include "settings.h"
#include "worker_thread.h"

#include "base.h"

struct bench {
        struct event_base *base; /* the main thread's */
        struct inbox inbox;
        struct generation generation;
        struct pool *pool;
        struct worker *w;
        unsigned drained;
};

static struct bench bench;
static const struct cache_settings no_cache;

static void on_drained(struct message *m, void *owner)
{
        struct bench *b = owner;

        (void)m;
        b->drained++;
        (void)event_base_loopbreak(b->base);
}

static void begin(void)
{
        struct worker_setup setup = { .id = 3, .generation = &bench.generation, .home = &bench.inbox, .drained = on_drained };
        const char *why = NULL;

        bench.base = event_base_new();
        cr_assert_eq(inbox_init(&bench.inbox, bench.base, &bench), 0);
        bench.generation = (struct generation){ .holders = 1, .cache = &no_cache, .limits = { .head = 65536, .headers = 100, .connections = 100,
                                                                          .head_time = 1000, .body_time = 1000, .idle_time = 1000,
                                                                          .write_time = 1000, .request_time = 1000,
                                                                          .buffer = 65536, .body = 65536 } };
        bench.pool = pool_create(1);
        setup.pool = bench.pool;
        bench.w = worker_create(&setup, &why);
        cr_assert_not_null(bench.w, "%s", why);
        cr_assert_eq(bench.generation.holders, 2, "the worker holds it");
}

static void end(void)
{
        worker_stop(bench.w);
        pool_destroy(bench.pool);
        worker_destroy(bench.w);
        inbox_finish(&bench.inbox);
        event_base_free(bench.base);
        cr_assert_eq(bench.generation.holders, 1, "and has let go");
}

/* Runs fn(w) on the worker's thread and waits until it says that it is done. */
struct callout {
        struct message m;
        void (*fn)(struct worker *w);
};
static _Atomic int finished;

static void on_callout(struct message *m, void *owner)
{
        CONTAINER_OF(m, struct callout, m)->fn(owner);
}

static void run_there(void (*fn)(struct worker *w))
{
        static struct callout e;

        e = (struct callout){ .m = { .deliver = on_callout }, .fn = fn };
        atomic_store(&finished, 0);
        inbox_post(&bench.w->loop.inbox, &e.m);
        while (!atomic_load(&finished))
                (void)usleep(200);
}

/* All below happens on the worker's thread. */
static struct worker *there;
static struct wake a, b, c, last;
static char trace[64];
static size_t traced;

static void note(void *arg)
{
        if (traced < sizeof trace - 1)
                trace[traced++] = *(const char *)arg;
}

static void finish(void *arg)
{
        (void)arg;
        atomic_store(&finished, 1);
}

static void set(struct wake *k, void (*fn)(void *), const char *name)
{
        static char names[] = "abcdefgh";

        *k = (struct wake){ .fn = fn, .arg = &names[*name - 'a'] };
}

static void in_order(struct worker *w)
{
        char name[16];

        cr_assert(pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "worker/3") == 0, "%s", name);
        set(&a, note, "a");
        set(&b, note, "b");
        set(&c, note, "c");
        set(&last, finish, "d");
        loop_wake(&w->loop, &a);
        loop_wake(&w->loop, &b);
        loop_wake(&w->loop, &a); /* once is enough */
        loop_wake(&w->loop, &c);
        loop_unwake(&w->loop, &b);
        loop_unwake(&w->loop, &b);
        loop_wake(&w->loop, &last);
        cr_assert_eq(traced, 0, "nothing runs inside loop_wake()");
}

Test(worker, runs_what_is_woken_once_and_in_order, .timeout = 20)
{
        begin();
        run_there(in_order);
        cr_assert_str_eq(trace, "ac");
        end();
}

static void wakes_others(void *arg)
{
        note(arg);
        loop_wake(&there->loop, &b);
        loop_wake(&there->loop, &a); /* itself: in a later pass */
        if (traced > 5) {
                loop_unwake(&there->loop, &a);
                loop_wake(&there->loop, &last);
        }
}

static void chain(struct worker *w)
{
        there = w;
        set(&a, wakes_others, "a");
        set(&b, note, "b");
        set(&last, finish, "d");
        loop_wake(&w->loop, &a);
}

Test(worker, a_wake_may_wake_others_and_itself, .timeout = 20)
{
        begin();
        run_there(chain);
        cr_assert_str_eq(trace, "abababab");
        end();
}

static void kills_the_next(void *arg)
{
        note(arg);
        loop_unwake(&there->loop, &b);
        loop_unwake(&there->loop, &c);
        loop_wake(&there->loop, &c);
        loop_wake(&there->loop, &last);
}

static void killing(struct worker *w)
{
        there = w;
        set(&a, kills_the_next, "a");
        set(&b, note, "b");
        set(&c, note, "c");
        set(&last, finish, "d");
        loop_wake(&w->loop, &a);
        loop_wake(&w->loop, &b);
        loop_wake(&w->loop, &c);
}

Test(worker, a_wake_may_take_others_off_the_running_pass, .timeout = 20)
{
        begin();
        run_there(killing);
        cr_assert_str_eq(trace, "ac");
        end();
}

/* One that wakes itself for ever must not keep the sockets (here: a timer) from their turn. */
static struct event *timer;

static void for_ever(void *arg)
{
        (void)arg;
        loop_wake(&there->loop, &a);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what, (void)arg;
        loop_unwake(&there->loop, &a);
        event_free(timer);
        atomic_store(&finished, 1);
}

static void greedy(struct worker *w)
{
        there = w;
        set(&a, for_ever, "a");
        timer = event_new(w->loop.base, -1, 0, on_timer, NULL);
        (void)event_add(timer, &(struct timeval){ 0, 20000 });
        loop_wake(&w->loop, &a);
}

Test(worker, a_wake_that_never_rests_does_not_starve_the_loop, .timeout = 20)
{
        begin();
        run_there(greedy);
        end();
}

static struct generation second;
static struct generation_message message;

static void has_second(struct worker *w)
{
        if (w->generation == &second)
                trace[traced++] = 'y';
        atomic_store(&finished, 1);
}

Test(worker, takes_the_next_generation_and_lets_the_last_one_go, .timeout = 20)
{
        begin();
        second = bench.generation;
        second.holders = 1;
        worker_post_generation(bench.w, &second, &message);
        cr_assert_eq(second.holders, 2);
        run_there(has_second); /* messages keep their order */
        cr_assert_str_eq(trace, "y");
        cr_assert_eq(bench.generation.holders, 1);
        end();
        cr_assert_eq(second.holders, 1);
}

Test(worker, says_once_that_it_is_drained, .timeout = 20)
{
        begin();
        worker_post_drain(bench.w);
        (void)event_base_dispatch(bench.base);
        cr_assert_eq(bench.drained, 1);
        cr_assert_eq(worker_connections(bench.w), 0);
        end();
        cr_assert_eq(bench.drained, 1);
}

static struct pool_job job;
static struct pool_customer customer = { .max = 4 };
static _Atomic int working;

static void work(void *arg)
{
        (void)arg;
        atomic_store(&working, 1);
        (void)usleep(30000);
}

static void done(struct pool_job *j)
{
        (void)j;
        note(&(char){ 'h' });
        loop_wake(&bench.w->loop, &last);
}

static void submits(struct worker *w)
{
        set(&last, note, "d");
        job = (struct pool_job){ .work = work, .done = done, .inbox = &w->loop.inbox, .customer = &customer };
        if (pool_submit(w->pool, &job) == 0)
                atomic_store(&finished, 1);
}

Test(worker, a_job_that_outlives_the_thread_still_comes_home, .timeout = 20)
{
        begin();
        run_there(submits);
        while (!atomic_load(&working))
                (void)usleep(200);
        end();
        cr_assert_str_eq(trace, "hd", "its done() ran, and what that woke");
}
