/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <pthread.h>

#include "metrics.h"
#include "progress.h"
#include "routing.h"

#include "base.h"

static char *scrape(void)
{
        const struct metrics_gauges g = { .workers = 2, .in_flight = 7, .generation = 3 };
        struct evbuffer *out = evbuffer_new();
        char *text;
        size_t n;

        metrics_write(out, &g);
        n = evbuffer_get_length(out);
        text = calloc(1, n + 1);
        cr_assert_not_null(text);
        cr_assert_eq(evbuffer_remove(out, text, n), (int)n);
        evbuffer_free(out);
        return text;
}

static void expect(const char *line)
{
        CLEANUP(free_p) char *text = scrape();
        CLEANUP(free_p) char *whole = NULL;

        cr_assert_gt(asprintf(&whole, "\n%s\n", line), 0);
        cr_assert_not_null(strstr(text, whole), "no line '%s' in:\n%s", line, text);
}

Test(metrics, names_are_interned)
{
        int a = metrics_intern(METRICS_EXPERT, "a"), b = metrics_intern(METRICS_EXPERT, "b");

        cr_assert_geq(a, 0);
        cr_assert_neq(a, b);
        cr_assert_eq(metrics_intern(METRICS_EXPERT, "a"), a);
        cr_assert_eq(metrics_intern(METRICS_ROUTER, "b"), 0, "families are apart");
        for (int i = 0; i < 4094; i++) {
                char name[16];

                (void)snprintf(name, sizeof name, "n%d", i);
                cr_assert_geq(metrics_intern(METRICS_EXPERT, name), 0);
        }
        cr_assert_eq(metrics_intern(METRICS_EXPERT, "one too many"), -ENOSPC);
        cr_assert_eq(metrics_intern(METRICS_EXPERT, "b"), b);
}

Test(metrics, counts_all_kinds)
{
        struct metrics_shard *s = metrics_shard_create();
        int expert = metrics_intern(METRICS_EXPERT, "e"), router = metrics_intern(METRICS_ROUTER, "r");
        int route = metrics_intern(METRICS_ROUTE, "auto"), tenant = metrics_intern(METRICS_TENANT, "acme");
        uint64_t attempts[METRICS_ATTEMPTS], decisions[METRICS_DECISIONS];

        cr_assert_not_null(s);
        metrics_request(s, METRICS_CHAT, 200);
        metrics_request(s, METRICS_CHAT, 200);
        metrics_request(s, METRICS_ROUTE_API, 404);
        metrics_request(s, METRICS_OTHER, -1);
        metrics_request(s, METRICS_OTHER, 1000);
        metrics_count(s, METRICS_AT(plain, client_left));
        metrics_count(s, METRICS_AT(plain, stream_cut));
        metrics_time(s, METRICS_AT(plain, steps[METRICS_PARSE]), 10);
        metrics_time(s, METRICS_AT(plain, steps[METRICS_PARSE]), 11);
        metrics_time(s, METRICS_AT(plain, steps[METRICS_PARSE]), -5);
        metrics_time(s, METRICS_AT(plain, steps[METRICS_PARSE]), INT64_C(3600000000));
        metrics_attempt(s, expert, ATTEMPT_OK, 1500, 2000000);
        metrics_attempt(s, expert, ATTEMPT_CONNECT, 0, 100);
        metrics_tokens(s, expert, 100, 17, .000002);
        metrics_tokens(s, expert, -1, -1, 0);
        metrics_router(s, router, ROUTER_DECIDED, 40);
        metrics_count_of(s, METRICS_ROUTER, router, METRICS_AT(router, stalls));
        metrics_count_of(s, METRICS_ROUTE, route, METRICS_AT(route, decided[DECISION_COMPUTED]));
        metrics_count_of(s, METRICS_ROUTE, route, METRICS_AT(route, decided[DECISION_DEFAULT]));
        metrics_count_of(s, METRICS_TENANT, tenant, METRICS_AT(tenant, requests[TENANT_ADMITTED]));
        metrics_count_of(s, METRICS_TENANT, tenant, METRICS_AT(tenant, requests[TENANT_REFUSED]));
        metrics_attempt(s, -ENOSPC, ATTEMPT_OK, 1, 1); /* nowhere to count: no harm */

        expect("pointsman_requests_total{api=\"chat\",status=\"200\"} 2");
        expect("pointsman_requests_total{api=\"route\",status=\"404\"} 1");
        expect("pointsman_requests_total{api=\"other\",status=\"0\"} 2");
        expect("pointsman_client_left_total 1");
        expect("pointsman_streams_cut_total 1");
        expect("pointsman_step_duration_seconds_bucket{step=\"parse\",le=\"1e-05\"} 2");
        expect("pointsman_step_duration_seconds_bucket{step=\"parse\",le=\"2e-05\"} 3");
        expect("pointsman_step_duration_seconds_bucket{step=\"parse\",le=\"600\"} 3");
        expect("pointsman_step_duration_seconds_bucket{step=\"parse\",le=\"+Inf\"} 4");
        expect("pointsman_step_duration_seconds_count{step=\"parse\"} 4");
        expect("pointsman_step_duration_seconds_sum{step=\"parse\"} 3600.000021");
        expect("pointsman_expert_attempts_total{expert=\"e\",result=\"ok\"} 1");
        expect("pointsman_expert_attempts_total{expert=\"e\",result=\"connect\"} 1");
        expect("pointsman_expert_first_byte_seconds_count{expert=\"e\"} 1");
        expect("gen_ai_client_operation_duration_seconds_count{gen_ai_request_model=\"e\"} 2");
        expect("gen_ai_client_token_usage_sum{gen_ai_request_model=\"e\",gen_ai_token_type=\"output\"} 17");
        expect("gen_ai_client_token_usage_bucket{gen_ai_request_model=\"e\",gen_ai_token_type=\"input\",le=\"256\"} 1");
        expect("pointsman_expert_cost_usd_total{expert=\"e\"} 2e-06");
        expect("pointsman_router_decisions_total{router=\"r\",result=\"decided\"} 1");
        expect("pointsman_router_stalls_total{router=\"r\"} 1");
        expect("pointsman_routes_total{route=\"auto\",decision=\"computed\"} 1");
        expect("pointsman_routes_total{route=\"auto\",decision=\"default\"} 1");
        expect("pointsman_tenant_requests_total{tenant=\"acme\",result=\"refused\"} 1");
        expect("pointsman_in_flight 7");
        expect("pointsman_generation 3");

        metrics_sum(METRICS_EXPERT, expert, METRICS_AT(expert, attempts), METRICS_ATTEMPTS, attempts);
        cr_assert_eq(attempts[ATTEMPT_OK], 1);
        cr_assert_eq(attempts[ATTEMPT_CONNECT], 1);
        metrics_sum(METRICS_ROUTER, router, METRICS_AT(router, decisions), METRICS_DECISIONS, decisions);
        cr_assert_eq(decisions[ROUTER_DECIDED], 1);
        metrics_sum(METRICS_ROUTER, -ENOSPC, METRICS_AT(router, decisions), METRICS_DECISIONS, decisions);
        cr_assert_eq(decisions[ROUTER_DECIDED], 0);
        metrics_shard_destroy(s);
}

Test(metrics, a_shard_that_goes_leaves_its_numbers)
{
        struct metrics_shard *a = metrics_shard_create(), *b = metrics_shard_create();
        int expert = metrics_intern(METRICS_EXPERT, "e");

        metrics_attempt(a, expert, ATTEMPT_OK, 1, 1);
        metrics_attempt(b, expert, ATTEMPT_OK, 1, 1);
        metrics_request(a, METRICS_CHAT, 200);
        metrics_request(b, METRICS_CHAT, 200);
        metrics_shard_destroy(a);
        expect("pointsman_expert_attempts_total{expert=\"e\",result=\"ok\"} 2");
        metrics_shard_destroy(b);
        metrics_shard_destroy(NULL);
        expect("pointsman_expert_attempts_total{expert=\"e\",result=\"ok\"} 2");
        expect("pointsman_requests_total{api=\"chat\",status=\"200\"} 2");
}

Test(metrics, label_values_are_escaped)
{
        (void)metrics_intern(METRICS_TENANT, "a\"b\\c\nd");
        expect("pointsman_tenant_requests_total{tenant=\"a\\\"b\\\\c\\nd\",result=\"admitted\"} 0");
}

Test(metrics, the_text_is_well_formed)
{
        CLEANUP(free_p) char *text = NULL;
        const char *family = NULL;
        size_t family_n = 0;

        (void)metrics_intern(METRICS_EXPERT, "e");
        (void)metrics_intern(METRICS_ROUTER, "r");
        text = scrape();
        for (char *line = text, *end; *line; line = end + 1) {
                end = strchr(line, '\n');
                cr_assert_not_null(end);
                *end = '\0';
                if (strncmp(line, "# HELP ", 7) == 0) {
                        family = line + 7;
                        family_n = strcspn(family, " ");
                        cr_assert_gt(strlen(family), family_n + 1, "a help text: %s", line);
                } else if (strncmp(line, "# TYPE ", 7) == 0) {
                        cr_assert_eq(strncmp(line + 7, family, family_n), 0);
                } else {
                        const char *value = strrchr(line, ' ');
                        char *rest;

                        cr_assert(family && strncmp(line, family, family_n) == 0, "'%s' without HELP", line);
                        cr_assert_not_null(value);
                        (void)strtod(value + 1, &rest);
                        cr_assert(*rest == '\0' && rest > value + 1, "a number: %s", line);
                }
        }
}

Test(metrics, the_process_is_described)
{
        CLEANUP(free_p) char *text = scrape();
        const char *start = strstr(text, "\nprocess_start_time_seconds ");
        const char *private = strstr(text, "\npointsman_memory_private_bytes ");

        cr_assert_not_null(start);
        cr_assert_float_eq(strtod(start + strlen("\nprocess_start_time_seconds "), NULL), (double)time(NULL), 60);
        cr_assert_not_null(private);
        cr_assert_gt(strtod(private + strlen("\npointsman_memory_private_bytes "), NULL), 4096);
}

static void *count(void *arg)
{
        struct metrics_shard *s = arg;

        for (int i = 0; i < 50000; i++) {
                metrics_request(s, METRICS_CHAT, 200);
                metrics_attempt(s, i % 200, ATTEMPT_OK, 10, 20);
        }
        return NULL;
}

Test(metrics, scraping_while_workers_count, .timeout = 60)
{
        struct metrics_shard *s[2];
        pthread_t t[2];

        for (int i = 0; i < 200; i++) {
                char name[16];

                (void)snprintf(name, sizeof name, "e%d", i);
                (void)metrics_intern(METRICS_EXPERT, name);
        }
        for (int i = 0; i < 2; i++) {
                s[i] = metrics_shard_create();
                cr_assert_eq(pthread_create(&t[i], NULL, count, s[i]), 0);
        }
        for (int i = 0; i < 5; i++)
                free(scrape());
        for (int i = 0; i < 2; i++)
                (void)pthread_join(t[i], NULL);
        expect("pointsman_requests_total{api=\"chat\",status=\"200\"} 100000");
        for (int i = 0; i < 2; i++)
                metrics_shard_destroy(s[i]);
        expect("pointsman_expert_attempts_total{expert=\"e199\",result=\"ok\"} 500");
}

/* As a release is built: the loop is ended, counted and named. */
Test(metrics, a_loop_without_progress_is_counted)
{
        struct loop loop = { .metrics = metrics_shard_create() };

        cr_assert(progress(&loop, LOOP_STREAM, true));
        expect("pointsman_no_progress_total{loop=\"stream\"} 0");
        cr_assert(!progress(&loop, LOOP_STREAM, false));
        cr_assert(!progress(&loop, LOOP_STREAM, false));
        expect("pointsman_no_progress_total{loop=\"stream\"} 2");
        expect("pointsman_no_progress_total{loop=\"steps\"} 0");
        metrics_shard_destroy(loop.metrics);
}
