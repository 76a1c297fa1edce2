/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - nearest vectors: a thin face of FAISS's C API.
 *
 * An index is built or loaded on one thread and then only searched, by many at a time; it is replaced, never edited.  Threads that
 * search call omp_set_num_threads(1) once: with OpenMP's default a single query takes twenty times as long.  Files are FAISS's own;
 * FAISS checks them little, so index_load() looks them through first (index_file.h) and reads no kind that it cannot check.
 */
#ifndef PM_INDEX_H
#define PM_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define INDEX_DIM_MAX 65536
#define INDEX_K_MAX 2048

struct index;

enum index_metric { INDEX_INNER_PRODUCT, INDEX_L2 };

struct index_hit {
        int64_t id;  /* the vector's place in the order of adding */
        float score; /* inner product: higher is nearer; L2: squared distance, lower is nearer */
};

/* An empty index by FAISS's factory string ("Flat", "HNSW32", "IVF256,Flat").  0, or -errno and one line of why. */
int index_create(size_t dim, const char *factory, enum index_metric metric, struct index **ret, char *why, size_t why_size);
void index_destroy(struct index *x); /* NULL is fine */

/* Learns from n vectors of dim floats what the kind of index needs; for kinds that need nothing it does nothing. */
int index_train(struct index *x, const float *v, size_t n, char *why, size_t why_size);
int index_add(struct index *x, const float *v, size_t n, char *why, size_t why_size);

/* The k (1..INDEX_K_MAX) nearest to v, nearest first, into hit[k]; *ret_n: how many there are.  Thread-safe. */
int index_search(const struct index *x, const float *v, size_t k, struct index_hit *hit, size_t *ret_n, char *why, size_t why_size);

/* Search parameters by FAISS's names: "nprobe=16", "efSearch=64".  Before the first search; then index_try(). */
int index_tune(struct index *x, const char *parameters, char *why, size_t why_size);

int index_save(const struct index *x, const char *path, char *why, size_t why_size);
/* One neighbour and as many as can be asked for are searched, whatever comes of it: what would end the process ends it here, which is in
 * the child that checks a configuration. */
int index_try(const struct index *x, char *why, size_t why_size);
/* Refuses a file whose vectors have not `dim` dimensions, or whose metric is another; and tries it. */
int index_load(const char *path, size_t dim, enum index_metric metric, struct index **ret, char *why, size_t why_size);

size_t index_dim(const struct index *x);
size_t index_count(const struct index *x);
#endif
