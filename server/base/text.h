/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - words for messages.
 */
#ifndef PM_TEXT_H
#define PM_TEXT_H

#include <stddef.h>

/* "connection refused": strerror() as a clause. */
const char *errno_clause(int error, char *buf, size_t n);
#endif
