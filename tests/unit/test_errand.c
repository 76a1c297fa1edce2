/* SPDX-License-Identifier: Apache-2.0 */
/* pm_call with keep_s: what is kept for whom and how long, who waits for whom, and what goes on in the background after its query has gone. */
#include "route_bench.h"

#include <event2/buffer.h>
#include <signal.h>

#include "errand.h"
#include "peer.h"

/* ---- an expert that says what it is told to, when it is let ------------------------------------------------------------- */
static struct {
        struct peer *peer;
        atomic_bool held;          /* requests are taken and not answered */
        const char *_Atomic says; /* the whole answer */
} expert;

static void play(struct peer_conn *c)
{
        while (peer_take(c)) {
                for (int i = 0; i < 10000 && atomic_load(&expert.held); i++)
                        peer_sleep(2);
                if (!peer_say(c, atomic_load(&expert.says)))
                        return;
                if (strstr(atomic_load(&expert.says), "Length: 100\r\n"))
                        return; /* cut */
        }
}

#define SAYS(status, length, body) "HTTP/1.1 " status "\r\nContent-Length: " length "\r\n\r\n" body
static const char one[] = SAYS("200 OK", "3", "one"), two[] = SAYS("200 OK", "3", "two"), empty[] = SAYS("200 OK", "0", "");

static unsigned asked(void)
{
        return atomic_load(&expert.peer->requests);
}

static const struct pm_router asks;
static int before; /* holders of the generation while nothing is under way */

static void begin(void)
{
        static const struct cache_settings settings = { .vectors = 1 << 20, .redis.timeout = 5 };
        static char url[64];

        (void)signal(SIGPIPE, SIG_IGN);
        atomic_store(&expert.says, one);
        expert.peer = peer_start(PEER_TCP, play);
        bench_cache = &settings;
        bench_begin();
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", expert.peer->port);
        expert_begin(2, "code", url);
        expert_begin(0, "math", url);
        bench.route.cache.n_routers = 1; /* those that say what they read */
        before = (int)atomic_load(&bench.generation.holders);
        use(&asks, NULL);
}

static void end(void)
{
        if (bench.w)
                bench_end();
}

TestSuite(errand, .init = begin, .fini = end, .timeout = 60);

/* ---- a router that calls, and says what came of it ---------------------------------------------------------------------- */
static struct pm_call wanted;
static int provisional, passes_on; /* passes_on: decides only once it has the reply */
static int shortens = -1;          /* to so many seconds what is kept of any reply */

static pm_step asks_done(void *self, struct pm_query *q)
{
        char *text = pm_alloc(q, 64);

        (void)self;
        if (shortens >= 0)
                pm_keep(q, shortens);
        if (q->status < 0 && passes_on)
                return passes_on > 1 ? pm_fail(q, "no reply") : pm_pass(q);
        (void)snprintf(text, 64, "%d %d %.*s", q->status, q->http_status, (int)q->reply.n, q->reply.n ? q->reply.p : "");
        return pm_decide(q, .expert = "code", .reason = text, .provisional = provisional);
}

static pm_step asks_route(void *self, struct pm_query *q)
{
        struct pm_call c = wanted;

        atomic_fetch_add((_Atomic unsigned *)self, 1);
        return q->host->call(q, asks_done, &c);
}
static const struct pm_router asks = { .size = sizeof(struct pm_router), .minor = PM_ABI_MINOR, .name = "asks", .route = asks_route, .reads = PM_READS_TEXT },
                              asks_old = { .size = sizeof(struct pm_router), .minor = 1, .name = "old", .route = asks_route, .reads = PM_READS_TEXT };

static void wants(const char *body)
{
        wanted = (struct pm_call){ .expert = "code", .body = { body, strlen(body) }, .keep_s = 60, .timeout_ms = 20000 };
}

static void starts(struct trial *t)
{
        unsigned runs = atomic_load(&bench.calls[0]);

        trial_go(t);
        while (atomic_load(&bench.calls[0]) == runs)
                (void)usleep(500);
}

static void is_told(const struct trial *t, const char *what, int line)
{
        (void)line;
        cr_assert_str_eq(t->reason, what, "line %d: '%s'", line, t->reason);
}

/* One from beginning to end, while others may be under way. */
static struct trial ask(enum errand_wish wish, const struct tenant *tenant)
{
        struct trial t = { .wish = wish, .tenant = tenant };

        trial_go(&t);
        trial_wait(&t);
        cr_assert(t.decided && !t.wake_left && t.woken == (t.at_once ? 0 : 1));
        return t;
}

static void told(const char *what, int line)
{
        struct trial t = ask(ERRAND_ANY, NULL);

        is_told(&t, what, line);
}
#define TOLD(what) told(what, __LINE__)
#define IS_TOLD(t, what) is_told(t, what, __LINE__)

#define WAIT_UNTIL(condition)                                                                      \
        do {                                                                                       \
                int64_t until_ = now_us() + 20000000;                                              \
                while (!(condition) && now_us() < until_)                                          \
                        (void)usleep(1000);                                                        \
                cr_assert(condition, "in time: %s", #condition);                                   \
        } while (0)

static uint64_t calls(enum metrics_call how)
{
        uint64_t counts[METRICS_CALLS];

        metrics_router_calls(bench.routers[0].metric, counts);
        return counts[how];
}

static void nothing_is_under_way(void)
{
        WAIT_UNTIL((int)atomic_load(&bench.generation.holders) == before);
        for (size_t i = 0; i < EXPERTS; i++) {
                cr_assert_eq(atomic_load(&bench.experts[i].state->in_flight), 0);
                cr_assert_eq(atomic_load(&bench.endpoints[i].state->in_flight), 0);
        }
}

/* ---- what is kept ------------------------------------------------------------------------------------------------------- */

Test(errand, keeps_a_reply)
{
        struct trial t;

        wants("{}");
        TOLD("0 200 one");
        atomic_store(&expert.says, two);
        t = ask(ERRAND_ANY, NULL);
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

Test(errand, what_a_router_finds_useless_is_not_kept_on)
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
Test(errand, what_came_in_the_background_and_is_useless_is_asked_for_anew)
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

Test(errand, its_key_is_the_expert_the_path_and_the_body)
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

Test(errand, tenants_share_only_where_the_route_says_so)
{
        static const struct tenant acme = { .name = "acme" }, zeta = { .name = "zeta" };
        const struct tenant *const who[] = { &acme, &zeta, NULL, &acme, &zeta, NULL };

        wants("{}");
        for (int share = 0; share < 2; share++) {
                unsigned n = asked();

                bench.route.cache.share_all = share;
                wants(share ? "{\"for\":\"all\"}" : "{}");
                for (size_t i = 0; i < LENGTH_OF(who); i++) {
                        struct trial t = ask(ERRAND_ANY, who[i]);

                        IS_TOLD(&t, "0 200 one");
                        cr_assert_eq(asked() - n, share ? 1 : MIN(i + 1, 3), "%d, %zu: %u", share, i, asked() - n);
                }
        }
}

Test(errand, keeps_no_failure)
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

Test(errand, keeps_it_no_longer_than_asked)
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

Test(errand, a_client_may_want_nothing_kept)
{
        static const struct { enum errand_wish wish; const char *says, *told; unsigned asked; } rows[] = {
                { ERRAND_ANY, one, "0 200 one", 1 }, { ERRAND_OFF, two, "0 200 two", 2 }, { ERRAND_ANY, two, "0 200 one", 2 },
                { ERRAND_REFRESH, two, "0 200 two", 3 }, { ERRAND_ANY, one, "0 200 two", 3 },
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
                struct trial t = ask(refresh ? ERRAND_REFRESH : ERRAND_OFF, NULL);

                IS_TOLD(&t, "-8 0 ");
                nothing_is_under_way();
                cr_assert_eq(asked(), refresh ? 4 : 3, "nothing is asked that nobody will find");
        }
        TOLD("0 200 one");
}

/* ---- who waits for whom ------------------------------------------------------------------------------------------------- */

enum { CROWD = 20 };

Test(errand, one_is_asked_for_many)
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

Test(errand, who_waits_for_another_has_a_limit_of_its_own)
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

Test(errand, another_goes_when_the_one_that_asks_leaves)
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

Test(errand, when_it_fails_the_others_ask_for_themselves)
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

/* ---- in the background -------------------------------------------------------------------------------------------------- */

Test(errand, in_the_background_nobody_waits)
{
        struct trial t;

        wants("{}");
        wanted.background = 1;
        provisional = 1;
        atomic_store(&expert.held, true);
        for (int i = 0; i < 5; i++) {
                t = ask(ERRAND_ANY, NULL);
                IS_TOLD(&t, "-8 0 ");
                cr_assert(t.at_once && !t.keepable);
        }
        WAIT_UNTIL(asked() == 1);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + 1, "it holds what it came from");
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        provisional = 0;
        t = ask(ERRAND_ANY, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert(t.at_once && t.keepable);
        cr_assert_eq(asked(), 1);
        cr_assert_eq(calls(ROUTER_CALL_SENT), 1);
        cr_assert_eq(calls(ROUTER_CALL_LATER), 4);
        cr_assert_eq(calls(ROUTER_CALL_LOCAL), 1);
}

/* It passes because the reply is not there yet: who comes after it decides for this request only. */
Test(errand, who_decides_in_its_place_does_so_for_now)
{
        static char bodies[ERRANDS_MAX][16], body[16];
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
                for (int k = 0; k < ERRANDS_MAX && rows[i].busy; k++) {
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

Test(errand, one_refresh_at_a_time_in_the_background)
{
        struct trial t;

        wants("{}");
        wanted.background = 1;
        atomic_store(&expert.held, true);
        for (int i = 0; i < 3; i++) {
                t = ask(ERRAND_REFRESH, NULL);
                IS_TOLD(&t, "-8 0 ");
        }
        WAIT_UNTIL(asked() == 1);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + 1);
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        cr_assert_eq(asked(), 1);
        TOLD("0 200 one");
}

Test(errand, without_keep_s_there_is_no_background)
{
        wants("{}");
        wanted.background = 1;
        wanted.keep_s = 0;
        TOLD("0 200 one");
}

Test(errand, who_waits_may_wait_for_the_background)
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

Test(errand, the_background_does_not_wait_for_who_waits)
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

Test(errand, the_background_is_bounded)
{
        static char bodies[ERRANDS_MAX + 1][16];

        for (int i = 0; i <= ERRANDS_MAX; i++)
                (void)snprintf(bodies[i], sizeof bodies[i], "{\"n\":%d}", i);
        atomic_store(&expert.held, true);
        for (int i = 0; i <= ERRANDS_MAX; i++) {
                wants(bodies[i]);
                wanted.background = 1;
                TOLD(i < ERRANDS_MAX ? "-8 0 " : "-1 0 ");
        }
        wants(bodies[0]);
        wanted.background = 1;
        TOLD("-8 0 ");
        WAIT_UNTIL(asked() == ERRANDS_MAX);
        cr_assert_eq((int)atomic_load(&bench.generation.holders), before + ERRANDS_MAX);
        cr_assert_eq(calls(ROUTER_CALL_BUSY), 1);
        atomic_store(&expert.held, false);
        nothing_is_under_way();
        cr_assert_eq(asked(), ERRANDS_MAX);
        wants(bodies[ERRANDS_MAX]);
        wanted.background = 1;
        TOLD("-8 0 ");
        nothing_is_under_way();
        TOLD("0 200 one");
}

/* As many as there can be, and the worker ends: the sanitizers see what is left. */
Test(errand, the_worker_may_end_before_them)
{
        static char bodies[ERRANDS_MAX][16];

        atomic_store(&expert.held, true);
        for (int i = 0; i < ERRANDS_MAX; i++) {
                (void)snprintf(bodies[i], sizeof bodies[i], "{\"n\":%d}", i);
                wants(bodies[i]);
                wanted.background = 1;
                TOLD("-8 0 ");
        }
        WAIT_UNTIL(asked() == ERRANDS_MAX);
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

Test(errand, the_background_has_its_own_limit_and_its_failures_are_counted)
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

Test(errand, the_background_does_not_need_an_expert_that_is_there)
{
        bench.experts[2].breaker_failures = 1000;
        bench.endpoints[2].port = 9; /* nobody listens */
        wants("{}");
        wanted.background = 1;
        for (int i = 0; i < 5; i++) {
                struct trial t = ask(ERRAND_ANY, NULL);

                IS_TOLD(&t, "-8 0 ");
                cr_assert(t.at_once);
                nothing_is_under_way();
        }
        cr_assert(metrics_say("pointsman_router_sent_failed_total{router=\"asks\"} 5\n"));
}

/* ---- what a router of an older ABI says --------------------------------------------------------------------------------- */

/* Its structs end before the new members, and there is anything behind them. */
Test(errand, an_old_router_says_nothing_with_what_it_does_not_know)
{
        struct trial t;

        wants("{}");
        memset((char *)&wanted + offsetof(struct pm_call, background), 0xA5, sizeof wanted - offsetof(struct pm_call, background));
        provisional = 1;
        t = ask_routers(&asks_old, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert(t.keepable, "waited for, and kept");
        use(&asks, NULL);
        t = ask(ERRAND_ANY, NULL);
        IS_TOLD(&t, "0 200 one");
        cr_assert_not(t.keepable);
}
