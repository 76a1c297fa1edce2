/* SPDX-License-Identifier: Apache-2.0 */
/* Whole requests beside a store that does what its script says: whatever it does, the client has its answer. */
#include "request_fixture.h"

#include "cache.h"
#include "cache_store.h"
#include "http.h"
#include "lru.h"
#include "memory_store.h"
#include "shared_cache.h"

static struct memory_store *store;

static void begin(const char *yaml)
{
        front_begin(yaml);
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        store = memory_store_create(front.worker.loop.base);
        cr_assert(cache_store_use(front.worker.cache, &store->store));
}

static void forget(void)
{
        struct cache *c = front.worker.cache;

        (void)lru_remove_prefix(cache_decisions(c), (struct pm_str){ "", 0 });
        (void)lru_remove_prefix(cache_answers(c), (struct pm_str){ "", 0 });
        for (int i = 0; i < SHARED_CACHES; i++)
                (void)shared_cache_remove_prefix((enum shared_cache)i, (struct pm_str){ "", 0 });
}

static double looked(const char *cache, const char *result)
{
        char series[128];

        (void)snprintf(series, sizeof series, "pointsman_cache_lookups_total{cache=\"%s\",result=\"%s\"}", cache, result);
        return front_metric(series);
}

static void asks_is(const char *headers, const char *text, const char *expert, const char *decision, int line)
{
        struct client c = ask(CHAT, headers, text);

        cr_assert_eq(c.status, 200, "line %d: %d %s", line, c.status, c.body);
        cr_assert_str_eq(header(&c, "x-pointsman-expert"), expert, "line %d", line);
        cr_assert_str_eq(header(&c, "x-pointsman-decision"), decision, "line %d: %s", line, header(&c, "x-pointsman-decision"));
}
#define ASK(headers, body, expert, decision) asks_is(headers, body, expert, decision, __LINE__)

#define DECISIONS EXPERTS ROUTE("decisions: shared, pin: 0s")

Test(request_store, a_decision_is_written_and_found, .fini = front_end)
{
        begin(DECISIONS);
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        cr_assert(store->reads == 1 && store->sets == 1 && strncmp(store->entries[0].key, "pointsman:d|*|auto|", 19) == 0);
        forget();
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-shared");
        ASK("", SAYING("auto", "alpha?"), "alpha", "cached-local");
        cr_assert(store->reads == 2 && store->sets == 1);
        ASK("x-pointsman-cache: off\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        cr_assert(store->reads == 2 && store->sets == 1, "neither read nor written");
        ASK("x-pointsman-cache: refresh\r\n", SAYING("auto", "alpha?"), "alpha", "computed");
        cr_assert(store->reads == 2 && store->sets == 2, "not read, but written");
}

Test(request_store, whatever_it_does_the_client_is_answered, .fini = front_end)
{
        static const struct {
                enum memory_script script;
                unsigned reads, foreign;
        } cases[] = {
                { MEMORY_HAS_NOTHING, 1, 0 }, { MEMORY_SAYS_ERROR, 1, 0 }, { MEMORY_HAS_ANOTHER, 1, 1 },
                { MEMORY_IS_LATE, 1, 0 }, { MEMORY_IS_LOST, 1, 0 }, { MEMORY_IS_UNREACHABLE, 1, 0 },
        };
        double foreign = 0;

        begin(DECISIONS);
        ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                unsigned reads = store->reads;

                forget();
                store->script = cases[i].script;
                ASK("", SAYING("auto", "alpha?"), "alpha", "computed");
                cr_assert_eq(store->reads, reads + cases[i].reads, "%zu", i);
                foreign += cases[i].foreign;
                cr_assert_eq(looked("decisions", "foreign"), foreign, "%zu", i);
                cr_assert_eq(store->under_way, 0);
        }
        cr_assert_eq(looked("decisions", "shared"), 0);
        cr_assert_eq(looked("decisions", "miss"), 1 + LENGTH_OF(cases));
}

static void no_answers(void)
{
        for (size_t i = 0; i < store->n_entries; i++)
                if (store->entries[i].key[10] == 'a')
                        store->entries[i].key[0] = 'x';
}

/* All that may be there is asked for at once; the answer comes before the pin, and the pin before the decision. */
Test(request_store, three_values_and_their_order, .fini = front_end)
{
        static const char zero[] = "{\"model\":\"auto\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"alpha?\"}]}";
        static const char other[] = "{\"model\":\"auto\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"beta?\"}]}";
        struct client c;

        begin(EXPERTS ROUTE("decisions: shared, pin: 1m, answers: 1m"));
        ASK("x-session-id: 1\r\n", zero, "alpha", "computed");
        cr_assert(store->reads == 3 && store->sets == 3);
        ASK("x-session-id: 2\r\n", other, "beta", "computed");
        forget();
        c = ask(CHAT, "x-session-id: 1\r\n", zero);
        HEADER(c, "x-pointsman-answer", "cached-shared");
        forget();
        no_answers();
        ASK("x-session-id: 1\r\n", other, "alpha", "pinned");
        cr_assert(looked("answers", "shared") == 1 && looked("pins", "shared") == 1 && looked("decisions", "shared") == 0);
        forget();
        no_answers();
        ASK("x-session-id: 3\r\n", other, "beta", "cached-shared");
        cr_assert_eq(store->reads, 15);
}

Test(request_store, the_client_leaves_while_it_is_asked, .fini = front_end)
{
        struct client c;

        begin(EXPERTS ROUTE("decisions: shared, pin: 1m"));
        store->held = true;
        c = client_asks(CHAT, "x-session-id: 1\r\n", SAYING("auto", "alpha?"));
        FRONT_UNTIL(store->under_way == 2);
        client_leaves(&c);
        FRONT_UNTIL(http_connections(front.http) == 0);
        cr_assert(store->under_way == 0 && store->cancelled == 2 && mock_asked(ALPHA) == 0);
}

/* Both ask the store, where neither finds it; then one computes, and the other waits for that. */
Test(request_store, two_that_ask_the_same, .fini = front_end)
{
        struct client one, two;

        begin(EXPERTS "routers: {decider: {plugin: '${DECIDER}', ms: 200}}\n"
              "routes: {auto: {routers: decider, experts: [alpha, beta], default: beta, deadline: 10s, cache: {decisions: shared, pin: 0s}}}\n");
        store->held = true;
        one = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        two = client_asks(CHAT, "", SAYING("auto", "alpha?"));
        FRONT_UNTIL(store->under_way == 2);
        memory_store_let(store);
        client_waits(&one);
        client_waits(&two);
        IS(one, 200);
        IS(two, 200);
        cr_assert(looked("decisions", "joined") == 1 && looked("decisions", "miss") == 1 && store->sets == 1);
}

Test(request_store, a_response_is_gone_on_from, .fini = front_end)
{
        static const char then[] = "{\"model\":\"auto\",\"input\":\"beta?\",\"previous_response_id\":\"resp-1\"}";
        struct client c;

        begin(EXPERTS ROUTE("decisions: 'off', pin: 0s"));
        (void)ask(CHAT, "", SAYING("alpha", "so that the script goes on"));
        (void)ask(CHAT, "", SAYING("beta", "so that the script goes on"));
        mock_says(BETA, "200 OK", "", "{\"id\":\"resp-2\",\"object\":\"response\",\"status\":\"completed\",\"output\":[]}");
        mock_says(ALPHA, "200 OK", "", "{\"id\":\"resp-1\",\"object\":\"response\",\"status\":\"completed\",\"output\":[]}");
        IS(ask("/v1/responses", "", "{\"model\":\"auto\",\"input\":\"alpha?\"}"), 200);
        cr_assert(store->sets == 1 && strncmp(store->entries[0].key, "pointsman:s|*|responses|", 24) == 0);
        forget();
        c = ask("/v1/responses", "", then);
        HEADER(c, "x-pointsman-expert", "alpha");
        HEADER(c, "x-pointsman-decision", "pinned");
        forget();
        store->script = MEMORY_IS_LOST;
        c = ask("/v1/responses", "", then);
        HEADER(c, "x-pointsman-expert", "beta");
        HEADER(c, "x-pointsman-decision", "computed");
}

Test(request_store, a_history, .fini = front_end)
{
        begin(EXPERTS "routers: {items: {plugin: '${ITEMS}'}}\nroutes: {catalogue: {routers: items}}\nfeedback: {keep: 3}\n");
        IS(ask("/v1/feedback", "", "{\"events\":[{\"user\":\"u\",\"item\":\"item-1\"},{\"user\":\"u\",\"item\":\"item-2\"}]}"), 200);
        cr_assert(store->pushes == 2 && strncmp(store->entries[0].key, "pointsman:h|*|catalogue|", 24) == 0);
        IS(ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}"), 200);
        HAS(ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}"), "\"item-3\"");
        forget();
        HAS(ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}"), "\"item-3\"");
        cr_assert_eq(store->lists, 3);
        store->script = MEMORY_IS_LATE;
        IS(ask("/v1/recommend", "", "{\"users\":[\"u\",\"v\"],\"n\":1}"), 200);
        cr_assert(store->lists == 5 && store->under_way == 0);
}
