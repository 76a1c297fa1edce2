/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A catalogue's folder: arrays and index beside their final names first, the manifest with their digests last.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base.h"
#include "catalogue_build_parts.h"
#include "cluster.h"
#include "error.h"
#include "tensors.h"

#define POPULAR_MAX 65536

struct list {
        struct tensor tensor[48];
        size_t n;
};

static void put(struct list *l, const char *name, enum tensor_type type, const void *data, size_t rows, size_t cols)
{
        struct tensor t = { .name = name, .type = type, .rank = cols ? 2 : 1, .shape = { rows, cols }, .data = data,
                            .bytes = rows * (cols ? cols : 1) * tensor_type_size(type) };

        assert(l->n < LENGTH_OF(l->tensor));
        l->tensor[l->n++] = t;
}

static int write_arrays(const struct build *b, const char *path)
{
        static const uint64_t no_start[1] = { 0 };
        static const uint32_t no_slot[2] = { ID_MAP_NONE, ID_MAP_NONE };
        const struct side *i = &b->items, *u = &b->users;
        struct id_map_view items = id_map_view(i->names), users = id_map_view(u->names), tags = { NULL, no_start, no_slot, 0, 2, 0 };
        const char *meta[] = { "kind", "pointsman.interests", "version", "1", NULL };
        bool likeness = u->placed > 0;
        struct list l = { .n = 0 };
        uint64_t also = b->also.start[i->n], history = b->history_start[u->n];

        if (b->recipe->tags)
                tags = id_map_view(b->recipe->tags);
        put(&l, "item.start", TENSOR_U64, items.start, items.n + 1, 0);
        put(&l, "user.start", TENSOR_U64, users.start, users.n + 1, 0);
        put(&l, "tag.start", TENSOR_U64, tags.start, tags.n + 1, 0);
        put(&l, "history.start", TENSOR_U64, b->history_start, u->n + 1, 0);
        put(&l, "also.start", TENSOR_U64, b->also.start, i->n + 1, 0);
        put(&l, "tagged.start", TENSOR_U64, b->tagged.start, tags.n + 1, 0);
        put(&l, "item.vector", TENSOR_F32, i->vector, i->n, i->dim);
        put(&l, "item.centre", TENSOR_F32, i->centre, i->n_cells, i->dim);
        put(&l, "item.scale", TENSOR_F32, i->scale, i->n, 0);
        put(&l, "also.best", TENSOR_F32, b->also.best, i->n, 0);
        if (likeness) {
                put(&l, "user.vector", TENSOR_F32, u->vector, u->n, u->dim);
                put(&l, "user.centre", TENSOR_F32, u->centre, u->n_cells, u->dim);
                put(&l, "user.scale", TENSOR_F32, u->scale, u->n, 0);
                put(&l, "user.first", TENSOR_U32, u->first, u->n_cells + 1, 0);
                put(&l, "user.near", TENSOR_U32, u->near, u->n_cells, u->n_near);
        }
        put(&l, "item.first", TENSOR_U32, i->first, i->n_cells + 1, 0);
        put(&l, "item.near", TENSOR_U32, i->near, i->n_cells, i->n_near);
        put(&l, "item.slot", TENSOR_U32, items.slot, items.slots, 0);
        put(&l, "user.slot", TENSOR_U32, users.slot, users.slots, 0);
        put(&l, "tag.slot", TENSOR_U32, tags.slot, tags.slots, 0);
        put(&l, "item.count", TENSOR_U32, b->count, i->n, 0);
        put(&l, "popular", TENSOR_U32, b->popular, MIN(i->n, (size_t)POPULAR_MAX), 0);
        put(&l, "history.of", TENSOR_U32, b->history, history, 0);
        put(&l, "near", TENSOR_U32, b->near_user, u->n, b->recipe->near);
        put(&l, "also.of", TENSOR_U32, b->also.of, also, 0);
        put(&l, "tagged.of", TENSOR_U32, b->tagged.col, sparse_cells(&b->tagged), 0);
        put(&l, "also.part", TENSOR_U16, b->also.part, also, 0);
        put(&l, "item.code", TENSOR_I8, i->code, i->n, i->dim);
        if (likeness)
                put(&l, "user.code", TENSOR_I8, u->code, u->n, u->dim);
        put(&l, "item.text", TENSOR_U8, items.text, items.text_size, 0);
        put(&l, "user.text", TENSOR_U8, users.text, users.text_size, 0);
        put(&l, "tag.text", TENSOR_U8, tags.text, tags.text_size, 0);
        return tensors_write(path, l.tensor, l.n, meta, b->why, b->why_size);
}

static int write_index(const struct build *b, const char *path)
{
        CLEANUP(free_p) char *beside = NULL;
        struct index *x = NULL;
        int r;

        if (b->items.placed == 0)
                return set_error(b->why, b->why_size, "index '%.64s': no item has a vector", b->recipe->factory);
        r = index_create(b->items.dim, b->recipe->factory, INDEX_INNER_PRODUCT, &x, b->why, b->why_size);
        if (r == 0)
                r = index_train(x, b->items.vector, b->items.placed, b->why, b->why_size);
        if (r == 0)
                r = index_add(x, b->items.vector, b->items.placed, b->why, b->why_size);
        if (r == 0 && asprintf(&beside, "%s.new", path) < 0)
                r = -ENOMEM;
        if (r == 0)
                r = index_save(x, beside, b->why, b->why_size);
        if (r == 0 && rename(beside, path) < 0)
                r = -errno;
        index_destroy(x);
        return r;
}

static int digest_file(const char *path, json_t **ret)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t sum[DIGEST_SIZE];
        char hex[DIGEST_HEX];
        struct digest d;
        struct stat st;
        void *map;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        digest_begin(&d);
        digest_add(&d, map, (size_t)st.st_size);
        r = digest_end(&d, sum);
        (void)munmap(map, (size_t)st.st_size);
        if (r < 0)
                return r;
        digest_hex(sum, hex);
        *ret = json_pack("{s:I, s:s}", "bytes", (json_int_t)st.st_size, "sha256", hex);
        return *ret ? 0 : -ENOMEM;
}

static json_t *settings_json(const struct interests_settings *s)
{
        return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I}", "interests", (json_int_t)s->interests,
                         "neighbours", (json_int_t)s->neighbours, "own", s->own, "near", s->near, "also", s->also, "votes",
                         s->votes, "popular", s->popular, "self", s->self, "sharpness", s->sharpness, "pool",
                         (json_int_t)s->pool, "budget", (json_int_t)s->budget);
}

static int write_json(const char *path, json_t *o)
{
        CLEANUP(free_p) char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6)), *beside = NULL;
        FILE *f;
        int r = 0;

        if (!text || asprintf(&beside, "%s.new", path) < 0)
                return -ENOMEM;
        f = fopen(beside, "we");
        if (!f)
                return -errno;
        if (fprintf(f, "%s\n", text) < 0 || fflush(f) != 0 || fsync(fileno(f)) != 0)
                r = -EIO;
        if (fclose(f) != 0 && r == 0)
                r = -EIO;
        if (r == 0 && rename(beside, path) < 0)
                r = -errno;
        return r;
}

static int write_manifest(const struct build *b, const char *path, json_t *files)
{
        const struct catalogue_recipe *p = b->recipe;
        const char *sum = json_string_value(json_object_get(json_object_get(files, CATALOGUE_ARRAYS), "sha256"));
        json_t *o;
        char name[64];
        int r;

        (void)snprintf(name, sizeof name, "interests-%.12s", sum ? sum : "");
        o = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:b, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:o, s:O}", "kind", "pointsman.interests",
                      "version", CATALOGUE_VERSION, "name", name, "made_by", "pointsman-train " PM_VERSION, "data", p->graph->digest,
                      "vectors", p->method ? p->method : "", "one_kind", p->graph->one_kind, "counts", "items", (json_int_t)b->items.n,
                      "items_with_vectors", (json_int_t)b->items.placed, "users", (json_int_t)b->users.n, "users_with_vectors",
                      (json_int_t)b->users.placed, "edges", (json_int_t)sparse_cells(p->matrix), "cells", (json_int_t)b->items.n_cells,
                      "dim", (json_int_t)b->items.dim, "settings", settings_json(&p->settings), "files", files);
        if (!o)
                return -ENOMEM;
        if (p->factory)
                (void)json_object_set_new(o, "index", json_pack("{s:s, s:s}", "factory", p->factory, "search",
                                                                p->index_search ? p->index_search : ""));
        r = write_json(path, o);
        json_decref(o);
        return r;
}

int catalogue_write(const struct build *b, const char *folder)
{
        char arrays[PATH_MAX], index[PATH_MAX], manifest[PATH_MAX];
        json_t *files = json_object(), *one = NULL;
        int r = 0;

        if (snprintf(arrays, sizeof arrays, "%s/" CATALOGUE_ARRAYS, folder) >= (int)sizeof arrays ||
            snprintf(index, sizeof index, "%s/" CATALOGUE_INDEX, folder) >= (int)sizeof index ||
            snprintf(manifest, sizeof manifest, "%s/" CATALOGUE_MANIFEST, folder) >= (int)sizeof manifest)
                r = -ENAMETOOLONG;
        if (r == 0 && mkdir(folder, 0755) < 0 && errno != EEXIST)
                r = -errno;
        build_stage(b, "writing");
        if (r == 0)
                r = write_arrays(b, arrays);
        if (r == 0)
                r = digest_file(arrays, &one);
        if (r == 0)
                (void)json_object_set_new(files, CATALOGUE_ARRAYS, one);
        if (r == 0 && b->recipe->factory) {
                build_stage(b, "indexing");
                r = write_index(b, index);
                if (r == 0)
                        r = digest_file(index, &one);
                if (r == 0)
                        (void)json_object_set_new(files, CATALOGUE_INDEX, one);
        }
        if (r == 0)
                r = write_manifest(b, manifest, files);
        json_decref(files);
        return r;
}

int catalogue_tune(const char *folder, const struct interests_settings *settings, const char *figures, char *why, size_t why_size)
{
        char path[PATH_MAX];
        json_error_t error;
        json_t *o, *added;
        int r;

        (void)snprintf(path, sizeof path, "%s/" CATALOGUE_MANIFEST, folder);
        o = json_load_file(path, 0, &error);
        added = figures ? json_loads(figures, 0, &error) : NULL;
        if (!json_is_object(o) || (figures && !added)) {
                (void)snprintf(why, why_size, CATALOGUE_MANIFEST ": %.150s", error.text);
                r = -EINVAL;
        } else {
                r = json_object_set_new(o, "settings", settings_json(settings)) < 0 ? -ENOMEM : 0;
                if (r == 0 && added)
                        r = json_object_set(o, "figures", added) < 0 ? -ENOMEM : 0;
                if (r == 0)
                        r = write_json(path, o);
                if (r < 0)
                        (void)snprintf(why, why_size, CATALOGUE_MANIFEST ": %s", ERRNO_TEXT(r));
        }
        json_decref(o);
        json_decref(added);
        return r;
}
