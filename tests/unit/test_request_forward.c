/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts: who is asked next when one fails, who waits, and what the client is told when nobody is left. */
#include "request_fixture.h"

#define THREE "experts:\n  alpha: {endpoints: '${ALPHA}', retries: 0, context: 1000}\n  beta: {endpoints: '${BETA}', retries: 0, context: 2000}\n" \
              "  gamma: {endpoints: '${GAMMA}', retries: 0}\n"                                                                                    \
              "routes: {auto: {routers: [], experts: [alpha, beta, gamma], default: alpha, fallbacks: 2}}\n"
#define HI SAYING("auto", "Hi")

static const char *attempts(const char *expert, const char *end)
{
        static char series[128];

        (void)snprintf(series, sizeof series, "pointsman_expert_attempts_total{expert=\"%s\",result=\"%s\"}", expert, end);
        return series;
}
#define ATTEMPTS(expert, end, n) cr_assert_eq(front_metric(attempts(expert, end)), n, "%s: %g", attempts(expert, end), front_metric(attempts(expert, end)))

static void three(void)
{
        front_begin(THREE);
        mock_says(GAMMA, "200 OK", "", ANSWER("gamma"));
}

Test(request_forward, the_first_answers, .init = three, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
        c = ask(CHAT, "traceparent: 00-1-2-01\r\ntracestate: a=b\r\n", HI);
        IS(c, 200);
        cr_assert_str_eq(c.body, ANSWER("alpha"), "to the byte");
        HEADER(c, "x-pointsman-expert", "alpha");
        HEADER(c, "x-pointsman-decision", "default");
        HEADER(c, "x-pointsman-attempts", "1");
        cr_assert(mock_was_asked(ALPHA, "\"model\":\"alpha\"") && mock_was_asked(ALPHA, "traceparent: 00-1-2-01\r\ntracestate: a=b\r\n"));
        cr_assert(mock_was_asked(ALPHA, "Accept: application/json"));
        cr_assert_eq(mock_asked(BETA) + mock_asked(GAMMA), 0);
        ATTEMPTS("alpha", "ok", 1);
}

/* Each way to fail leads to the next expert; what it was stands in the log and in the numbers. */
Test(request_forward, falls_back, .init = three, .fini = front_end)
{
        static const struct {
                const char *status, *headers, *body, *end;
        } rows[] = {
                { "500 Internal Server Error", "", "oops", "5xx" }, { "503 Service Unavailable", "", "", "5xx" },
                { "401 Unauthorized", "", ERROR("who?", "null"), "4xx" }, { "404 Not Found", "", ERROR("what?", "null"), "4xx" },
                { "402 Payment Required", "", ERROR("pay", "null"), "4xx" }, { "429 Too Many Requests", "Retry-After: 0\r\n", ERROR("slow", "null"), "429" },
                { "508 Loop Detected", "", "", "5xx" }, { "200 OK", "", "{}", "cut" }, { "200 OK", "", "<html>", "cut" },
                { "400 Bad Request", "", "<html>", "4xx" },
        };

        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                double before = front_metric(attempts("alpha", rows[i].end));
                struct client c;

                mock_says(ALPHA, rows[i].status, rows[i].headers, rows[i].body);
                if (strncmp(rows[i].status, "429", 3) == 0)
                        front_turn_ms(5);
                c = ask(CHAT, "", HI);
                IS(c, 200);
                HEADER(c, "x-pointsman-expert", "beta");
                HEADER(c, "x-pointsman-reason", "the route has no routers; fallback for alpha");
                cr_assert_eq(front_metric(attempts("alpha", rows[i].end)), before + 1, "%s", rows[i].status);
                cr_assert(strstr(front_log(), "\"attempt failed\""), "%s", rows[i].status);
                front_turn_ms(10); /* a Retry-After of no time is over */
        }
        cr_assert_eq(mock_asked(GAMMA), 0);
}

Test(request_forward, of_a_connection_that_breaks, .init = three, .fini = front_end)
{
        struct client c;

        mock_raw(ALPHA, THEN_RESET, "", 0);
        mock_raw(BETA, THEN_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", 41);
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "gamma");
        HEADER(c, "x-pointsman-attempts", "3");
        ATTEMPTS("alpha", "reset", 1);
        ATTEMPTS("beta", "cut", 1);
        ATTEMPTS("gamma", "ok", 1);
}

Test(request_forward, nobody_is_left, .init = three, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "500 E", "", "one");
        mock_says(BETA, "502 E", "", "two");
        c = ask(CHAT, "", STREAMING("beta", "Hi"));
        IS(c, 502);
        HAS(c, "\"code\":\"expert_failed\"");
        HAS(c, "expert 'beta' at http://127.0.0.1");
        HAS(c, "answered 502: two (1 attempt)");
        HEADER(c, "x-should-retry", "true");
        cr_assert_null(header(&c, "retry-after"));
        HEADER(c, "x-pointsman-attempts", "1");
}

Test(request_forward, an_endpoint_is_asked_again_before_the_fallbacks, .fini = front_end)
{
        struct client c;

        front_begin("experts: {alpha: {endpoints: ['${ALPHA}', '${BETA}'], retries: 2}, gamma: {endpoints: '${GAMMA}'}}\n");
        mock_says(ALPHA, "500 E", "", "a");
        mock_says(BETA, "500 E", "", "b");
        mock_says(ALPHA, "200 OK", "", ANSWER("again"));
        mock_says(BETA, "200 OK", "", ANSWER("again"));
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 200);
        HAS(c, "again");
        HEADER(c, "x-pointsman-attempts", "3");
        cr_assert_eq(mock_asked(ALPHA) + mock_asked(BETA), 3, "in turn, and then from the first");
        cr_assert(mock_asked(ALPHA) && mock_asked(BETA));
}

Test(request_forward, the_clients_own_fault_is_passed_on, .init = three, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "400 Bad Request", "x-ratelimit-remaining-requests: 9\r\n", ERROR("no such member", "\"bad\""));
        mock_says(ALPHA, "422 E", "", "{\"detail\":[{\"loc\":[\"body\",\"messages\",0],\"msg\":\"Field required\",\"type\":\"missing\"}]}");
        c = ask(CHAT, "", HI);
        IS(c, 400);
        cr_assert_str_eq(c.body, ERROR("no such member", "\"bad\""));
        HEADER(c, "x-ratelimit-remaining-requests", "9");
        cr_assert(strstr(front_log(), "end=refused_by_expert"));
        c = ask(CHAT, "", HI);
        IS(c, 422);
        cr_assert_str_eq(c.body, "{\"error\":{\"message\":\"Field required\",\"type\":\"missing\",\"param\":\"messages[0]\",\"code\":null}}");
        cr_assert_eq(mock_asked(BETA) + mock_asked(GAMMA), 0);
        ATTEMPTS("alpha", "4xx", 2);
}

Test(request_forward, a_quota_that_is_used_up_alone, .init = three, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "429 E", "", ERROR("pay first", "\"insufficient_quota\""));
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 429);
        HAS(c, "pay first");
        HEADER(c, "x-should-retry", "false");
        cr_assert_null(header(&c, "retry-after"));
        cr_assert_eq(mock_asked(ALPHA), 1);
}

/* The one that is passed over knows how much it takes, and that is not more. */
Test(request_forward, a_prompt_too_long, .init = three, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "400 E", "", ERROR("too long", "\"context_length_exceeded\""));
        mock_says(BETA, "400 E", "", ERROR("too long", "\"context_length_exceeded\""));
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "gamma");
        c = ask(CHAT, "", SAYING("beta", "Hi"));
        IS(c, 400);
        HAS(c, "context_length_exceeded");
        HEADER(c, "x-pointsman-attempts", "1");
}

Test(request_forward, shorter_ones_are_passed_over, .fini = front_end)
{
        struct client c;

        front_begin("experts:\n  alpha: {endpoints: '${ALPHA}', context: 2000}\n  beta: {endpoints: '${BETA}', context: 1000}\n  gamma: {endpoints: '${GAMMA}', context: 3000}\n"
                    "routes: {auto: {routers: [], experts: [alpha, beta, gamma], default: alpha, fallbacks: 2}}\n");
        mock_says(ALPHA, "400 E", "", ERROR("too long", "\"context_length_exceeded\""));
        mock_says(GAMMA, "200 OK", "", ANSWER("gamma"));
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "gamma");
        HEADER(c, "x-pointsman-attempts", "2");
        cr_assert_eq(mock_asked(BETA), 0);
}

/* Without the member that was ours, at the same place; and so from then on. */
Test(request_forward, stream_options_that_are_not_known, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS);
        mock_says(ALPHA, "400 E", "", ERROR("unknown member stream_options", "null"));
        mock_streams(ALPHA, THEN_NEXT, DELTA("x") STOP DONE_EVENT);
        c = ask(CHAT, "", STREAMING("alpha", "Hi"));
        IS(c, 200);
        HEADER(c, "x-pointsman-attempts", "2");
        cr_assert_not(mock_was_asked(ALPHA, "stream_options"));
        c = ask(CHAT, "", STREAMING("alpha", "Hi"));
        HEADER(c, "x-pointsman-attempts", "1");
        cr_assert_not(mock_was_asked(ALPHA, "stream_options"));
        cr_assert_eq(mock_asked(ALPHA), 3);
}

Test(request_forward, waits_as_told, .fini = front_end)
{
        int64_t began;
        struct client c;

        front_begin(EXPERTS);
        mock_says(ALPHA, "429 E", "retry-after-ms: 150\r\n", ERROR("slow", "null"));
        mock_says(ALPHA, "200 OK", "", ANSWER("then"));
        began = now_us();
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 200);
        HAS(c, "then");
        cr_assert_geq(now_us() - began, 150000);
        HEADER(c, "x-pointsman-attempts", "2");
        ATTEMPTS("alpha", "429", 1);
        ATTEMPTS("alpha", "ok", 1);
}

Test(request_forward, waits_once, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS);
        mock_says(ALPHA, "429 E", "retry-after-ms: 20\r\n", ERROR("slow", "null"));
        mock_says(ALPHA, "429 E", "Retry-After: 45\r\n", ERROR("slow", "null"));
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 429);
        HAS(c, "rate_limit_exceeded");
        HEADER(c, "retry-after", "45");
        HEADER(c, "x-should-retry", "false");
        HEADER(c, "x-pointsman-attempts", "2");
        /* and it is left alone for that time: the next one is told without asking */
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 429);
        HAS(c, "expert 'alpha' is rate limited (retry-after) for another 45 s");
        HEADER(c, "retry-after", "45");
        HEADER(c, "x-should-retry", "true");
        cr_assert_eq(mock_asked(ALPHA), 2);
}

/* However short the second wait would be. */
Test(request_forward, waits_once_whatever_it_is_told, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS);
        mock_says(ALPHA, "429 E", "retry-after-ms: 20\r\n", ERROR("slow", "null"));
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 429);
        HEADER(c, "x-pointsman-attempts", "2");
        cr_assert_eq(mock_asked(ALPHA), 2);
}

Test(request_forward, does_not_wait_for_too_long, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS "limits: {request_time: 1s}\n");
        mock_says(ALPHA, "503 E", "Retry-After: 5\r\n", "");
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 503);
        HAS(c, "expert_unavailable");
        HEADER(c, "retry-after", "5");
        cr_assert_eq(mock_asked(ALPHA), 1);
}

Test(request_forward, all_rest, .fini = front_end)
{
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', retries: 0, breaker: {failures: 1, open_time: 60s}}}\n");
        mock_says(ALPHA, "502 E", "", "");
        IS(ask(CHAT, "", SAYING("alpha", "Hi")), 502);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 503);
        HAS(c, "expert 'alpha' is not available; try again later");
        cr_assert_not_null(header(&c, "retry-after"));
        c = ask(CHAT, "", HI);
        IS(c, 503);
        cr_assert_eq(mock_asked(ALPHA), 1);
}

/* A whole answer may be paid for: nobody else is asked. */
Test(request_forward, no_whole_answer_in_time, .fini = front_end)
{
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', answer_time: 100ms}, beta: {endpoints: '${BETA}'}}\n"
                    "routes: {auto: {routers: [], default: alpha}}\n");
        mock_raw(ALPHA, THEN_HANG, "", 0);
        c = ask(CHAT, "", HI);
        IS(c, 504);
        HAS(c, "expert_timeout");
        HEADER(c, "x-should-retry", "false");
        cr_assert_eq(mock_asked(BETA), 0);
        ATTEMPTS("alpha", "timeout", 1);
}

Test(request_forward, no_first_token_in_time, .fini = front_end)
{
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', first_token_time: 1s}, beta: {endpoints: '${BETA}'}}\n"
                    "routes: {auto: {routers: [], default: alpha}}\n");
        mock_streams(ALPHA, THEN_HANG, ROLE ": still here\n\n");
        mock_streams(BETA, THEN_NEXT, ROLE DELTA("beta") STOP DONE_EVENT);
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "beta");
        cr_assert_lt(strtol(header(&c, "x-pointsman-overhead-us"), NULL, 10), 700000, "waiting for the first one is not ours, either");
        cr_assert(c.whole && strncmp(c.body, ROLE DELTA("beta"), strlen(ROLE DELTA("beta"))) == 0, "nothing of the first: %s", c.body);
        ATTEMPTS("alpha", "timeout", 1);
}

Test(request_forward, the_requests_time, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS "limits: {request_time: 200ms}\nroutes: {auto: {routers: [], default: alpha}}\n");
        mock_raw(ALPHA, THEN_HANG, "", 0);
        c = ask(CHAT, "", HI);
        IS(c, 504);
        HAS(c, "the request has taken longer than limits.request_time");
        HAS(c, "request_timeout");
        cr_assert_eq(mock_asked(BETA), 0);
        cr_assert_eq(front_metric("pointsman_expert_up{expert=\"alpha\"}"), 0);
}

Test(request_forward, the_clients_time, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS "routes: {auto: {routers: [], default: alpha}}\n");
        mock_raw(ALPHA, THEN_HANG, "", 0);
        c = ask(CHAT, "x-request-timeout-ms: 150\r\n", HI);
        IS(c, 504);
        HAS(c, "no answer within the 150 ms that the client waits");
        HEADER(c, "x-should-retry", "false");
        cr_assert_eq(mock_asked(BETA), 0);
}

/* Of a stream the first token is meant, of a whole answer all of it. */
Test(request_forward, the_clients_time_is_for_the_first_token, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS);
        mock_pauses(ALPHA, THEN_NEXT, DELTA("a"), STOP DONE_EVENT);
        c = client_asks(CHAT, "x-request-timeout-ms: 1000\r\n", STREAMING("alpha", "Hi"));
        FRONT_UNTIL((client_hears(&c), c.n > 0));
        front_turn_ms(1100);
        mock_go_on(ALPHA);
        client_waits(&c);
        cr_assert(c.status == 200 && c.whole && strcmp(c.body, DELTA("a") STOP DONE_EVENT) == 0, "%s", c.body);
}

Test(request_forward, the_clients_time_is_for_all_of_a_whole_answer, .fini = front_end)
{
        static const char begun[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\":";
        int64_t began = now_us();
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', idle_time: 10s}}\n");
        mock_raw(ALPHA, THEN_HANG, begun, sizeof begun - 1);
        c = ask(CHAT, "x-request-timeout-ms: 300\r\n", SAYING("alpha", "Hi"));
        IS(c, 504);
        HAS(c, "no answer within the 300 ms that the client waits");
        cr_assert_lt(now_us() - began, 8000000);
}

/* The status decides, though its words never come. */
Test(request_forward, a_failure_whose_words_trickle, .init = three, .fini = front_end)
{
        static const char head[] = "HTTP/1.1 500 E\r\nContent-Length: 1000\r\n\r\n{\"err";
        int64_t began = now_us();
        struct client c;

        mock_raw(ALPHA, THEN_HANG, head, sizeof head - 1);
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "beta");
        cr_assert_geq(now_us() - began, 990000, "a second for its words");
        ATTEMPTS("alpha", "5xx", 1);
}

/* What came before the cut is judged first. */
Test(request_forward, a_refusal_that_is_cut, .init = three, .fini = front_end)
{
        static const char head[] = "HTTP/1.1 429 E\r\nRetry-After: 45\r\nContent-Length: 1000\r\n\r\n{\"err";

        mock_raw(ALPHA, THEN_CLOSE, head, sizeof head - 1);
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        HEADER(ask(CHAT, "", HI), "x-pointsman-expert", "beta");
        ATTEMPTS("alpha", "429", 1);
}

Test(request_forward, the_client_leaves, .init = three, .fini = front_end)
{
        struct client c;

        mock_raw(ALPHA, THEN_HANG, "", 0);
        c = client_asks(CHAT, "", HI);
        FRONT_UNTIL(mock_asked(ALPHA) == 1);
        client_leaves(&c);
        FRONT_UNTIL(http_connections(front.http) == 0);
        cr_assert(strstr(front_log(), "status=499"));
        ATTEMPTS("alpha", "cancelled", 1);
        cr_assert_eq(mock_asked(BETA), 0);
        cr_assert_eq(front_metric("pointsman_client_left_total"), 1);
}
