/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vectors.h - the vectors of users and items: one safetensors file that pointsman-train embed writes and interests reads, and matrices
 * that came from elsewhere (.npy of NumPy, or safetensors).
 */
#ifndef PM_VECTORS_H
#define PM_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "id_map.h"
#include "tensors.h"

#define VECTORS_DIM_MAX 4096

/* Rows in the order of the names; all of it belongs to the mapped file. */
struct vectors_side {
        struct id_map_view names;
        const float *row;    /* [names.n][dim] */
};

struct vectors {
        struct tensors *file;
        size_t dim;
        struct vectors_side users, items; /* users.names.n 0: there are none */
};

/* 0, or -errno and one line of why: not such a file, cut, numbers that are not finite, ids that are no table. */
int vectors_open(const char *path, struct vectors *ret, char *why, size_t why_size);
void vectors_close(struct vectors *v);

/* `meta` is key, value, ..., NULL; kind and version are added. */
int vectors_write(const char *path, const struct vectors_side *users, const struct vectors_side *items, size_t dim,
                  const char *const *meta, char *why, size_t why_size);

/*
 * A matrix [rows][cols] of f2, f4 or f8 numbers as a heap array of floats: out of a .npy file (version 1 to 3, C order), or the one
 * tensor of a safetensors file (or the one called `name`).  Numbers that are not finite are refused, with their place.
 */
int vectors_import(const char *path, const char *name, float **ret, size_t *ret_rows, size_t *ret_cols, char *why, size_t why_size);

/* One place of the first number that is not finite, or SIZE_MAX. */
size_t vectors_not_finite(const float *v, size_t n);
#endif
