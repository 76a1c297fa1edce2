/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrap.h - memory that ends all at once, for mockhost, pm-try and tests; and configuration trees without a configuration file.
 */
#ifndef PM_SCRAP_H
#define PM_SCRAP_H

#include <jansson.h>
#include <stddef.h>

#include "options.h"

struct scrap;

struct scrap *scrap_create(void);                       /* never NULL: these are tools, they abort without memory */
void scrap_destroy(struct scrap *s);                    /* NULL is fine */
void *scrap_alloc(struct scrap *s, size_t n);           /* zeroed, aligned for everything, never NULL */
char *scrap_text(struct scrap *s, const char *text, size_t n);
void *scrap_alloc_v(void *s, size_t n);                 /* for struct options_memory */

/* A tree of nodes from JSON; `file` (kept by pointer, may be NULL) names the place.  Numbers are text again, as YAML has them. */
struct node *scrap_node(struct scrap *s, const json_t *value, const char *file);

/*
 * Sets a key of a map, for `-o key=value`: dots go down into maps, which are made where they are missing.  A value that starts
 * with '[', '{' or '"' is JSON.  0, or -EINVAL: no such form, or a part of the path is no map.
 */
int scrap_set(struct scrap *s, struct node *map, const char *assignment);
struct node *scrap_map(struct scrap *s, const char *file); /* an empty map */
#endif
