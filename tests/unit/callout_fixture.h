/* SPDX-License-Identifier: Apache-2.0 */
/*
 * callout_fixture.h - a router that calls, on a routing_fixture.h, and an expert that says what it is told to, when it is let.
 */
#ifndef PM_TEST_CALLOUT_FIXTURE_H
#define PM_TEST_CALLOUT_FIXTURE_H

#include "routing_fixture.h"

#include <event2/buffer.h>
#include <signal.h>

#include "callout.h"
#include "peer.h"

/* ---- an expert that says what it is told to, when it is let ------------------------------------------------------------- */
static struct {
        struct peer *peer;
        atomic_bool held;          /* requests are taken and not answered */
        const char *_Atomic says; /* the whole answer */
} expert;

HELPER void play(struct peer_conn *c)
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

HELPER unsigned asked(void)
{
        return atomic_load(&expert.peer->requests);
}

static const struct pm_router asks;
static int before; /* holders of the generation while nothing is under way */

HELPER void begin(void)
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

HELPER void end(void)
{
        if (bench.w)
                bench_end();
}

/* ---- a router that calls, and says what came of it ---------------------------------------------------------------------- */
static struct pm_call wanted;
static int provisional, passes_on; /* passes_on: decides only once it has the reply */
static int shortens = -1;          /* to so many seconds what is kept of any reply */

HELPER pm_step asks_done(void *self, struct pm_query *q)
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

HELPER pm_step asks_route(void *self, struct pm_query *q)
{
        struct pm_call c = wanted;

        atomic_fetch_add((_Atomic unsigned *)self, 1);
        return q->host->call(q, asks_done, &c);
}
static const struct pm_router asks = { .size = sizeof(struct pm_router), .minor = PM_ABI_MINOR, .name = "asks", .route = asks_route, .reads = PM_READS_TEXT },
                              asks_old = { .size = sizeof(struct pm_router), .minor = 1, .name = "old", .route = asks_route, .reads = PM_READS_TEXT };

HELPER void wants(const char *body)
{
        wanted = (struct pm_call){ .expert = "code", .body = { body, strlen(body) }, .keep_s = 60, .timeout_ms = 20000 };
}

HELPER void starts(struct trial *t)
{
        unsigned runs = atomic_load(&bench.calls[0]);

        trial_go(t);
        while (atomic_load(&bench.calls[0]) == runs)
                (void)usleep(500);
}

HELPER void is_told(const struct trial *t, const char *what, int line)
{
        (void)line;
        cr_assert_str_eq(t->reason, what, "line %d: '%s'", line, t->reason);
}

/* One from beginning to end, while others may be under way. */
HELPER struct trial ask(enum callout_cache wish, const struct tenant *tenant)
{
        struct trial t = { .wish = wish, .tenant = tenant };

        trial_go(&t);
        trial_wait(&t);
        cr_assert(t.decided && !t.wake_left && t.woken == (t.at_once ? 0 : 1));
        return t;
}

HELPER void told(const char *what, int line)
{
        struct trial t = ask(CALLOUT_CACHED, NULL);

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

HELPER uint64_t calls(enum metrics_call how)
{
        uint64_t counts[METRICS_CALLS];

        metrics_sum(METRICS_ROUTER, bench.routers[0].metric, METRICS_AT(router, calls), METRICS_CALLS, counts);
        return counts[how];
}

HELPER void nothing_is_under_way(void)
{
        WAIT_UNTIL((int)atomic_load(&bench.generation.holders) == before);
        for (size_t i = 0; i < EXPERTS; i++) {
                cr_assert_eq(atomic_load(&bench.experts[i].state->in_flight), 0);
                cr_assert_eq(atomic_load(&bench.endpoints[i].state->in_flight), 0);
        }
}
#endif
