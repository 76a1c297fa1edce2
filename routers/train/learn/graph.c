/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is read in blocks through zlib, which also reads plain files; lines are taken apart where they lie in the block.  Edges keep
 * the order of the file, so that the numbers of users and items, and all that is trained from them, depend on the file alone.
 */
#include <jansson.h>
#include <zlib.h>

#include "base.h"
#include "gzip.h"
#include "cleanup.h"
#include "error.h"
#include "graph.h"
#include "graph_line.h"

#define BLOCK ((size_t)1 << 20)
#define PROGRESS_LINES 65536

struct graph_reading {
        const struct graph_source *source;
        struct graph *graph;
        struct graph_layout layout;
        size_t number, room;
        char *why;
        size_t why_size;
};

static int split_of(struct graph *g, const char *name, size_t n, uint32_t *ret)
{
        for (size_t i = 0; i < g->n_splits; i++)
                if (strlen(g->split[i]) == n && memcmp(g->split[i], name, n) == 0) {
                        *ret = (uint32_t)i;
                        return 0;
                }
        if (g->n_splits == GRAPH_SPLITS_MAX)
                return -ENOSPC;
        g->split[g->n_splits] = strndup(name, n);
        if (!g->split[g->n_splits])
                return -ENOMEM;
        *ret = (uint32_t)g->n_splits++;
        return 0;
}

/* Adds a row as an edge; -EINVAL and why, if it cannot be one. */
static int add_edge(struct graph_reading *x, const struct graph_row *row, char *why, size_t why_size)
{
        struct graph *g = x->graph;
        struct graph_edge e = { .weight = row->weight, .time = row->time };
        int r = split_of(g, row->split, row->split_n, &e.split);

        if (r == -ENOSPC)
                return set_error(why, why_size, "split '%.*s' is the %dth: is it the right column?", (int)row->split_n,
                                 row->split, GRAPH_SPLITS_MAX + 1);
        if (r < 0)
                return r;
        r = id_map_add(g->users, row->user, row->user_n, &e.user);
        if (r == 0)
                r = id_map_add(g->items, row->item, row->item_n, &e.item);
        if (r < 0)
                return r;
        if (g->n == x->room) {
                size_t room = MAX(x->room * 2, (size_t)65536);
                struct graph_edge *grown = realloc(g->edge, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                g->edge = grown;
                x->room = room;
        }
        if (g->n == GRAPH_EDGES_MAX)
                return -ENOSPC;
        g->edge[g->n++] = e;
        return 0;
}

/* One line; below 0 ends the reading. */
static int take_line(struct graph_reading *x, char *line, size_t n)
{
        CLEANUP(json_p) json_t *json = NULL;
        struct graph *g = x->graph;
        struct graph_row row;
        char why[224] = "";
        int r;

        x->number++;
        if (x->number % PROGRESS_LINES == 0 && x->source->progress)
                x->source->progress(x->source->ctx, x->number);
        r = graph_line(&x->layout, line, n, &json, &row, why, sizeof why);
        if (r == 0)
                return 0;
        g->lines++;
        if (r > 0)
                r = add_edge(x, &row, why, sizeof why);
        if (r == 0)
                return 0;
        if (r == -ENOENT)
                return set_error(x->why, x->why_size, "line %zu: %s", x->number, why);
        if (r != -EINVAL)
                return r;
        g->bad++;
        if (g->n_named < GRAPH_NAMED_MAX) {
                struct graph_bad *bad = &g->named[g->n_named++];

                bad->line = x->number;
                memcpy(bad->why, why, sizeof bad->why);
        }
        if (g->bad > x->source->max_bad)
                return set_error(x->why, x->why_size, "%zu unusable lines of %zu, at most %zu are allowed", g->bad, g->lines,
                                 x->source->max_bad);
        return 0;
}

static int take_lines(struct graph_reading *x, gzFile f)
{
        CLEANUP(free_p) char *block = malloc(BLOCK + GRAPH_LINE_MAX);
        struct digest digest;
        uint8_t sum[DIGEST_SIZE];
        size_t held = 0; /* bytes of a line whose end has not come yet */
        int got, r = 0;

        if (!block)
                return -ENOMEM;
        digest_begin(&digest);
        while (r == 0 && (got = gzread(f, block + held, (unsigned)BLOCK)) > 0) {
                char *at = block, *end = block + held + got, *newline;

                digest_add(&digest, block + held, (size_t)got);
                while (r == 0 && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
                        r = take_line(x, at, (size_t)(newline - at));
                        at = newline + 1;
                }
                held = (size_t)(end - at);
                if (r == 0 && held > GRAPH_LINE_MAX) {
                        digest_drop(&digest);
                        return set_error(x->why, x->why_size, "line %zu is longer than a mebibyte", x->number + 1);
                }
                memmove(block, at, held);
        }
        if (r == 0 && got < 0) {
                digest_drop(&digest);
                (void)set_error(x->why, x->why_size, "line %zu: damaged gzip data", x->number + 1);
                return -EIO;
        }
        if (r == 0 && held > 0)
                r = take_line(x, block, held);
        if (digest_end(&digest, sum) < 0)
                return r < 0 ? r : -ENOMEM;
        digest_hex(sum, x->graph->digest);
        return r;
}

static int read_into(struct graph_reading *x)
{
        CLEANUP(gzclose_p) gzFile f = gzopen(x->source->path, "rbe");
        int error, r;

        if (!f) {
                r = errno ? -errno : -ENOMEM;
                (void)snprintf(x->why, x->why_size, "cannot open: %s", ERRNO_TEXT(r));
                return r;
        }
        (void)gzbuffer(f, 1 << 17);
        r = take_lines(x, f);
        (void)gzerror(f, &error);
        if (r == 0 && error == Z_BUF_ERROR) {
                (void)set_error(x->why, x->why_size, "line %zu: the gzip data is truncated", x->number + 1);
                return -EIO;
        }
        if (r == 0 && x->graph->n == 0) {
                (void)set_error(x->why, x->why_size, "no edge in %zu lines", x->number);
                return -ENODATA;
        }
        return r;
}

int graph_read(const struct graph_source *s, struct graph *ret, char *why, size_t why_size)
{
        struct graph_reading x = { .source = s, .graph = ret, .why = why, .why_size = why_size };
        int r;

        why[0] = '\0';
        *ret = (struct graph){ .one_kind = s->one_kind };
        r = graph_layout_begin(&x.layout, s, why, why_size);
        if (r == 0)
                r = id_map_create(&ret->users);
        if (r == 0 && s->one_kind)
                ret->items = ret->users;
        else if (r == 0)
                r = id_map_create(&ret->items);
        if (r == 0)
                r = read_into(&x);
        if (r < 0 && why[0] == '\0')
                (void)snprintf(why, why_size, "%s", r == -ENOSPC ? "too many ids or edges" : ERRNO_TEXT(r));
        return r;
}

void graph_finish(struct graph *g)
{
        free(g->edge);
        if (!g->one_kind)
                id_map_destroy(g->items);
        id_map_destroy(g->users);
        for (size_t i = 0; i < g->n_splits; i++)
                free(g->split[i]);
        *g = (struct graph){ 0 };
}

size_t graph_users(const struct graph *g)
{
        return id_map_view(g->users).n;
}

size_t graph_items(const struct graph *g)
{
        return id_map_view(g->items).n;
}

size_t graph_split(const struct graph *g, const char *name)
{
        for (size_t i = 0; i < g->n_splits; i++)
                if (strcmp(g->split[i], name) == 0)
                        return i;
        return SIZE_MAX;
}

int graph_matrix(const struct graph *g, size_t split, bool weighted, struct sparse *ret)
{
        CLEANUP(free_p) struct sparse_cell *cell = malloc((g->n + 1) * sizeof *cell);
        size_t n = 0;
        int r;

        if (!cell)
                return -ENOMEM;
        for (size_t i = 0; i < g->n; i++) {
                const struct graph_edge *e = &g->edge[i];

                if ((split == SIZE_MAX || e->split == split) && !(g->one_kind && e->user == e->item))
                        cell[n++] = (struct sparse_cell){ e->user, e->item, weighted ? e->weight : 1 };
        }
        r = sparse_create(graph_users(g), graph_items(g), cell, n, ret);
        for (size_t i = 0; r == 0 && !weighted && i < sparse_cells(ret); i++)
                ret->value[i] = 1;
        return r;
}
