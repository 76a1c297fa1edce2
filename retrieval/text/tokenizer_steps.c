/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Normalizers and pre-tokenizers, each from one buffer of code points into another.  What does not fit is left out: the buffers have
 * twice the room of the longest text.
 */
#include <jansson.h>

#include "base.h"
#include "tokenizer_parts.h"

/* ---- normalizers --------------------------------------------------------------------------------------------------------- */

static void decompose_all(uint32_t *in, size_t n, bool compat, struct run *out)
{
        for (size_t i = 0; i < n; i++) {
                uint32_t got[CHARACTER_FOLDED];
                size_t m = unicode_decompose(in[i], compat, got);

                for (size_t k = 0; k < m; k++)
                        run_add(out, got[k]);
        }
        /* the input is spent: it is as large as the output */
        unicode_order(out->c, out->n, in);
}

static void lower_all(const uint32_t *in, size_t n, struct run *out)
{
        for (size_t i = 0; i < n; i++) {
                uint32_t got[2];
                size_t m = unicode_lower(in[i], got);

                for (size_t k = 0; k < m; k++)
                        run_add(out, got[k]);
        }
}

/* In the order of the package: clean, blanks around Han, accents, case. */
static void normal_bert(const struct normal *s, uint32_t *in, size_t n, struct run *out)
{
        size_t kept = 0;

        if (s->clean) {
                for (size_t i = 0; i < n; i++)
                        if (!unicode_is_removed(in[i]))
                                in[kept++] = unicode_is_space(in[i]) ? ' ' : in[i];
                n = kept;
        }
        for (size_t i = 0; i < n; i++) {
                bool han = s->han && unicode_is_han(in[i]);

                if (han)
                        run_add(out, ' ');
                run_add(out, in[i]);
                if (han)
                        run_add(out, ' ');
        }
        if (s->accents) {
                struct run all = { in, 0, out->room };

                n = out->n;
                for (size_t i = 0; i < n; i++) {
                        uint32_t got[CHARACTER_FOLDED];
                        size_t m = unicode_decompose(out->c[i], false, got);

                        for (size_t k = 0; k < m; k++)
                                if (!unicode_is_nonspacing(got[k]))
                                        run_add(&all, got[k]);
                }
                unicode_order(in, all.n, out->c);
                out->n = 0;
                for (size_t i = 0; i < all.n; i++)
                        run_add(out, in[i]);
        }
        if (s->lower) {
                n = out->n;
                memcpy(in, out->c, n * sizeof *in);
                out->n = 0;
                lower_all(in, n, out);
        }
}

static void normal_strip(const struct normal *s, const uint32_t *in, size_t n, struct run *out)
{
        size_t begin = 0;

        while (s->right && n > 0 && unicode_is_space(in[n - 1]))
                n--;
        while (s->left && begin < n && unicode_is_space(in[begin]))
                begin++;
        while (begin < n)
                run_add(out, in[begin++]);
}

static void add_text(struct run *out, const uint32_t *c, size_t n)
{
        for (size_t i = 0; i < n; i++)
                run_add(out, c[i]);
}

static void normal_replace(const struct normal *s, const uint32_t *in, size_t n, struct run *out)
{
        for (size_t i = 0; i < n;) {
                if (n - i >= s->n_from && memcmp(in + i, s->from, s->n_from * sizeof *in) == 0) {
                        add_text(out, s->to, s->n_to);
                        i += s->n_from;
                } else {
                        run_add(out, in[i++]);
                }
        }
}

/* Two blanks or more become one text. */
static void normal_blanks(const struct normal *s, const uint32_t *in, size_t n, struct run *out)
{
        for (size_t i = 0; i < n;) {
                size_t end = i;

                while (end < n && in[end] == ' ')
                        end++;
                if (end - i >= 2) {
                        add_text(out, s->to, s->n_to);
                        i = end;
                } else {
                        run_add(out, in[i++]);
                }
        }
}

void normal_apply(const struct normal *s, uint32_t *in, size_t n, struct run *out)
{
        out->n = 0;
        switch (s->kind) {
        case NORMAL_BERT: normal_bert(s, in, n, out); break;
        case NORMAL_LOWER: lower_all(in, n, out); break;
        case NORMAL_FORM:
                decompose_all(in, n, s->form == FORM_NFKC || s->form == FORM_NFKD, out);
                if (s->form == FORM_NFC || s->form == FORM_NFKC)
                        out->n = unicode_compose(out->c, out->n);
                break;
        case NORMAL_STRIP_ACCENTS:
                for (size_t i = 0; i < n; i++)
                        if (!unicode_is_mark(in[i]))
                                run_add(out, in[i]);
                break;
        case NORMAL_STRIP: normal_strip(s, in, n, out); break;
        case NORMAL_REPLACE: normal_replace(s, in, n, out); break;
        case NORMAL_BLANKS: normal_blanks(s, in, n, out); break;
        case NORMAL_PREPEND:
                if (n > 0)
                        add_text(out, s->to, s->n_to);
                add_text(out, in, n);
                break;
        case NORMAL_CHARSMAP: charsmap_apply(&s->map, in, n, out); break;
        }
}

/* ---- pre-tokenizers ------------------------------------------------------------------------------------------------------ */

/* Ends a piece of the output, if something has come since the last one. */
static void cut(struct pieces *out)
{
        if (out->text.n > (out->n ? out->end[out->n - 1] : 0))
                out->end[out->n++] = (uint32_t)out->text.n;
}

static void isolate(struct pieces *out, uint32_t c)
{
        cut(out);
        run_add(&out->text, c);
        cut(out);
}

static void split_characters(const struct split *s, const uint32_t *in, size_t n, struct pieces *out)
{
        bool digits = false; /* the last one was */

        for (size_t i = 0; i < n; i++) {
                uint32_t c = in[i];

                if ((s->kind == SPLIT_BERT || s->kind == SPLIT_SPACE) && unicode_is_space(c)) {
                        cut(out);
                } else if ((s->kind == SPLIT_BERT || s->kind == SPLIT_PUNCTUATION) && unicode_is_punctuation(c)) {
                        isolate(out, c);
                } else if (s->kind == SPLIT_DIGITS) {
                        bool is = unicode_is_digit(c);

                        if (is != digits || (is && s->apart))
                                cut(out);
                        digits = is;
                        run_add(&out->text, c);
                } else {
                        run_add(&out->text, c);
                }
        }
        cut(out);
}

static void split_meta(const struct split *s, const uint32_t *in, size_t n, bool first, struct pieces *out)
{
        bool begins = in[0] == s->replacement || in[0] == ' ';

        if (!begins && (s->scheme == SCHEME_ALWAYS || (s->scheme == SCHEME_FIRST && first)))
                run_add(&out->text, s->replacement);
        for (size_t i = 0; i < n; i++) {
                uint32_t c = in[i] == ' ' ? s->replacement : in[i];

                if (c == s->replacement && s->apart)
                        cut(out);
                run_add(&out->text, c);
        }
        cut(out);
}

/* The code point that stands for a byte: itself where it can be seen, else one from 256 on, in order. */
static uint32_t shown(unsigned char b)
{
        if ((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae)
                return b;
        return b <= ' ' ? 256u + b : b < 0xa1 ? 256u + 33 + b - 0x7f : 256u + 33 + 34;
}

static void add_bytes(struct pieces *out, const uint32_t *c, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                char bytes[4];
                size_t m = unicode_put(c[i], bytes);

                for (size_t k = 0; k < m; k++)
                        run_add(&out->text, shown((unsigned char)bytes[k]));
        }
        cut(out);
}

enum kind { LETTER, NUMBER, SPACE, OTHER };

static enum kind kind_of(uint32_t c)
{
        if ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 128)
                return LETTER;
        if (unicode_is_space(c))
                return SPACE;
        return unicode_is_letter(c) ? LETTER : unicode_is_number(c) ? NUMBER : OTHER;
}

/* 's 't 're 've 'm 'll 'd: how long, or 0. */
static size_t contraction(const uint32_t *c, size_t n)
{
        if (n < 2 || c[0] != '\'')
                return 0;
        if (c[1] == 's' || c[1] == 't' || c[1] == 'm' || c[1] == 'd')
                return 2;
        if (n > 2 && ((c[1] == 'r' && c[2] == 'e') || (c[1] == 'v' && c[2] == 'e') || (c[1] == 'l' && c[2] == 'l')))
                return 3;
        return 0;
}

/* GPT-2's pattern: a contraction; letters, numbers or others, with one blank before them; blanks but for the last before a word. */
static size_t next_match(const uint32_t *c, size_t n)
{
        size_t k = contraction(c, n), begin, end;
        enum kind kind;

        if (k)
                return k;
        begin = c[0] == ' ' && n > 1 && kind_of(c[1]) != SPACE;
        kind = kind_of(c[begin]);
        end = begin + 1;
        while (end < n && kind_of(c[end]) == kind)
                end++;
        return kind == SPACE && end < n && end > 1 ? end - 1 : end;
}

static void split_bytes(const struct split *s, const uint32_t *in, size_t n, struct pieces *out)
{
        size_t i = 0;

        if (s->prefix && in[0] != ' ') { /* the blank goes with what it would match */
                if (!s->apart) {
                        run_add(&out->text, shown(' '));
                } else if (kind_of(in[0]) == SPACE) {
                        size_t end = 0;

                        while (end < n && kind_of(in[end]) == SPACE)
                                end++;
                        if (end < n) /* the last blank is not theirs */
                                end--;
                        run_add(&out->text, shown(' '));
                        add_bytes(out, in, end);
                        i = end;
                } else {
                        enum kind kind = kind_of(in[0]);

                        while (i < n && kind_of(in[i]) == kind)
                                i++;
                        run_add(&out->text, shown(' '));
                        add_bytes(out, in, i);
                }
        }
        if (!s->apart) {
                add_bytes(out, in, n);
                return;
        }
        while (i < n) {
                size_t k = next_match(in + i, n - i);

                add_bytes(out, in + i, k);
                i += k;
        }
}

void split_apply(const struct split *s, const struct pieces *in, struct pieces *out)
{
        size_t begin = 0;

        out->text.n = out->n = 0;
        out->first = in->first;
        for (size_t i = 0; i < in->n; begin = in->end[i++]) {
                const uint32_t *c = in->text.c + begin;
                size_t n = in->end[i] - begin;

                if (s->kind == SPLIT_META)
                        split_meta(s, c, n, in->first && i == 0, out);
                else if (s->kind == SPLIT_BYTES)
                        split_bytes(s, c, n, out);
                else
                        split_characters(s, c, n, out);
        }
}
