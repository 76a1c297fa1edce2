/* SPDX-License-Identifier: Apache-2.0 */
/* The host without a server: every move and every way to get one wrong, on the routers that do so on purpose. */
#include <pthread.h>

#include "on_mockhost.h"

#define TESTED "PM_TEST_ROUTERS"

static void ends(const char *name, const char *json, enum mock_end end, const char *says)
{
        struct on o;
        struct mock_result r;

        cr_assert_eq(on_open(&o, TESTED, name, json, NULL), 0, "%s", o.why);
        r = on_ask(&o, "hello");
        cr_assert_eq(r.end, end, "%s: %s, %s", name, mock_end_text(r.end), r.text ? r.text : "");
        cr_assert(!says || (r.text && strstr(r.text, says)), "%s: %s", name, r.text ? r.text : "(no text)");
        mock_result_finish(&r);
        on_close(&o);
}

Test(mockhost, broken_rules_are_told)
{
        ends("bad_never", NULL, MOCK_BROKEN, "router 'bad_never': step 1 returned without a move");
        ends("bad_never", "{\"how\": \"forged\"}", MOCK_BROKEN, "step 1 returned without a move");
        ends("bad_never", "{\"how\": \"stale\"}", MOCK_BROKEN, "step 2 returned without a move");
        ends("bad_never", "{\"how\": \"other\"}", MOCK_BROKEN, "step 1 returned a step that no move of its own made");
        ends("bad_twice", NULL, MOCK_BROKEN, "made two moves");
        ends("bad_null_then", NULL, MOCK_BROKEN, "named no function for its next step");
        ends("bad_loops", NULL, MOCK_BROKEN, "step 64 was the last one allowed");
        ends("bad_unknown_expert", NULL, MOCK_REFUSED, "decided for 'nobody', which is none of the query's experts");
}

Test(mockhost, a_refusal_of_open_is_passed_on)
{
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "bad_open_refuse", NULL, NULL), -EINVAL);
        cr_assert_str_eq(o.why, "router 'bad_open_refuse': no model in 'models', 0 files seen");
        on_close(&o);
}

Test(mockhost, steps_are_timed)
{
        struct on o;
        struct mock_result r;

        cr_assert_eq(on_open(&o, TESTED, "bad_stall", "{\"ms\": 10}", NULL), 0);
        r = on_ask(&o, "hello");
        cr_assert_eq(r.end, MOCK_DECIDED);
        cr_assert(r.longest_us > 9000 && r.steps_us >= r.longest_us && r.total_us >= r.steps_us && r.steps == 1);
        mock_result_finish(&r);
        on_close(&o);
}

Test(mockhost, a_query_that_takes_too_long_is_late)
{
        struct mock_setup setup = { .limit_ms = 20, .threads = true };
        struct on o;
        struct mock_result r;

        cr_assert_eq(on_open(&o, TESTED, "bad_slow_offload", "{\"ms\": 40}", &setup), 0);
        r = on_ask(&o, "hello");
        cr_assert_eq(r.end, MOCK_LATE);
        cr_assert_eq(r.steps, 1);
        mock_result_finish(&r);
        on_close(&o);
}

Test(mockhost, a_router_sees_what_it_declares_and_nothing_else)
{
        const char *headers[] = { "x-team", "red", NULL };
        struct mock_ask ask = { .text = mock_str("hello"), .tenant = "acme", .user = "ann", .headers = headers };
        struct mock_result r;
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_reads", "{\"tell\": true}", NULL), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_eq(r.reason, "text 5, messages 0, body 0, user 0, tenant 0, x-team 0");
        mock_result_finish(&r);
        on_close(&o);
}

static const float to_second[] = { .1f, .9f, .2f };

Test(mockhost, embed_then_decide)
{
        struct mock_vector vectors[] = { { .encoder = "mini", .text = "code please", .v = to_second, .dim = 3 },
                                         { .encoder = "mini", .text = "broken", .status = PM_EUNREACHABLE } };
        struct mock_setup setup = { .vectors = vectors, .n_vectors = 2 };
        struct on o;
        struct mock_result r;

        cr_assert_eq(on_open(&o, TESTED, "uses_embed", "{\"encoder\": \"mini\", \"experts\": [\"small\", \"coder\"]}", &setup), 0,
                     "%s", o.why);
        r = on_ask(&o, "code please");
        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text);
        cr_assert_str_eq(r.expert, "coder");
        cr_assert_str_eq(r.reason, "largest of 3 floats is number 1");
        cr_assert_eq(r.confidence, .5);
        cr_assert(r.steps == 2 && r.embeds == 1);
        mock_result_finish(&r);
        r = on_ask(&o, "broken");
        cr_assert(r.end == MOCK_FAILED && strcmp(r.text, "embedding failed (-3)") == 0, "%s", r.text);
        mock_result_finish(&r);
        r = on_ask(&o, "not in the table");
        cr_assert(r.end == MOCK_FAILED && strcmp(r.text, "embedding failed (-6)") == 0, "%s", r.text);
        mock_result_finish(&r);
        on_close(&o);
}

#define REPLY(text) "{\"choices\": [{\"message\": {\"content\": \"" text "\"}}]}"

static bool count_calls(void *ctx, const struct pm_call *c, struct mock_reply *ret)
{
        int *calls = ctx;

        cr_assert_str_eq(c->path, "/chat/completions");
        cr_assert_eq(c->keep_s, 60);
        *ret = (struct mock_reply){ .body = REPLY("large it is") };
        return ++*calls == 1;
}

Test(mockhost, call_then_decide)
{
        struct mock_reply replies[] = { { .expert = "small", .contains = "poem", .body = REPLY("the coder should do it") },
                                        { .contains = "refuse", .http_status = 503, .body = "{}" },
                                        { .contains = "long", .body = REPLY("a reply that is far too long for its limit .........") },
                                        { .contains = "late", .status = PM_ETIMEOUT } };
        struct mock_setup setup = { .replies = replies, .n_replies = LENGTH_OF(replies) };
        const char *json = "{\"ask\": \"small\", \"max_reply\": \"80\"}";
        const struct { const char *text; enum mock_end end; const char *says; } cases[] = {
                { "a poem", MOCK_DECIDED, NULL },
                { "refuse", MOCK_FAILED, "call failed (status -4, http 503)" },
                { "long", MOCK_FAILED, "call failed (status -5, http 200)" },
                { "late", MOCK_FAILED, "call failed (status -2, http 0)" },
                { "else", MOCK_FAILED, "call failed (status -3, http 0)" },
        };
        struct mock_result r;
        struct on o;
        int calls = 0;

        cr_assert_eq(on_open(&o, TESTED, "uses_call", json, &setup), 0, "%s", o.why);
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                r = on_ask(&o, cases[i].text);
                cr_assert_eq(r.end, cases[i].end, "%s: %s", cases[i].text, r.text);
                cr_assert(cases[i].says ? strcmp(r.text, cases[i].says) == 0 : strcmp(r.expert, "coder") == 0, "%s", r.text);
                cr_assert(r.calls == 1 && r.defers == 1 && r.steps == 2);
                mock_result_finish(&r);
        }
        on_close(&o);
        setup = (struct mock_setup){ .call = count_calls, .ctx = &calls };
        cr_assert_eq(on_open(&o, TESTED, "uses_call", "{\"ask\": \"small\", \"keep_s\": 60}", &setup), 0);
        r = on_ask(&o, "by a function");
        cr_assert_str_eq(r.expert, "large");
        mock_result_finish(&r);
        r = on_ask(&o, "no answer the second time");
        cr_assert(r.end == MOCK_FAILED && calls == 2);
        mock_result_finish(&r);
        on_close(&o);
}

/* What came, and how often an expert was asked for it. */
struct call_case {
        const char *text, *tenant;
        int64_t later_s;
        enum mock_end end;
        const char *expert;
        bool provisional;
        unsigned calls, kept;
};

static void plays(const char *plugin, const char *json, const struct mock_setup *setup, const struct call_case *cases, size_t n)
{
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, plugin, json, setup), 0, "%s", o.why);
        for (size_t i = 0; i < n; i++) {
                const struct call_case *c = &cases[i];
                struct mock_ask ask = { .text = mock_str(c->text), .tenant = c->tenant, .later_s = c->later_s };
                struct mock_result r;

                mockhost_run(o.host, &ask, &r);
                cr_assert(r.end == c->end && (!c->expert || strcmp(r.expert, c->expert) == 0) && r.provisional == c->provisional &&
                          r.calls == c->calls && r.kept == c->kept, "%s, case %zu: %s, %s, %d, %u asked, %u kept", plugin, i, mock_end_text(r.end),
                          r.expert ? r.expert : r.text, r.provisional, r.calls, r.kept);
                mock_result_finish(&r);
        }
        on_close(&o);
}

static const struct mock_reply call_replies[] = { { .contains = "refuse", .http_status = 503, .body = "{}" }, { .contains = "void", .body = "" },
                                                  { .body = REPLY("the coder should do it") } };
static const struct mock_setup call_setup = { .replies = call_replies, .n_replies = LENGTH_OF(call_replies) };

Test(mockhost, replies_are_kept_for_their_tenant_and_time)
{
        static const struct call_case cases[] = {
                { "a", NULL, 0, MOCK_DECIDED, "coder", false, 1, 0 }, { "a", NULL, 0, MOCK_DECIDED, "coder", false, 0, 1 },
                { "b", NULL, 0, MOCK_DECIDED, "coder", false, 1, 0 }, { "a", "acme", 0, MOCK_DECIDED, "coder", false, 1, 0 },
                { "a", "acme", 58, MOCK_DECIDED, "coder", false, 0, 1 }, { "a", "acme", 61, MOCK_DECIDED, "coder", false, 1, 0 },
                { "refuse", NULL, 0, MOCK_FAILED, NULL, false, 1, 0 }, { "refuse", NULL, 0, MOCK_FAILED, NULL, false, 1, 0 },
                { "void", NULL, 0, MOCK_PASSED, NULL, false, 1, 0 }, { "void", NULL, 0, MOCK_PASSED, NULL, false, 1, 0 },
        }, never[] = { { "a", NULL, 0, MOCK_DECIDED, "coder", false, 1, 0 }, { "a", NULL, 0, MOCK_DECIDED, "coder", false, 1, 0 } };

        plays("uses_call", "{\"ask\": \"small\", \"keep_s\": 60}", &call_setup, cases, LENGTH_OF(cases));
        plays("uses_call", "{\"ask\": \"small\"}", &call_setup, never, LENGTH_OF(never));
}

Test(mockhost, a_useless_reply_is_kept_no_longer_than_the_router_says)
{
        static const struct mock_reply useless[] = { { .body = REPLY("I am sorry") } };
        static const struct mock_setup setup = { .replies = useless, .n_replies = 1 };
        static const struct call_case cases[] = {
                { "a", NULL, 0, MOCK_PASSED, NULL, false, 1, 0 }, { "a", NULL, 5, MOCK_PASSED, NULL, false, 0, 1 },
                { "a", NULL, 11, MOCK_PASSED, NULL, false, 1, 0 },
        }, at_once[] = { { "a", NULL, 0, MOCK_PASSED, NULL, false, 1, 0 }, { "a", NULL, 0, MOCK_PASSED, NULL, false, 1, 0 } };

        plays("uses_call", "{\"ask\": \"small\", \"keep_s\": 60, \"useless_s\": 10}", &setup, cases, LENGTH_OF(cases));
        plays("uses_call", "{\"ask\": \"small\", \"keep_s\": 60, \"useless_s\": 0}", &setup, at_once, LENGTH_OF(at_once));
}

Test(mockhost, what_is_sent_for_is_there_for_the_next_query)
{
        static const struct call_case cases[] = {
                { "a", NULL, 0, MOCK_DECIDED, "small", true, 1, 0 }, { "a", NULL, 0, MOCK_DECIDED, "coder", false, 0, 1 },
                { "a", "acme", 0, MOCK_DECIDED, "small", true, 1, 0 }, { "a", NULL, 61, MOCK_DECIDED, "small", true, 1, 0 },
                { "refuse", NULL, 0, MOCK_DECIDED, "small", true, 1, 0 }, { "refuse", NULL, 0, MOCK_DECIDED, "small", true, 1, 0 },
        }, old[] = { { "a", NULL, 0, MOCK_DECIDED, "coder", false, 1, 0 }, { "a", NULL, 0, MOCK_DECIDED, "coder", false, 0, 1 } };

        plays("uses_call", "{\"ask\": \"small\", \"keep_s\": 60, \"background\": true}", &call_setup, cases, LENGTH_OF(cases));
        plays("uses_call_old", "{\"ask\": \"small\", \"keep_s\": 60, \"background\": true}", &call_setup, old, LENGTH_OF(old));
}

/* Asks whom and where the text says: "small /a". */
static pm_step says_done(void *self, struct pm_query *q)
{
        (void)self;
        return q->status == PM_OK ? pm_decide(q, .expert = "small") : pm_fail(q, "%d", q->status);
}

static pm_step says_route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_call(q, says_done, .expert = q->text.p[0] == 's' ? "small" : "large", .path = q->text.p + 6, .body = mock_str("{}"), .keep_s = 9);
}

Test(mockhost, replies_are_kept_by_expert_and_path)
{
        static const struct pm_router says = { .size = sizeof says, .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR, .name = "says", .route = says_route };
        static const struct { const char *text; unsigned calls; } cases[] = { { "small /a", 1 }, { "small /a", 0 }, { "large /a", 1 }, { "small /b", 1 },
                                                                              { "large /b", 1 }, { "small /a", 0 }, { "large /b", 0 } };
        struct mock_setup setup = call_setup;
        struct mock_result r;
        struct mockhost *h;
        char why[256];

        setup.experts = three_experts;
        setup.n_experts = LENGTH_OF(three_experts);
        cr_assert_eq(mockhost_open(&says, NULL, &setup, &h, why, sizeof why), 0, "%s", why);
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                mockhost_run(h, &(struct mock_ask){ .text = mock_str(cases[i].text) }, &r);
                cr_assert(r.end == MOCK_DECIDED && r.calls == cases[i].calls && r.kept == 1 - cases[i].calls, "%s (%zu): %u asked", cases[i].text, i, r.calls);
                mock_result_finish(&r);
        }
        mockhost_close(h);
}

/* Asks twice for the same within one query. */
static pm_step twice_second(void *self, struct pm_query *q)
{
        (void)self;
        return q->status == PM_ELATER ? pm_decide(q, .expert = "small", .provisional = 1) : pm_decide(q, .expert = "large");
}

static pm_step twice_first(void *self, struct pm_query *q)
{
        (void)self;
        return q->status == PM_ELATER || q->status == PM_OK
                       ? pm_call(q, twice_second, .expert = "small", .body = mock_str("{}"), .keep_s = 9, .background = 1) : pm_fail(q, "%d", q->status);
}

static pm_step twice_route(void *self, struct pm_query *q)
{
        (void)self;
        return pm_call(q, twice_first, .expert = "small", .body = mock_str("{}"), .keep_s = 9, .background = 1);
}

Test(mockhost, what_is_sent_for_is_not_there_for_the_same_query)
{
        static const struct pm_router twice = { .size = sizeof twice, .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR, .name = "twice", .route = twice_route };
        struct mock_setup setup = call_setup;
        struct mock_ask ask = { .text = mock_str("a") };
        struct mock_result r;
        struct mockhost *h;
        char why[256];

        setup.experts = three_experts;
        setup.n_experts = LENGTH_OF(three_experts);
        cr_assert_eq(mockhost_open(&twice, NULL, &setup, &h, why, sizeof why), 0, "%s", why);
        for (int i = 0; i < 2; i++) {
                mockhost_run(h, &ask, &r);
                cr_assert(r.end == MOCK_DECIDED && strcmp(r.expert, i ? "large" : "small") == 0 && r.calls == (i ? 0 : 1) && r.kept == (i ? 2 : 0),
                          "%d: %s, %u, %u", i, r.expert, r.calls, r.kept);
                mock_result_finish(&r);
        }
        mockhost_close(h);
}

static void *many_calls(void *arg)
{
        struct on *o = arg;
        char text[16];

        for (int i = 0; i < 200; i++) {
                struct mock_result r;

                (void)snprintf(text, sizeof text, "t %d", i % 17);
                r = on_ask(o, text);
                cr_assert(r.end == MOCK_DECIDED && r.calls + r.kept <= 1);
                mock_result_finish(&r);
        }
        return NULL;
}

Test(mockhost, many_threads_keep_and_find)
{
        pthread_t threads[4];
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_call", "{\"ask\": \"small\", \"keep_s\": 60, \"background\": true}", &call_setup), 0, "%s", o.why);
        for (size_t i = 0; i < LENGTH_OF(threads); i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, many_calls, &o), 0);
        for (size_t i = 0; i < LENGTH_OF(threads); i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        on_close(&o);
}

Test(mockhost, offload_inline_and_on_a_thread)
{
        for (int threads = 0; threads < 2; threads++) {
                struct mock_setup setup = { .threads = threads };
                struct mock_result r;
                struct on o;

                cr_assert_eq(on_open(&o, TESTED, "uses_offload", NULL, &setup), 0);
                r = on_ask(&o, "ab"); /* 97 + 98 = 195, 195 % 3 = 0 */
                cr_assert(r.end == MOCK_DECIDED && r.offloads == 1);
                cr_assert_str_eq(r.expert, "small");
                cr_assert_str_eq(r.reason, "sum 195");
                mock_result_finish(&r);
                on_close(&o);
        }
}

Test(mockhost, busy_and_late_operations_are_told_to_the_router)
{
        struct mock_ask ask = { .text = { "ab", 2 }, .faults = { .busy_at = 1 } };
        struct mock_result r;
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_offload", NULL, NULL), 0);
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.end == MOCK_FAILED && strcmp(r.text, "offload could not start (-1)") == 0 && r.offloads == 0, "%s", r.text);
        mock_result_finish(&r);
        ask.faults = (struct mock_faults){ .timeout_at = 1 };
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.end == MOCK_FAILED && strcmp(r.text, "offload could not start (-2)") == 0, "%s", r.text);
        mock_result_finish(&r);
        on_close(&o);
}

static const char *read_lines(const char *file, char *out, size_t size)
{
        FILE *f = fopen(file, "re");
        size_t n = f ? fread(out, 1, size - 1, f) : 0;

        out[n] = '\0';
        if (f)
                (void)fclose(f);
        return out;
}

/* However a query ends, what was deferred runs once, last first; also when the client leaves while work runs. */
Test(mockhost, deferred_functions_run_at_every_end)
{
        static const char *const waits[] = { "none", "embed", "offload" };
        char file[] = "/tmp/pm_test_XXXXXX", json[256], lines[256];
        int fd = mkstemp(file);

        (void)close(fd);
        for (size_t i = 0; i < LENGTH_OF(waits); i++)
                for (unsigned leave = 0; leave < 2; leave++) {
                        struct mock_vector any = { .v = to_second, .dim = 3 };
                        struct mock_setup setup = { .threads = true, .vectors = &any, .n_vectors = 1 };
                        struct mock_ask ask = { .id = "q", .faults = { .leave_at = leave } };
                        struct mock_result r;
                        struct on o;

                        cr_assert_eq(truncate(file, 0), 0);
                        (void)snprintf(json, sizeof json, "{\"file\": \"%s\", \"wait\": \"%s\", \"time\": \"5ms\"}", file, waits[i]);
                        cr_assert_eq(on_open(&o, TESTED, "uses_defer", json, &setup), 0, "%s", o.why);
                        mockhost_run(o.host, &ask, &r);
                        cr_assert_eq(r.end, leave && i ? MOCK_LEFT : MOCK_DECIDED, "%s %u: %s", waits[i], leave, mock_end_text(r.end));
                        cr_assert_eq(r.defers, 3);
                        mock_result_finish(&r);
                        mockhost_observe(o.host, &(struct pm_outcome){ .size = sizeof(struct pm_outcome), .id = mock_str("q"),
                                                                       .expert = "small", .http_status = 200, .complete = 1 });
                        on_close(&o);
                        cr_assert_str_eq(read_lines(file, lines, sizeof lines), "q 3\nq 2\nq 1\nq observed small 200 1\nclosed\n");
                }
        (void)unlink(file);
}

Test(mockhost, a_deferred_function_without_memory_is_called_at_once)
{
        struct mock_ask ask = { .text = { "x", 1 }, .faults = { .defer_at = 1 } };
        struct mock_result r;
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_call", "{\"ask\": \"small\"}", NULL), 0);
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.end == MOCK_FAILED && strcmp(r.text, "out of memory") == 0 && r.calls == 0, "%s", r.text);
        mock_result_finish(&r);
        on_close(&o);
}

Test(mockhost, candidates)
{
        static const char *const seen[] = { "item-2", NULL }, *const no[] = { "item-1", "item-4", NULL };
        struct mock_ask ask = { .kind = PM_RECOMMEND, .user = "u1", .history = seen, .exclude = no, .wanted = 3 };
        struct mock_result r;
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_candidates", NULL, NULL), 0);
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.end == MOCK_CANDIDATES && r.n_items == 3, "%s", r.text);
        cr_assert_str_eq(r.items[0]->id.p, "item-3");
        cr_assert_str_eq(r.items[2]->id.p, "item-6");
        cr_assert_str_eq(r.items[2]->interest, "even");
        mock_result_finish(&r);
        ask.user = "nobody";
        mockhost_run(o.host, &ask, &r);
        cr_assert_eq(r.end, MOCK_PASSED);
        mock_result_finish(&r);
        ask.kind = PM_CHAT; /* a router that only recommends is not asked about chats */
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.end == MOCK_PASSED && r.steps == 0);
        mock_result_finish(&r);
        on_close(&o);
}

/* Routers written here, for what no module does. */
static pm_step looks_at_everything(void *self, struct pm_query *q)
{
        (void)self;
        cr_assert_eq(q->n_messages, 2);
        cr_assert(memcmp(q->messages[0]->role.p, "system", 6) == 0);
        cr_assert(memcmp(q->body.p, "{\"model\":\"auto\"", 15) == 0, "%.*s", (int)q->body.n, q->body.p);
        cr_assert(pm_header(q, "x-tier").n == 9 && memcmp(pm_header(q, "X-TIER").p, "gold, old", 9) == 0);
        cr_assert_eq(pm_header(q, "absent").n, 0);
        cr_assert(q->left_ms > 0 && q->left_ms <= 1000);
        cr_assert_null(pm_alloc(q, 17 << 20));
        pm_log(q, PM_WARN, "seen %d", 7);
        return pm_decide(q, .expert = "large", .fallbacks = (const char *[]){ "gone", "small", NULL }, .category = "c",
                         .confidence = .25, .extra = "{\"a\": 1}");
}

static pm_step wrong_extra(void *self, struct pm_query *q)
{
        (void)self;
        return pm_decide(q, .expert = "large", .extra = "[1]");
}

static pm_step wrong_confidence(void *self, struct pm_query *q)
{
        (void)self;
        return pm_decide(q, .expert = "large", .confidence = 1.5);
}

static void misuse(void *q)
{
        pm_log((struct pm_query *)q, PM_INFO, "from a pool thread");
}

static pm_step pass_on(void *self, struct pm_query *q)
{
        (void)self;
        return pm_pass(q);
}

static pm_step misuses(void *self, struct pm_query *q)
{
        (void)self;
        return pm_offload(q, misuse, q, pass_on);
}

static struct mock_result run_inline(pm_step_fn *route, const struct mock_ask *ask)
{
        struct pm_router router = { .size = sizeof router, .name = "inline", .version = "1", .route = route };
        struct mock_setup setup = { .experts = three_experts, .n_experts = LENGTH_OF(three_experts), .threads = true };
        struct mock_result r;
        struct mockhost *h;
        char why[256];

        cr_assert_eq(mockhost_open(&router, NULL, &setup, &h, why, sizeof why), 0, "%s", why);
        mockhost_run(h, ask, &r);
        mockhost_close(h);
        return r;
}

Test(mockhost, the_query_and_the_decision_are_whole)
{
        static const struct pm_message messages[] = { { { "system", 6 }, { "be kind", 7 } }, { { "user", 4 }, { "hi", 2 } } };
        static const char *const headers[] = { "X-Tier", "gold", "other", "x", "x-tier", "old", NULL };
        struct mock_ask ask = { .text = { "hi", 2 }, .messages = messages, .n_messages = 2, .headers = headers };
        struct mock_result r = run_inline(looks_at_everything, &ask);

        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text);
        cr_assert(r.n_fallbacks == 1 && strcmp(r.fallbacks[0], "small") == 0 && !r.fallbacks[1]);
        cr_assert_str_eq(r.category, "c");
        cr_assert_str_eq(r.extra, "{\"a\": 1}");
        cr_assert_str_eq(r.log, "warn: seen 7\n");
        mock_result_finish(&r);
}

Test(mockhost, decisions_that_no_host_may_follow)
{
        struct mock_ask ask = { .text = { "hi", 2 } };
        struct mock_result r = run_inline(wrong_extra, &ask);

        cr_assert(r.end == MOCK_REFUSED && strstr(r.text, "extra '[1]', which is no JSON object"));
        mock_result_finish(&r);
        r = run_inline(wrong_confidence, &ask);
        cr_assert(r.end == MOCK_REFUSED && strstr(r.text, "a confidence of 1.5, which is not in 0..1"));
        mock_result_finish(&r);
        r = run_inline(misuses, &ask);
        cr_assert(r.end == MOCK_BROKEN && strstr(r.text, "started work that called a function of the host"), "%s", r.text);
        mock_result_finish(&r);
}

static void *ask_often(void *arg)
{
        struct on *o = arg;

        for (int i = 0; i < 200; i++) {
                struct mock_result r = on_ask(o, "ab");

                cr_assert_eq(r.end, MOCK_DECIDED);
                mock_result_finish(&r);
        }
        return NULL;
}

Test(mockhost, many_threads_ask_one_router)
{
        pthread_t threads[4];
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_offload", NULL, NULL), 0);
        for (size_t i = 0; i < LENGTH_OF(threads); i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, ask_often, &o), 0);
        for (size_t i = 0; i < LENGTH_OF(threads); i++)
                (void)pthread_join(threads[i], NULL);
        on_close(&o);
}

Test(mockhost, wrong_options_are_told_in_full)
{
        struct on o;

        cr_assert_eq(on_open(&o, TESTED, "uses_embed", "{\"expert\": [\"a\"], \"encoder\": []}", NULL), -EINVAL);
        cr_assert_str_eq(o.why, "test.json: uses_embed: unknown key 'expert' - did you mean 'experts'?\n"
                                "test.json: uses_embed.encoder: found an empty list where a text would be right (the encoder's name in "
                                "the configuration)\n"
                                "test.json: uses_embed: key 'experts' is required (one for each of the first components)\n");
        on_close(&o);
}
