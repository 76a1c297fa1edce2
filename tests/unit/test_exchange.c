/* SPDX-License-Identifier: Apache-2.0 */
/* pm_embed and pm_call against a server in the test: what a router is told, what the expert is blamed for, what stays behind. */
#include "routing_fixture.h"

#include "peer.h"

/* ---- one answer a connection -------------------------------------------------------------------------------------------- */
static struct peer *server;
static const char *_Atomic says; /* all of it; NULL: silence until the other side leaves */

static void play(struct peer_conn *c)
{
        const char *text;

        if (!peer_take(c))
                return;
        text = atomic_load(&says);
        if (text)
                (void)peer_say(c, text);
        else
                peer_wait_end(c);
}

static void begin(void)
{
        static char url[64];

        server = peer_start(PEER_TCP, play);
        bench_begin();
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", server->port);
        expert_begin(2, "code", url);
}

/* Last in each test: a failure in .fini would not count. */
static void all_is_given_back(void)
{
        for (size_t i = 0; i < EXPERTS; i++) {
                cr_assert_eq(atomic_load(&bench.experts[i].state->in_flight), 0);
                cr_assert_eq(atomic_load(&bench.endpoints[i].state->in_flight), 0);
        }
}

TestSuite(ask, .init = begin, .fini = bench_end, .timeout = 30);

/* A whole answer with that body. */
static void answers(int status, const char *body)
{
        static char texts[64][512]; /* an earlier one may still be on its way */
        static unsigned turn;
        char *text = texts[turn++ % LENGTH_OF(texts)];

        (void)snprintf(text, sizeof texts[0], "HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n%s", status, strlen(body), body);
        atomic_store(&says, text);
}

static int64_t failures(void)
{
        return atomic_load(&bench.endpoints[2].state->breaker.failures);
}

/* ---- pm_embed ----------------------------------------------------------------------------------------------------------- */
static struct result {
        int status, http_status;
        size_t dim;
        float vector[8];
        char reply[256];
} result;
static const char *encoder;
static struct pm_str to_embed;

static pm_step embeds_done(void *self, struct pm_query *q)
{
        atomic_fetch_add((_Atomic unsigned *)self, 1);
        result = (struct result){ .status = q->status, .http_status = q->http_status, .dim = q->dim };
        if (q->status < 0) {
                assert(!q->vector && q->dim == 0);
                return pm_fail(q, "embedding failed (%d)", q->status);
        }
        assert(q->vector && (uintptr_t)q->vector % sizeof(float) == 0);
        memcpy(result.vector, q->vector, MIN(q->dim, 8) * sizeof(float));
        return pm_decide(q, .expert = "code");
}

static pm_step embeds_route(void *self, struct pm_query *q)
{
        char text[256] = "";
        pm_step got;

        atomic_fetch_add((_Atomic unsigned *)self, 1);
        if (!to_embed.p)
                return pm_embed(q, encoder, q->text, embeds_done);
        memcpy(text, to_embed.p, to_embed.n);
        got = pm_embed(q, encoder, ((struct pm_str){ text, to_embed.n }), embeds_done);
        memset(text, 'x', sizeof text); /* it was copied */
        return got;
}
ROUTER(embeds);

Test(ask, embeds_a_text)
{
        static const struct {
                const char *body;
                size_t dim;
                float v[3];
        } rows[] = {
                { "{\"data\":[{\"embedding\":[0.5,-2,1e-3]}]}", 3, { .5F, -2, 1e-3F } },
                { " {\"object\":\"list\",\"data\":[ {\"index\":0,\"embedding\":[ 7 ] },{\"embedding\":[8,9]}],\"usage\":{}} ", 1, { 7 } },
                { "{\"data\":[{\"embedding\":\"AACAPwAAIMA=\"}]}", 2, { 1, -2.5F } },
                { "{\"data\":[{\"embedding\":\"AACAPwAAIMA\"}]}", 2, { 1, -2.5F } },
                { "{\"d\\u0061ta\":[{\"embedding\":\"\\/\\/9\\/fwAAgD8AAAAA\"}]}", 3, { 3.4028235e38F, 1, 0 } },
        };

        encoder = "e5";
        bench.experts[2].model = "e5-\"small\"";
        to_embed = (struct pm_str){ "caf\xC3\xA9 \"quoted\"\n\x01\xFF", 17 };
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct trial t;

                answers(200, rows[i].body);
                t = ask_routers(&embeds, NULL);
                cr_assert_eq(result.status, PM_OK, "%s: %d", rows[i].body, result.status);
                cr_assert(goes_to(&t, "code") && !t.at_once);
                cr_assert_eq(result.dim, rows[i].dim);
                cr_assert_eq(memcmp(result.vector, rows[i].v, result.dim * sizeof(float)), 0, "%s", rows[i].body);
                cr_assert(peer_was_asked(server, "POST /v1/embeddings HTTP/1.1\r\n"));
                cr_assert(peer_was_asked(server, "\r\n\r\n{\"encoding_format\":\"base64\",\"model\":\"e5-\\\"small\\\"\",\"input\":\"caf\xC3\xA9 \\\"quoted\\\"\\n\\u0001\xEF\xBF\xBD\"}"));
        }
        to_embed = (struct pm_str){ "", 0 };
        (void)ask_routers(&embeds, NULL);
        cr_assert(peer_was_asked(server, ",\"input\":\"\"}"));
        to_embed = (struct pm_str){ 0 };
        (void)ask_routers(&embeds, NULL);
        cr_assert(peer_was_asked(server, ",\"input\":\"What is 2+2?\"}"), "the query's own text");
        cr_assert_eq(failures(), 0);
        cr_assert_eq(atomic_load(&bench.experts[2].state->first_us), 0, "a whole answer has no first token");
        all_is_given_back();
}

Test(ask, tells_why_a_text_has_no_vector)
{
        static const struct {
                int http;
                const char *body;
                int status;
                const char *says; /* in the log, after the router's words */
        } rows[] = {
                { 200, "{\"data\":[]}", PM_EINVAL, "; 'code' did not answer with an embedding" },
                { 200, "{\"data\":[{}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":{\"embedding\":[1]}}", PM_EINVAL, NULL },
                { 200, "{\"data\":[[1]]}", PM_EINVAL, NULL },
                { 200, "{}", PM_EINVAL, NULL },
                { 200, "[]", PM_EINVAL, NULL },
                { 200, "", PM_EINVAL, NULL },
                { 200, "<html>", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":[]}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":[1,\"2\"]}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":[1,null]}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":[1e999]}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":5}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":\"\"}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":\"AACA\"}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":\"AACAPw==!\"}]}", PM_EINVAL, NULL },
                { 200, "{\"data\":[{\"embedding\":\"AADAfw==\"}]}", PM_EINVAL, NULL }, /* a NaN */
                { 200, "{\"data\":[{\"embedding\":[1]}]", PM_EINVAL, NULL },
                { 404, "{}", PM_EUPSTREAM, "; 'code' answered 404" },
                { 500, "{\"data\":[{\"embedding\":[1]}]}", PM_EUPSTREAM, "; 'code' answered 500" },
        };
        struct trial t;
        char text[4096];

        encoder = "e5";
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                answers(rows[i].http, rows[i].body);
                t = ask_and_read_log(&embeds, NULL, text, sizeof text);
                cr_assert_eq(t.d.how, DECISION_DEFAULT);
                cr_assert_eq(result.status, rows[i].status, "%s: %d", rows[i].body, result.status);
                cr_assert_eq(result.http_status, rows[i].http);
                if (rows[i].says)
                        cr_assert(strstr(text, "router 'embeds' failed: embedding failed") && strstr(text, rows[i].says), "%s", text);
        }
        cr_assert_eq(failures(), 1, "only the 500 is the expert's fault");

        bench.embedder.dim = 3;
        answers(200, "{\"data\":[{\"embedding\":[1,2]}]}");
        t = ask_and_read_log(&embeds, NULL, text, sizeof text);
        cr_assert_eq(result.status, PM_EINVAL);
        cr_assert_not_null(strstr(text, "'code' answered with 2 dimensions, embedders.e5.dim says 3"), "%s", text);

        encoder = "e6";
        t = ask_routers(&embeds, NULL);
        cr_assert(t.at_once);
        cr_assert_eq(result.status, PM_EINVAL);
        encoder = NULL;
        t = ask_routers(&embeds, NULL);
        cr_assert_eq(result.status, PM_EINVAL);
        all_is_given_back();
}

Test(ask, does_not_embed_for_ever)
{
        struct trial t;

        encoder = "e5";
        atomic_store(&says, NULL);
        bench.route.deadline_ms = 60;
        t = ask_routers(&embeds, NULL);
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert(goes_to(&t, "law"));
        cr_assert_not(t.outlived);
        while (!atomic_load(&server->ends)) /* the connection is closed */
                (void)usleep(500);
        cr_assert_eq(failures(), 0, "our limit, not its fault");
        cr_assert_eq(ended(0, ROUTER_DEADLINE) + ended(0, ROUTER_FAILED), 1);
        all_is_given_back();
}

/* ---- pm_call ------------------------------------------------------------------------------------------------------------ */
static struct pm_call wanted;

static pm_step calls_done(void *self, struct pm_query *q)
{
        atomic_fetch_add((_Atomic unsigned *)self, 1);
        result = (struct result){ .status = q->status, .http_status = q->http_status };
        (void)snprintf(result.reply, sizeof result.reply, "%.*s", (int)q->reply.n, q->reply.n ? q->reply.p : "");
        return q->status < 0 ? pm_fail(q, "call failed (%d)", q->status) : pm_decide(q, .expert = "code");
}

static pm_step calls_route(void *self, struct pm_query *q)
{
        char body[256], path[64], expert[16];
        struct pm_call c = wanted;
        pm_step got;

        atomic_fetch_add((_Atomic unsigned *)self, 1);
        memcpy(body, wanted.body.p ? wanted.body.p : "", wanted.body.n);
        (void)snprintf(path, sizeof path, "%s", wanted.path ? wanted.path : "");
        (void)snprintf(expert, sizeof expert, "%s", wanted.expert ? wanted.expert : "");
        c.body.p = body;
        c.path = wanted.path ? path : NULL;
        c.expert = wanted.expert ? expert : NULL;
        got = q->host->call(q, calls_done, &c);
        memset(body, 'x', sizeof body);
        memset(path, 'x', sizeof path - 1);
        memset(expert, 'x', sizeof expert - 1);
        return got;
}
ROUTER(calls);

Test(ask, calls_an_expert)
{
        static const struct {
                int http, status;
                const char *body;
        } rows[] = { { 200, PM_OK, "{\"a\":1}" }, { 201, PM_OK, "" }, { 404, PM_EUPSTREAM, "{\"error\":1}" }, { 429, PM_EUPSTREAM, "slow down" },
                     { 503, PM_EUPSTREAM, "{}" }, { 301, PM_EUPSTREAM, "" } };

        wanted = (struct pm_call){ .expert = "code", .body = { "{\"model\":\"x\"}", 13 } };
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct trial t;

                answers(rows[i].http, rows[i].body);
                t = ask_routers(&calls, NULL);
                cr_assert_eq(result.status, rows[i].status, "%d: %d", rows[i].http, result.status);
                cr_assert_eq(result.http_status, rows[i].http);
                cr_assert_str_eq(result.reply, rows[i].body);
                cr_assert_eq(t.d.how, rows[i].status == PM_OK ? DECISION_COMPUTED : DECISION_DEFAULT);
                cr_assert(peer_was_asked(server, "POST /v1/chat/completions HTTP/1.1\r\n") && peer_was_asked(server, "\r\n\r\n{\"model\":\"x\"}") &&
                          peer_was_asked(server, "Content-Type: application/json\r\n"));
        }
        cr_assert_eq(failures(), 1, "only the 503 is a fault");
        wanted.path = "/scores?of=1";
        answers(200, "{}");
        (void)ask_routers(&calls, NULL);
        cr_assert(peer_was_asked(server, "POST /v1/scores?of=1 HTTP/1.1\r\n"));
        cr_assert_eq(failures(), 0, "good again");
        all_is_given_back();
}

Test(ask, starts_no_call_that_cannot_be)
{
        static const struct pm_call rows[] = {
                { .expert = "nobody" }, { .expert = NULL }, { .expert = "code", .path = "chat" }, { .expert = "code", .path = "" },
                { .expert = "code", .path = "/a b" }, { .expert = "code", .path = "/a\r\nX: y" }, { .expert = "code", .path = "/\xC3\xA9" },
        };

        answers(200, "{}");
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct trial t;

                wanted = rows[i];
                t = ask_routers(&calls, NULL);
                cr_assert(t.at_once);
                cr_assert_eq(result.status, PM_EINVAL, "%zu: %d", i, result.status);
        }
        cr_assert_eq(atomic_load(&server->requests), 0);
        all_is_given_back();
}

Test(ask, bounds_a_reply)
{
        wanted = (struct pm_call){ .expert = "code", .max_reply = 10 };
        answers(200, "0123456789");
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_OK);
        cr_assert_str_eq(result.reply, "0123456789");
        answers(200, "0123456789A");
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_ETOOBIG);
        cr_assert_str_eq(result.reply, "");
        wanted.max_reply = SIZE_MAX; /* as large as it may be */
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_OK);
        cr_assert_eq(failures(), 0);
        all_is_given_back();
}

Test(ask, tells_silence_from_absence)
{
        static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":", noise[] = "220 mail.example ESMTP\r\n";
        struct trial t;
        char text[4096];
        int64_t began = now_us();

        wanted = (struct pm_call){ .expert = "code", .timeout_ms = 60 };
        atomic_store(&says, NULL);
        t = ask_and_read_log(&calls, NULL, text, sizeof text);
        cr_assert_eq(result.status, PM_ETIMEOUT);
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert_str_eq(t.reason, "no router decided");
        cr_assert_not_null(strstr(text, "failed: call failed (-2); 'code' did not answer in time"), "%s", text);
        cr_assert_lt(now_us() - began, 4000000, "its own limit, not the expert's");
        cr_assert_eq(failures(), 0);

        wanted.timeout_ms = 4000; /* which a busy machine needs */
        bench.experts[2].breaker_open_ms = 60000;
        atomic_store(&says, cut);
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE);
        cr_assert_eq(failures(), 1);
        atomic_store(&says, noise);
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE);
        cr_assert_eq(failures(), 2);

        wanted.expert = "math"; /* nobody listens there */
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE);
        cr_assert_eq(atomic_load(&bench.endpoints[0].state->address->breaker.failures), 1);

        wanted.expert = "code"; /* one more, and it is left alone */
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE);
        answers(200, "{}");
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE, "its breaker is open");
        all_is_given_back();
}

Test(ask, a_question_that_an_expert_cannot_take_is_counted_once)
{
        static const char busy[] = "HTTP/1.1 429 Slow down\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        struct trial t;
        char text[4096];

        wanted = (struct pm_call){ .expert = "code", .timeout_ms = 3000 };
        for (int i = 0; i < 5; i++) {
                answers(500, "{\"error\":{\"message\":\"not with key sk-1234567890\"}}");
                t = ask_and_read_log(&calls, NULL, text, sizeof text);
                cr_assert_eq(t.d.how, DECISION_DEFAULT);
                cr_assert_eq(result.http_status, 500);
                cr_assert_not_null(strstr(text, "'code' answered 500: not with key ***"), "%s", text);
        }
        cr_assert_eq(failures(), 1);

        atomic_store(&says, busy);
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.http_status, 429);
        cr_assert_eq(failures(), 0, "it is alive");
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_EUNREACHABLE, "and left alone as it said");
        all_is_given_back();
}

Test(ask, its_own_limit_is_an_experts_fault)
{
        bench.experts[2].answer_ms = 60;
        wanted = (struct pm_call){ .expert = "code", .timeout_ms = 3000 };
        atomic_store(&says, NULL);
        (void)ask_routers(&calls, NULL);
        cr_assert_eq(result.status, PM_ETIMEOUT);
        cr_assert_eq(failures(), 1);
        all_is_given_back();
}

Test(ask, a_client_that_leaves_takes_the_call_along)
{
        struct trial t = { 0 };
        int64_t began;

        wanted = (struct pm_call){ .expert = "code" };
        bench.experts[2].first_token_ms = bench.experts[2].answer_ms = bench.route.deadline_ms = 20000;
        atomic_store(&says, NULL);
        use(&calls, &math);
        trial_go(&t);
        while (!atomic_load(&server->requests))
                (void)usleep(500);
        cr_assert_eq(atomic_load(&bench.experts[2].state->in_flight), 1);
        began = now_us();
        trial_drop(&t);
        trial_wait(&t);
        while (!atomic_load(&server->ends))
                (void)usleep(500);
        cr_assert_lt(now_us() - began, 10000000, "at once, not at a limit");
        cr_assert_not(t.decided || t.outlived);
        cr_assert_eq(atomic_load(&bench.calls[0]), 1, "no continuation runs");
        cr_assert_eq(failures(), 0);
        cr_assert_eq(ended(0, ROUTER_CANCELLED), 1);
        all_is_given_back();
}
