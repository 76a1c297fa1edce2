/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges.h - the file of edges that embed, interests and eval interests read: its options, its messages, its matrix.
 */
#ifndef PM_EDGES_H
#define PM_EDGES_H

#include <getopt.h>
#include <stdbool.h>

#include "graph.h"

struct edges {
        struct graph_source source;
        const char *use;        /* the split that is trained on; NULL: the only one, or "train" */
        bool weighted, quiet;
        struct graph graph;
        struct sparse matrix;   /* of `use` */
        size_t used;            /* its index */
};

enum edges_argument { EDGES_FILE = 512, EDGES_FORMAT, EDGES_USER, EDGES_ITEM, EDGES_WEIGHT, EDGES_TIME, EDGES_SPLIT, EDGES_USE,
                      EDGES_ONE_KIND, EDGES_WEIGHTED, EDGES_MAX_BAD };

/* To stand among a command's options. */
#define EDGES_OPTIONS                                                                                                \
        { "edges", required_argument, NULL, EDGES_FILE }, { "format", required_argument, NULL, EDGES_FORMAT },       \
        { "user-column", required_argument, NULL, EDGES_USER }, { "item-column", required_argument, NULL, EDGES_ITEM }, \
        { "weight-column", required_argument, NULL, EDGES_WEIGHT }, { "time-column", required_argument, NULL, EDGES_TIME }, \
        { "split-column", required_argument, NULL, EDGES_SPLIT }, { "use", required_argument, NULL, EDGES_USE },     \
        { "one-kind", no_argument, NULL, EDGES_ONE_KIND }, { "weighted", no_argument, NULL, EDGES_WEIGHTED },        \
        { "max-bad", required_argument, NULL, EDGES_MAX_BAD }

#define EDGES_HELP                                                                                                   \
        "  --edges FILE           lines of user, item[, weight][, time][, split]: tabs, commas or JSON; plain or gzip'd\n" \
        "  --format F             tsv, csv or jsonl, where the first line does not show it\n"                        \
        "  --user-column C        its title, JSON field, or number from 1; so also --item-column, --weight-column,\n" \
        "                         --time-column, --split-column\n"                                                    \
        "  --use SPLIT            only these edges (train, where the file has splits)\n"                              \
        "  --one-kind             users and items are the same things with the same ids: citations, friends\n"        \
        "  --weighted             weights count; else an edge is there or not\n"                                      \
        "  --max-bad N            so many lines may be unusable (100)\n"

/* 1: not an option of these; 0: taken; below 0 after a message. */
int edges_option(struct edges *e, int option, const char *value);

/* Reads file and matrix; says what was read unless quiet.  0, or below 0 after a message on stderr. */
int edges_read(struct edges *e);

/* Adds ids that no edge has, so that what is known only by its vector can be asked for and can come back.  0 or -ENOMEM. */
int edges_adopt(struct edges *e, const struct ids_view *users, const struct ids_view *items);
void edges_finish(struct edges *e);
#endif
