/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_json.h - a configuration file in JSON, so that a reader of YAML takes it.
 */
#ifndef PM_TREE_JSON_H
#define PM_TREE_JSON_H

#include <stddef.h>

/* A copy to read instead of the text, on the heap, or NULL: it can be read as it is, or errno is ENOMEM. */
char *tree_json(const char *text, size_t n, size_t *ret_n);
#endif
