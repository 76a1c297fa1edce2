/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the text.  A character becomes a code of twelve bits (ASCII as it is, the rest hashed), so a run of five fits
 * into one word of the machine and a shorter run is a mask away; a multiplication spreads it over the buckets.  Whether a bucket
 * was there before is one bit, and the list grows by that bit without a branch.
 *
 * Counts were measured and dropped: on MMLU-Pro and CLINC150 "there or not" is as good as 1 + log(count), and it makes the score
 * of a text a plain sum of rows.  Digits made equal gain .7 points on MMLU-Pro; runs across blanks .5 on CLINC150.
 *
 * ASCII never reaches utf8proc.  A stretch of other characters goes through it with the ASCII character before it, which a
 * combining mark may change.
 */
#include <utf8proc.h>

#include "base.h"
#include "ngrams.h"

#define WORD 0x8000u   /* belongs to a word */
#define ALONE 0x4000u  /* is a word of its own: scripts without blanks */
#define CODE 0x0fffu

#define STRETCH 32                      /* bytes given to utf8proc at once */
#define STRETCH_FOLDED (STRETCH * 6)    /* code points that may become of them: at worst 18 of a character of three bytes */
#define PER_CHARACTER 8                 /* buckets that one character can add, words that it ends included */

static const uint64_t spread = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */

#define BLANK ((uint16_t)' ')
#define LETTER(c) [c] = (uint16_t)((c) | WORD), [(c) - 32] = (uint16_t)((c) | WORD)
#define DIGIT(c) [c] = (uint16_t)('0' | WORD)
#define BLANKS(c) [c] = BLANK, [c + 1] = BLANK, [c + 2] = BLANK, [c + 3] = BLANK, \
                  [c + 4] = BLANK, [c + 5] = BLANK, [c + 6] = BLANK, [c + 7] = BLANK
#define SELF(c) [c] = (uint16_t)(c)
static const uint16_t ascii[128] = {
        BLANKS(0), BLANKS(8), BLANKS(16), BLANKS(24), [' '] = BLANK, SELF('!'), SELF('"'), SELF('#'), SELF('$'), SELF('%'), SELF('&'), SELF('\''), SELF('('), SELF(')'),
        SELF('*'), SELF('+'), SELF(','), SELF('-'), SELF('.'), SELF('/'), DIGIT('0'), DIGIT('1'), DIGIT('2'), DIGIT('3'),
        DIGIT('4'), DIGIT('5'), DIGIT('6'), DIGIT('7'), DIGIT('8'), DIGIT('9'), SELF(':'), SELF(';'), SELF('<'), SELF('='),
        SELF('>'), SELF('?'), SELF('@'), LETTER('a'), LETTER('b'), LETTER('c'), LETTER('d'), LETTER('e'), LETTER('f'),
        LETTER('g'), LETTER('h'), LETTER('i'), LETTER('j'), LETTER('k'), LETTER('l'), LETTER('m'), LETTER('n'), LETTER('o'),
        LETTER('p'), LETTER('q'), LETTER('r'), LETTER('s'), LETTER('t'), LETTER('u'), LETTER('v'), LETTER('w'), LETTER('x'),
        LETTER('y'), LETTER('z'), SELF('['), SELF('\\'), SELF(']'), SELF('^'), ['_'] = '_' | WORD, SELF('`'), SELF('{'),
        SELF('|'), SELF('}'), SELF('~'), [127] = BLANK,
};

/* What changes with every character; a copy of it lives in registers while a stretch is read. */
struct ngrams_reading {
        uint32_t *bucket;
        uint64_t *seen;
        size_t n;
        unsigned shift;
        uint64_t run, word, word_before;
};

static inline struct ngrams_reading resume(struct ngrams *f)
{
        return (struct ngrams_reading){ f->bucket, f->seen, f->n, f->shift, f->run, f->word, f->word_before };
}

static inline void pause_reading(struct ngrams *f, const struct ngrams_reading *r)
{
        f->n = r->n;
        f->run = r->run;
        f->word = r->word;
        f->word_before = r->word_before;
}

static inline void emit(struct ngrams_reading *r, uint64_t what)
{
        uint64_t bucket = (what * spread) >> r->shift;
        uint64_t *seen = &r->seen[bucket >> 6];
        uint64_t before = *seen;

        r->bucket[r->n] = (uint32_t)bucket;
        r->n += ~(before >> (bucket & 63)) & 1;
        *seen = before | (uint64_t)1 << (bucket & 63);
}

static inline void word_grows(struct ngrams_reading *r, uint32_t code)
{
        uint64_t h = (r->word + code + 1) * 0xd6e8feb86659fd93u;

        r->word = h ^ h >> 32;
}

static inline void word_ends(struct ngrams_reading *r)
{
        emit(r, r->word | (uint64_t)1 << 63);
        if (r->word_before)
                emit(r, (r->word_before * 31 + r->word) * 0xc2b2ae3d27d4eb4fu);
        r->word_before = r->word;
        r->word = 0;
}

/* Runs that are still shorter than five at a text's begin repeat buckets that were seen: harmless, so not asked for. */
static inline void character(struct ngrams_reading *r, uint32_t c)
{
        uint32_t code = c & CODE;

        if (c & WORD)
                word_grows(r, code);
        else if (r->word)
                word_ends(r);
        if (code == ' ' && (r->run & CODE) == ' ')
                return;
        r->run = (r->run << 12 | code) & 0x0fffffffffffffffu;
        emit(r, r->run & 0xffffffu);
        emit(r, r->run & 0xfffffffffu);
        emit(r, r->run & 0xffffffffffffu);
        emit(r, r->run);
}

static bool without_blanks(int32_t c)
{
        return (c >= 0x2e80 && c <= 0x312f) || (c >= 0x31a0 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
               (c >= 0x20000 && c <= 0x3ffff) || (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) ||
               (c >= 0x1780 && c <= 0x17ff);
}

static uint32_t folded(int32_t c)
{
        uint32_t code;

        if (c < 128)
                return ascii[c];
        code = 128 + (((uint32_t)c * 2654435761u) >> 16) % (CODE - 128);
        switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_ND:
                return '0' | WORD;
        case UTF8PROC_CATEGORY_LO:
                return without_blanks(c) ? code | WORD | ALONE : code | WORD;
        case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO:
                return code | WORD;
        case UTF8PROC_CATEGORY_ZS: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: case UTF8PROC_CATEGORY_CC:
                return BLANK;
        default:
                return code;
        }
}

/* Folds p[0..n), valid UTF-8.  A mark that stands just behind the stretch stays a character of its own. */
static void stretch(struct ngrams *f, const char *p, size_t n)
{
        const utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
        utf8proc_int32_t cp[STRETCH_FOLDED + 1];
        struct ngrams_reading r = resume(f);
        utf8proc_ssize_t got = utf8proc_decompose((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, cp, STRETCH_FOLDED, how);

        assert(got >= 0 && got <= STRETCH_FOLDED);
        got = utf8proc_normalize_utf32(cp, got, how);
        for (utf8proc_ssize_t i = 0; i < got; i++) {
                uint32_t c = folded(cp[i]);

                if (c & ALONE && r.word)
                        word_ends(&r);
                character(&r, c);
                if (c & ALONE)
                        word_ends(&r);
        }
        pause_reading(f, &r);
}

/* Reads a stretch from p, which may begin with one ASCII character; returns where it ended. */
static const char *read_stretch(struct ngrams *f, const char *p, const char *end)
{
        const char *at = p;

        if (!(*at & 0x80))
                at++;
        while (at < end && *at & 0x80 && at - p <= STRETCH - 4) {
                utf8proc_int32_t c;
                utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)at, end - at, &c);

                if (n <= 0) {
                        if (at > p)
                                stretch(f, p, (size_t)(at - p));
                        stretch(f, "\xef\xbf\xbd", 3);
                        return at + 1;
                }
                at += n;
        }
        stretch(f, p, (size_t)(at - p));
        return at;
}

static const char *ascii_ends(const char *p, const char *end)
{
        while (end - p >= 8) {
                uint64_t eight;

                memcpy(&eight, p, 8);
                if (eight & 0x8080808080808080u)
                        break;
                p += 8;
        }
        while (p < end && !(*p & 0x80))
                p++;
        return p;
}

/* A cut that does not fall into a character, at most three bytes from where it was asked for. */
static const char *cut_back(const char *p, const char *begin)
{
        for (int i = 0; i < 3 && p > begin && (*p & 0xc0) == 0x80; i++)
                p--;
        return p;
}

static const char *cut_forward(const char *p, const char *end)
{
        for (int i = 0; i < 3 && p < end && (*p & 0xc0) == 0x80; i++)
                p++;
        return p;
}

void ngrams_begin(struct ngrams *f, const char *text, size_t n, unsigned bits, size_t limit)
{
        assert(bits >= NGRAMS_BITS_MIN && bits <= NGRAMS_BITS_MAX);
        assert(limit >= NGRAMS_TEXT_MIN && limit <= NGRAMS_TEXT_MAX);

        if (n == 0)
                text = "";
        f->n = 0;
        f->part = text;
        f->part_end = text + n;
        f->last = f->last_end = NULL;
        if (n > limit) {
                f->part_end = cut_back(text + limit / 2, text);
                f->last_end = text + n;
                f->last = cut_forward(f->last_end - limit / 2, f->last_end);
        }
        f->shift = 64 - bits;
        f->run = ' ';
        f->word = f->word_before = 0;
        memset(f->seen, 0, ((size_t)1 << bits) / 8);
}

/* Reads what surely fits into the batch; false at the end of this part. */
static bool advance(struct ngrams *f)
{
        const char *p = f->part, *end = f->part_end, *stop;
        size_t room = (NGRAMS_BATCH - f->n) / PER_CHARACTER;

        if (p >= end)
                return false;
        stop = ascii_ends(p, (size_t)(end - p) > room ? p + room : end);
        if (stop < end && *stop & 0x80 && stop > p)
                stop--;
        if (stop > p) {
                struct ngrams_reading r = resume(f);

                while (p < stop)
                        character(&r, ascii[(unsigned char)*p++]);
                pause_reading(f, &r);
                f->part = p;
        } else {
                f->part = read_stretch(f, p, end);
        }
        return true;
}

size_t ngrams_next(struct ngrams *f)
{
        static_assert((STRETCH_FOLDED + 2) * PER_CHARACTER < NGRAMS_BATCH / 2, "a stretch fits into half a batch");

        f->n = 0;
        while (f->n <= NGRAMS_BATCH / 2) {
                if (advance(f))
                        continue;
                if (f->part) { /* a part ends as with a blank */
                        struct ngrams_reading r = resume(f);

                        character(&r, BLANK);
                        pause_reading(f, &r);
                        f->part = f->part_end = NULL;
                } else if (f->last) {
                        f->part = f->last;
                        f->part_end = f->last_end;
                        f->last = NULL;
                        f->word_before = 0;
                } else {
                        break;
                }
        }
        return f->n;
}
