/* SPDX-License-Identifier: Apache-2.0 */
/*
 * js_fixture.h - JSON checked in copies of its very size.
 */
#ifndef PM_TEST_JS_FIXTURE_H
#define PM_TEST_JS_FIXTURE_H

#include <criterion/criterion.h>

#include "arena.h"
#include "js.h"

#include "base.h"

#define HELPER static __attribute__((unused))

#define BYTES(s) { (s), sizeof(s) - 1 } /* in tables */
#define S(s) ((struct pm_str)BYTES(s))

/* The checks run on copies of the very size, so that a sanitizer sees a byte read too many. */
HELPER int check(struct pm_str text, size_t depth, size_t *at, const char **why)
{
        CLEANUP(free_p) char *exact = malloc(text.n ? text.n : 1);
        int e;

        cr_assert_not_null(exact);
        memcpy(exact, text.p, text.n);
        e = js_check((struct pm_str){ exact, text.n }, depth, at, why);
        return e;
}

HELPER struct pm_str str(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

HELPER bool same(struct pm_str a, const char *b)
{
        return a.p && a.n == strlen(b) && memcmp(a.p, b, a.n) == 0;
}
#endif
