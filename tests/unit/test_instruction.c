/* SPDX-License-Identifier: Apache-2.0 */
/* What a language model is asked, and what of its replies is taken for a sentence. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "base.h"
#include "instruction.h"

static json_t *body_of(const char *text, size_t n, size_t limit)
{
        char *body = instruction_body("small", &(struct instruction_prompt){ text, n }, 1, limit, 50);
        json_t *o = json_loads(body ? body : "", 0, NULL);

        free(body);
        cr_assert(o);
        return o;
}

static const char *last_message(const json_t *o)
{
        json_t *messages = json_object_get(o, "messages");

        return json_string_value(json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content"));
}

Test(instruction, what_is_asked)
{
        char text[5001], *two;
        json_t *o = body_of("Hello \"there\"\n", 14, 2000);

        cr_assert_str_eq(json_string_value(json_object_get(o, "model")), "small");
        cr_assert_eq(json_integer_value(json_object_get(o, "max_tokens")), 50);
        cr_assert_eq(json_integer_value(json_object_get(o, "temperature")), 0);
        cr_assert_str_eq(last_message(o), "<request>\nHello \"there\"\n\n</request>\n");
        json_decref(o);

        memset(text, 'a', 5000);
        memset(text + 2500, 'b', 2500);
        o = body_of(text, 5000, 100);
        cr_assert(strstr(last_message(o), "aaaa\n[...]\nbbbb"));
        cr_assert_lt(strlen(last_message(o)), 160);
        json_decref(o);

        o = body_of("\xFF\xC3\xA4\0x", 5, 2000);
        cr_assert_str_eq(last_message(o), "<request>\n\xEF\xBF\xBD\xC3\xA4\xEF\xBF\xBDx\n</request>\n", "what is no text is no reason to fail");
        json_decref(o);

        for (size_t i = 0; i < 1000; i++)
                memcpy(text + 3 * i, "\xE2\x82\xAC", 3);
        o = body_of(text, 3000, 100);
        cr_assert(!strstr(last_message(o), "\xEF\xBF\xBD"), "it is cut between characters");
        json_decref(o);

        two = instruction_body(NULL, (const struct instruction_prompt[]){ { "one", 3 }, { "two", 3 } }, 2, 100, 50);
        cr_assert(strstr(two, "<request>\\none\\n</request>\\n<request>\\ntwo\\n</request>") && !strstr(two, "\"model\""));
        free(two);
}

Test(instruction, what_is_a_sentence)
{
        static const struct { const char *said, *sentence; } cases[] = {
                { "Solve algebra problems, requiring exact calculation.", "Solve algebra problems, requiring exact calculation." },
                { "  \\\"Solve algebra problems step by step.\\\"\\nAnd more.", "Solve algebra problems step by step." },
                { "Instruction: Solve algebra problems step by step. Then stop.", "Solve algebra problems step by step." },
                { "task: Explain e.g. loops, requiring knowledge of C.", "Explain e.g. loops, requiring knowledge of C." },
                { "\\u041e\\u0442\\u0432\\u0435\\u0442\\u044c \\u043d\\u0430 \\u0432\\u043e\\u043f\\u0440\\u043e\\u0441", "\xD0\x9E\xD1\x82\xD0\xB2\xD0\xB5\xD1\x82\xD1\x8C \xD0\xBD\xD0\xB0 \xD0\xB2\xD0\xBE\xD0\xBF\xD1\x80\xD0\xBE\xD1\x81" },
                { "", NULL },
                { "42", NULL },
                { "No idea", NULL },
                { "!!! ??? ... --- === +++", NULL },
        };
        static const char *const no_replies[] = { "", "nonsense", "{}", "{\"choices\":[]}", "{\"choices\":[{\"message\":{\"content\":null}}]}",
                                                  "{\"choices\":[{\"message\":{\"content\":[1]}}]}", "{\"choices\":{\"0\":1}}" };
        char reply[4096], *at, got[INSTRUCTION_MAX + 1], why[200];

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                int n = snprintf(reply, sizeof reply, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"%s\"}}]}", cases[i].said);
                int r = instruction_read(reply, (size_t)n, got, why, sizeof why);

                cr_assert_eq(r == 0, cases[i].sentence != NULL, "'%s': %s", cases[i].said, why);
                if (r == 0)
                        cr_assert_str_eq(got, cases[i].sentence);
        }
        for (size_t i = 0; i < LENGTH_OF(no_replies); i++)
                cr_assert_lt(instruction_read(no_replies[i], strlen(no_replies[i]), got, why, sizeof why), 0, "%s", no_replies[i]);

        at = stpcpy(reply, "{\"choices\":[{\"message\":{\"content\":\"");
        for (int i = 0; i < 61; i++)
                at = stpcpy(at, "word ");
        (void)stpcpy(at, "\"}}]}");
        cr_assert_lt(instruction_read(reply, strlen(reply), got, why, sizeof why), 0, "61 words are an answer, not a task's name");
        cr_assert(strstr(why, "61 words"), "%s", why);
}
