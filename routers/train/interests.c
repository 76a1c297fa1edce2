/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train interests: edges and vectors into the folder that interests.so serves from.
 */

#include "arguments.h"
#include "base.h"
#include "catalogue_build.h"
#include "commands.h"
#include "edges.h"
#include "interests_options.h"
#include "jsonl.h"
#include "parallel.h"

#define TAGS_MAX 1000000

struct interests_task {
        struct edges edges;
        const char *vectors_path, *out, *attributes;
        struct catalogue_recipe recipe;
        struct vectors vectors;
        struct id_map *tags;
        struct sparse_cell *tagged;
        size_t n_tagged, tagged_room, unknown;
        int64_t began;
        char last[32];
};

static const struct argument table[] = {
        EDGES_ARGUMENTS(struct interests_task, edges, PM_REQUIRED),
        ARGUMENT_TEXT(struct interests_task, vectors_path, "vectors", "FILE", PM_REQUIRED, NULL,
                      "of pointsman-train embed; items and users that only it has are taken in too"),
        ARGUMENT_OUTPUT(struct interests_task, out, "out", "FOLDER", PM_REQUIRED, ARGUMENT_FOLDER,
                        "made if it is not there; its files are replaced, the manifest last"),
        ARGUMENT_TEXT(struct interests_task, attributes, "attributes", "FILE", 0, NULL,
                      "JSON lines {\"id\": ITEM, KEY: VALUE or [VALUE, ...], ...}: what requests may filter by"),
        ARGUMENT_NUMBER(struct interests_task, recipe.cells, "cells", NULL, 1, 10000000,
                        "clusters of items; each is an interest (about a 14th of the items, fewer of very many)"),
        ARGUMENT_NUMBER(struct interests_task, recipe.user_cells, "user-cells", NULL, 1, 10000000,
                        "clusters of users, for finding similar users (2 sqrt(users))"),
        ARGUMENT_NUMBER(struct interests_task, recipe.rounds, "rounds", "12", 1, 1000, "of k-means"),
        ARGUMENT_NUMBER(struct interests_task, recipe.near, "near", "20", 1, 1024, "similar users that are kept for each user"),
        ARGUMENT_MANY(struct interests_task, recipe.near_budget, "near-budget", "8000", 0, "vectors that are compared to find them; 0: all"),
        ARGUMENT_NUMBER(struct interests_task, recipe.also, "also", "200", 0, 1000, "co-occurring items that are kept for each item"),
        ARGUMENT_REAL(struct interests_task, recipe.user_exponent, "user-exponent", "0.4", 0, 2,
                      "co-occurrences count by 1 / (the user's items)^2X"),
        ARGUMENT_REAL(struct interests_task, recipe.item_exponent, "item-exponent", "0.45", 0, 2, "and by 1 / (both items' users)^X"),
        ARGUMENT_TEXT(struct interests_task, recipe.factory, "index", "FACTORY", 0, NULL,
                      "search a FAISS index (\"Flat\", \"HNSW32\", \"IVF4096,SQ8\", ...) in place of the inverted file"),
        ARGUMENT_TEXT(struct interests_task, recipe.index_search, "index-search", "P", 0, NULL,
                      "its search parameters, as FAISS names them: \"nprobe=16\", \"efSearch=64\""),
        ARGUMENT_NUMBER(struct interests_task, recipe.seed, "seed", "0", 0, INT_MAX, "of what is drawn"),
        ARGUMENT_NUMBER(struct interests_task, recipe.threads, "threads", NULL, 1, PARALLEL_THREADS_MAX,
                        "threads that compute (one per processor)"),
        ARGUMENT_TAKEN(struct interests_task, recipe.settings, "set", "KEY=VALUE", interests_options_set, INTERESTS_OPTIONS_HELP),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "interests", .table = table,
                                            .note = "The same input, options and build give the same bytes for the same number of threads." };

/* ---- attributes ------------------------------------------------------------------------------------------------------------- */

static int add_tag(struct interests_task *t, uint32_t item, const char *key, const char *value, char *why, size_t why_size)
{
        char tag[ID_MAP_LENGTH_MAX + 1];
        int n = snprintf(tag, sizeof tag, "%s=%s", key, value);
        uint32_t number;

        if (n < 0 || (size_t)n >= sizeof tag || id_map_view(t->tags).n >= TAGS_MAX) {
                (void)snprintf(why, why_size, "'%.40s' and its value are longer than %d bytes, or one kind of attribute too many", key,
                               ID_MAP_LENGTH_MAX);
                return -EINVAL;
        }
        if (id_map_add(t->tags, tag, (size_t)n, &number) < 0)
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
        struct interests_task *t = ctx;
        struct id_map_view items = id_map_view(t->edges.graph.items);
        char buf[32];
        const char *id = jsonl_scalar(json_object_get(line, "id"), buf), *key;
        json_t *value;
        uint32_t item;
        int r = 0;

        if (!id) {
                (void)snprintf(why, why_size, "field 'id' is missing or not a text");
                return -EINVAL;
        }
        item = id_map_find(&items, id, strlen(id));
        if (item == ID_MAP_NONE) {
                t->unknown++; /* neither an edge nor a vector has it, so it cannot come back */
                return 0;
        }
        json_object_foreach(line, key, value) {
                size_t n = json_is_array(value) ? json_array_size(value) : 1;

                for (size_t i = 0; strcmp(key, "id") != 0 && i < n; i++) {
                        const char *text = jsonl_scalar(json_is_array(value) ? json_array_get(value, i) : value, buf);

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

static int read_attributes(struct interests_task *t)
{
        int r = id_map_create(&t->tags);

        if (r == 0)
                r = jsonl_each(t->attributes, t->edges.source.max_bad, take_attributes, t);
        if (r == 0)
                (void)printf("%s: %zu attributes of %zu kinds; %zu lines are of items that have neither edge nor vector\n",
                             t->attributes, t->n_tagged, id_map_view(t->tags).n, t->unknown);
        t->recipe.tags = t->tags;
        t->recipe.tagged = t->tagged;
        t->recipe.n_tagged = t->n_tagged;
        return r;
}

/* ---- building ----------------------------------------------------------------------------------------------------------------- */

static void show_stage(void *ctx, const char *what)
{
        struct interests_task *t = ctx;
        int64_t now = now_us();

        if (t->last[0])
                (void)printf("  %-12s %.1f s\n", t->last, (double)(now - t->began) / 1e6);
        (void)snprintf(t->last, sizeof t->last, "%s", what);
        t->began = now;
        (void)fflush(stdout);
}

static bool same_names(const struct id_map_view *a, const struct id_map_view *b)
{
        return a->n == b->n && a->text_size == b->text_size && memcmp(a->text, b->text, a->text_size) == 0 &&
               memcmp(a->start, b->start, (a->n + 1) * sizeof *a->start) == 0;
}

/* Vectors of one kind of thing have a user in each item's place: read as two kinds they would make a catalogue in which nobody is found. */
static int check_kinds(const struct interests_task *t)
{
        const char *said = tensors_meta(t->vectors.file, "one_kind");
        bool one = said && *said ? strcmp(said, "true") == 0 : t->vectors.users.names.n > 1 && same_names(&t->vectors.users.names, &t->vectors.items.names);

        if (one == t->edges.source.one_kind || (!one && !(said && *said)))
                return 0;
        (void)fprintf(stderr, one ? "%s: made by embed --one-kind, users are items there: interests --one-kind takes it\n"
                                  : "%s: made by embed without --one-kind: embed --one-kind makes what interests --one-kind takes\n", t->vectors_path);
        return -EINVAL;
}

static int build(struct interests_task *t)
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
        struct interests_task t = { .recipe = { .threads = parallel_processors(), .settings = interests_options_default() } };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = build(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "interests: out of memory\n");
        vectors_close(&t.vectors);
        id_map_destroy(t.tags);
        free(t.tagged);
        edges_finish(&t.edges);
        return r < 0;
}
