/* SPDX-License-Identifier: Apache-2.0 */
/* base64.h - RFC 4648, with '+' and '/', or for names with '-' and '_'.  Inline, so that libraries of any folder can have it. */
#ifndef PM_BASE64_H
#define PM_BASE64_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* 0..63, or -1: no letter of that alphabet. */
static inline int base64_value(char c, bool url)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == (url ? '-' : '+') ? 62 : c == (url ? '_' : '/') ? 63 : -1;
}

/* With '+' and '/', '=' at the end or none.  Into out, of n / 4 * 3 + 3 bytes.  0, or -EINVAL. */
static inline int base64_decode(const char *text, size_t n, unsigned char *out, size_t *ret_n)
{
        unsigned bits = 0, have = 0;
        size_t size = 0;

        while (n && text[n - 1] == '=')
                n--;
        for (size_t i = 0; i < n; i++) {
                int v = base64_value(text[i], false);

                if (v < 0)
                        return -EINVAL;
                bits = bits << 6 | (unsigned)v;
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        out[size++] = (unsigned char)(bits >> have);
                }
        }
        *ret_n = size;
        return 0;
}

/* n is a multiple of 3: n / 3 * 4 letters, no NUL.  Their end. */
static inline char *base64url_encode(const unsigned char *p, size_t n, char *out)
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

        for (size_t i = 0; i < n; i += 3) {
                unsigned bits = (unsigned)p[i] << 16 | (unsigned)p[i + 1] << 8 | p[i + 2];

                *out++ = letters[bits >> 18];
                *out++ = letters[bits >> 12 & 63];
                *out++ = letters[bits >> 6 & 63];
                *out++ = letters[bits & 63];
        }
        return out;
}
#endif
