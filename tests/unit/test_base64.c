/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base64.h"

#include "base.h"

Test(base64, decoded)
{
        static const struct {
                const char *text, *bytes;
        } rows[] = { /* RFC 4648, and without '=' */
                { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" }, { "Zm9vYmE=", "fooba" },
                { "Zm9vYmFy", "foobar" }, { "Zm9vYg", "foob" }, { "+/+/", "\xfb\xff\xbf" },
        };
        static const char *const wrong[] = { "Zg=g", "Zm9v\n", "-_-_", "Zm9v Yg", "\xff" };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                unsigned char out[16];
                size_t n = 99;

                cr_assert_eq(base64_decode(rows[i].text, strlen(rows[i].text), out, &n), 0, "%s", rows[i].text);
                cr_assert(n == strlen(rows[i].bytes) && memcmp(out, rows[i].bytes, n) == 0, "%s", rows[i].text);
        }
        for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
                unsigned char out[16];
                size_t n = 99;

                cr_assert_eq(base64_decode(wrong[i], strlen(wrong[i]), out, &n), -EINVAL, "%s", wrong[i]);
                cr_assert_eq(n, 99u, "touched on failure");
        }
}

Test(base64, url_letters_there_and_back)
{
        char text[4];

        for (unsigned v = 0; v < 64; v++) {
                unsigned char bytes[3] = { (unsigned char)(v << 2), 0, (unsigned char)v };

                cr_assert_eq(base64url_encode(bytes, 3, text), text + 4);
                cr_assert_eq(base64_value(text[0], true), (int)v);
                cr_assert_eq(base64_value(text[3], true), (int)v);
                cr_assert_eq(base64_value(text[0], false), v < 62 ? (int)v : -1);
        }
        cr_assert_eq(base64_value('\0', true), -1);
        cr_assert_eq(base64_value('=', false), -1);
}
