/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids travel with their vectors, as the table that finds them, so that a file of vectors can be used with another file of edges.
 */
#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base.h"
#include "error.h"
#include "npy.h"
#include "vectors.h"

size_t vectors_not_finite(const float *v, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!isfinite(v[i]))
                        return i;
        return SIZE_MAX;
}

/* ---- our own file --------------------------------------------------------------------------------------------------------- */

static const struct tensor *find(const struct tensors *file, const char *side, const char *part, enum tensor_type type, size_t rank)
{
        char name[64];
        const struct tensor *t;

        (void)snprintf(name, sizeof name, "%s.%s", side, part);
        t = tensors_find(file, name);
        return t && t->type == type && t->rank == rank && (uintptr_t)t->data % tensor_type_size(type) == 0 ? t : NULL;
}

static int read_side(const struct tensors *file, const char *side, size_t *dim, struct vectors_side *ret, char *why, size_t why_size)
{
        const struct tensor *row = find(file, side, "vector", TENSOR_F32, 2), *text = find(file, side, "text", TENSOR_U8, 1);
        const struct tensor *start = find(file, side, "start", TENSOR_U64, 1), *slot = find(file, side, "slot", TENSOR_U32, 1);
        size_t bad;
        char what[200];

        if (!row || !text || !start || !slot || row->shape[0] + 1 != start->shape[0])
                return set_error(why, why_size, "tensors '%s.vector', '.text', '.start' and '.slot' do not fit together", side);
        if (row->shape[1] == 0 || row->shape[1] > VECTORS_DIM_MAX || (*dim && row->shape[1] != *dim))
                return set_error(why, why_size, "'%s.vector' has %" PRIu64 " columns: 1..%d, as many as the others, were expected", side,
                                 row->shape[1], VECTORS_DIM_MAX);
        *dim = (size_t)row->shape[1];
        *ret = (struct vectors_side){ { text->data, start->data, slot->data, (size_t)row->shape[0], (size_t)slot->shape[0],
                                        (size_t)text->shape[0] }, row->data };
        if (id_map_check(&ret->names, what, sizeof what) < 0)
                return set_error(why, why_size, "ids of '%s': %.180s", side, what);
        bad = vectors_not_finite(ret->row, ret->names.n * *dim);
        if (bad != SIZE_MAX)
                return set_error(why, why_size, "'%s.vector': row %zu, column %zu is not a finite number", side, bad / *dim, bad % *dim);
        return 0;
}

int vectors_open(const char *path, struct vectors *ret, char *why, size_t why_size)
{
        struct vectors v = { 0 };
        const char *kind, *version;
        int r = tensors_open(path, &v.file, why, why_size);

        if (r < 0)
                return r;
        kind = tensors_meta(v.file, "kind");
        version = tensors_meta(v.file, "version");
        if (!kind || strcmp(kind, "pointsman.vectors") != 0 || !version || strcmp(version, "1") != 0)
                r = set_error(why, why_size, "its kind is '%.40s', wanted 'pointsman.vectors' of version 1 (pointsman-train embed writes it)",
                              kind ? kind : "");
        if (r == 0)
                r = read_side(v.file, "item", &v.dim, &v.items, why, why_size);
        if (r == 0 && tensors_find(v.file, "user.vector"))
                r = read_side(v.file, "user", &v.dim, &v.users, why, why_size);
        if (r < 0)
                vectors_close(&v);
        else
                *ret = v;
        return r;
}

void vectors_close(struct vectors *v)
{
        tensors_close(v->file);
        *v = (struct vectors){ 0 };
}

int vectors_write(const char *path, const struct vectors_side *users, const struct vectors_side *items, size_t dim,
                  const char *const *meta, char *why, size_t why_size)
{
        const struct vectors_side *side[2] = { items, users };
        static const char *const names[2][4] = { { "item.start", "item.vector", "item.slot", "item.text" },
                                                 { "user.start", "user.vector", "user.slot", "user.text" } };
        const char *all[64] = { "kind", "pointsman.vectors", "version", "1" };
        struct tensor list[8];
        size_t n = 0, m = 4;

        for (size_t i = 0; meta && meta[i] && m + 2 < LENGTH_OF(all); i++)
                all[m++] = meta[i];
        for (size_t part = 0; part < 4; part++) /* widest numbers first: all stay aligned */
                for (size_t s = 0; s < 2; s++) {
                        const struct id_map_view *v = &side[s]->names;
                        struct tensor t = { .name = names[s][part], .rank = 1 };

                        if (v->n == 0 && s == 1)
                                continue;
                        if (part == 0)
                                t.type = TENSOR_U64, t.shape[0] = v->n + 1, t.data = v->start;
                        else if (part == 1)
                                t.type = TENSOR_F32, t.rank = 2, t.shape[0] = v->n, t.shape[1] = dim, t.data = side[s]->row;
                        else if (part == 2)
                                t.type = TENSOR_U32, t.shape[0] = v->slots, t.data = v->slot;
                        else
                                t.type = TENSOR_U8, t.shape[0] = v->text_size, t.data = v->text;
                        t.bytes = (size_t)t.shape[0] * (t.rank == 2 ? dim : 1) * tensor_type_size(t.type);
                        list[n++] = t;
                }
        return tensors_write(path, list, n, all, why, why_size);
}

/* ---- matrices from elsewhere ---------------------------------------------------------------------------------------------- */

static float half(uint16_t h)
{
        int exponent = h >> 10 & 31;
        float mantissa = (float)(h & 1023) / 1024, sign = h >> 15 ? -1.f : 1.f;

        if (exponent == 31)
                return (h & 1023) ? NAN : sign * INFINITY;
        return exponent ? sign * ldexpf(1 + mantissa, exponent - 15) : sign * ldexpf(mantissa, -14);
}

static int convert(const unsigned char *from, size_t item, size_t rows, size_t cols, float **ret, char *why, size_t why_size)
{
        CLEANUP(free_p) float *v = NULL;
        size_t n = rows * cols, bad;

        if (rows == 0 || cols == 0 || cols > VECTORS_DIM_MAX || rows > ID_MAP_NUMBER_MAX)
                return set_error(why, why_size, "%zu rows of %zu numbers: rows of 1..%d were expected", rows, cols, VECTORS_DIM_MAX);
        v = malloc(n * sizeof *v);
        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                uint16_t h;
                double d;

                if (item == 4) {
                        memcpy(&v[i], from + 4 * i, 4);
                } else if (item == 8) {
                        memcpy(&d, from + 8 * i, 8);
                        v[i] = (float)d;
                } else {
                        memcpy(&h, from + 2 * i, 2);
                        v[i] = half(h);
                }
        }
        bad = vectors_not_finite(v, n);
        if (bad != SIZE_MAX)
                return set_error(why, why_size, "row %zu, column %zu is not a finite number", bad / cols, bad % cols);
        *ret = TAKE(v);
        return 0;
}

static int import_tensor(const char *path, const char *name, float **ret, size_t *rows, size_t *cols, char *why, size_t why_size)
{
        struct tensors *file;
        const struct tensor *t = NULL;
        int r = tensors_open(path, &file, why, why_size);

        if (r < 0)
                return r;
        if (name)
                t = tensors_find(file, name);
        else if (tensors_count(file) == 1)
                t = tensors_at(file, 0);
        if (!t || t->rank != 2 || (t->type != TENSOR_F16 && t->type != TENSOR_F32 && t->type != TENSOR_F64)) {
                r = set_error(why, why_size, "no matrix of F16, F32 or F64 %s%.64s among its %zu tensors",
                              name ? "called " : "alone", name ? name : "", tensors_count(file));
        } else {
                *rows = (size_t)t->shape[0];
                *cols = (size_t)t->shape[1];
                r = convert(t->data, tensor_type_size(t->type), *rows, *cols, ret, why, why_size);
        }
        tensors_close(file);
        return r;
}

static int import_npy(const char *path, float **ret, size_t *rows, size_t *cols, char *why, size_t why_size)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        struct npy x;
        void *map;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                (void)snprintf(why, why_size, "cannot open: %s", ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || st.st_size == 0)
                return set_error(why, why_size, "not a file, or an empty one");
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        r = npy_parse(map, (size_t)st.st_size, &x, why, why_size);
        if (r == 0)
                r = convert((const unsigned char *)map + x.data, x.item, x.rows, x.cols, ret, why, why_size);
        if (r == 0) {
                *rows = x.rows;
                *cols = x.cols;
        }
        (void)munmap(map, (size_t)st.st_size);
        return r;
}

int vectors_import(const char *path, const char *name, float **ret, size_t *ret_rows, size_t *ret_cols, char *why, size_t why_size)
{
        size_t n = strlen(path);
        bool npy = n > 4 && strcmp(path + n - 4, ".npy") == 0;
        size_t rows = 0, cols = 0;
        int r = npy ? import_npy(path, ret, &rows, &cols, why, why_size) : import_tensor(path, name, ret, &rows, &cols, why, why_size);

        if (r == 0) {
                *ret_rows = rows;
                *ret_cols = cols;
        }
        return r;
}
