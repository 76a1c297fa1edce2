/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text of any bytes into features: every bucket within range and handed out once, whatever the limit cuts.
 */
#include "base.h"
#include "ngrams.h"

#define BITS 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const char *text, size_t n, size_t limit)
{
        bool seen[1 << BITS] = { false };
        struct ngrams f;

        ngrams_begin(&f, text, n, BITS, limit);
        while (ngrams_next(&f)) {
                assert(f.n <= NGRAMS_BATCH);
                for (size_t i = 0; i < f.n; i++) {
                        assert(f.bucket[i] < 1u << BITS && !seen[f.bucket[i]]);
                        seen[f.bucket[i]] = true;
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        read_all((const char *)data, size, NGRAMS_TEXT_MAX);
        read_all((const char *)data, size, NGRAMS_TEXT_MIN + size / 3);
        return 0;
}
