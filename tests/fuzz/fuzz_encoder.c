/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of any bytes: its config.json and its tokenizer.json, each a line, then model.safetensors.  Refused with a reason, or it
 * encodes texts within its tables, to numbers.
 */
#include <math.h>

#include "base.h"
#include "encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct encoder *e)
{
        static const char text[] = "What is the integral of x? Caf\xc3\xa9, \xe4\xb8\xad\xe6\x96\x87; a b c a b c a b c and so on and so on, until the end.";
        struct encoder_scratch *s = NULL;
        float v[ENCODER_DIM_MAX];

        if (encoder_scratch_create(e, 96, &s) < 0)
                return;
        for (size_t n = 0; n < sizeof text; n += 13) {
                int r = encoder_encode(e, s, text, n, 64, v, NULL);

                assert(r == 0 || r == -ERANGE);
                for (size_t d = 0; d < encoder_dim(e); d++)
                        assert(isfinite(v[d]));
        }
        encoder_scratch_destroy(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint8_t *first = memchr(data, '\n', size), *second = first ? memchr(first + 1, '\n', size - (size_t)(first + 1 - data)) : NULL;
        struct tokenizer *t = NULL;
        struct tensors *file = NULL;
        struct encoder *e = NULL;
        struct encoder_config config;
        CLEANUP(free_p) void *aligned = NULL;
        char why[256] = "";
        size_t n;
        int r;

        if (!second)
                return 0;
        r = encoder_config_parse((const char *)data, (size_t)(first - data), &config, why, sizeof why);
        if (r == 0)
                r = tokenizer_parse((const char *)first + 1, (size_t)(second - first - 1), &t, why, sizeof why);
        n = size - (size_t)(second + 1 - data);
        if (posix_memalign(&aligned, 64, n + 1) != 0) /* as a mapping is */
                r = -ENOMEM;
        if (r == 0) {
                memcpy(aligned, second + 1, n);
                r = tensors_parse(aligned, n, &file, why, sizeof why);
        }
        if (r == 0)
                r = encoder_create(t, file, &config, &e, why, sizeof why);
        if (r == 0) {
                encode(e);
                encoder_destroy(e);
        } else {
                assert(why[0]);
                tensors_close(file);
                tokenizer_destroy(t);
        }
        return 0;
}
