/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest is read first: it names the files, their sizes and digests.  Then every array is looked at once, so that nothing which
 * comes later has to doubt a number: a folder that is cut, foreign or made to harm is refused here.
 */
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

#include "base.h"
#include "cleanup.h"
#include "catalogue.h"
#include "digest.h"
#include "error.h"
#include "tensors.h"

#define MANIFEST_MAX ((size_t)1 << 20)
#define BLOCK ((size_t)1 << 18)

/* What a caller gets is the first member. */
struct catalogue_opened {
        struct catalogue c;
        struct tensors *file;
};

static void close_it(struct catalogue_opened **x)
{
        catalogue_close(*x ? &(*x)->c : NULL);
}

/* ---- the manifest --------------------------------------------------------------------------------------------------------- */

static int path_of(const char *folder, const char *name, char *ret, size_t size, char *why, size_t why_size)
{
        int n = snprintf(ret, size, "%s/%s", folder, name);

        return n > 0 && (size_t)n < size ? 0 : set_error(why, why_size, "the folder's name is too long");
}

static int read_manifest(const char *folder, json_t **ret, char *why, size_t why_size)
{
        char path[PATH_MAX];
        const char *kind;
        json_error_t error;
        struct stat st;
        int r = path_of(folder, CATALOGUE_MANIFEST, path, sizeof path, why, why_size);

        if (r < 0)
                return r;
        if (stat(path, &st) < 0) {
                r = -errno;
                (void)snprintf(why, why_size, CATALOGUE_MANIFEST ": cannot open: %s (is it a folder of pointsman-train interests?)",
                               ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || (size_t)st.st_size > MANIFEST_MAX)
                return set_error(why, why_size, CATALOGUE_MANIFEST ": must be a file of at most %zu KiB", MANIFEST_MAX >> 10);
        errno = 0;
        *ret = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        if (!*ret && json_lacked_memory())
                return set_error(why, why_size, CATALOGUE_MANIFEST ": out of memory");
        if (!*ret)
                return set_error(why, why_size, CATALOGUE_MANIFEST ": line %d: %.120s", error.line, error.text);
        kind = json_string_value(json_object_get(*ret, "kind"));
        if (!kind || strcmp(kind, "pointsman.interests") != 0)
                return set_error(why, why_size, CATALOGUE_MANIFEST ": its kind is '%.40s', wanted 'pointsman.interests'", kind ? kind : "");
        if (json_integer_value(json_object_get(*ret, "version")) != CATALOGUE_VERSION)
                return set_error(why, why_size, CATALOGUE_MANIFEST ": version %lld, this program reads version %d",
                                 (long long)json_integer_value(json_object_get(*ret, "version")), CATALOGUE_VERSION);
        return 0;
}

static int real_setting(json_t *o, const char *key, double min, double max, double *ret, char *why, size_t why_size)
{
        json_t *value = json_object_get(o, key);

        if (!json_is_number(value) || !(json_number_value(value) >= min && json_number_value(value) <= max))
                return set_error(why, why_size, CATALOGUE_MANIFEST ": settings.%s must be a number in %g..%g", key, min, max);
        *ret = json_number_value(value);
        return 0;
}

static int whole_setting(json_t *o, const char *key, double min, double max, uint32_t *ret, char *why, size_t why_size)
{
        double x = 0;
        int r = real_setting(o, key, min, max, &x, why, why_size);

        if (r == 0)
                *ret = (uint32_t)x;
        return r;
}

static int read_settings(json_t *o, struct interests_settings *s, char *why, size_t n)
{
        if (whole_setting(o, "interests", 1, 256, &s->interests, why, n) < 0 ||
            whole_setting(o, "neighbours", 0, 1024, &s->neighbours, why, n) < 0 || real_setting(o, "own", 0, 1, &s->own, why, n) < 0 ||
            real_setting(o, "near", 0, 1e6, &s->near, why, n) < 0 || real_setting(o, "also", 0, 1e6, &s->also, why, n) < 0 ||
            real_setting(o, "votes", 0, 1e6, &s->votes, why, n) < 0 || real_setting(o, "popular", 0, 1e6, &s->popular, why, n) < 0 ||
            real_setting(o, "self", 0, 1e6, &s->self, why, n) < 0 || real_setting(o, "sharpness", 0, 100, &s->sharpness, why, n) < 0 ||
            whole_setting(o, "pool", 100, 10000, &s->pool, why, n) < 0 || whole_setting(o, "budget", 0, 4e9, &s->budget, why, n) < 0)
                return -EINVAL;
        return 0;
}

/* Compares a file with what the manifest says of it. */
static int check_file(const char *folder, const char *name, json_t *said, bool verify, char *why, size_t why_size)
{
        const char *wanted = json_string_value(json_object_get(said, "sha256"));
        json_int_t bytes = json_integer_value(json_object_get(said, "bytes"));
        CLEANUP(close_p) int fd = -1;
        uint8_t sum[DIGEST_SIZE];
        char path[PATH_MAX], hex[DIGEST_HEX];
        CLEANUP(free_p) char *block = NULL;
        struct digest d;
        struct stat st;
        ssize_t n;
        int r = path_of(folder, name, path, sizeof path, why, why_size);

        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                (void)snprintf(why, why_size, "%s: cannot open: %s", name, ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || st.st_size != bytes || bytes == 0)
                return set_error(why, why_size, "%s: has %lld bytes, the manifest says %lld: cut, or of another training?",
                                 name, (long long)st.st_size, (long long)bytes);
        if (!verify)
                return 0;
        block = malloc(BLOCK);
        if (!block)
                return -ENOMEM;
        digest_begin(&d);
        while ((n = read(fd, block, BLOCK)) > 0)
                digest_add(&d, block, (size_t)n);
        if (n < 0) {
                r = -errno;
                digest_drop(&d);
                return r;
        }
        r = digest_end(&d, sum);
        if (r < 0)
                return r;
        digest_hex(sum, hex);
        if (!wanted || strcmp(hex, wanted) != 0)
                return set_error(why, why_size, "%s: its SHA-256 is %.16s..., the manifest says %.16s...: damaged, or of another training?",
                                 name, hex, wanted ? wanted : "nothing");
        return 0;
}

/* ---- arrays --------------------------------------------------------------------------------------------------------------- */

struct arrays {
        const struct tensors *file;
        char *why;
        size_t why_size;
        bool bad;
};

/* A tensor of this type; `rows` and `cols` SIZE_MAX: any; `cols` 0: a list.  NULL and why, if it is not so. */
static const struct tensor *take(struct arrays *a, const char *name, enum tensor_type type, size_t rows, size_t cols)
{
        const struct tensor *t = tensors_find(a->file, name);
        size_t rank = cols == 0 ? 1 : 2;

        if (a->bad)
                return NULL;
        if (!t)
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": no tensor '%s'", name);
        else if (t->type != type || t->rank != rank || (rows != SIZE_MAX && t->shape[0] != rows) ||
                 (rank == 2 && cols != SIZE_MAX && t->shape[1] != cols) || (uintptr_t)t->data % tensor_type_size(type) != 0)
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": tensor '%s' is %s of rank %zu with %" PRIu64
                                " rows, wanted %s of rank %zu with as many rows as the others", name, tensor_type_name(t->type), t->rank,
                                t->rank ? t->shape[0] : 1, tensor_type_name(type), rank);
        else
                return t;
        a->bad = true;
        return NULL;
}

static const void *data_of(struct arrays *a, const char *name, enum tensor_type type, size_t rows, size_t cols)
{
        const struct tensor *t = take(a, name, type, rows, cols);

        return t ? t->data : NULL;
}

static void take_names(struct arrays *a, const char *side, struct id_map_view *ret)
{
        char start_name[32], slot_name[32], text_name[32], what[200];
        const struct tensor *start, *slot, *text;

        (void)snprintf(start_name, sizeof start_name, "%s.start", side);
        (void)snprintf(slot_name, sizeof slot_name, "%s.slot", side);
        (void)snprintf(text_name, sizeof text_name, "%s.text", side);
        start = take(a, start_name, TENSOR_U64, SIZE_MAX, 0);
        slot = take(a, slot_name, TENSOR_U32, SIZE_MAX, 0);
        text = take(a, text_name, TENSOR_U8, SIZE_MAX, 0);
        if (a->bad)
                return;
        *ret = (struct id_map_view){ text->data, start->data, slot->data, (size_t)start->shape[0] - 1, (size_t)slot->shape[0],
                                    (size_t)text->shape[0] };
        a->bad = start->shape[0] == 0 || id_map_check(ret, what, sizeof what) < 0;
        if (a->bad)
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": ids of '%s': %.180s", side, start->shape[0] ? what : "none at all");
}

static void take_cells(struct arrays *a, const char *side, size_t n, struct ivf *ret)
{
        char name[6][32];
        static const char *const part[6] = { "centre", "first", "near", "vector", "code", "scale" };
        const struct tensor *centre, *near;
        char what[200];

        for (size_t i = 0; i < 6; i++)
                (void)snprintf(name[i], sizeof name[i], "%s.%s", side, part[i]);
        centre = take(a, name[0], TENSOR_F32, SIZE_MAX, SIZE_MAX);
        if (centre && (centre->shape[0] > ID_MAP_NUMBER_MAX || centre->shape[1] == 0 || centre->shape[1] > INDEX_DIM_MAX)) {
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": '%s' has vectors of %" PRIu64 " numbers, 1..%d are possible", name[0],
                                centre->shape[1], INDEX_DIM_MAX);
                a->bad = true;
        }
        if (a->bad)
                return;
        near = take(a, name[2], TENSOR_U32, (size_t)centre->shape[0], SIZE_MAX);
        *ret = (struct ivf){ .dim = (size_t)centre->shape[1], .n = n, .n_cells = (size_t)centre->shape[0],
                             .n_near = near ? (size_t)near->shape[1] : 0, .centroid = centre->data, .near = near ? near->data : NULL };
        ret->start = data_of(a, name[1], TENSOR_U32, ret->n_cells + 1, 0);
        ret->vector = data_of(a, name[3], TENSOR_F32, n, ret->dim);
        ret->code = data_of(a, name[4], TENSOR_I8, n, ret->dim);
        ret->scale = data_of(a, name[5], TENSOR_F32, n, 0);
        if (!a->bad && ivf_check(ret, what, sizeof what) < 0) {
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": '%s': %.180s", side, what);
                a->bad = true;
        }
}

static void take_lists(struct arrays *a, const char *name, size_t n, size_t below, bool rising, struct lists *ret)
{
        char start_name[32], of_name[32];
        const struct tensor *start, *of;

        (void)snprintf(start_name, sizeof start_name, "%s.start", name);
        (void)snprintf(of_name, sizeof of_name, "%s.of", name);
        start = take(a, start_name, TENSOR_U64, n + 1, 0);
        of = take(a, of_name, TENSOR_U32, SIZE_MAX, 0);
        if (a->bad)
                return;
        *ret = (struct lists){ start->data, of->data, n };
        a->bad = ret->start[0] != 0 || ret->start[n] != of->shape[0];
        for (size_t i = 0; i < n && !a->bad; i++)
                a->bad = ret->start[i] > ret->start[i + 1];
        for (size_t i = 0; i < of->shape[0] && !a->bad; i++)
                a->bad = ret->of[i] >= below;
        for (size_t i = 0; rising && i < n && !a->bad; i++)
                for (uint64_t k = ret->start[i] + 1; k < ret->start[i + 1] && !a->bad; k++)
                        a->bad = ret->of[k] <= ret->of[k - 1];
        if (a->bad)
                (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": lists '%s' are out of order, or hold a number that is not below %zu",
                                name, below);
}

static void check_numbers(struct arrays *a, const char *name, const uint32_t *x, size_t n, size_t below, bool none)
{
        for (size_t i = 0; x && i < n && !a->bad; i++)
                if (x[i] >= below && !(none && x[i] == ID_MAP_NONE)) {
                        (void)set_error(a->why, a->why_size, CATALOGUE_ARRAYS ": '%s' holds %u at place %zu, it must be below %zu", name, x[i],
                                        i, below);
                        a->bad = true;
                }
}

static int read_arrays(struct catalogue_opened *x, char *why, size_t why_size)
{
        struct arrays a = { x->file, why, why_size, false };
        struct catalogue *c = &x->c;
        const struct tensor *near, *popular;

        take_names(&a, "item", &c->items);
        take_names(&a, "user", &c->users);
        take_names(&a, "tag", &c->tags);
        if (a.bad)
                return -EINVAL;
        if (c->items.n == 0)
                return set_error(why, why_size, CATALOGUE_ARRAYS ": there is no item");
        take_cells(&a, "item", c->items.n, &c->by_interest);
        if (tensors_find(x->file, "user.centre"))
                take_cells(&a, "user", c->users.n, &c->by_likeness);
        take_lists(&a, "history", c->users.n, c->items.n, false, &c->history);
        take_lists(&a, "also", c->items.n, c->items.n, false, &c->also);
        take_lists(&a, "tagged", c->tags.n, c->items.n, true, &c->tagged);
        if (a.bad)
                return -EINVAL;
        c->also_part = data_of(&a, "also.part", TENSOR_U16, (size_t)c->also.start[c->items.n], 0);
        c->also_best = data_of(&a, "also.best", TENSOR_F32, c->items.n, 0);
        c->count = data_of(&a, "item.count", TENSOR_U32, c->items.n, 0);
        near = take(&a, "near", TENSOR_U32, c->users.n, SIZE_MAX);
        popular = take(&a, "popular", TENSOR_U32, SIZE_MAX, 0);
        if (a.bad)
                return -EINVAL;
        c->near = near->data;
        c->n_near = (size_t)near->shape[1];
        c->popular = popular->data;
        c->n_popular = (size_t)popular->shape[0];
        check_numbers(&a, "near", c->near, c->users.n * c->n_near, c->users.n, true);
        check_numbers(&a, "popular", c->popular, c->n_popular, c->items.n, false);
        for (size_t i = 0; i < c->items.n && !a.bad; i++)
                if (!(c->also_best[i] >= 0 && c->also_best[i] <= (float)ALSO_MAX)) {
                        (void)set_error(why, why_size, CATALOGUE_ARRAYS ": 'also.best' is not a sensible number at place %zu", i);
                        a.bad = true;
                }
        if (!a.bad && c->by_likeness.n > 0 && c->by_likeness.dim != c->by_interest.dim) {
                (void)set_error(why, why_size, CATALOGUE_ARRAYS ": vectors of users have %zu numbers, those of items %zu",
                                c->by_likeness.dim, c->by_interest.dim);
                a.bad = true;
        }
        return a.bad ? -EINVAL : 0;
}

/* ---- opening -------------------------------------------------------------------------------------------------------------- */

static int open_index(const char *folder, json_t *manifest, struct catalogue_opened *x, char *why, size_t why_size)
{
        const char *search = json_string_value(json_object_get(json_object_get(manifest, "index"), "search"));
        char path[PATH_MAX], what[256] = "";
        int r = path_of(folder, CATALOGUE_INDEX, path, sizeof path, why, why_size);

        if (r == 0)
                r = index_load(path, x->c.by_interest.dim, INDEX_INNER_PRODUCT, &x->c.index, what, sizeof what);
        if (r == 0 && search && *search) {
                r = index_tune(x->c.index, search, what, sizeof what);
                if (r == 0)
                        r = index_try(x->c.index, what, sizeof what);
        }
        if (r < 0)
                return set_error(why, why_size, CATALOGUE_INDEX ": %.200s", what);
        if (index_count(x->c.index) != x->c.by_interest.start[x->c.by_interest.n_cells])
                return set_error(why, why_size, CATALOGUE_INDEX ": holds %zu vectors, %u items have one", index_count(x->c.index),
                                 x->c.by_interest.start[x->c.by_interest.n_cells]);
        return 0;
}

static int open_arrays(const char *folder, struct catalogue_opened *x, char *why, size_t why_size)
{
        char path[PATH_MAX], what[256] = "";
        int r = path_of(folder, CATALOGUE_ARRAYS, path, sizeof path, why, why_size);

        if (r < 0)
                return r;
        r = tensors_open(path, &x->file, what, sizeof what);
        if (r < 0)
                return set_error(why, why_size, CATALOGUE_ARRAYS ": %.200s", what);
        r = read_arrays(x, why, why_size);
        if (r == 0 && (r = tensors_settle(x->file, what, sizeof what)) < 0)
                (void)set_error(why, why_size, CATALOGUE_ARRAYS ": %.200s", what);
        return r;
}

int catalogue_open(const char *folder, bool verify, struct catalogue **ret, char *why, size_t why_size)
{
        CLEANUP(json_p) json_t *manifest = NULL;
        CLEANUP(close_it) struct catalogue_opened *x = calloc(1, sizeof *x);
        const char *name;
        json_t *files, *file;
        bool index = false;
        int r;

        if (!x)
                return -ENOMEM;
        r = read_manifest(folder, &manifest, why, why_size);
        if (r < 0)
                return r;
        r = read_settings(json_object_get(manifest, "settings"), &x->c.settings, why, why_size);
        if (r < 0)
                return r;
        x->c.one_kind = json_is_true(json_object_get(manifest, "one_kind"));
        name = json_string_value(json_object_get(manifest, "name"));
        (void)snprintf(x->c.name, sizeof x->c.name, "%s", name ? name : "interests");
        files = json_object_get(manifest, "files");
        if (!json_object_get(files, CATALOGUE_ARRAYS))
                return set_error(why, why_size, CATALOGUE_MANIFEST ": 'files' does not name " CATALOGUE_ARRAYS);
        json_object_foreach(files, name, file) {
                if (strcmp(name, CATALOGUE_ARRAYS) != 0 && strcmp(name, CATALOGUE_INDEX) != 0)
                        return set_error(why, why_size, CATALOGUE_MANIFEST ": names a file '%.60s' that is not known", name);
                index = index || strcmp(name, CATALOGUE_INDEX) == 0;
                r = check_file(folder, name, file, verify, why, why_size);
                if (r < 0)
                        return r;
        }
        r = open_arrays(folder, x, why, why_size);
        if (r == 0 && index)
                r = open_index(folder, manifest, x, why, why_size);
        if (r < 0)
                return r;
        *ret = &TAKE(x)->c;
        return 0;
}

void catalogue_close(struct catalogue *c)
{
        struct catalogue_opened *x;

        if (!c)
                return;
        x = CONTAINER_OF(c, struct catalogue_opened, c);
        index_destroy(c->index);
        tensors_close(x->file);
        free(x);
}

const uint32_t *lists_at(const struct lists *l, uint32_t i, size_t *ret_n)
{
        if (i >= l->n) {
                *ret_n = 0;
                return NULL;
        }
        *ret_n = (size_t)(l->start[i + 1] - l->start[i]);
        return l->of + l->start[i];
}

uint32_t catalogue_item_of(const struct catalogue *c, uint32_t user)
{
        const char *id;
        size_t n;

        if (!c->one_kind || user >= c->users.n)
                return ID_MAP_NONE;
        id = id_map_at(&c->users, user, &n);
        return id_map_find(&c->items, id, n);
}
