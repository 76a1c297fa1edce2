/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies understood, refused with the reason, and sent on with only the members changed that must be. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "js.h"
#include "query.h"

#include "base.h"

static struct arena arena;
static struct query query;
static struct query_error why;

static void begin(void)
{
        arena_init(&arena, NULL, 64 << 20);
}

static void end(void)
{
        arena_finish(&arena);
}

TestSuite(query, .init = begin, .fini = end);

/* A copy of the very size, so that a sanitizer sees a byte read too many. */
static struct pm_str exact(const char *p, size_t n)
{
        char *copy = arena_alloc(&arena, n);

        memcpy(copy, p, n);
        return (struct pm_str){ copy, n };
}

static const struct query_limits limits = { .depth = 16, .messages = 4 };

static int parse(enum expert_api api, const char *body)
{
        return query_parse(exact(body, strlen(body)), api, &limits, &arena, &query, &why);
}

static bool same(struct pm_str a, const char *b)
{
        return a.n == strlen(b) && memcmp(a.n ? a.p : "", b, a.n) == 0;
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

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
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"model\":\"b\"}", "'model' stands in the body twice", "model" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"mod\\u0065l\":\"b\"}", "'model' stands in the body twice", "model" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI "," HI "}", "'messages' stands in the body twice", "messages" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream\":true,\"stream\":false}", "'stream' stands in the body twice", "stream" },
                { EXPERT_CHAT, "{\"model\":\"a\"," HI ",\"stream_options\":null,\"stream_options\":{}}", "'stream_options' stands in the body twice", "stream_options" },
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
                  "'include_usage' stands there twice, or in other letters", "stream_options.include_usage" },
                { EXPERT_COMPLETIONS, "{\"model\":\"b\",\"prompt\":\"x\",\"PROMPT\":\"y\"}", "'PROMPT' would be read as 'prompt' by some experts, and not by others: write 'prompt', or leave it out", "prompt" },
                { EXPERT_RESPONSES, "{\"model\":\"b\",\"Input\":\"x\"}", "'Input' would be read as 'input' by some experts, and not by others: write 'input', or leave it out", "input" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"b\",\"input\":\"x\",\"INPUT\":\"y\"}", "'INPUT' would be read as 'input' by some experts, and not by others: write 'input', or leave it out", "input" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":5}]}", "expected a string or an array of parts, found a number", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"assistant\",\"content\":{}}]}", "expected a string or an array of parts, found an object", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"role\":\"system\",\"content\":\"a\"}]}", "'role' stands here twice", "messages[0].role" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"cont\\u0065nt\":\"b\"}]}", "'content' stands here twice", "messages[0].content" },
                { EXPERT_CHAT, "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"user\",\"content\":\"2\"},"
                               "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"user\",\"content\":\"4\"},{\"role\":\"user\",\"content\":\"5\"}]}",
                  "more than 4 entries", "messages" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":5}", "expected a string or a list, found a number", "prompt" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":[\"x\",{}]}", "expected strings or tokens in the list, found an object", "prompt" },
                { EXPERT_COMPLETIONS, "{\"model\":\"a\",\"prompt\":\"x\",\"prompt\":\"y\"}", "'prompt' stands in the body twice", "prompt" },
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

                        (void)snprintf(all + n, sizeof all - n, "%s%.*s:%.*s", m ? "|" : "", (int)one->role.n, one->role.p, (int)one->text.n,
                                       one->text.p);
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
                e = query_splice(&query, "other", "{\"a\":1,\"b\":2}", NULL, &small, &pieces, &n);
                cr_assert(e == -ENOMEM || (e == 0 && n == 5), "%d %zu", e, n);
                arena_finish(&small);
                arena_init(&small, NULL, room);
                e = query_parse(query.body, EXPERT_CHAT, &limits, &small, &(struct query){ 0 }, &why);
                cr_assert(e == 0 || (e == -EINVAL && why.message && why.param));
                arena_finish(&small);
        }
        arena_init(&small, NULL, 0);
        cr_assert_eq(query_texts(&query, &small, &pm), -ENOMEM);
        cr_assert_eq(query_splice(&query, "other", NULL, NULL, &small, &pieces, &n), -ENOMEM);
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
                { "{\"input\":\"a\",\"input\":[\"b\"]}", "'input' stands in the body twice", "input" },
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

/* ---- splicing ----------------------------------------------------------------------------------------------------------- */
static char *joined(const struct iovec *pieces, size_t n)
{
        size_t length = 0;
        char *out;

        for (size_t i = 0; i < n; i++) {
                cr_assert_gt(pieces[i].iov_len, 0, "no empty pieces");
                length += pieces[i].iov_len;
        }
        out = arena_alloc(&arena, length + 1);
        length = 0;
        for (size_t i = 0; i < n; i++) {
                memcpy(out + length, pieces[i].iov_base, pieces[i].iov_len);
                length += pieces[i].iov_len;
        }
        out[length] = 0;
        return out;
}

static const char *spliced(const char *model, const char *extra)
{
        struct iovec *pieces;
        size_t n;

        cr_assert_eq(query_splice(&query, model, extra, NULL, &arena, &pieces, &n), 0);
        return joined(pieces, n);
}

#define USAGE "\"stream_options\":{\"include_usage\":true}"

Test(query, changes_only_what_must_change)
{
        static const struct {
                enum expert_api api;
                const char *body, *model, *extra, *expected;
        } rows[] = {
                /* the model */
                { EXPERT_CHAT, "{\"model\":\"auto\"," HI "}", "math-7b", NULL, "{\"model\":\"math-7b\"," HI "}" },
                { EXPERT_CHAT, " { " HI ", \"model\" : \"auto\" ,\"seed\":1.50 } ", "x", NULL, " { " HI ", \"model\" : \"x\" ,\"seed\":1.50 } " },
                { EXPERT_CHAT, "{\"model\":\"same\"," HI "}", "same", NULL, "{\"model\":\"same\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"s\\u0061me\"," HI "}", "same", NULL, "{\"model\":\"s\\u0061me\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"auto\"," HI "}", "a\"b\\c\n\xC3\xA9", NULL, "{\"model\":\"a\\\"b\\\\c\\n\xC3\xA9\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"D:\\new\"," HI "}", "D:\\new", NULL, "{\"model\":\"D:\\\\new\"," HI "}" },
                { EXPERT_CHAT, "{\"metadata\":{\"model\":\"auto\"},\"model\":\"auto\"," HI "}", "x", NULL, "{\"metadata\":{\"model\":\"auto\"},\"model\":\"x\"," HI "}" },
                { EXPERT_EMBEDDINGS, "{\"input\":\"\\\"model\\\":\\\"auto\\\"\",\"model\":\"auto\"}", "x", NULL, "{\"input\":\"\\\"model\\\":\\\"auto\\\"\",\"model\":\"x\"}" },
                /* usage */
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true," HI "}", "m", NULL, "{" USAGE ",\"model\":\"m\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, " {\n\"model\":\"m\",\"stream\":true," HI "}", "n", NULL, " {" USAGE ",\n\"model\":\"n\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":false," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":false," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":null," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{}," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \n}," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\": false }," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\": true }," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":null}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":\"{\\\"include_usage\\\":true}\"}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":\"{\\\"include_usage\\\":true}\"}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \"include_obfuscation\":false, \"include_usage\":false}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \"include_obfuscation\":false, \"include_usage\":true}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"a\":{\"include_usage\":true}}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"a\":{\"include_usage\":true}}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":true}", "m", NULL, "{" USAGE ",\"model\":\"m\",\"prompt\":\"x\",\"stream\":true}" },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}", "m", NULL, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}", "m", NULL, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}" },
                /* extra */
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{}", "{\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", " { \"lora\" : { \"a\" : .5e0 } } ", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", " { \"lora\" : { \"a\" : 0.50 } } ", "{\"lora\":{ \"a\" : 0.50 },\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"top_p\": 1 ," HI "}", "m", "{\"top_p\":0.5}", "{\"model\":\"m\",\"top_p\": 0.5 ," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1,\"b\":[{}]," HI ",\"c\":3}", "n", "{\"c\":\"C\",\"d\":null,\"a\":[1],\"e\":{}}",
                  "{\"d\":null,\"e\":{},\"model\":\"n\",\"a\":[1],\"b\":[{}]," HI ",\"c\":\"C\"}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1," HI "}", "m", "{\"a\":2,\"a\":3}", "{\"model\":\"m\",\"a\":3," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"z\":2,\"z\":3,\"\\u007a\":4}", "{\"\\u007a\":4,\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"t\\u006fp_p\":1," HI "}", "m", "{\"top_\\u0070\":2}", "{\"model\":\"m\",\"t\\u006fp_p\":2," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1,\"a\":2," HI "}", "m", "{\"a\":3}", "{\"model\":\"m\",\"a\":3," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"top_p\":1," HI ", \"TOP_P\" : 2 , \"top_p\":3}", "m", "{\"top_p\":9}",
                  "{\"model\":\"m\",\"top_p\":9," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"Top_P\" : 1," HI "}", "m", "{\"top_p\":9}", "{\"model\":\"m\",\"top_p\":9," HI "}" },
                { EXPERT_CHAT, "{\"\xC5\xBF" "eed\":1,\"model\":\"m\"," HI ",\"\\u212Aey\":5}", "m", "{\"seed\":9,\"key\":7}",
                  "{\"seed\":9,\"model\":\"m\"," HI ",\"key\":7}" },
                { EXPERT_CHAT, "{\"\xC3\xA9TAT\":1,\"model\":\"m\"," HI ",\"e\xEF\xAC\x83\":5}", "m", "{\"\\u00e9tat\":9,\"effi\":7}",
                  "{\"\\u00e9tat\":9,\"model\":\"m\"," HI ",\"effi\":7}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"x\":{\"a\":1}," HI "}", "m", "{\"a\":3}", "{\"a\":3,\"model\":\"m\",\"x\":{\"a\":1}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"model\":\"evil\",\"mod\\u0065l\":1,\"stream\":true,\"stream_options\":null,\"s\":1}",
                  "{\"s\":1,\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"auto\",\"stream\":true," HI "}", "n", "{\"s\":1}", "{" USAGE ",\"s\":1,\"model\":\"n\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "[]", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"a\":1", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "null", NULL },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct iovec *pieces;
                size_t n;
                int e;

                cr_assert_eq(parse(rows[i].api, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                e = query_splice(&query, rows[i].model, rows[i].extra, NULL, &arena, &pieces, &n);
                if (!rows[i].expected) {
                        cr_assert_eq(e, -EINVAL, "%s", rows[i].extra);
                        continue;
                }
                cr_assert_eq(e, 0);
                cr_assert_str_eq(joined(pieces, n), rows[i].expected);
                if (strcmp(rows[i].body, rows[i].expected) == 0)
                        cr_assert(n == 1 && pieces[0].iov_base == (const void *)query.body.p, "untouched, and not copied");
        }
}

Test(query, leaves_out_what_an_expert_is_not_to_see)
{
        static const struct {
                const char *body, *model, *extra, *expected;
        } rows[] = {
                { "{\"model\":\"m\",\"models\":[\"x\"]," HI "}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"models\":[\"x\"],\"route\":1,\"model\":\"m\"," HI "}", "n", NULL, "{\"model\":\"n\"," HI "}" },
                { "{\"model\":\"m\"," HI " , \"Models\" : 1 }", "m", NULL, "{\"model\":\"m\"," HI " }" },
                { "{\"model\":\"m\"," HI ",\"route\":1,\"models\":2,\"route\":3}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"route\":1,\"model\":\"m\",\"models\":2," HI ",\"\\u0072oute\":3}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"route\":1,\"model\":\"m\",\"stream\":true," HI "}", "m", "{\"s\":1}", "{" USAGE ",\"s\":1,\"model\":\"m\",\"stream\":true," HI "}" },
                { "{\"route\":1,\"model\":\"m\"," HI ",\"Route\":2}", "m", "{\"route\":7}", "{\"route\":7,\"model\":\"m\"," HI "}" },
                { "{\"model\":\"m\",\"x\":{\"models\":1}," HI ",\"routes\":1}", "m", NULL, "{\"model\":\"m\",\"x\":{\"models\":1}," HI ",\"routes\":1}" },
        };
        static const struct pm_str names[] = { { &"\"models\""[1], 6 }, { &"\"route\""[1], 5 } };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct iovec *pieces;
                size_t n;

                cr_assert_eq(parse(EXPERT_CHAT, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                cr_assert_eq(query_splice(&query, rows[i].model, rows[i].extra, &(struct expert_drop){ names, 2 }, &arena, &pieces, &n), 0);
                cr_assert_str_eq(joined(pieces, n), rows[i].expected);
        }
}

/* 32,000 members of a router's, and as many of the client's, took seconds when each was compared with all. */
Test(query, members_by_name_cost_one_walk, .timeout = 30)
{
        enum { MEMBERS = PM_EXTRA_MEMBERS_MAX, CLIENTS = 200000 };
        char *extra = arena_alloc(&arena, 64 * MEMBERS), *body = arena_alloc(&arena, 32 * CLIENTS + 100);
        size_t n = 0, members;
        struct iovec *pieces;
        const char *clause;

        for (unsigned i = 0; i < MEMBERS; i++)
                n += (size_t)snprintf(extra + n, 64, "%s\"Extra_%u\":%u", i ? "," : "{", i, i);
        memcpy(extra + n, "}", 2);
        cr_assert_eq(query_extra_check((struct pm_str){ extra, n + 1 }, &members, &clause), 0);
        cr_assert_eq(members, MEMBERS);
        n = (size_t)snprintf(body, 100, "{\"model\":\"m\"," HI);
        for (unsigned i = 0; i < CLIENTS; i++)
                n += (size_t)snprintf(body + n, 32, ",\"EXTRA_%u\":0", i);
        memcpy(body + n, "}", 2);
        cr_assert_eq(parse(EXPERT_CHAT, body), 0, "%s", why.message);
        cr_assert_eq(query_splice(&query, "m", extra, NULL, &arena, &pieces, &n), 0);
        cr_assert_eq(n, 2 * MEMBERS + 1, "%zu: each took a place of its own", n);
        memcpy(extra + strlen(extra) - 1, ",\"z\":1}", 8);
        cr_assert_eq(query_extra_check((struct pm_str){ extra, strlen(extra) }, NULL, &clause), -E2BIG);
        cr_assert_str_eq(clause, "has more than 256 members");
}

/* ---- random bodies against Jansson -------------------------------------------------------------------------------------- */
static uint64_t seed = 0x2545F4914F6CDD1Dull;

static unsigned dice(unsigned sides)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (unsigned)((seed >> 20) % sides);
}

static const char *one_of(const char *const *list, size_t n)
{
        return list[dice((unsigned)n)];
}
#define ONE_OF(...) one_of((const char *const[]){ __VA_ARGS__ }, LENGTH_OF(((const char *const[]){ __VA_ARGS__ })))

static const char *value(void)
{
        return ONE_OF("1", "-0.5e3", "true", "null", "\"\"", "\"text\"", "\"\\\"model\\\":\\\"auto\\\"\"", "[]", "{}", "[1,[2,{\"model\":\"x\"}]]",
                      "{\"stream_options\":{\"include_usage\":false},\"stream\":true}", "\"\\ud83d\\ude00\\u0000\xE4\xBD\xA0\"", "[ \"}\" , \"]\" ]");
}

static const char *space(void)
{
        return ONE_OF("", "", "", " ", "\n\t", "\r\n  ");
}

static size_t add(char *out, size_t n, size_t room, const char *name, const char *v)
{
        return n + (size_t)snprintf(out + n, room - n, "%s%s\"%s\"%s:%s%s%s", n ? "," : "", space(), name, space(), space(), v, space());
}

static const char *other_name(void)
{
        return ONE_OF("temperature", "top_p", "to\\u0070_p", "metadata", "x", "x", "\\\"", "tools", "\xC3\xA9", "nn\\u0000");
}

/* The members that stand in the body in some order. */
static size_t random_body(char *out, size_t room)
{
        unsigned order[8], n_order = 0;
        size_t n = 0;

        for (unsigned i = 0; i < 8; i++)
                if (i < 2 || dice(2))
                        order[n_order++] = i;
        for (unsigned i = n_order; i > 1; i--) {
                unsigned k = dice(i), t = order[k];

                order[k] = order[i - 1];
                order[i - 1] = t;
        }
        for (unsigned i = 0; i < n_order; i++)
                switch (order[i]) {
                case 0:
                        n = add(out, n, room, ONE_OF("model", "mod\\u0065l"), ONE_OF("\"auto\"", "\"target\"", "\"t\\u0061rget\"", "\"a\\\\b\""));
                        break;
                case 1:
                        n = add(out, n, room, "messages", "[{\"role\":\"user\",\"content\":\"a \\\"stream\\\": { b\"} ]");
                        break;
                case 2:
                        n = add(out, n, room, "stream", ONE_OF("true", "true", "false", "null"));
                        break;
                case 3:
                        n = add(out, n, room, "stream_options", ONE_OF("null", "{}", "{ }", "{\"include_usage\":true}", "{ \"include_usage\" : false }",
                                                                       "{\"a\":\"\\\"\",\"include_usage\":null}", "{\"a\":[1]}", "{\n\"a\":{},\"b\":\"}\"}"));
                        break;
                default:
                        n = add(out, n, room, other_name(), value());
                }
        return n;
}

Test(query, spliced_bodies_are_what_jansson_would_make, .timeout = 60)
{
        size_t compared = 0;

        for (unsigned round = 0; round < 20000; round++) {
                char inside[2048], body[2100], more[2048], extra[2100];
                json_t *expected, *got, *added = NULL, *v;
                const char *name, *text;
                size_t n = 0;

                (void)random_body(inside, sizeof inside);
                (void)snprintf(body, sizeof body, "%s{%s}%s", space(), inside, space());
                for (unsigned i = dice(4); i; i--)
                        n = add(more, n, sizeof more, dice(6) ? other_name() : ONE_OF("model", "stream", "str\\u0065am_options", "tools"), value());
                more[n] = 0;
                (void)snprintf(extra, sizeof extra, "%s{%s}", space(), more);
                cr_assert_eq(parse(EXPERT_CHAT, body), 0, "%s: %s", body, why.message);
                text = spliced("target", dice(4) ? extra : (n = 0, NULL));
                cr_assert_eq(js_check((struct pm_str){ text, strlen(text) }, 64, NULL, NULL), 0, "%s", text);

                expected = json_loads(body, JSON_ALLOW_NUL, NULL);
                got = json_loads(text, JSON_ALLOW_NUL, NULL);
                if (n)
                        added = json_loads(extra, JSON_ALLOW_NUL, NULL);
                if (expected && (!n || added)) { /* it takes no NUL in names */
                        compared++;
                        cr_assert_not_null(got, "%s", text);
                        json_object_set_new(expected, "model", json_string("target"));
                        if (json_is_true(json_object_get(expected, "stream"))) {
                                if (!json_is_object(json_object_get(expected, "stream_options")))
                                        json_object_set_new(expected, "stream_options", json_object());
                                json_object_set_new(json_object_get(expected, "stream_options"), "include_usage", json_true());
                        }
                        json_object_foreach(added, name, v)
                                if (strcmp(name, "model") != 0 && strcmp(name, "stream") != 0 && strcmp(name, "stream_options") != 0)
                                        json_object_set(expected, name, v);
                        cr_assert(json_equal(expected, got), "%s\nwith %s\nis   %s", body, n ? extra : "nothing", text);
                }
                json_decref(expected);
                json_decref(got);
                json_decref(added);
                arena_finish(&arena);
        }
        cr_assert_gt(compared, 8000, "%zu", compared);
}
