/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What turns a piece of text into ids.  WordPiece: the longest token that fits, again and again.  Unigram: the path of tokens with
 * the best sum of scores.  BPE: of the pairs side by side that may merge, the one of the lowest rank merges first.
 *
 * Orders and ties are those of the package `tokenizers`: of two paths with the same score the one found first stays, of two pairs
 * with the same rank the left one goes first, and a queue entry counts as valid if its place still makes the token that it promised.
 */
#include <jansson.h>

#include "base.h"
#include "tokenizer_parts.h"

void out_flush(struct out *o)
{
        if (o->n && !o->enough)
                o->enough = !o->sink(o->ctx, o->id, o->n);
        o->n = 0;
}

/* ---- WordPiece ---------------------------------------------------------------------------------------------------------- */

/* The longest token at p[0..n): its id and length, or TOKENIZER_NONE.  Hashes of all begins are kept by character. */
static uint32_t longest_token(const struct model *m, bool begins, const char *p, size_t n, size_t *ret)
{
        uint64_t hash[WORD_MAX + 1], h = begins ? HASH_BEGIN : m->prefix_hash;
        size_t prefix_n = begins ? 0 : m->n_prefix, most = m->vocab.longest > prefix_n ? m->vocab.longest - prefix_n : 0;
        uint16_t end[WORD_MAX + 1];
        size_t characters = 0;

        for (size_t i = 0; i < n && i < most; i++) {
                h = hash_grow(h, (unsigned char)p[i]);
                if (i + 1 == n || (p[i + 1] & 0xc0) != 0x80) {
                        end[characters] = (uint16_t)(i + 1);
                        hash[characters++] = h;
                }
        }
        while (characters-- > 0) {
                uint32_t id = vocab_find(&m->vocab, hash[characters], m->prefix, prefix_n, p, end[characters]);

                if (id != TOKENIZER_NONE) {
                        *ret = end[characters];
                        return id;
                }
        }
        return TOKENIZER_NONE;
}

void wordpiece_run(const struct model *m, const char *p, size_t n, size_t characters, struct out *out)
{
        uint32_t id[WORD_MAX];
        size_t at = 0, ids = 0;

        while (at < n && characters <= m->word_max) {
                size_t length = 0;

                id[ids] = longest_token(m, at == 0, p + at, n - at, &length);
                if (id[ids++] == TOKENIZER_NONE)
                        break;
                at += length;
        }
        if (at < n) {
                out_add(out, m->unknown);
                return;
        }
        for (size_t i = 0; i < ids; i++)
                out_add(out, id[i]);
}

/* ---- bytes for what has no token ----------------------------------------------------------------------------------------- */

static bool all_bytes(const struct model *m, const char *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (m->byte[(unsigned char)p[i]] == TOKENIZER_NONE)
                        return false;
        return m->byte_fallback;
}

/* ---- Unigram ------------------------------------------------------------------------------------------------------------ */

static void reach(struct node *to, double score, size_t from, uint32_t id)
{
        if (to->from == TOKENIZER_NONE || score > to->score)
                *to = (struct node){ score, (uint32_t)from, id };
}

static void best_path(const struct model *m, const char *p, size_t n, struct node *node)
{
        for (size_t i = 0; i <= n; i++)
                node[i] = (struct node){ 0, TOKENIZER_NONE, 0 };
        for (size_t at = 0; at < n;) {
                uint64_t h = HASH_BEGIN;
                size_t one = 1, most = MIN(n - at, m->vocab.longest);
                bool single = false;

                while (at + one < n && (p[at + one] & 0xc0) == 0x80)
                        one++;
                for (size_t k = 0; k < most; k++) {
                        uint32_t id;

                        h = hash_grow(h, (unsigned char)p[at + k]);
                        if (!vocab_begins(&m->vocab, h))
                                break;
                        if (at + k + 1 < n && (p[at + k + 1] & 0xc0) == 0x80)
                                continue;
                        id = vocab_find(&m->vocab, h, "", 0, p + at, k + 1);
                        if (id == TOKENIZER_NONE)
                                continue;
                        reach(&node[at + k + 1], m->score[id] + node[at].score, at, id);
                        single |= k + 1 == one;
                }
                if (!single)
                        reach(&node[at + one], m->unknown_score + node[at].score, at, m->unknown);
                at += one;
        }
}

void unigram_run(const struct model *m, const char *p, size_t n, const struct room *room, struct out *out)
{
        size_t cuts = 0;

        best_path(m, p, n, room->node);
        for (size_t end = n; end > 0;) { /* unknown ones side by side are one */
                size_t from = room->node[end].from;

                while (from > 0 && room->node[end].id == m->unknown && room->node[from].id == m->unknown)
                        from = room->node[from].from;
                room->symbol[cuts++] = (struct symbol){ .before = (uint32_t)from, .after = (uint32_t)end };
                end = from;
        }
        while (cuts-- > 0) {
                const char *text = p + room->symbol[cuts].before;
                size_t length = room->symbol[cuts].after - room->symbol[cuts].before;
                uint32_t id = vocab_get(&m->vocab, text, length);

                if (id == TOKENIZER_NONE && all_bytes(m, text, length))
                        for (size_t i = 0; i < length; i++)
                                out_add(out, m->byte[(unsigned char)text[i]]);
                else
                        out_add(out, id == TOKENIZER_NONE ? m->unknown : id);
        }
}

/* ---- BPE ---------------------------------------------------------------------------------------------------------------- */

static const struct merge *find_merge(const struct model *m, uint32_t left, uint32_t right)
{
        size_t i = (size_t)((left * 0x9e3779b97f4a7c15u ^ right * 0xc2b2ae3d27d4eb4fu) >> 32) & m->merge_mask;

        for (; m->merges[i].left != TOKENIZER_NONE; i = (i + 1) & m->merge_mask)
                if (m->merges[i].left == left && m->merges[i].right == right)
                        return &m->merges[i];
        return NULL;
}

static bool sooner(const struct pending *a, const struct pending *b)
{
        return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void queue_push(struct pending *q, size_t *n, struct pending x)
{
        size_t i = (*n)++;

        while (i > 0 && sooner(&x, &q[(i - 1) / 2])) {
                q[i] = q[(i - 1) / 2];
                i = (i - 1) / 2;
        }
        q[i] = x;
}

static struct pending queue_pop(struct pending *q, size_t *n)
{
        struct pending top = q[0], x = q[--*n];
        size_t i = 0;

        for (;;) {
                size_t child = 2 * i + 1;

                if (child >= *n)
                        break;
                child += child + 1 < *n && sooner(&q[child + 1], &q[child]);
                if (!sooner(&q[child], &x))
                        break;
                q[i] = q[child];
                i = child;
        }
        q[i] = x;
        return top;
}

static void queue_pair(const struct model *m, const struct room *room, uint32_t left, uint32_t right, size_t *queued)
{
        const struct merge *merge = find_merge(m, room->symbol[left].id, room->symbol[right].id);

        if (merge)
                queue_push(room->queue, queued, (struct pending){ merge->rank, left, merge->made });
}

/* Every merge adds two entries at most and takes a symbol: the queue has room for three times the symbols. */
static void merge_all(const struct model *m, const struct room *room, size_t n)
{
        struct symbol *s = room->symbol;
        size_t queued = 0;

        for (size_t i = 0; i + 1 < n; i++)
                queue_pair(m, room, (uint32_t)i, (uint32_t)i + 1, &queued);
        while (queued > 0) {
                struct pending top = queue_pop(room->queue, &queued);
                const struct merge *merge;
                uint32_t right;

                if (s[top.at].n == 0 || s[top.at].after == TOKENIZER_NONE)
                        continue;
                right = s[top.at].after;
                merge = find_merge(m, s[top.at].id, s[right].id);
                if (!merge || merge->made != top.made)
                        continue;
                s[top.at].id = top.made;
                s[top.at].n += s[right].n;
                s[top.at].after = s[right].after;
                s[right].n = 0;
                if (s[top.at].after != TOKENIZER_NONE) {
                        s[s[top.at].after].before = top.at;
                        queue_pair(m, room, top.at, s[top.at].after, &queued);
                }
                if (s[top.at].before != TOKENIZER_NONE)
                        queue_pair(m, room, s[top.at].before, top.at, &queued);
        }
}

static void add_symbol(struct symbol *s, size_t *n, uint32_t id)
{
        s[*n] = (struct symbol){ id, 1, *n ? (uint32_t)*n - 1 : TOKENIZER_NONE, TOKENIZER_NONE };
        if (*n)
                s[*n - 1].after = (uint32_t)*n;
        ++*n;
}

/* The id of one character with what the model writes around it. */
static uint32_t character_id(const struct model *m, const char *p, size_t length, bool begins, bool ends)
{
        uint64_t h = begins ? HASH_BEGIN : m->prefix_hash;
        char with[4 + 64];

        if (!ends || m->n_suffix == 0)
                return vocab_find(&m->vocab, hash_bytes(h, p, length), m->prefix, begins ? 0 : m->n_prefix, p, length);
        memcpy(with, p, length);
        memcpy(with + length, m->suffix, m->n_suffix);
        length += m->n_suffix;
        return vocab_find(&m->vocab, hash_bytes(h, with, length), m->prefix, begins ? 0 : m->n_prefix, with, length);
}

static size_t first_symbols(const struct model *m, const char *p, size_t n, struct symbol *s)
{
        size_t symbols = 0, length;
        bool unknown = false; /* one waits, for the next may be fused with it */

        for (size_t at = 0; at < n; at += length) {
                uint32_t id;

                length = 1;
                while (at + length < n && (p[at + length] & 0xc0) == 0x80 && length < 4)
                        length++;
                id = character_id(m, p + at, length, at == 0, at + length == n);
                if (id != TOKENIZER_NONE) {
                        if (unknown)
                                add_symbol(s, &symbols, m->unknown);
                        unknown = false;
                        add_symbol(s, &symbols, id);
                } else if (m->n_prefix == 0 && m->n_suffix == 0 && all_bytes(m, p + at, length)) {
                        for (size_t i = 0; i < length; i++)
                                add_symbol(s, &symbols, m->byte[(unsigned char)p[at + i]]);
                } else if (m->unknown != TOKENIZER_NONE) {
                        if (unknown && !m->fuse)
                                add_symbol(s, &symbols, m->unknown);
                        unknown = true;
                }
        }
        if (unknown)
                add_symbol(s, &symbols, m->unknown);
        return symbols;
}

void bpe_run(const struct model *m, const char *p, size_t n, const struct room *room, struct out *out)
{
        uint32_t whole = m->whole ? vocab_get(&m->vocab, p, n) : TOKENIZER_NONE;
        size_t symbols;

        if (whole != TOKENIZER_NONE) {
                out_add(out, whole);
                return;
        }
        symbols = first_symbols(m, p, n, room->symbol);
        merge_all(m, room, symbols);
        for (size_t i = 0; i < symbols; i++)
                if (room->symbol[i].n)
                        out_add(out, room->symbol[i].id);
}
