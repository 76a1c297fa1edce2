/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_parts.h - what the files of the tokenizer share; nobody else includes it.
 */
#ifndef PM_TOKENIZER_PARTS_H
#define PM_TOKENIZER_PARTS_H

#include <jansson.h>

#include "tokenizer.h"

#pragma GCC visibility push(hidden)

#define BATCH 256
#define STEPS_MAX 16           /* normalizers, or pre-tokenizers, of one file */
#define WORD_MAX 1000          /* characters, the most that max_input_chars_per_word may say */
#define CHARACTER_FOLDED 18    /* code points that may become of one, at worst */

/* ---- characters: tokenizer_unicode.c ------------------------------------------------------------------------------------- */

bool unicode_is_space(uint32_t c);
bool unicode_is_han(uint32_t c);            /* BERT's idea of it */
bool unicode_is_punctuation(uint32_t c);    /* BERT's */
bool unicode_is_removed(uint32_t c);        /* by clean_text */
bool unicode_is_nonspacing(uint32_t c);
bool unicode_is_mark(uint32_t c);
bool unicode_is_letter(uint32_t c);
bool unicode_is_number(uint32_t c);         /* of ByteLevel's pattern */
bool unicode_is_digit(uint32_t c);          /* of Digits */
bool unicode_breaks(uint32_t a, uint32_t b, int32_t *state); /* does a grapheme end between them?  state: 0 at its begin */
unsigned unicode_class(uint32_t c);         /* combining class */
size_t unicode_lower(uint32_t c, uint32_t out[2]);
size_t unicode_decompose(uint32_t c, bool compat, uint32_t out[CHARACTER_FOLDED]);
void unicode_order(uint32_t *c, size_t n, uint32_t *spare); /* canonical; spare: room for n */
size_t unicode_compose(uint32_t *c, size_t n);              /* of decomposed and ordered ones, in place */
size_t unicode_get(const char *p, const char *end, uint32_t *ret); /* bytes read, at least one; U+FFFD for what is not UTF-8 */
size_t unicode_put(uint32_t c, char out[4]);

/* ---- vocabulary: tokenizer_vocab.c --------------------------------------------------------------------------------------- */

struct slot {
        uint32_t hash, id, begin, n; /* n 0: empty */
};

struct vocab {
        struct slot *slots;
        size_t mask, n;
        char *bytes;
        size_t used, room;   /* of bytes */
        size_t longest;      /* bytes of the longest token */
        size_t ids;          /* one more than the greatest */
        uint64_t *prefixes;  /* bits by hash of every begin of a token; NULL: not asked for */
        size_t prefix_mask;
};

/* FNV-1a, so that a word's hash grows with it. */
#define HASH_BEGIN 0xcbf29ce484222325u

static inline uint64_t hash_grow(uint64_t h, unsigned char c)
{
        return (h ^ c) * 0x100000001b3u;
}

static inline uint32_t hash_end(uint64_t h)
{
        return (uint32_t)(h ^ h >> 32);
}

uint64_t hash_bytes(uint64_t h, const char *p, size_t n);

int vocab_create(struct vocab *v, size_t tokens, size_t bytes);
int vocab_add(struct vocab *v, const char *p, size_t n, uint32_t id); /* no more than create was told; -EEXIST, -ENOMEM */
int vocab_prefixes(struct vocab *v);                                  /* once all are in */
void vocab_finish(struct vocab *v);

/* The id of prefix and p[0..n), or TOKENIZER_NONE.  h: the hash of both. */
uint32_t vocab_find(const struct vocab *v, uint64_t h, const char *prefix, size_t prefix_n, const char *p, size_t n);
uint32_t vocab_get(const struct vocab *v, const char *p, size_t n);
bool vocab_begins(const struct vocab *v, uint64_t h); /* may a token begin so?  Never false if one does */

/* ---- steps --------------------------------------------------------------------------------------------------------------- */

enum form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };
enum normal_kind { NORMAL_BERT, NORMAL_LOWER, NORMAL_FORM, NORMAL_STRIP_ACCENTS, NORMAL_STRIP, NORMAL_REPLACE, NORMAL_BLANKS,
                   NORMAL_PREPEND, NORMAL_CHARSMAP };

/* "Precompiled": a double array over bytes, and the texts that its values point into. */
struct charsmap {
        unsigned char *blob;
        const unsigned char *units; /* little-endian, four bytes each */
        size_t n_units;
        const char *texts;
        size_t n_texts;
};

struct normal {
        enum normal_kind kind;
        bool clean, han, accents, lower;  /* BERT; accents: take them off */
        enum form form;
        bool left, right;                 /* strip */
        uint32_t *from, *to;              /* replace, prepend (to) */
        size_t n_from, n_to;
        struct charsmap map;
};

enum split_kind { SPLIT_BERT, SPLIT_SPACE, SPLIT_META, SPLIT_BYTES, SPLIT_PUNCTUATION, SPLIT_DIGITS };
enum scheme { SCHEME_ALWAYS, SCHEME_FIRST, SCHEME_NEVER };

struct split {
        enum split_kind kind;
        uint32_t replacement;   /* metaspace */
        enum scheme scheme;
        bool apart;             /* metaspace: split; bytes: use_regex; digits: individual_digits */
        bool prefix;            /* bytes: add_prefix_space */
};

/* Code points that fit, and no more. */
struct run {
        uint32_t *c;
        size_t n, room;
};

static inline void run_add(struct run *r, uint32_t c)
{
        if (r->n < r->room)
                r->c[r->n++] = c;
}

int charsmap_parse(const char *base64, size_t n, struct charsmap *ret, char *why, size_t why_size);
void charsmap_apply(const struct charsmap *m, const uint32_t *in, size_t n, struct run *out);
void charsmap_finish(struct charsmap *m);

/* Reads in[0..n), which it may spoil, writes out. */
void normal_apply(const struct normal *step, uint32_t *in, size_t n, struct run *out);

/* Pieces lie one behind the other; end[i] is where piece i ends.  first: piece 0 stands where the text begins. */
struct pieces {
        struct run text;
        uint32_t *end;
        size_t n;
        bool first;
};
void split_apply(const struct split *step, const struct pieces *in, struct pieces *out);

/* ---- models -------------------------------------------------------------------------------------------------------------- */

enum model_kind { MODEL_WORDPIECE, MODEL_UNIGRAM, MODEL_BPE, MODEL_WORDLEVEL };

struct merge {
        uint32_t left, right;  /* left TOKENIZER_NONE: empty */
        uint32_t rank, made;
};

struct model {
        enum model_kind kind;
        struct vocab vocab;
        uint32_t unknown;            /* id or TOKENIZER_NONE */
        char *prefix, *suffix;       /* of a part that continues or ends a word; never NULL */
        size_t n_prefix, n_suffix;
        uint64_t prefix_hash;
        size_t word_max;             /* WordPiece: characters */
        double *score, unknown_score; /* Unigram */
        bool byte_fallback, fuse, whole; /* whole: BPE's ignore_merges */
        uint32_t byte[256];          /* ids of <0x00>..<0xFF>, or TOKENIZER_NONE */
        struct merge *merges;
        size_t merge_mask;
        size_t n_merges;
};

int model_parse(json_t *j, struct model *m, char *why, size_t why_size);
void model_finish(struct model *m);

/* Where ids gather before the sink takes them. */
struct out {
        tokenizer_sink *sink;
        void *ctx;
        bool enough;
        size_t n;
        uint32_t id[BATCH];
};

void out_flush(struct out *o);

static inline void out_add(struct out *o, uint32_t id)
{
        o->id[o->n++] = id;
        if (o->n == BATCH)
                out_flush(o);
}

/* Scratch of Unigram and BPE for a piece of n bytes: nodes of the best path, symbols of the word and their queue. */
struct node {
        double score;
        uint32_t from, id; /* from TOKENIZER_NONE: not reached */
};
struct symbol {
        uint32_t id, n, before, after;
};
struct pending {
        uint32_t rank, at, made;
};
struct room {
        struct node *node;
        struct symbol *symbol;
        struct pending *queue;
};

void wordpiece_run(const struct model *m, const char *p, size_t n, size_t characters, struct out *out);
void unigram_run(const struct model *m, const char *p, size_t n, const struct room *room, struct out *out);
void bpe_run(const struct model *m, const char *p, size_t n, const struct room *room, struct out *out);

/* ---- all together -------------------------------------------------------------------------------------------------------- */

struct added {
        uint32_t id;
        bool left, right;       /* takes the blanks before, behind */
};

/* Tokens that are looked for in the text itself, before a normalizer or behind it. */
struct finder {
        struct vocab vocab;     /* to the index of the token */
        bool first[256];        /* one begins with this byte */
        int only;               /* they all begin with this one; else -1 */
};

struct tokenizer {
        struct normal normal[STEPS_MAX];
        size_t n_normal;
        struct split split[STEPS_MAX];
        size_t n_split;
        struct model model;
        struct added *added;
        size_t n_added;
        struct finder raw, normalized;
        bool streaming;
        unsigned char ascii[128], ascii_kind[128]; /* BERT in one pass: what a character becomes, enum ascii_kind */
        size_t ids, median;
};

struct tokenizer_scratch {
        size_t text_max;
        struct pieces a, b;
        char *bytes;            /* a piece as UTF-8 */
        char *normalized;       /* a text that tokens are looked for in */
        size_t bytes_room;
        struct room room;
        struct out *out;        /* of the call that runs */
};

int steps_parse_normal(json_t *j, struct tokenizer *t, char *why, size_t why_size);
int steps_parse_split(json_t *j, struct tokenizer *t, char *why, size_t why_size);

/* Normalizes text[0..n) with all steps; the result lies in s->a.text. */
void steps_normalize(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t n);

/* BERT in one pass: normalizer, pre-tokenizer and WordPiece together. */
void bert_prepare(struct tokenizer *t);
void bert_run(const struct tokenizer *t, const char *text, size_t n, struct out *out);

/* Refuses keys of an object that nobody would read; the list ends with NULL. */
int tokenizer_keys(json_t *j, const char *where, const char *const *keys, char *why, size_t why_size);
int tokenizer_refuse(char *why, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#pragma GCC visibility pop
#endif
