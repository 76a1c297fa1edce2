/* SPDX-License-Identifier: Apache-2.0 */
/*
 * npy.h - the header of NumPy's array files.
 */
#ifndef PM_NPY_H
#define PM_NPY_H

#include <stddef.h>

struct npy {
        size_t item;          /* bytes of a number: 2, 4 or 8; little-endian floats */
        size_t rows, cols;    /* a vector has one column */
        size_t data;          /* where in the file the numbers begin */
};

/* The array in bytes[0..n), which must hold all of it and nothing more.  0, or -EINVAL and one line of why. */
int npy_parse(const void *bytes, size_t n, struct npy *ret, char *why, size_t why_size);
#endif
