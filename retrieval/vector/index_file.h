/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_file.h - is a file an index that FAISS can be given to read?
 *
 * FAISS 1.7 believes its files: a length that is too large is allocated, a neighbour that is not there is followed.  So the kinds that we
 * write are looked through first: flat and scalar-quantised vectors, HNSW and inverted lists over them, and refinement.
 */
#ifndef PM_INDEX_FILE_H
#define PM_INDEX_FILE_H

#include <stddef.h>
#include <stdint.h>

struct index_file {
        int32_t dim, metric; /* metric: 0 inner product, 1 L2 */
        int64_t count;
};

/* 0, or -EINVAL and one line of why, for bytes[0..n). */
int index_file_check(const void *bytes, size_t n, struct index_file *ret, char *why, size_t why_size);
#endif
