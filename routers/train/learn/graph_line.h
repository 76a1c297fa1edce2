/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_line.h - one line of a file of edges into its fields: tables and JSON.  For graph.c and its fuzzer.
 */
#ifndef PM_GRAPH_LINE_H
#define PM_GRAPH_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph.h"

#define GRAPH_COLUMNS_MAX 64

struct json_t;

enum graph_field { GRAPH_USER, GRAPH_ITEM, GRAPH_WEIGHT, GRAPH_TIME, GRAPH_SPLIT, GRAPH_FIELDS };

/* Where the fields are: columns from 0 in tables (-1: nowhere), names in JSON (NULL: nowhere). */
struct graph_layout {
        enum graph_format format;
        int column[GRAPH_FIELDS];
        const char *field[GRAPH_FIELDS];
        bool settled;                    /* a line has been looked at */
        char number[GRAPH_FIELDS][40];   /* texts of a JSON line's numbers */
};

/* Texts point into the line, or into its JSON. */
struct graph_row {
        const char *user, *item, *split;
        size_t user_n, item_n, split_n;
        float weight;
        int64_t time;
};

/* What the source asks for; -EINVAL and why, if it cannot be. */
int graph_layout_begin(struct graph_layout *x, const struct graph_source *s, char *why, size_t why_size);

/*
 * Reads line[0..n), which is changed.  1: *ret is an edge.  0: nothing to read (titles, a remark
 * before the first edge, an empty line).  -EINVAL and why: unusable; -ENOENT and why: so is the file.  `json` receives what must live as long as *ret.
 */
int graph_line(struct graph_layout *x, char *line, size_t n, struct json_t **json, struct graph_row *ret, char *why, size_t why_size);
#endif
