/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to the client: streams and whole ones, what breaks off before and after it has begun, and clients that are slow. */
#include "request_fixture.h"

#include <event2/buffer.h>

#define TWO "experts: {alpha: {endpoints: '${ALPHA}', retries: 0, idle_time: 150ms}, beta: {endpoints: '${BETA}', retries: 0}}\n" \
            "routes: {auto: {routers: [], default: alpha}}\n"
#define HI STREAMING("auto", "Hi")

static void two(void)
{
        front_begin(TWO);
        mock_streams(BETA, THEN_NEXT, DELTA("beta") STOP DONE_EVENT);
}

static void attempt_was(const char *expert, const char *end, int line)
{
        char series[128];

        (void)snprintf(series, sizeof series, "pointsman_expert_attempts_total{expert=\"%s\",result=\"%s\"}", expert, end);
        cr_assert_eq(front_metric(series), 1, "line %d: %s", line, series);
}
#define ATTEMPT(expert, end) attempt_was(expert, end, __LINE__)

Test(request_relay, a_stream, .init = two, .fini = front_end)
{
        static const char events[] = ROLE DELTA("a") ": comment\n\n" DELTA("b") STOP;
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, ROLE DELTA("a") ": comment\n\n" DELTA("b") "data:\n\n" STOP USAGE DONE_EVENT);
        c = ask(CHAT, "", HI);
        IS(c, 200);
        cr_assert(c.whole && strncmp(c.body, events, sizeof events - 1) == 0, "%s", c.body);
        cr_assert_str_eq(c.body + sizeof events - 1, DONE_EVENT, "usage was ours to ask for");
        HEADER(c, "content-type", "text/event-stream");
        HEADER(c, "cache-control", "no-cache");
        HEADER(c, "x-accel-buffering", "no");
        cr_assert(mock_was_asked(ALPHA, "\"include_usage\":true"));
        cr_assert(strstr(front_log(), "tokens_in=11 tokens_out=7"));
        ATTEMPT("alpha", "ok");
}

Test(request_relay, with_its_usage_where_it_was_asked_for, .init = two, .fini = front_end)
{
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP USAGE DONE_EVENT);
        c = ask(CHAT, "", "{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
        cr_assert_str_eq(c.body, DELTA("a") STOP USAGE DONE_EVENT);
}

/* What stands beside the usage is passed on without it. */
Test(request_relay, usage_among_other_things, .init = two, .fini = front_end)
{
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, EVENT("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":null}") STOP
                     EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2},\"timings\":{\"ms\":3}}") DONE_EVENT);
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HAS(c, "\"timings\":{\"ms\":3}");
        cr_assert_not(says(&c, "prompt_tokens"), "%s", c.body);
        cr_assert_not(says(&c, "usage"), "%s", c.body);
}

/* Before the first token another one can answer, and nothing of the first is heard. */
Test(request_relay, breaks_off_before_the_first_token, .init = two, .fini = front_end)
{
        static const struct {
                enum mock_then then;
                const char *events, *end;
        } rows[] = {
                { THEN_CLOSE, ROLE, "cut" }, { THEN_RESET, ROLE, "cut" }, { THEN_NEXT, ROLE, "cut" }, { THEN_NEXT, ROLE DONE_EVENT, "cut" },
                { THEN_NEXT, "data: nonsense\n\n", "cut" }, { THEN_NEXT, EVENT("{\"error\":{\"message\":\"m\",\"code\":500}}"), "5xx" },
                { THEN_NEXT, EVENT("{\"error\":{\"message\":\"m\",\"type\":\"authentication_error\"}}"), "4xx" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c;
                char series[96];
                double before;

                (void)snprintf(series, sizeof series, "pointsman_expert_attempts_total{expert=\"alpha\",result=\"%s\"}", rows[i].end);
                before = front_metric(series);
                mock_streams(ALPHA, rows[i].then, rows[i].events);
                c = ask(CHAT, "", HI);
                IS(c, 200);
                cr_assert_str_eq(c.body, DELTA("beta") STOP DONE_EVENT, "%zu: %s", i, c.body);
                cr_assert_eq(front_metric(series), before + 1, "%zu: %s", i, series);
                if (i % 4 == 3) /* so that alpha's breaker does not open */
                        expert_done(front.g->experts[0], expert_pick(front.g->experts[0], 0, now_us(), &(unsigned){ 0 }), EXPERT_GOOD, 0, 0, now_us());
        }
        cr_assert_eq(front_metric("pointsman_streams_cut_total"), 0);
}

/* After it: an error event, no [DONE], and a cut. */
Test(request_relay, breaks_off_after_it, .init = two, .fini = front_end)
{
        static const struct {
                enum mock_then then;
                const char *events, *code;
        } rows[] = {
                { THEN_CLOSE, DELTA("a"), "stream_cut" }, { THEN_NEXT, DELTA("a"), "stream_cut" },
                { THEN_HANG, DELTA("a"), "stream_stalled" }, { THEN_NEXT, DELTA("a") "data: {\n\n", "stream_malformed" },
                { THEN_NEXT, DELTA("a") EVENT("{\"error\":{\"message\":\"m\"}}"), "expert_failed" },
                { THEN_NEXT, DELTA("a") EVENT("{\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}") DONE_EVENT, "stream_cut" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char code[64];
                struct client c;

                mock_streams(ALPHA, rows[i].then, rows[i].events);
                c = ask(CHAT, "", HI);
                IS(c, 200);
                cr_assert(strncmp(c.body, DELTA("a"), strlen(DELTA("a"))) == 0);
                (void)snprintf(code, sizeof code, "\"code\":\"%s\"", rows[i].code);
                HAS(c, code);
                cr_assert(!c.whole && !says(&c, DONE_EVENT), "%zu: %s", i, c.body);
                cr_assert(strstr(front_log(), "end=cut"), "%zu", i);
                if (i % 4 == 3)
                        expert_done(front.g->experts[0], expert_pick(front.g->experts[0], 0, now_us(), &(unsigned){ 0 }), EXPERT_GOOD, 0, 0, now_us());
        }
        cr_assert_eq(front_metric("pointsman_streams_cut_total"), LENGTH_OF(rows));
        cr_assert_eq(mock_asked(BETA), 0);
}

/* A server that never says [DONE], or says no finish reason. */
Test(request_relay, ends_that_are_lenient, .init = two, .fini = front_end)
{
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP);
        c = ask(CHAT, "", HI);
        cr_assert(c.whole && strcmp(c.body, DELTA("a") STOP DONE_EVENT) == 0, "%s", c.body);
        mock_streams(ALPHA, THEN_NEXT, DELTA("b") DONE_EVENT);
        c = ask(CHAT, "", HI);
        cr_assert(c.whole && strcmp(c.body, DELTA("b") DONE_EVENT) == 0, "%s", c.body);
        mock_streams(ALPHA, THEN_NEXT, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"c\"}}]}\r\n\r\n" STOP "data: [DONE]");
        c = ask(CHAT, "", HI);
        cr_assert(c.whole && says(&c, "\"c\"") && says(&c, DONE_EVENT), "%s", c.body);
}

Test(request_relay, a_whole_answer_where_a_stream_was_asked_for, .init = two, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "200 OK", "", ANSWER("whole"));
        c = ask(CHAT, "", HI);
        IS(c, 200);
        HEADER(c, "content-type", "text/event-stream");
        HAS(c, "\"content\":\"whole\"");
        cr_assert(c.whole && says(&c, DONE_EVENT));
}

Test(request_relay, a_stream_where_a_whole_answer_was_asked_for, .init = two, .fini = front_end)
{
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 502);
        HAS(c, "answered 200 with a stream of events where a whole answer was asked for");
        ATTEMPT("alpha", "cut");
}

Test(request_relay, an_event_above_the_limit, .fini = front_end)
{
        static char events[40000];
        struct client c;

        front_begin(EXPERTS "limits: {event: 8KiB, buffer: 4KiB}\nroutes: {auto: {routers: [], default: alpha}}\n");
        (void)snprintf(events, sizeof events, "%s%s%06000d%s", DELTA("a"), "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", 7, "\"}}]}\n\n" STOP DONE_EVENT);
        mock_streams(ALPHA, THEN_NEXT, events);
        c = ask(CHAT, "", HI);
        cr_assert(c.whole && strcmp(c.body, events) == 0, "an event above limits.buffer passes");
        (void)snprintf(events, sizeof events, "%s%s%020000d%s", DELTA("a"), "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", 7, "\"}}]}\n\n" STOP DONE_EVENT);
        mock_streams(ALPHA, THEN_NEXT, events);
        c = ask(CHAT, "", HI);
        HAS(c, "\"code\":\"event_too_large\"");
        HAS(c, "its stream has an event of more than 8192 bytes, which is limits.event");
        cr_assert_not(c.whole);
}

/* The request's time, while bytes trickle. */
Test(request_relay, it_takes_too_long, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS "limits: {request_time: 1500ms}\nroutes: {auto: {routers: [], default: alpha}}\n");
        mock_trickles(ALPHA, DELTA("a"), DELTA("b"), 100);
        c = client_asks(CHAT, "", HI);
        FRONT_UNTIL((client_hears(&c), c.n > 0));
        for (; !c.eof; client_hears(&c)) {
                front_turn_ms(100);
                mock_go_on(ALPHA);
        }
        client_waits(&c);
        for (int i = 0; i < 100; i++)
                mock_go_on(ALPHA);
        IS(c, 200);
        HAS(c, "\"code\":\"request_timeout\"");
        cr_assert(!c.whole && !says(&c, DONE_EVENT));
        ATTEMPT("alpha", "timeout");
}

Test(request_relay, the_gateway_ends, .init = two, .fini = front_end)
{
        struct client c;

        mock_pauses(ALPHA, THEN_NEXT, DELTA("a"), STOP DONE_EVENT);
        c = client_asks(CHAT, "", HI);
        while (!c.got || !strstr(c.got, "\"a\"")) {
                front_turn();
                client_hears(&c);
        }
        http_cut_short(front.http);
        client_waits(&c);
        HAS(c, "\"code\":\"shutting_down\"");
        cr_assert_not(c.whole);
        cr_assert(strstr(front_log(), "end=shutdown"));
        mock_go_on(ALPHA);
}

/* ---- whole answers ------------------------------------------------------------------------------------------------------- */

Test(request_relay, no_answers, .init = two, .fini = front_end)
{
        static const char *const bodies[] = { "{}", "[]", "{\"choices\":[]}", "{\"object\":\"error\",\"message\":\"m\"}", "", "{\"choices\":" };

        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        for (size_t i = 0; i < LENGTH_OF(bodies); i++) {
                struct client c;

                mock_says(ALPHA, "200 OK", "", bodies[i]);
                c = ask(CHAT, "", SAYING("alpha", "Hi"));
                cr_assert(c.status >= 400, "%s: %d", bodies[i], c.status);
                HAS(c, "\"error\":{");
                expert_done(front.g->experts[0], expert_pick(front.g->experts[0], 0, now_us(), &(unsigned){ 0 }), EXPERT_GOOD, 0, 0, now_us());
        }
}

/* Above limits.buffer it passes through; what is not whole at its end is cut. */
#define LONG_ANSWER(n, end) front_text("{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%0*d\"},\"finish_reason\":\"stop\"}]%s", n, 7, end)

Test(request_relay, long_answers, .fini = front_end)
{
        char *body, *text;
        struct client c;

        front_begin(EXPERTS "limits: {buffer: 64KiB}\n");
        body = LONG_ANSWER(3000000, "}");
        mock_says(ALPHA, "200 OK", "", body);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 200);
        cr_assert(c.whole && strcmp(c.body, body) == 0);
        ATTEMPT("alpha", "ok");
        body = LONG_ANSWER(300000, "");
        mock_says(ALPHA, "200 OK", "", body);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 200);
        cr_assert_not(c.whole);
        cr_assert(strstr(front_log(), "it ends in the middle of its JSON"));
        ATTEMPT("alpha", "cut");
        text = front_text("HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n%s", body);
        mock_raw(ALPHA, THEN_CLOSE, text, strlen(text));
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        cr_assert_not(c.whole);
        body = LONG_ANSWER(300000, "} and more");
        mock_says(ALPHA, "200 OK", "", body);
        cr_assert_not(ask(CHAT, "", SAYING("alpha", "Hi")).whole);
        cr_assert_eq(front_metric("pointsman_streams_cut_total"), 3);
}

Test(request_relay, long_ones_that_are_kept_until_they_are_whole, .fini = front_end)
{
        char *body;
        struct client c;

        front_begin(EXPERTS "limits: {buffer: 8MiB}\n");
        body = LONG_ANSWER(2000000, "}");
        mock_says(ALPHA, "200 OK", "", body);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        cr_assert(c.status == 200 && c.whole && strcmp(c.body, body) == 0);
        body = LONG_ANSWER(2000000, "");
        mock_says(ALPHA, "200 OK", "", body);
        IS(ask(CHAT, "", SAYING("alpha", "Hi")), 502);
}

/* ---- back-pressure ------------------------------------------------------------------------------------------------------- */

Test(request_relay, a_slow_client, .fini = front_end)
{
        enum { EVENTS = 40000 };
        struct evbuffer *b = evbuffer_new();
        char *events;
        struct client c;
        size_t n, held;

        front_begin(EXPERTS "limits: {buffer: 64KiB}\n");
        for (int i = 0; i < EVENTS; i++)
                evbuffer_add_printf(b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%0500d\"}}]}\n\n", i);
        evbuffer_add_printf(b, STOP DONE_EVENT);
        n = evbuffer_get_length(b);
        events = front_text("%.*s", (int)n, (const char *)evbuffer_pullup(b, -1));
        evbuffer_free(b);
        mock_streams(ALPHA, THEN_NEXT, events);
        c = client_asks(CHAT, "", STREAMING("alpha", "Hi"));
        front_turn_ms(300);
        held = front.worker.loop.base ? (size_t)front_metric("pointsman_request_memory_bytes") : 0;
        cr_assert_leq(held, 1 << 20, "nothing piles up");
        client_waits(&c);
        cr_assert(c.whole && strcmp(c.body, events) == 0, "%zu bytes of %zu", strlen(c.body), n);
        ATTEMPT("alpha", "ok");
}

/* ---- /v1/responses and /v1/completions ----------------------------------------------------------------------------------- */

Test(request_relay, responses, .init = two, .fini = front_end)
{
        static const char body[] = "{\"model\":\"alpha\",\"stream\":true,\"input\":\"Hi\"}";
        static const char whole[] = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
                                    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[]}}\n\n";
        static const char failed[] = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
                                     "data: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"message\":\"m\"}}}\n\n";
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, whole);
        c = ask("/v1/responses", "", body);
        cr_assert(c.whole && strcmp(c.body, whole) == 0, "%s", c.body);
        mock_streams(ALPHA, THEN_NEXT, failed);
        c = ask("/v1/responses", "", body);
        cr_assert(c.whole && strcmp(c.body, failed) == 0, "%s", c.body);
        cr_assert(strstr(front_log(), "end=failed"));
        mock_streams(ALPHA, THEN_NEXT, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\ndata: [DONE]\n\n");
        c = ask("/v1/responses", "", body);
        HAS(c, "stream_cut");
        cr_assert_not(c.whole);
}
