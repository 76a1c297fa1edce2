/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ids.h - string ids and their numbers, 0, 1, 2, ... in the order in which they first came.
 *
 * Two faces of one layout: a table that grows while a graph is read (struct ids), and the same three arrays out of a file, of which
 * nothing is trusted (struct ids_view).
 */
#ifndef PM_IDS_H
#define PM_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDS_NONE UINT32_MAX
#define IDS_LENGTH_MAX 512       /* bytes of an id */
#define IDS_NUMBER_MAX 0x7fffffffu  /* ids */

/* `start` has n + 1 places in `text`; `slot` a power of two of numbers, IDS_NONE where empty, at most half of them full. */
struct ids_view {
        const char *text;
        const uint64_t *start;
        const uint32_t *slot;
        size_t n, slots, text_size;
};

struct ids;

int ids_create(struct ids **ret);
void ids_destroy(struct ids *x); /* NULL is fine */

/* The number of an id, which is added if it is new.  -EINVAL: empty, or longer than IDS_LENGTH_MAX; -ENOSPC: more than IDS_NUMBER_MAX. */
int ids_add(struct ids *x, const char *id, size_t n, uint32_t *ret);
struct ids_view ids_view(const struct ids *x);

/* The number of an id, or IDS_NONE. */
uint32_t ids_find(const struct ids_view *v, const char *id, size_t n);
const char *ids_at(const struct ids_view *v, uint32_t number, size_t *ret_n); /* not NUL-terminated */

/* Are these three arrays such a table?  Else one line of why. */
int ids_check(const struct ids_view *v, char *why, size_t why_size);
#endif
