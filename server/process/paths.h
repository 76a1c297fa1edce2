/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.h - the table of our paths.
 */
#ifndef PM_PATHS_H
#define PM_PATHS_H

#include <stddef.h>

struct api;

/* Any thread; static. */
const struct api *paths_all(size_t *ret_n);
#endif
