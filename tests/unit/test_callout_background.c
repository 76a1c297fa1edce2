/* SPDX-License-Identifier: Apache-2.0 */
/* pm_call in the background: what goes on after its query has gone. */
#include "callout_fixture.h"

TestSuite(callout_background, .init = begin, .fini = end, .timeout = 60);

Test(callout_background, in_the_background_nobody_waits)
{
        struct trial t;

        wants("{}");
        wanted.background = 1;
        provisional = 1;
        atomic_store(&expert.held, true);
        for (int i = 0; i < 5; i++) {
                t = ask(CALLOUT_CACHED, NULL);
                IS_TOLD(&t, "-8 0 ");
                cr_assert(t.at_once && !t.keepable);
        }
        WAIT_UNTIL(asked() == 1);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + 1, "it holds what it came from");
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        provisional = 0;
        t = ask(CALLOUT_CACHED, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert(t.at_once && t.keepable);
        cr_assert_eq(asked(), 1);
        cr_assert_eq(calls(ROUTER_CALL_SENT), 1);
        cr_assert_eq(calls(ROUTER_CALL_LATER), 4);
        cr_assert_eq(calls(ROUTER_CALL_LOCAL), 1);
}

/* It passes because the reply is not there yet: who comes after it decides for this request only. */
Test(callout_background, who_decides_in_its_place_does_so_for_now)
{
        static char bodies[CALLOUTS_MAX][16], body[16];
        static const struct { int passes_on, background; bool held, busy, provisional; } rows[] = {
                { 1, 1, true, false, true }, { 2, 1, true, false, true }, { 1, 1, false, true, true },
                { 1, 0, false, false, false }, /* the expert does not know: nor will it the next time */
        };

        bench.experts[2].breaker_failures = 1000;
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct trial t = { 0 };

                use(&asks, NULL);
                atomic_store(&expert.says, rows[i].held ? one : SAYS("404 No", "2", "{}"));
                atomic_store(&expert.held, rows[i].held || rows[i].busy);
                passes_on = 0;
                for (int k = 0; k < CALLOUTS_MAX && rows[i].busy; k++) {
                        (void)snprintf(bodies[k], sizeof bodies[k], "{\"n\":%d}", k);
                        wants(bodies[k]);
                        wanted.background = 1;
                        TOLD("-8 0 ");
                }
                passes_on = rows[i].passes_on;
                (void)snprintf(body, sizeof body, "{\"row\":%zu}", i);
                wants(body);
                wanted.background = rows[i].background;
                bench.route.cache.n_routers = 2;
                t = ask_routers(&asks, &math);
                cr_assert(goes_to(&t, "math"), "%zu: %s", i, t.reason);
                cr_assert_eq(t.d.provisional, rows[i].provisional, "%zu", i);
                cr_assert_eq(t.keepable, !rows[i].provisional, "%zu", i);
                t = ask_routers(&asks, NULL);
                cr_assert(t.d.how == DECISION_DEFAULT && t.d.provisional == rows[i].provisional, "%zu", i);
                atomic_store(&expert.held, false);
                nothing_is_under_way();
        }
        atomic_store(&expert.says, one);
        TOLD("0 200 one");
}

Test(callout_background, one_refresh_at_a_time_in_the_background)
{
        struct trial t;

        wants("{}");
        wanted.background = 1;
        atomic_store(&expert.held, true);
        for (int i = 0; i < 3; i++) {
                t = ask(CALLOUT_REFRESH, NULL);
                IS_TOLD(&t, "-8 0 ");
        }
        WAIT_UNTIL(asked() == 1);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + 1);
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        cr_assert_eq(asked(), 1);
        TOLD("0 200 one");
}

Test(callout_background, without_keep_s_there_is_no_background)
{
        wants("{}");
        wanted.background = 1;
        wanted.keep_s = 0;
        TOLD("0 200 one");
}

Test(callout_background, who_waits_may_wait_for_the_background)
{
        struct trial t = { 0 };

        wants("{}");
        wanted.background = 1;
        atomic_store(&expert.held, true);
        TOLD("-8 0 ");
        WAIT_UNTIL(asked() == 1);
        wanted.background = 0;
        starts(&t);
        wanted.background = 1;
        TOLD("-8 0 ");
        atomic_store(&expert.held, false);
        trial_wait(&t);
        IS_TOLD(&t, "0 200 one");
        cr_assert_eq(asked(), 1);
        nothing_is_under_way();
}

Test(callout_background, the_background_does_not_wait_for_who_waits)
{
        struct trial t = { 0 };

        wants("{}");
        atomic_store(&expert.held, true);
        starts(&t);
        WAIT_UNTIL(asked() == 1);
        wanted.background = 1;
        TOLD("-8 0 ");
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before, "one is asked already");
        atomic_store(&expert.held, false);
        trial_wait(&t);
        IS_TOLD(&t, "0 200 one");
        cr_assert_eq(asked(), 1);
}

Test(callout_background, the_background_is_bounded)
{
        static char bodies[CALLOUTS_MAX + 1][16];

        for (int i = 0; i <= CALLOUTS_MAX; i++)
                (void)snprintf(bodies[i], sizeof bodies[i], "{\"n\":%d}", i);
        atomic_store(&expert.held, true);
        for (int i = 0; i <= CALLOUTS_MAX; i++) {
                wants(bodies[i]);
                wanted.background = 1;
                TOLD(i < CALLOUTS_MAX ? "-8 0 " : "-1 0 ");
        }
        wants(bodies[0]);
        wanted.background = 1;
        TOLD("-8 0 ");
        WAIT_UNTIL(asked() == CALLOUTS_MAX);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + CALLOUTS_MAX);
        cr_assert_eq(calls(ROUTER_CALL_BUSY), 1);
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        cr_assert_eq(asked(), CALLOUTS_MAX);
        wants(bodies[CALLOUTS_MAX]);
        wanted.background = 1;
        TOLD("-8 0 ");
        nothing_is_under_way();
        TOLD("0 200 one");
}

/* As many as there can be, and the worker ends: the sanitizers see what is left. */
Test(callout_background, the_worker_may_end_before_them)
{
        static char bodies[CALLOUTS_MAX][16];

        atomic_store(&expert.held, true);
        for (int i = 0; i < CALLOUTS_MAX; i++) {
                (void)snprintf(bodies[i], sizeof bodies[i], "{\"n\":%d}", i);
                wants(bodies[i]);
                wanted.background = 1;
                TOLD("-8 0 ");
        }
        WAIT_UNTIL(asked() == CALLOUTS_MAX);
        bench_end();
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before - 1, "the worker's own hold, and theirs, are given back");
        cr_assert_eq(atomic_load(&bench.experts[2].state->in_flight), 0);
        bench.w = NULL;
        atomic_store(&expert.held, false);
}

static bool metrics_say(const char *line)
{
        struct evbuffer *out = evbuffer_new();
        bool found;

        metrics_write(out, &(struct metrics_gauges){ .workers = 1 });
        (void)evbuffer_add(out, "", 1);
        found = strstr((const char *)evbuffer_pullup(out, -1), line) != NULL;
        evbuffer_free(out);
        return found;
}

Test(callout_background, the_background_has_its_own_limit_and_its_failures_are_counted)
{
        int64_t began;

        bench.route.deadline_ms = 40; /* of the query, not of what it has sent for */
        wants("{}");
        wanted.background = 1;
        wanted.timeout_ms = 200;
        atomic_store(&expert.held, true);
        began = now_us();
        TOLD("-8 0 ");
        WAIT_UNTIL(asked() == 1);
        nothing_is_under_way();
        cr_assert(now_us() - began >= 190000, "%" PRId64, now_us() - began);
        cr_assert(metrics_say("pointsman_router_sent_failed_total{router=\"asks\"} 1\n"));
        atomic_store(&expert.held, false);
        wanted.timeout_ms = 20000; /* which a busy machine needs */
        TOLD("-8 0 ");
        nothing_is_under_way();
        TOLD("0 200 one");
        cr_assert(metrics_say("pointsman_router_sent_failed_total{router=\"asks\"} 1\n"));
        cr_assert(metrics_say("pointsman_router_calls_total{router=\"asks\",result=\"sent\"} 2\n"));
        cr_assert(metrics_say("pointsman_cache_lookups_total{cache=\"replies\",result=\"local\"} 1\n"));
        cr_assert(metrics_say("pointsman_cache_lookups_total{cache=\"vectors\",result=\"local\"} 0\n"));
}

Test(callout_background, the_background_does_not_need_an_expert_that_is_there)
{
        bench.experts[2].breaker_failures = 1000;
        bench.endpoints[2].port = 9; /* nobody listens */
        wants("{}");
        wanted.background = 1;
        for (int i = 0; i < 5; i++) {
                struct trial t = ask(CALLOUT_CACHED, NULL);

                IS_TOLD(&t, "-8 0 ");
                cr_assert(t.at_once);
                nothing_is_under_way();
        }
        cr_assert(metrics_say("pointsman_router_sent_failed_total{router=\"asks\"} 5\n"));
}

/* ---- what a router of an older ABI says --------------------------------------------------------------------------------- */

/* Its structs end before the new members, and there is anything behind them. */
Test(callout_background, an_old_router_says_nothing_with_what_it_does_not_know)
{
        struct trial t;

        wants("{}");
        memset((char *)&wanted + offsetof(struct pm_call, background), 0xA5, sizeof wanted - offsetof(struct pm_call, background));
        provisional = 1;
        t = ask_routers(&asks_old, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert(t.keepable, "waited for, and kept");
        use(&asks, NULL);
        t = ask(CALLOUT_CACHED, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert_not(t.keepable);
}
