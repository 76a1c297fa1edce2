/* SPDX-License-Identifier: Apache-2.0 */
#include "alike.h"

#include "base.h"
#include "js.h"

enum { NAMES_MAX = 64 };

/* The character of that many bytes is taken for these letters, which are no more bytes. */
static const struct {
        char bytes[4], letters[4];
} beyond[] = {
        { "\xC5\xBF", "s" },      { "\xE2\x84\xAA", "k" },  { "\xC3\x9F", "ss" },     { "\xE1\xBA\x9E", "ss" },  { "\xC4\xB0", "i" },      { "\xC4\xB1", "i" },
        { "\xEF\xAC\x80", "ff" }, { "\xEF\xAC\x81", "fi" }, { "\xEF\xAC\x82", "fl" }, { "\xEF\xAC\x83", "ffi" }, { "\xEF\xAC\x84", "ffl" }, { "\xEF\xAC\x85", "st" },
        { "\xEF\xAC\x86", "st" },
};

/* Their place, or LENGTH_OF(beyond). */
static size_t beyond_at(const char *p, size_t n)
{
        size_t i = 0;

        if (n < 2 || !alike_begins((unsigned char)p[0], (unsigned char)p[1]))
                return LENGTH_OF(beyond);
        while (i < LENGTH_OF(beyond) && (strlen(beyond[i].bytes) > n || memcmp(p, beyond[i].bytes, strlen(beyond[i].bytes)) != 0))
                i++;
        return i;
}

size_t alike_fold(struct pm_str raw, char *out)
{
        size_t n = js_unescape((struct pm_str){ raw.p - 1, raw.n + 2 }, out), to = 0;

        for (size_t i = 0; i < n; i++) {
                size_t at;

                if (LIKELY((unsigned char)out[i] < 0x80)) {
                        out[to++] = (char)(out[i] >= 'A' && out[i] <= 'Z' ? out[i] | 0x20 : out[i]);
                        continue;
                }
                at = beyond_at(out + i, n - i);
                if (at == LENGTH_OF(beyond)) {
                        out[to++] = out[i];
                        continue;
                }
                for (const char *l = beyond[at].letters; *l; l++)
                        out[to++] = *l;
                i += strlen(beyond[at].bytes) - 1;
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
