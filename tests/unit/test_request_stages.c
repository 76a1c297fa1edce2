/* SPDX-License-Identifier: Apache-2.0 */
/* Stages, put into a configuration, and all that can happen to them. */
#include "stages_fixture.h"

#define TWO "experts: {alpha: {endpoints: '${ALPHA}', retries: 0}, beta: {endpoints: '${BETA}', retries: 0}}\n" \
            "routes: {auto: {routers: [], experts: [alpha, beta], default: alpha, fallbacks: 1}}\n"
static void two(void)
{
        memset(&counted, 0, sizeof counted);
        wait_in(0, 0);
        front_begin(TWO);
}

/* ---- masking -------------------------------------------------------------------------------------------------------------- */

/* What a stream's deltas say, one after another. */
static const char *told(const struct client *c)
{
        static char text[4096];
        size_t n = 0;

        text[0] = '\0';
        for (const char *p = c->body; (p = strstr(p, "\"content\":\"")); ) {
                p += 11;
                n += (size_t)snprintf(text + n, sizeof text - n, "%.*s", (int)strcspn(p, "\""), p);
        }
        return text;
}

Test(request_stages, a_number_in_the_request, .init = two, .fini = front_end)
{
        USE(&masker, &tally);
        mock_says(ALPHA, "200 OK", "", ANSWER("ok"));
        IS(ask(CHAT, "", SAYING("auto", "my \\\"card\\\" 4111-1111 1111 1111, not 4111111111111112 but \\n" CARD ".")), 200);
        cr_assert(mock_was_asked(ALPHA, "my \\\"card\\\" ****-**** **** 1111, not 4111111111111112 but \\n" MASKED "."));
        cr_assert(mock_was_asked(ALPHA, "\"model\":\"alpha\"") && mock_was_asked(ALPHA, "\"attempt\":1") && mock_was_asked(ALPHA, "x-attempt: alpha\r\n"));
        IS(ask(CHAT, "", "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" CARD "\"},"
                         "{\"type\":\"text\",\"text\":\"x\"}]},{\"role\":\"user\",\"content\":\"" CARD "\"}]}"), 200);
        cr_assert(mock_was_asked(ALPHA, "\"text\":\"" MASKED "\"") && mock_was_asked(ALPHA, "\"content\":\"" MASKED "\""));
        cr_assert_not(mock_was_asked(ALPHA, CARD));
}

Test(request_stages, a_number_in_a_whole_answer, .init = two, .fini = front_end)
{
        struct client c;

        USE(&masker);
        mock_says(ALPHA, "200 OK", "", ANSWER("it is " CARD "!"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 200);
        cr_assert_str_eq(c.body, ANSWER("it is " MASKED "!"));
        cr_assert(c.whole);
}

Test(request_stages, a_whole_answer_that_is_told_as_a_stream, .init = two, .fini = front_end)
{
        struct client c;

        USE(&masker);
        mock_says(ALPHA, "200 OK", "", ANSWER("it is " CARD "!"));
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        cr_assert_str_eq(told(&c), "it is " MASKED "!");
        cr_assert(c.whole && strstr(c.body, DONE_EVENT));
}

Test(request_stages, a_number_across_the_events_of_a_stream, .init = two, .fini = front_end)
{
        static const struct {
                const char *events, *told;
        } rows[] = {
                { DELTA("it is 41") DELTA("11 1111 1") DELTA("1") DELTA("11-1111 he") DELTA("re"), "it is **** **** ****-1111 here" },
                { DELTA("4111") DELTA("1111") DELTA("1111") DELTA("1111"), MASKED },
                { DELTA("4111") DELTA("1111") DELTA("1111") DELTA("1112"), "4111111111111112" },
                { DELTA("in 1984") DELTA(" there") DELTA(" were 12"), "in 1984 there were 12" },
                { DELTA(CARD), MASKED },
                { DELTA("12345678901234567890") DELTA("!"), "12345678901234567890!" },
        };

        USE(&masker);
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c;

                mock_streams(ALPHA, THEN_NEXT, front_text(ROLE "%s" STOP USAGE DONE_EVENT, rows[i].events));
                c = ask(CHAT, "", STREAMING("auto", "Hi"));
                IS(c, 200);
                cr_assert_str_eq(told(&c), rows[i].told, "row %zu", i);
                cr_assert(c.whole && strstr(c.body, STOP DONE_EVENT), "%s", c.body);
        }
}

/* What no stage changes goes out as it came, and is not kept waiting. */
Test(request_stages, nothing_to_mask, .init = two, .fini = front_end)
{
        static const char events[] = ROLE "event: x\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n" ": comment\n\n"
                                     "data:{\"choices\" : [{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\nid: 7\n\n" STOP;
        struct client c;

        USE(&masker, &tally, &no_stage);
        mock_streams(ALPHA, THEN_NEXT, ROLE "event: x\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n" ": comment\n\n"
                     "data:{\"choices\" : [{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\nid: 7\n\n" STOP USAGE DONE_EVENT);
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        cr_assert_str_eq(c.body, front_text("%s" DONE_EVENT, events));
        cr_assert_eq(counted.events, 4, "a comment is none, and usage that the client has not asked for");
        cr_assert_eq(counted.ends, 1);
        cr_assert_eq(counted.cost.tokens_out, 7);
        mock_says(ALPHA, "200 OK", "", ANSWER("a"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        cr_assert_str_eq(c.body, ANSWER("a"));
}

/* Events go on as they come. */
Test(request_stages, a_stream_that_pauses, .init = two, .fini = front_end)
{
        struct client c;

        USE(&masker, &tally);
        mock_pauses(ALPHA, THEN_NEXT, DELTA("one") DELTA("41111111"), DELTA("11111111") STOP DONE_EVENT);
        c = client_asks(CHAT, "", STREAMING("auto", "Hi"));
        FRONT_UNTIL((client_hears(&c), c.got && strstr(c.got, "one")));
        cr_assert_not(strstr(c.got, "4111"));
        mock_go_on(ALPHA);
        client_waits(&c);
        cr_assert_str_eq(told(&c), "one" MASKED);
}

/* ---- what is kept depends on what the stage has made of it ---------------------------------------------------------------- */

Test(request_stages, before_recall, .fini = front_end)
{
        struct client c;

        front_begin(EXPERTS ROUTE("decisions: local, pin: 0s, answers: 1h, answer_size: 64KiB"));
        memset(&counted, 0, sizeof counted);
        USE(&masker, &refuser, &tally);
        mock_says(ALPHA, "200 OK", "", ANSWER("you have " CARD));
#define ZERO(text) "{\"model\":\"auto\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"
        HEADER(ask(CHAT, "", ZERO("alpha: " CARD)), "x-pointsman-decision", "computed");
        c = ask(CHAT, "", ZERO("alpha: 4000001111111111111")); /* Luhn says no: another question */
        HEADER(c, "x-pointsman-decision", "computed");
        c = ask(CHAT, "", ZERO("alpha: 5500005555551111"));
        HEADER(c, "x-pointsman-decision", "cached-local");
        HEADER(c, "x-pointsman-answer", "cached-local");
        cr_assert_str_eq(c.body, ANSWER("you have " MASKED), "and it was masked before it was kept");
        cr_assert_eq(counted.wholes, 2, "what is kept has been through");
        cr_assert_eq(counted.requests, 3);
        cr_assert_eq(counted.settled, 3);
        IS(ask(CHAT, "", ZERO("bad word")), 403);
}

/* ---- waiting -------------------------------------------------------------------------------------------------------------- */

Test(request_stages, waits_and_goes_on, .init = two, .fini = front_end)
{
        static const struct {
                unsigned moments, whole, streamed;
        } rows[] = { { AT_REQUEST, 1, 1 }, { AT_ATTEMPT, 1, 1 }, { AT_EVENT, 1, 4 }, { AT_END, 0, 1 }, { 15, 3, 7 } };

        USE(&waiter, &masker, &tally);
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c;

                mock_says(ALPHA, "200 OK", "", ANSWER("a " CARD));
                wait_in(rows[i].moments, 3);
                c = ask(CHAT, "", SAYING("auto", "Hi " CARD));
                IS(c, 200);
                cr_assert_str_eq(c.body, ANSWER("a " MASKED), "row %zu", i);
                cr_assert_eq(waiting.waits, rows[i].whole, "row %zu: %u", i, waiting.waits);
                cr_assert(mock_was_asked(ALPHA, "Hi " MASKED) && !mock_was_asked(ALPHA, "\"waited\":true,\"waited\":true"));
                cr_assert(mock_was_asked(ALPHA, "\"waited\":true") && mock_was_asked(ALPHA, "x-waited: yes\r\nx-attempt: alpha\r\n"));
                cr_assert_not(mock_was_asked(ALPHA, "x-waited: yes\r\nx-waited"), "what it said before it had waited counts for nothing");

                mock_streams(ALPHA, THEN_NEXT, ROLE DELTA("a 4111") DELTA("111111111111") STOP DONE_EVENT);
                wait_in(rows[i].moments, 3);
                c = ask(CHAT, "", STREAMING("auto", "Hi"));
                IS(c, 200);
                cr_assert(c.whole);
                cr_assert_str_eq(told(&c), "a " MASKED, "row %zu: %s", i, c.body);
                cr_assert_eq(waiting.waits, rows[i].streamed, "row %zu: %u", i, waiting.waits);
                cr_assert_eq(waiting.cancelled, 0);
                cr_assert(strstr(c.body, EVENT("{\"x\":1}") EVENT("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \"}}]}")), "once, and ahead: %s", c.body);
        }
        cr_assert_eq(counted.settled, 2 * LENGTH_OF(rows));
}

Test(request_stages, a_client_that_leaves_meanwhile, .init = two, .fini = front_end)
{
        static const enum moment moments[] = { AT_REQUEST, AT_ATTEMPT, AT_EVENT, AT_END };

        USE(&waiter, &masker, &tally);
        for (size_t i = 0; i < 2 * LENGTH_OF(moments); i++) {
                enum moment m = moments[i / 2];
                bool stream = i % 2 || m == AT_END;
                struct client c;

                memset(&counted, 0, sizeof counted);
                if (m >= AT_EVENT && stream)
                        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
                else if (m >= AT_EVENT)
                        mock_says(ALPHA, "200 OK", "", ANSWER("a"));
                wait_in(m, 100000);
                c = client_asks(CHAT, "", stream ? STREAMING("auto", "Hi") : SAYING("auto", "Hi"));
                FRONT_UNTIL(waiting.waits == 1);
                client_leaves(&c);
                FRONT_UNTIL(counted.settled == 1);
                cr_assert_eq(waiting.cancelled, 1, "moment %d: what it waited for is undone, once", m);
                cr_assert_str_eq(counted.end, "client_left");
                front_turn_ms(5);
        }
}

/* Nobody is waited for longer than the request may take. */
Test(request_stages, waits_for_too_long, .fini = front_end)
{
        static const enum moment moments[] = { AT_REQUEST, AT_ATTEMPT, AT_EVENT, AT_END };

        front_begin(TWO "limits: {request_time: 200ms}\n");
        USE(&waiter, &tally);
        for (size_t i = 0; i < LENGTH_OF(moments); i++) {
                struct client c;

                memset(&counted, 0, sizeof counted);
                mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
                wait_in(moments[i], 100000);
                c = ask(CHAT, "", STREAMING("auto", "Hi"));
                if (moments[i] == AT_END) {
                        IS(c, 200);
                        cr_assert_not(c.whole);
                        HAS(c, "limits.request_time");
                        cr_assert_not(says(&c, "[DONE]"), "%s", c.body);
                } else {
                        IS(c, 504);
                        HAS(c, "limits.request_time");
                }
                cr_assert_eq(waiting.waits, 1);
                cr_assert_eq(waiting.cancelled, 1, "moment %d", moments[i]);
                cr_assert_eq(counted.settled, 1);
        }
}

/* ---- refusing ------------------------------------------------------------------------------------------------------------- */

Test(request_stages, a_request_is_refused, .init = two, .fini = front_end)
{
        struct client c;

        USE(&tally, &refuser, &second);
        c = ask(CHAT, "", SAYING("auto", "a bad word"));
        IS(c, 403);
        cr_assert_str_eq(c.body, "{\"error\":{\"message\":\"this is a bad word\",\"type\":\"permission_error\",\"param\":null,\"code\":\"policy_violation\"}}");
        cr_assert_eq(counted.requests, 1, "the second one does not see it");
        cr_assert_eq(counted.settled, 2, "but is told of its end");
        cr_assert_null(counted.cost.expert);
        cr_assert_eq(counted.cost.status, 403);
        c = ask(CHAT, "", STREAMING("auto", "a bad word"));
        IS(c, 403);
        c = ask(CHAT, "", SAYING("auto", "answered here"));
        IS(c, 200);
        cr_assert_str_eq(c.body, "{\"here\":true}");
        c = ask(CHAT, "", SAYING("auto", "nowhere"));
        IS(c, 451);
        HAS(c, "to nobody");
        cr_assert_eq(mock_asked(ALPHA) + mock_asked(BETA), 0);
}

Test(request_stages, an_answer_is_refused, .init = two, .fini = front_end)
{
        struct client c;

        USE(&tally, &refuser);
        mock_says(ALPHA, "200 OK", "", ANSWER("a secret"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 403);
        HAS(c, "the answer has a \\\"secret\\\"");
        mock_streams(ALPHA, THEN_NEXT, ROLE DELTA("a secret") STOP DONE_EVENT);
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 403);
        cr_assert_str_eq(counted.end, "refused");
        mock_streams(ALPHA, THEN_HANG, ROLE DELTA("a ") DELTA("secret"));
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        cr_assert_not(c.whole, "the client sees that it is cut");
        cr_assert_str_eq(c.body, ROLE DELTA("a ") EVENT("{\"error\":{\"message\":\"the answer has a \\\"secret\\\"\",\"type\":\"server_error\",\"param\":null,\"code\":\"policy_violation\"}}"));
        cr_assert_eq(mock_asked(BETA), 0);
        cr_assert_eq(counted.settled, 3);
        cr_assert_str_eq(counted.end, "refused");
}

/* The stage ends the stream; whoever comes after it is told, and the expert is not listened to any more. */
Test(request_stages, a_stream_is_ended, .init = two, .fini = front_end)
{
        struct client c;

        USE(&masker, &refuser, &tally);
        mock_streams(ALPHA, THEN_HANG, DELTA("a 4111111") DELTA("111111111") DELTA(", 41111") DELTA("the end") DELTA("no more"));
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        cr_assert(c.whole);
        cr_assert_str_eq(told(&c), "a " MASKED ", 41111the end", "%s", c.body);
        cr_assert(strstr(c.body, DONE_EVENT));
        cr_assert_str_eq(counted.end, "ok");
        cr_assert_eq(counted.ends, 0, "it stands behind the one that has ended it");
}

/* ---- other experts -------------------------------------------------------------------------------------------------------- */

Test(request_stages, a_second_expert, .init = two, .fini = front_end)
{
        static const struct {
                const char *first;
                bool stream;
        } rows[] = { { NULL, false }, { NULL, true }, { DELTA("") ROLE, true }, { DELTA("4111"), true } };

        USE(&masker, &tally);
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct client c;

                memset(&counted, 0, sizeof counted);
                if (rows[i].first)
                        mock_streams(ALPHA, THEN_RESET, rows[i].first);
                else
                        mock_says(ALPHA, "500 E", "", "oops");
                if (rows[i].stream)
                        mock_streams(BETA, THEN_NEXT, DELTA("11111111") DELTA("1111") STOP USAGE DONE_EVENT);
                else
                        mock_says(BETA, "200 OK", "", ANSWER("1111"));
                c = ask(CHAT, "", rows[i].stream ? STREAMING("auto", CARD) : SAYING("auto", CARD));
                IS(c, 200);
                HEADER(c, "x-pointsman-expert", "beta");
                cr_assert_str_eq(told(&c), rows[i].stream ? "111111111111" : "1111", "nothing of the first: row %zu, %s", i, c.body);
                cr_assert(mock_was_asked(ALPHA, MASKED) && mock_was_asked(BETA, MASKED) && !mock_was_asked(BETA, CARD));
                cr_assert(mock_was_asked(ALPHA, "\"attempt\":1") && mock_was_asked(BETA, "\"attempt\":2") && !mock_was_asked(BETA, "\"attempt\":1"));
                cr_assert(mock_was_asked(BETA, "x-attempt: beta\r\n") && !mock_was_asked(BETA, "x-attempt: alpha"), "each attempt has its own lines");
                cr_assert_eq(counted.requests, 1);
                cr_assert_eq(counted.attempts, 2);
                cr_assert_eq(counted.settled, 1);
                cr_assert_str_eq(counted.cost.expert->name, "beta");
                cr_assert_eq(counted.cost.tokens_in, 11);
                front_turn_ms(5);
        }
}

Test(request_stages, the_same_expert_again, .fini = front_end)
{
        front_begin("experts: {alpha: {endpoints: '${ALPHA}', retries: 1}}\n");
        memset(&counted, 0, sizeof counted);
        USE(&tally);
        mock_says(ALPHA, "500 E", "", "oops");
        mock_says(ALPHA, "200 OK", "", ANSWER("again"));
        HAS(ask(CHAT, "", SAYING("alpha", "Hi")), "again");
        cr_assert(mock_was_asked(ALPHA, "\"attempt\":2") && !mock_was_asked(ALPHA, "\"attempt\":1"), "with the edits of this attempt");
}

Test(request_stages, not_this_expert, .init = two, .fini = front_end)
{
        struct client c;

        USE(&tally, &not_alpha, &waiter);
        wait_in(AT_ATTEMPT, 3);
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 200);
        HEADER(c, "x-pointsman-expert", "beta");
        HEADER(c, "x-pointsman-attempts", "1");
        cr_assert(mock_was_asked(BETA, "x-attempt: beta\r\nx-waited: yes\r\n") && !mock_was_asked(BETA, "x-attempt: alpha"));
        cr_assert_eq(mock_asked(ALPHA), 0);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 403);
        HAS(c, "stage 'not-alpha' does not let this request go to expert 'alpha'");
        HAS(c, "expert_not_allowed");
}

/* Of two that both may, the one that has failed is what the client hears of. */
Test(request_stages, nobody_else, .init = two, .fini = front_end)
{
        struct client c;

        static char beta_name[] = "beta";
        static const struct stage not_beta = { .name = "not-beta", .self = beta_name, .on_attempt = refuse_attempt };

        USE(&not_beta);
        mock_says(ALPHA, "500 E", "", "oops");
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 502);
        HAS(c, "oops");
        cr_assert_eq(mock_asked(BETA), 0);
}

/* ---- order, and other paths ----------------------------------------------------------------------------------------------- */

Test(request_stages, there_in_order_and_back_in_the_opposite, .init = two, .fini = front_end)
{
        USE(&tally, &second);
        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
        IS(ask(CHAT, "", STREAMING("auto", "Hi")), 200);
        cr_assert_str_eq(counted.order, "r1 r2 a1 a2 e2 e1 e2 e1 e2 e1 ");
        cr_assert(mock_was_asked(ALPHA, "\"attempt\":2"), "the last one counts");
}

Test(request_stages, only_what_experts_answer, .init = two, .fini = front_end)
{
        USE(&tally, &masker);
        IS(ask("/v1/models", "", NULL), 200);
        IS(ask("/v1/route", "", SAYING("auto", "Hi")), 200);
        IS(ask(CHAT, "", "{"), 400);
        IS(ask(CHAT, "", SAYING("nobody", "Hi")), 404);
        cr_assert_eq(counted.requests + counted.settled, 0);
        mock_says(ALPHA, "400 Bad Request", "", ERROR("no", "null"));
        IS(ask(CHAT, "", SAYING("auto", "Hi")), 400);
        cr_assert_eq(counted.wholes, 0, "an error is no answer");
        cr_assert_eq(counted.settled, 1);
}

Test(request_stages, responses, .fini = front_end)
{
        static const char closes[] = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n";
        static const char events[] = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', apis: responses}}\n");
        memset(&counted, 0, sizeof counted);
        wait_in(AT_EVENT | AT_END, 2);
        USE(&tally, &waiter);
        mock_streams(ALPHA, THEN_NEXT, front_text("%s%s", events, closes));
        c = ask("/v1/responses", "", "{\"model\":\"alpha\",\"stream\":true,\"input\":\"Hi\"}");
        IS(c, 200);
        cr_assert(c.whole);
        cr_assert_str_eq(c.body, front_text("%s%s", events, closes));
        cr_assert_str_eq(counted.order, "r1 a1 e1 e1 e1 ");
        mock_streams(ALPHA, THEN_NEXT, front_text("%sevent: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"message\":\"m\"}}}\n\n", events));
        c = ask("/v1/responses", "", "{\"model\":\"alpha\",\"stream\":true,\"input\":\"Hi\"}");
        IS(c, 200);
        cr_assert_not(c.whole);
        HAS(c, "event: error");
        cr_assert_not(says(&c, "response.failed"), "which has all of the answer so far");
}

/* An answer that cannot be looked at whole is none. */
Test(request_stages, an_answer_that_is_too_long, .fini = front_end)
{
        struct client c;
        char *long_one;

        front_begin(TWO "limits: {buffer: 64KiB}\n");
        USE(&masker);
        long_one = front_text(ANSWER("%0100000d"), 7);
        mock_says(ALPHA, "200 OK", "", long_one);
        mock_says(BETA, "200 OK", "", ANSWER("beta"));
        c = ask(CHAT, "", SAYING("auto", "Hi"));
        IS(c, 200);
        HAS(c, "beta");
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 502);
        HAS(c, "stages must see all of it");
        USE(&tally, &no_stage);
        use(NULL, 0);
        c = ask(CHAT, "", SAYING("alpha", "Hi"));
        IS(c, 200);
        cr_assert_str_eq(c.body, long_one);
}

/* ---- stages that do what they must not ------------------------------------------------------------------------------------ */

static int wrong;

static enum next wrong_request(struct stage_run *s)
{
        if (wrong == 0)
                return DONE;
        if (wrong == 1)
                (void)edits_remove(s->edits, "messages");
        if (wrong == 2)
                (void)edits_replace(s->edits, 0, 1, (struct pm_str){ "[", 1 });
        if (wrong == 3)
                (void)edits_replace(s->edits, s->request->query.body.n, 5, (struct pm_str){ "", 0 });
        cr_assert_eq(stages_header(s, "x-a", "b"), -EINVAL, "of an attempt only");
        cr_assert_eq(stages_emit(s, (struct pm_str){ 0 }, (struct pm_str){ "{}", 2 }), -EINVAL, "of a stream only");
        return GO;
}

static enum next wrong_attempt(struct stage_run *s, const struct expert *e)
{
        (void)e;
        cr_assert_eq(stages_header(s, "x a", "b"), -EINVAL);
        cr_assert_eq(stages_header(s, "", "b"), -EINVAL);
        cr_assert_eq(stages_header(s, "x-a", "b\r\nx-c: d"), -EINVAL);
        cr_assert_eq(stages_header(s, "Content-Length", "1"), -EINVAL);
        cr_assert_eq(stages_header(s, "Host", "there"), -EINVAL);
        if (wrong == 4) {
                const struct query *q = &s->request->query;

                (void)edits_replace(s->edits, (size_t)(q->model_value.p - q->body.p), q->model_value.n, (struct pm_str){ "\"x\"", 3 });
        }
        return GO;
}

static enum next wrong_event(struct stage_run *s, struct stage_event *ev)
{
        if (ev->what == STAGE_EVENT)
                cr_assert_eq(stages_emit(s, (struct pm_str){ 0 }, (struct pm_str){ "{", 1 }), -EINVAL);
        else
                cr_assert_eq(stages_emit(s, (struct pm_str){ 0 }, (struct pm_str){ "{}", 2 }), ev->what == STAGE_END ? 0 : -EINVAL);
        if (wrong == 5)
                ev->data = (struct pm_str){ 0 };
        if (wrong == 6)
                ev->data = (struct pm_str){ "{\"a\":", 5 };
        return GO;
}

Test(request_stages, faults_of_a_stage, .init = two, .fini = front_end)
{
        static const char *const said[] = {
                "has ended the request without an answer", "has made the request one that cannot be: ", "has made the request one that cannot be: ", "has edits that overlap",
                "a stage has edited what the gateway has to say itself", "has left nothing of the answer", "has made an event of the answer that is no JSON",
        };
        static const struct stage faulty = { .name = "faulty", .on_request = wrong_request, .on_attempt = wrong_attempt, .on_event = wrong_event };
        struct client c;

        USE(&faulty);
        mock_says(ALPHA, "200 OK", "", ANSWER("a"));
        for (wrong = 0; wrong < (int)LENGTH_OF(said); wrong++) {
                c = ask(CHAT, "", SAYING("auto", "Hi"));
                cr_assert_eq(c.status, 500, "%d: %d %s", wrong, c.status, c.body);
                HAS(c, said[wrong]);
                HAS(c, "stage_failed");
        }
        wrong = -1;
        IS(ask(CHAT, "", SAYING("auto", "Hi")), 200);
        mock_streams(ALPHA, THEN_NEXT, DELTA("a") STOP DONE_EVENT);
        c = ask(CHAT, "", STREAMING("auto", "Hi"));
        IS(c, 200);
        cr_assert_str_eq(c.body, DELTA("a") STOP EVENT("{}") DONE_EVENT, "one that is emitted at the end comes before it");
}
