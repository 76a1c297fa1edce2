/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies understood, or refused with the reason. */
#include "query_fixture.h"

TestSuite(query, .init = begin, .fini = end);

Test(query, accepts_the_shapes_of_all_apis)
{
        static const struct {
                enum expert_api api;
                const char *body, *model;
                bool stream, usage;
                size_t turns;
        } rows[] = {
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", false, false, 1 },
                { EXPERT_CHAT, " \n{ " HI " , \"model\" : \"a\\/b\" } \n", "a/b", false, false, 1 },
                { EXPERT_CHAT, "{\"\\u006dodel\":\"m\",\"mess\\u0061ges\":[{\"r\\u006fle\":\"user\",\"content\":\"hi\"}]}", "m", false, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":true}", "m", true, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":false,\"stream_options\":null}", "m", false, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":null,\"stream_options\":{}}", "m", false, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", "m", true, true, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":true,\"stream_options\":{\"include_usage\":false}}", "m", true, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"stream\":true,\"stream_options\":{\"include_usage\":null}}", "m", true, false, 1 },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":"
                               "[{\"type\":\"text\",\"text\":\"What is in this image?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}}]}],"
                               "\"max_tokens\":300}", "m", false, false, 2 },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,"
                               "\"tool_calls\":[{\"id\":\"1\"}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"r\"},"
                               "{\"role\":\"assistant\"}]}", "m", false, false, 4 },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"refusal\":\"no\"},{\"role\":\"function\",\"content\":null}]}",
                  "m", false, false, 2 },
                /* no words are no mistake: the expert may judge */
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"},{\"role\":\"system\",\"content\":null},"
                               "{\"role\":\"tool\",\"content\":null}]}", "m", false, false, 3 },
                /* what we do not know is the expert's business */
                { EXPERT_CHAT, "{\"model\":\"m\"," HI ",\"input\":5,\"prompt\":{},\"x\":1,\"x\":2,\"n\":\"many\"}", "m", false, false, 1 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"Say this\",\"max_tokens\":7}", "m", false, false, 1 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"stream\":true}", "m", true, false, 2 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[1,2,3]}", "m", false, false, 0 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[[1,2],[3]]}", "m", false, false, 0 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":null}", "m", false, false, 0 },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\"}", "m", false, false, 0 },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":\"hi\"}", "m", false, false, 1 },
                { EXPERT_RESPONSES, "{\"model\":\"m\"}", "m", false, false, 0 },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"q\"},{\"type\":\"function_call\",\"name\":\"f\"},"
                                    "{\"type\":\"function_call_output\",\"output\":\"5\"},\"bare\"]}", "m", false, false, 4 },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":[],\"messages\":7}", "m", false, false, 0 },
                { EXPERT_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"text\",\"encoding_format\":\"float\"}", "m", false, false, 1 },
                { EXPERT_EMBEDDINGS, "{\"model\":\"m\",\"input\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]}", "m", false, false, 6 },
                { EXPERT_EMBEDDINGS, "{\"model\":\"m\",\"input\":[[1],[2]]}", "m", false, false, 0 },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                cr_assert_eq(parse(rows[i].api, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                cr_assert(same(query.model, rows[i].model), "%s", rows[i].body);
                cr_assert_eq(query.stream, rows[i].stream, "%s", rows[i].body);
                cr_assert_eq(query.wants_usage, rows[i].usage, "%s", rows[i].body);
                cr_assert_eq(query.n_turns, rows[i].turns, "%s", rows[i].body);
                cr_assert_eq(query.api, rows[i].api);
                cr_assert_eq(query.body.n, strlen(rows[i].body));
        }
}

Test(query, refuses_with_a_sentence_and_a_place)
{
        static const struct {
                enum expert_api api;
                const char *body, *message, *param;
        } rows[] = {
                { EXPERT_CHAT, "", "the body is empty; a JSON object is needed", NULL },
                { EXPERT_CHAT, "  ", "the body is not valid JSON: the text ends where a value is expected (line 1, column 3, byte 2 of 2)", NULL },
                { EXPERT_CHAT, "[]", "the body must be a JSON object, found an array", NULL },
                { EXPERT_CHAT, "\"x\"", "the body must be a JSON object, found a string", NULL },
                { EXPERT_CHAT, "12", "the body must be a JSON object, found a number", NULL },
                { EXPERT_CHAT, "null", "the body must be a JSON object, found null", NULL },
                { EXPERT_CHAT, "true", "the body must be a JSON object, found a boolean", NULL },
                { EXPERT_CHAT, "model=m", "the body is not valid JSON: expected a value (line 1, column 1, byte 0 of 7)", NULL },
                { EXPERT_CHAT, "[1,", "the body is not valid JSON: the text ends where a value is expected (line 1, column 4, byte 3 of 3)", NULL },
                { EXPERT_CHAT, "{\n  \"model\": \"m\",\n  oops\n}", "the body is not valid JSON: expected a name in quotes (line 3, column 3, byte 20 of 26)", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "} x",
                  "the body is not valid JSON: something follows the end of the value (line 1, column 59, byte 58 of 59)", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI, "the body is not valid JSON: the text ends inside an object (line 1, column 57, byte 56 of 56)", NULL },
                { EXPERT_CHAT, "{\"model\":\"\xFF\"}", "the body is not valid JSON: invalid UTF-8 (line 1, column 11, byte 10 of 13)", NULL },
                { EXPERT_CHAT, "{\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
                  "the body is not valid JSON: nested too deeply (line 1, column 21, byte 20 of 39)", NULL },
                { EXPERT_CHAT, "{" HI "}", "'model' is required: \"auto\", a route or an expert (GET /v1/models lists them)", "model" },
                { EXPERT_CHAT, "{\"model\":null," HI "}", "expected a string, found null", "model" },
                { EXPERT_CHAT, "{\"model\":[\"m\"]," HI "}", "expected a string, found an array", "model" },
                { EXPERT_CHAT, "{\"model\":\"\"," HI "}", "'model' is empty", "model" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"model\":\"b\"}", "'model' appears more than once in the body", "model" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"mod\\u0065l\":\"b\"}", "'model' appears more than once in the body", "model" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI "," HI "}", "'messages' appears more than once in the body", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream\":true,\"stream\":false}", "'stream' appears more than once in the body", "stream" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream_options\":null,\"stream_options\":{}}", "'stream_options' appears more than once in the body", "stream_options" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream\":1}", "expected a boolean, found a number", "stream" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream\":\"true\"}", "expected a boolean, found a string", "stream" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream_options\":true}", "expected an object, found a boolean", "stream_options" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream_options\":{\"include_usage\":1}}", "expected a boolean, found a number", "stream_options.include_usage" },
                { EXPERT_CHAT, "{\"model\":\"a\"}", "'messages' is required", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[]}", "'messages' is empty; at least one is needed", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":\"hi\"}", "expected an array of messages, found a string", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":{}}", "expected an array of messages, found an object", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[\"hi\"]}", "expected an object, found a string", "messages[0]" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},null]}", "expected an object, found null", "messages[1]" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"content\":\"a\"}]}", "expected a string, found nothing", "messages[0].role" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":3,\"content\":\"a\"}]}", "expected a string, found a number", "messages[0].role" },
                { EXPERT_CHAT, "{\"Model\":\"a\",\"model\":\"b\"," HI "}", "'Model' would be read as 'model' by some experts, and not by others: write 'model', or leave it out", "model" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"MODEL\":\"c\"}", "'MODEL' would be read as 'model' by some experts, and not by others: write 'model', or leave it out", "model" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"mode\\u004C\":\"c\"}", "'mode\\u004C' would be read as 'model' by some experts, and not by others: write 'model', or leave it out", "model" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"model\\u0000\":\"c\"}", "'model\\u0000' would be read as 'model' by some experts, and not by others: write 'model', or leave it out", "model" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"\xC5\xBFtream\":true}", "'\xC5\xBFtream' would be read as 'stream' by some experts, and not by others: write 'stream', or leave it out", "stream" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"Stream_Options\":{}}", "'Stream_Options' would be read as 'stream_options' by some experts, and not by others: write 'stream_options', or leave it out", "stream_options" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"N\":9}", "'N' would be read as 'n' by some experts, and not by others: write 'n', or leave it out", "n" },
                { EXPERT_CHAT, "{\"model\":\"b\"," HI ",\"Messages\":[]}", "'Messages' would be read as 'messages' by some experts, and not by others: write 'messages', or leave it out", "messages" },
                { EXPERT_CHAT, "{\"model\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"Content\":\"b\"}]}",
                  "'Content' would be read as 'content' by some experts, and not by others: write 'content', or leave it out", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"b\",\"messages\":[{\"Role\":\"system\",\"role\":\"user\",\"content\":\"a\"}]}",
                  "'Role' would be read as 'role' by some experts, and not by others: write 'role', or leave it out", "messages[0].role" },
                { EXPERT_CHAT, "{\"model\":\"b\",\"stream\":true,\"stream_options\":{\"include_usage\":false,\"Include_usage\":true}," HI "}",
                  "'include_usage' appears more than once, perhaps spelled differently", "stream_options.include_usage" },
                { EXPERT_COMPLETIONS, "{\"model\":\"b\",\"prompt\":\"x\",\"PROMPT\":\"y\"}", "'PROMPT' would be read as 'prompt' by some experts, and not by others: write 'prompt', or leave it out", "prompt" },
                { EXPERT_RESPONSES, "{\"model\":\"b\",\"Input\":\"x\"}", "'Input' would be read as 'input' by some experts, and not by others: write 'input', or leave it out", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"b\",\"input\":\"x\",\"INPUT\":\"y\"}", "'INPUT' would be read as 'input' by some experts, and not by others: write 'input', or leave it out", "input" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":5}]}", "expected a string or an array of parts, found a number", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"assistant\",\"content\":{}}]}", "expected a string or an array of parts, found an object", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"role\":\"system\",\"content\":\"a\"}]}", "'role' appears more than once", "messages[0].role" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"cont\\u0065nt\":\"b\"}]}", "'content' appears more than once", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"user\",\"content\":\"2\"},"
                               "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"user\",\"content\":\"4\"},{\"role\":\"user\",\"content\":\"5\"}]}",
                  "more than 4 entries", "messages" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":5}", "expected a string or a list, found a number", "prompt" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":[\"x\",{}]}", "expected strings or tokens in the list, found an object", "prompt" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":\"x\",\"prompt\":\"y\"}", "'prompt' appears more than once in the body", "prompt" },
                { EXPERT_RESPONSES, "{\"model\":\"a\",\"input\":{}}", "expected a string or an array of items, found an object", "input" },
                { EXPERT_RESPONSES, "{\"model\":\"a\",\"input\":[5]}", "expected an object, found a number", "input[0]" },
                { EXPERT_RESPONSES, "{\"model\":\"a\",\"input\":[{\"role\":\"user\",\"content\":7}]}", "expected a string or an array of parts, found a number", "input[0].content" },
                { EXPERT_RESPONSES, "{\"model\":\"a\",\"input\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "more than 4 entries", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"a\"}", "'input' is required", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"a\",\"input\":null}", "expected a string or a list, found null", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"a\",\"input\":[true]}", "expected strings or tokens in the list, found a boolean", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"a\",\"input\":[\"x\",]}", "the body is not valid JSON: expected a value (line 1, column 27, byte 26 of 28)", NULL },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                memset(&query, 0xAB, sizeof query);
                cr_assert_eq(parse(rows[i].api, rows[i].body), -EINVAL, "accepted: %s", rows[i].body);
                cr_assert_str_eq(why.message, rows[i].message, "%s: %s", rows[i].body, why.message);
                if (rows[i].param)
                        cr_assert(why.param && strcmp(why.param, rows[i].param) == 0, "%s: %s", rows[i].body, why.param);
                else
                        cr_assert_null(why.param, "%s: %s", rows[i].body, why.param);
                cr_assert_eq(*(unsigned char *)&query.body, 0xAB, "the result is untouched");
        }
}

Test(query, refuses_each_beginning_of_a_body)
{
        static const char body[] = "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":false},\"messages\":[{\"role\":\"user\","
                                   "\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\xC3\xA9\"}]}],\"n\":-1.5e3}";

        cr_assert_eq(parse(EXPERT_CHAT, body), 0);
        for (size_t n = 0; n < sizeof body - 1; n++)
                cr_assert_eq(query_parse(exact(body, n), EXPERT_CHAT, &limits, &arena, &query, &why), -EINVAL, "%.*s", (int)n, body);
}

/* ---- texts -------------------------------------------------------------------------------------------------------------- */
Test(query, gives_routers_the_text)
{
        static const struct {
                enum expert_api api;
                const char *body, *text, *all; /* "role:text|role:text" */
        } rows[] = {
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"1\"},"
                               "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"2\"}]}", "2", "system:s|user:1|assistant:a|user:2" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"content\":\"q\",\"role\":\"user\"},{\"role\":\"tool\",\"content\":\"r\"}]}", "q", "user:q|tool:r" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"\\u0075ser\",\"content\":\"a\\n\\\"b\\\" \\ud83d\\ude00\"}]}",
                  "a\n\"b\" \xF0\x9F\x98\x80", "user:a\n\"b\" \xF0\x9F\x98\x80" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", "", "user:" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "", "user:" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"only\"}]}", "", "system:only" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[ {\"type\":\"text\",\"text\":\"one\"} , {\"type\":\"image_url\","
                               "\"image_url\":{\"url\":\"u\",\"text\":\"no\"}},{\"type\":\"text\",\"text\":\"t\\u0077o\"},5,null,{\"text\":7},\"three\"]}]}",
                  "one\ntwo\nthree", "user:one\ntwo\nthree" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}]}",
                  "q", "user:q|assistant:" },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[\"a\",[1],\"b\"]}", "b", "user:a|user:b" },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[1,2]}", "", "" },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":\"hi\"}", "hi", "user:hi" },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"q\"}]},"
                                    "{\"type\":\"function_call_output\",\"output\":\"5\"},{\"type\":\"reasoning\",\"content\":[{\"text\":\"hm\"}]}]}",
                  "q", "user:q|:|:hm" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct pm_query pm = { 0 };
                char all[256] = "";

                cr_assert_eq(parse(rows[i].api, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                cr_assert_eq(query_texts(&query, &arena, &pm), 0);
                cr_assert(same(pm.text, rows[i].text), "%s: '%.*s'", rows[i].body, (int)pm.text.n, pm.text.p);
                for (size_t m = 0; m < pm.n_messages; m++) {
                        const struct pm_message *one = pm.messages[m];
                        size_t n = strlen(all);

                        (void)snprintf(all + n, sizeof all - n, "%s%.*s:%.*s", m ? "|" : "", (int)one->role.n, one->role.p,
                                       (int)one->text.n, one->text.p);
                }
                cr_assert_str_eq(all, rows[i].all);
                cr_assert(same(pm.body, rows[i].body));
        }
}

Test(query, says_when_memory_is_short)
{
        struct pm_query pm;
        struct arena small;
        struct iovec *pieces;
        size_t n;

        cr_assert_eq(parse(EXPERT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\\n long enough\"}]}"), 0);
        for (size_t room = 0; room < 400; room += 16) {
                int e;

                arena_init(&small, NULL, room);
                e = query_texts(&query, &small, &pm);
                cr_assert(e == -ENOMEM || (e == 0 && same(pm.text, "\n long enough")));
                arena_finish(&small);
                arena_init(&small, NULL, room);
                e = splice(&query, "other", "{\"a\":1,\"b\":2}", NULL, &small, &pieces, &n);
                cr_assert(e == -ENOMEM || (e == 0 && n == 5), "%d %zu", e, n);
                arena_finish(&small);
                arena_init(&small, NULL, room);
                e = query_parse(query.body, EXPERT_CHAT, &limits, &small, &(struct query){ 0 }, &why);
                cr_assert(e == 0 || (e == -EINVAL && why.message && why.param));
                arena_finish(&small);
        }
        arena_init(&small, NULL, 0);
        cr_assert_eq(query_texts(&query, &small, &pm), -ENOMEM);
        cr_assert_eq(splice(&query, "other", NULL, NULL, &small, &pieces, &n), -ENOMEM);
}

/* ---- /v1/route ---------------------------------------------------------------------------------------------------------- */
Test(query, takes_the_shapes_of_route)
{
        static const struct {
                const char *body;
                bool list;
                size_t n;
                const char *model, *texts; /* of all, joined by | */
        } rows[] = {
                { "{" HI "}", false, 1, "auto", "hi" },
                { "{\"model\":\"m\"," HI "}", false, 1, "m", "hi" },
                { " {\"input\":\"text\"} ", false, 1, "auto", "text" },
                { "{\"model\":\"m\",\"input\":[\"a\",\"b\\n\"]}", true, 2, "m", "a|b\n" },
                { "{\"input\":[\"a\"]}", true, 1, "auto", "a" },
                { "{\"input\":[\"a\"]," HI "}", false, 1, "auto", "hi" },
                { "{\"mess\\u0061ges\":[{\"role\":\"user\",\"content\":\"x\"}]}", false, 1, "auto", "x" },
        };
        static const struct {
                const char *body, *message, *param;
        } bad[] = {
                { "", "the body is empty; a JSON object is needed", NULL },
                { "{}", "'messages' or 'input' is required", "input" },
                { "{\"input\":[]}", "expected 1 to 4 texts in 'input', found 0", "input" },
                { "{\"input\":[1,2]}", "expected 1 to 4 texts in 'input', found 0", "input" },
                { "{\"input\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "expected 1 to 4 texts in 'input', found 5", "input" },
                { "{\"input\":7}", "expected a string or a list, found a number", "input" },
                { "{\"input\":\"a\",\"input\":[\"b\"]}", "'input' appears more than once in the body", "input" },
                { "{\"messages\":[]}", "'messages' is empty; at least one is needed", "messages" },
                { "{\"model\":\"\",\"input\":\"a\"}", "'model' is empty", "model" },
                { "{\"input\":\"a\"", "the body is not valid JSON: the text ends inside an object (line 1, column 13, byte 12 of 12)", NULL },
        };
        struct query *list;
        size_t n;
        bool is_list;

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char all[64] = "";

                cr_assert_eq(query_parse_route(exact(rows[i].body, strlen(rows[i].body)), &limits, &arena, &list, &n, &is_list, &why), 0, "%s: %s",
                             rows[i].body, why.message);
                cr_assert_eq(n, rows[i].n);
                cr_assert_eq(is_list, rows[i].list, "%s", rows[i].body);
                for (size_t k = 0; k < n; k++) {
                        struct pm_query pm = { 0 };

                        cr_assert_eq(list[k].api, EXPERT_CHAT);
                        cr_assert(same(list[k].model, rows[i].model));
                        cr_assert_eq(query_texts(&list[k], &arena, &pm), 0);
                        (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.*s", k ? "|" : "", (int)pm.text.n, pm.text.p);
                }
                cr_assert_str_eq(all, rows[i].texts);
        }
        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                cr_assert_eq(query_parse_route(exact(bad[i].body, strlen(bad[i].body)), &limits, &arena, &list, &n, &is_list, &why), -EINVAL);
                cr_assert_str_eq(why.message, bad[i].message, "%s: %s", bad[i].body, why.message);
                cr_assert(bad[i].param ? why.param && strcmp(why.param, bad[i].param) == 0 : !why.param, "%s: %s", bad[i].body, why.param);
        }
}
