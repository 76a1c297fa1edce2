/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "pool.h"

#include "base.h"

struct home {
        struct event_base *base;
        struct inbox inbox;
        unsigned done, expected;
        pthread_t thread;
};

struct job {
        struct pool_job j;
        struct home *home;
        int input, output;
        _Atomic int *gate; /* the work begins by waiting for it to be opened */
        _Atomic int started;
};

static void work(void *arg)
{
        struct job *j = arg;

        atomic_store(&j->started, 1);
        while (j->gate && !atomic_load(j->gate))
                (void)usleep(200);
        j->output = j->input * 2;
}

static void done(struct pool_job *pj)
{
        struct job *j = CONTAINER_OF(pj, struct job, j);

        cr_assert(pthread_equal(pthread_self(), j->home->thread), "done() runs at home");
        if (++j->home->done == j->home->expected)
                (void)event_base_loopbreak(j->home->base);
}

static void home_init(struct home *h, unsigned expected)
{
        *h = (struct home){ .base = event_base_new(), .expected = expected, .thread = pthread_self() };
        cr_assert_eq(inbox_init(&h->inbox, h->base, h), 0);
}

static void home_finish(struct home *h)
{
        inbox_finish(&h->inbox);
        event_base_free(h->base);
}

static struct job job_make(struct home *h, struct pool_customer *c, int input, _Atomic int *gate)
{
        return (struct job){ .j = { .work = work, .done = done, .inbox = &h->inbox, .customer = c },
                             .home = h, .input = input, .output = -1, .gate = gate };
}

static void submit(struct pool *p, struct job *j, int expected)
{
        j->j.arg = j;
        cr_assert_eq(pool_submit(p, &j->j), expected);
}

static void await(_Atomic int *flag)
{
        while (!atomic_load(flag))
                (void)usleep(200);
}

Test(pool, runs_jobs_and_brings_them_home, .timeout = 30)
{
        enum { N = 1000 };
        static struct job jobs[N];
        struct pool_customer customer = { .max = N };
        struct pool *p = pool_create(3);
        struct home h;

        cr_assert_not_null(p);
        home_init(&h, N);
        for (int i = 0; i < N; i++) {
                jobs[i] = job_make(&h, &customer, i, NULL);
                submit(p, &jobs[i], 0);
        }
        cr_assert_eq(h.done, 0, "nothing comes home inside pool_submit()");
        (void)event_base_dispatch(h.base);
        for (int i = 0; i < N; i++)
                cr_assert_eq(jobs[i].output, 2 * i);
        cr_assert_eq(pool_waiting(p), 0);
        cr_assert_eq(customer.waiting, 0);
        submit(p, &jobs[0], 0); /* a job that has come home may go again */
        h.expected = N + 1;
        (void)event_base_dispatch(h.base);
        pool_destroy(p);
        home_finish(&h);
}

Test(pool, a_full_queue_is_busy_for_its_customer_only, .timeout = 30)
{
        struct pool_customer small = { .max = 2 }, other = { .max = 1 };
        struct pool *p = pool_create(1);
        _Atomic int gate = 0;
        struct job running, a, b, c, d;
        struct home h;

        home_init(&h, 4);
        running = job_make(&h, &small, 1, &gate);
        a = job_make(&h, &small, 2, NULL);
        b = job_make(&h, &small, 3, NULL);
        c = job_make(&h, &small, 4, NULL);
        d = job_make(&h, &other, 5, NULL);
        submit(p, &running, 0);
        await(&running.started);
        submit(p, &a, 0);
        submit(p, &b, 0);
        submit(p, &c, -EBUSY);
        submit(p, &d, 0);
        cr_assert_eq(pool_waiting(p), 3);
        atomic_store(&gate, 1);
        (void)event_base_dispatch(h.base);
        cr_assert_eq(a.output + b.output + d.output, 4 + 6 + 10);
        cr_assert_eq(c.output, -1);
        submit(p, &c, 0);
        h.expected = 5;
        (void)event_base_dispatch(h.base);
        cr_assert_eq(c.output, 8);
        pool_destroy(p);
        home_finish(&h);
}

Test(pool, a_queued_job_can_be_withdrawn_a_running_one_not, .timeout = 30)
{
        struct pool_customer customer = { .max = 8 };
        struct pool *p = pool_create(1);
        _Atomic int gate = 0;
        struct job running, first, middle, last;
        struct home h;

        home_init(&h, 2);
        running = job_make(&h, &customer, 1, &gate);
        first = job_make(&h, &customer, 2, NULL);
        middle = job_make(&h, &customer, 3, NULL);
        last = job_make(&h, &customer, 4, NULL);
        submit(p, &running, 0);
        await(&running.started);
        submit(p, &first, 0);
        submit(p, &middle, 0);
        submit(p, &last, 0);
        cr_assert_not(pool_withdraw(p, &running.j));
        cr_assert(pool_withdraw(p, &middle.j));
        cr_assert_not(pool_withdraw(p, &middle.j), "it is not there any more");
        cr_assert(pool_withdraw(p, &last.j));
        cr_assert_eq(pool_waiting(p), 1);
        cr_assert_eq(customer.waiting, 1);
        atomic_store(&gate, 1);
        (void)event_base_dispatch(h.base);
        cr_assert_not(pool_withdraw(p, &first.j));
        cr_assert_eq(running.output, 2);
        cr_assert_eq(first.output, 4);
        cr_assert_eq(middle.output, -1);
        cr_assert_eq(last.output, -1);
        cr_assert_eq(h.done, 2);
        pool_destroy(p);
        home_finish(&h);
}

static void *open_later(void *gate)
{
        (void)usleep(20000);
        atomic_store((_Atomic int *)gate, 1);
        return NULL;
}

Test(pool, the_end_waits_for_running_jobs_and_sends_queued_ones_home_unrun, .timeout = 30)
{
        struct pool_customer customer = { .max = 8 };
        struct pool *p = pool_create(1);
        _Atomic int gate = 0;
        struct job running, queued;
        struct home h;
        pthread_t t;

        home_init(&h, 2);
        running = job_make(&h, &customer, 1, &gate);
        queued = job_make(&h, &customer, 2, NULL);
        submit(p, &running, 0);
        await(&running.started);
        submit(p, &queued, 0);
        cr_assert_eq(pthread_create(&t, NULL, open_later, &gate), 0);
        pool_destroy(p);
        (void)pthread_join(t, NULL);
        cr_assert_eq(h.done, 0);
        home_finish(&h); /* the inbox delivers both */
        cr_assert_eq(h.done, 2);
        cr_assert_eq(running.output, 2);
        cr_assert_eq(queued.output, -1);
        cr_assert_eq(customer.waiting, 0);
}

Test(pool, withdrawing_against_running_threads_loses_no_job, .timeout = 60)
{
        enum { N = 20000 };
        struct pool_customer customer = { .max = N };
        struct pool *p = pool_create(2);
        struct job *jobs = calloc(N, sizeof *jobs);
        unsigned withdrawn = 0, ran = 0;
        struct home h;

        cr_assert_not_null(jobs);
        home_init(&h, 0);
        for (int i = 0; i < N; i++) {
                jobs[i] = job_make(&h, &customer, 1, NULL);
                submit(p, &jobs[i], 0);
                if (i % 3 == 0)
                        withdrawn += pool_withdraw(p, &jobs[i].j);
        }
        pool_destroy(p);
        home_finish(&h);
        for (int i = 0; i < N; i++)
                ran += jobs[i].output == 2;
        cr_assert_eq(h.done + withdrawn, N);
        cr_assert_leq(ran, h.done);
        cr_assert_eq(customer.waiting, 0);
        free(jobs);
}

Test(pool, openmp_is_calmed_without_openmp_too)
{
        pool_calm_openmp();
        pool_calm_openmp();
}

Test(pool, no_threads_no_leak)
{
        pool_destroy(NULL);
        pool_destroy(pool_create(1));
}
