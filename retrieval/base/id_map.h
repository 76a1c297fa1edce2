/* SPDX-License-Identifier: Apache-2.0 */
/*
 * id_map.h - string ids and their numbers, 0, 1, 2, ... in the order in which they first came.
 *
 * Two faces of one layout: a table that grows while a graph is read (struct id_map), and the same three arrays out of a file, of which
 * nothing is trusted (struct id_map_view).
 */
#ifndef PM_ID_MAP_H
#define PM_ID_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_MAP_NONE UINT32_MAX
#define ID_MAP_LENGTH_MAX 512       /* bytes of an id */
#define ID_MAP_NUMBER_MAX 0x7fffffffu  /* ids */

/* `start` has n + 1 places in `text`; `slot` a power of two of numbers, ID_MAP_NONE where empty, at most half of them full. */
struct id_map_view {
        const char *text;
        const uint64_t *start;
        const uint32_t *slot;
        size_t n, slots, text_size;
};

struct id_map;

int id_map_create(struct id_map **ret);
void id_map_destroy(struct id_map *x); /* NULL is fine */

/* The number of an id, which is added if it is new.  -EINVAL: empty, or longer than ID_MAP_LENGTH_MAX; -ENOSPC: more than ID_MAP_NUMBER_MAX. */
int id_map_add(struct id_map *x, const char *id, size_t n, uint32_t *ret);
struct id_map_view id_map_view(const struct id_map *x);

/* The number of an id, or ID_MAP_NONE. */
uint32_t id_map_find(const struct id_map_view *v, const char *id, size_t n);
const char *id_map_at(const struct id_map_view *v, uint32_t number, size_t *ret_n); /* not NUL-terminated */

/* Are these three arrays such a table?  Else one line of why. */
int id_map_check(const struct id_map_view *v, char *why, size_t why_size);
#endif
