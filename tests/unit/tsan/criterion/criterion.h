/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criterion.h - stands in for Criterion under ThreadSanitizer, whose address space leaves no room for Criterion's sandbox.
 *
 * The same macros, as far as the threaded tests use them; each test runs in a child of its own; the first failed assertion ends
 * it.  On the include path only if b_sanitize is `thread`.
 */
#ifndef PM_TEST_CRITERION_H
#define PM_TEST_CRITERION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
        const char *suite, *name;
        void (*fn)(void);
        void (*init)(void), (*fini)(void);
        double timeout;
        int signal;
        struct plain_test *next;
};

static struct plain_test *plain_tests, *plain_suites;

#define PLAIN_ADD(list, suite_, name_, fn_, ...)                                                   \
        __attribute__((constructor)) static void plain_add_##suite_##_##name_(void)                \
        {                                                                                          \
                static struct plain_test t = { __VA_ARGS__ };                                      \
                                                                                                   \
                t.suite = #suite_;                                                                 \
                t.name = #name_;                                                                   \
                t.fn = (fn_);                                                                      \
                t.next = (list);                                                                   \
                (list) = &t;                                                                       \
        }

#define Test(suite, name, ...)                                                                     \
        static void plain_##suite##_##name(void);                                                  \
        PLAIN_ADD(plain_tests, suite, name, plain_##suite##_##name, __VA_ARGS__)                   \
        static void plain_##suite##_##name(void)
#define TestSuite(suite, ...) PLAIN_ADD(plain_suites, suite, , NULL, __VA_ARGS__) struct plain_test

#define cr_assert(condition, ...)                                                                  \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)
#define cr_assert_not(c, ...) cr_assert(!(c))
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b))
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b))
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b))
#define cr_assert_null(p, ...) cr_assert((p) == NULL)
#define cr_assert_not_null(p, ...) cr_assert((p) != NULL)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp((a), (b)) == 0)
#define cr_assert_str_empty(a, ...) cr_assert(*(a) == '\0')
#define cr_assert_arr_eq(a, b, n, ...) cr_assert(memcmp((a), (b), (n)) == 0)
#define cr_expect cr_assert
#define cr_expect_not cr_assert_not
#define cr_expect_eq cr_assert_eq
#define cr_expect_leq cr_assert_leq
#define cr_expect_gt cr_assert_gt
#define cr_assert_float_eq(a, b, e, ...) cr_assert((a) - (b) <= (e) && (b) - (a) <= (e))

static int plain_run(const struct plain_test *t)
{
        int status;
        pid_t pid;

        (void)fflush(stdout);
        pid = fork();
        if (pid == 0) {
                (void)alarm(t->timeout > 0 ? (unsigned)t->timeout * 4 : 120);
                for (const struct plain_test *s = plain_suites; s; s = s->next)
                        if (strcmp(s->suite, t->suite) == 0 && s->init)
                                s->init();
                if (t->init)
                        t->init();
                t->fn();
                if (t->fini)
                        t->fini();
                exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                return 1;
        return t->signal ? !(WIFSIGNALED(status) && WTERMSIG(status) == t->signal) : status != 0;
}

int main(void)
{
        int tested = 0, failed = 0;

        for (const struct plain_test *t = plain_tests; t; t = t->next, tested++)
                if (plain_run(t) != 0) {
                        failed++;
                        (void)printf("[FAIL] %s::%s\n", t->suite, t->name);
                }
        (void)printf("Tested: %d | Passing: %d | Failing: %d\n", tested, tested - failed, failed);
        return failed != 0;
}
#endif
