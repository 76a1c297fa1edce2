/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths before items: a list is read and written in one pass, and its oldest items are cut off by not copying them. */
#include "history_codec.h"

#include "base.h"

typedef uint16_t length;

static char *put(char *out, struct pm_str item)
{
        memcpy(out, &(length){ (length)item.n }, sizeof(length));
        memcpy(out + sizeof(length), item.p, item.n);
        return out + sizeof(length) + item.n;
}

size_t history_decode(struct pm_str value, struct pm_str *items, size_t max)
{
        size_t n = 0;
        length one;

        while (n < max && value.n >= sizeof one) {
                memcpy(&one, value.p, sizeof one);
                if (one > value.n - sizeof one)
                        break;
                items[n++] = (struct pm_str){ value.p + sizeof one, one };
                value = (struct pm_str){ value.p + sizeof one + one, value.n - sizeof one - one };
        }
        return n;
}

size_t history_push(struct pm_str before, struct pm_str item, size_t keep, char *out)
{
        char *end = put(out, item);
        struct pm_str one;

        for (size_t i = 1; i < keep && history_decode(before, &one, 1) == 1; i++) {
                const size_t whole = sizeof(length) + one.n;

                if (whole > HISTORY_MAX - (size_t)(end - out))
                        break;
                end = put(end, one);
                before = (struct pm_str){ before.p + whole, before.n - whole };
        }
        return (size_t)(end - out);
}
