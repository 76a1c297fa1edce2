/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensors.h - safetensors files in and out.
 *
 * A file is checked wholly before anything of it is handed out: header length, JSON, dtypes, shapes, offsets; the tensors must
 * fill the data without gap or overlap.  What is refused is described in `why`.  The bytes are a snapshot (snapshot.h): above 64 MiB
 * do not write to a file that is in use, replace it (tensors_write does).  An opened file is read-only and may be used by many threads.
 */
#ifndef PM_TENSORS_H
#define PM_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#define TENSORS_HEADER_MAX ((size_t)4 << 20)
#define TENSORS_MAX 1024
#define TENSORS_RANK_MAX 8

enum tensor_type { TENSOR_BOOL, TENSOR_U8, TENSOR_I8, TENSOR_I16, TENSOR_U16, TENSOR_F16, TENSOR_BF16, TENSOR_I32, TENSOR_U32,
                   TENSOR_F32, TENSOR_F64, TENSOR_I64, TENSOR_U64, TENSOR_TYPES };

struct tensor {
        const char *name;
        enum tensor_type type;
        size_t rank;                    /* 0: one value */
        uint64_t shape[TENSORS_RANK_MAX];
        const void *data;               /* aligned to its type in files written here; else check before you cast */
        size_t bytes;
};

struct tensors;

/* 0, or -errno and one line of why: -EINVAL for a file that is not whole or not safetensors. */
int tensors_open(const char *path, struct tensors **ret, char *why, size_t why_size);
/* The same over bytes that must outlive *ret. */
int tensors_parse(const void *data, size_t n, struct tensors **ret, char *why, size_t why_size);
/* After its owner has looked at all that will be believed: 0, or -ESTALE and why: the file is another one by now.  Others need it not. */
int tensors_settle(struct tensors *t, char *why, size_t why_size);
void tensors_close(struct tensors *t); /* NULL is fine */

size_t tensors_count(const struct tensors *t);
const struct tensor *tensors_at(const struct tensors *t, size_t i);            /* in the order of the header */
const struct tensor *tensors_find(const struct tensors *t, const char *name);  /* NULL: not there */
const char *tensors_meta(const struct tensors *t, const char *key);            /* NULL: not there */

/*
 * Writes a file beside `path` and renames it, so that a reader sees the old one or the new one.  `meta` is key, value, ..., NULL.
 * The same arguments give the same bytes.  Data begins at a multiple of 64.  Give the widest types first to keep all aligned.
 */
int tensors_write(const char *path, const struct tensor *list, size_t n, const char *const *meta, char *why, size_t why_size);

const char *tensor_type_name(enum tensor_type type);
size_t tensor_type_size(enum tensor_type type);
#endif
