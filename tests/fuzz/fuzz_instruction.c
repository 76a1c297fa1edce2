/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a language model says: as a whole reply, and as the text in one.  Refused with a reason, or one line of UTF-8 that is no longer
 * than a sentence may be.  And any bytes as prompts: what is sent is valid JSON and no longer than was wanted.
 */
#include <jansson.h>
#include <utf8proc.h>

#include "base.h"
#include "instruction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LIMIT 64 /* bytes of a prompt that are told */

static void check_sentence(const char *sentence)
{
        const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)sentence, *end = at + strlen(sentence);

        assert(at < end && end - at <= INSTRUCTION_MAX && !strpbrk(sentence, "\r\n"));
        while (at < end) {
                utf8proc_int32_t c;
                utf8proc_ssize_t took = utf8proc_iterate(at, end - at, &c);

                assert(took > 0);
                at += took;
        }
}

static void read_reply(const char *reply, size_t n)
{
        char sentence[INSTRUCTION_MAX + 1], why[256] = "";

        if (instruction_read(reply, n, sentence, why, sizeof why) == 0)
                check_sentence(sentence);
        else
                assert(why[0]);
}

static void read_text(const char *text, size_t n)
{
        json_t *content = json_stringn(text, n), *o;
        char *reply;

        if (!content)
                return; /* no UTF-8: no reply can say it */
        o = json_pack("{s:[{s:{s:s, s:o}}]}", "choices", "message", "role", "assistant", "content", content);
        reply = o ? json_dumps(o, JSON_COMPACT) : NULL;
        assert(reply);
        read_reply(reply, strlen(reply));
        free(reply);
        json_decref(o);
}

static void ask(const char *text, size_t n)
{
        struct instruction_prompt prompts[2] = { { text, n / 3 }, { text + n / 3, n - n / 3 } };
        char *body = instruction_body("m", prompts, LENGTH_OF(prompts), LIMIT, INSTRUCTION_TOKENS);
        json_t *o = body ? json_loads(body, JSON_REJECT_DUPLICATES, NULL) : NULL, *messages = json_object_get(o, "messages");
        json_t *last = json_array_get(messages, json_array_size(messages) - 1);

        assert(json_string_length(json_object_get(last, "content")) <= LENGTH_OF(prompts) * (3 * LIMIT + 64));
        assert(json_is_string(json_object_get(last, "content")));
        json_decref(o);
        free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const char *text = n ? (const char *)data : "";

        read_reply(text, n);
        read_text(text, n);
        ask(text, n);
        return 0;
}
