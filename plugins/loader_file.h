/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_file.h - may dlopen() be given this file?
 */
#ifndef PM_LOADER_FILE_H
#define PM_LOADER_FILE_H

#include <stddef.h>

/* 0 for a whole shared library of this machine; else -ENOENT, -ENOEXEC or another -errno, and `what` is wrong with it. */
int loader_check_file(const char *file, char *what, size_t n);
#endif
