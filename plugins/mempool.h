/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mempool.h - memory that ends all at once, for mockhost, pm-try and tests; and configuration trees without a configuration file.
 */
#ifndef PM_MEMPOOL_H
#define PM_MEMPOOL_H

#include <jansson.h>
#include <stddef.h>

#include "options.h"

struct mempool;

struct mempool *mempool_create(void);                       /* never NULL: these are tools, they abort without memory */
void mempool_destroy(struct mempool *s);                    /* NULL is fine */
void *mempool_alloc(struct mempool *s, size_t n);           /* zeroed, aligned for everything, never NULL */
char *mempool_text(struct mempool *s, const char *text, size_t n);
void *mempool_alloc_v(void *s, size_t n);                 /* for struct options_memory */

/* A tree of nodes from JSON; `file` (kept by pointer, may be NULL) names the place.  Numbers are text again, as YAML has them. */
struct node *mempool_node(struct mempool *s, const json_t *value, const char *file);

/*
 * Sets a key of a map, for `-o key=value`: dots go down into maps, which are made where they are missing.  A value that starts
 * with '[', '{' or '"' is JSON.  0, or -EINVAL: no such form, or a part of the path is no map.
 */
int mempool_set(struct mempool *s, struct node *map, const char *assignment);
struct node *mempool_map(struct mempool *s, const char *file); /* an empty map */
#endif
