/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of JSON against Jansson, on texts at random. */
#include <jansson.h>

#include "js_fixture.h"

static uint64_t seed = 0x9E3779B97F4A7C15ull;

static unsigned dice(unsigned sides)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (unsigned)((seed >> 20) % sides);
}

struct event_log {
        char p[4096];
        size_t n;
};

static void put(struct event_log *w, const char *s)
{
        size_t n = strlen(s);

        if (w->n + n <= sizeof w->p) {
                memcpy(w->p + w->n, s, n);
                w->n += n;
        }
}

static void put_random(struct event_log *w, unsigned depth)
{
        static const char *const scalars[] = { "0", "-0", "17", "-3.25", "1e5", "2E-3", "9007199254740993", "true", "false", "null",
                                               "\"\"", "\"text\"", "\"a longer text without anything in it\"" };
        static const char *const pieces[] = { "a", "messages", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d\\ude00", "\xC3\xA9", "\xF0\x9F\x98\x80", "{", "]", ":",
                                              "\xE4\xBD\xA0", "\\/", " ", "\\u0041" };
        static const char *const spaces[] = { "", "", "", " ", "\n  ", "\t", "\r\n" };
        unsigned kind = dice(depth ? 6 : 3), n;

        put(w, spaces[dice(LENGTH_OF(spaces))]);
        if (kind < 2) {
                put(w, scalars[dice(LENGTH_OF(scalars))]);
        } else if (kind == 2) {
                put(w, "\"");
                for (n = dice(9); n; n--)
                        put(w, pieces[dice(LENGTH_OF(pieces))]);
                put(w, "\"");
        } else {
                put(w, kind == 3 ? "[" : "{");
                for (n = dice(5); n; n--) {
                        if (kind != 3) {
                                put(w, "\"");
                                put(w, pieces[dice(LENGTH_OF(pieces))]);
                                put(w, "\"");
                                put(w, spaces[dice(LENGTH_OF(spaces))]);
                                put(w, ":");
                        }
                        put_random(w, depth - 1);
                        if (n > 1)
                                put(w, ",");
                }
                put(w, kind == 3 ? "]" : "}");
        }
        put(w, spaces[dice(LENGTH_OF(spaces))]);
}

static void mutate(struct event_log *w)
{
        static const char likely[] = "{}[]\",:\\u0eE.-+ tfn\n\xC3\xA9\xED\xA0\x80\xF4\x7F\x1F";
        size_t at = w->n ? dice((unsigned)w->n) : 0, n;
        char c = dice(4) ? likely[dice(sizeof likely)] : (char)dice(256);

        if (w->n == 0)
                return;
        switch (dice(5)) {
        case 0: /* change */
                w->p[at] = c;
                break;
        case 1: /* insert */
                if (w->n == sizeof w->p)
                        return;
                memmove(w->p + at + 1, w->p + at, w->n - at);
                w->p[at] = c;
                w->n++;
                break;
        case 2: /* remove */
                memmove(w->p + at, w->p + at + 1, w->n - at - 1);
                w->n--;
                break;
        case 3: /* cut */
                w->n = at;
                break;
        default: /* repeat a piece elsewhere */
                n = dice(8) + 1;
                n = MIN(n, w->n - at);
                memmove(w->p + dice((unsigned)(w->n - n) + 1), w->p + at, n);
        }
}

static bool has_surrogate(const char *p, size_t n)
{
        for (size_t i = 0; i + 3 < n; i++)
                if (p[i] == '\\' && p[i + 1] == 'u' && (p[i + 2] | 0x20) == 'd' && strchr("89abcdefABCDEF", p[i + 3]))
                        return true;
        return false;
}

/* The slices must say what Jansson's tree says. */
static void compare(struct pm_str v, const json_t *t)
{
        CLEANUP(free_p) char *out = malloc(v.n + 1);
        struct pm_str key;
        const char *name;
        json_t *member;
        struct js j;
        int64_t i;
        size_t n = 0;

        switch (js_type(v)) {
        case JS_STRING:
                n = js_unescape(v, out);
                cr_assert(json_is_string(t) && json_string_length(t) == n && memcmp(json_string_value(t), out, n) == 0);
                break;
        case JS_NUMBER:
                cr_assert(json_is_number(t));
                cr_assert_eq(js_int(v, &i), json_is_integer(t), "%.*s", (int)v.n, v.p);
                if (json_is_integer(t))
                        cr_assert_eq(i, json_integer_value(t));
                break;
        case JS_ARRAY:
                cr_assert(json_is_array(t));
                js_start(&j, v, 512);
                for (js_enter(&j); js_more(&j, &key); n++)
                        compare(js_take(&j), json_array_get(t, n));
                cr_assert_eq(n, json_array_size(t));
                break;
        case JS_OBJECT: {
                union { const json_t *from; json_t *to; } object = { t };

                cr_assert(json_is_object(t));
                json_object_foreach(object.to, name, member)
                        compare(js_member(v, name), member);
                break;
        }
        case JS_TRUE:
                cr_assert(json_is_true(t));
                break;
        case JS_FALSE:
                cr_assert(json_is_false(t));
                break;
        case JS_NULL:
                cr_assert(json_is_null(t));
                break;
        case JS_NONE:
                cr_assert_fail("no value where Jansson has one");
        }
}

Test(js_jansson, agrees_with_jansson, .timeout = 120)
{
        size_t both = 0, neither = 0, known = 0;

        for (unsigned round = 0; round < 60000; round++) {
                struct event_log w = { .n = 0 };
                CLEANUP(free_p) char *exact = NULL;
                json_error_t e;
                json_t *tree;
                int ours;

                put_random(&w, 5);
                for (unsigned n = dice(4); n; n--)
                        mutate(&w);
                exact = malloc(w.n ? w.n : 1);
                memcpy(exact, w.p, w.n);
                ours = js_check((struct pm_str){ exact, w.n }, 512, NULL, NULL);
                tree = json_loadb(w.n ? exact : "", w.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
                if (tree && ours == 0) {
                        both++;
                        compare(js_trim((struct pm_str){ exact, w.n }), tree);
                } else if (!tree && ours < 0) {
                        neither++;
                } else {
                        /* Jansson has no numbers above its types, no NUL in names, no lone surrogates; we take them as they are.  And
                         * it passes over a NUL byte after a number; we do not. */
                        enum json_error_code code = tree ? json_error_unknown : json_error_code(&e);

                        known++;
                        if (tree && ours < 0)
                                cr_assert(memchr(exact, 0, w.n), "refused: %.*s", (int)w.n, exact);
                        else
                                cr_assert(ours == 0 && (code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
                                                        (code == json_error_invalid_syntax && has_surrogate(exact, w.n))),
                                          "Jansson says %s of: %.*s", e.text, (int)w.n, exact);
                }
                json_decref(tree);
        }
        cr_assert_gt(both, 10000, "%zu", both);
        cr_assert_gt(neither, 10000, "%zu", neither);
        cr_assert_lt(known, both / 20, "%zu", known);
}

Test(js_jansson, what_it_escapes_jansson_reads_back)
{
        for (unsigned round = 0; round < 5000; round++) {
                unsigned char text[40];
                char quoted[6 * 40 + 2], plain[6 * 40 + 2];
                size_t n = dice(sizeof text), m, k;
                json_t *t;

                for (size_t i = 0; i < n; i++)
                        text[i] = (unsigned char)(dice(3) ? dice(128) : dice(256));
                quoted[0] = '"';
                m = 1 + js_escape((struct pm_str){ (char *)text, n }, quoted + 1);
                quoted[m++] = '"';
                cr_assert_eq(check((struct pm_str){ quoted, m }, 0, NULL, NULL), 0);
                t = json_loadb(quoted, m, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
                k = js_unescape((struct pm_str){ quoted, m }, plain);
                cr_assert(json_is_string(t) && json_string_length(t) == k && memcmp(json_string_value(t), plain, k) == 0);
                if (k == n) /* it was valid UTF-8, or a coincidence of none */
                        cr_assert(memchr(plain, 0xEF, k) || memcmp(plain, text, n) == 0);
                json_decref(t);
        }
}
