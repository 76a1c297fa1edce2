/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - text into the ids of a tokenizer.json, as the Python package `tokenizers` gives them without special tokens.
 *
 * What is read: normalizers BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, StripAccents, Strip, Replace (a string, or the pattern
 * " {2,}"), Prepend, Precompiled, Sequence; pre-tokenizers BertPreTokenizer, WhitespaceSplit, Metaspace, ByteLevel, Punctuation
 * (isolated), Digits, Sequence; models WordPiece, Unigram, BPE, WordLevel; added tokens.  Anything else that would change an id is
 * refused by name.  Truncation, padding, post-processor and decoder are not looked at: the first is the caller's, the others change
 * nothing here.
 *
 * A tokenizer is read-only once made: any thread.  A scratch belongs to one call at a time; nothing is allocated while running.
 */
#ifndef PM_TOKENIZER_H
#define PM_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_FILE_MAX ((size_t)64 << 20)
#define TOKENIZER_IDS_MAX ((size_t)4 << 20)
#define TOKENIZER_TEXT_MAX ((size_t)1 << 20)
#define TOKENIZER_NONE UINT32_MAX

struct tokenizer;
struct tokenizer_scratch;

/* Takes the next ids of a text, a few hundred at once; false: no more are wanted. */
typedef bool tokenizer_sink(void *ctx, const uint32_t *ids, size_t n);

/* 0, or -errno and one line of why: -EINVAL for a file that is cut, foreign or asks for what is not known here. */
int tokenizer_open(const char *path, struct tokenizer **ret, char *why, size_t why_size);
int tokenizer_parse(const char *json, size_t n, struct tokenizer **ret, char *why, size_t why_size);
void tokenizer_destroy(struct tokenizer *t); /* NULL is fine */

/*
 * For texts of up to text_max bytes (1..TOKENIZER_TEXT_MAX): some 250 bytes a byte.  BERT's kind (tokenizer_is_streaming()) needs none:
 * NULL then stands for a scratch for any text.
 */
int tokenizer_scratch_create(const struct tokenizer *t, size_t text_max, struct tokenizer_scratch **ret);
void tokenizer_scratch_destroy(struct tokenizer_scratch *s); /* NULL is fine */

/*
 * Gives the ids of text[0..n) to the sink, in order.  Any bytes: what is not UTF-8 counts as U+FFFD.  More bytes than the scratch is
 * for are not read, nor is what a normalizer makes of a text beyond twice its room.
 */
void tokenizer_run(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t n, tokenizer_sink *sink, void *ctx);

size_t tokenizer_size(const struct tokenizer *t);             /* one more than the greatest id */
uint32_t tokenizer_unknown(const struct tokenizer *t);        /* the id for what is not in the vocabulary, or TOKENIZER_NONE */
size_t tokenizer_median_length(const struct tokenizer *t);    /* characters of a token, the median */
bool tokenizer_is_streaming(const struct tokenizer *t);       /* BERT's kind, which is read in one pass */
#endif
