/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - the characters of UTF-8.
 */
#ifndef PM_UTF8_H
#define PM_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The length of the character at p, which has n > 0 bytes, or 0: not one (overlong, surrogate, above U+10FFFF, cut). */
static inline size_t utf8_length(const unsigned char *p, size_t n)
{
        if (p[0] < 0x80)
                return 1;
        if (p[0] < 0xC2)
                return 0;
        if (p[0] < 0xE0)
                return n >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
        if (p[0] < 0xF0) {
                if (n < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80)
                        return 0;
                if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F))
                        return 0;
                return 3;
        }
        if (p[0] > 0xF4 || n < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80)
                return 0;
        if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
                return 0;
        return 4;
}

static inline bool utf8_valid(const char *text)
{
        size_t left = strlen(text), n;

        for (; left; text += n, left -= n) {
                n = utf8_length((const unsigned char *)text, left);
                if (n == 0)
                        return false;
        }
        return true;
}
#endif
