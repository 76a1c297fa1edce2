/* SPDX-License-Identifier: Apache-2.0 */
/* The only characters beyond ASCII whose simple folding is an ASCII letter are the long s and the Kelvin sign. */
#include "alike.h"

#include "base.h"
#include "js.h"

enum { NAMES_MAX = 64 };

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

struct pm_str alike_name(struct pm_str raw, char *out)
{
        if (raw.n > ALIKE_ESCAPE * ALIKE_NAME_MAX)
                return (struct pm_str){ 0 };
        return (struct pm_str){ out, strnlen(out, alike_fold(raw, out)) }; /* a NUL ends a name for those that keep it as a C string */
}

bool alike(struct pm_str raw, const char *name)
{
        char folded[ALIKE_ROOM];

        assert(strlen(name) <= ALIKE_NAME_MAX);
        return alike_is(alike_name(raw, folded), name);
}

bool alike_find(struct pm_str object, const char *const *names, size_t n, const char **ret, struct pm_str *ret_raw)
{
        uint64_t seen = 0;
        struct pm_str key;
        struct js j;

        assert(n <= NAMES_MAX);
        js_start(&j, object, 512);
        for (js_enter(&j); js_more(&j, &key); (void)js_take(&j)) {
                char folded[ALIKE_ROOM];
                struct pm_str name = alike_odd(key) ? alike_name(key, folded) : key; /* once for all of them */

                for (size_t i = 0; i < n; i++) {
                        if (!alike_is(name, names[i]))
                                continue;
                        if (!(seen >> i & 1) && js_equal(key, names[i])) {
                                seen |= UINT64_C(1) << i;
                                break;
                        }
                        *ret = names[i];
                        *ret_raw = key;
                        return true;
                }
        }
        return false;
}
