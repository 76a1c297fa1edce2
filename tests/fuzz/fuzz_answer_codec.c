/* SPDX-License-Identifier: Apache-2.0 */
/* A kept answer that can be read is written back to the same bytes; its texts lie inside of what was read. */
#include "answer_codec.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct pm_str s, struct pm_str all)
{
        assert(s.p >= all.p && s.n <= all.n && s.p + s.n <= all.p + all.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct pm_str in = { (const char *)data, size };
        struct cached_answer k;
        char *out, *body;

        if (answer_decode(in, &k) < 0)
                return 0;
        inside(k.expert, in);
        inside(k.type, in);
        inside(k.body, in);
        assert(k.body.n > 0 && answer_encoded_size(&k) == size);
        out = malloc(size);
        assert(out);
        body = answer_encode(&k, out);
        assert(body + k.body.n == out + size);
        memcpy(body, k.body.p, k.body.n);
        assert(memcmp(out, data, size) == 0);
        free(out);
        return 0;
}
