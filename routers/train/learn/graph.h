/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.h - who took what: edges of (user, item[, weight][, time][, split]) out of a file, with string ids.
 *
 * Tab- or comma-separated lines or JSON lines, plain or gzip'd.  Tables may begin with a line of column names; without one the columns
 * are user, item, weight, time, split, as many as there are.  A line that is not usable is counted, the first few are kept with their
 * reason, and reading goes on until there are too many.
 */
#ifndef PM_GRAPH_H
#define PM_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "id_map.h"
#include "sparse.h"

#define GRAPH_LINE_MAX ((size_t)1 << 20)
#define GRAPH_SPLITS_MAX 16
#define GRAPH_NAMED_MAX 10 /* bad lines that are kept with their reason */
#define GRAPH_EDGES_MAX ((size_t)1 << 31)

enum graph_format { GRAPH_AUTO, GRAPH_TSV, GRAPH_CSV, GRAPH_JSONL };

/* What to read.  A column is named by its title or JSON field, or in tables by its number from 1; NULL: the usual names and places. */
struct graph_source {
        const char *path;
        enum graph_format format;
        const char *user, *item, *weight, *time, *split;
        size_t max_bad;
        bool one_kind;          /* users and items are the same things, with the same ids: citations, friends */
        void (*progress)(void *ctx, size_t lines); /* now and then; NULL: not told */
        void *ctx;
};

struct graph_edge {
        uint32_t user, item;
        float weight;           /* 1e-30 to 1e30; less counts as 1e-30 */
        uint32_t split;         /* index into splits */
        int64_t time;           /* as it stood; 0: none */
};

struct graph_bad {
        size_t line;
        char why[224];
};

struct graph {
        struct graph_edge *edge;
        size_t n;
        struct id_map *users, *items; /* the same table when one_kind */
        bool one_kind;
        char *split[GRAPH_SPLITS_MAX]; /* names; "" where the file has no such column */
        size_t n_splits;
        size_t lines, bad;           /* lines with an edge, or bad */
        struct graph_bad named[GRAPH_NAMED_MAX];
        size_t n_named;
        char digest[DIGEST_HEX];     /* SHA-256 of the file's text, uncompressed */
};

/* 0, or -errno and one line of why; what was read until then is in *ret all the same, so that its bad lines can be told. */
int graph_read(const struct graph_source *s, struct graph *ret, char *why, size_t why_size);
void graph_finish(struct graph *g);

size_t graph_users(const struct graph *g);
size_t graph_items(const struct graph *g);

/* The index of a split, or SIZE_MAX. */
size_t graph_split(const struct graph *g, const char *name);

/*
 * The users' rows over the items' columns, of the edges in one split (SIZE_MAX: of all).  An edge that came twice counts once: with
 * `weighted` the weights are added up, else each is 1.  Edges from a thing to itself are left out when users are items.
 */
int graph_matrix(const struct graph *g, size_t split, bool weighted, struct sparse *ret);
#endif
