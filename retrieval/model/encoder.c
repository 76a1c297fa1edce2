/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are added up as their ids come out of the tokenizer, a few hundred at once.  Bytes without weights, the kind that ships, are
 * summed as whole numbers, in sixteen bits for as many rows as cannot overflow and then in 32; all others in float.  The loops are
 * plain, over the dimension, so that the compiler makes vector instructions of them.  The sum is divided once.
 */
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

#include "base.h"
#include "digest.h"
#include "encoder.h"
#include "error.h"

#define CONFIG_MAX ((size_t)1 << 20)
#define MAX_TOKENS_PRESET 512    /* what the package takes if config.json does not say */
#define ROWS_BEFORE_CARRY 256    /* 256 * 128 <= 32768 */
#define AHEAD 8                  /* rows that are fetched before they are added */

struct encoder {
        struct tokenizer *tokenizer;
        struct tensors *file;
        struct encoder_config config;
        const struct tensor *table;
        const char *rows;
        size_t n_rows, dim, row_bytes;
        uint32_t *mapping;       /* NULL: a token's row is its id */
        float *weights;          /* NULL: all 1 */
        uint32_t unknown;
};

struct encoder_scratch {
        size_t text_max;
        struct tokenizer_scratch *tokens;
};

/* One text on its way. */
struct sum {
        const struct encoder *e;
        size_t taken, counted;   /* tokens seen; those that are in the sum */
        size_t in_part;          /* rows in part */
        int16_t part[ENCODER_DIM_MAX];
        int32_t total[ENCODER_DIM_MAX];
        float mean[ENCODER_DIM_MAX];
};

size_t encoder_dim(const struct encoder *e)
{
        return e->dim;
}

bool encoder_needs_scratch(const struct encoder *e)
{
        return !tokenizer_is_streaming(e->tokenizer);
}

int encoder_scratch_create(const struct encoder *e, size_t text_max, struct encoder_scratch **ret)
{
        struct encoder_scratch *s = calloc(1, sizeof *s);
        int r;

        assert(text_max >= ENCODER_TEXT_MIN && text_max <= ENCODER_TEXT_MAX);
        if (!s)
                return -ENOMEM;
        s->text_max = text_max;
        r = tokenizer_scratch_create(e->tokenizer, text_max, &s->tokens);
        if (r < 0) {
                encoder_scratch_destroy(s);
                return r;
        }
        *ret = s;
        return 0;
}

void encoder_scratch_destroy(struct encoder_scratch *s)
{
        if (!s)
                return;
        tokenizer_scratch_destroy(s->tokens);
        free(s);
}

/* ---- adding up ----------------------------------------------------------------------------------------------------------- */

static inline const char *row_of(const struct encoder *e, uint32_t id)
{
        return e->rows + (size_t)(e->mapping ? e->mapping[id] : id) * e->row_bytes;
}

static void carry(struct sum *s)
{
        for (size_t d = 0; d < s->e->dim; d++)
                s->total[d] += s->part[d];
        memset(s->part, 0, s->e->dim * sizeof *s->part);
        s->in_part = 0;
}

static void add_whole(struct sum *s, const char *data)
{
        const int8_t *row = (const int8_t *)data;
        size_t dim = s->e->dim;
        int16_t *part = s->part;

        for (size_t d = 0; d < dim; d++)
                part[d] = (int16_t)(part[d] + row[d]);
        if (++s->in_part == ROWS_BEFORE_CARRY)
                carry(s);
}

/* A half as a float: its exponent lies 112 lower, which a multiplication mends for numbers below the normal ones, too. */
static inline float from_half(uint16_t h)
{
        uint32_t bits = (uint32_t)(h & 0x7fff) << 13, high;
        float x;

        memcpy(&x, &bits, sizeof x);
        x *= 0x1p112f;
        memcpy(&bits, &x, sizeof bits);
        high = (uint32_t)-((h & 0x7c00) == 0x7c00) & 0x7f800000; /* infinite or no number: stays so */
        bits |= high | (uint32_t)(h & 0x8000) << 16;
        memcpy(&x, &bits, sizeof x);
        return x;
}

#define ADD_WEIGHTED(name, type, value)                                     \
        static void name(float *mean, const char *data, size_t dim, float weight) \
        {                                                                   \
                const type *row = (const type *)(const void *)data;         \
                                                                            \
                for (size_t d = 0; d < dim; d++)                            \
                        mean[d] += weight * (value);                        \
        }
ADD_WEIGHTED(add_f32, float, row[d])
ADD_WEIGHTED(add_f64, double, (float)row[d])
ADD_WEIGHTED(add_f16, uint16_t, from_half(row[d]))
ADD_WEIGHTED(add_i8, int8_t, (float)row[d])

static void add_row(struct sum *s, uint32_t id)
{
        const struct encoder *e = s->e;
        const char *row = row_of(e, id);
        float weight = e->weights ? e->weights[id] : 1;

        if (e->table->type == TENSOR_I8 && !e->weights)
                add_whole(s, row);
        else if (e->table->type == TENSOR_I8)
                add_i8(s->mean, row, e->dim, weight);
        else if (e->table->type == TENSOR_F16)
                add_f16(s->mean, row, e->dim, weight);
        else if (e->table->type == TENSOR_F64)
                add_f64(s->mean, row, e->dim, weight);
        else
                add_f32(s->mean, row, e->dim, weight);
}

static inline void fetch(const struct encoder *e, uint32_t id)
{
        const char *row = row_of(e, id);

        for (size_t i = 0; i < MIN(e->row_bytes, (size_t)512); i += 64)
                __builtin_prefetch(row + i);
}

static bool take_ids(void *ctx, const uint32_t *ids, size_t n)
{
        struct sum *s = ctx;
        size_t most = s->e->config.max_tokens;

        if (most && s->taken + n > most)
                n = most - s->taken;
        for (size_t i = 0; i < n; i++) {
                if (i + AHEAD < n)
                        fetch(s->e, ids[i + AHEAD]);
                if (ids[i] != s->e->unknown) {
                        add_row(s, ids[i]);
                        s->counted++;
                }
        }
        s->taken += n;
        return !most || s->taken < most;
}

/* ---- one text ------------------------------------------------------------------------------------------------------------ */

static int finish(struct sum *s, float *vector)
{
        size_t dim = s->e->dim;
        double length = 0;

        if (s->e->table->type == TENSOR_I8 && !s->e->weights) {
                carry(s);
                for (size_t d = 0; d < dim; d++)
                        s->mean[d] = (float)s->total[d];
        }
        for (size_t d = 0; d < dim; d++) {
                s->mean[d] /= (float)MAX(s->counted, (size_t)1);
                length += (double)s->mean[d] * s->mean[d];
        }
        if (!isfinite(length)) {
                memset(vector, 0, dim * sizeof *vector);
                return -ERANGE;
        }
        length = s->e->config.normalize && length > 0 ? sqrt(length) : 1;
        for (size_t d = 0; d < dim; d++)
                vector[d] = (float)(s->mean[d] / length);
        return 0;
}

/* The package reads so many characters of a text: its median token's length for each token that it would take. */
static size_t cut_characters(const struct encoder *e, const char *text, size_t n)
{
        size_t most = e->config.max_tokens * tokenizer_median_length(e->tokenizer), i = 0;

        if (!e->config.max_tokens || n <= most)
                return n;
        for (size_t c = 0; i < n; i++)
                if ((text[i] & 0xc0) != 0x80 && c++ == most)
                        break;
        return i;
}

static size_t between_characters(const char *text, size_t at, size_t n)
{
        for (int i = 0; i < 3 && at < n && (text[at] & 0xc0) == 0x80; i++)
                at++;
        return at;
}

int encoder_encode(const struct encoder *e, struct encoder_scratch *scratch, const char *text, size_t n, size_t limit,
                   float *vector, size_t *ret_tokens)
{
        struct tokenizer_scratch *tokens = scratch ? scratch->tokens : NULL;
        struct sum s;
        int r;

        assert(scratch || !encoder_needs_scratch(e));
        s.e = e;
        s.taken = s.counted = s.in_part = 0;
        memset(s.part, 0, e->dim * sizeof *s.part);
        memset(s.total, 0, e->dim * sizeof *s.total);
        memset(s.mean, 0, e->dim * sizeof *s.mean);
        if (scratch && (limit == 0 || limit > scratch->text_max))
                limit = scratch->text_max;
        n = cut_characters(e, text, n);
        if (limit && n > limit) {
                size_t first = between_characters(text, limit / 2 - 3, n), last = between_characters(text, n - limit / 2 + 3, n);

                tokenizer_run(e->tokenizer, tokens, text, first, take_ids, &s);
                if (!e->config.max_tokens || s.taken < e->config.max_tokens)
                        tokenizer_run(e->tokenizer, tokens, text + last, n - last, take_ids, &s);
        } else {
                tokenizer_run(e->tokenizer, tokens, text, n, take_ids, &s);
        }
        r = finish(&s, vector);
        if (ret_tokens)
                *ret_tokens = s.counted;
        return r;
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void encoder_p(struct encoder **e)
{
        encoder_destroy(*e);
}

void encoder_destroy(struct encoder *e)
{
        if (!e)
                return;
        tokenizer_destroy(e->tokenizer);
        tensors_close(e->file);
        free(e->mapping);
        free(e->weights);
        free(e);
}

static int read_table(struct encoder *e, const struct tensors *file, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(file, "embeddings");

        if (!x)
                x = tensors_find(file, "embedding.weight"); /* as sentence-transformers calls it */
        if (!x || x->rank != 2 || x->shape[0] < 1 || x->shape[1] < 1 || x->shape[1] > ENCODER_DIM_MAX)
                return set_error(why, why_size, "tensor 'embeddings' must be [tokens, dimension], of a dimension of 1 to %d", ENCODER_DIM_MAX);
        if (x->type != TENSOR_F32 && x->type != TENSOR_F16 && x->type != TENSOR_F64 && x->type != TENSOR_I8)
                return set_error(why, why_size, "tensor 'embeddings' is %s, must be F32, F16, F64 or I8", tensor_type_name(x->type));
        if ((uintptr_t)x->data % tensor_type_size(x->type))
                return set_error(why, why_size, "tensor 'embeddings' is not aligned to its type");
        e->table = x;
        e->rows = x->data;
        e->n_rows = x->shape[0];
        e->dim = x->shape[1];
        e->row_bytes = e->dim * tensor_type_size(x->type);
        return 0;
}

static int read_mapping(struct encoder *e, const struct tensors *file, size_t *ids, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(file, "mapping");

        *ids = e->n_rows;
        if (!x)
                return 0;
        if (x->rank != 1 || (x->type != TENSOR_I64 && x->type != TENSOR_I32) || (uintptr_t)x->data % tensor_type_size(x->type))
                return set_error(why, why_size, "tensor 'mapping' must be I64 or I32 [tokens], aligned");
        *ids = x->shape[0];
        e->mapping = calloc(x->shape[0] + 1, sizeof *e->mapping);
        if (!e->mapping)
                return -ENOMEM;
        for (size_t i = 0; i < x->shape[0]; i++) {
                int64_t row = x->type == TENSOR_I64 ? ((const int64_t *)x->data)[i] : ((const int32_t *)x->data)[i];

                if (row < 0 || (uint64_t)row >= e->n_rows)
                        return set_error(why, why_size, "tensor 'mapping': token %zu has row %" PRId64 " of %zu", i, row, e->n_rows);
                e->mapping[i] = (uint32_t)row;
        }
        return 0;
}

static int read_weights(struct encoder *e, const struct tensors *file, size_t ids, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(file, "weights");

        if (!x)
                return 0;
        if (x->rank != 1 || x->shape[0] < ids || (x->type != TENSOR_F32 && x->type != TENSOR_F64 && x->type != TENSOR_F16) ||
            (uintptr_t)x->data % tensor_type_size(x->type))
                return set_error(why, why_size, "tensor 'weights' must be F32, F64 or F16 [%zu], aligned", ids);
        e->weights = calloc(ids + 1, sizeof *e->weights);
        if (!e->weights)
                return -ENOMEM;
        for (size_t i = 0; i < ids; i++) {
                e->weights[i] = x->type == TENSOR_F32   ? ((const float *)x->data)[i]
                                : x->type == TENSOR_F64 ? (float)((const double *)x->data)[i]
                                                        : from_half(((const uint16_t *)x->data)[i]);
                if (!isfinite(e->weights[i]))
                        return set_error(why, why_size, "tensor 'weights': number %zu is not finite", i);
        }
        return 0;
}

int encoder_create(struct tokenizer *tokenizer, struct tensors *file, const struct encoder_config *config,
                   struct encoder **ret, char *why, size_t why_size)
{
        CLEANUP(encoder_p) struct encoder *e = calloc(1, sizeof *e);
        size_t ids = 0;
        int r;

        if (!e)
                return -ENOMEM;
        e->config = *config;
        e->unknown = tokenizer_unknown(tokenizer);
        r = read_table(e, file, why, why_size);
        if (r == 0)
                r = read_mapping(e, file, &ids, why, why_size);
        if (r == 0)
                r = read_weights(e, file, ids, why, why_size);
        if (r < 0)
                return r;
        if (tokenizer_size(tokenizer) > ids)
                return set_error(why, why_size, "the tokenizer has ids up to %zu, the model has vectors for %zu", tokenizer_size(tokenizer) - 1, ids);
        e->tokenizer = tokenizer;
        e->file = file;
        *ret = TAKE(e);
        return 0;
}

int encoder_config_parse(const char *text, size_t n, struct encoder_config *ret, char *why, size_t why_size)
{
        json_error_t error;
        json_t *j = (errno = 0, json_loadb(text, n, JSON_REJECT_DUPLICATES, &error)), *normalize, *max;
        struct encoder_config config = { .max_tokens = MAX_TOKENS_PRESET };
        int r = 0;

        if (!j && json_lacked_memory())
                return set_error(why, why_size, "out of memory");
        normalize = json_object_get(j, "normalize");
        max = json_object_get(j, "max_length");
        config.normalize = json_is_true(normalize);

        if (json_is_integer(max) && json_integer_value(max) > 0 && json_integer_value(max) <= (json_int_t)ENCODER_TEXT_MAX)
                config.max_tokens = (size_t)json_integer_value(max);
        else if (json_is_null(max) || (json_is_integer(max) && json_integer_value(max) > 0))
                config.max_tokens = 0;
        else if (max)
                r = set_error(why, why_size, "'max_length' must be null or a number of tokens");
        if (!json_is_object(j))
                r = set_error(why, why_size, "not a JSON object: %s (byte %d)", error.text, error.position);
        else if (normalize && !json_is_boolean(normalize))
                r = set_error(why, why_size, "'normalize' must be true or false");
        json_decref(j);
        if (r == 0)
                *ret = config;
        return r;
}

static int read_config(const char *path, struct encoder_config *ret, char *why, size_t why_size)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        CLEANUP(free_p) char *text = NULL;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0) {
                int r = -errno;

                (void)set_error(why, why_size, "cannot open: %s", ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || (size_t)st.st_size > CONFIG_MAX)
                return set_error(why, why_size, "must be a file of at most %zu bytes", CONFIG_MAX);
        text = malloc((size_t)st.st_size + 1);
        if (!text)
                return -ENOMEM;
        n = read(fd, text, (size_t)st.st_size);
        if (n < 0)
                return -errno;
        return encoder_config_parse(text, (size_t)n, ret, why, why_size);
}

/* The failure of one file of the folder, with its name. */
static int name_file(int r, const char *name, const char *reason, char *why, size_t why_size)
{
        if (r < 0)
                (void)set_error(why, why_size, "%s: %s", name, reason[0] ? reason : ERRNO_TEXT(r));
        return r;
}

int encoder_open(const char *folder, struct encoder **ret, char *why, size_t why_size)
{
        struct encoder_config config = { 0 };
        struct tokenizer *tokenizer = NULL;
        struct tensors *file = NULL;
        struct encoder *e = NULL;
        char path[PATH_MAX], reason[200] = "";
        int r;

        why[0] = '\0';
        if (snprintf(path, sizeof path, "%s/model.safetensors", folder) >= (int)sizeof path)
                return set_error(why, why_size, "the folder's name is too long");
        (void)snprintf(path, sizeof path, "%s/config.json", folder);
        r = name_file(read_config(path, &config, reason, sizeof reason), "config.json", reason, why, why_size);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
        r = name_file(tokenizer_open(path, &tokenizer, reason, sizeof reason), "tokenizer.json", reason, why, why_size);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
        r = tensors_open(path, &file, reason, sizeof reason);
        if (r == 0) {
                reason[0] = '\0';
                r = encoder_create(tokenizer, file, &config, &e, reason, sizeof reason);
        }
        if (r == 0 && (r = tensors_settle(file, reason, sizeof reason)) < 0) {
                encoder_destroy(e); /* with what it was made of */
                file = NULL;
                tokenizer = NULL;
        }
        (void)name_file(r, "model.safetensors", reason, why, why_size);
        if (r < 0) {
                tensors_close(file);
                tokenizer_destroy(tokenizer);
                return r;
        }
        *ret = e;
        return 0;
}

int encoder_digest(const struct encoder *e, char hex[65])
{
        static const char *const names[] = { "mapping", "weights" };
        uint8_t sum[DIGEST_SIZE];
        struct digest d;
        int r;

        digest_begin(&d);
        digest_add(&d, e->table->data, e->table->bytes);
        for (size_t i = 0; i < LENGTH_OF(names); i++) {
                const struct tensor *x = tensors_find(e->file, names[i]);

                if (x)
                        digest_add(&d, x->data, x->bytes);
        }
        r = digest_end(&d, sum);
        if (r == 0)
                digest_hex(sum, hex);
        return r;
}
