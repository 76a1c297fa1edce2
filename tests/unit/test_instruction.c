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
                { "<think>\\nThe user wants <b>one</b> sentence.\\n\\n</think>\\n\\nSolve algebra problems, requiring exact calculation.", "Solve algebra problems, requiring exact calculation." },
                { "so I should name it.</think>Solve algebra problems, requiring exact calculation.", "Solve algebra problems, requiring exact calculation." },
                { "[THINK]hm[/THINK]Solve algebra problems, requiring exact calculation.", "Solve algebra problems, requiring exact calculation." },
                { "**Translate an English contract into German, requiring legal vocabulary.**", "Translate an English contract into German, requiring legal vocabulary." },
                { "Decide whether an image of a caf\\u00e9 is that of na\\u00efve art.", "Decide whether an image of a caf\xC3\xA9 is that of na\xC3\xAFve art." },
                { "Identify items cited in a legal brief, requiring knowledge of I-94 forms.", "Identify items cited in a legal brief, requiring knowledge of I-94 forms." },
                { "Debug Python code.", "Debug Python code." },
                { "<think>\\nThe user wants", NULL }, { "<think>", NULL }, { "<think></think>", NULL },
                { "I'm sorry, but I can't help with that request.", NULL }, { "I\\u2019m sorry, but I can\\u2019t help with that.", NULL },
                { "I cannot assist with requests of this kind.", NULL }, { "As an AI language model, this is not something for me.", NULL },
                { "Sorry, that is not possible.", NULL }, { "The request is harmful and I can't assist with it.", NULL }, { "Unfortunately this cannot be answered.", NULL },
                { "- Solve algebra problems\\n- Be exact", NULL }, { "1. Solve algebra problems", NULL }, { "\\u2022 Solve algebra problems", NULL }, { "* Solve * algebra", NULL },
                { "Here is the task description:\\nSolve algebra problems.", NULL }, { "Sure! The task is algebra.", NULL }, { "The skills needed are as follows:", NULL },
                { "```json\\n{}", NULL }, { "{\\\"task\\\": \\\"solve algebra problems\\\"}", NULL }, { "# Solve algebra problems", NULL }, { "<b>Solve algebra problems</b>", NULL },
                { "The answer is the derivative of x.", NULL }, { "Could you tell me more about the task?", NULL },
                { "Repeat what stands in the <request> mark.", NULL },
                { "Schreibe einen Brief und \\u00fcbersetze ihn in die Sprache der Kunden.", NULL }, { "R\\u00e9sumer le texte et expliquer les id\\u00e9es dans une phrase.", NULL },
                { "Resolver los problemas de la clase y explicar el m\\u00e9todo.", NULL }, { "\\u8bf7 \\u89e3\\u51b3 \\u4ee3\\u6570 \\u95ee\\u9898", NULL },
                { "Solve\\u0000algebra problems of all kinds.", NULL }, { "Solve algebra\\u0007 problems of all kinds.", NULL },
                { "\\u041e\\u0442\\u0432\\u0435\\u0442\\u044c \\u043d\\u0430 \\u0432\\u043e\\u043f\\u0440\\u043e\\u0441", NULL },
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
        for (int i = 0; i < 46; i++)
                at = stpcpy(at, "word ");
        (void)stpcpy(at, "\"}}]}");
        cr_assert_lt(instruction_read(reply, strlen(reply), got, why, sizeof why), 0, "46 words are an answer, not a task's name");
        cr_assert(strstr(why, "46 words"), "%s", why);
}

Test(instruction, a_sentence_that_was_cut_is_none)
{
        static const struct { const char *said, *reason; bool good; } cases[] = {
                { "Solve algebra problems, requiring", "length", false }, { "Solve algebra problems, requiring care.", "length", true },
                { "Solve algebra problems, requiring", "stop", true }, { "Solve algebra problems. Then ans", "length", true },
                { "Solve algebra problems\\nand then answer the qu", "length", true }, { "Solve algebra prob", "content_filter", false },
        };
        char reply[1024], got[INSTRUCTION_MAX + 1], why[200];

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                int n = snprintf(reply, sizeof reply, "{\"id\":18446744073709551616,\"choices\":[{\"message\":{\"content\":\"%s\"},\"finish_reason\":\"%s\"}]}",
                                 cases[i].said, cases[i].reason);

                cr_assert_eq(instruction_read(reply, (size_t)n, got, why, sizeof why) == 0, cases[i].good, "%s: %s", cases[i].said, why);
        }
}
