/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items are numbered anew, by cell and within it by how often they were taken; users by cell too.  So what belongs together lies
 * together, in the file and in memory.
 */
#include <math.h>

#include "base.h"
#include "catalogue_build_parts.h"
#include "cluster.h"
#include "dot.h"
#include "parallel.h"

#define NEAR_CELLS 192
#define USER_MAX 2000      /* items of a user that lists of things taken along are made from */
#define SAMPLE 32          /* vectors a centre that k-means is trained on */

static void side_finish(struct side *s)
{
        free(s->order);
        free(s->number);
        id_map_destroy(s->names);
        free(s->vector);
        free(s->scale);
        free(s->centre);
        free(s->code);
        free(s->first);
        free(s->near);
}

static void build_finish(struct build *b)
{
        side_finish(&b->items);
        side_finish(&b->users);
        free(b->count);
        free(b->popular);
        free(b->history_start);
        free(b->history);
        free(b->near_user);
        sparse_finish(&b->tagged);
        cooccurrence_finish(&b->also);
}

/* ---- numbering ------------------------------------------------------------------------------------------------------------- */

/* The vectors of the old numbers, of length 1, or zeros. */
static float *gather(const struct id_map_view *ids, const struct vectors_side *from, size_t dim)
{
        float *v = calloc(ids->n * dim + 1, sizeof *v);

        for (size_t i = 0; v && i < ids->n; i++) {
                size_t n;
                const char *id = id_map_at(ids, (uint32_t)i, &n);
                uint32_t row = from->names.n > 0 ? id_map_find(&from->names, id, n) : ID_MAP_NONE;

                if (row == ID_MAP_NONE)
                        continue;
                memcpy(v + i * dim, from->row + (size_t)row * dim, dim * sizeof *v);
                if (!(dot_normalise(v + i * dim, dim) > 0))
                        memset(v + i * dim, 0, dim * sizeof *v);
        }
        return v;
}

struct ranked_vertex {
        uint32_t cell, count, old;
};

static int by_cell(const void *a, const void *b)
{
        const struct ranked_vertex *x = a, *y = b;

        if (x->cell != y->cell)
                return x->cell < y->cell ? -1 : 1;
        if (x->count != y->count)
                return x->count > y->count ? -1 : 1;
        return (x->old > y->old) - (x->old < y->old);
}

static bool is_zero(const float *v, size_t dim)
{
        for (size_t k = 0; k < dim; k++)
                if (v[k] < 0 || v[k] > 0)
                        return false;
        return true;
}

/* Clusters v[n][dim] and fills order: cells one behind the other, what has no vector at the end. */
static int number_anew(struct build *b, struct side *s, const float *v, const uint32_t *count, size_t cells)
{
        const struct catalogue_recipe *p = b->recipe;
        CLEANUP(free_p) struct ranked_vertex *rank = calloc(s->n + 1, sizeof *rank);
        CLEANUP(free_p) float *placed = malloc((s->n * s->dim + 1) * sizeof *placed);
        CLEANUP(free_p) uint32_t *cell = malloc((s->n + 1) * sizeof *cell);
        struct cluster_settings k = { .rounds = p->rounds, .seed = p->seed, .threads = p->threads, .sample = SAMPLE };
        int r = 0;

        if (!rank || !placed || !cell)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++)
                if (!is_zero(v + i * s->dim, s->dim))
                        memcpy(placed + s->placed++ * s->dim, v + i * s->dim, s->dim * sizeof *v);
        /* a dozen in a cell; of a large catalogue more, since every round of k-means compares all vectors with all centres */
        k.k = s->n_cells = MIN(cells ? cells : MAX(MIN(s->placed / 14, MAX((size_t)(8 * sqrt((double)s->placed)), (size_t)4000)), (size_t)1),
                                 s->placed);
        s->centre = calloc(s->n_cells * s->dim + 1, sizeof *s->centre);
        if (!s->centre)
                return -ENOMEM;
        if (s->placed > 0) {
                r = cluster_train(placed, s->placed, s->dim, &k, s->centre, b->why, b->why_size);
                if (r == 0)
                        r = cluster_assign(placed, s->placed, s->dim, s->centre, s->n_cells, 1, p->threads, cell, b->why, b->why_size);
        }
        if (r < 0)
                return r;
        for (size_t i = 0, at = 0; i < s->n; i++)
                rank[i] = (struct ranked_vertex){ is_zero(v + i * s->dim, s->dim) ? IVF_NONE : cell[at++], count[i], (uint32_t)i };
        qsort(rank, s->n, sizeof *rank, by_cell);
        s->first = calloc(s->n_cells + 1, sizeof *s->first);
        s->order = malloc((s->n + 1) * sizeof *s->order);
        s->number = malloc((s->n + 1) * sizeof *s->number);
        if (!s->first || !s->order || !s->number)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++) {
                s->order[i] = rank[i].old;
                s->number[rank[i].old] = (uint32_t)i;
                if (rank[i].cell != IVF_NONE)
                        s->first[rank[i].cell + 1]++;
        }
        for (size_t c = 0; c < s->n_cells; c++)
                s->first[c + 1] += s->first[c];
        return 0;
}

static int fill_side(struct build *b, struct side *s, const struct id_map_view *ids, const float *v)
{
        int r = id_map_create(&s->names);

        s->vector = malloc((s->n * s->dim + 1) * sizeof *s->vector);
        s->code = malloc(s->n * s->dim + 1);
        s->scale = malloc((s->n + 1) * sizeof *s->scale);
        s->n_near = MIN((size_t)NEAR_CELLS, s->n_cells);
        s->near = malloc((s->n_cells * s->n_near + 1) * sizeof *s->near);
        if (r < 0 || !s->vector || !s->code || !s->scale || !s->near)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++) {
                size_t n;
                const char *id = id_map_at(ids, s->order[i], &n);
                uint32_t got;

                if (id_map_add(s->names, id, n, &got) < 0)
                        return -ENOMEM;
                memcpy(s->vector + i * s->dim, v + (size_t)s->order[i] * s->dim, s->dim * sizeof *v);
                s->scale[i] = dot_quantise(s->vector + i * s->dim, s->dim, s->code + i * s->dim);
        }
        if (s->n_cells == 0)
                return 0;
        r = cluster_assign(s->centre, s->n_cells, s->dim, s->centre, s->n_cells, s->n_near, b->recipe->threads, s->near, b->why,
                           b->why_size);
        for (size_t c = 0; r == 0 && c < s->n_cells; c++) { /* itself first, also where rounding or an equal centre says otherwise */
                uint32_t *row = s->near + c * s->n_near;
                size_t at = 0;

                while (at + 1 < s->n_near && row[at] != c)
                        at++;
                memmove(row + 1, row, at * sizeof *row);
                row[0] = (uint32_t)c;
        }
        return r;
}

/* ---- lists ------------------------------------------------------------------------------------------------------------------ */

struct event {
        uint32_t item;
        int64_t time;
};

static int by_item(const void *a, const void *b)
{
        const struct event *x = a, *y = b;

        if (x->item != y->item)
                return x->item < y->item ? -1 : 1;
        return (x->time < y->time) - (x->time > y->time);
}

static int newest_first(const void *a, const void *b)
{
        const struct event *x = a, *y = b;

        if (x->time != y->time)
                return x->time < y->time ? 1 : -1;
        return (x->item > y->item) - (x->item < y->item);
}

/* Each user's items, newest first, each once. */
static int make_histories(struct build *b)
{
        const struct graph *g = b->recipe->graph;
        size_t n = b->users.n, at = 0;
        CLEANUP(free_p) uint64_t *end = calloc(n + 2, sizeof *end);
        CLEANUP(free_p) struct event *event = malloc((g->n + 1) * sizeof *event);

        b->history_start = calloc(n + 1, sizeof *b->history_start);
        b->history = malloc((g->n + 1) * sizeof *b->history);
        if (!end || !event || !b->history_start || !b->history)
                return -ENOMEM;
        for (int pass = 0; pass < 2; pass++) {
                for (size_t i = 0; i < g->n; i++) {
                        const struct graph_edge *e = &g->edge[i];
                        uint32_t user = b->users.number[e->user];

                        if ((b->recipe->split != SIZE_MAX && e->split != b->recipe->split) || (g->one_kind && e->user == e->item))
                                continue;
                        if (pass == 0)
                                end[user + 1]++;
                        else
                                event[end[user]++] = (struct event){ b->items.number[e->item], e->time };
                }
                for (size_t u = 0; pass == 0 && u < n; u++)
                        end[u + 1] += end[u];
        }
        for (size_t u = 0, begin = 0; u < n; begin = end[u++]) { /* end[u] is now the end of u */
                size_t kept = begin;

                qsort(event + begin, end[u] - begin, sizeof *event, by_item);
                for (size_t i = begin; i < end[u]; i++)
                        if (i == begin || event[i].item != event[i - 1].item) {
                                event[kept] = event[i]; /* its latest time; what stands before i keeps its item, so that the next one can compare */
                                kept++;
                        }
                qsort(event + begin, kept - begin, sizeof *event, newest_first);
                for (size_t i = begin; i < kept; i++)
                        b->history[at++] = event[i].item;
                b->history_start[u + 1] = at;
        }
        return 0;
}

static int make_popular(struct build *b)
{
        size_t n = b->items.n;
        CLEANUP(free_p) struct ranked_vertex *rank = calloc(n + 1, sizeof *rank);

        b->popular = malloc((n + 1) * sizeof *b->popular);
        if (!rank || !b->popular)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                rank[i] = (struct ranked_vertex){ 0, b->count[i], (uint32_t)i };
        qsort(rank, n, sizeof *rank, by_cell);
        for (size_t i = 0; i < n; i++)
                b->popular[i] = rank[i].old;
        return 0;
}

/* The matrix in the new numbering. */
static int renumber(const struct build *b, struct sparse *ret)
{
        const struct sparse *m = b->recipe->matrix;
        CLEANUP(free_p) struct sparse_cell *cell = malloc((sparse_cells(m) + 1) * sizeof *cell);
        size_t n = 0;

        if (!cell)
                return -ENOMEM;
        for (size_t u = 0; u < m->rows; u++)
                for (uint64_t i = m->start[u]; i < m->start[u + 1]; i++)
                        cell[n++] = (struct sparse_cell){ b->users.number[u], b->items.number[m->col[i]], m->value[i] };
        return sparse_create(m->rows, m->cols, cell, n, ret);
}

struct neighbours {
        const struct ivf *cells;
        size_t near, budget;
        uint32_t *ret;
        int failed;
};

static void find_neighbours(void *ctx, size_t begin, size_t end)
{
        struct neighbours *x = ctx;
        CLEANUP(free_p) struct ivf_hit *hit = malloc((x->near + 1) * sizeof *hit);
        struct ivf_room *room = NULL;

        if (!hit || ivf_room_create(x->cells, &room) < 0) {
                __atomic_store_n(&x->failed, 1, __ATOMIC_RELAXED);
                return;
        }
        for (size_t u = begin; u < end; u++) {
                size_t found = 0, kept = 0;

                if (u < x->cells->start[x->cells->n_cells])
                        found = ivf_search(x->cells, x->cells->vector + u * x->cells->dim, IVF_NONE,
                                           x->budget ? x->budget : SIZE_MAX, x->near + 1, room, hit);
                for (size_t i = 0; i < found && kept < x->near; i++)
                        if (hit[i].id != u)
                                x->ret[u * x->near + kept++] = hit[i].id;
                while (kept < x->near)
                        x->ret[u * x->near + kept++] = ID_MAP_NONE;
        }
        ivf_room_destroy(room);
}

static struct ivf cells_of_side(const struct side *s)
{
        return (struct ivf){ s->dim, s->n, s->n_cells, s->n_near, s->first, s->centre, s->near, s->vector, s->code, s->scale };
}

static int make_neighbours(struct build *b)
{
        struct ivf cells = cells_of_side(&b->users);
        struct neighbours x = { &cells, b->recipe->near, b->recipe->near_budget, NULL, 0 };

        b->near_user = x.ret = malloc((b->users.n * x.near + 1) * sizeof *x.ret);
        if (!x.ret)
                return -ENOMEM;
        parallel_rows(b->recipe->threads, b->users.n, 1024, find_neighbours, &x);
        return x.failed ? -ENOMEM : 0;
}

static int make_tags(struct build *b)
{
        const struct catalogue_recipe *p = b->recipe;
        CLEANUP(free_p) struct sparse_cell *cell = malloc((p->n_tagged + 1) * sizeof *cell);

        if (!cell)
                return -ENOMEM;
        for (size_t i = 0; i < p->n_tagged; i++)
                cell[i] = (struct sparse_cell){ p->tagged[i].row, b->items.number[p->tagged[i].col], 1 };
        return sparse_create(p->tags ? id_map_view(p->tags).n : 0, b->items.n, cell, p->n_tagged, &b->tagged);
}

static int make(struct build *b)
{
        const struct catalogue_recipe *p = b->recipe;
        struct id_map_view item_ids = id_map_view(p->graph->items), user_ids = id_map_view(p->graph->users);
        CLEANUP(sparse_finish) struct sparse turned = { 0 };
        CLEANUP(free_p) float *items = NULL, *users = NULL;
        CLEANUP(free_p) uint32_t *taken = NULL;
        int r;

        build_stage(b, "clustering");
        b->items = (struct side){ .n = item_ids.n, .dim = p->vectors->dim };
        b->users = (struct side){ .n = user_ids.n, .dim = p->vectors->dim };
        items = gather(&item_ids, &p->vectors->items, b->items.dim);
        users = gather(&user_ids, &p->vectors->users, b->users.dim);
        taken = calloc(MAX(item_ids.n, user_ids.n) + 1, sizeof *taken);
        b->count = malloc((item_ids.n + 1) * sizeof *b->count);
        if (!items || !users || !taken || !b->count)
                return -ENOMEM;
        r = number_anew(b, &b->users, users, taken,
                        p->user_cells ? p->user_cells : MAX((size_t)(2 * sqrt((double)user_ids.n)), (size_t)1));
        for (size_t i = 0; i < sparse_cells(p->matrix); i++)
                taken[p->matrix->col[i]]++;
        if (r == 0)
                r = number_anew(b, &b->items, items, taken, p->cells);
        for (size_t i = 0; r == 0 && i < item_ids.n; i++)
                b->count[i] = taken[b->items.order[i]];
        if (r == 0)
                r = fill_side(b, &b->items, &item_ids, items);
        if (r == 0)
                r = fill_side(b, &b->users, &user_ids, users);
        if (r < 0)
                return r;
        build_stage(b, "lists");
        if (make_histories(b) < 0 || make_popular(b) < 0 || make_tags(b) < 0 || renumber(b, &turned) < 0)
                return -ENOMEM;
        r = cooccurrence_make(&turned, &(struct cooccurrence_settings){ p->user_exponent, p->item_exponent, p->also, USER_MAX, p->threads }, &b->also);
        if (r < 0)
                return r;
        build_stage(b, "users alike");
        return make_neighbours(b);
}

int catalogue_build(const struct catalogue_recipe *recipe, const char *folder, char *why, size_t why_size)
{
        struct build b = { .recipe = recipe, .why = why, .why_size = why_size };
        int r;

        why[0] = '\0';
        r = make(&b);
        if (r == 0)
                r = catalogue_write(&b, folder);
        if (r < 0 && why[0] == '\0')
                (void)snprintf(why, why_size, "%s", ERRNO_TEXT(r));
        build_finish(&b);
        return r;
}
