/* SPDX-License-Identifier: Apache-2.0 */
/* What answers say, in events and whole. */
#include <criterion/criterion.h>

#include <event2/buffer.h>

#include "as_events.h"
#include "facts.h"
#include "scan.h"

#include "base.h"

static struct pm_str str(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

static void expect_str(struct pm_str got, const char *want, const char *what)
{
        cr_assert(got.n == strlen(want) && (got.n == 0 || memcmp(got.p, want, got.n) == 0), "%s: '%.*s', expected '%s'",
                  what, (int)got.n, got.p, want);
}

static struct facts said(const char *data)
{
        struct stream_event e = { .data = str(data) };
        struct facts f;

        facts_read_event(&e, &f);
        return f;
}

Test(facts, chat_chunks)
{
        struct facts f = said("{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m/x\",\"choices\":[{\"index\":0,"
                                   "\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}");

        cr_assert(f.json && f.n_choices && f.content && !f.finished && !f.error && !f.has_usage);
        cr_assert_eq(f.tokens_in, -1);
        expect_str(f.id, "c-1", "id");
        expect_str(f.model, "m/x", "model");

        f = said("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}");
        cr_assert(f.json && f.n_choices && !f.content && !f.finished);
        f = said("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"index\":0}]}}]}");
        cr_assert(f.content);
        f = said("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"tool_calls\":[ ],\"audio\":{ }}}]}");
        cr_assert(!f.content);
        f = said("{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"},\"finish_reason\":\"\"}]}");
        cr_assert(f.content && !f.finished);
        f = said("{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}");
        cr_assert(f.finished && !f.content);
        f = said("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46}}");
        cr_assert(f.json && !f.n_choices && f.has_usage);
        cr_assert_eq(f.tokens_in, 12);
        cr_assert_eq(f.tokens_out, 34);
        f = said("{\"choices\":null}");
        cr_assert(f.json && !f.n_choices && !f.error);
        f = said("{\"\\u0069d\":\"escaped key\",\"model\":\"a\\/b\"}");
        expect_str(f.id, "escaped key", "id");
        expect_str(f.model, "", "model with escapes");
        f = said("{\"object\":\"text_completion\",\"choices\":[{\"text\":\"x\",\"finish_reason\":\"length\"}]}");
        cr_assert(f.content && f.finished);
        f = said("{\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":1.5}}");
        cr_assert(f.has_usage && f.tokens_in == -1 && f.tokens_out == -1);
}

Test(facts, errors)
{
        struct stream_event named = { .name = { "error", 5 }, .data = { "{}", 2 } };
        struct facts f;

        cr_assert(said("{\"error\":{\"message\":\"no\"}}").error);
        cr_assert(said("{\"error\":\"no\"}").error);
        cr_assert(said("{\"object\":\"error\",\"message\":\"no\"}").error);
        cr_assert(said("{\"type\":\"error\",\"code\":\"x\"}").error);
        cr_assert(!said("{\"error\":null,\"choices\":[]}").error);
        cr_assert(!said("{\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\": {}\"}}]}").error);
        facts_read_event(&named, &f);
        cr_assert(f.error && f.json);
}

Test(facts, not_json)
{
        static const char *const bad[] = { "", "[DONE]", "[]", "{", "{\"a\":1}}", "{\"a\":}", "hello", "{\"id\":\"x\",}", "{\"id\":\"x\"",
                                           "{\"error\":{\"message\":\"cut", "\"text\"", "1", "{\"id\":\"\xff\"}" };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                struct facts f = said(bad[i]);

                cr_assert(!f.json && !f.error && !f.finished && !f.content && f.id.n == 0, "%s", bad[i]);
        }
        cr_assert(said("  {\"id\":\"x\"} ").json);
}

Test(facts, responses_events)
{
        struct facts f = said("{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"status\":\"in_progress\",\"error\":null}}");

        cr_assert(f.json && !f.content && !f.finished && !f.error);
        expect_str(f.id, "resp_1", "id");
        expect_str(f.model, "m", "model");
        cr_assert(said("{\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}").content);
        cr_assert(said("{\"delta\":\"Hi\",\"type\":\"response.function_call_arguments.delta\"}").content);
        cr_assert(!said("{\"type\":\"response.output_text.delta\",\"delta\":\"\"}").content);
        cr_assert(!said("{\"type\":\"response.output_text.done\",\"text\":\"Hi\"}").finished);
        f = said("{\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"error\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}");
        cr_assert(f.finished && f.has_usage && f.tokens_in == 5 && f.tokens_out == 6 && !f.error);
        cr_assert(said("{\"type\":\"response.incomplete\",\"response\":{}}").finished);
        f = said("{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}");
        cr_assert(f.error && !f.finished);
}

Test(facts, whole_answers)
{
        struct facts f;

        facts_read(str("{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},"
                            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n"), &f);
        cr_assert(f.json && f.content && f.finished && f.has_usage && f.tokens_in == 1 && f.tokens_out == 2);
        facts_read(str("{\"object\":\"response\",\"id\":\"r\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"message\"}],"
                            "\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}"), &f);
        cr_assert(f.json && f.finished && f.content && !f.error && f.tokens_in == 3 && f.tokens_out == 4);
        facts_read(str("{\"object\":\"list\",\"model\":\"e\",\"data\":[{\"embedding\":[0.1,2e3]}],\"usage\":{\"prompt_tokens\":9}}"), &f);
        cr_assert(f.json && f.has_usage && f.tokens_in == 9 && f.tokens_out == -1);
        facts_read(str("<html>502</html>"), &f);
        cr_assert(!f.json);
}

Test(facts, each_choice_has_its_own_end)
{
        struct facts f = said("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"},{\"index\":70,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}");

        cr_assert(f.begun.bits[0] == 1 && f.begun.bits[1] == UINT64_C(1) << 6 && f.ended.bits[0] == 1 && f.ended.bits[1] == 0);
        cr_assert(f.finished && !choices_cover(&f.ended, &f.begun));
        f = said("{\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":\"stop\"}]}");
        cr_assert(f.begun.bits[0] == 3 && choices_cover(&f.ended, &f.begun));
        f = said("{\"choices\":[{\"index\":-1,\"finish_reason\":\"stop\"},{\"index\":128},{\"index\":1e9}]}");
        cr_assert(f.begun.bits[0] == 4 && f.begun.bits[1] == 0); /* 1e9 is no integer: the third in order */
        cr_assert(said("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}").error);
        cr_assert(said("{\"choices\":[{\"index\":0,\"delta\":{},\"error\":{\"code\":502}}]}").error);
}

Test(facts, preludes_of_responses_are_no_content)
{
        cr_assert(!said("{\"type\":\"response.created\",\"response\":{}}").content);
        cr_assert(!said("{\"type\":\"response.in_progress\",\"response\":{}}").content);
        cr_assert(!said("{\"type\":\"response.output_item.added\",\"item\":{\"type\":\"message\",\"content\":[]}}").content);
        cr_assert(!said("{\"type\":\"response.content_part.added\",\"part\":{}}").content);
        cr_assert(said("{\"type\":\"response.output_item.added\",\"item\":{\"type\":\"reasoning\"}}").content);
        cr_assert(said("{\"type\":\"response.web_search_call.in_progress\"}").content);
        cr_assert(said("{\"type\":\"response.failed\",\"response\":{}}").failed);
}

Test(facts, a_2xx_that_is_no_answer)
{
        static const struct {
                enum expert_api api;
                const char *body, *fault; /* NULL: it is one */
        } cases[] = {
                { EXPERT_CHAT, "{\"choices\":[{\"message\":{\"content\":\"x\"}}]}", NULL },
                { EXPERT_CHAT, "{\"choices\":[{\"message\":{\"content\":null}}],\"error\":null,\"detail\":\"x\"}", NULL },
                { EXPERT_CHAT, "{\"error\":{\"message\":\"x\"}}", "with an error" },
                { EXPERT_CHAT, "{\"error\":\"text\"}", "with an error" },
                { EXPERT_CHAT, "{\"object\":\"error\",\"message\":\"x\"}", "with an error" },
                { EXPERT_CHAT, "{\"detail\":\"Not authenticated\"}", "with an error" },
                { EXPERT_CHAT, "{\"detail\":[{\"loc\":[\"body\"]}]}", "with an error" },
                { EXPERT_CHAT, "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"error\"}]}", "with an error" },
                { EXPERT_CHAT, "{\"choices\":[]}", "without choices" },
                { EXPERT_CHAT, "{\"choices\":null}", "without choices" },
                { EXPERT_CHAT, "{}", "without choices" },
                { EXPERT_CHAT, "{\"message\":\"no\",\"code\":500}", "without choices" },
                { EXPERT_CHAT, "{\"choices\":[{\"message\":{}},{\"finish_reason\":\"stop\"}]}", "with a choice without a message" },
                { EXPERT_CHAT, "{\"choices\":[{\"message\":null}]}", "with a choice without a message" },
                { EXPERT_CHAT, "{\"choices\":[null]}", "with a choice without a message" },
                { EXPERT_CHAT, "\"Internal error\"", "with something that is not a JSON object" },
                { EXPERT_CHAT, "", "with something that is not a JSON object" },
                { EXPERT_CHAT, "{\"choices\":[{\"index\":0,\"finish_reason\":\"content_filter\"}]}", NULL },
                { EXPERT_COMPLETIONS, "{\"choices\":[{\"text\":\"\"}]}", NULL },
                { EXPERT_COMPLETIONS, "{\"choices\":[{\"message\":{}}]}", "with a choice without a text" },
                { EXPERT_RESPONSES, "{\"status\":\"completed\",\"output\":[],\"error\":null}", NULL },
                { EXPERT_RESPONSES, "{\"status\":\"queued\"}", NULL },
                { EXPERT_RESPONSES, "{\"status\":\"failed\",\"output\":[],\"error\":null}", "with an error" },
                { EXPERT_RESPONSES, "{\"status\":\"completed\"}", "without output" },
                { EXPERT_EMBEDDINGS, "{\"data\":[{\"embedding\":[1]}]}", NULL },
                { EXPERT_EMBEDDINGS, "{\"data\":[]}", "without data" },
                { EXPERT_EMBEDDINGS, "{\"object\":\"error\"}", "with an error" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct facts f;
                const char *fault;

                facts_read(str(cases[i].body), &f);
                fault = facts_fault(&f, cases[i].api);
                cr_assert(cases[i].fault ? fault && strcmp(fault, cases[i].fault) == 0 : !fault, "%s: '%s'", cases[i].body, fault ? fault : "an answer");
        }
}

Test(facts, usage_that_nobody_asked_for_becomes_blanks)
{
        static const struct {
                const char *in, *out;
                bool only;
        } cases[] = {
                { "{\"choices\":[],\"usage\":{\"a\":1},\"timings\":{\"x\":2}}", "{\"choices\":[],                \"timings\":{\"x\":2}}", false },
                { "{\"usage\" : null , \"choices\":[]}", "{                 \"choices\":[]}", true },
                { "{\"choices\":[] , \"usage\":null}", "{\"choices\":[]               }", true },
                { "{\"usage\":null}", "{            }", true },
                { "{\"id\":\"x\",\"choices\":[],\"usage\":{},\"citations\":[]}", "{\"id\":\"x\",\"choices\":[],           \"citations\":[]}", true },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                CLEANUP(free_p) char *copy = strdup(cases[i].in);
                struct facts f;

                facts_read(str(copy), &f);
                cr_assert_eq(facts_only_usage(str(copy)), cases[i].only, "%s", cases[i].in);
                facts_blank(str(copy), f.usage);
                cr_assert_str_eq(copy, cases[i].out);
        }
}

/* ---- what passes in pieces ---------------------------------------------------------------------------------------------- */
static const struct scan_shape choices = { "choices", '[', "without choices" }, message = { "message", '{', "without a message" };

static void scanned(const char *text, bool closed, bool bad)
{
        for (size_t step = 1; step <= strlen(text); step++) {
                struct scan s = { 0 };
                bool ok = true;

                for (size_t at = 0; at < strlen(text); at += step)
                        ok &= scan_feed(&s, &choices, text + at, MIN(step, strlen(text) - at));
                cr_assert_eq(scan_closed(&s), closed, "%s in pieces of %zu", text, step);
                cr_assert_eq(ok, !bad, "%s in pieces of %zu", text, step);
        }
}

Test(scan, does_it_close)
{
        static const char whole[] = " {\"a\":[1,{\"b\":\"x}\\\"]\"},-2.5e+3,true],\"choices\":[]} \n";

        scanned(whole, true, false);
        for (size_t n = 1; n < sizeof whole - 4; n++) {
                char text[sizeof whole];

                memcpy(text, whole, n);
                text[n] = 0;
                scanned(text, false, false);
        }
        scanned("{}{", false, true);
        scanned("{} x", false, true);
        scanned("{]", false, true);
        scanned("{\"a\":[}", false, true);
        scanned("[1]", false, true);
        scanned("<html>", false, true);
        scanned("{\"a\":\"\n\"}", false, true);
        scanned("{\"a\":\x01}", false, true);
}

static struct scan passed(const char *text, const struct scan_shape *shape)
{
        struct scan s = { 0 };

        cr_assert(scan_feed(&s, shape, text, strlen(text)));
        return s;
}

Test(scan, what_it_is)
{
        struct scan s = passed("{\"x\":{\"error\":1},\"error\":null,\"choices\":[{", &choices);

        cr_assert_null(scan_fault(&s, &choices));
        cr_assert(scan_feed(&s, &choices, "}]}", 3));
        cr_assert_null(scan_fault(&s, &choices));
        s = passed("{\"x\":{\"choices\":[1]},\"data\":[2]}", &choices);
        cr_assert_str_eq(scan_fault(&s, &choices), "without choices");
        s = passed("{\"choices\":{}}", &choices);
        cr_assert_str_eq(scan_fault(&s, &choices), "without choices");
        s = passed("{\"error\":{", &choices);
        cr_assert_str_eq(scan_fault(&s, &choices), "with an error");
        s = passed("{\"message\":{}}", &message);
        cr_assert_null(scan_fault(&s, &message));
        s = passed("{\"message\":\"m\"}", &message);
        cr_assert_str_eq(scan_fault(&s, &message), "without a message");
}

/* ---- a whole answer as a stream ----------------------------------------------------------------------------------------- */
static void told(const char *answer, enum expert_api api, bool usage, int result, const char *want)
{
        struct evbuffer *out = evbuffer_new();

        cr_assert_eq(as_events(str(answer), api, usage, out), result);
        if (result == 0) {
                evbuffer_add(out, "", 1);
                cr_assert_str_eq((const char *)evbuffer_pullup(out, -1), want);
        }
        evbuffer_free(out);
}

Test(as_events, chat)
{
        static const char answer[] = "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
                                     "{\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"id\":\"t\"}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"total_tokens\":3}}";

        told(answer, EXPERT_CHAT, true, 0,
             "data: {\"id\":\"c\",\"created\":5,\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":"
             "{\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"id\":\"t\",\"index\":0}]}}]}\n\n"
             "data: {\"id\":\"c\",\"created\":5,\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{},\"index\":0,\"finish_reason\":\"tool_calls\"}]}\n\n"
             "data: {\"id\":\"c\",\"created\":5,\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n");
        told("{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":\"stop\"}]}", EXPERT_COMPLETIONS, false, 0,
             "data: {\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":\"stop\"}]}\n\n");
        told("{\"output\":[]}", EXPERT_RESPONSES, false, -ENOTSUP, NULL);
        told("{\"choices\":[]}", EXPERT_CHAT, false, -EINVAL, NULL);
        told("{\"choices\":[{}]}", EXPERT_CHAT, false, -EINVAL, NULL);
        told("{\"choices\":[", EXPERT_CHAT, false, -EINVAL, NULL);
}

/* Whatever a number is, it goes out as it came; and an event's JSON is one line. */
Test(as_events, as_they_lie)
{
        told("{\r\n \"seed\": 123456789012345678901234567890,\n \"cost\": 0.10, \"choices\": [{\n\"message\": {\"content\": \"a \\\" \\\\\", \"x\": 1e999, \"tool_calls\": [{ }, {\"index\": 7}]}}]\n}\n",
             EXPERT_CHAT, false, 0,
             "data: {\"seed\":123456789012345678901234567890,\"cost\":0.10,\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":"
             "{\"content\":\"a \\\" \\\\\",\"x\":1e999,\"tool_calls\":[{\"index\":0},{\"index\":7}]}}]}\n\n"
             "data: {\"seed\":123456789012345678901234567890,\"cost\":0.10,\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{},\"index\":0,\"finish_reason\":\"tool_calls\"}]}\n\n");
}

Test(as_events, one_that_was_filtered)
{
        told("{\"choices\":[{\"finish_reason\":\"content_filter\"}]}", EXPERT_CHAT, false, 0,
             "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":{}}]}\n\n"
             "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{},\"index\":0,\"finish_reason\":\"content_filter\"}]}\n\n");
        told("{\"choices\":[{\"finish_reason\":\"stop\"}]}", EXPERT_CHAT, false, -EINVAL, NULL);
}

/* What stands beside the choices is in each chunk: a megabyte of an answer becomes no gigabytes, and no minutes. */
Test(as_events, many_choices_and_much_beside, .timeout = 10)
{
        enum { BESIDE = 400000, CHOICES = 30000 };
        static const char choice[] = "{\"message\":{}},";
        struct evbuffer *answer = evbuffer_new(), *out = evbuffer_new();
        char *text = malloc(BESIDE);

        memset(text, 'x', BESIDE);
        for (int much = 0; much < 2; much++) {
                struct pm_str whole;

                evbuffer_add_printf(answer, "{\"more\":\"%.*s\",\"choices\":[", much ? BESIDE : 10, text);
                for (int i = 0; i < CHOICES; i++)
                        evbuffer_add(answer, choice, sizeof choice - (i < CHOICES - 1 ? 1 : 2));
                evbuffer_add(answer, "]}", 2);
                whole = (struct pm_str){ (const char *)evbuffer_pullup(answer, -1), evbuffer_get_length(answer) };
                cr_assert_eq(as_events(whole, EXPERT_CHAT, false, out), much ? -E2BIG : 0);
                cr_assert(evbuffer_get_length(out) <= 32 << 20);
                evbuffer_drain(out, evbuffer_get_length(out));
                evbuffer_drain(answer, whole.n);
        }
        free(text);
        evbuffer_free(answer);
        evbuffer_free(out);
}
