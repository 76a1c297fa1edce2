/* SPDX-License-Identifier: Apache-2.0 */
/* A kept answer: there and back, and no shorter value is one. */
#include <criterion/criterion.h>

#include "answer_codec.h"

#include "base.h"

static const struct cached_answer one = { .ends_ms = 0x0102030405060708, .key = 9, .expert = { "alpha", 5 }, .type = { "application/json", 16 }, .body = { "{}", 2 } };

static struct pm_str encoded(char *out)
{
        char *body = answer_encode(&one, out);

        memcpy(body, one.body.p, one.body.n);
        return (struct pm_str){ out, answer_encoded_size(&one) };
}

Test(answer_codec, there_and_back)
{
        static const unsigned char begins[] = { 2, 8, 7, 6, 5, 4, 3, 2, 1 };
        char bytes[128];
        struct pm_str value = encoded(bytes);
        struct cached_answer back;

        cr_assert_eq(value.n, 17 + 4 + 5 + 4 + 16 + 2);
        cr_assert_arr_eq(bytes, begins, sizeof begins, "other gateways read these bytes");
        cr_assert_eq(answer_decode(value, &back), 0);
        cr_assert_eq(back.ends_ms, one.ends_ms);
        cr_assert_eq(back.key, 9);
        cr_assert(back.expert.n == 5 && memcmp(back.expert.p, "alpha", 5) == 0);
        cr_assert(back.type.n == 16 && memcmp(back.type.p, "application/json", 16) == 0);
        cr_assert(back.body.n == 2 && memcmp(back.body.p, "{}", 2) == 0);
}

Test(answer_codec, broken)
{
        char bytes[128];
        struct pm_str value = encoded(bytes);
        struct cached_answer back;

        for (size_t n = 0; n < value.n - 1; n++) {
                char *exact = malloc(n ? n : 1); /* so that a sanitizer sees what is read beyond */

                memcpy(exact, value.p, n);
                cr_assert_eq(answer_decode((struct pm_str){ exact, n }, &back), -EINVAL, "%zu bytes", n);
                free(exact);
        }
        bytes[0] = 3;
        cr_assert_eq(answer_decode(value, &back), -EPROTO);
        bytes[0] = 2;
        bytes[17] = bytes[18] = bytes[19] = bytes[20] = (char)0xFF; /* a name of 4 GiB */
        cr_assert_eq(answer_decode(value, &back), -EINVAL);
}
