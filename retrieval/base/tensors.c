/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format: eight bytes with the header's length, little-endian; a JSON object {name: {dtype, shape, data_offsets}} with
 * strings under "__metadata__"; the data.  All of it is outside bytes: sizes are multiplied with overflow checks, and the
 * tensors, sorted by offset, must follow each other to the end of the file.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>

#include "base.h"
#include "cleanup.h"
#include "error.h"
#include "snapshot.h"
#include "tensors.h"

struct tensors {
        struct snapshot *file; /* NULL: the bytes are not ours */
        json_t *header;
        json_t *meta; /* borrowed from header; NULL: none */
        size_t n;
        struct tensor list[];
};

static const struct {
        const char *name;
        size_t size;
} types[TENSOR_TYPES] = {
        [TENSOR_BOOL] = { "BOOL", 1 }, [TENSOR_U8] = { "U8", 1 },     [TENSOR_I8] = { "I8", 1 },   [TENSOR_I16] = { "I16", 2 },
        [TENSOR_U16] = { "U16", 2 },   [TENSOR_F16] = { "F16", 2 },   [TENSOR_BF16] = { "BF16", 2 }, [TENSOR_I32] = { "I32", 4 },
        [TENSOR_U32] = { "U32", 4 },   [TENSOR_F32] = { "F32", 4 },   [TENSOR_F64] = { "F64", 8 }, [TENSOR_I64] = { "I64", 8 },
        [TENSOR_U64] = { "U64", 8 },
};

const char *tensor_type_name(enum tensor_type type)
{
        return types[type].name;
}

size_t tensor_type_size(enum tensor_type type)
{
        return types[type].size;
}

static void tensors_p(struct tensors **t)
{
        tensors_close(*t);
}

void tensors_close(struct tensors *t)
{
        if (!t)
                return;
        json_decref(t->header);
        snapshot_release(t->file);
        free(t);
}

static int read_shape(json_t *shape, struct tensor *t, char *why, size_t why_size)
{
        size_t bytes = types[t->type].size;

        if (!json_is_array(shape) || json_array_size(shape) > TENSORS_RANK_MAX)
                return set_error(why, why_size, "tensor '%.64s': 'shape' must be a list of at most %d sizes", t->name, TENSORS_RANK_MAX);
        t->rank = json_array_size(shape);
        for (size_t i = 0; i < t->rank; i++) {
                json_t *side = json_array_get(shape, i);

                if (!json_is_integer(side) || json_integer_value(side) < 0)
                        return set_error(why, why_size, "tensor '%.64s': side %zu of 'shape' is not a size", t->name, i);
                t->shape[i] = (uint64_t)json_integer_value(side);
                if (__builtin_mul_overflow(bytes, t->shape[i], &bytes))
                        return set_error(why, why_size, "tensor '%.64s': 'shape' is larger than memory", t->name);
        }
        t->bytes = bytes;
        return 0;
}

static int read_tensor(const char *name, json_t *j, const char *data, size_t n, struct tensor *t, char *why, size_t why_size)
{
        const char *dtype = json_string_value(json_object_get(j, "dtype"));
        json_t *offsets = json_object_get(j, "data_offsets");
        json_int_t begin, end;
        size_t type = 0;
        int r;

        if (!dtype || json_object_size(j) != 3)
                return set_error(why, why_size, "tensor '%.64s' must have exactly dtype, shape and data_offsets", name);
        while (type < TENSOR_TYPES && strcmp(types[type].name, dtype) != 0)
                type++;
        if (type == TENSOR_TYPES)
                return set_error(why, why_size, "tensor '%.64s': unknown dtype '%.16s'", name, dtype);
        *t = (struct tensor){ .name = name, .type = (enum tensor_type)type };
        r = read_shape(json_object_get(j, "shape"), t, why, why_size);
        if (r < 0)
                return r;
        if (json_array_size(offsets) != 2 || !json_is_integer(json_array_get(offsets, 0)) ||
            !json_is_integer(json_array_get(offsets, 1)))
                return set_error(why, why_size, "tensor '%.64s': 'data_offsets' must be two numbers", name);
        begin = json_integer_value(json_array_get(offsets, 0));
        end = json_integer_value(json_array_get(offsets, 1));
        if (begin < 0 || end < begin || (uint64_t)end > n)
                return set_error(why, why_size, "tensor '%.64s': data_offsets %lld to %lld are not within the %zu bytes of data: cut?",
                                 name, (long long)begin, (long long)end, n);
        if ((uint64_t)(end - begin) != t->bytes)
                return set_error(why, why_size, "tensor '%.64s': its shape needs %zu bytes, data_offsets give %lld", name,
                                 t->bytes, (long long)(end - begin));
        t->data = data + begin;
        return 0;
}

static int by_place(const void *a, const void *b)
{
        const struct tensor *const *x = a, *const *y = b;
        uintptr_t p = (uintptr_t)(*x)->data, q = (uintptr_t)(*y)->data;

        if (p != q)
                return p < q ? -1 : 1;
        return (*x)->bytes < (*y)->bytes ? -1 : (*x)->bytes > (*y)->bytes; /* empty ones first */
}

static int check_places(const struct tensors *t, const char *data, size_t n, char *why, size_t why_size)
{
        CLEANUP(free_p) const struct tensor **sorted = calloc(t->n + 1, sizeof *sorted);
        const char *at = data;

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < t->n; i++)
                sorted[i] = &t->list[i];
        qsort(sorted, t->n, sizeof *sorted, by_place);
        for (size_t i = 0; i < t->n; i++) {
                if ((const char *)sorted[i]->data != at)
                        return set_error(why, why_size, "tensor '%.64s' begins at byte %zu of the data, the one before ends at %zu",
                                         sorted[i]->name, (size_t)((const char *)sorted[i]->data - data), (size_t)(at - data));
                at += sorted[i]->bytes;
        }
        if (at != data + n)
                return set_error(why, why_size, "%zu bytes of data belong to no tensor", (size_t)(data + n - at));
        return 0;
}

static int read_header(json_t *header, const char *data, size_t n, struct tensors **ret, char *why, size_t why_size)
{
        CLEANUP(tensors_p) struct tensors *t = NULL;
        json_t *value;
        const char *key;
        int r;

        if (json_object_size(header) > TENSORS_MAX)
                return set_error(why, why_size, "%zu tensors, at most %d are read", json_object_size(header), TENSORS_MAX);
        t = calloc(1, sizeof *t + (json_object_size(header) + 1) * sizeof t->list[0]);
        if (!t)
                return -ENOMEM;
        t->header = json_incref(header);
        json_object_foreach(header, key, value) {
                if (strcmp(key, "__metadata__") == 0) {
                        const char *name;
                        json_t *text;

                        if (!json_is_object(value))
                                return set_error(why, why_size, "'__metadata__' must be an object");
                        json_object_foreach(value, name, text)
                                if (!json_is_string(text))
                                        return set_error(why, why_size, "metadata '%.64s' is not a string", name);
                        t->meta = value;
                        continue;
                }
                r = read_tensor(key, value, data, n, &t->list[t->n], why, why_size);
                if (r < 0)
                        return r;
                t->n++;
        }
        r = check_places(t, data, n, why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}

int tensors_parse(const void *bytes, size_t n, struct tensors **ret, char *why, size_t why_size)
{
        CLEANUP(json_p) json_t *header = NULL;
        const unsigned char *p = bytes;
        uint64_t length = 0;
        json_error_t error;

        if (n < 8)
                return set_error(why, why_size, "%zu bytes are too few for a safetensors file", n);
        for (size_t i = 0; i < 8; i++)
                length |= (uint64_t)p[i] << (8 * i);
        if (length > TENSORS_HEADER_MAX)
                return set_error(why, why_size, "not a safetensors file: it asks for a header of %" PRIu64 " bytes, at most %zu are read",
                                 length, TENSORS_HEADER_MAX);
        if (length > n - 8)
                return set_error(why, why_size, "cut: the header needs %" PRIu64 " bytes, the file has %zu after its length", length, n - 8);
        if (length < 2 || p[8] != '{')
                return set_error(why, why_size, "not a safetensors file: the header does not begin with '{'");
        errno = 0;
        header = json_loadb((const char *)p + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
        if (!header && json_lacked_memory())
                return set_error(why, why_size, "out of memory");
        if (!header)
                return set_error(why, why_size, "the header is not valid JSON: %s (byte %d)", error.text, error.position);
        return read_header(header, (const char *)p + 8 + length, n - 8 - (size_t)length, ret, why, why_size);
}

int tensors_open(const char *path, struct tensors **ret, char *why, size_t why_size)
{
        struct snapshot *file;
        int r = snapshot_take(path, &file);
        size_t n;
        void *p;

        if (r == -EINVAL)
                return set_error(why, why_size, "not a safetensors file: not a file, or an empty one");
        if (r < 0) {
                (void)snprintf(why, why_size, "cannot open: %s", ERRNO_TEXT(r));
                return r;
        }
        why[0] = '\0';
        p = snapshot_bytes(file, &n);
        r = tensors_parse(p, n, ret, why, why_size);
        if (r < 0) {
                if (why[0] == '\0')
                        (void)snprintf(why, why_size, "%s", ERRNO_TEXT(r));
                snapshot_release(file);
                return r;
        }
        (*ret)->file = file;
        return 0;
}

int tensors_settle(struct tensors *t, char *why, size_t why_size)
{
        int r = t->file ? snapshot_settle(t->file) : 0;

        if (r < 0)
                (void)snprintf(why, why_size, "was written into while it was read: files in use are replaced by rename");
        return r;
}

size_t tensors_count(const struct tensors *t)
{
        return t->n;
}

const struct tensor *tensors_at(const struct tensors *t, size_t i)
{
        assert(i < t->n);
        return &t->list[i];
}

const struct tensor *tensors_find(const struct tensors *t, const char *name)
{
        for (size_t i = 0; i < t->n; i++)
                if (strcmp(t->list[i].name, name) == 0)
                        return &t->list[i];
        return NULL;
}

const char *tensors_meta(const struct tensors *t, const char *key)
{
        return json_string_value(json_object_get(t->meta, key));
}

static json_t *header_of(const struct tensor *list, size_t n, const char *const *meta)
{
        CLEANUP(json_p) json_t *header = json_object(), *strings = json_object();
        size_t at = 0;

        for (size_t i = 0; meta && meta[i]; i += 2)
                if (json_object_set_new(strings, meta[i], json_string(meta[i + 1])) < 0)
                        return NULL;
        if (json_object_set(header, "__metadata__", strings) < 0)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                json_t *shape = json_array();

                for (size_t k = 0; k < list[i].rank; k++)
                        json_array_append_new(shape, json_integer((json_int_t)list[i].shape[k]));
                if (json_object_set_new(header, list[i].name,
                                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[list[i].type].name, "shape", shape,
                                                  "data_offsets", (json_int_t)at, (json_int_t)(at + list[i].bytes))) < 0)
                        return NULL;
                at += list[i].bytes;
        }
        return TAKE(header);
}

static int put(FILE *f, const struct tensor *list, size_t n, const char *header)
{
        size_t length = strlen(header), padded = (length + 8 + 63) / 64 * 64 - 8;
        unsigned char head[8];

        for (size_t i = 0; i < 8; i++)
                head[i] = (unsigned char)((uint64_t)padded >> (8 * i));
        if (fwrite(head, 8, 1, f) != 1 || fwrite(header, 1, length, f) != length)
                return -EIO;
        for (size_t i = length; i < padded; i++)
                if (fputc(' ', f) == EOF)
                        return -EIO;
        for (size_t i = 0; i < n; i++)
                if (list[i].bytes > 0 && fwrite(list[i].data, 1, list[i].bytes, f) != list[i].bytes)
                        return -EIO;
        return fflush(f) == 0 && fsync(fileno(f)) == 0 ? 0 : -EIO;
}

int tensors_write(const char *path, const struct tensor *list, size_t n, const char *const *meta, char *why, size_t why_size)
{
        CLEANUP(json_p) json_t *header = header_of(list, n, meta);
        CLEANUP(free_p) char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
        CLEANUP(free_p) char *beside = NULL;
        int fd, r;
        FILE *f;

        if (!text)
                return set_error(why, why_size, "cannot write a header: a name or metadata is not UTF-8");
        if (asprintf(&beside, "%s.XXXXXX", path) < 0)
                return -ENOMEM;
        fd = mkostemp(beside, O_CLOEXEC);
        f = fd < 0 ? NULL : fdopen(fd, "w");
        if (!f) {
                r = -errno;
                (void)snprintf(why, why_size, "cannot write '%s': %s", beside, ERRNO_TEXT(r));
                if (fd >= 0) {
                        (void)close(fd);
                        (void)unlink(beside);
                }
                return r;
        }
        r = fchmod(fd, 0644) < 0 ? -errno : put(f, list, n, text);
        if (fclose(f) != 0 && r == 0)
                r = -EIO;
        if (r == 0 && rename(beside, path) < 0)
                r = -errno;
        if (r < 0) {
                (void)snprintf(why, why_size, "cannot write '%s': %s", path, ERRNO_TEXT(r));
                (void)unlink(beside);
        }
        return r;
}
