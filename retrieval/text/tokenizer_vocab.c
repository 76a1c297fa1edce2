/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens by their bytes: open addressing, the texts in one block.  For searches of every token that begins at some place, a filter
 * of the hashes of all begins tells where no longer token can follow.
 */
#include <jansson.h>

#include "base.h"
#include "tokenizer_parts.h"

#define BITS_A_BEGIN 8

uint64_t hash_bytes(uint64_t h, const char *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                h = hash_grow(h, (unsigned char)p[i]);
        return h;
}

static size_t power_of_two(size_t least)
{
        size_t n = 64;

        while (n < least)
                n *= 2;
        return n;
}

int vocab_create(struct vocab *v, size_t tokens, size_t bytes)
{
        size_t slots = power_of_two(tokens * 2);

        if (bytes > UINT32_MAX)
                return -EFBIG;
        *v = (struct vocab){ .slots = calloc(slots, sizeof *v->slots), .mask = slots - 1, .bytes = malloc(bytes + 1), .room = bytes + 1 };
        if (v->slots && v->bytes)
                return 0;
        vocab_finish(v);
        return -ENOMEM;
}

void vocab_finish(struct vocab *v)
{
        free(v->slots);
        free(v->bytes);
        free(v->prefixes);
        *v = (struct vocab){ 0 };
}

uint32_t vocab_find(const struct vocab *v, uint64_t h, const char *prefix, size_t prefix_n, const char *p, size_t n)
{
        uint32_t hash = hash_end(h);
        size_t i = hash & v->mask;

        for (; v->slots && v->slots[i].n; i = (i + 1) & v->mask) {
                const struct slot *s = &v->slots[i];

                if (s->hash == hash && s->n == prefix_n + n && memcmp(v->bytes + s->begin + prefix_n, p, n) == 0 &&
                    memcmp(v->bytes + s->begin, prefix, prefix_n) == 0)
                        return s->id;
        }
        return TOKENIZER_NONE;
}

uint32_t vocab_get(const struct vocab *v, const char *p, size_t n)
{
        return vocab_find(v, hash_bytes(HASH_BEGIN, p, n), "", 0, p, n);
}

int vocab_add(struct vocab *v, const char *p, size_t n, uint32_t id)
{
        uint32_t hash = hash_end(hash_bytes(HASH_BEGIN, p, n));
        size_t i = hash & v->mask;

        if (vocab_get(v, p, n) != TOKENIZER_NONE)
                return -EEXIST;
        if (v->used + n > v->room) {
                size_t room = MAX(v->room * 2, v->used + n);
                char *grown = room > UINT32_MAX ? NULL : realloc(v->bytes, room);

                if (!grown)
                        return -ENOMEM;
                v->bytes = grown;
                v->room = room;
        }
        while (v->slots[i].n)
                i = (i + 1) & v->mask;
        memcpy(v->bytes + v->used, p, n);
        v->slots[i] = (struct slot){ hash, id, (uint32_t)v->used, (uint32_t)n };
        v->used += n;
        v->n++;
        v->longest = MAX(v->longest, n);
        v->ids = MAX(v->ids, (size_t)id + 1);
        return 0;
}

int vocab_prefixes(struct vocab *v)
{
        size_t bits = power_of_two(v->used * BITS_A_BEGIN);

        v->prefixes = calloc(bits / 64, sizeof *v->prefixes);
        if (!v->prefixes)
                return -ENOMEM;
        v->prefix_mask = bits - 1;
        for (size_t i = 0; i <= v->mask; i++) {
                const struct slot *s = &v->slots[i];
                uint64_t h = HASH_BEGIN;

                for (size_t k = 0; k < s->n; k++) {
                        h = hash_grow(h, (unsigned char)v->bytes[s->begin + k]);
                        v->prefixes[(hash_end(h) & v->prefix_mask) / 64] |= (uint64_t)1 << hash_end(h) % 64;
                }
        }
        return 0;
}

bool vocab_begins(const struct vocab *v, uint64_t h)
{
        return v->prefixes[(hash_end(h) & v->prefix_mask) / 64] >> hash_end(h) % 64 & 1;
}
