/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train interests: edges and vectors into the folder that interests.so serves from.
 */
#include <getopt.h>

#include "base.h"
#include "catalogue_build.h"
#include "commands.h"
#include "edges.h"
#include "parallel.h"
#include "rows.h"
#include "tune.h"

#define TAGS_MAX 1000000

static const char help_text[] =
        "usage: pointsman-train interests --edges FILE --vectors V.safetensors --out FOLDER [OPTION...]\n"
        "\n" EDGES_HELP
        "  --vectors FILE         of pointsman-train embed; items and users that only it has are taken in too\n"
        "  --out FOLDER           made if it is not there; its files are replaced, the manifest last\n"
        "  --attributes FILE      JSON lines {\"id\": ITEM, KEY: VALUE or [VALUE, ...], ...}: what requests may filter by\n"
        "  --cells N              clusters of items; each is an interest (about a 14th of the items, fewer of very many)\n"
        "  --user-cells N         clusters of users, for finding users alike (2 sqrt(users))\n"
        "  --rounds N             of k-means (12)\n"
        "  --near N               users alike that are kept for each user, 1..1024 (20)\n"
        "  --near-budget N        vectors looked at to find them; 0: all (8000)\n"
        "  --also N               things taken along that are kept for each item, 0..1000 (200)\n"
        "  --user-exponent E, --item-exponent E   what is taken along counts by 1 / (user's items^2E items' users^E) (0.4, 0.45)\n"
        "  --index FACTORY        search a FAISS index (\"Flat\", \"HNSW32\", \"IVF4096,SQ8\", ...) in place of the cells\n"
        "  --index-search P       its search parameters, as FAISS names them: \"nprobe=16\", \"efSearch=64\"\n"
        "  --seed N, --threads N  (0, as many as there are processors)\n"
        TUNE_HELP
        "\n"
        "The same input, options and build give the same bytes for the same number of threads.\n";

struct task {
        struct edges edges;
        const char *vectors_path, *out, *attributes;
        struct catalogue_recipe recipe;
        struct vectors vectors;
        struct ids *tags;
        struct sparse_cell *tagged;
        size_t n_tagged, tagged_room, unknown;
        int64_t began;
        char last[32];
};

enum argument { VECTORS = 256, OUT, ATTRIBUTES, CELLS, USER_CELLS, ROUNDS, NEAR, NEAR_BUDGET, ALSO, USER_EXPONENT, ITEM_EXPONENT, INDEX, INDEX_SEARCH,
                SEED, THREADS, SET, HELP };

static const struct option long_options[] = {
        EDGES_OPTIONS,
        { "vectors", required_argument, NULL, VECTORS },
        { "out", required_argument, NULL, OUT },
        { "attributes", required_argument, NULL, ATTRIBUTES },
        { "cells", required_argument, NULL, CELLS },
        { "user-cells", required_argument, NULL, USER_CELLS },
        { "rounds", required_argument, NULL, ROUNDS },
        { "near", required_argument, NULL, NEAR },
        { "near-budget", required_argument, NULL, NEAR_BUDGET },
        { "also", required_argument, NULL, ALSO },
        { "user-exponent", required_argument, NULL, USER_EXPONENT },
        { "item-exponent", required_argument, NULL, ITEM_EXPONENT },
        { "index", required_argument, NULL, INDEX },
        { "index-search", required_argument, NULL, INDEX_SEARCH },
        { "seed", required_argument, NULL, SEED },
        { "threads", required_argument, NULL, THREADS },
        { "set", required_argument, NULL, SET },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
};

static int take_size(const char *option, const char *value, long min, long max, size_t *ret)
{
        long n = 0;
        int r = argument_number(option, value, min, max, &n);

        if (r == 0)
                *ret = (size_t)n;
        return r;
}

static int take_unsigned(const char *option, const char *value, long min, long max, unsigned *ret)
{
        size_t n = 0;
        int r = take_size(option, value, min, max, &n);

        if (r == 0)
                *ret = (unsigned)n;
        return r;
}

static int take_option(void *task, int option, const char *value)
{
        struct task *t = task;
        struct catalogue_recipe *p = &t->recipe;
        int r = edges_option(&t->edges, option, value);

        if (r <= 0)
                return r;
        switch (option) {
        case VECTORS: t->vectors_path = value; break;
        case OUT: t->out = value; break;
        case ATTRIBUTES: t->attributes = value; break;
        case CELLS: return take_size("--cells", value, 1, 10000000, &p->cells);
        case USER_CELLS: return take_size("--user-cells", value, 1, 10000000, &p->user_cells);
        case ROUNDS: return take_unsigned("--rounds", value, 1, 1000, &p->rounds);
        case NEAR: return take_size("--near", value, 1, 1024, &p->near);
        case NEAR_BUDGET: return take_size("--near-budget", value, 0, LONG_MAX, &p->near_budget);
        case ALSO: return take_size("--also", value, 0, 1000, &p->also);
        case USER_EXPONENT: return argument_real("--user-exponent", value, 0, 2, &p->user_exponent);
        case ITEM_EXPONENT: return argument_real("--item-exponent", value, 0, 2, &p->item_exponent);
        case INDEX: p->factory = value; break;
        case INDEX_SEARCH: p->index_search = value; break;
        case SEED: return take_unsigned("--seed", value, 0, INT_MAX, &p->seed);
        case THREADS: return take_unsigned("--threads", value, 1, PARALLEL_THREADS_MAX, &p->threads);
        case SET: return tune_set(&p->settings, value);
        default: return -EINVAL;
        }
        return 0;
}

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct task *t, int argc, char **argv)
{
        int r = arguments_each(argc, argv, long_options, HELP, help_text, take_option, t);

        if (r)
                return r;
        if (optind != argc) {
                (void)fprintf(stderr, "interests: unexpected argument '%s'\n", argv[optind]);
                return 3;
        }
        if (!t->edges.source.path || !t->vectors_path || !t->out)
                return 1 + argument_missing("interests", !t->edges.source.path ? "--edges" : !t->vectors_path ? "--vectors" : "--out");
        return argument_output_folder("--out", t->out);
}

/* ---- attributes ------------------------------------------------------------------------------------------------------------- */

static int add_tag(struct task *t, uint32_t item, const char *key, const char *value, char *why, size_t why_size)
{
        char tag[IDS_LENGTH_MAX + 1];
        int n = snprintf(tag, sizeof tag, "%s=%s", key, value);
        uint32_t number;

        if (n < 0 || (size_t)n >= sizeof tag || ids_view(t->tags).n >= TAGS_MAX) {
                (void)snprintf(why, why_size, "'%.40s' and its value are longer than %d bytes, or one kind of attribute too many", key,
                               IDS_LENGTH_MAX);
                return -EINVAL;
        }
        if (ids_add(t->tags, tag, (size_t)n, &number) < 0)
                return -ENOMEM;
        if (t->n_tagged == t->tagged_room) {
                size_t room = MAX(2 * t->tagged_room, (size_t)4096);
                struct sparse_cell *grown = realloc(t->tagged, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                t->tagged = grown;
                t->tagged_room = room;
        }
        t->tagged[t->n_tagged++] = (struct sparse_cell){ number, item, 1 };
        return 0;
}

static int take_attributes(void *ctx, json_t *line, char *why, size_t why_size)
{
        struct task *t = ctx;
        struct ids_view items = ids_view(t->edges.graph.items);
        char buf[32];
        const char *id = rows_scalar(json_object_get(line, "id"), buf), *key;
        json_t *value;
        uint32_t item;
        int r = 0;

        if (!id) {
                (void)snprintf(why, why_size, "field 'id' is missing or not a text");
                return -EINVAL;
        }
        item = ids_find(&items, id, strlen(id));
        if (item == IDS_NONE) {
                t->unknown++; /* neither an edge nor a vector has it, so it cannot come back */
                return 0;
        }
        json_object_foreach(line, key, value) {
                size_t n = json_is_array(value) ? json_array_size(value) : 1;

                for (size_t i = 0; strcmp(key, "id") != 0 && i < n; i++) {
                        const char *text = rows_scalar(json_is_array(value) ? json_array_get(value, i) : value, buf);

                        if (!text) {
                                (void)snprintf(why, why_size, "field '%.40s' is neither a value nor a list of values", key);
                                return -EINVAL;
                        }
                        r = add_tag(t, item, key, text, why, why_size);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int read_attributes(struct task *t)
{
        int r = ids_create(&t->tags);

        if (r == 0)
                r = rows_each(t->attributes, t->edges.source.max_bad, take_attributes, t);
        if (r == 0)
                (void)printf("%s: %zu attributes of %zu kinds; %zu lines are of items that have neither edge nor vector\n", t->attributes, t->n_tagged,
                             ids_view(t->tags).n, t->unknown);
        t->recipe.tags = t->tags;
        t->recipe.tagged = t->tagged;
        t->recipe.n_tagged = t->n_tagged;
        return r;
}

/* ---- building ----------------------------------------------------------------------------------------------------------------- */

static void show_stage(void *ctx, const char *what)
{
        struct task *t = ctx;
        int64_t now = now_us();

        if (t->last[0])
                (void)printf("  %-12s %.1f s\n", t->last, (double)(now - t->began) / 1e6);
        (void)snprintf(t->last, sizeof t->last, "%s", what);
        t->began = now;
        (void)fflush(stdout);
}

static bool same_names(const struct ids_view *a, const struct ids_view *b)
{
        return a->n == b->n && a->text_size == b->text_size && memcmp(a->text, b->text, a->text_size) == 0 &&
               memcmp(a->start, b->start, (a->n + 1) * sizeof *a->start) == 0;
}

/* Vectors of one kind of thing have a user in each item's place: read as two kinds they would make a catalogue in which nobody is found. */
static int check_kinds(const struct task *t)
{
        const char *said = tensors_meta(t->vectors.file, "one_kind");
        bool one = said && *said ? strcmp(said, "true") == 0 : t->vectors.users.names.n > 1 && same_names(&t->vectors.users.names, &t->vectors.items.names);

        if (one == t->edges.source.one_kind || (!one && !(said && *said)))
                return 0;
        (void)fprintf(stderr, one ? "%s: made by embed --one-kind, users are items there: interests --one-kind takes it\n"
                                  : "%s: made by embed without --one-kind: embed --one-kind makes what interests --one-kind takes\n", t->vectors_path);
        return -EINVAL;
}

static int build(struct task *t)
{
        struct catalogue *c;
        char why[320];
        int r = edges_read(&t->edges);

        if (r < 0)
                return r;
        r = vectors_open(t->vectors_path, &t->vectors, why, sizeof why);
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->vectors_path, why);
                return r;
        }
        r = check_kinds(t);
        if (r < 0)
                return r;
        r = edges_adopt(&t->edges, &t->vectors.users.names, &t->vectors.items.names);
        if (r == 0 && t->attributes)
                r = read_attributes(t);
        if (r < 0)
                return r;
        t->recipe.graph = &t->edges.graph;
        t->recipe.matrix = &t->edges.matrix;
        t->recipe.split = t->edges.graph.n_splits == 1 ? SIZE_MAX : t->edges.used;
        t->recipe.vectors = &t->vectors;
        t->recipe.method = tensors_meta(t->vectors.file, "method");
        t->recipe.stage = show_stage;
        t->recipe.ctx = t;
        r = catalogue_build(&t->recipe, t->out, why, sizeof why);
        show_stage(t, "");
        if (r == 0)
                r = catalogue_open(t->out, true, &c, why, sizeof why);
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->out, why);
                return r;
        }
        (void)printf("%s: %s, %zu items in %zu interests, %zu users, vectors of %zu numbers\n", t->out, c->name, c->items.n,
                     c->by_interest.n_cells, c->users.n, c->by_interest.dim);
        catalogue_close(c);
        return 0;
}

int command_interests(int argc, char **argv)
{
        struct task t = { .edges = { .source = { .max_bad = 100 } },
                          .recipe = { .rounds = 12, .threads = parallel_processors(), .near = 20, .near_budget = 8000, .also = 200,
                                      .user_exponent = .4, .item_exponent = .45, .settings = tune_preset() } };
        int r = read_arguments(&t, argc, argv);

        if (r != 0)
                return r - 1;
        r = build(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "interests: out of memory\n");
        vectors_close(&t.vectors);
        ids_destroy(t.tags);
        free(t.tagged);
        edges_finish(&t.edges);
        return r < 0;
}
