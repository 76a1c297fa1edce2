/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of JSON against RFC 8259 and against tables. */
#include "js_fixture.h"

Test(js, takes_what_the_grammar_has)
{
        static const char *const valid[] = {
                "0", "-0", "1", "-1", "10", "0.0", "-0.5", "1.25", "1e1", "1E1", "1e+1", "1e-1", "0e0", "0E+00", "-0.0e-0", "1e999999",
                "123456789012345678901234567890", "1.000000000000000000000000000000000000001",
                "true", "false", "null", " true", "true ", "\t\r\n null \t\r\n",
                "\"\"", "\"a\"", "\"\\\"\"", "\"\\\\\"", "\"\\/\"", "\"/\"", "\"\\b\\f\\n\\r\\t\"", "\"\\u0000\"", "\"\\u001F\\u001f\"",
                "\"\x7F\"", "\"\\uD834\\uDD1E\"", "\"\\ud834\"", "\"\\uDD1E\"", "\"\\uD834\\uD834\"", "\"\\ud834x\"", "\"\\ud834\\n\"",
                "\"\xC2\x80\"", "\"\xDF\xBF\"", "\"\xE0\xA0\x80\"", "\"\xED\x9F\xBF\"", "\"\xEE\x80\x80\"", "\"\xEF\xBF\xBF\"",
                "\"\xF0\x90\x80\x80\"", "\"\xF4\x8F\xBF\xBF\"", "\"\xE2\x80\xA8\"",
                "[]", "[ ]", "[\n]", "{}", "{ }", "[1]", "[1,2]", "[ 1 , 2 ]", "[[]]", "[[],[]]", "[{}]", "[[[]],{}]", "[null,true,false]",
                "{\"a\":1}", "{ \"a\" : 1 }", "{\"a\":{}}", "{\"a\":[]}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"a\":2}", "{\"\":0}",
                "{\"a\":[{\"b\":[{\"c\":null}]}],\"d\":[]}", "[1,[2,[3,[4]]],5]", "{\"a\":\"}\"}", "[\"]\",\"[\",\"{\"]", "{\"\\\"\":\"\\\\\"}",
        };

        for (size_t i = 0; i < LENGTH_OF(valid); i++)
                cr_assert_eq(check(str(valid[i]), 16, NULL, NULL), 0, "refused: %s", valid[i]);
}

Test(js, refuses_the_rest_and_says_where_and_why)
{
        static const struct {
                struct pm_str text;
                size_t at;
                const char *why;
        } rows[] = {
                { BYTES(""), 0, "the text ends where a value is expected" },
                { BYTES(" \n"), 2, "the text ends where a value is expected" },
                { BYTES("\0"), 0, "expected a value" },
                { BYTES("\xEF\xBB\xBF{}"), 0, "expected a value" },
                { BYTES("x"), 0, "expected a value" },
                { BYTES("'a'"), 0, "expected a value" },
                { BYTES("+1"), 0, "expected a value" },
                { BYTES(".5"), 0, "expected a value" },
                { BYTES("-"), 1, "expected a value" },
                { BYTES("-a"), 1, "expected a value" },
                { BYTES("--1"), 1, "expected a value" },
                { BYTES("01"), 1, "something follows the end of the value" },
                { BYTES("-01"), 2, "something follows the end of the value" },
                { BYTES("1."), 2, "expected a digit after '.'" },
                { BYTES("1.e1"), 2, "expected a digit after '.'" },
                { BYTES("1e"), 2, "expected a digit in the exponent" },
                { BYTES("1e+"), 3, "expected a digit in the exponent" },
                { BYTES("1e1.5"), 3, "something follows the end of the value" },
                { BYTES("0x10"), 1, "something follows the end of the value" },
                { BYTES("1_000"), 1, "something follows the end of the value" },
                { BYTES("NaN"), 0, "expected a value" },
                { BYTES("Infinity"), 0, "expected a value" },
                { BYTES("-Infinity"), 1, "expected a value" },
                { BYTES("nul"), 0, "expected a value" },
                { BYTES("nulL"), 0, "expected a value" },
                { BYTES("nullx"), 4, "something follows the end of the value" },
                { BYTES("True"), 0, "expected a value" },
                { BYTES("tru"), 0, "expected a value" },
                { BYTES("fals "), 0, "expected a value" },
                { BYTES("{} {}"), 3, "something follows the end of the value" },
                { BYTES("1 2"), 2, "something follows the end of the value" },
                { BYTES("null\0"), 4, "something follows the end of the value" },
                { BYTES("[]]"), 2, "something follows the end of the value" },
                { BYTES("{}//"), 2, "something follows the end of the value" },
                { BYTES("[1,]"), 3, "expected a value" },
                { BYTES("[,1]"), 1, "expected a value" },
                { BYTES("[1,,2]"), 3, "expected a value" },
                { BYTES("[1 2]"), 3, "expected ',' or ']'" },
                { BYTES("[1}"), 2, "expected ',' or ']'" },
                { BYTES("["), 1, "the text ends where a value is expected" },
                { BYTES("[1"), 2, "the text ends inside an array" },
                { BYTES("[1,"), 3, "the text ends where a value is expected" },
                { BYTES("]"), 0, "expected a value" },
                { BYTES("{"), 1, "the text ends inside an object" },
                { BYTES("{]"), 1, "expected a name in quotes" },
                { BYTES("{1:2}"), 1, "expected a name in quotes" },
                { BYTES("{a:1}"), 1, "expected a name in quotes" },
                { BYTES("{\"a\""), 4, "expected ':' after a name" },
                { BYTES("{\"a\" 1}"), 5, "expected ':' after a name" },
                { BYTES("{\"a\":"), 5, "the text ends where a value is expected" },
                { BYTES("{\"a\":}"), 5, "expected a value" },
                { BYTES("{\"a\":1"), 6, "the text ends inside an object" },
                { BYTES("{\"a\":1,"), 7, "the text ends inside an object" },
                { BYTES("{\"a\":1,}"), 7, "expected a name in quotes" },
                { BYTES("{,}"), 1, "expected a name in quotes" },
                { BYTES("{\"a\":1]"), 6, "expected ',' or '}'" },
                { BYTES("{\"a\":1 \"b\":2}"), 7, "expected ',' or '}'" },
                { BYTES("{\"a\":1,[]}"), 7, "expected a name in quotes" },
                { BYTES("\""), 1, "the text ends inside a string" },
                { BYTES("\"abcdefgh"), 9, "the text ends inside a string" },
                { BYTES("\"\\"), 1, "the text ends inside a string" },
                { BYTES("\"\\\""), 3, "the text ends inside a string" },
                { BYTES("\"\\x\""), 1, "unknown escape in a string" },
                { BYTES("\"\\U0000\""), 1, "unknown escape in a string" },
                { BYTES("\"\\'\""), 1, "unknown escape in a string" },
                { BYTES("\"\\\n\""), 1, "unknown escape in a string" },
                { BYTES("\"\\u123\""), 1, "\\u needs four hexadecimal digits" },
                { BYTES("\"\\u12\""), 1, "the text ends inside a string" },
                { BYTES("\"\\u12G4\""), 1, "\\u needs four hexadecimal digits" },
                { BYTES("\"\\u@000\""), 1, "\\u needs four hexadecimal digits" },
                { BYTES("\"\\u 123\""), 1, "\\u needs four hexadecimal digits" },
                { BYTES("\"a\nb\""), 2, "a control character in a string must be escaped" },
                { BYTES("\"\t\""), 1, "a control character in a string must be escaped" },
                { BYTES("\"\0\""), 1, "a control character in a string must be escaped" },
                { BYTES("\"\x1F\""), 1, "a control character in a string must be escaped" },
                { BYTES("\"\x80\""), 1, "invalid UTF-8" },                 /* a continuation alone */
                { BYTES("\"\xC2\""), 1, "invalid UTF-8" },                 /* cut by the quote */
                { BYTES("\"\xC0\x80\""), 1, "invalid UTF-8" },             /* overlong */
                { BYTES("\"\xC1\xBF\""), 1, "invalid UTF-8" },
                { BYTES("\"\xE0\x9F\xBF\""), 1, "invalid UTF-8" },
                { BYTES("\"\xF0\x8F\xBF\xBF\""), 1, "invalid UTF-8" },
                { BYTES("\"\xED\xA0\x80\""), 1, "invalid UTF-8" },         /* surrogates */
                { BYTES("\"\xED\xBF\xBF\""), 1, "invalid UTF-8" },
                { BYTES("\"\xF4\x90\x80\x80\""), 1, "invalid UTF-8" },     /* above U+10FFFF */
                { BYTES("\"\xF5\x80\x80\x80\""), 1, "invalid UTF-8" },
                { BYTES("\"\xFF\""), 1, "invalid UTF-8" },
                { BYTES("\"\xE2\x82"), 1, "invalid UTF-8" },               /* cut by the end */
                { BYTES("\"\xF0\x9F\x98\""), 1, "invalid UTF-8" },
                { BYTES("\"abcdefghijk\xE2\x28\xA1\""), 12, "invalid UTF-8" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                const char *why = "nothing";
                size_t at = 999;

                cr_assert_eq(check(rows[i].text, 16, &at, &why), -EINVAL, "accepted: %.*s", (int)rows[i].text.n, rows[i].text.p);
                cr_assert_str_eq(why, rows[i].why, "%.*s: %s", (int)rows[i].text.n, rows[i].text.p, why);
                cr_assert_eq(at, rows[i].at, "%.*s: at %zu", (int)rows[i].text.n, rows[i].text.p, at);
        }
        cr_assert_eq(js_check((struct pm_str){ 0 }, 16, NULL, NULL), -EINVAL);
}

Test(js, sees_each_byte_of_a_string_wherever_it_lies)
{
        /* neighbours of what is looked for, eight at a time */
        static const unsigned char fillers[] = { 'a', ' ', '!', '#', '[', ']', 0x7F, 0x5E, 0x23 };
        char text[64];

        for (size_t f = 0; f < LENGTH_OF(fillers); f++)
                for (size_t n = 0; n < 40; n++)
                        for (size_t bad = 0; bad <= n; bad++) {
                                size_t at = 999;

                                text[0] = '"';
                                memset(text + 1, fillers[f], n);
                                text[n + 1] = '"';
                                cr_assert_eq(check((struct pm_str){ text, n + 2 }, 1, NULL, NULL), 0);
                                if (bad == n)
                                        continue;
                                for (unsigned c = 0; c < 256; c++) {
                                        bool fine = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

                                        text[1 + bad] = (char)c;
                                        cr_assert_eq(check((struct pm_str){ text, n + 2 }, 1, &at, NULL) == 0, fine || (c == '\\' && bad + 1 < n &&
                                                     (text[2 + bad] == '"' || text[2 + bad] == '\\')), "%u at %zu of %zu", c, bad, n);
                                        if (!fine && c != '"' && c != '\\')
                                                cr_assert_eq(at, 1 + bad);
                                        if (c == '"')
                                                cr_assert_eq(at, 2 + bad + (fillers[f] == ' ' ? n - bad - 1 : 0));
                                }
                                text[1 + bad] = (char)fillers[f];
                        }
}

/* n brackets, of the kind that the bits of `kinds` say, by turns of 7. */
static size_t nest(char *text, size_t n, unsigned kinds)
{
        size_t at = 0;

        for (size_t i = 0; i < n; i++)
                if (kinds >> (i % 7) & 1) {
                        memcpy(text + at, "{\"a\":", 5);
                        at += 5;
                } else {
                        text[at++] = '[';
                }
        text[at++] = '0';
        for (size_t i = n; i-- > 0;)
                text[at++] = kinds >> (i % 7) & 1 ? '}' : ']';
        return at;
}

Test(js, counts_depth_exactly_and_remembers_each_bracket)
{
        static char text[600 * 6];
        const char *why;

        for (unsigned kinds = 0; kinds < 128; kinds += 3)
                for (size_t n = 1; n <= 513; n = n < 4 || (n > 60 && n < 68) || n > 505 ? n + 1 : n + 29) {
                        size_t length = nest(text, n, kinds);

                        if (n <= 512)
                                cr_assert_eq(check((struct pm_str){ text, length }, n, NULL, NULL), 0);
                        cr_assert_eq(check((struct pm_str){ text, length }, n - 1, NULL, &why), -E2BIG);
                        cr_assert_str_eq(why, "nested too deeply");
                        if (n > 512)
                                continue;
                        for (size_t i = length - n; i < length; i++) { /* one closed by the other's */
                                text[i] ^= ']' ^ '}';
                                cr_assert_eq(check((struct pm_str){ text, length }, 512, NULL, NULL), -EINVAL);
                                text[i] ^= ']' ^ '}';
                        }
                }
        cr_assert_eq(check(S("1"), 0, NULL, NULL), 0, "no bracket, no depth");
        cr_assert_eq(check(S("[]"), 0, NULL, NULL), -E2BIG);
        cr_assert_eq(check(S("[[],[],[[]]]"), 3, NULL, NULL), 0, "depth is not a count of brackets");
}

Test(js, reads_from_inside)
{
        struct pm_str text = S(" { \"a\" : [ 1 , {\"x\":[[],{}]} , \"]\" ] ,\"b\":{\"c\":{}}, \"d\" : null } "), key, none = { 0 };
        struct js j;

        js_start(&j, text, 8);
        cr_assert_eq(js_peek(&j), JS_OBJECT);
        cr_assert(js_enter(&j));
        cr_assert(js_more(&j, &key) && same(key, "a"));
        cr_assert_eq(js_peek(&j), JS_ARRAY);
        cr_assert(js_enter(&j));
        cr_assert(js_more(&j, &key) && key.n == 0);
        cr_assert_eq(js_peek(&j), JS_NUMBER);
        cr_assert_not(js_enter(&j), "a number has no inside");
        cr_assert(same(js_take(&j), "1"));
        cr_assert(js_more(&j, &key));
        cr_assert(same(js_take(&j), "{\"x\":[[],{}]}"));
        cr_assert(js_more(&j, &key));
        cr_assert_eq(js_peek(&j), JS_STRING);
        cr_assert(same(js_take(&j), "\"]\""));
        cr_assert_not(js_more(&j, &key));
        cr_assert_eq(j.depth, 1);
        cr_assert(js_more(&j, &key) && same(key, "b"));
        cr_assert(js_enter(&j));
        cr_assert(js_more(&j, &key) && same(key, "c"));
        cr_assert(js_enter(&j));
        cr_assert_not(js_more(&j, &key), "empty");
        cr_assert_not(js_more(&j, &key), "and out of that");
        cr_assert(js_more(&j, &key) && same(key, "d"));
        cr_assert_eq(js_peek(&j), JS_NULL);
        cr_assert(same(js_take(&j), "null"));
        cr_assert_not(js_more(&j, &key));
        cr_assert_not(js_more(&j, &key), "nothing is outside");
        cr_assert_eq(js_finish(&j), 0);

        js_start(&j, S("[1 x]"), 8);
        cr_assert(js_enter(&j) && js_more(&j, &key) && same(js_take(&j), "1"));
        cr_assert_not(js_more(&j, &key));
        cr_assert_eq(j.error, -EINVAL);
        cr_assert_eq(j.at - j.start, 3);
        cr_assert_eq(js_peek(&j), JS_NONE);
        cr_assert_not(js_enter(&j));
        cr_assert_null(js_take(&j).p);
        cr_assert_eq(js_finish(&j), -EINVAL);

        js_start(&j, S("[[[0]]]"), 2);
        cr_assert(js_enter(&j) && js_more(&j, &key) && js_enter(&j) && js_more(&j, &key));
        cr_assert_not(js_enter(&j));
        cr_assert_eq(js_finish(&j), -E2BIG);

        js_start(&j, none, 2);
        cr_assert_eq(js_peek(&j), JS_NONE);
        cr_assert_null(js_member(none, "a").p);
        cr_assert_eq(js_trim(none).n, 0);
        cr_assert_eq(js_type(none), JS_NONE);
}

Test(js, finds_members_by_their_text)
{
        struct pm_str o = S("{\"a\":1,\"b\":{\"a\":2},\"\\u0061b\":[3],\"a\" : \"4\" ,\"\\\"\":5,\"\\\\n\":6,\"\":7,\"\xC3\xA9\":8}");

        cr_assert_eq(check(o, 4, NULL, NULL), 0);
        cr_assert(same(js_member(o, "a"), "\"4\""), "the last one");
        cr_assert(same(js_member(o, "ab"), "[3]"));
        cr_assert(same(js_member(o, "\""), "5"));
        cr_assert(same(js_member(o, "\\n"), "6"));
        cr_assert_null(js_member(o, "\\\\n").p, "its raw form is not its name");
        cr_assert_null(js_member(o, "\\u0061b").p);
        cr_assert(same(js_member(o, ""), "7"));
        cr_assert(same(js_member(o, "\xC3\xA9"), "8"));
        cr_assert_null(js_member(o, "c").p);
        cr_assert_null(js_member(S("[\"a\",1]"), "a").p);
        cr_assert_null(js_member(S("\"a\""), "a").p);

        cr_assert(js_equal(S("\\u0041\\u00e9\\ud83d\\ude00\\/"), "A\xC3\xA9\xF0\x9F\x98\x80/"));
        cr_assert_not(js_equal(S("\\u0041"), "AB"));
        cr_assert_not(js_equal(S("\\u0041B"), "A"));
        cr_assert_not(js_equal(S("a\\u0000"), "a"), "a NUL is a letter");
        cr_assert_not(js_equal(S("\\n"), "\\n"), "a line feed is not a backslash and an n");
        cr_assert(js_equal(S(""), ""));
        cr_assert_not(js_equal(S(""), "a"));
        cr_assert_not(js_equal(S("a"), ""));
        cr_assert(js_string_is(S("\"auto\""), "auto"));
        cr_assert(js_string_is(S("\"D:\\\\new\""), "D:\\new"));
        cr_assert_not(js_string_is(S("\"D:\\new\""), "D:\\new"));
        cr_assert_not(js_string_is(S("auto"), "auto"));
        cr_assert_not(js_string_is(S("\"auto"), "auto"));

        char raw[6 * 400 + 3], text[401];

        for (size_t i = 0; i < 400; i++) { /* as long as it likes */
                memcpy(raw + 1 + 6 * i, "\\u0078", 6);
                text[i] = 'x';
        }
        text[400] = 0;
        cr_assert(js_equal((struct pm_str){ raw + 1, 6 * 400 }, text));
        text[399] = 'y';
        cr_assert_not(js_equal((struct pm_str){ raw + 1, 6 * 400 }, text));
}

Test(js, resolves_escapes)
{
        static const struct {
                struct pm_str value, text;
        } rows[] = {
                { BYTES("\"\""), BYTES("") },
                { BYTES("\"plain\""), BYTES("plain") },
                { BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), BYTES("\"\\/\b\f\n\r\t") },
                { BYTES("\"a\\u0000b\""), BYTES("a\0b") },
                { BYTES("\"\\u007f\\u0080\\u07FF\\u0800\\uffff\""), BYTES("\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF") },
                { BYTES("\"\\ud800\\udc00\\uDBFF\\uDFFF\""), BYTES("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF") },
                { BYTES("\"\\ud800\""), BYTES("\xEF\xBF\xBD") },
                { BYTES("\"\\udc00\\ud800\""), BYTES("\xEF\xBF\xBD\xEF\xBF\xBD") },
                { BYTES("\"\\ud800\\ud800\\udc00\""), BYTES("\xEF\xBF\xBD\xF0\x90\x80\x80") },
                { BYTES("\"\\ud800x\\ud800\\n\""), BYTES("\xEF\xBF\xBDx\xEF\xBF\xBD\n") },
                { BYTES("\"\\ud800\\\\udc00\""), BYTES("\xEF\xBF\xBD\\udc00") },
                { BYTES("\"\xC3\xA9\\u00e9\""), BYTES("\xC3\xA9\xC3\xA9") },
        };
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                CLEANUP(free_p) char *out = malloc(rows[i].value.n);
                struct pm_str t = js_text(rows[i].value, &a);
                size_t n;

                cr_assert_eq(check(rows[i].value, 1, NULL, NULL), 0);
                n = js_unescape(rows[i].value, out);
                cr_assert_eq(n, rows[i].text.n, "row %zu: %zu", i, n);
                cr_assert_eq(memcmp(out, rows[i].text.p, n), 0, "row %zu", i);
                cr_assert(t.n == n && memcmp(t.p, out, n) == 0);
                if (!memchr(rows[i].value.p, '\\', rows[i].value.n))
                        cr_assert_eq(t.p, rows[i].value.p + 1, "a slice where it can be");
        }
        cr_assert_null(js_text(S("12"), &a).p);
        cr_assert_null(js_text(S("null"), &a).p);
        cr_assert_null(js_text((struct pm_str){ 0 }, &a).p);
        arena_finish(&a);
        arena_init(&a, NULL, 8);
        cr_assert_null(js_text(S("\"\\n a string for which there is no room\""), &a).p);
        arena_finish(&a);
}

Test(js, escapes_what_must_be)
{
        static const struct {
                struct pm_str text;
                const char *inside;
        } rows[] = {
                { BYTES(""), "" },
                { BYTES("plain / \xC3\xA9 \xF0\x9F\x98\x80"), "plain / \xC3\xA9 \xF0\x9F\x98\x80" },
                { BYTES("\"\\\n\r\t\b\x01\x1F\x7F"), "\\\"\\\\\\n\\u000d\\u0009\\u0008\\u0001\\u001f\\u007f" },
                { BYTES("a\0b"), "a\\u0000b" },
                { BYTES("\xFFx\xC0\x80\xED\xA0\x80\xE2\x82"), "\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
        };
        char *out;
        size_t n;

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                out = malloc(6 * rows[i].text.n + 1);
                n = js_escape(rows[i].text, out);
                out[n] = 0;
                cr_assert_eq(n, strlen(rows[i].inside));
                cr_assert_str_eq(out, rows[i].inside);
                free(out);
        }
        cr_assert_eq(js_escape((struct pm_str){ 0 }, NULL), 0);
}

Test(js, tells_integers_from_the_rest)
{
        static const struct {
                const char *text;
                int64_t v;
        } good[] = { { "0", 0 }, { "-0", 0 }, { "7", 7 }, { "-7", -7 }, { "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN } };
        static const char *const bad[] = { "9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999999999",
                                           "-99999999999999999999999999", "1.0", "1e3", "1E3", "-", "", "\"1\"", "null", "true", "[1]" };
        int64_t v;

        for (size_t i = 0; i < LENGTH_OF(good); i++)
                cr_assert(js_int(str(good[i].text), &v) && v == good[i].v, "%s", good[i].text);
        v = 5;
        for (size_t i = 0; i < LENGTH_OF(bad); i++)
                cr_assert_not(js_int(str(bad[i]), &v), "%s", bad[i]);
        cr_assert_eq(v, 5, "untouched");
}

Test(js, whole_characters)
{
        static const struct { const char *text; bool is; } cases[] = {
                { "", true }, { "plain", true }, { "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82", true }, { "\x7F\t\n", true },
                { "\xC3", false }, { "a\xE2\x82", false }, { "\xC0\x80", false }, { "\xED\xA0\x80", false }, { "\xF4\x90\x80\x80", false },
                { "\xFF", false }, { "\x80", false },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++)
                cr_assert_eq(js_utf8((struct pm_str){ cases[i].text, strlen(cases[i].text) }), cases[i].is, "case %zu", i);
        cr_assert(js_utf8((struct pm_str){ NULL, 0 }));
        cr_assert(js_utf8((struct pm_str){ "\xC3\xA4\xFF", 2 }), "no further than its end");
}
