/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - the text of a configuration file (YAML, and JSON with it) into a tree of nodes with places.
 *
 * Values may name variables of the environment: ${NAME} must be set, ${NAME:-default} need not, $${ is a literal ${.  Anchors,
 * aliases and merge keys (<<) work; what they expand to is bounded as if it were written out.  Main thread.
 */
#ifndef PM_TREE_H
#define PM_TREE_H

#include <stddef.h>

#include "arena.h"
#include "options.h"

#define TREE_BYTES_MAX ((size_t)16 << 20)      /* of a file */
#define TREE_VALUES_MAX ((size_t)262144)       /* aliases counted as often as they are used */
#define TREE_DEPTH_MAX 64
#define TREE_KEYS_MAX 10000                    /* of one map */
#define TREE_EXPANDED_MAX ((size_t)16 << 20)   /* bytes that the environment adds to a file */

/*
 * Builds the tree in the arena.  0: *ret is the root, NODE_NULL for an empty file; mistakes that leave a tree (a key twice, a
 * variable that is not set) may have been added to p all the same.  -EINVAL: there is no tree, and p says why.
 * A node is `secret` if a variable that was set is part of it.
 */
int tree_parse(const char *text, size_t n, const char *file, struct arena *a, struct problems *p, struct node **ret);

/* A scalar as it stands in the file, its ${...} not expanded.  Only for scalars made by tree_parse(). */
const char *tree_written(const struct node *scalar);
#endif
