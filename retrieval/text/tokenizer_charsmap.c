/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Precompiled": SentencePiece's table of rewritten characters.  Base64 of: the size of a double array, the double array, texts that
 * end with 0.  As in the package, a grapheme of up to five bytes is looked up whole, else character by character, and the shortest
 * entry that it begins with is taken.  The table comes from outside: every step checks where it is.
 */
#include <jansson.h>

#include "base.h"
#include "base64.h"
#include "tokenizer_parts.h"

#define GRAPHEME_MAX 5 /* bytes */

static uint32_t little_endian(const unsigned char *p)
{
        return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int charsmap_parse(const char *base64, size_t n, struct charsmap *ret, char *why, size_t why_size)
{
        unsigned char *blob = malloc(n / 4 * 3 + 4);
        uint32_t units;
        size_t size = 0;

        if (!blob)
                return -ENOMEM;
        if (base64_decode(base64, n, blob, &size) < 0) {
                free(blob);
                return tokenizer_refuse(why, why_size, "Precompiled: the charsmap is not base64");
        }
        units = size >= 4 ? little_endian(blob) : 0;
        if (units < 4 || units % 4 || units > size - 4) {
                free(blob);
                return tokenizer_refuse(why, why_size, "Precompiled: a charsmap of %zu bytes cannot hold a table of %" PRIu32, size, units);
        }
        *ret = (struct charsmap){ blob, blob + 4, units / 4, (const char *)blob + 4 + units, size - 4 - units };
        return 0;
}

void charsmap_finish(struct charsmap *m)
{
        free(m->blob);
        *m = (struct charsmap){ 0 };
}

static bool unit_at(const struct charsmap *m, size_t i, uint32_t *ret)
{
        if (i >= m->n_units)
                return false;
        *ret = little_endian(m->units + 4 * i);
        return true;
}

static size_t offset_of(uint32_t unit)
{
        return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* What p[0..n) becomes: the text of the shortest entry at its begin; NULL: itself. */
static const char *rewritten(const struct charsmap *m, const char *p, size_t n, size_t *ret_n)
{
        uint32_t unit;
        size_t at;

        if (!unit_at(m, 0, &unit))
                return NULL;
        at = offset_of(unit);
        for (size_t i = 0; i < n && p[i]; i++) {
                at ^= (unsigned char)p[i];
                if (!unit_at(m, at, &unit) || (unit & (1u << 31 | 0xff)) != (unsigned char)p[i])
                        return NULL;
                at ^= offset_of(unit);
                if (unit >> 8 & 1) {
                        size_t text;

                        if (!unit_at(m, at, &unit))
                                return NULL;
                        text = unit & ((1u << 31) - 1);
                        if (text >= m->n_texts)
                                return NULL;
                        *ret_n = strnlen(m->texts + text, m->n_texts - text);
                        return m->texts + text;
                }
        }
        return NULL;
}

static bool rewrite(const struct charsmap *m, const char *p, size_t n, struct run *out)
{
        size_t text_n = 0;
        const char *text = rewritten(m, p, n, &text_n), *end;

        if (!text)
                return false;
        end = text + text_n;
        while (text < end) {
                uint32_t c;

                text += unicode_get(text, end, &c);
                run_add(out, c);
        }
        return true;
}

void charsmap_apply(const struct charsmap *m, const uint32_t *in, size_t n, struct run *out)
{
        for (size_t i = 0, end; i < n; i = end) {
                char bytes[GRAPHEME_MAX + 4];
                size_t size = unicode_put(in[i], bytes);
                int32_t state = 0;

                for (end = i + 1; end < n; end++) {
                        if (unicode_breaks(in[end - 1], in[end], &state))
                                break;
                        if (size <= GRAPHEME_MAX)
                                size += unicode_put(in[end], bytes + size);
                }
                if (size <= GRAPHEME_MAX && rewrite(m, bytes, size, out))
                        continue;
                for (size_t k = i; k < end; k++) {
                        size = unicode_put(in[k], bytes);
                        if (!rewrite(m, bytes, size, out))
                                run_add(out, in[k]);
                }
        }
}
