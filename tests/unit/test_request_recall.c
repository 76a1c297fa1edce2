/* SPDX-License-Identifier: Apache-2.0 */
/* Has it been decided before?  In memory, in a real Redis, by somebody who is at it; and what is found but not believed. */
#include "request_fixture.h"

#include "cache.h"
#include "decision_codec.h"
#include "lru.h"
#include "pool.h"
#include "redis_fixture.h"
#include "shared_cache.h"

#define KEPT ROUTE("decisions: local, pin: 0s")
#define SHARED(cache) EXPERTS ROUTE(cache) "cache: {redis: {servers: '${REDIS}', timeout: 5s}}\n"

static double lookups(const char *cache, const char *result)
{
        char series[128];

        (void)snprintf(series, sizeof series, "pointsman_cache_lookups_total{cache=\"%s\",result=\"%s\"}", cache, result);
        return front_metric(series);
}
#define LOOKUPS(cache, result, n) cr_assert_eq(lookups(cache, result), n, "%s %s: %g", cache, result, lookups(cache, result))

static double routed(void)
{
        return front_metric("pointsman_router_decisions_total{router=\"decider\",result=\"decided\"}");
}

static void both_answer(void)
{
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
}

static void kept(void)
{
        front_begin(EXPERTS KEPT);
        both_answer();
}

static void is(const struct client *c, const char *expert, const char *decision, int line)
{
        char got[64] = "";

        cr_assert_eq(c->status, 200, "line %d: %d %s", line, c->status, c->body);
        (void)snprintf(got, sizeof got, "%s %s", header(c, "x-pointsman-expert"), "");
        got[strlen(got) - 1] = '\0';
        cr_assert_str_eq(got, expert, "line %d", line);
        cr_assert_str_eq(header(c, "x-pointsman-decision"), decision, "line %d: %s", line, header(c, "x-pointsman-decision"));
}
#define DECIDED(c, expert, decision) is(&(c), expert, decision, __LINE__)

static void asks_is(const char *headers, const char *body, const char *expert, const char *decision, int line)
{
        struct client c = ask(CHAT, headers, body);

        is(&c, expert, decision, line);
}
#define ASK(headers, body, expert, decision) asks_is(headers, body, expert, decision, __LINE__)

/* ---- in memory ----------------------------------------------------------------------------------------------------------- */

Test(request_recall, hit_and_miss, .init = kept, .fini = front_end)
{
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-local");
        ASK("", SAYING("auto", "beta?"), "beta", "computed");
        LOOKUPS("decisions", "miss", 2);
        LOOKUPS("decisions", "local", 1);
        cr_assert_eq(routed(), 2);
        ASK("", SAYING("alpha", "alpha?"), "alpha", "named");
        LOOKUPS("decisions", "miss", 2);
}

Test(request_recall, as_the_client_wishes, .init = kept, .fini = front_end)
{
        struct client c;

        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        ASK("x-pointsman-cache: off\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        ASK("x-pointsman-cache: OFF\r\n", SAYING("auto", "beta?"), "beta", "computed");
        ASK("", SAYING("auto", "beta?"), "beta", "computed");
        ASK("x-pointsman-cache: refresh\r\n", SAYING("auto", "beta?"), "beta", "computed");
        ASK("", SAYING("auto", "beta?"), "beta", "cached-local");
        LOOKUPS("decisions", "miss", 2);
        LOOKUPS("decisions", "local", 1);
        c = ask(CHAT, "x-pointsman-cache: maybe\r\n", SAYING("auto", "beta?"));
        IS(c, 400);
        HAS(c, "x-pointsman-cache is 'maybe', where 'off' or 'refresh' would be right");
        HAS(c, "\"param\":\"x-pointsman-cache\"");
}

/* Unsure, a default, a failure on the way: they would not come out the same. */
Test(request_recall, what_is_not_kept, .init = kept, .fini = front_end)
{
        for (int i = 0; i < 2; i++) {
                ASK("", SAYING("auto", "pass"), "beta", "default");
                ASK("", SAYING("auto", "fail"), "beta", "default");
        }
        LOOKUPS("decisions", "local", 0);
        LOOKUPS("decisions", "miss", 4);
}

/* A decision whose expert rests is passed over, and what is decided meanwhile is not kept. */
Test(request_recall, stale, .fini = front_end)
{
        front_begin("experts: {alpha: {endpoints: '${ALPHA}', retries: 0, breaker: {failures: 1, open_time: 60s}}, beta: {endpoints: '${BETA}'}}\n" KEPT);
        both_answer();
        ASK("", SAYING("auto", "alpha beta"), "alpha", "computed");
        expert_done(front.g->experts[0], expert_pick(front.g->experts[0], 0, now_us(), &(unsigned){ 0 }), EXPERT_BAD, 0, 0, now_us());
        ASK("", SAYING("auto", "alpha beta"), "beta", "computed");
        LOOKUPS("decisions", "stale", 1);
        LOOKUPS("decisions", "local", 0);
        ASK("", SAYING("auto", "alpha beta"), "beta", "computed");
        LOOKUPS("decisions", "stale", 2);
}

/* ---- one computation at a time ------------------------------------------------------------------------------------------- */

#define SLOWLY(ms, deadline) EXPERTS "routers: {decider: {plugin: '${DECIDER}', ms: " ms "}}\n" \
        "routes: {auto: {routers: decider, experts: [alpha, beta], default: beta, deadline: " deadline ", cache: {decisions: local, pin: 0s}}}\n"

Test(request_recall, one_computes_for_all, .fini = front_end)
{
        struct client c[4];

        front_begin(SLOWLY("200", "10s"));
        both_answer();
        for (size_t i = 0; i < LENGTH_OF(c); i++)
                c[i] = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        for (size_t i = 0; i < LENGTH_OF(c); i++)
                client_waits(&c[i]);
        cr_assert_eq(routed(), 1);
        LOOKUPS("decisions", "joined", 3);
        LOOKUPS("decisions", "miss", 1);
        for (size_t i = 0, computed = 0; i < LENGTH_OF(c); i++) {
                HEADER(c[i], "x-pointsman-expert", "alpha");
                computed += strcmp(header(&c[i], "x-pointsman-decision"), "computed") == 0;
                cr_assert(i < 3 || computed == 1);
        }
}

/* It would fail for them, too, one after another: they all compute at once. */
Test(request_recall, the_one_that_computes_fails, .fini = front_end)
{
        struct client c[4];

        front_begin(SLOWLY("400", "10s"));
        both_answer();
        for (size_t i = 0; i < LENGTH_OF(c); i++)
                c[i] = client_asks(CHAT, "", SAYING("auto", "fail"));
        FRONT_UNTIL(front_metric("pointsman_router_decisions_total{router=\"decider\",result=\"failed\"}") == 1);
        FRONT_UNTIL(pool_waiting(front.worker.pool) == 2); /* one of them runs, and the others do not wait for it */
        for (size_t i = 0; i < LENGTH_OF(c); i++) {
                client_waits(&c[i]);
                DECIDED(c[i], "beta", "default");
        }
        cr_assert_eq(front_metric("pointsman_router_decisions_total{router=\"decider\",result=\"failed\"}"), 4);
        LOOKUPS("decisions", "joined", 0);
}

Test(request_recall, the_one_that_computes_leaves, .fini = front_end)
{
        struct client a, b;

        front_begin(SLOWLY("300", "10s"));
        both_answer();
        a = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        FRONT_UNTIL(http_connections(front.http) == 1);
        front_turn_ms(20);
        b = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        front_turn_ms(50);
        client_leaves(&a);
        client_waits(&b);
        DECIDED(b, "alpha", "computed");
        LOOKUPS("decisions", "joined", 0);
}

/* No longer than the route's deadline: the default, then. */
Test(request_recall, waits_until_the_deadline, .fini = front_end)
{
        struct client a, b;

        front_begin(SLOWLY("1000", "200ms"));
        both_answer();
        a = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        b = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        client_waits(&a);
        client_waits(&b);
        DECIDED(a, "beta", "default");
        DECIDED(b, "beta", "default");
        front_turn_ms(1000); /* the job comes back */
}

/* Who waits and leaves takes nothing along. */
Test(request_recall, who_waits_leaves, .fini = front_end)
{
        struct client a, b;

        front_begin(SLOWLY("200", "10s"));
        both_answer();
        a = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        b = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        front_turn_ms(50);
        client_leaves(&b);
        client_waits(&a);
        IS(a, 200);
        HEADER(a, "x-pointsman-expert", "alpha");
}

/* ---- pins ---------------------------------------------------------------------------------------------------------------- */

#define TURNS(text) "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"alpha?\"},{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"" text "\"}]}"

Test(request_recall, a_conversation_stays, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS ROUTE("decisions: local, pin: 1m"));
        both_answer();
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        c = ask(CHAT, "x-session-id: 1\r\n", SAYING("auto", "beta?"));
        DECIDED(c, "alpha", "pinned");
        HEADER(c, "x-pointsman-reason", "the conversation is pinned to alpha by x-session-id");
        ASK("x-session-id: 2\r\n", SAYING("auto", "beta?"), "beta", "computed");
        LOOKUPS("pins", "local", 1);
        LOOKUPS("pins", "miss", 2);
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-local"); /* it begins: nothing to look for */
        LOOKUPS("pins", "miss", 2);
        ASK("", TURNS("beta?"), "alpha", "pinned");
        ASK("x-pointsman-cache: off\r\n", TURNS("beta?"), "beta", "computed");
}

Test(request_recall, unsure_and_default_do_not_pin, .fini = front_end)
{
        front_begin(EXPERTS ROUTE("decisions: 'off', pin: 1m"));
        both_answer();
        ASK("x-session-id: 1\r\n", SAYING("auto", "perhaps alpha"), "alpha", "computed");
        ASK("x-session-id: 1\r\n", SAYING("auto", "pass"), "beta", "default");
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha"), "alpha", "computed");
        ASK("x-session-id: 1\r\n", SAYING("auto", "beta"), "alpha", "pinned");
}

/* The pinned expert fails: the conversation goes on with the one that has answered. */
Test(request_recall, a_pin_moves, .fini = front_end)
{
        front_begin("experts: {alpha: {endpoints: '${ALPHA}', retries: 0, breaker: {failures: 1, open_time: 60s}}, beta: {endpoints: '${BETA}'}}\n"
                    ROUTE("decisions: local, pin: 1m"));
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        mock_says(ALPHA, "500 E", "", "");
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha!"), "beta", "pinned"); /* fell back */
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha."), "beta", "pinned");
        LOOKUPS("pins", "local", 2);
        LOOKUPS("pins", "stale", 0);
}

Test(request_recall, a_pin_whose_expert_rests, .fini = front_end)
{
        front_begin("experts: {alpha: {endpoints: '${ALPHA}', retries: 0, breaker: {failures: 1, open_time: 60s}}, beta: {endpoints: '${BETA}'}}\n"
                    ROUTE("decisions: local, pin: 1m"));
        both_answer();
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        expert_done(front.g->experts[0], expert_pick(front.g->experts[0], 0, now_us(), &(unsigned){ 0 }), EXPERT_BAD, 0, 0, now_us());
        ASK("x-session-id: 1\r\n", SAYING("auto", "what?"), "beta", "computed");
        LOOKUPS("pins", "stale", 1);
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha?"), "beta", "pinned");
}

/* ---- in Redis ------------------------------------------------------------------------------------------------------------ */

static struct server server;

static void with_redis(const char *yaml)
{
        SERVER_START(&server);
        (void)setenv("REDIS", server.url, 1);
        front_begin(yaml);
        both_answer();
        FRONT_UNTIL(cache_store_ready(front.worker.cache));
}

static void without_redis(void)
{
        front_end();
        server_finish(&server);
}

/* What is kept in this process goes. */
static void forget(void)
{
        struct cache *c = front.worker.cache;

        (void)lru_remove_prefix(cache_decisions(c), (struct pm_str){ "", 0 });
        (void)lru_remove_prefix(cache_answers(c), (struct pm_str){ "", 0 });
        (void)shared_cache_remove_prefix(SHARED_CACHE_PINS, (struct pm_str){ "", 0 });
        (void)shared_cache_remove_prefix(SHARED_CACHE_STATES, (struct pm_str){ "", 0 });
}

/* The one key of a kind, when it is there. */
static const char *key_of(char kind)
{
        static char key[256];
        const char pattern[] = { 'p', 'o', 'i', 'n', 't', 's', 'm', 'a', 'n', ':', kind, '|', '*', '\0' };
        int64_t until = now_us() + 10000000;

        do {
                front_turn();
                (void)snprintf(key, sizeof key, "%s", server_say(&server, "KEYS %s", pattern));
        } while (!*key && now_us() < until);
        cr_assert(*key, "no key of kind %c", kind);
        return key;
}

Test(request_recall, from_redis, .fini = without_redis)
{
        with_redis(SHARED("decisions: shared, pin: 0s"));
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        (void)key_of('d');
        forget();
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-shared");
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-local"); /* it has been told memory, too */
        LOOKUPS("decisions", "shared", 1);
        LOOKUPS("decisions", "local", 1);
        LOOKUPS("decisions", "miss", 1);
        cr_assert_eq(routed(), 1);
        forget();
        ASK("x-pointsman-cache: refresh\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
}

Test(request_recall, values_that_are_not_ours, .fini = without_redis)
{
        const char *key;

        with_redis(SHARED("decisions: shared, pin: 0s"));
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        key = key_of('d');
        forget();
        (void)server_say(&server, "SET %s garbage", key);
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 1);
        forget();
        (void)server_say(&server, "DEL %s", key);
        (void)server_say(&server, "LPUSH %s a", key);
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 2);
        LOOKUPS("decisions", "shared", 0);
}

/* Any decision under that key. */
static void plant(const char *key, struct cached_decision k)
{
        static unsigned char bytes[1024];
        struct cache_key at = { .shared = str(key) };
        size_t n = decision_encoded_size(&k);

        cr_assert_leq(n, sizeof bytes);
        decision_encode(&k, bytes);
        (void)server_say(&server, "DEL %s", key);
        cache_share(front.worker.cache, &at, (struct pm_str){ (const char *)bytes, n }, 60000);
        FRONT_UNTIL(strcmp(server_say(&server, "EXISTS %s", key), "1") == 0);
        forget();
}

Test(request_recall, values_that_cannot_be_followed, .fini = without_redis)
{
        struct cached_decision good = { .ends_ms = cache_now_ms() + 60000, .expert = { "alpha", 5 }, .router = { "decider", 7 } }, k;
        char key[256];

        with_redis(SHARED("decisions: shared, pin: 0s"));
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        (void)snprintf(key, sizeof key, "%s", key_of('d'));
        good.key = decision_encoded_key(str(key));
        k = good;
        k.expert = str("beta");
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "beta", "cached-shared");
        LOOKUPS("decisions", "shared", 1);
        k = good;
        k.ends_ms = cache_now_ms() - 1;
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "stale", 1);
        k = good;
        k.key++;
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 1);
        k = good;
        k.expert = str("nobody");
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 2);
        k = good;
        k.router = str("nobody");
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 3);
        k = good;
        k.reason = str("\xff");
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 4);
        k = good;
        k.extra = str("[]");
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 5);
        k = good;
        k.fallbacks[0] = str("nobody");
        k.n_fallbacks = 1;
        plant(key, k);
        ASK("", SAYING("auto", "which?"), "alpha", "computed");
        LOOKUPS("decisions", "foreign", 6);
        LOOKUPS("decisions", "shared", 1);
}

Test(request_recall, pins_in_redis, .fini = without_redis)
{
        with_redis(SHARED("decisions: local, pin: 1m"));
        ASK("x-session-id: 1\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        (void)key_of('p');
        forget();
        ASK("x-session-id: 1\r\n", SAYING("auto", "beta?"), "alpha", "pinned");
        LOOKUPS("pins", "shared", 1);
        ASK("x-session-id: 1\r\n", SAYING("auto", "beta?"), "alpha", "pinned");
        LOOKUPS("pins", "local", 1);
        (void)server_say(&server, "SET %s garbage", key_of('p'));
        forget();
        ASK("x-session-id: 1\r\n", SAYING("auto", "beta?"), "beta", "computed");
        LOOKUPS("pins", "foreign", 1);
}

/* A Redis that does not answer costs its limit once, and the client leaves in the middle without harm. */
Test(request_recall, the_client_leaves_while_redis_is_asked, .fini = without_redis)
{
        struct client c;

        with_redis(SHARED("decisions: shared, pin: 0s"));
        (void)server_say(&server, "CLIENT PAUSE 300");
        c = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        front_turn_ms(30);
        client_leaves(&c);
        FRONT_UNTIL(http_connections(front.http) == 0);
        cr_assert_eq(mock_asked(ALPHA), 0);
        front_turn_ms(400);
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
}

/* ---- whole answers ------------------------------------------------------------------------------------------------------- */

#define ZERO(text) "{\"model\":\"auto\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"
#define ZERO_STREAM(text) "{\"model\":\"auto\",\"temperature\":0.0,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"

Test(request_recall, answers_told_again, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS ROUTE("decisions: local, pin: 0s, answers: 1m"));
        mock_says(ALPHA, "200 OK", "", ANSWER("one"));
        mock_streams(ALPHA, THEN_NEXT, DELTA("two") STOP DONE_EVENT);
        mock_says(ALPHA, "200 OK", "", ANSWER("three"));
        c = ask(CHAT, "", ZERO("alpha?"));
        cr_assert_null(header(&c, "x-pointsman-answer"));
        c = ask(CHAT, "", ZERO("alpha?"));
        HEADER(c, "x-pointsman-answer", "cached-local");
        cr_assert_str_eq(c.body, ANSWER("one"));
        c = ask(CHAT, "", ZERO_STREAM("alpha?"));
        cr_assert_null(header(&c, "x-pointsman-answer"));
        c = ask(CHAT, "", ZERO_STREAM("alpha?"));
        HEADER(c, "x-pointsman-answer", "cached-local");
        HEADER(c, "content-type", "text/event-stream");
        cr_assert(c.whole && strcmp(c.body, DELTA("two") STOP DONE_EVENT) == 0, "%s", c.body);
        c = ask(CHAT, "x-pointsman-cache: refresh\r\n", ZERO("alpha?"));
        HAS(c, "three");
        HAS(ask(CHAT, "", ZERO("alpha?")), "three");
        cr_assert_eq(mock_asked(ALPHA), 3);
        LOOKUPS("answers", "local", 3);
        LOOKUPS("answers", "miss", 2);
        cr_assert(strstr(front_log(), "answer=cached-local"));
}

Test(request_recall, answers_that_are_not_kept, .fini = front_end)
{
        static const char *const bodies[] = { SAYING("auto", "alpha?"),
                "{\"model\":\"auto\",\"temperature\":0.1,\"messages\":[{\"role\":\"user\",\"content\":\"alpha\"}]}",
                "{\"model\":\"auto\",\"temperature\":0,\"tools\":[{}],\"messages\":[{\"role\":\"user\",\"content\":\"alpha\"}]}",
                "{\"model\":\"auto\",\"temperature\":0,\"n\":2,\"messages\":[{\"role\":\"user\",\"content\":\"alpha\"}]}" };

        front_begin(EXPERTS ROUTE("decisions: local, pin: 0s, answers: 1m, answer_size: 1KiB"));
        both_answer();
        for (size_t i = 0; i < LENGTH_OF(bodies); i++)
                for (int twice = 0; twice < 2; twice++) {
                        struct client c = ask(CHAT, "", bodies[i]);

                        cr_assert_null(header(&c, "x-pointsman-answer"), "%s", bodies[i]);
                }
        cr_assert_eq(mock_asked(ALPHA), 2 * LENGTH_OF(bodies));
}

Test(request_recall, answers_in_redis, .fini = without_redis)
{
        struct client c;
        const char *key;

        with_redis(SHARED("decisions: local, pin: 0s, answers: 1m"));
        (void)ask(CHAT, "", ZERO("alpha?"));
        key = key_of('a');
        forget();
        c = ask(CHAT, "", ZERO("alpha?"));
        HEADER(c, "x-pointsman-answer", "cached-shared");
        cr_assert_str_eq(c.body, ANSWER("alpha"));
        forget();
        (void)server_say(&server, "SETRANGE %s 60 xxxxxxxxxx", key);
        c = ask(CHAT, "", ZERO("alpha?"));
        cr_assert_null(header(&c, "x-pointsman-answer"));
        LOOKUPS("answers", "shared", 1);
        LOOKUPS("answers", "foreign", 1);
        cr_assert_eq(mock_asked(ALPHA), 2);
}

/* ---- state that lives at an expert --------------------------------------------------------------------------------------- */

#define RESPONSE(id) "{\"id\":\"" id "\",\"object\":\"response\",\"status\":\"completed\",\"output\":[{\"id\":\"item-1\",\"type\":\"message\",\"content\":[]}]}"

Test(request_recall, goes_on_where_it_was, .fini = without_redis)
{
        static const char first[] = "{\"model\":\"auto\",\"input\":\"alpha?\"}", then[] = "{\"model\":\"auto\",\"input\":\"beta?\",\"previous_response_id\":\"resp-1\"}";
        struct client c;

        with_redis(SHARED("decisions: local, pin: 0s"));
        mock_says(ALPHA, "200 OK", "", RESPONSE("resp-1"));
        (void)ask(CHAT, "", SAYING("alpha", "so that the script goes on"));
        c = ask("/v1/responses", "", first);
        IS(c, 200);
        c = ask("/v1/responses", "", then);
        DECIDED(c, "alpha", "pinned");
        HEADER(c, "x-pointsman-reason", "it goes on from a response that alpha gave");
        (void)key_of('s');
        forget();
        c = ask("/v1/responses", "", then);
        DECIDED(c, "alpha", "pinned");
        c = ask("/v1/responses", "", "{\"model\":\"auto\",\"input\":\"alpha?\",\"previous_response_id\":\"resp-2\"}");
        DECIDED(c, "alpha", "computed");
}
