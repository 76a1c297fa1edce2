/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criterion.h for ThreadSanitizer - the part of Criterion's interface that our tests use, in one header.
 *
 * Criterion starts its tests through an arena at an address of its own choice, which is memory that ThreadSanitizer keeps for itself: no
 * program would get as far as its first test.  So the TSan build puts this folder before the system's.  Every test runs in a forked child;
 * the last line is in Criterion's form.  The limits of time are ten times as long.
 */
#ifndef TSAN_CRITERION_H
#define TSAN_CRITERION_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CR_TIME_FACTOR 10

struct cr_options {
        void (*init)(void), (*fini)(void);
        const char *description;
        double timeout;
        int signal, exit_code;
        bool disabled;
};

struct cr_test {
        struct cr_test *next;
        const char *suite, *name;
        void (*run)(void); /* NULL: the presets of a suite */
        struct cr_options with;
};

extern struct cr_test *cr_tests;
extern volatile int cr_failures, cr_skipped;
__attribute__((weak)) struct cr_test *cr_tests;
__attribute__((weak)) volatile int cr_failures, cr_skipped;

static inline void cr_register(struct cr_test *t)
{
        t->next = cr_tests;
        cr_tests = t;
}

#define CR_REGISTER(Suite, Name, Run, ...)                                                                     \
        static void __attribute__((constructor)) cr_begin_##Suite##_##Name(void)                               \
        {                                                                                                      \
                static struct cr_test t = { .suite = #Suite, .name = #Name, .run = (Run), .with = { __VA_ARGS__ } }; \
                cr_register(&t);                                                                               \
        }
#define Test(Suite, Name, ...)                                   \
        static void cr_run_##Suite##_##Name(void);               \
        CR_REGISTER(Suite, Name, cr_run_##Suite##_##Name, __VA_ARGS__) \
        static void cr_run_##Suite##_##Name(void)
#define TestSuite(Suite, ...) CR_REGISTER(Suite, presets, NULL, __VA_ARGS__)

#define CR_SAY(What, ...)                                                                                      \
        (cr_failures++, (void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, What),                \
         (void)fprintf(stderr, " " __VA_ARGS__), (void)fputc('\n', stderr))
#define CR_ASSERT(What, Holds, ...) ((Holds) ? (void)0 : (CR_SAY(What, __VA_ARGS__), _exit(1)))
#define CR_EXPECT(What, Holds, ...) ((Holds) ? (void)0 : (void)(CR_SAY(What, __VA_ARGS__)))

#define cr_fail(...) CR_EXPECT("cr_fail", false, __VA_ARGS__)
#define cr_assert_fail(...) CR_ASSERT("cr_assert_fail", false, __VA_ARGS__)
#define cr_skip_test(...) ((void)fprintf(stderr, " " __VA_ARGS__), _exit(77))
#define cr_skip(...) cr_skip_test(__VA_ARGS__)
#define cr_log_info(...) ((void)fprintf(stderr, __VA_ARGS__), (void)fputc('\n', stderr))
#define cr_log_warn(...) cr_log_info(__VA_ARGS__)
#define cr_log_error(...) cr_log_info(__VA_ARGS__)

#define cr_assert(C, ...) CR_ASSERT(#C, C, __VA_ARGS__)
#define cr_assert_not(C, ...) CR_ASSERT("not " #C, !(C), __VA_ARGS__)
#define cr_assert_eq(A, B, ...) CR_ASSERT(#A " == " #B, (A) == (B), __VA_ARGS__)
#define cr_assert_neq(A, B, ...) CR_ASSERT(#A " != " #B, (A) != (B), __VA_ARGS__)
#define cr_assert_lt(A, B, ...) CR_ASSERT(#A " < " #B, (A) < (B), __VA_ARGS__)
#define cr_assert_leq(A, B, ...) CR_ASSERT(#A " <= " #B, (A) <= (B), __VA_ARGS__)
#define cr_assert_gt(A, B, ...) CR_ASSERT(#A " > " #B, (A) > (B), __VA_ARGS__)
#define cr_assert_geq(A, B, ...) CR_ASSERT(#A " >= " #B, (A) >= (B), __VA_ARGS__)
#define cr_assert_null(A, ...) CR_ASSERT(#A " is NULL", (A) == NULL, __VA_ARGS__)
#define cr_assert_not_null(A, ...) CR_ASSERT(#A " is not NULL", (A) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(A, B, ...) CR_ASSERT(#A " is the string " #B, strcmp(A, B) == 0, __VA_ARGS__)
#define cr_assert_str_neq(A, B, ...) CR_ASSERT(#A " is not the string " #B, strcmp(A, B) != 0, __VA_ARGS__)
#define cr_assert_str_empty(A, ...) CR_ASSERT(#A " is empty", *(A) == '\0', __VA_ARGS__)
#define cr_assert_str_not_empty(A, ...) CR_ASSERT(#A " is not empty", *(A) != '\0', __VA_ARGS__)
#define cr_assert_arr_eq(A, B, N, ...) CR_ASSERT(#A " has the bytes of " #B, memcmp(A, B, N) == 0, __VA_ARGS__)
#define cr_assert_arr_neq(A, B, N, ...) CR_ASSERT(#A " has other bytes than " #B, memcmp(A, B, N) != 0, __VA_ARGS__)
#define cr_assert_float_eq(A, B, E, ...) CR_ASSERT(#A " is about " #B, __builtin_fabs((double)((A) - (B))) <= (double)(E), __VA_ARGS__)
#define cr_assert_float_neq(A, B, E, ...) CR_ASSERT(#A " is not about " #B, __builtin_fabs((double)((A) - (B))) > (double)(E), __VA_ARGS__)

#define cr_expect(C, ...) CR_EXPECT(#C, C, __VA_ARGS__)
#define cr_expect_not(C, ...) CR_EXPECT("not " #C, !(C), __VA_ARGS__)
#define cr_expect_eq(A, B, ...) CR_EXPECT(#A " == " #B, (A) == (B), __VA_ARGS__)
#define cr_expect_neq(A, B, ...) CR_EXPECT(#A " != " #B, (A) != (B), __VA_ARGS__)
#define cr_expect_lt(A, B, ...) CR_EXPECT(#A " < " #B, (A) < (B), __VA_ARGS__)
#define cr_expect_leq(A, B, ...) CR_EXPECT(#A " <= " #B, (A) <= (B), __VA_ARGS__)
#define cr_expect_gt(A, B, ...) CR_EXPECT(#A " > " #B, (A) > (B), __VA_ARGS__)
#define cr_expect_geq(A, B, ...) CR_EXPECT(#A " >= " #B, (A) >= (B), __VA_ARGS__)
#define cr_expect_null(A, ...) CR_EXPECT(#A " is NULL", (A) == NULL, __VA_ARGS__)
#define cr_expect_not_null(A, ...) CR_EXPECT(#A " is not NULL", (A) != NULL, __VA_ARGS__)
#define cr_expect_str_eq(A, B, ...) CR_EXPECT(#A " is the string " #B, strcmp(A, B) == 0, __VA_ARGS__)
#define cr_expect_arr_eq(A, B, N, ...) CR_EXPECT(#A " has the bytes of " #B, memcmp(A, B, N) == 0, __VA_ARGS__)
#define cr_expect_float_eq(A, B, E, ...) CR_EXPECT(#A " is about " #B, __builtin_fabs((double)((A) - (B))) <= (double)(E), __VA_ARGS__)

/* What a test says itself, and for the rest its suite. */
static inline struct cr_options cr_options_of(const struct cr_test *t)
{
        struct cr_options o = t->with;

        for (const struct cr_test *s = cr_tests; s; s = s->next) {
                if (s->run || strcmp(s->suite, t->suite) != 0)
                        continue;
                o.init = o.init ? o.init : s->with.init;
                o.fini = o.fini ? o.fini : s->with.fini;
                o.timeout = o.timeout > 0 ? o.timeout : s->with.timeout;
                o.signal = o.signal ? o.signal : s->with.signal;
                o.exit_code = o.exit_code ? o.exit_code : s->with.exit_code;
                o.disabled |= s->with.disabled;
        }
        return o;
}

static inline void cr_child(const struct cr_test *t, const struct cr_options *o)
{
        if (o->timeout > 0)
                (void)alarm((unsigned)(o->timeout * CR_TIME_FACTOR) + 1);
        if (o->init)
                o->init();
        t->run();
        if (o->fini)
                o->fini();
        (void)fflush(NULL);
        exit(cr_failures ? 1 : 0); /* not _exit(): ThreadSanitizer counts its reports at the end */
}

/* A program has tests in one file as a rule; in several, they share this. */
__attribute__((weak)) int main(void)
{
        int tested = 0, passing = 0, failing = 0, crashing = 0;

        for (const struct cr_test *t = cr_tests; t; t = t->next) {
                struct cr_options o = cr_options_of(t);
                int status = 0;
                pid_t pid;

                if (!t->run || o.disabled)
                        continue;
                tested++;
                (void)fflush(NULL);
                pid = fork();
                if (pid == 0)
                        cr_child(t, &o);
                while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
                if (pid > 0 && (WIFSIGNALED(status) ? WTERMSIG(status) == o.signal
                                                    : !o.signal && WEXITSTATUS(status) == o.exit_code)) {
                        passing++;
                } else if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 77) {
                        (void)fprintf(stderr, "[SKIP] %s::%s\n", t->suite, t->name);
                } else {
                        failing += WIFEXITED(status);
                        crashing += !WIFEXITED(status);
                        (void)fprintf(stderr, "[FAIL] %s::%s: %s %d\n", t->suite, t->name, WIFEXITED(status) ? "exit status" : "signal",
                                      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                }
        }
        (void)fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n", tested, passing, failing, crashing);
        return failing + crashing > 0;
}

#endif
