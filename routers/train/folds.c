/* SPDX-License-Identifier: Apache-2.0 */
#include "base.h"
#include "digest.h"
#include "folds.h"

static bool in_word(unsigned char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
}

int folds_of(const char *salt, const char *text, size_t n, unsigned parts, unsigned *ret)
{
        CLEANUP(free_p) char *plain = malloc(n + 1);
        uint8_t sum[DIGEST_SIZE];
        uint64_t number = 0;
        struct digest d;
        size_t used = 0;
        int r;

        if (!plain)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)text[i];

                if (!in_word(c))
                        continue;
                if (used > 0 && !in_word((unsigned char)text[i - 1]))
                        plain[used++] = ' ';
                plain[used++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        }
        digest_begin(&d);
        digest_add(&d, salt, strlen(salt));
        digest_add(&d, ":", 1);
        digest_add(&d, plain, used);
        r = digest_end(&d, sum);
        if (r < 0)
                return r;
        for (int i = 0; i < 8; i++)
                number = number << 8 | sum[i];
        *ret = (unsigned)(number % parts);
        return 0;
}
