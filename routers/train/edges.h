/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges.h - the file of edges that embed, interests and eval interests read: its options, its messages, its matrix.
 */
#ifndef PM_EDGES_H
#define PM_EDGES_H

#include <stdbool.h>

#include "arguments.h"
#include "graph.h"

struct edges {
        struct graph_source source;
        const char *use;        /* the split that is trained on; NULL: the only one, or "train" */
        bool weighted, quiet;
        struct graph graph;
        struct sparse matrix;   /* of `use` */
        size_t used;            /* its index */
};

/* To stand among a command's options: e is a field of T. */
#define EDGES_ARGUMENTS(T, e, required)                                                                                 \
        ARGUMENT_TEXT(T, e.source.path, "edges", "FILE", required, NULL,                                                \
                      "lines of user, item[, weight][, time][, split]: tabs, commas or JSON; plain or gzip'd"),         \
        ARGUMENT_CHOICE(T, e.source.format, "format", "auto", "auto|tsv|csv|jsonl", "auto: as the first line shows"),   \
        ARGUMENT_TEXT(T, e.source.user, "user-column", "C", 0, NULL, "its title, JSON field, or number from 1; so also the next ones"), \
        ARGUMENT_TEXT(T, e.source.item, "item-column", "C", 0, NULL, "of the item"),                                    \
        ARGUMENT_TEXT(T, e.source.weight, "weight-column", "C", 0, NULL, "of the weight"),                              \
        ARGUMENT_TEXT(T, e.source.time, "time-column", "C", 0, NULL, "of the time"),                                    \
        ARGUMENT_TEXT(T, e.source.split, "split-column", "C", 0, NULL, "of the split"),                                 \
        ARGUMENT_TEXT(T, e.use, "use", "SPLIT", 0, NULL, "only these edges (train, where the file has splits)"),        \
        ARGUMENT_FLAG(T, e.source.one_kind, "one-kind", "users and items are the same things with the same ids: citations, friends"), \
        ARGUMENT_FLAG(T, e.weighted, "weighted", "weights count; else an edge is there or not"),                        \
        ARGUMENT_MANY(T, e.source.max_bad, "max-bad", "100", 0, "so many lines may be unusable")

/* Reads file and matrix; says what was read unless quiet.  0, or below 0 after a message on stderr. */
int edges_read(struct edges *e);

/* Adds ids that no edge has, so that what is known only by its vector can be asked for and can come back.  0 or -ENOMEM. */
int edges_adopt(struct edges *e, const struct id_map_view *users, const struct id_map_view *items);
void edges_finish(struct edges *e);
#endif
