/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - string ids and their numbers, 0, 1, 2, ... in the order in which they first came.
 *
 * Two faces of one layout: a table that grows while a graph is read (struct names), and the same three arrays out of a file, of which
 * nothing is trusted (struct names_view).
 */
#ifndef PM_NAMES_H
#define PM_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAMES_NONE UINT32_MAX
#define NAMES_ID_MAX 512       /* bytes of an id */
#define NAMES_MAX 0x7fffffffu  /* ids */

/* `start` has n + 1 places in `text`; `slot` a power of two of numbers, NAMES_NONE where empty, at most half of them full. */
struct names_view {
        const char *text;
        const uint64_t *start;
        const uint32_t *slot;
        size_t n, slots, text_size;
};

struct names;

int names_create(struct names **ret);
void names_destroy(struct names *x); /* NULL is fine */

/* The number of an id, which is added if it is new.  -EINVAL: empty, or longer than NAMES_ID_MAX; -ENOSPC: more than NAMES_MAX. */
int names_add(struct names *x, const char *id, size_t n, uint32_t *ret);
struct names_view names_view(const struct names *x);

/* The number of an id, or NAMES_NONE. */
uint32_t names_find(const struct names_view *v, const char *id, size_t n);
const char *names_at(const struct names_view *v, uint32_t number, size_t *ret_n); /* not NUL-terminated */

/* Are these three arrays such a table?  Else one line of why. */
int names_check(const struct names_view *v, char *why, size_t why_size);
#endif
