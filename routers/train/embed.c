/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train embed: vectors of users and items out of edges, or out of somebody else's files.
 */
#include <math.h>

#include "als.h"
#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "edges.h"
#include "fastrp.h"
#include "parallel.h"
#include "progress.h"
#include "svd.h"
#include "vectors.h"

enum method { FASTRP, SVD, ALS };

struct embed_task {
        struct edges edges;
        const char *out, *items, *users, *item_ids, *user_ids;
        enum method method;
        struct fastrp_settings fastrp;
        double user_exponent, item_exponent, spectrum, alpha, ridge;
        long dim, seed, threads, rounds; /* rounds 0: the method's own */
        float *user, *item;
        struct id_map *user_names, *item_names; /* of imported vectors */
        size_t dim_found;
};

static int take_powers(void *fastrp, const char *value)
{
        struct fastrp_settings *s = fastrp;
        const char *at = value;
        bool any = false;
        char *end;

        s->n_powers = 0;
        for (;;) {
                double x = strtod(at, &end);

                if (end == at || !isfinite(x) || s->n_powers == FASTRP_POWERS_MAX || (*end && *end != ','))
                        break;
                s->power[s->n_powers++] = x;
                any = any || x != 0;
                if (!*end && any)
                        return 0;
                if (!*end)
                        break;
                at = end + 1;
        }
        (void)fprintf(stderr, "--powers: '%s' is not a list of 1 to %d numbers, one of them not 0\n", value, FASTRP_POWERS_MAX);
        return -EINVAL;
}

#define METHODS "fastrp|svd|als"

static const struct argument table[] = {
        EDGES_ARGUMENTS(struct embed_task, edges, 0),
        ARGUMENT_OUTPUT(struct embed_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_REPLACED,
                        "the vectors, with their ids (safetensors)"),
        ARGUMENT_CHOICE(struct embed_task, method, "method", "fastrp", METHODS,
                        "random projection of the graph, seconds; its strongest directions; or factors of implicit "
                        "feedback"),
        ARGUMENT_NUMBER(struct embed_task, dim, "dim", "256", 1, 1024, "numbers in a vector"),
        ARGUMENT_NUMBER(struct embed_task, seed, "seed", "0", 0, INT_MAX, "of what is drawn"),
        ARGUMENT_NUMBER(struct embed_task, threads, "threads", NULL, 1, PARALLEL_THREADS_MAX,
                        "threads that compute (one per processor)"),
        ARGUMENT_HEADING("fastrp:"),
        ARGUMENT_TAKEN(struct embed_task, fastrp, "powers", "W,W,...", take_powers,
                       "weights of the graph's first, second, ... power (1,0.35)"),
        ARGUMENT_REAL(struct embed_task, fastrp.beta, "beta", "-0.4", -2, 2, "what many have counts as degree^X"),
        ARGUMENT_REAL(struct embed_task, fastrp.sparsity, "sparsity", "3", 0, 1e9,
                      "one place in X of the random matrix is used; 0: the square root of the nodes"),
        ARGUMENT_FLAG(struct embed_task, fastrp.standard, "standard", "columns to mean 0 and deviation 1"),
        ARGUMENT_HEADING("svd:"),
        ARGUMENT_REAL(struct embed_task, user_exponent, "user-exponent", "0.5", 0, 2,
                      "edges are divided by their user's degree^X first"),
        ARGUMENT_REAL(struct embed_task, item_exponent, "item-exponent", "0.5", 0, 2, "and by their item's degree^X"),
        ARGUMENT_REAL(struct embed_task, spectrum, "spectrum", "1", -1, 2, "directions are weighted by their strength^X"),
        ARGUMENT_NUMBER(struct embed_task, rounds, "rounds", NULL, 1, 1000, "of power iteration (4), or of als (10)"),
        ARGUMENT_HEADING("als:"),
        ARGUMENT_REAL(struct embed_task, alpha, "alpha", "20", 1e-6, 1e6, "confidence"),
        ARGUMENT_REAL(struct embed_task, ridge, "ridge", "1", 1e-6, 1e6, "shrinkage"),
        ARGUMENT_HEADING("vectors from elsewhere:"),
        ARGUMENT_TEXT(struct embed_task, items, "items", "FILE", 0, NULL, "a matrix, .npy or safetensors with one tensor"),
        ARGUMENT_TEXT(struct embed_task, users, "users", "FILE", 0, NULL, "another"),
        ARGUMENT_TEXT(struct embed_task, item_ids, "item-ids", "FILE", 0, NULL, "ids of the items, one a line"),
        ARGUMENT_TEXT(struct embed_task, user_ids, "user-ids", "FILE", 0, NULL, "ids of the users, one a line"),
        ARGUMENT_END,
};

static const struct arguments arguments = {
        .command = "embed",
        .forms = "usage: pointsman-train embed --edges FILE --out V.safetensors [--method " METHODS "] [OPTION...]\n"
                 "       pointsman-train embed --items M.npy --item-ids FILE [--users M.npy --user-ids FILE] --out V.safetensors\n",
        .table = table,
        .note = "The same input, options and build give the same bytes; for svd and als also the same number of threads.",
};

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct embed_task *t, int argc, char **argv)
{
        int r = arguments_read(&arguments, argc, argv, t);

        if (r)
                return r;
        if (!t->edges.source.path == !t->items) {
                (void)fprintf(stderr, "embed: either --edges or --items must say where vectors come from\n");
                return 3;
        }
        if (!t->items != !t->item_ids || !t->users != !t->user_ids || (t->users && !t->items)) {
                (void)fprintf(stderr, "embed: --items goes with --item-ids, --users with --user-ids and with --items\n");
                return 3;
        }
        return 0;
}

/* ---- methods ------------------------------------------------------------------------------------------------------------- */

static int by_fastrp(struct embed_task *t)
{
        const struct sparse *m = &t->edges.matrix;
        CLEANUP(sparse_finish) struct sparse all = { 0 };
        bool one = t->edges.graph.one_kind;
        size_t dim = (size_t)t->dim;
        float *v;

        if ((one ? sparse_symmetric(m, &all) : sparse_bipartite(m, &all)) < 0)
                return -ENOMEM;
        t->fastrp.dim = dim;
        t->fastrp.seed = (uint64_t)t->seed;
        t->fastrp.threads = (unsigned)t->threads;
        v = t->user = malloc((all.rows * dim + 1) * sizeof *v);
        if (!v || fastrp(&all, &t->fastrp, v) < 0)
                return -ENOMEM;
        if (one)
                return 0;
        t->item = malloc((m->cols * dim + 1) * sizeof *v);
        if (!t->item)
                return -ENOMEM;
        memcpy(t->item, v + m->rows * dim, m->cols * dim * sizeof *v);
        return 0;
}

static void degrees(const struct sparse *m, double exponent, float *scale)
{
        sparse_sums(m, scale);
        for (size_t i = 0; i < m->rows; i++)
                scale[i] = scale[i] > 0 ? (float)pow((double)scale[i], -exponent) : 0;
}

/* Divides the edges by powers of their ends' degrees, in place. */
static int normalise(struct embed_task *t, struct sparse *m)
{
        CLEANUP(free_p) float *row = malloc((m->rows + 1) * sizeof *row), *col = malloc((m->cols + 1) * sizeof *col);
        CLEANUP(sparse_finish) struct sparse turned = { 0 };

        if (!row || !col || sparse_transpose(m, &turned) < 0)
                return -ENOMEM;
        degrees(m, t->user_exponent, row);
        degrees(&turned, t->item_exponent, col);
        for (size_t r = 0; r < m->rows; r++)
                for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++)
                        m->value[i] *= row[r] * col[m->col[i]];
        return 0;
}

static int by_factors(struct embed_task *t)
{
        struct sparse *m = &t->edges.matrix;
        size_t dim = (size_t)t->dim;
        CLEANUP(free_p) float *value = calloc(dim, sizeof *value);
        int r;

        t->user = malloc((m->rows * dim + 1) * sizeof *t->user);
        t->item = malloc((m->cols * dim + 1) * sizeof *t->item);
        if (!value || !t->user || !t->item)
                return -ENOMEM;
        if (t->method == ALS) {
                struct als_settings s = { dim, t->alpha, t->ridge, t->rounds ? (unsigned)t->rounds : 10, 3, (uint64_t)t->seed,
                                          (unsigned)t->threads, NULL, NULL };

                return als(m, &s, t->user, t->item);
        }
        r = normalise(t, m);
        if (r == 0) {
                struct svd_settings s = { dim, 20, t->rounds ? (unsigned)t->rounds : 4, (uint64_t)t->seed, (unsigned)t->threads };

                r = svd(m, &s, t->user, t->item, value);
        }
        for (size_t k = 0; r == 0 && k < dim; k++) {
                float weight = value[k] > 0 ? (float)pow((double)value[k], t->spectrum) : 0;

                for (size_t i = 0; i < m->rows; i++)
                        t->user[i * dim + k] *= weight;
                for (size_t i = 0; i < m->cols; i++)
                        t->item[i * dim + k] *= weight;
        }
        return r;
}

/* ---- vectors from elsewhere ----------------------------------------------------------------------------------------------- */

static int read_ids(const char *path, size_t wanted, struct id_map **ret)
{
        CLEANUP(fclose_p) FILE *f = fopen(path, "re");
        CLEANUP(free_p) char *line = NULL;
        size_t room = 0, number = 0;
        ssize_t n;
        int r = id_map_create(ret);

        if (!f) {
                (void)fprintf(stderr, "%s: cannot open: %s\n", path, ERRNO_TEXT(errno));
                return -EIO;
        }
        while (r == 0 && (n = getline(&line, &room, f)) >= 0) {
                uint32_t got;

                while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                        n--;
                r = id_map_add(*ret, line, (size_t)n, &got);
                if (r == 0 && got != number)
                        r = -EEXIST;
                number++;
        }
        if (r < 0 && r != -ENOMEM)
                (void)fprintf(stderr, "%s:%zu: %s\n", path, number,
                              r == -EEXIST ? "this id was there before" : "an id has 1 to 512 bytes, and there are at most 2^31 - 1");
        if (r == 0 && number != wanted) {
                (void)fprintf(stderr, "%s: %zu ids for %zu vectors\n", path, number, wanted);
                r = -EINVAL;
        }
        return r;
}

static int import_side(struct embed_task *t, const char *matrix, const char *ids, float **v, struct id_map **names)
{
        char why[256];
        size_t rows, cols;
        int r = vectors_import(matrix, NULL, v, &rows, &cols, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", matrix, r == -ENOMEM ? "out of memory" : why);
                return r;
        }
        if (t->dim_found && t->dim_found != cols) {
                (void)fprintf(stderr, "%s: vectors of %zu numbers, the items' have %zu\n", matrix, cols, t->dim_found);
                return -EINVAL;
        }
        t->dim_found = cols;
        return read_ids(ids, rows, names);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static int write_out(struct embed_task *t)
{
        bool imported = t->items != NULL;
        struct id_map *users = imported ? t->user_names : t->edges.graph.users, *items = imported ? t->item_names : t->edges.graph.items;
        struct vectors_side user = { .row = t->user }, item = { .row = t->item ? t->item : t->user };
        static const char *const methods[] = { "fastrp", "svd", "als" };
        char dim[32], seed[32], why[256];
        const char *meta[] = { "method", imported ? "imported" : methods[t->method], "dim", dim, "seed", seed, "data",
                               imported ? "" : t->edges.graph.digest, "made_by", "pointsman-train " PM_VERSION,
                               "one_kind", imported ? "" : t->edges.graph.one_kind ? "true" : "false", NULL };
        int r;

        if (users)
                user.names = id_map_view(users);
        item.names = id_map_view(items);
        (void)snprintf(dim, sizeof dim, "%zu", t->dim_found);
        (void)snprintf(seed, sizeof seed, "%ld", t->seed);
        r = vectors_write(t->out, &user, &item, t->dim_found, meta, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", t->out, why);
        else
                (void)printf("%s: %zu vectors of items and %zu of users, %zu numbers each\n", t->out, item.names.n,
                             user.names.n, t->dim_found);
        return r;
}

static int embed(struct embed_task *t)
{
        int64_t began;
        size_t bad;
        int r;

        if (t->items) {
                r = import_side(t, t->items, t->item_ids, &t->item, &t->item_names);
                if (r == 0 && t->users)
                        r = import_side(t, t->users, t->user_ids, &t->user, &t->user_names);
                return r < 0 ? r : write_out(t);
        }
        r = edges_read(&t->edges);
        if (r < 0)
                return r;
        began = now_us();
        t->dim_found = (size_t)t->dim;
        r = t->method == FASTRP ? by_fastrp(t) : by_factors(t);
        progress_done();
        if (r < 0)
                return r;
        (void)printf("embedded in %.2f s on %ld threads\n", (double)(now_us() - began) / 1e6, t->threads);
        bad = vectors_not_finite(t->user, t->edges.matrix.rows * t->dim_found);
        if (bad == SIZE_MAX && t->item)
                bad = vectors_not_finite(t->item, t->edges.matrix.cols * t->dim_found);
        if (bad != SIZE_MAX) {
                (void)fprintf(stderr, "embed: a number is not finite: less extreme weights, --alpha or --spectrum are needed\n");
                return -EDOM;
        }
        return write_out(t);
}

int command_embed(int argc, char **argv)
{
        struct embed_task t = { .fastrp = { .power = { 1, .35 }, .n_powers = 2 }, .threads = (long)parallel_processors() };
        int r = read_arguments(&t, argc, argv);

        if (r != 0)
                return r - 1;
        r = embed(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "embed: out of memory\n");
        edges_finish(&t.edges);
        id_map_destroy(t.user_names);
        id_map_destroy(t.item_names);
        free(t.user);
        free(t.item);
        return r < 0;
}
