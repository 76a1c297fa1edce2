/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query_fixture.h - bodies parsed into one query, from copies of their very size.
 */
#ifndef PM_TEST_QUERY_FIXTURE_H
#define PM_TEST_QUERY_FIXTURE_H

#include <criterion/criterion.h>
#include <jansson.h>

#include "js.h"
#include "query.h"

#include "base.h"

#define HELPER static __attribute__((unused))

static struct arena arena;
static struct query query;
static struct query_error why;

HELPER void begin(void)
{
        arena_init(&arena, NULL, 64 << 20);
}

HELPER void end(void)
{
        arena_finish(&arena);
}

/* A copy of the very size, so that a sanitizer sees a byte read too many. */
HELPER struct pm_str exact(const char *p, size_t n)
{
        char *copy = arena_alloc(&arena, n);

        memcpy(copy, p, n);
        return (struct pm_str){ copy, n };
}

static const struct query_limits limits = { .depth = 16, .messages = 4 };

HELPER int parse(enum expert_api api, const char *body)
{
        return query_parse(exact(body, strlen(body)), api, &limits, &arena, &query, &why);
}

HELPER bool same(struct pm_str a, const char *b)
{
        return a.n == strlen(b) && memcmp(a.n ? a.p : "", b, a.n) == 0;
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#endif
