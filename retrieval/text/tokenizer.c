/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text goes through the stages of the package `tokenizers`: added tokens are cut out of it, what is between them is normalized,
 * added tokens of normalized text are cut out, the rest is split into pieces, and the model makes ids of each.  BERT's kind, which
 * nearly every small model is, goes through tokenizer_bert.c instead.
 */
#include <jansson.h>

#include "base.h"
#include "tokenizer_parts.h"

size_t tokenizer_size(const struct tokenizer *t)
{
        return t->ids;
}

uint32_t tokenizer_unknown(const struct tokenizer *t)
{
        return t->model.unknown;
}

size_t tokenizer_median_length(const struct tokenizer *t)
{
        return t->median;
}

bool tokenizer_is_streaming(const struct tokenizer *t)
{
        return t->streaming;
}

/* ---- scratch ------------------------------------------------------------------------------------------------------------- */

static int create_pieces(struct pieces *p, size_t room)
{
        *p = (struct pieces){ .text = { malloc(room * sizeof *p->text.c), 0, room }, .end = malloc(room * sizeof *p->end) };
        return p->text.c && p->end ? 0 : -ENOMEM;
}

static int create_rooms(const struct tokenizer *t, struct tokenizer_scratch *s)
{
        size_t room = 2 * s->text_max + 64;
        int r = create_pieces(&s->a, room);

        if (r == 0)
                r = create_pieces(&s->b, room);
        s->bytes_room = 3 * s->text_max + 256;
        s->bytes = malloc(s->bytes_room);
        s->room.node = malloc((s->bytes_room + 1) * sizeof *s->room.node);
        s->room.symbol = malloc((s->bytes_room + 1) * sizeof *s->room.symbol);
        if (t->model.kind == MODEL_BPE)
                s->room.queue = malloc(3 * s->bytes_room * sizeof *s->room.queue);
        s->normalized = malloc(s->bytes_room);
        if (!s->bytes || !s->normalized || !s->room.node || !s->room.symbol || (t->model.kind == MODEL_BPE && !s->room.queue))
                r = -ENOMEM;
        return r;
}

int tokenizer_scratch_create(const struct tokenizer *t, size_t text_max, struct tokenizer_scratch **ret)
{
        struct tokenizer_scratch *s = calloc(1, sizeof *s);

        assert(text_max >= 1 && text_max <= TOKENIZER_TEXT_MAX);
        if (!s)
                return -ENOMEM;
        s->text_max = text_max;
        if (!t->streaming && create_rooms(t, s) < 0) {
                tokenizer_scratch_destroy(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

void tokenizer_scratch_destroy(struct tokenizer_scratch *s)
{
        if (!s)
                return;
        free(s->a.text.c);
        free(s->a.end);
        free(s->b.text.c);
        free(s->b.end);
        free(s->bytes);
        free(s->normalized);
        free(s->room.node);
        free(s->room.symbol);
        free(s->room.queue);
        free(s);
}

/* ---- running ------------------------------------------------------------------------------------------------------------- */

/* Reads UTF-8 into s->a.text. */
static void from_bytes(struct tokenizer_scratch *s, const char *p, const char *end)
{
        s->a.text.n = 0;
        while (p < end) {
                uint32_t c;

                p += unicode_get(p, end, &c);
                run_add(&s->a.text, c);
        }
}

void steps_normalize(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t n)
{
        from_bytes(s, text, text + n);
        for (size_t i = 0; i < t->n_normal; i++) {
                struct run spent = s->a.text;

                normal_apply(&t->normal[i], spent.c, spent.n, &s->b.text);
                s->a.text = s->b.text;
                s->b.text = spent;
        }
}

/* As many code points of c as fit, as UTF-8 into s->bytes. */
static size_t to_bytes(struct tokenizer_scratch *s, const uint32_t *c, size_t n, size_t *characters)
{
        size_t bytes = 0, i = 0;

        while (i < n && bytes + 4 <= s->bytes_room)
                bytes += unicode_put(c[i++], s->bytes + bytes);
        *characters = i;
        return bytes;
}

static void run_model(const struct tokenizer *t, struct tokenizer_scratch *s, const uint32_t *c, size_t n)
{
        const struct model *m = &t->model;
        size_t characters, bytes = to_bytes(s, c, n, &characters);
        uint32_t id;

        switch (m->kind) {
        case MODEL_WORDPIECE: wordpiece_run(m, s->bytes, bytes, characters, s->out); break;
        case MODEL_UNIGRAM: unigram_run(m, s->bytes, bytes, &s->room, s->out); break;
        case MODEL_BPE: bpe_run(m, s->bytes, bytes, &s->room, s->out); break;
        case MODEL_WORDLEVEL:
                id = vocab_get(&m->vocab, s->bytes, bytes);
                out_add(s->out, id == TOKENIZER_NONE ? m->unknown : id);
                break;
        }
}

/* What lies in s->a.text is normalized: split it, and let the model have the pieces. */
static void run_pieces(const struct tokenizer *t, struct tokenizer_scratch *s, bool first)
{
        if (s->a.text.n == 0)
                return;
        s->a.end[0] = (uint32_t)s->a.text.n;
        s->a.n = 1;
        s->a.first = first;
        for (size_t i = 0; i < t->n_split; i++) {
                struct pieces spent = s->a;

                split_apply(&t->split[i], &spent, &s->b);
                s->a = s->b;
                s->b = spent;
        }
        for (size_t i = 0, begin = 0; i < s->a.n && !s->out->enough; begin = s->a.end[i++])
                run_model(t, s, s->a.text.c + begin, s->a.end[i] - begin);
}

/* The longest added token at p: its index, or TOKENIZER_NONE. */
static uint32_t added_at(const struct finder *f, const char *p, const char *end, size_t *ret_n)
{
        uint32_t found = TOKENIZER_NONE;
        uint64_t h = HASH_BEGIN;

        for (size_t i = 0; p + i < end && i < f->vocab.longest; i++) {
                uint32_t id;

                h = hash_grow(h, (unsigned char)p[i]);
                if (!vocab_begins(&f->vocab, h))
                        break;
                id = vocab_find(&f->vocab, h, "", 0, p, i + 1);
                if (id != TOKENIZER_NONE) {
                        found = id;
                        *ret_n = i + 1;
                }
        }
        return found;
}

/* The next added token in from..end: where it begins and ends, blanks that it takes along included.  NULL: none. */
static const struct added *next_added(const struct tokenizer *t, const struct finder *f, const char *from, const char *end,
                                      const char **ret_begin, const char **ret_end)
{
        for (const char *p = from; p < end; p++) {
                uint32_t index;
                size_t n = 0;

                if (f->only >= 0) {
                        p = memchr(p, f->only, (size_t)(end - p));
                        if (!p)
                                return NULL;
                }
                if (!f->first[(unsigned char)*p])
                        continue;
                index = added_at(f, p, end, &n);
                if (index == TOKENIZER_NONE)
                        continue;
                *ret_begin = p;
                *ret_end = p + n;
                while (t->added[index].left && *ret_begin > from) {
                        const char *before = *ret_begin - 1;
                        uint32_t c;

                        while (before > from && (*before & 0xc0) == 0x80)
                                before--;
                        (void)unicode_get(before, *ret_begin, &c);
                        if (!unicode_is_space(c))
                                break;
                        *ret_begin = before;
                }
                while (t->added[index].right && *ret_end < end) {
                        uint32_t c;
                        size_t k = unicode_get(*ret_end, end, &c);

                        if (!unicode_is_space(c))
                                break;
                        *ret_end += k;
                }
                return &t->added[index];
        }
        return NULL;
}

/* Between added tokens of the raw text: text of its own, normalized by itself. */
static void run_between(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, const char *end, bool first)
{
        const char *p, *begins, *ends;
        const struct added *a;
        size_t characters, n;

        if (text == end || s->out->enough)
                return;
        if (t->streaming) {
                bert_run(t, text, (size_t)(end - text), s->out);
                return;
        }
        steps_normalize(t, s, text, (size_t)(end - text));
        if (t->normalized.vocab.n == 0) {
                run_pieces(t, s, first);
                return;
        }
        n = to_bytes(s, s->a.text.c, s->a.text.n, &characters);
        memcpy(s->normalized, s->bytes, n);
        p = s->normalized;
        end = p + n;
        while (!s->out->enough && (a = next_added(t, &t->normalized, p, end, &begins, &ends)) != NULL) {
                from_bytes(s, p, begins);
                run_pieces(t, s, first && p == s->normalized);
                out_add(s->out, a->id);
                p = ends;
        }
        from_bytes(s, p, end);
        run_pieces(t, s, first && p == s->normalized);
}

void tokenizer_run(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t n, tokenizer_sink *sink, void *ctx)
{
        struct out out = { .sink = sink, .ctx = ctx };
        struct tokenizer_scratch none = { .text_max = SIZE_MAX };
        const char *p = text, *end, *begins, *ends;
        const struct added *a;

        assert(s || t->streaming);
        s = s ? s : &none;
        s->out = &out;
        if (n > s->text_max) { /* not within a character */
                n = s->text_max;
                for (int i = 0; i < 3 && n > 0 && (text[n] & 0xc0) == 0x80; i++)
                        n--;
        }
        end = text + n;
        while (!s->out->enough && p < end && (a = next_added(t, &t->raw, p, end, &begins, &ends)) != NULL) {
                run_between(t, s, p, begins, p == text);
                out_add(s->out, a->id);
                p = ends;
        }
        if (p < end)
                run_between(t, s, p, end, p == text);
        out_flush(s->out);
}
