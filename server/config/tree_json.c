/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML has JSON in it, but for one thing: characters above U+FFFF as two escapes.
 */
#include <jansson.h>

#include "base.h"
#include "tree_json.h"

static int hex4(const char *p)
{
        char digits[5] = { p[0], p[1], p[2], p[3], '\0' };

        return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int)strtol(digits, NULL, 16) : -1;
}

/*
 * JSON writes characters above U+FFFF as two \u escapes, which YAML does not know: in a file that is JSON they become one \U.
 * Returns the bytes written to out, which has room for n.
 */
static size_t join_surrogates(const char *text, size_t n, char *out)
{
        size_t used = 0;

        for (size_t i = 0; i < n;) {
                int high = -1, low = -1;

                if (text[i] == '\\' && n - i >= 12 && text[i + 1] == 'u' && text[i + 6] == '\\' && text[i + 7] == 'u') {
                        high = hex4(text + i + 2);
                        low = hex4(text + i + 8);
                }
                if (high >= 0xd800 && high < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
                        (void)snprintf(out + used, 11, "\\U%08X", 0x10000u + ((unsigned)(high - 0xd800) << 10) + (unsigned)(low - 0xdc00));
                        used += 10;
                        i += 12;
                } else {
                        size_t take = text[i] == '\\' && i + 1 < n ? 2 : 1;

                        memcpy(out + used, text + i, take);
                        used += take;
                        i += take;
                }
        }
        return used;
}

char *tree_json(const char *text, size_t n, size_t *ret_n)
{
        size_t blank = 0;
        json_t *json;
        char *copy;

        while (blank < n && strchr(" \t\r\n", text[blank]) && text[blank])
                blank++;
        if (blank == n || text[blank] != '{' || (!memmem(text, n, "\\ud", 3) && !memmem(text, n, "\\uD", 3)))
                return NULL;
        json = json_loadb(text, n, 0, NULL);
        if (!json)
                return NULL; /* Jansson leaves ENOMEM where it had no memory */
        json_decref(json);
        copy = malloc(n + 1);
        if (copy)
                *ret_n = join_surrogates(text, n, copy);
        return copy;
}
