/* SPDX-License-Identifier: Apache-2.0 */
/* Heads, errors, and what is counted and said when a request is over. */
#include "request_fixture.h"

#define KEY "sk-acme-0123456789abcdef"
#define TENANTS "tenants: {acme: {keys: " KEY ", in_flight: 1, experts: alpha}}\n"

static void plain(void)
{
        front_begin(EXPERTS);
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
}

/* ---- errors -------------------------------------------------------------------------------------------------------------- */

Test(request_reply, errors_have_the_shape, .init = plain, .fini = front_end)
{
        static const struct {
                const char *path, *headers, *body;
                int status;
                const char *code, *type;
        } rows[] = {
                { "/v1/nothing", "", "{}", 404, "unknown_url", "invalid_request_error" },
                { CHAT, "", NULL, 405, "method_not_allowed", "invalid_request_error" },
                { CHAT, "", "{", 400, NULL, "invalid_request_error" },
                { CHAT, "", "", 400, NULL, "invalid_request_error" },
                { CHAT, "", SAYING("nobody", "Hi"), 404, "model_not_found", "invalid_request_error" },
                { CHAT, "Content-Encoding: gzip\r\n", "{}", 415, "unsupported_encoding", "invalid_request_error" },
                { CHAT, "Origin: https://evil.example\r\n", "{}", 403, "origin_not_allowed", "permission_error" },
                { CHAT, "Sec-Fetch-Site: cross-site\r\n", "{}", 403, "origin_not_allowed", "permission_error" },
                { CHAT, "Origin: null\r\n", "{}", 403, "origin_not_allowed", "permission_error" },
                { "/v1/embeddings", "", "{\"model\":\"alpha\",\"input\":\"x\"}", 400, "unsupported_api", "invalid_request_error" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c = ask(rows[i].path, rows[i].headers, rows[i].body);
                char want[64];

                cr_assert_eq(c.status, rows[i].status, "%zu: %d %s", i, c.status, c.body);
                cr_assert(strncmp(c.body, "{\"error\":{\"message\":\"", 21) == 0 && says(&c, "\"param\":"), "%s", c.body);
                (void)snprintf(want, sizeof want, rows[i].code ? "\"code\":\"%s\"}}" : "\"code\":", rows[i].code);
                cr_assert(says(&c, want), "%zu: %s", i, c.body);
                (void)snprintf(want, sizeof want, "\"type\":\"%s\"", rows[i].type);
                cr_assert(says(&c, want), "%zu: %s", i, c.body);
                cr_assert(c.whole && header(&c, "x-request-id") && header(&c, "server-timing") && !header(&c, "x-should-retry"));
                HEADER(c, "x-content-type-options", "nosniff");
                if (c.status == 405)
                        HEADER(c, "allow", "POST");
        }
        cr_assert_eq(mock_asked(ALPHA), 0);
}

Test(request_reply, keys, .fini = front_end)
{
        struct client c, d;

        front_begin(EXPERTS TENANTS);
        mock_raw(ALPHA, THEN_HANG, "", 0);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 401);
        HEADER(c, "www-authenticate", "Bearer");
        HAS(c, "authentication_error");
        IS(ask(CHAT, "Authorization: Bearer wrong\r\n", SAYING("alpha", "Hi")), 401);
        IS(ask(CHAT, "Authorization: Bearer " KEY "\r\n", SAYING("beta", "Hi")), 404);
        c = client_asks(CHAT, "Authorization: Bearer " KEY "\r\n", SAYING("alpha", "Hi"));
        FRONT_UNTIL(mock_asked(ALPHA) == 1);
        d = ask(CHAT, "Authorization: Bearer " KEY "\r\n", SAYING("alpha", "Hi"));
        IS(d, 429);
        HEADER(d, "retry-after", "1");
        HEADER(d, "x-should-retry", "true");
        cr_assert(strstr(front_log(), "tenant=acme"));
        cr_assert_eq(front_metric("pointsman_tenant_requests_total{tenant=\"acme\",result=\"refused\"}"), 1);
        cr_assert_eq(front_metric("pointsman_tenant_requests_total{tenant=\"acme\",result=\"admitted\"}"), 2);
        client_leaves(&c);
        FRONT_UNTIL(http_connections(front.http) == 0);
}

Test(request_reply, pages_of_browsers, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS "cors: {origins: 'https://app.example', max_age: 5m}\n");
        mock_says(ALPHA, "200 OK", "x-ratelimit-limit-requests: 5\r\nx-ratelimit-bad_name: 1\r\n", ANSWER("alpha"));
        c = ask(CHAT, "Origin: https://app.example\r\nContent-Type: application/json\r\n", SAYING("alpha", "Hi"));
        IS(c, 200);
        HEADER(c, "access-control-allow-origin", "https://app.example");
        HEADER(c, "vary", "origin");
        HEADER(c, "x-ratelimit-limit-requests", "5");
        cr_assert_null(header(&c, "x-ratelimit-bad_name"));
        cr_assert_not_null(header(&c, "access-control-expose-headers"));
        IS(ask(CHAT, "Origin: https://app.example\r\nContent-Type: text/plain\r\n", SAYING("alpha", "Hi")), 415);
        IS(ask(CHAT, "Origin: https://other.example\r\n", SAYING("alpha", "Hi")), 403);
}

/* A browser asks before its page does. */
Test(request_reply, preflight, .fini = front_end)
{
        static const char asks[] = "OPTIONS %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://%s\r\n"
                                   "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-team\r\n%s\r\n";
        static const struct {
                const char *path, *origin, *more, *methods;
                int status;
        } rows[] = {
                { CHAT, "app.example", "", "POST", 204 }, { "/v1/models", "app.example", "Access-Control-Request-Private-Network: true\r\n", "GET, HEAD", 204 },
                { "/v1/nothing", "app.example", "", "GET, HEAD, POST", 204 }, { CHAT, "other.example", "", NULL, 403 },
        };

        front_begin(EXPERTS "cors: {origins: 'https://app.example', max_age: 5m}\n");
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char text[512];
                struct client c;

                (void)snprintf(text, sizeof text, asks, rows[i].path, rows[i].origin, rows[i].more);
                c = client_says(text);
                client_waits(&c);
                IS(c, rows[i].status);
                if (c.status != 204)
                        continue;
                HEADER(c, "access-control-allow-methods", rows[i].methods);
                HEADER(c, "access-control-allow-headers", "authorization, x-team");
                HEADER(c, "access-control-max-age", "300");
                cr_assert_eq(header(&c, "access-control-allow-private-network") != NULL, *rows[i].more != '\0');
        }
}

/* What never becomes a request is answered and said, too. */
Test(request_reply, what_is_no_request, .init = plain, .fini = front_end)
{
        const char *log;
        struct client c = client_says("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");

        client_waits(&c);
        IS(c, 400);
        HAS(c, "\"type\":\"invalid_request_error\"");
        cr_assert_not_null(header(&c, "x-request-id"));
        log = front_log();
        cr_assert(strstr(log, "end=refused") && strstr(log, "status=400"), "%s", log);
        c = client_says("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        client_waits(&c);
        IS(c, 400);
        c = client_says("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client_waits(&c);
        IS(c, 411);
        c = client_says("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
        client_waits(&c);
        IS(c, 413);
}

Test(request_reply, a_body_that_is_too_large, .fini = front_end)
{
        char *body;

        front_begin(EXPERTS "limits: {body: 100KiB}\n");
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        body = front_text("{\"model\":\"alpha\",\"messages\":[{\"role\":\"user\",\"content\":\"%090000d\"}]}", 7);
        IS(ask(CHAT, "", body), 200);
        body = front_text("{\"model\":\"alpha\",\"messages\":[{\"role\":\"user\",\"content\":\"%0110000d\"}]}", 7);
        IS(ask(CHAT, "", body), 413);
}

/* ---- settle -------------------------------------------------------------------------------------------------------------- */

Test(request_settle, one_line_and_all_numbers, .fini = front_end)
{
        const char *log;
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', price_in: 1000, price_out: 2000}, beta: {endpoints: '${BETA}'}}\n" ROUTE("decisions: local, pin: 0s")
                    TENANTS);
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        c = ask(CHAT, "Authorization: Bearer " KEY "\r\nX-Client-Request-Id: mine\r\n", SAYING("auto", "alpha?"));
        IS(c, 200);
        log = front_log();
        for (const char *const *want = (const char *const[]){ "msg=request", "client_id=mine", "tenant=acme", "method=POST", "path=/v1/chat/completions", "model=auto",
                                                              "route=auto", "router=decider", "confidence=0.75", "expert=alpha", "decision=computed", "attempts=1",
                                                              "status=200", "tokens_in=11", "tokens_out=7", "total_us=", "parse_us=", "client=127.0.0.1:", "end=ok", NULL };
             *want; want++)
                cr_assert(strstr(log, *want), "no %s in %s", *want, log);
        cr_assert_null(strstr(log, "error="));
        cr_assert_null(strstr(log, "ttft_us="), "a whole answer has no first token");
        cr_assert_null(strstr(log, "stream="));
        cr_assert_eq(front_metric("pointsman_requests_total{api=\"chat\",status=\"200\"}"), 1);
        cr_assert_eq(front_metric("pointsman_request_duration_seconds_count"), 1);
        cr_assert_eq(front_metric("pointsman_overhead_seconds_count"), 1);
        cr_assert_eq(front_metric("pointsman_first_token_seconds_count"), 0);
        cr_assert_eq(front_metric("pointsman_expert_tokens_total{expert=\"alpha\",type=\"input\"}"), 11);
        cr_assert_float_eq(front_metric("pointsman_expert_cost_usd_total{expert=\"alpha\"}"), .011 + .014, 1e-9);
        cr_assert_eq(front_metric("pointsman_routes_total{route=\"auto\",decision=\"computed\"}"), 1);
}

Test(request_settle, a_stream, .init = plain, .fini = front_end)
{
        const char *log;

        mock_streams(ALPHA, THEN_NEXT, DELTA("x") STOP USAGE DONE_EVENT);
        (void)ask(CHAT, "", SAYING("alpha", "script"));
        (void)front_log();
        (void)ask(CHAT, "", STREAMING("alpha", "Hi"));
        log = front_log();
        cr_assert(strstr(log, "stream=true") && strstr(log, "ttft_us="), "%s", log);
        cr_assert_eq(front_metric("pointsman_first_token_seconds_count"), 1);
}

/* Waiting for the expert is not ours. */
Test(request_settle, overhead_leaves_out_the_expert, .init = plain, .fini = front_end)
{
        struct client c;

        mock_pauses(ALPHA, THEN_NEXT, "", DELTA("x") STOP DONE_EVENT);
        (void)ask(CHAT, "", SAYING("alpha", "script"));
        c = client_asks(CHAT, "", STREAMING("alpha", "Hi"));
        FRONT_UNTIL(mock_asked(ALPHA) == 2);
        front_turn_ms(300);
        mock_go_on(ALPHA);
        client_waits(&c);
        IS(c, 200);
        cr_assert_lt(strtol(header(&c, "x-pointsman-overhead-us"), NULL, 10), 200000);
        cr_assert_geq(strtol(header(&c, "openai-processing-ms"), NULL, 10), 300);
        cr_assert_lt(front_metric("pointsman_overhead_seconds_sum"), .2);
        cr_assert_geq(front_metric("pointsman_request_duration_seconds_sum"), .3);
}

Test(request_settle, without_its_line, .fini = front_end)
{
        front_begin(EXPERTS "log: {requests: false}\n");
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        IS(ask(CHAT, "", SAYING("alpha", "Hi")), 200);
        cr_assert_null(strstr(front_log(), "msg=request"));
        cr_assert_eq(front_metric("pointsman_requests_total{api=\"chat\",status=\"200\"}"), 1);
}
