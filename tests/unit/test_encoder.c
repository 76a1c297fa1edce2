/* SPDX-License-Identifier: Apache-2.0 */
/* The mean of rows, against a plain computation; folders that do not fit together; two that are open share their pages. */
#include <criterion/criterion.h>
#include <math.h>
#include <sys/stat.h>

#include "base.h"
#include "encoder.h"
#include "folder.h"

#define TOKENS 5
#define DIM 40

static char why[256];

static const char tokenizer_json[] =
        "{\"added_tokens\":[],\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
        "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
        "\"vocab\":{\"[UNK]\":0,\"a\":1,\"b\":2,\"c\":3,\".\":4}}}";

static void put_tensors(const struct tensor *list, size_t n)
{
        cr_assert_eq(tensors_write(in_folder("model.safetensors"), list, n, NULL, why, sizeof why), 0, "%s", why);
}

static void begin(void)
{
        folder_begin();
        put("tokenizer.json", tokenizer_json);
        put("config.json", "{\"normalize\": false, \"max_length\": null}");
}

TestSuite(encoder, .init = begin, .fini = folder_end);

static struct encoder *opened(void)
{
        struct encoder *e = NULL;

        cr_assert_eq(encoder_open(folder, &e, why, sizeof why), 0, "%s", why);
        return e;
}

static float f32[TOKENS][DIM], weights[TOKENS];
static int8_t i8[TOKENS][DIM];
static uint16_t f16[TOKENS][DIM];
static double f64[TOKENS][DIM];

/* Halves that are whole numbers of 1/8 below 16, so that the conversion here is exact. */
static uint16_t half_of(float x)
{
        int exponent = 0;
        float m = frexpf(fabsf(x), &exponent);

        return x == 0.f ? 0 : (uint16_t)((x < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | ((int)(m * 2048) & 0x3ff));
}

static void fill(void)
{
        for (size_t t = 0; t < TOKENS; t++) {
                weights[t] = .25f * (float)(t + 1);
                for (size_t d = 0; d < DIM; d++) {
                        i8[t][d] = (int8_t)((int)(t * 37 + d * 11) % 255 - 127);
                        f32[t][d] = (float)(i8[t][d] / 8) / 8;
                        f64[t][d] = f32[t][d];
                        f16[t][d] = half_of(f32[t][d]);
                }
        }
}

static void expect_near(const float *v, size_t d, double wanted)
{
        cr_assert_float_eq(v[d], wanted, 1e-5 * fmax(1, fabs(wanted)), "dimension %zu: %g, wanted %g", d, (double)v[d], wanted);
}

Test(encoder, the_mean_of_the_tokens_in_every_type)
{
        const struct tensor kinds[] = {
                { "embeddings", TENSOR_F32, 2, { TOKENS, DIM }, f32, sizeof f32 },
                { "embeddings", TENSOR_F64, 2, { TOKENS, DIM }, f64, sizeof f64 },
                { "embeddings", TENSOR_F16, 2, { TOKENS, DIM }, f16, sizeof f16 },
                { "embeddings", TENSOR_I8, 2, { TOKENS, DIM }, i8, sizeof i8 },
        };
        const struct tensor weight = { "weights", TENSOR_F32, 1, { TOKENS }, weights, sizeof weights };

        fill();
        for (size_t k = 0; k < LENGTH_OF(kinds); k++)
                for (int weighted = 0; weighted < 2; weighted++) {
                        struct tensor list[2] = { kinds[k], weight };
                        struct encoder *e;
                        size_t tokens = 0;
                        float v[DIM];

                        put_tensors(list, 1 + (size_t)weighted);
                        e = opened();
                        cr_assert_eq(encoder_dim(e), DIM);
                        cr_assert_eq(encoder_encode(e, NULL, "a B zzz c c.", 12, 0, v, &tokens), 0);
                        cr_assert_eq(tokens, 5); /* the unknown word is left out */
                        for (size_t d = 0; d < DIM; d++) {
                                static const size_t ids[] = { 1, 2, 3, 3, 4 };
                                double sum = 0;

                                for (size_t i = 0; i < 5; i++)
                                        sum += (k == 3 ? i8[ids[i]][d] : (double)f32[ids[i]][d]) * (weighted ? (double)weights[ids[i]] : 1);
                                expect_near(v, d, sum / 5);
                        }
                        cr_assert_eq(encoder_encode(e, NULL, "", 0, 0, v, &tokens), 0);
                        cr_assert(tokens == 0 && v[0] == 0.f);
                        encoder_destroy(e);
                }
}

Test(encoder, sums_of_bytes_do_not_overflow)
{
        static int8_t high[TOKENS][DIM];
        const struct tensor x = { "embeddings", TENSOR_I8, 2, { TOKENS, DIM }, high, sizeof high };
        static char text[200000];
        struct encoder *e;
        size_t tokens;
        float v[DIM];

        memset(high, -128, sizeof high);
        for (size_t i = 0; i < sizeof text; i++)
                text[i] = i % 2 ? ' ' : 'a';
        put_tensors(&x, 1);
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, text, sizeof text, 0, v, &tokens), 0);
        cr_assert_eq(tokens, sizeof text / 2);
        expect_near(v, 0, -128);
        expect_near(v, DIM - 1, -128);
        encoder_destroy(e);
}

Test(encoder, limits_of_a_text)
{
        const struct tensor x = { "embeddings", TENSOR_F32, 2, { TOKENS, DIM }, f32, sizeof f32 };
        char text[1001] = "";
        struct encoder *e;
        size_t tokens;
        float v[DIM];

        fill();
        put_tensors(&x, 1);
        for (size_t i = 0; i < 500; i++)
                memcpy(text + 2 * i, i < 250 ? "a " : "b ", 2);
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, text, 1000, 100, v, &tokens), 0);
        cr_assert(tokens >= 40 && tokens <= 50, "%zu", tokens);
        cr_assert_float_eq(v[3], (f32[1][3] + f32[2][3]) / 2, .03 * fabs((double)f32[1][3] - (double)f32[2][3])); /* half and half */
        encoder_destroy(e);
        put("config.json", "{\"normalize\": true, \"max_length\": 7}");
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, text, 1000, 0, v, &tokens), 0);
        cr_assert_eq(tokens, 4); /* 7 tokens of a median length of 1 character: 7 characters are read */
        encoder_destroy(e);
}

Test(encoder, of_length_one_where_the_model_says_so)
{
        const struct tensor x = { "embeddings", TENSOR_F32, 2, { TOKENS, DIM }, f32, sizeof f32 };
        double length = 0;
        struct encoder *e;
        float v[DIM];

        fill();
        put_tensors(&x, 1);
        put("config.json", "{\"normalize\": true}");
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, "a b", 3, 0, v, NULL), 0);
        for (size_t d = 0; d < DIM; d++)
                length += (double)v[d] * v[d];
        cr_assert_float_eq(length, 1, 1e-6);
        f32[1][0] = INFINITY;
        encoder_destroy(e);
        put_tensors(&x, 1);
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, "a b", 3, 0, v, NULL), -ERANGE);
        cr_assert(v[0] == 0.f && v[1] == 0.f);
        encoder_destroy(e);
}

Test(encoder, mapped_rows)
{
        static const int64_t to[TOKENS] = { 0, 1, 1, 0, 1 };
        const struct tensor list[] = {
                { "mapping", TENSOR_I64, 1, { TOKENS }, to, sizeof to },
                { "embeddings", TENSOR_F32, 2, { 2, DIM }, f32, 2 * DIM * sizeof(float) },
        };
        struct encoder *e;
        float v[DIM];

        fill();
        put_tensors(list, 2);
        e = opened();
        cr_assert_eq(encoder_encode(e, NULL, "b c", 3, 0, v, NULL), 0);
        expect_near(v, 5, ((double)f32[1][5] + (double)f32[0][5]) / 2);
        encoder_destroy(e);
}

static void refused(const char *said)
{
        struct encoder *e = NULL;
        int r = encoder_open(folder, &e, why, sizeof why);

        cr_assert(r < 0 && strstr(why, said), "%d, said '%s', wanted '%s'", r, why, said);
}

Test(encoder, folders_that_do_not_fit_are_refused_by_name)
{
        static const int64_t far[TOKENS] = { 0, 1, 2, 3, 5 };
        const struct tensor good = { "embeddings", TENSOR_F32, 2, { TOKENS, DIM }, f32, sizeof f32 };
        struct tensor list[2];

        refused("model.safetensors: cannot open");
        list[0] = (struct tensor){ "vectors", TENSOR_F32, 2, { TOKENS, DIM }, f32, sizeof f32 };
        put_tensors(list, 1);
        refused("model.safetensors: tensor 'embeddings' must be [tokens, dimension]");
        list[0] = (struct tensor){ "embeddings", TENSOR_I32, 2, { TOKENS, DIM }, f32, sizeof f32 };
        put_tensors(list, 1);
        refused("'embeddings' is I32");
        list[0] = (struct tensor){ "embeddings", TENSOR_F32, 2, { TOKENS - 1, DIM }, f32, sizeof f32 - DIM * sizeof(float) };
        put_tensors(list, 1);
        refused("ids up to 4, the model has vectors for 4");
        list[0] = (struct tensor){ "mapping", TENSOR_I64, 1, { TOKENS }, far, sizeof far };
        list[1] = good;
        put_tensors(list, 2);
        refused("'mapping': token 4 has row 5 of 5");
        list[1] = (struct tensor){ "weights", TENSOR_F32, 1, { 2 }, weights, 2 * sizeof(float) };
        list[0] = good;
        put_tensors(list, 2);
        refused("'weights' must be F32, F64 or F16 [5]");
        put_tensors(&good, 1);
        put("config.json", "[1]");
        refused("config.json: not a JSON object");
        put("config.json", "{\"normalize\": 1}");
        refused("config.json: 'normalize'");
        put("config.json", "{\"max_length\": -1}");
        refused("config.json: 'max_length'");
        put("config.json", "{}");
        put("tokenizer.json", "{}");
        refused("tokenizer.json: model ''");
}

/* Kilobytes of this process in memory. */
static long in_memory(void)
{
        CLEANUP(fclose_p) FILE *f = fopen("/proc/self/statm", "re");
        long all, resident = 0;

        cr_assert(f && fscanf(f, "%ld %ld", &all, &resident) == 2);
        return resident * sysconf(_SC_PAGESIZE) / 1024;
}

Test(encoder, two_that_are_open_share_the_pages)
{
        enum { ROWS = 20000 };
        int8_t *table = calloc(ROWS, 256);
        struct tensor x = { "embeddings", TENSOR_I8, 2, { ROWS, 256 }, table, (size_t)ROWS * 256 };
        struct timespec pause = { 0, 50000000 }; /* a file that was written just now is not shared */
        struct encoder *e[4];
        char hex[65];
        long before;

        cr_assert(table);
        put_tensors(&x, 1);
        free(table);
        (void)nanosleep(&pause, NULL);
        before = in_memory();
        for (size_t i = 0; i < 4; i++) {
                e[i] = opened();
                cr_assert_eq(encoder_digest(e[i], hex), 0); /* reads all of it */
        }
        cr_assert_leq(in_memory() - before, 3 * ROWS * 256 / 1024 / 2, "%ld kB for a table of %d", in_memory() - before, ROWS * 256 / 1024);
        for (size_t i = 0; i < 4; i++)
                encoder_destroy(e[i]);
}
