/* SPDX-License-Identifier: Apache-2.0 */
/* Routers that work on the pool: there and home again, past deadlines, for clients that leave. */
#include "routing_fixture.h"

TestSuite(route_pool, .init = bench_begin, .fini = bench_end, .timeout = 30);

struct labour {
        _Atomic int started, ended, held;
        int ms;
        pthread_t by;
        unsigned sum;
};
static struct labour labour; /* what several trials look at */

static void labours(void *arg)
{
        struct labour *l = arg;

        l->by = pthread_self();
        atomic_store(&labour.started, 1);
        for (int i = 0; i < l->ms; i++) {
                (void)usleep(1000);
                l->sum += 2; /* the query's memory must be there */
        }
        while (atomic_load(&labour.held))
                (void)usleep(500);
        atomic_fetch_add(&labour.ended, 1);
}

static pm_step works_done(void *self, struct pm_query *q)
{
        const struct labour *l = q->state;
        char name[16];

        count(self);
        if (q->status == PM_EBUSY)
                return pm_pass(q);
        assert(pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "worker/3") == 0);
        assert(q->status == PM_OK && !pthread_equal(l->by, pthread_self()));
        return l->sum == 2 * (unsigned)l->ms ? pm_decide(q, .expert = "code") : pm_fail(q, "the work is not done");
}

static pm_step works_route(void *self, struct pm_query *q)
{
        struct labour *l = pm_alloc(q, sizeof *l);

        count(self);
        l->ms = labour.ms;
        q->state = l;
        return pm_offload(q, labours, l, works_done);
}
ROUTER(works);

Test(route_pool, works_on_the_pool_and_goes_on_at_home)
{
        struct trial t;

        labour.ms = 20;
        t = ask_routers(&works, NULL);
        cr_assert_not(t.at_once);
        cr_assert(goes_to(&t, "code"));
        cr_assert_eq(atomic_load(&bench.calls[0]), 2);
        cr_assert_not(t.outlived);
}

static pm_step chain_route(void *self, struct pm_query *q)
{
        struct labour *l = q->state;

        if (!l)
                l = q->state = pm_alloc(q, sizeof *l);
        l->ms = 1;
        return count(self) > 40 ? pm_decide(q, .expert = l->sum == 80 ? "code" : "law") : pm_offload(q, labours, l, chain_route);
}
ROUTER(chain);

Test(route_pool, goes_to_the_pool_again_and_again)
{
        struct trial t = ask_routers(&chain, NULL);

        cr_assert(goes_to(&t, "code"));
        cr_assert_eq(ended(0, ROUTER_DECIDED), 1);
}

static pm_step is_told_again(void *self, struct pm_query *q)
{
        count(self);
        return q->status == PM_EBUSY ? pm_decide(q, .expert = "law", .reason = "busy") : pm_pass(q);
}

static pm_step is_told_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_offload(q, labours, pm_alloc(q, sizeof(struct labour)), is_told_again);
}
ROUTER(is_told);

Test(route_pool, says_busy_when_the_queue_is_full)
{
        struct trial t = { 0 };

        use(&is_told, NULL);
        bench.routers[0].pool.max = 0;
        trial_go(&t);
        trial_wait(&t);
        cr_assert(t.at_once && goes_to(&t, "law"));
        cr_assert_str_eq(t.reason, "busy");
}

/* Its job runs, and the deadline passes meanwhile. */
static void passes_the_deadline(struct trial *t)
{
        labour.held = 1;
        bench.route.deadline_ms = 300; /* the job must have begun */
        use(&works, &math);
        trial_go(t);
        while (!atomic_load(&labour.started))
                (void)usleep(500);
        for (worker_caught_up(); !t->woken; worker_caught_up())
                (void)usleep(500);
        labour.held = 0;
}

Test(route_pool, a_job_may_outlive_the_deadline)
{
        struct trial t = { 0 };

        passes_the_deadline(&t);
        trial_wait(&t);
        cr_assert(t.decided && t.woken == 1);
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert(goes_to(&t, "law"));
        cr_assert_str_eq(t.reason, "router 'works' did not answer within 300 ms");
        cr_assert(t.outlived, "its memory stayed");
        cr_assert_eq(atomic_load(&labour.ended), 1, "until the work was done");
        cr_assert_eq(atomic_load(&bench.calls[0]), 1, "and the router was not called again");
        cr_assert_eq(atomic_load(&bench.calls[1]), 0);
        cr_assert_eq(ended(0, ROUTER_DEADLINE), 1);
}

Test(route_pool, a_job_may_come_back_before_the_owner_looks)
{
        struct trial t = { .late = true }, next = { 0 };

        passes_the_deadline(&t);
        bench.route.deadline_ms = 20000;
        trial_go(&next); /* the pool has one thread: it has sent the first job home when it takes another */
        trial_wait(&next);
        cr_assert(goes_to(&next, "code"));
        trial_drop(&t);
        trial_wait(&t);
        cr_assert(t.decided && !t.outlived, "its job is back");
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert_eq(t.woken, 1);
        cr_assert_eq(atomic_load(&bench.calls[0]), 1 + 2, "nobody goes on after the deadline");
}

Test(route_pool, a_client_may_leave_while_a_job_runs)
{
        struct trial t = { 0 };

        labour.held = 1;
        use(&works, NULL);
        trial_go(&t);
        while (!atomic_load(&labour.started))
                (void)usleep(500);
        trial_drop(&t);
        worker_caught_up();
        labour.held = 0;
        trial_wait(&t);
        cr_assert(t.outlived && !t.decided);
        cr_assert_eq(t.woken, 0);
        cr_assert_eq(atomic_load(&labour.ended), 1);
        cr_assert_eq(atomic_load(&bench.calls[0]), 1, "nobody goes on for it");
        cr_assert_eq(ended(0, ROUTER_CANCELLED), 1);
}

Test(route_pool, a_job_that_waits_is_withdrawn)
{
        struct trial first = { 0 }, second = { 0 };

        labour.held = 1;
        use(&works, NULL);
        trial_go(&first);
        while (!atomic_load(&labour.started))
                (void)usleep(500);
        trial_go(&second);
        trial_drop(&second);
        trial_wait(&second);
        cr_assert_not(second.outlived, "gone at once");
        cr_assert_eq(atomic_load(&labour.ended), 0, "before the first one was done");
        labour.held = 0;
        trial_wait(&first);
        cr_assert(goes_to(&first, "code"));
        cr_assert_eq(atomic_load(&labour.ended), 1, "and it never ran");
        cr_assert_eq(ended(0, ROUTER_CANCELLED), 1);
        cr_assert_eq(atomic_load(&bench.routers[0].pool.waiting), 0);
}

Test(route_pool, the_deadline_withdraws_a_job_that_waits)
{
        struct trial first = { 0 }, second = { 0 };

        labour.held = 1;
        use(&works, NULL);
        trial_go(&first);
        while (!atomic_load(&labour.started))
                (void)usleep(500);
        bench.route.deadline_ms = 20; /* for the second */
        trial_go(&second);
        trial_wait(&second);
        cr_assert(second.decided && !second.outlived);
        cr_assert_str_eq(second.reason, "router 'works' did not answer within 20 ms");
        labour.held = 0;
        trial_wait(&first);
        cr_assert_eq(atomic_load(&labour.ended), 1);
}

Test(route_pool, many_come_and_go)
{
        enum { N = 60 };
        static struct trial t[N];

        labour.ms = 1;
        use(&works, &math);
        bench.routers[0].pool.max = N / 2; /* some are told that it is busy */
        for (size_t i = 0; i < N; i++)
                trial_go(&t[i]);
        for (size_t i = 0; i < N; i++) {
                trial_wait(&t[i]);
                cr_assert(t[i].decided && t[i].d.expert);
        }
        cr_assert_eq(ended(0, ROUTER_DECIDED) + ended(0, ROUTER_PASSED), N);
}
