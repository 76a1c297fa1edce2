/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writable.h - files that the configuration wants us to append to.
 */
#ifndef PM_WRITABLE_H
#define PM_WRITABLE_H

#include <stddef.h>

/* Could the file be opened, or made?  Nothing is made: the process that checks need not be the one that serves.  0, -ENOMEM, or -EINVAL
 * and why.  Main thread. */
int writable_check(const char *file, char *why, size_t size);
#endif
