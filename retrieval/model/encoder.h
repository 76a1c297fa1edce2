/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder.h - text into a vector by a static model: the mean of its tokens' vectors.
 *
 * A model is a folder as Model2Vec writes it: config.json, tokenizer.json, model.safetensors with "embeddings" F32, F16, F64 or I8
 * [tokens, dim], and "weights" [tokens] and "mapping" [tokens] (to rows of "embeddings") where present.  The vectors are those of the
 * Python package `model2vec` on the same folder.
 *
 * The file is mapped: opened twice, or by several processes, it is in memory once.  An encoder is read-only once made and may be
 * used by any number of threads, each with a scratch of its own.  Encoding allocates nothing.
 */
#ifndef PM_ENCODER_H
#define PM_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensors.h"
#include "tokenizer.h"

#define ENCODER_DIM_MAX 4096
#define ENCODER_TEXT_MIN 64
#define ENCODER_TEXT_MAX TOKENIZER_TEXT_MAX

struct encoder;
struct encoder_scratch;

/* What config.json says. */
struct encoder_config {
        bool normalize;      /* to length one */
        size_t max_tokens;   /* of a text, the first ones; 0: all */
};

/* 0, or -errno and one line of why: which file, and what was found in one that is cut, foreign or does not fit the others. */
int encoder_open(const char *folder, struct encoder **ret, char *why, size_t why_size);

/* From its parts; takes both over if it succeeds. */
int encoder_create(struct tokenizer *tokenizer, struct tensors *file, const struct encoder_config *config,
                   struct encoder **ret, char *why, size_t why_size);
int encoder_config_parse(const char *json, size_t n, struct encoder_config *ret, char *why, size_t why_size);
void encoder_destroy(struct encoder *e); /* NULL is fine */

size_t encoder_dim(const struct encoder *e);

/* SHA-256 of tensors, mapping and weights as they lie in the file: which model this is.  Reads all of it.  0 or -ENOMEM. */
int encoder_digest(const struct encoder *e, char hex[65]);

/*
 * For texts of which up to text_max bytes are read.  BERT's kind of tokenizer (encoder_needs_scratch() false) does without: NULL then
 * stands for a scratch of any text_max.
 */
bool encoder_needs_scratch(const struct encoder *e);
int encoder_scratch_create(const struct encoder *e, size_t text_max, struct encoder_scratch **ret);
void encoder_scratch_destroy(struct encoder_scratch *s); /* NULL is fine */

/*
 * The vector of text[0..n) into vector[dim]; *ret_tokens (may be NULL): how many tokens it is the mean of.  Of a text longer than
 * `limit` bytes (ENCODER_TEXT_MIN..MAX; 0: the scratch's text_max, or all) the first and the last limit/2 are read.  A text without
 * tokens gives zeros.  -ERANGE, and zeros: the model's numbers are not finite.
 */
int encoder_encode(const struct encoder *e, struct encoder_scratch *s, const char *text, size_t n, size_t limit,
                   float *vector, size_t *ret_tokens);
#endif
