/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query_fixture.h - bodies parsed into one query, from copies of their very size.
 */
#ifndef PM_TEST_QUERY_FIXTURE_H
#define PM_TEST_QUERY_FIXTURE_H

#include <criterion/criterion.h>
#include <jansson.h>

#include "edits.h"
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

/* As an attempt does it. */
HELPER int splice(const struct query *q, const char *model, const char *extra, const struct expert_drop *drop, struct arena *a, struct iovec **ret, size_t *ret_n)
{
        struct edits e = EDITS(a);
        int err = query_edits(q, model, true, &e);

        if (err == 0 && drop)
                err = edits_drop(&e, drop);
        if (err == 0 && extra)
                err = edits_set_all(&e, (struct pm_str){ extra, strlen(extra) });
        return err < 0 ? err : query_splice(q->body, &e, a, ret, ret_n);
}

HELPER bool same(struct pm_str a, const char *b)
{
        return a.n == strlen(b) && memcmp(a.n ? a.p : "", b, a.n) == 0;
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#endif
