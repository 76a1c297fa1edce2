/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Characters as the package `tokenizers` sees them.  Its tables of categories are those of an old Unicode, which trained models
 * depend on; some others are newer than utf8proc's.  tokenizer_tables.inc has what differs, asked of the package itself.
 */
#include <jansson.h>
#include <utf8proc.h>

#include "base.h"
#include "tokenizer_parts.h"

struct range {
        uint32_t first, last;
};

#include "tokenizer_tables.inc"

static bool within(const struct range *list, size_t n, uint32_t c)
{
        size_t low = 0;

        while (n > 0) {
                size_t half = n / 2;

                if (c > list[low + half].last) {
                        low += half + 1;
                        n -= half + 1;
                } else if (c >= list[low + half].first) {
                        return true;
                } else {
                        n = half;
                }
        }
        return false;
}

#define WITHIN(list, c) within((list), LENGTH_OF(list), (c))

bool unicode_is_space(uint32_t c)
{
        return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
               c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_is_han(uint32_t c)
{
        static const struct range han[] = {
                { 0x3400, 0x4dbf }, { 0x4e00, 0x9fff }, { 0xf900, 0xfaff }, { 0x20000, 0x2a6df }, { 0x2a700, 0x2b81f },
                { 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f }, /* the last but one as there: 2b820 is left out */
        };

        return WITHIN(han, c);
}

bool unicode_is_punctuation(uint32_t c)
{
        return WITHIN(punctuation, c);
}

bool unicode_is_removed(uint32_t c)
{
        return WITHIN(removed, c);
}

bool unicode_is_nonspacing(uint32_t c)
{
        return WITHIN(nonspacing, c);
}

bool unicode_is_mark(uint32_t c)
{
        return WITHIN(marks, c);
}

bool unicode_is_letter(uint32_t c)
{
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

        return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || WITHIN(late_letters, c);
}

bool unicode_is_number(uint32_t c)
{
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

        return (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) || WITHIN(late_numbers, c);
}

/* Graphemes end behind these whatever follows. */
static bool unicode_is_control(uint32_t c)
{
        static const struct range ignored[] = { { 0x2065, 0x2065 }, { 0xfff0, 0xfff8 }, { 0xe0000, 0xe0000 }, { 0xe0002, 0xe001f },
                                                { 0xe0080, 0xe00ff }, { 0xe01f0, 0xe0fff } }; /* not assigned, but ignorable */
        utf8proc_boundclass_t k = (utf8proc_boundclass_t)utf8proc_get_property((utf8proc_int32_t)c)->boundclass;

        return WITHIN(ignored, c) || k == UTF8PROC_BOUNDCLASS_CONTROL || k == UTF8PROC_BOUNDCLASS_CR || k == UTF8PROC_BOUNDCLASS_LF;
}

bool unicode_is_digit(uint32_t c)
{
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

        return (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) || WITHIN(late_digits, c);
}

bool unicode_breaks(uint32_t a, uint32_t b, int32_t *state)
{
        bool breaks = utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, state);

        if (breaks)
                return !WITHIN(late_extending, b) || unicode_is_control(a);
        return unicode_is_control(a) && !(a == '\r' && b == '\n');
}

unsigned unicode_class(uint32_t c)
{
        unsigned k = c < 0x300 ? 0 : (unsigned)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;

        return k && WITHIN(unordered, c) ? 0 : k;
}

size_t unicode_lower(uint32_t c, uint32_t out[2])
{
        if (c == 0x130) { /* the one character that becomes two */
                out[0] = 'i';
                out[1] = 0x307;
                return 2;
        }
        out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        if (out[0] == c && c >= late_lower[0].first)
                for (size_t i = 0; i < LENGTH_OF(late_lower); i++)
                        if (c >= late_lower[i].first && c <= late_lower[i].last)
                                out[0] = late_lower[i].to + (c - late_lower[i].first);
        return 1;
}

size_t unicode_decompose(uint32_t c, bool compat, uint32_t out[CHARACTER_FOLDED])
{
        utf8proc_int32_t got[CHARACTER_FOLDED];
        int boundary = 0;
        utf8proc_ssize_t n;

        out[0] = c;
        if (c < 0xa0 || (compat ? WITHIN(whole_compat, c) : WITHIN(whole, c)))
                return 1;
        n = utf8proc_decompose_char((utf8proc_int32_t)c, got, CHARACTER_FOLDED,
                                    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0), &boundary);
        if (n <= 0 || n > CHARACTER_FOLDED)
                return 1;
        for (utf8proc_ssize_t i = 0; i < n; i++)
                out[i] = (uint32_t)got[i];
        return (size_t)n;
}

/* Counting sort of one run of marks: there may be as many as the text is long. */
static void order_run(uint32_t *c, size_t n, uint32_t *spare)
{
        size_t begin[257] = { 0 };

        if (n == 2 && unicode_class(c[0]) <= unicode_class(c[1]))
                return;
        for (size_t i = 0; i < n; i++)
                begin[unicode_class(c[i]) + 1]++;
        for (size_t k = 1; k < LENGTH_OF(begin); k++)
                begin[k] += begin[k - 1];
        for (size_t i = 0; i < n; i++)
                spare[begin[unicode_class(c[i])]++] = c[i];
        memcpy(c, spare, n * sizeof *c);
}

void unicode_order(uint32_t *c, size_t n, uint32_t *spare)
{
        for (size_t i = 0; i < n; i++) {
                size_t end = i;

                while (end < n && unicode_class(c[end]) != 0)
                        end++;
                if (end > i + 1)
                        order_run(c + i, end - i, spare);
                i = MAX(i, end);
        }
}

size_t unicode_compose(uint32_t *c, size_t n)
{
        static_assert(sizeof(utf8proc_int32_t) == sizeof *c, "code points of utf8proc are ours");
        utf8proc_ssize_t got = utf8proc_normalize_utf32((utf8proc_int32_t *)c, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);

        return got < 0 ? n : (size_t)got;
}

size_t unicode_get(const char *p, const char *end, uint32_t *ret)
{
        utf8proc_int32_t c;
        utf8proc_ssize_t n;

        if (!(*p & 0x80)) {
                *ret = (unsigned char)*p;
                return 1;
        }
        n = utf8proc_iterate((const utf8proc_uint8_t *)p, end - p, &c);
        *ret = n > 0 ? (uint32_t)c : 0xfffd;
        return n > 0 ? (size_t)n : 1;
}

size_t unicode_put(uint32_t c, char out[4])
{
        utf8proc_uint8_t got[4];
        utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, got);

        memcpy(out, got, (size_t)n);
        return (size_t)n;
}
