/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode ids TOKENIZER | vectors MODEL | features BITS: what the library makes of texts, for comparison with the packages that define
 * it and for the baselines.  Reads one JSON string a line; writes ids or buckets as a line, a vector as float32.
 */
#include <jansson.h>

#include "base.h"
#include "encoder.h"
#include "ngrams.h"
#include "tokenizer.h"

#define LINE_MAX_BYTES ((size_t)16 << 20)

static bool print_ids(void *ctx, const uint32_t *ids, size_t n)
{
        (void)ctx;
        for (size_t i = 0; i < n; i++)
                (void)printf("%u ", ids[i]);
        return true;
}

/* What is done with each text. */
struct task {
        struct tokenizer *tokenizer;
        struct tokenizer_scratch *tokens;
        struct encoder *encoder;
        struct encoder_scratch *scratch;
        struct ngrams *ngrams;
        unsigned bits;
};

static int one(const struct task *t, const char *text, size_t n)
{
        float vector[ENCODER_DIM_MAX];

        if (t->tokenizer)
                tokenizer_run(t->tokenizer, t->tokens, text, n, print_ids, NULL);
        if (t->ngrams) {
                ngrams_begin(t->ngrams, text, n, t->bits, NGRAMS_TEXT_MAX);
                while (ngrams_next(t->ngrams))
                        print_ids(NULL, t->ngrams->bucket, t->ngrams->n);
        }
        if (t->encoder) {
                int r = encoder_encode(t->encoder, t->scratch, text, n, 0, vector, NULL);

                return r < 0 || fwrite(vector, sizeof *vector, encoder_dim(t->encoder), stdout) == 0 ? -EIO : 0;
        }
        (void)putchar('\n');
        return 0;
}

static int each(const struct task *t, char *line)
{
        int r = 0;

        while (r == 0 && fgets(line, (int)LINE_MAX_BYTES, stdin)) {
                json_t *text = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

                r = json_is_string(text) ? one(t, json_string_value(text), json_string_length(text)) : -EINVAL;
                json_decref(text);
        }
        return r;
}

static int prepare(struct task *t, const char *what, const char *with, char *why, size_t why_size)
{
        int r;

        if (strcmp(what, "features") == 0) {
                t->bits = (unsigned)strtoul(with, NULL, 10);
                t->ngrams = malloc(sizeof *t->ngrams);
                return t->ngrams && t->bits >= NGRAMS_BITS_MIN && t->bits <= NGRAMS_BITS_MAX ? 0 : -EINVAL;
        }
        if (strcmp(what, "vectors") == 0) {
                r = encoder_open(with, &t->encoder, why, why_size);
                return r < 0 ? r : encoder_scratch_create(t->encoder, ENCODER_TEXT_MAX, &t->scratch);
        }
        r = tokenizer_open(with, &t->tokenizer, why, why_size);
        return r < 0 ? r : tokenizer_scratch_create(t->tokenizer, TOKENIZER_TEXT_MAX, &t->tokens);
}

int main(int argc, char **argv)
{
        CLEANUP(free_p) char *line = malloc(LINE_MAX_BYTES);
        struct task t = { .bits = 0 };
        char why[256] = "";
        int r;

        if (argc != 3 || !line || (strcmp(argv[1], "ids") != 0 && strcmp(argv[1], "vectors") != 0 && strcmp(argv[1], "features") != 0)) {
                (void)fprintf(stderr, "usage: encode ids TOKENIZER | vectors MODEL | features BITS\n");
                return 2;
        }
        r = prepare(&t, argv[1], argv[2], why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", argv[2], why);
        else
                r = each(&t, line);
        tokenizer_scratch_destroy(t.tokens);
        tokenizer_destroy(t.tokenizer);
        encoder_scratch_destroy(t.scratch);
        encoder_destroy(t.encoder);
        free(t.ngrams);
        return r < 0;
}
