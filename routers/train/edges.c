/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bad lines are told with file and line, as a compiler tells them.
 */
#include "base.h"
#include "edges.h"
#include "progress.h"

static void show(void *ctx, size_t lines)
{
        (void)ctx;
        progress_show("reading", lines, 0);
}

/* The split that is trained on. */
static int choose_split(struct edges *e)
{
        const struct graph *g = &e->graph;

        if (!e->use && g->n_splits == 1) {
                e->used = 0;
                return 0;
        }
        e->used = graph_split(g, e->use ? e->use : "train");
        if (e->used != SIZE_MAX)
                return 0;
        (void)fprintf(stderr, "%s: no edge is of split '%s'; there are:", e->source.path, e->use ? e->use : "train");
        for (size_t i = 0; i < g->n_splits; i++)
                (void)fprintf(stderr, " '%s'", g->split[i]);
        (void)fprintf(stderr, " (--use names one)\n");
        return -EINVAL;
}

static void tell(const struct edges *e, double seconds)
{
        const struct graph *g = &e->graph;
        size_t longest = 0, of[GRAPH_SPLITS_MAX] = { 0 };

        for (size_t i = 0; i < e->matrix.rows; i++)
                longest = MAX(longest, (size_t)(e->matrix.start[i + 1] - e->matrix.start[i]));
        for (size_t i = 0; i < g->n; i++)
                of[g->edge[i].split]++;
        (void)printf("%s: %zu edges, %zu users, %zu items", e->source.path, g->n, graph_users(g), graph_items(g));
        for (size_t i = 0; i < g->n_splits && g->n_splits > 1; i++)
                (void)printf("%s%s %zu", i ? ", " : " (", g->split[i], of[i]);
        (void)printf("%s; trained on %zu, the longest history has %zu; read in %.1f s\n", g->n_splits > 1 ? ")" : "",
                     sparse_cells(&e->matrix), longest, seconds);
}

int edges_read(struct edges *e)
{
        int64_t began = now_us();
        char why[256];
        int r;

        e->source.progress = show;
        r = graph_read(&e->source, &e->graph, why, sizeof why);
        progress_done();
        for (size_t i = 0; i < e->graph.n_named; i++)
                (void)fprintf(stderr, "%s:%zu: %s, ignoring the line\n", e->source.path, e->graph.named[i].line, e->graph.named[i].why);
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", e->source.path, why);
                return r;
        }
        if (e->graph.bad > 0)
                (void)fprintf(stderr, "%s: %zu of %zu lines were unusable, ignoring them\n", e->source.path, e->graph.bad,
                              e->graph.lines);
        r = choose_split(e);
        if (r == 0)
                r = graph_matrix(&e->graph, e->graph.n_splits == 1 ? SIZE_MAX : e->used, e->weighted, &e->matrix);
        if (r == 0 && sparse_cells(&e->matrix) == 0) {
                (void)fprintf(stderr, "%s: only edges from things to themselves are left\n", e->source.path);
                r = -ENODATA;
        }
        if (r == 0 && !e->quiet)
                tell(e, (double)(now_us() - began) / 1e6);
        return r;
}

static int adopt(struct id_map *to, const struct id_map_view *from)
{
        for (size_t i = 0; i < from->n; i++) {
                uint32_t number;
                size_t n;
                const char *id = id_map_at(from, (uint32_t)i, &n);
                int r = id_map_add(to, id, n, &number);

                if (r < 0)
                        return r;
        }
        return 0;
}

int edges_adopt(struct edges *e, const struct id_map_view *users, const struct id_map_view *items)
{
        struct sparse *m = &e->matrix;
        uint64_t *start;
        int r = adopt(e->graph.users, users);

        if (r == 0)
                r = adopt(e->graph.items, items);
        if (r < 0)
                return r;
        start = realloc(m->start, (graph_users(&e->graph) + 1) * sizeof *start);
        if (!start)
                return -ENOMEM;
        m->start = start;
        for (; m->rows < graph_users(&e->graph); m->rows++)
                start[m->rows + 1] = start[m->rows];
        m->cols = graph_items(&e->graph);
        return 0;
}

void edges_finish(struct edges *e)
{
        sparse_finish(&e->matrix);
        graph_finish(&e->graph);
}
