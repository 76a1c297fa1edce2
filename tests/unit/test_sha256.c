/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sha256.h"

#include "base.h"

static void check_hex(const unsigned char *sum, const char *expected)
{
        char hex[SHA256_HEX];

        sha256_hex(sum, SHA256_SIZE, hex);
        cr_assert_str_eq(hex, expected);
}

Test(sha256, of_known_texts)
{
        static const struct {
                const char *text, *hex;
        } rows[] = { /* FIPS 180-4 */
                { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
                { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
                { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        };
        unsigned char sum[SHA256_SIZE];

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                cr_assert(sha256_of(rows[i].text, strlen(rows[i].text), sum));
                check_hex(sum, rows[i].hex);
        }
}

/* However the bytes are cut, around the size of what is gathered before OpenSSL gets it. */
Test(sha256, of_parts)
{
        static const size_t cuts[] = { 0, 1, 63, 1023, 1024, 1025, 2047, 2048, 2049 };
        unsigned char bytes[5000], whole[SHA256_SIZE], sum[SHA256_SIZE];
        struct sha256 d;

        for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (unsigned char)(i * 7 + i / 256);
        cr_assert(sha256_of(bytes, sizeof bytes, whole));
        sha256_init(&d);
        for (size_t i = 0; i < LENGTH_OF(cuts); i++)
                for (size_t k = 0; k < LENGTH_OF(cuts); k++) {
                        sha256_begin(&d);
                        sha256_bytes(&d, bytes, cuts[i]);
                        sha256_bytes(&d, bytes + cuts[i], cuts[k]);
                        sha256_bytes(&d, bytes + cuts[i] + cuts[k], sizeof bytes - cuts[i] - cuts[k]);
                        cr_assert(sha256_end(&d, sum));
                        cr_assert_arr_eq(sum, whole, sizeof sum, "cut at %zu and %zu", cuts[i], cuts[k]);
                }
        sha256_finish(&d);
}

Test(sha256, texts_have_their_length_before_them)
{
        unsigned char one[SHA256_SIZE], other[SHA256_SIZE];
        static const char written[] = "\3\0\0\0\0\0\0\0abc\0\0\0\0\0\0\0\0";
        struct sha256 d;

        sha256_init(&d);
        sha256_begin(&d);
        sha256_text(&d, (struct pm_str){ "abc", 3 });
        sha256_text(&d, (struct pm_str){ NULL, 0 });
        cr_assert(sha256_end(&d, one));
        cr_assert(sha256_of(written, sizeof written - 1, other));
        cr_assert_arr_eq(one, other, sizeof one);
        sha256_finish(&d);
}
