/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - a file is refused: one line that says what was found, and -EINVAL.
 */
#ifndef PM_ERROR_H
#define PM_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

__attribute__((format(printf, 3, 4), unused)) static int set_error(char *why, size_t n, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(why, n, fmt, args);
        va_end(args);
        return -EINVAL;
}

/*
 * Jansson does not say that it had no memory, and complains of the text instead.  After a NULL of its readers, before which errno was 0.
 */
static inline bool json_lacked_memory(void)
{
        return errno == ENOMEM;
}
#endif
