/* SPDX-License-Identifier: Apache-2.0 */
/* A kept decision that can be read is written back to the same bytes (but for numbers in a longer form), and what comes back from a line is the same. */
#include <jansson.h>

#include "cache_cli.h"
#include "decision_codec.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const struct cached_decision *k)
{
        CLEANUP(free_p) char *line = decisions_line((struct pm_str){ "d|t|r|x", 7 }, k);
        void *memory = NULL;
        struct pm_str key;
        struct cached_decision back;
        char why[200] = "";

        if (!line)
                return; /* its texts are no UTF-8 */
        if (decisions_read_line(line, strlen(line), &key, &back, &memory, why, sizeof why) < 0) {
                assert(why[0]); /* no gateway would take it: an extra that is no object, words without end */
                return;
        }
        assert(back.expert.n == k->expert.n && back.n_fallbacks == k->n_fallbacks && back.ends_ms == k->ends_ms);
        json_decref(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct pm_str in = { (const char *)data, size };
        struct cached_decision k, again;
        unsigned char *out;
        size_t n;

        if (decision_decode(in, &k) < 0) {
                struct pm_str key;
                void *memory = NULL;
                char why[200];

                if (decisions_read_line(in.p, in.n, &key, &k, &memory, why, sizeof why) == 0)
                        json_decref(memory);
                return 0;
        }
        n = decision_encoded_size(&k);
        assert(n <= size);
        out = malloc(n);
        assert(out);
        decision_encode(&k, out);
        assert(decision_decode((struct pm_str){ (char *)out, n }, &again) == 0);
        assert(again.expert.n == k.expert.n && again.n_fallbacks == k.n_fallbacks && again.ends_ms == k.ends_ms);
        check_line(&k);
        free(out);
        return 0;
}
