/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer.json of any bytes, behind it after a 0 a text of any bytes: refused with a reason, or every id is below the size that
 * it says, and another run says the same.
 */
#include "base.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
        const struct tokenizer *t;
        uint64_t hash;
};

static bool see(void *ctx, const uint32_t *ids, size_t n)
{
        struct seen *s = ctx;

        for (size_t i = 0; i < n; i++) {
                assert(ids[i] < tokenizer_size(s->t));
                s->hash = (s->hash ^ ids[i]) * 0x100000001b3u;
        }
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char example[] = "Caf\xc3\xa9 n\xe2\x80\x8bumber 12,345: isn't \xe4\xb8\xad\xe6\x96\x87 fine?\n\xf0\x9f\x98\x80 [CLS] a\xcc\x81\xff";
        const uint8_t *end = memchr(data, 0, size);
        size_t json = end ? (size_t)(end - data) : size;
        const char *text = end ? (const char *)end + 1 : example;
        size_t n = end ? size - json - 1 : sizeof example - 1;
        struct tokenizer_scratch *s = NULL;
        struct tokenizer *t = NULL;
        char why[256] = "";

        if (tokenizer_parse((const char *)data, json, &t, why, sizeof why) < 0) {
                assert(why[0]);
                return 0;
        }
        if (tokenizer_scratch_create(t, 512, &s) == 0) {
                struct seen a = { t, 0 }, b = { t, 0 };

                tokenizer_run(t, s, text, n, see, &a);
                tokenizer_run(t, s, text, n, see, &b);
                assert(a.hash == b.hash);
        }
        tokenizer_scratch_destroy(s);
        tokenizer_destroy(t);
        return 0;
}
