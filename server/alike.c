/* SPDX-License-Identifier: Apache-2.0 */
/* The only characters beyond ASCII whose simple folding is an ASCII letter are the long s and the Kelvin sign. */
#include "alike.h"

#include "base.h"
#include "js.h"

enum { NAME_MAX_BYTES = 64, ESCAPE = 6, NAMES_MAX = 64 };

size_t alike_fold(struct pm_str raw, char *out)
{
        size_t n = js_unescape((struct pm_str){ raw.p - 1, raw.n + 2 }, out), to = 0;

        for (size_t i = 0; i < n; i++) {
                if (out[i] >= 'A' && out[i] <= 'Z') {
                        out[to++] = (char)(out[i] | 0x20);
                } else if (n - i >= 2 && memcmp(out + i, "\xC5\xBF", 2) == 0) {
                        out[to++] = 's';
                        i++;
                } else if (n - i >= 3 && memcmp(out + i, "\xE2\x84\xAA", 3) == 0) {
                        out[to++] = 'k';
                        i += 2;
                } else {
                        out[to++] = out[i];
                }
        }
        return to;
}

bool alike(struct pm_str raw, const char *name)
{
        char folded[ESCAPE * NAME_MAX_BYTES + 2];
        size_t n = strlen(name), got;

        assert(n <= NAME_MAX_BYTES);
        if (raw.n < n || raw.n > ESCAPE * NAME_MAX_BYTES)
                return false;
        got = alike_fold(raw, folded);
        return strnlen(folded, got) == n && memcmp(folded, name, n) == 0; /* a NUL ends a name for those that keep it as a C string */
}

bool alike_find(struct pm_str object, const char *const *names, size_t n, const char **ret, struct pm_str *ret_raw)
{
        uint64_t seen = 0;
        struct pm_str key;
        struct js j;

        assert(n <= NAMES_MAX);
        js_start(&j, object, 512);
        for (js_enter(&j); js_more(&j, &key); (void)js_take(&j))
                for (size_t i = 0; i < n; i++) {
                        bool same = js_equal(key, names[i]);

                        if (!same && !(alike_odd(key) && alike(key, names[i])))
                                continue;
                        if (same && !(seen >> i & 1)) {
                                seen |= UINT64_C(1) << i;
                                break;
                        }
                        *ret = names[i];
                        *ret_raw = key;
                        return true;
                }
        return false;
}
