/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BERT in one pass: each character is cleaned, folded and put to its word, and a word that ends is looked up at once.  The same as
 * the steps one after the other (a test compares them), several times faster, and without buffers: a word longer than WordPiece
 * takes is unknown whatever stands in it, so no more than that is kept.
 */
#include <jansson.h>

#include "base.h"
#include "tokenizer_parts.h"

enum ascii_kind { LETTER, SKIPPED, BLANK, PUNCTUATION };

struct word {
        const struct model *model;
        struct out *out;
        size_t n, characters;
        char text[4 * WORD_MAX + 8];
};

void bert_prepare(struct tokenizer *t)
{
        const struct normal *s = &t->normal[0];

        for (uint32_t c = 0; c < 128; c++) {
                uint32_t lower[2];

                (void)unicode_lower(c, lower);
                t->ascii[c] = (unsigned char)(s->lower ? lower[0] : c);
                t->ascii_kind[c] = s->clean && unicode_is_removed(c) ? SKIPPED
                                   : unicode_is_space(c)             ? BLANK
                                   : unicode_is_punctuation(c)       ? PUNCTUATION
                                                                     : LETTER;
        }
}

static void word_ends(struct word *w)
{
        if (w->characters)
                wordpiece_run(w->model, w->text, w->n, w->characters, w->out);
        w->n = w->characters = 0;
}

static void word_grows(struct word *w, uint32_t c)
{
        if (w->characters++ < w->model->word_max)
                w->n += unicode_put(c, w->text + w->n);
}

/* A mark goes before marks of a higher class that came before it. */
static void word_takes_mark(struct word *w, uint32_t c, unsigned class)
{
        size_t at = w->n, size;
        char bytes[4];

        if (w->characters++ >= w->model->word_max)
                return;
        while (at > 0) {
                size_t before = at - 1;
                uint32_t other;

                while (before > 0 && (w->text[before] & 0xc0) == 0x80)
                        before--;
                (void)unicode_get(w->text + before, w->text + at, &other);
                if (unicode_class(other) <= class)
                        break;
                at = before;
        }
        size = unicode_put(c, bytes);
        memmove(w->text + at + size, w->text + at, w->n - at);
        memcpy(w->text + at, bytes, size);
        w->n += size;
}

/* A character that is clean and has no accent. */
static void take(const struct normal *s, struct word *w, uint32_t c, bool ordered)
{
        uint32_t lower[2] = { c, 0 };
        size_t n = s->lower ? unicode_lower(c, lower) : 1;

        for (size_t i = 0; i < n; i++) {
                unsigned class = ordered ? unicode_class(lower[i]) : 0;

                if (unicode_is_space(lower[i])) {
                        word_ends(w);
                } else if (unicode_is_punctuation(lower[i])) {
                        word_ends(w);
                        word_grows(w, lower[i]);
                        word_ends(w);
                } else if (class) {
                        word_takes_mark(w, lower[i], class);
                } else {
                        word_grows(w, lower[i]);
                }
        }
}

static void character(const struct normal *s, struct word *w, uint32_t c)
{
        uint32_t part[CHARACTER_FOLDED] = { c };
        bool han = s->han && unicode_is_han(c);
        size_t n = 1;

        if (s->clean && unicode_is_removed(c))
                return;
        if (unicode_is_space(c)) {
                word_ends(w);
                return;
        }
        if (han)
                word_ends(w);
        if (s->accents)
                n = unicode_decompose(c, false, part);
        for (size_t i = 0; i < n; i++)
                if (!s->accents || !unicode_is_nonspacing(part[i]))
                        take(s, w, part[i], s->accents);
        if (han)
                word_ends(w);
}

void bert_run(const struct tokenizer *t, const char *text, size_t n, struct out *out)
{
        const char *p = text, *end = text + n;
        struct word w;

        w.model = &t->model;
        w.out = out;
        w.n = w.characters = 0;
        while (p < end && !out->enough) {
                unsigned char c = (unsigned char)*p;
                uint32_t point;

                if (c >= 128) {
                        p += unicode_get(p, end, &point);
                        character(&t->normal[0], &w, point);
                        continue;
                }
                p++;
                if (LIKELY(t->ascii_kind[c] == LETTER)) {
                        if (w.characters++ < w.model->word_max)
                                w.text[w.n++] = (char)t->ascii[c];
                } else if (t->ascii_kind[c] == BLANK) {
                        word_ends(&w);
                } else if (t->ascii_kind[c] == PUNCTUATION) {
                        word_ends(&w);
                        word_grows(&w, t->ascii[c]);
                        word_ends(&w);
                }
        }
        if (!out->enough)
                word_ends(&w);
}
