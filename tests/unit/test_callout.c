/* SPDX-License-Identifier: Apache-2.0 */
/* pm_call with keep_s: what is kept for whom and how long, and who waits for whom. */
#include "callout_fixture.h"

TestSuite(callout, .init = begin, .fini = end, .timeout = 60);

/* ---- what is kept ------------------------------------------------------------------------------------------------------- */

Test(callout, keeps_a_reply)
{
        struct trial t;

        wants("{}");
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        t = ask(CALLOUT_CACHED, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert(t.at_once && t.keepable);
        cr_assert_eq(asked(), 1);
        cr_assert_eq(calls(ROUTER_CALL_ASKED), 1);
        cr_assert_eq(calls(ROUTER_CALL_LOCAL), 1);
        wanted.max_reply = 2;
        TOLD("-5 0 ");
        wanted.max_reply = 3;
        TOLD("0 200 one");
        wanted.keep_s = 0;
        TOLD("0 200 two");
        wanted.keep_s = -1;
        TOLD("0 200 two");
        cr_assert_eq(asked(), 3, "who keeps nothing looks for nothing");
        wanted.keep_s = 60;
        TOLD("0 200 one");
        nothing_is_under_way();
}

Test(callout, what_a_router_finds_useless_is_not_kept_on)
{
        wants("{}");
        shortens = 30;
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        TOLD("0 200 one"); /* for 30 seconds it is */
        shortens = 0;
        TOLD("0 200 one"); /* and now no longer */
        TOLD("0 200 two");
        TOLD("0 200 two");
        cr_assert_eq(asked(), 3);
        shortens = -1;
        TOLD("0 200 two");
        cr_assert_eq(asked(), 4);
        TOLD("0 200 two");
        cr_assert_eq(asked(), 4);
        wanted.keep_s = 0;
        shortens = 0; /* of nothing, nothing */
        TOLD("0 200 two");
        atomic_store(&expert.says, SAYS("500 Internal Server Error", "3", "bad"));
        TOLD("-4 500 bad");
        nothing_is_under_way();
}

/* In the background nobody has judged it yet: the first who finds it does. */
Test(callout, what_came_in_the_background_and_is_useless_is_asked_for_anew)
{
        wants("{}");
        wanted.background = 1;
        shortens = 0;
        TOLD("-8 0 ");
        WAIT_UNTIL(asked() == 1);
        nothing_is_under_way();
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        TOLD("-8 0 ");
        nothing_is_under_way();
        shortens = -1;
        TOLD("0 200 two");
        TOLD("0 200 two");
        cr_assert_eq(asked(), 2);
}

Test(callout, its_key_is_the_expert_the_path_and_the_body)
{
        wants("{\"a\":1}");
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        wants("{\"a\":2}");
        TOLD("0 200 two");
        wants("{\"a\":1}");
        wanted.path = "/other";
        TOLD("0 200 two");
        wanted.path = "/chat/completions";
        TOLD("0 200 one");
        wanted.expert = "math";
        bench.experts[0].model = "code"; /* the name is its own */
        TOLD("0 200 two");
        wanted.expert = "code";
        bench.experts[2].model = "another";
        TOLD("0 200 two");
        bench.experts[2].model = "code";
        TOLD("0 200 one");
        cr_assert_eq(asked(), 5);
}

Test(callout, tenants_share_only_where_the_route_says_so)
{
        static const struct tenant acme = { .name = "acme" }, zeta = { .name = "zeta" };
        const struct tenant *const who[] = { &acme, &zeta, NULL, &acme, &zeta, NULL };

        wants("{}");
        for (int share = 0; share < 2; share++) {
                unsigned n = asked();

                bench.route.cache.share_all = share;
                wants(share ? "{\"for\":\"all\"}" : "{}");
                for (size_t i = 0; i < LENGTH_OF(who); i++) {
                        struct trial t = ask(CALLOUT_CACHED, who[i]);

                        IS_TOLD(&t, "0 200 one");
                        cr_assert_eq(asked() - n, share ? 1 : MIN(i + 1, 3), "%d, %zu: %u", share, i, asked() - n);
                }
        }
}

Test(callout, keeps_no_failure)
{
        static const struct { const char *says, *told; size_t max; } rows[] = {
                { SAYS("500 No", "2", "{}"), "-4 500 {}", 0 }, { SAYS("404 No", "2", "{}"), "-4 404 {}", 0 },
                { SAYS("200 OK", "100", "cut"), "-3 0 ", 0 }, { SAYS("200 OK", "5", "12345"), "-5 0 ", 4 }, { empty, "0 200 ", 0 },
        };

        bench.experts[2].breaker_failures = 100;
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                unsigned n = asked();

                wants("{}");
                wanted.max_reply = rows[i].max;
                atomic_store(&expert.says, rows[i].says);
                TOLD(rows[i].told);
                TOLD(rows[i].told);
                cr_assert_eq(asked() - n, 2, "%s: %u", rows[i].says, asked() - n);
        }
        cr_assert_eq(calls(ROUTER_CALL_FAILED), 8);
        atomic_store(&expert.says, one);
        TOLD("0 200 one");
        nothing_is_under_way();
}

Test(callout, keeps_it_no_longer_than_asked)
{
        wants("{}");
        wanted.keep_s = 1;
        TOLD("0 200 one");
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        (void)usleep(1100000);
        TOLD("0 200 two");
        cr_assert_eq(asked(), 2);
}

Test(callout, a_client_may_want_nothing_kept)
{
        static const struct { enum callout_cache wish; const char *says, *told; unsigned asked; } rows[] = {
                { CALLOUT_CACHED, one, "0 200 one", 1 }, { CALLOUT_UNCACHED, two, "0 200 two", 2 }, { CALLOUT_CACHED, two, "0 200 one", 2 },
                { CALLOUT_REFRESH, two, "0 200 two", 3 }, { CALLOUT_CACHED, one, "0 200 two", 3 },
        };

        wants("{}");
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct trial t;

                atomic_store(&expert.says, rows[i].says);
                t = ask(rows[i].wish, NULL);
                IS_TOLD(&t, rows[i].told);
                cr_assert_eq(asked(), rows[i].asked, "%zu: %u", i, asked());
        }
        wanted.background = 1;
        for (int refresh = 0; refresh < 2; refresh++) {
                struct trial t = ask(refresh ? CALLOUT_REFRESH : CALLOUT_UNCACHED, NULL);

                IS_TOLD(&t, "-8 0 ");
                nothing_is_under_way();
                cr_assert_eq(asked(), refresh ? 4 : 3, "nothing is asked that nobody will find");
        }
        TOLD("0 200 one");
}

/* ---- who waits for whom ------------------------------------------------------------------------------------------------- */

enum { CROWD = 20 };

Test(callout, one_is_asked_for_many)
{
        static struct trial t[CROWD];

        wants("{}");
        atomic_store(&expert.held, true);
        for (int i = 0; i < CROWD; i++)
                starts(&t[i]);
        WAIT_UNTIL(asked() == 1);
        atomic_store(&expert.held, false);
        for (int i = 0; i < CROWD; i++) {
                trial_wait(&t[i]);
                IS_TOLD(&t[i], "0 200 one");
        }
        cr_assert_eq(asked(), 1);
        cr_assert_eq(calls(ROUTER_CALL_JOINED), CROWD - 1);
        nothing_is_under_way();
}

Test(callout, who_waits_for_another_has_a_limit_of_its_own)
{
        struct trial leader = { 0 }, t = { 0 };
        int64_t began;

        wants("{}");
        atomic_store(&expert.held, true);
        starts(&leader);
        WAIT_UNTIL(asked() == 1);
        wanted.timeout_ms = 80;
        began = now_us();
        trial_go(&t);
        trial_wait(&t);
        IS_TOLD(&t, "-2 0 ");
        cr_assert(now_us() - began >= 70000 && now_us() - began < 2000000, "%" PRId64, now_us() - began);
        atomic_store(&expert.held, false);
        trial_wait(&leader);
        IS_TOLD(&leader, "0 200 one");
        cr_assert_eq(asked(), 1);
        nothing_is_under_way();
}

Test(callout, another_goes_when_the_one_that_asks_leaves)
{
        struct trial leader = { 0 }, t = { 0 }, left = { 0 };

        wants("{}");
        atomic_store(&expert.held, true);
        starts(&leader);
        starts(&t);
        starts(&left);
        WAIT_UNTIL(asked() == 1);
        trial_drop(&left);
        trial_wait(&left);
        trial_drop(&leader);
        trial_wait(&leader);
        WAIT_UNTIL(asked() == 2);
        cr_assert_eq(calls(ROUTER_CALL_CANCELLED), 2);
        atomic_store(&expert.held, false);
        trial_wait(&t);
        IS_TOLD(&t, "0 200 one");
        TOLD("0 200 one");
        cr_assert_eq(asked(), 2);
        nothing_is_under_way();
}

Test(callout, when_it_fails_the_others_ask_for_themselves)
{
        static struct trial t[4];

        bench.experts[2].breaker_failures = 100;
        wants("{}");
        atomic_store(&expert.says, SAYS("500 No", "2", "{}"));
        atomic_store(&expert.held, true);
        for (int i = 0; i < 4; i++)
                starts(&t[i]);
        WAIT_UNTIL(asked() == 1);
        atomic_store(&expert.held, false);
        for (int i = 0; i < 4; i++) {
                trial_wait(&t[i]);
                IS_TOLD(&t[i], "-4 500 {}");
        }
        cr_assert_eq(asked(), 4);
        nothing_is_under_way();
}
