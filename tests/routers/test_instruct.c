/* SPDX-License-Identifier: Apache-2.0 */
/* instruct.so with the shipped model: its scores put together as the formula says, the sentence in each mode, adapters, and what open() refuses. */
#include "on_mockhost.h"

#include <jansson.h>
#include <math.h>

#define MODEL "../../configs/models/mmlupro-instruct.safetensors"
#define ENCODER "../../configs/models/pointsman-static"
#define FILES "\"model\": \"" MODEL "\", \"encoder\": \"" ENCODER "\""
/* As the model knows it (tests/eval/instructions.jsonl). */
#define MATH "Solve mathematics problems in algebra, calculus, probability and number theory, requiring step-by-step symbolic derivation and exact " \
             "numerical results."
#define FURTHER "Then say which novels and poems of the last century have mathematicians in them."
#define QUESTION "Find the integral of x squared over the ring Z_7 of all polynomials"

static const struct pm_expert six[] = {
        { .name = "mixtral-8x7b" }, { .name = "mathstral-7b" }, { .name = "yi-34b" }, { .name = "phi-3-mini" }, { .name = "llama-3.1-8b" }, { .name = "small" },
};

static int open_with(struct on *o, const char *json, struct mock_setup setup)
{
        setup.base = secure_getenv("PM_TEST_DATA");
        if (!setup.experts) {
                setup.experts = six;
                setup.n_experts = LENGTH_OF(six);
        }
        return on_open(o, "PM_ROUTERS", "instruct", json, &setup);
}

static struct mock_result ask(struct on *o, const char *text)
{
        struct mock_ask a = { .text = mock_str(text), .explain = 1 };
        struct mock_result r;

        mockhost_run(o->host, &a, &r);
        cr_assert_eq(r.end, MOCK_DECIDED, "%s: %s", mock_end_text(r.end), r.text ? r.text : "");
        return r;
}

static json_t *explained(const struct mock_result *r)
{
        json_t *o = json_loads(r->explained ? r->explained : "", 0, NULL);

        cr_assert(o, "no explanation");
        return o;
}

static double real(json_t *o, const char *key)
{
        json_t *x = json_object_get(o, key);

        cr_assert(json_is_number(x), "%s", key);
        return json_number_value(x);
}

Test(instruct, scores_are_put_together)
{
        json_t *why, *experts;
        double before = INFINITY, all = 0;
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, "{" FILES ", \"top_k\": 3}", (struct mock_setup){ 0 }), 0, "%s", o.why);
        r = ask(&o, QUESTION);
        why = explained(&r);
        experts = json_object_get(why, "experts");
        cr_assert_eq(json_array_size(experts), 5);
        for (size_t i = 0; i < 5; i++) {
                json_t *e = json_array_get(experts, i);
                double score = real(e, "score");

                cr_assert_float_eq(score, real(e, "local") + real(why, "alpha") * real(e, "global"), 1e-3);
                cr_assert(score <= before);
                before = score;
                all += real(e, "weight");
                cr_assert((real(e, "weight") > 0) == (i < 3), "top_k");
                cr_assert_str_eq(json_string_value(json_object_get(e, "expert")), i == 0 ? r.expert : r.fallbacks[i - 1]);
        }
        cr_assert_float_eq(all, 1, 1e-6);
        cr_assert_float_eq(r.confidence, real(json_array_get(experts, 0), "weight"), 1e-6);
        cr_assert_float_eq(real(json_array_get(experts, 0), "weight") / real(json_array_get(experts, 1), "weight"),
                           exp(real(json_array_get(experts, 0), "score") - real(json_array_get(experts, 1), "score")), 1e-2);
        cr_assert(!json_object_get(why, "instruction") && r.calls == 0 && !r.provisional && r.steps == 1);
        cr_assert(strstr(r.reason, "task by the prompt"), "%s", r.reason);
        json_decref(why);
        mock_result_finish(&r);
        on_close(&o);
}

/* The cosine of the nearest instruction to what was asked last, which earlier turns have no part in. */
static double nearest(struct on *o, const struct pm_message *messages, size_t n, size_t parts)
{
        struct mock_ask a = { .text = messages[n - 1].text, .messages = messages, .n_messages = n, .explain = 1 };
        struct mock_result r;
        json_t *why;
        double near;

        mockhost_run(o->host, &a, &r);
        cr_assert_eq(r.end, MOCK_DECIDED);
        why = explained(&r);
        near = real(json_object_get(why, "nearest"), "cosine");
        cr_assert_eq(json_integer_value(json_object_get(why, "parts")), (json_int_t)parts);
        json_decref(why);
        mock_result_finish(&r);
        return near;
}

Test(instruct, the_prompt_is_the_last_message)
{
        const struct pm_message asked = { mock_str("user"), mock_str("  " QUESTION "\n\n") };
        const struct pm_message two[] = { { mock_str("user"), mock_str("Please talk about poems, novels and the history of old libraries.") }, asked };
        const struct pm_message ruled[] = { { mock_str("system"), mock_str("You are a lawyer who answers questions about contracts and courts.") }, asked };
        const struct pm_message lines = { mock_str("user"), mock_str(QUESTION "\n" FURTHER) }, paragraphs = { mock_str("user"), mock_str(QUESTION "\n\n" FURTHER) };
        struct on o;

        cr_assert_eq(open_with(&o, "{" FILES "}", (struct mock_setup){ 0 }), 0, "%s", o.why);
        cr_assert_float_eq(nearest(&o, &asked, 1, 1), nearest(&o, two, 2, 2), 1e-6);
        cr_assert_float_eq(nearest(&o, &asked, 1, 1), nearest(&o, ruled, 2, 2), 1e-6);
        cr_assert_float_eq(nearest(&o, &lines, 1, 1), nearest(&o, &paragraphs, 1, 2), 1e-6, "all of it, in one part or in two");
        on_close(&o);
}

static const char says_math[] = "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"" MATH "\"}}]}";
static const struct mock_reply replies[] = { { .expert = "small", .contains = "ring Z_7", .body = says_math },
                                             { .expert = "small", .contains = "error", .http_status = 500, .body = "{}" },
                                             { .expert = "small", .contains = "slow", .status = PM_ETIMEOUT },
                                             { .expert = "small", .contains = "nonsense", .body = "{\"choices\":[{\"message\":{\"content\":\"42\"}}]}" } };
static const struct mock_setup with_llm = { .replies = replies, .n_replies = LENGTH_OF(replies) };

Test(instruct, inline_it_waits_for_the_sentence_and_asks_once)
{
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, "{" FILES ", \"llm\": \"small\", \"mode\": \"inline\"}", with_llm), 0, "%s", o.why);
        for (unsigned i = 0; i < 3; i++) {
                json_t *why;

                r = ask(&o, QUESTION);
                why = explained(&r);
                cr_assert(r.calls == (i == 0) && r.kept == (i > 0), "asked once for a prompt");
                cr_assert_str_eq(json_string_value(json_object_get(why, "instruction")), MATH);
                cr_assert_str_eq(json_string_value(json_object_get(json_object_get(why, "nearest"), "instruction")), MATH);
                cr_assert_float_eq(real(json_object_get(why, "nearest"), "cosine"), 1, 1e-3);
                cr_assert_float_eq(real(why, "alpha"), 100, 1e-6, "the task is a known one");
                cr_assert_str_eq(r.expert, "mathstral-7b");
                cr_assert(!r.provisional && strstr(r.reason, "task by 'small'"), "%s", r.reason);
                json_decref(why);
                mock_result_finish(&r);
        }
        on_close(&o);
}

Test(instruct, in_the_background_the_next_one_has_it)
{
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, "{" FILES ", \"llm\": \"small\"}", with_llm), 0, "%s", o.why);
        r = ask(&o, QUESTION);
        cr_assert(r.provisional && r.calls == 1 && strstr(r.reason, "the prompt, while 'small' is asked"), "%s", r.reason);
        mock_result_finish(&r);
        r = ask(&o, QUESTION);
        cr_assert(!r.provisional && r.calls == 0 && r.kept == 1 && strstr(r.reason, "task by 'small'"), "%s", r.reason);
        mock_result_finish(&r);
        on_close(&o);
}

Test(instruct, without_the_sentence_it_goes_on_and_says_so)
{
        static const struct { const char *text, *reason; bool provisional; } cases[] = {
                { "an error comes", "since 'small' did not answer (an error)", true },
                { "it is too slow", "since 'small' did not answer (too slow)", true },
                { "nobody is there", "since 'small' did not answer (unreachable)", true },
                { "nonsense is said", "since 'small' wrote no sentence", true },
        };
        struct mock_result r, plain;
        struct on o, off;

        cr_assert_eq(open_with(&o, "{" FILES ", \"llm\": \"small\", \"mode\": \"inline\"}", with_llm), 0, "%s", o.why);
        cr_assert_eq(open_with(&off, "{" FILES ", \"llm\": \"small\", \"mode\": \"off\"}", with_llm), 0, "%s", off.why);
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                r = ask(&o, cases[i].text);
                plain = ask(&off, cases[i].text);
                cr_assert(strstr(r.reason, cases[i].reason), "%s", r.reason);
                cr_assert_eq(r.provisional, cases[i].provisional, "%s", cases[i].text);
                cr_assert_str_eq(r.expert, plain.expert, "decided as if there were none");
                cr_assert_eq(plain.calls, 0);
                mock_result_finish(&r);
                mock_result_finish(&plain);
        }
        r = ask(&o, "");
        cr_assert(r.calls == 0, "there is nothing to ask about");
        mock_result_finish(&r);
        on_close(&o);
        on_close(&off);
}

Test(instruct, it_knows_when_it_is_not_sure)
{
        static const struct { const char *more, *text; enum mock_end end; bool unsure; } cases[] = {
                { "", QUESTION, MOCK_DECIDED, false }, { "", "", MOCK_DECIDED, true }, { ", \"unsure\": \"pass\"", "", MOCK_PASSED, false },
                { ", \"unsure\": \"pass\"", QUESTION, MOCK_DECIDED, false }, { ", \"sure\": 1, \"unsure\": \"pass\"", QUESTION, MOCK_PASSED, false },
                { ", \"sure\": 1, \"top_k\": 1", QUESTION, MOCK_DECIDED, true }, { ", \"sure\": 0", "", MOCK_DECIDED, true }, { ", \"sure\": 0.99", QUESTION, MOCK_DECIDED, true },
        };
        char json[512];

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct mock_ask a = { .text = mock_str(cases[i].text) };
                struct mock_result r;
                struct on o;

                (void)snprintf(json, sizeof json, "{" FILES "%s}", cases[i].more);
                cr_assert_eq(open_with(&o, json, (struct mock_setup){ 0 }), 0, "%s", o.why);
                mockhost_run(o.host, &a, &r);
                cr_assert_eq(r.end, cases[i].end, "%zu: %s", i, mock_end_text(r.end));
                cr_assert_eq(r.unsure, cases[i].unsure, "%zu: %s", i, r.reason);
                cr_assert(r.end != MOCK_DECIDED || (strstr(r.reason, ", not sure; task by the prompt") != NULL) == cases[i].unsure, "%s", r.reason);
                mock_result_finish(&r);
                on_close(&o);
        }
}

/* Refusals and the like stand for the prompt no minute longer than they must. */
Test(instruct, what_is_no_sentence_is_asked_for_anew_after_a_minute)
{
        static const int64_t later[] = { 0, 30, 61, 90, 122 };
        static const unsigned calls[] = { 1, 0, 1, 0, 1 };
        struct on o;

        cr_assert_eq(open_with(&o, "{" FILES ", \"llm\": \"small\", \"mode\": \"inline\"}", with_llm), 0, "%s", o.why);
        for (size_t i = 0; i < LENGTH_OF(later); i++) {
                struct mock_ask a = { .text = mock_str("nonsense is said"), .later_s = later[i] };
                struct mock_result r;

                mockhost_run(o.host, &a, &r);
                cr_assert(r.end == MOCK_DECIDED && r.provisional && r.calls == calls[i], "after %d s: %u", (int)later[i], r.calls);
                mock_result_finish(&r);
        }
        on_close(&o);
}

Test(instruct, long_prompts_go_to_the_pool)
{
        static char text[60000];
        struct mock_result r, inline_r;
        struct on o;

        for (size_t i = 0; i < sizeof text - 1; i++)
                text[i] = i % 40 == 39 ? ' ' : (char)('a' + i % 7);
        memcpy(text, QUESTION "\n\n", sizeof QUESTION + 1);
        cr_assert_eq(open_with(&o, "{" FILES "}", (struct mock_setup){ .threads = true }), 0, "%s", o.why);
        r = ask(&o, text);
        cr_assert(r.offloads == 1 && r.steps == 2);
        inline_r = ask(&o, QUESTION);
        cr_assert_eq(inline_r.offloads, 0);
        mock_result_finish(&r);
        mock_result_finish(&inline_r);
        on_close(&o);
}

Test(instruct, adapters_get_their_weights)
{
        static const struct pm_expert two[] = { { .name = "llama" }, { .name = "yi-34b" } };
        static const char json[] = "{" FILES ", \"top_k\": 5, \"adapters\": {\"mathstral-7b\": {\"server\": \"llama\", \"id\": 0},"
                                   "\"phi-3-mini\": {\"server\": \"llama\", \"id\": 1, \"scale\": 0.5}, \"llama-3.1-8b\": {\"server\": \"llama\", \"id\": 2},"
                                   "\"mixtral-8x7b\": {\"server\": \"llama\", \"id\": 7}}}";
        static const char *const by_id[] = { "mathstral-7b", "phi-3-mini", "llama-3.1-8b", NULL, NULL, NULL, NULL, "mixtral-8x7b" };
        json_t *extra, *lora, *why;
        double sum = 0;
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, json, (struct mock_setup){ .experts = two, .n_experts = 2 }), 0, "%s", o.why);
        r = ask(&o, QUESTION);
        cr_assert_str_eq(r.expert, "llama");
        cr_assert_neq(strcmp(r.category, "llama"), 0, "the category is the model's expert: %s", r.category);
        extra = json_loads(r.extra ? r.extra : "", 0, NULL);
        why = explained(&r);
        lora = json_object_get(extra, "lora");
        cr_assert(json_object_size(extra) == 1 && json_array_size(lora) == 4);
        for (size_t i = 0; i < json_array_size(lora); i++) {
                json_t *one = json_array_get(lora, i);
                long id = (long)json_integer_value(json_object_get(one, "id"));

                cr_assert(json_object_size(one) == 2 && json_is_integer(json_object_get(one, "id")) && json_is_real(json_object_get(one, "scale")));
                cr_assert(id >= 0 && id < 8 && by_id[id]);
                if (i == 0)
                        cr_assert_str_eq(by_id[id], r.category);
                sum += real(one, "scale") / (id == 1 ? .5 : 1);
        }
        cr_assert_float_eq(sum, 1, 1e-3, "weights of the same server are renormalised: %g", sum);
        json_decref(extra);
        json_decref(why);
        mock_result_finish(&r);
        on_close(&o);
}

static void refused(const char *json, const char *said)
{
        struct on o;

        cr_assert_neq(open_with(&o, json, (struct mock_setup){ 0 }), 0, "%s", json);
        cr_assert(strstr(o.why, said), "%s: '%s'", json, o.why);
        on_close(&o);
}

Test(instruct, what_cannot_work_is_refused_when_opened)
{
        struct on o;
        static const struct pm_expert strangers[] = { { .name = "a" } };

        refused("{}", "model");
        refused("{\"model\": \"" MODEL "\"}", "encoder");
        refused("{\"model\": \"nowhere\", \"encoder\": \"" ENCODER "\"}", "nowhere");
        refused("{\"model\": \"../../configs/models/mmlupro-category.safetensors\", \"encoder\": \"" ENCODER "\"}", "wanted 'pointsman.instruct'");
        refused("{" FILES ", \"llm\": \"gpt\"}", "llm: 'gpt' is not a configured expert");
        refused("{" FILES ", \"mode\": \"sometimes\"}", "sometimes");
        refused("{" FILES ", \"adapters\": {\"gpt\": {\"server\": \"small\"}}}", "has no expert 'gpt'");
        refused("{" FILES ", \"adapters\": {\"yi-34b\": {\"server\": \"gpt\"}}}", "server 'gpt' is not a configured expert");
        refused("{" FILES ", \"adapters\": {\"yi-34b\": {\"server\": \"small\", \"id\": 3}, \"phi-3-mini\": {\"server\": \"small\", \"id\": 3}}}",
                "id 3 of 'small' is");
        cr_assert_neq(open_with(&o, "{" FILES "}", (struct mock_setup){ .experts = strangers, .n_experts = 1 }), 0);
        cr_assert(strstr(o.why, "none of the experts of model"), "%s", o.why);
        on_close(&o);
}
