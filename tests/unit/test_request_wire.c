/* SPDX-License-Identifier: Apache-2.0 */
/* A second wire goes through all steps of a request, beside OpenAI's in the same gateway: what the steps do is not of one format. */
#include "request_fixture.h"

#include "ndjson_wire.h"

#define ASKING(model, more) "{\"model\":\"" model "\"," more "\"messages\":[{\"role\":\"user\",\"content\":\"alpha?\"}]}"
#define WHOLE(model) ASKING(model, "\"stream\":false,")
#define LINE(text) "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"},\"done\":false}\n"
#define LAST_LINE "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"prompt_eval_count\":11,\"eval_count\":7}"
#define SAID(text) "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"},\"done\":true,\"prompt_eval_count\":11,\"eval_count\":7}"

/* The paths of the gateway, and one more. */
static void begin_with(const char *yaml)
{
        static struct api apis[32];
        size_t n;

        front_begin(yaml);
        n = front.worker.n_apis;
        cr_assert_lt(n, LENGTH_OF(apis));
        memcpy(apis, front.worker.apis, n * sizeof *apis);
        apis[n] = (struct api){ .path = NDJSON_PATH, .method = H1_POST, .wire = &ndjson_wire, .metric = METRICS_OTHER, .kind = &request_chat };
        front.worker.apis = apis;
        front.worker.n_apis = n + 1;
        for (size_t i = 0; i < front.g->n_experts; i++)
                front.g->experts[i]->apis |= NDJSON_API;
}

static void begin(void)
{
        begin_with(EXPERTS ROUTE("decisions: off, pin: 0s"));
}

static void lines(enum mock m, enum mock_then then, const char *text)
{
        const char *all = front_text("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n%s", text);

        mock_raw(m, then, all, strlen(all));
}

Test(request_wire, a_whole_answer, .init = begin, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "200 OK", "", SAID("Hi"));
        c = ask(NDJSON_PATH, "", WHOLE("auto"));
        IS(c, 200);
        cr_assert_str_eq(c.body, SAID("Hi"));
        HEADER(c, "content-type", "application/json");
        HEADER(c, "x-pointsman-expert", "alpha");
        cr_assert(mock_was_asked(ALPHA, "POST /v1" NDJSON_PATH " HTTP/1.1"));
        cr_assert(mock_was_asked(ALPHA, "Accept: application/json"));
        cr_assert(mock_was_asked(ALPHA, WHOLE("alpha")), "only the model is another");
        cr_assert(strstr(front_log(), "tokens_in=11 tokens_out=7"));
}

Test(request_wire, a_stream, .init = begin, .fini = front_end)
{
        struct client c;

        lines(ALPHA, THEN_CLOSE, LINE("") LINE("a") "\n" LINE("b") LAST_LINE);
        c = ask(NDJSON_PATH, "", ASKING("auto", ""));
        IS(c, 200);
        cr_assert(c.whole && strcmp(c.body, LINE("") LINE("a") LINE("b") LAST_LINE "\n") == 0, "the last line has an end, and nothing follows: %s", c.body);
        HEADER(c, "content-type", "application/x-ndjson");
        cr_assert(mock_was_asked(ALPHA, "Accept: application/x-ndjson"));
        cr_assert_not(mock_was_asked(ALPHA, "stream_options"));
        cr_assert(strstr(front_log(), "tokens_in=11 tokens_out=7"));
        cr_assert_eq(front_metric("pointsman_expert_attempts_total{expert=\"alpha\",result=\"ok\"}"), 1);
}

/* Beside the paths of OpenAI, which are as they were. */
Test(request_wire, two_at_once, .init = begin, .fini = front_end)
{
        struct client c;

        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
        c = ask(CHAT, "", STREAMING("alpha", "Hi"));
        cr_assert_str_eq(c.body, DELTA("a") STOP DONE_EVENT);
        lines(BETA, THEN_CLOSE, LINE("b") LAST_LINE "\n");
        c = ask(NDJSON_PATH, "", ASKING("beta", ""));
        cr_assert_str_eq(c.body, LINE("b") LAST_LINE "\n");
}

Test(request_wire, an_expert_that_breaks_off, .fini = front_end)
{
        static const struct {
                const char *lines;
                bool begun;
        } rows[] = {
                { LINE(""), false }, { LINE("") "nonsense\n", false }, { "{\"error\":\"it broke\"}\n", false },
                { LINE("a"), true }, { LINE("a") "nonsense\n", true }, { LINE("a") "{\"error\":\"it broke\"}\n", true },
        };

        begin_with("experts: {alpha: {endpoints: '${ALPHA}', retries: 0, breaker: {failures: 100}}, beta: {endpoints: '${BETA}'}}\n" ROUTE("decisions: off, pin: 0s"));
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c;

                lines(ALPHA, THEN_CLOSE, rows[i].lines);
                lines(BETA, THEN_CLOSE, LINE("beta") LAST_LINE "\n");
                c = ask(NDJSON_PATH, "", ASKING("auto", ""));
                if (!rows[i].begun) {
                        IS(c, 200);
                        cr_assert_str_eq(c.body, LINE("beta") LAST_LINE "\n", "%zu", i);
                        continue;
                }
                cr_assert(strncmp(c.body, LINE("a") "{\"error\":\"expert 'alpha': its stream ", sizeof LINE("a") + 30) == 0, "%zu: %s", i, c.body);
                cr_assert(strcmp(c.body + strlen(c.body) - 3, "\"}\n") == 0 && !says(&c, "\"done\":true") && !c.whole, "%zu: %s", i, c.body);
        }
}

Test(request_wire, errors, .init = begin, .fini = front_end)
{
        struct client c;

        c = ask(NDJSON_PATH, "", ASKING("nobody", ""));
        IS(c, 404);
        cr_assert(strncmp(c.body, "{\"error\":\"the model 'nobody' does not exist", 43) == 0 && strcmp(c.body + strlen(c.body) - 2, "\"}") == 0, "%s", c.body);
        IS(ask(NDJSON_PATH, "", "{\"model\":\"alpha\",\"messages\":[]}"), 400);
        IS(ask(NDJSON_PATH, "", NULL), 405);
        mock_says(ALPHA, "400 Bad Request", "", "{\"error\":\"no such option\",\"more\":1}");
        mock_says(ALPHA, "400 Bad Request", "", ERROR("another's shape", "null"));
        mock_says(ALPHA, "200 OK", "", "{\"done\":true}");
        c = ask(NDJSON_PATH, "", WHOLE("alpha"));
        IS(c, 400);
        cr_assert_str_eq(c.body, "{\"error\":\"no such option\",\"more\":1}", "it has the shape: as it is");
        c = ask(NDJSON_PATH, "", WHOLE("alpha"));
        IS(c, 400);
        cr_assert_str_eq(c.body, "{\"error\":\"another's shape\"}");
        c = ask(NDJSON_PATH, "", WHOLE("alpha"));
        IS(c, 502);
        HAS(c, "without a message");
}

Test(request_wire, an_api_that_no_expert_offers, .init = begin, .fini = front_end)
{
        for (size_t i = 0; i < front.g->n_experts; i++)
                front.g->experts[i]->apis &= ~(unsigned)NDJSON_API;
        IS(ask(NDJSON_PATH, "", ASKING("alpha", "")), 400);
        IS(ask(NDJSON_PATH, "", ASKING("auto", "")), 400);
}

Test(request_wire, told_as_a_stream, .init = begin, .fini = front_end)
{
        struct client c;

        mock_says(ALPHA, "200 OK", "", SAID("Hi"));
        c = ask(NDJSON_PATH, "", ASKING("alpha", ""));
        IS(c, 200);
        HEADER(c, "content-type", "application/x-ndjson");
        cr_assert_str_eq(c.body, SAID("Hi") "\n");
}

Test(request_wire, too_long_to_be_kept, .fini = front_end)
{
        struct client c;
        char *body;

        begin_with(EXPERTS "limits: {buffer: 64KiB}\n");
        body = front_text("{\"message\":{\"content\":\"%0*d\"},\"done\":true}", 300000, 7);
        mock_says(ALPHA, "200 OK", "", body);
        c = ask(NDJSON_PATH, "", WHOLE("alpha"));
        cr_assert(c.status == 200 && c.whole && strcmp(c.body, body) == 0);
        mock_says(ALPHA, "200 OK", "", front_text("{\"choices\":[\"%0*d\"]}", 300000, 7));
        c = ask(NDJSON_PATH, "", WHOLE("alpha"));
        cr_assert_not(c.whole, "an answer of another wire");
        cr_assert(strstr(front_log(), "without a message"));
}

Test(request_wire, told_again, .fini = front_end)
{
        static const char *const bodies[] = { ASKING("auto", "\"options\":{\"temperature\":0},\"stream\":false,"), ASKING("auto", "\"options\":{\"temperature\":0},") };
        static const char *const answers[] = { SAID("one"), LINE("two") LAST_LINE "\n" };
        struct client c;

        begin_with(EXPERTS ROUTE("decisions: local, pin: 1m, answers: 1m"));
        mock_says(ALPHA, "200 OK", "", SAID("one"));
        lines(ALPHA, THEN_CLOSE, LINE("two") LAST_LINE "\n");
        for (size_t i = 0; i < 4; i++) {
                c = ask(NDJSON_PATH, "", bodies[i / 2]);
                IS(c, 200);
                cr_assert_str_eq(c.body, answers[i / 2]);
                if (i % 2)
                        HEADER(c, "x-pointsman-answer", "cached-local");
                else
                        cr_assert_null(header(&c, "x-pointsman-answer"));
        }
        cr_assert_eq(mock_asked(ALPHA), 2);
}

Test(request_wire, a_key_in_a_header_of_its_own, .fini = front_end)
{
        begin_with(EXPERTS "tenants: {acme: {keys: sk-acme-0123456789abcdef, experts: alpha}}\n");
        mock_says(ALPHA, "200 OK", "", SAID("Hi"));
        IS(ask(NDJSON_PATH, "", WHOLE("alpha")), 401);
        IS(ask(NDJSON_PATH, "x-ndjson-key: sk-acme-0123456789abcdeg\r\n", WHOLE("alpha")), 401);
        IS(ask(NDJSON_PATH, "x-ndjson-key: sk-acme-0123456789abcdef\r\n", WHOLE("alpha")), 200);
        IS(ask(NDJSON_PATH, "Authorization: Bearer sk-acme-0123456789abcdef\r\n", WHOLE("alpha")), 200);
        IS(ask(CHAT, "x-ndjson-key: sk-acme-0123456789abcdef\r\n", SAYING("alpha", "Hi")), 401);
}
