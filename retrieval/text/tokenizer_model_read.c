/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The "model" of a tokenizer.json: its vocabulary, and what each kind needs beside it.
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "tokenizer_parts.h"

#define AFFIX_MAX 60
#define UNKNOWN_PENALTY 10.

void model_finish(struct model *m)
{
        vocab_finish(&m->vocab);
        free(m->prefix);
        free(m->suffix);
        free(m->score);
        free(m->merges);
        *m = (struct model){ 0 };
}

/* A short text of the model; "" where it is null or not there. */
static int read_affix(json_t *j, const char *key, char **ret, size_t *ret_n, char *why, size_t why_size)
{
        json_t *value = json_object_get(j, key);
        const char *text = json_is_string(value) ? json_string_value(value) : "";

        if ((value && !json_is_null(value) && !json_is_string(value)) || strlen(text) > AFFIX_MAX)
                return tokenizer_refuse(why, why_size, "model: '%s' must be a text of at most %d bytes", key, AFFIX_MAX);
        *ret = strdup(text);
        *ret_n = strlen(text);
        return *ret ? 0 : -ENOMEM;
}

/* {"token": id, ...} */
static int read_vocab(json_t *j, struct model *m, char *why, size_t why_size)
{
        json_t *vocab = json_object_get(j, "vocab"), *id;
        size_t bytes = 0;
        const char *token;
        int r;

        if (!json_is_object(vocab) || json_object_size(vocab) == 0 || json_object_size(vocab) > TOKENIZER_IDS_MAX)
                return tokenizer_refuse(why, why_size, "model: 'vocab' must be an object of 1 to %zu tokens", TOKENIZER_IDS_MAX);
        json_object_foreach(vocab, token, id)
                bytes += strlen(token);
        r = vocab_create(&m->vocab, json_object_size(vocab), bytes);
        if (r < 0)
                return r;
        json_object_foreach(vocab, token, id) {
                if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= (json_int_t)TOKENIZER_IDS_MAX)
                        return tokenizer_refuse(why, why_size, "model: the id of token '%.64s' must be in 0..%zu", token, TOKENIZER_IDS_MAX - 1);
                if (*token) /* an empty one never matches */
                        r = vocab_add(&m->vocab, token, strlen(token), (uint32_t)json_integer_value(id));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* [["token", score], ...]: a token's id is its place. */
static int read_scored(json_t *j, struct model *m, char *why, size_t why_size)
{
        json_t *vocab = json_object_get(j, "vocab"), *pair;
        size_t n = json_array_size(vocab), bytes = 0, i;
        double least = INFINITY;
        int r;

        if (n == 0 || n > TOKENIZER_IDS_MAX)
                return tokenizer_refuse(why, why_size, "model: 'vocab' must be a list of 1 to %zu tokens", TOKENIZER_IDS_MAX);
        json_array_foreach(vocab, i, pair)
                bytes += json_string_length(json_array_get(pair, 0));
        m->score = calloc(n, sizeof *m->score);
        r = m->score ? vocab_create(&m->vocab, n, bytes) : -ENOMEM;
        if (r < 0)
                return r;
        json_array_foreach(vocab, i, pair) {
                json_t *token = json_array_get(pair, 0), *score = json_array_get(pair, 1);

                if (!json_is_string(token) || !json_is_number(score) || !isfinite(json_number_value(score)))
                        return tokenizer_refuse(why, why_size, "model: token %zu must be a text and its score", i);
                m->score[i] = json_number_value(score);
                least = fmin(least, m->score[i]);
                if (json_string_length(token))
                        r = vocab_add(&m->vocab, json_string_value(token), json_string_length(token), (uint32_t)i);
                if (r == -EEXIST)
                        return tokenizer_refuse(why, why_size, "model: token '%.64s' is there twice", json_string_value(token));
                if (r < 0)
                        return r;
        }
        m->vocab.ids = n;
        m->unknown_score = least - UNKNOWN_PENALTY;
        return vocab_prefixes(&m->vocab);
}

static int read_unknown(json_t *j, struct model *m, bool needed, char *why, size_t why_size)
{
        const char *unknown = json_string_value(json_object_get(j, "unk_token"));

        m->unknown = unknown ? vocab_get(&m->vocab, unknown, strlen(unknown)) : TOKENIZER_NONE;
        if ((unknown || needed) && m->unknown == TOKENIZER_NONE)
                return tokenizer_refuse(why, why_size, "model: unk_token '%.64s' is not in the vocabulary", unknown ? unknown : "");
        return 0;
}

static void read_bytes(struct model *m, json_t *j)
{
        m->byte_fallback = json_is_true(json_object_get(j, "byte_fallback"));
        for (unsigned b = 0; b < 256; b++) {
                char name[8];

                (void)snprintf(name, sizeof name, "<0x%02X>", b);
                m->byte[b] = vocab_get(&m->vocab, name, 6);
        }
}

static int read_wordpiece(json_t *j, struct model *m, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab", NULL };
        json_t *max = json_object_get(j, "max_input_chars_per_word");
        int r = tokenizer_keys(j, "WordPiece", keys, why, why_size);

        m->kind = MODEL_WORDPIECE;
        if (r == 0)
                r = read_affix(j, "continuing_subword_prefix", &m->prefix, &m->n_prefix, why, why_size);
        if (r == 0)
                r = read_vocab(j, m, why, why_size);
        if (r == 0)
                r = read_unknown(j, m, true, why, why_size);
        if (r < 0)
                return r;
        m->word_max = (size_t)json_integer_value(max);
        if (!json_is_integer(max) || m->word_max < 1 || m->word_max > WORD_MAX)
                return tokenizer_refuse(why, why_size, "WordPiece: max_input_chars_per_word must be in 1..%d", WORD_MAX);
        return 0;
}

static int read_unigram(json_t *j, struct model *m, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "unk_id", "vocab", "byte_fallback", NULL };
        json_t *unknown = json_object_get(j, "unk_id");
        int r = tokenizer_keys(j, "Unigram", keys, why, why_size);

        m->kind = MODEL_UNIGRAM;
        if (r == 0)
                r = read_scored(j, m, why, why_size);
        if (r < 0)
                return r;
        if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 || (size_t)json_integer_value(unknown) >= m->vocab.ids)
                return tokenizer_refuse(why, why_size, "Unigram: unk_id must be the place of a token");
        m->unknown = (uint32_t)json_integer_value(unknown);
        read_bytes(m, j);
        return 0;
}

/* ---- BPE ---------------------------------------------------------------------------------------------------------------- */

static int add_merge(struct model *m, const char *a, size_t a_n, const char *b, size_t b_n, char *whole, char *why, size_t why_size)
{
        uint32_t left = vocab_get(&m->vocab, a, a_n), right = vocab_get(&m->vocab, b, b_n), made;
        size_t cut = MIN(m->n_prefix, b_n), i;

        memcpy(whole, a, a_n);
        memcpy(whole + a_n, b + cut, b_n - cut);
        made = vocab_get(&m->vocab, whole, a_n + b_n - cut);
        if (left == TOKENIZER_NONE || right == TOKENIZER_NONE || made == TOKENIZER_NONE)
                return tokenizer_refuse(why, why_size, "BPE: merge %zu, '%.*s' and '%.*s', is not of tokens in the vocabulary", m->n_merges,
                                        (int)MIN(a_n, (size_t)64), a, (int)MIN(b_n, (size_t)64), b);
        i = (size_t)((left * 0x9e3779b97f4a7c15u ^ right * 0xc2b2ae3d27d4eb4fu) >> 32) & m->merge_mask;
        while (m->merges[i].left != TOKENIZER_NONE && (m->merges[i].left != left || m->merges[i].right != right))
                i = (i + 1) & m->merge_mask;
        m->merges[i] = (struct merge){ left, right, (uint32_t)m->n_merges++, made }; /* of two the later one, as there */
        return 0;
}

static int read_merge(json_t *j, struct model *m, char *whole, char *why, size_t why_size)
{
        const char *text = json_string_value(j), *blank = text ? strchr(text, ' ') : NULL;
        const char *a = json_string_value(json_array_get(j, 0)), *b = json_string_value(json_array_get(j, 1));
        size_t a_n = 0, b_n = 0;

        if (blank && !strchr(blank + 1, ' ')) {
                a = text;
                a_n = (size_t)(blank - text);
                b = blank + 1;
                b_n = strlen(b);
        } else if (json_array_size(j) == 2 && a && b) {
                a_n = strlen(a);
                b_n = strlen(b);
        }
        if (a_n == 0 || b_n == 0)
                return tokenizer_refuse(why, why_size, "BPE: merge %zu must be two tokens", m->n_merges);
        if (a_n + b_n > m->vocab.longest + m->n_prefix)
                return tokenizer_refuse(why, why_size, "BPE: merge %zu makes a token that is longer than any", m->n_merges);
        return add_merge(m, a, a_n, b, b_n, whole, why, why_size);
}

static int read_merges(json_t *j, struct model *m, char *why, size_t why_size)
{
        json_t *list = json_object_get(j, "merges"), *merge;
        CLEANUP(free_p) char *whole = malloc(m->vocab.longest + m->n_prefix + 1);
        size_t n = json_array_size(list), slots = 64, i;

        if (!json_is_array(list) || n > TOKENIZER_IDS_MAX)
                return tokenizer_refuse(why, why_size, "BPE: 'merges' must be a list of at most %zu", TOKENIZER_IDS_MAX);
        while (slots < 2 * n)
                slots *= 2;
        m->merges = malloc(slots * sizeof *m->merges);
        m->merge_mask = slots - 1;
        if (!m->merges || !whole)
                return -ENOMEM;
        for (i = 0; i < slots; i++)
                m->merges[i].left = TOKENIZER_NONE;
        json_array_foreach(list, i, merge) {
                int r = read_merge(merge, m, whole, why, why_size);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_bpe(json_t *j, struct model *m, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                                            "byte_fallback", "ignore_merges", "vocab", "merges", NULL };
        json_t *dropout = json_object_get(j, "dropout");
        int r = tokenizer_keys(j, "BPE", keys, why, why_size);

        m->kind = MODEL_BPE;
        if (r == 0 && dropout && !json_is_null(dropout) && json_number_value(dropout) > 0)
                return tokenizer_refuse(why, why_size, "BPE: 'dropout' makes ids a matter of chance; only null or 0 is known here");
        if (r == 0)
                r = read_affix(j, "continuing_subword_prefix", &m->prefix, &m->n_prefix, why, why_size);
        if (r == 0)
                r = read_affix(j, "end_of_word_suffix", &m->suffix, &m->n_suffix, why, why_size);
        if (r == 0)
                r = read_vocab(j, m, why, why_size);
        if (r == 0)
                r = read_unknown(j, m, false, why, why_size);
        if (r < 0)
                return r;
        read_bytes(m, j);
        if (m->byte_fallback && (m->n_prefix || m->n_suffix))
                return tokenizer_refuse(why, why_size, "BPE: 'byte_fallback' beside a prefix or suffix is not known here");
        m->fuse = json_is_true(json_object_get(j, "fuse_unk"));
        m->whole = json_is_true(json_object_get(j, "ignore_merges"));
        return read_merges(j, m, why, why_size);
}

static int read_wordlevel(json_t *j, struct model *m, char *why, size_t why_size)
{
        int r = tokenizer_keys(j, "WordLevel", (const char *const[]){ "type", "unk_token", "vocab", NULL }, why, why_size);

        m->kind = MODEL_WORDLEVEL;
        if (r == 0)
                r = read_vocab(j, m, why, why_size);
        return r < 0 ? r : read_unknown(j, m, true, why, why_size);
}

int model_parse(json_t *j, struct model *m, char *why, size_t why_size)
{
        static const struct {
                const char *type;
                int (*read)(json_t *j, struct model *m, char *why, size_t why_size);
        } kinds[] = { { "WordPiece", read_wordpiece }, { "Unigram", read_unigram }, { "BPE", read_bpe }, { "WordLevel", read_wordlevel } };
        const char *type = json_string_value(json_object_get(j, "type"));

        m->unknown = TOKENIZER_NONE;
        for (size_t i = 0; i < LENGTH_OF(kinds); i++)
                if (type && strcmp(type, kinds[i].type) == 0) {
                        int r = kinds[i].read(j, m, why, why_size);

                        m->prefix_hash = hash_bytes(HASH_BEGIN, m->prefix ? m->prefix : "", m->n_prefix);
                        return r;
                }
        return tokenizer_refuse(why, why_size, "model '%.64s' is not known here: WordPiece, Unigram, BPE, WordLevel", type ? type : "");
}
