/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - what every C file of ours may lean on: clean-up by scope, a few macros, and the ban list.
 *
 * Include it after the headers of libraries: the identifiers at the end are poisoned from there on, and a library's header that
 * mentions one would not compile.  The test of a ban is that a use of it does not compile.
 */
#ifndef PM_BASE_H
#define PM_BASE_H

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* A variable marked CLEANUP(f) has f(&variable) called when its scope ends; TAKE(variable) hands the value on and leaves 0. */
#define CLEANUP(f) __attribute__((cleanup(f)))
#define TAKE(p)                                                                                    \
        __extension__({                                                                            \
                __typeof__(p) taken_ = (p);                                                        \
                (p) = (__typeof__(p)){ 0 };                                                        \
                taken_;                                                                            \
        })

static inline void free_p(void *p)
{
        void *held;

        memcpy(&held, p, sizeof held);
        free(held);
}

static inline void fclose_p(FILE **f)
{
        if (*f)
                (void)fclose(*f);
}

static inline void close_p(const int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Monotonic time in microseconds; for intervals and deadlines, never for dates. */
static inline int64_t now_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* strerror() is not safe between threads; this writes into the caller's buffer and returns it. */
#define ERRNO_TEXT(e) strerrordesc_or((e), (char[64]){ 0 }, 64)
static inline const char *strerrordesc_or(int e, char *buf, size_t n)
{
#if defined(_GNU_SOURCE)
        return strerror_r(e < 0 ? -e : e, buf, n);
#else
        return strerror_r(e < 0 ? -e : e, buf, n) == 0 ? buf : "unknown error";
#endif
}

#undef alloca /* a macro of <stdlib.h>: the name itself is to be poisoned */
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atof gets alloca rand srand localtime gmtime getenv exit
#endif
