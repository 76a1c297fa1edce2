/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - one table per set of keys: it fills the struct, finds every mistake of a file in one run, and writes the reference.
 *
 * A configuration file becomes a tree of nodes with places (config.c does that with libyaml, mockhost.c with Jansson); a table
 * of struct pm_option says which keys a map may have.  Nothing here knows YAML, JSON or a file system.  Main thread.
 */
#ifndef PM_OPTIONS_H
#define PM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "pm_router.h"

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

/* One value of a configuration file and where it stands.  Owned by the builder of the tree (the generation's arena). */
struct node {
        enum node_kind kind;
        const char *file;
        int line, column;    /* from 1; 0: no place is known */
        const char *text;    /* scalar: NUL-terminated, after ${ENV} expansion */
        bool quoted;         /* scalar: written in quotes, so "true" and "1" are text */
        bool secret;         /* some of its text came from the environment */
        size_t n;            /* list and map: entries */
        struct node **items; /* list and map: values */
        struct node **keys;  /* map: scalars */
};

/* The value of a key in a map, or NULL. */
struct node *node_get(const struct node *map, const char *key);

/* What is wrong with a file, one line a mistake: "pm.yaml:12:5: routers.knn: unknown key 'indx' - did you mean 'index'?" */
struct problems;
struct problems *problems_create(size_t max);          /* above max mistakes only the number is kept; NULL: no memory */
void problems_destroy(struct problems *p);             /* NULL is fine */
void problems_add(struct problems *p, const struct node *at, const char *path, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));         /* at may be NULL */
/*
 * From now on lines show `shown` where this value, or a beginning of it of eight characters or more, would stand: lines about the scalar
 * `at`, and all lines if the value may be a secret (eight characters or more that are no number and no address).  NULL: all lines.
 */
void problems_hide(struct problems *p, const struct node *at, const char *value, const char *shown);
size_t problems_count(const struct problems *p);
const char *problems_text(const struct problems *p);   /* all lines, each ended by \n; lives as long as p */

/* Memory of the filled struct: strings, lists and tables go there. */
struct options_memory {
        void *(*alloc)(void *ctx, size_t n); /* zeroed; NULL: there is none, which is a mistake as well */
        void *ctx;
};

/*
 * Fills *self, zeroed and of the table's struct, from a map (NULL: an empty one, so that presets apply and required keys are
 * missed).  `path` opens every message ("routers.knn"); `base` is the folder that relative PM_PATHs are read from; keys in
 * `skip` (NULL-terminated, may be NULL) are passed over.  The required keys of a PM_TABLE that is not in the file are not
 * demanded: its presets apply.  Returns the number of mistakes, all of them added to p.
 */
size_t options_fill(const struct pm_option *table, void *self, const struct node *map, const char *path, const char *base,
                    const char *const *skip, const struct options_memory *memory, struct problems *p);

/* The key nearest to `wrong`, by edits, or NULL if none is near enough to be meant. */
const char *options_nearest(const char *wrong, const char *const *known, size_t n);

/* A Markdown table of the keys, with a heading for each sub-table. */
void options_describe(FILE *out, const struct pm_option *table, const char *path);

/* Is the table itself in order (types, presets that parse, ranges)?  NULL, or what is wrong: a plugin's table is not trusted. */
const char *options_check_table(const struct pm_option *table, size_t self_size);

/*
 * Calls each(ctx, o, text) for every value in force, in the table's order: text is the value as it would stand in the file, NULL
 * where none is given.  Lists and lists of maps come with their number first.  For digests: equal values give equal calls.
 */
void options_each(const struct pm_option *table, const void *self,
                  void (*each)(void *ctx, const struct pm_option *o, const char *text), void *ctx);

/* Writes the effective values as a JSON text of one object, secrets as "***", what is absent left out; for /admin/config.  Heap string, or NULL. */
char *options_to_json(const struct pm_option *table, const void *self);
#endif
