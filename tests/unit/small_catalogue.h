/* SPDX-License-Identifier: Apache-2.0 */
/*
 * small_catalogue.h - a catalogue of a generated graph, made in a folder of its own, for tests.
 *
 * 120 users of four tastes over 80 items of four kinds (item i is of kind i % 4): user u takes about ten items, mostly of taste u % 4 and
 * some of the next.  Items "i0".."i79", users "u0".."u119"; "i80" and "u120" stand in an edge that is not trained on, so they are
 * known and have nothing.  Attributes: "kind=0".."kind=3", "odd=true" or "odd=false", and "expert=small" for kinds 0 and 1, "expert=large"
 * for 2 and 3.
 */
#ifndef TESTS_SMALL_CATALOGUE_H
#define TESTS_SMALL_CATALOGUE_H

#include <criterion/criterion.h>

#include "base.h"
#include "catalogue_build.h"
#include "fastrp.h"
#include "folder.h"
#include "noise.h"

#define SMALL_USERS 120
#define SMALL_ITEMS 80

static inline void small_edges(FILE *f)
{
        (void)fprintf(f, "#user\titem\tsplit\n");
        for (unsigned u = 0; u < SMALL_USERS; u++)
                for (unsigned i = 0; i < SMALL_ITEMS; i++) {
                        double p = i % 4 == u % 4 ? .4 : i % 4 == (u + 1) % 4 ? .12 : .01;

                        if (noise_uniform(noise_bits(1, u, i)) < p)
                                (void)fprintf(f, "u%u\ti%u\ttrain\n", u, i);
                        else if (noise_uniform(noise_bits(2, u, i)) < p / 3)
                                (void)fprintf(f, "u%u\ti%u\ttest\n", u, i);
                }
        (void)fprintf(f, "u120\ti80\ttest\n");
}

static inline void small_vectors(const struct graph *g, const struct sparse *m, const char *path)
{
        struct fastrp_settings s = { .dim = 16, .power = { 1, 1 }, .n_powers = 2, .beta = -.5, .sparsity = 1, .threads = 1 };
        struct vectors_side users = { .names = id_map_view(g->users) }, items = { .names = id_map_view(g->items) };
        struct sparse all;
        char why[256];
        float *v;

        cr_assert_eq(sparse_bipartite(m, &all), 0);
        v = calloc(all.rows * s.dim, sizeof *v);
        cr_assert_eq(fastrp(&all, &s, v), 0);
        users.row = v;
        items.row = v + m->rows * s.dim;
        cr_assert_eq(vectors_write(path, &users, &items, s.dim, NULL, why, sizeof why), 0, "%s", why);
        free(v);
        sparse_finish(&all);
}

/* The number of item "i17", whose id has no NUL behind it. */
static inline unsigned small_number(const char *id, size_t n)
{
        unsigned number = 0;

        for (size_t i = 1; i < n; i++)
                number = 10 * number + (unsigned)(id[i] - '0');
        return number;
}

/* Makes the folder that `at` (a template for mkdtemp) becomes, with a FAISS index if there is a factory string. */
static inline void small_catalogue(char *at, const char *factory)
{
        struct catalogue_recipe p = { .cells = 8, .user_cells = 4, .rounds = 10, .threads = 1, .near = 10, .also = 20, .user_exponent = .5,
                                      .item_exponent = .5, .factory = factory,
                                      .settings = { .interests = 8, .neighbours = 5, .own = .6, .near = 1, .also = 1, .votes = .5,
                                                    .popular = .1, .sharpness = 4, .pool = 200, .budget = 60 } };
        char path[PATH_MAX], why[320];
        struct sparse_cell tagged[3 * (SMALL_ITEMS + 1)];
        struct id_map *tags;
        struct vectors vectors;
        struct sparse m;
        struct graph g;
        uint32_t number;
        FILE *f;

        cr_assert(mkdtemp(at));
        (void)snprintf(path, sizeof path, "%s/edges", at);
        f = fopen(path, "we");
        small_edges(f);
        (void)fclose(f);
        cr_assert_eq(graph_read(&(struct graph_source){ .path = path }, &g, why, sizeof why), 0, "%s", why);
        (void)unlink(path);
        cr_assert_eq(graph_matrix(&g, graph_split(&g, "train"), false, &m), 0);
        (void)snprintf(path, sizeof path, "%s/vectors", at);
        small_vectors(&g, &m, path);
        cr_assert_eq(vectors_open(path, &vectors, why, sizeof why), 0, "%s", why);
        cr_assert_eq(id_map_create(&tags), 0);
        for (unsigned i = 0; i < 4; i++) {
                char tag[16];

                cr_assert_eq(id_map_add(tags, tag, (size_t)snprintf(tag, sizeof tag, "kind=%u", i), &number), 0);
        }
        cr_assert_eq(id_map_add(tags, "odd=true", 8, &number), 0);
        cr_assert_eq(id_map_add(tags, "odd=false", 9, &number), 0);
        cr_assert_eq(id_map_add(tags, "expert=small", 12, &number), 0);
        cr_assert_eq(id_map_add(tags, "expert=large", 12, &number), 0);
        for (uint32_t i = 0; i <= SMALL_ITEMS; i++) {
                struct id_map_view items = id_map_view(g.items);
                size_t n;
                const char *id = id_map_at(&items, i, &n);
                unsigned kind = small_number(id, n);

                tagged[3 * i] = (struct sparse_cell){ kind % 4, i, 1 };
                tagged[3 * i + 1] = (struct sparse_cell){ kind % 2 ? 4 : 5, i, 1 };
                tagged[3 * i + 2] = (struct sparse_cell){ kind % 4 < 2 ? 6 : 7, i, 1 };
        }
        p.graph = &g;
        p.matrix = &m;
        p.split = graph_split(&g, "train");
        p.vectors = &vectors;
        p.tags = tags;
        p.tagged = tagged;
        p.n_tagged = LENGTH_OF(tagged);
        cr_assert_eq(catalogue_build(&p, at, why, sizeof why), 0, "%s", why);
        vectors_close(&vectors);
        (void)unlink(path);
        id_map_destroy(tags);
        sparse_finish(&m);
        graph_finish(&g);
}
#endif
