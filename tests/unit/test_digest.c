/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 against the examples of the standard and of FIPS 180-4's test vectors. */
#include <criterion/criterion.h>

#include "base.h"
#include "digest.h"

static const char *hex_of(const void *data, size_t n, size_t piece)
{
        static char hex[DIGEST_HEX];
        uint8_t sum[DIGEST_SIZE];
        struct digest d;

        digest_begin(&d);
        for (size_t i = 0; i < n; i += piece)
                digest_add(&d, (const char *)data + i, MIN(piece, n - i));
        cr_assert_eq(digest_end(&d, sum), 0);
        digest_hex(sum, hex);
        return hex;
}

Test(digest, known_answers)
{
        static char million[1000000];

        memset(million, 'a', sizeof million);
        cr_assert_str_eq(hex_of("", 0, 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        cr_assert_str_eq(hex_of("abc", 3, 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        cr_assert_str_eq(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, 56),
                         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        cr_assert_str_eq(hex_of(million, sizeof million, 999),
                         "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Test(digest, pieces_do_not_matter)
{
        char text[200], whole[DIGEST_HEX];

        memset(text, 'x', sizeof text);
        for (size_t n = 0; n <= sizeof text; n++) {
                memcpy(whole, hex_of(text, n, 200), sizeof whole);
                cr_assert_str_eq(hex_of(text, n, 1), whole);
                cr_assert_str_eq(hex_of(text, n, 63), whole);
        }
}
