/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include "base.h"

int base64_value(char c, bool url)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == (url ? '-' : '+') ? 62 : c == (url ? '_' : '/') ? 63 : -1;
}

int base64_decode(struct pm_str text, unsigned char *out, size_t *ret_n)
{
        unsigned bits = 0, have = 0;
        size_t n = 0;

        while (text.n && text.p[text.n - 1] == '=')
                text.n--;
        for (size_t i = 0; i < text.n; i++) {
                int v = base64_value(text.p[i], false);

                if (v < 0)
                        return -EINVAL;
                bits = bits << 6 | (unsigned)v;
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        out[n++] = (unsigned char)(bits >> have);
                }
        }
        *ret_n = n;
        return 0;
}

char *base64url_encode(const unsigned char *p, size_t n, char *out)
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
