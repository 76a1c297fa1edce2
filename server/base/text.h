/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - text in the making, in memory of a size that is known: for what is written with each request, where printf would cost more
 * than reading the request did.  And words for messages.
 */
#ifndef PM_TEXT_H
#define PM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pm_router.h"

/* NULL is an empty one. */
static inline struct pm_str str_of(const char *text)
{
        return (struct pm_str){ text, text ? strlen(text) : 0 };
}

struct text {
        char *p;
        size_t n, room;
        bool cut; /* something did not fit; it was left out whole */
};

static inline void text_put(struct text *t, const char *p, size_t n)
{
        if (t->room - t->n < n) {
                t->cut = true;
                return;
        }
        memcpy(t->p + t->n, p, n);
        t->n += n;
}

#define TEXT_PUT(t, literal) text_put((t), "" literal, sizeof(literal) - 1)

enum { TEXT_DIGITS = 20 }; /* of the largest number */

/* Writes a number before `end`, which has TEXT_DIGITS bytes before it; its first digit. */
static inline char *text_digits(char *end, uint64_t v)
{
        do
                *--end = (char)('0' + v % 10);
        while (v /= 10);
        return end;
}

static inline void text_number(struct text *t, uint64_t v)
{
        char digits[TEXT_DIGITS], *end = digits + sizeof digits, *at = text_digits(end, v);

        text_put(t, at, (size_t)(end - at));
}

static inline void text_int(struct text *t, int64_t v)
{
        char digits[TEXT_DIGITS + 1], *end = digits + sizeof digits, *at = text_digits(end, v < 0 ? -(uint64_t)v : (uint64_t)v);

        if (v < 0)
                *--at = '-';
        text_put(t, at, (size_t)(end - at));
}

/* Thousandths as a number with three places. */
static inline void text_thousandths(struct text *t, int64_t v)
{
        unsigned rest = (unsigned)(v % 1000);
        char digits[4] = { '.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10) };

        text_int(t, v / 1000);
        text_put(t, digits, 4);
}

/* "connection refused": strerror() as a clause. */
const char *errno_clause(int error, char *buf, size_t n);
#endif
