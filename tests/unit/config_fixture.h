/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_fixture.h - what is wrong with the text of a configuration, and where what was built with us lies.
 */
#ifndef PM_TEST_CONFIG_FIXTURE_H
#define PM_TEST_CONFIG_FIXTURE_H

#include <criterion/criterion.h>
#include <jansson.h>

#include "config.h"

#include "base.h"

#define HELPER static __attribute__((unused))

#define E "experts: {a: {endpoints: ['http://h/v1']}}\n"
#define KEY "0123456789abcdef"

HELPER void check_in(const char *base, const char *text, const char *wanted)
{
        struct problems *p = problems_create(50);
        struct arena arena;

        arena_init(&arena, NULL, SIZE_MAX);
        (void)config_parse(text, strlen(text), "f", base, &arena, p);
        cr_expect_str_eq(problems_text(p), wanted, "%s\nsays\n%s\nnot\n%s", text, problems_text(p), wanted);
        problems_destroy(p);
        arena_finish(&arena);
}

HELPER void check(const char *text, const char *wanted)
{
        check_in("/base", text, wanted);
}

/* A path below the build's root: these executables are in tests/unit there. */
HELPER const char *built(const char *name)
{
        static char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        char *slash;

        cr_assert_gt(n, 0);
        path[n] = '\0';
        slash = strrchr(path, '/');
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/../../%s", name);
        return path;
}
#endif
