/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dot.h - inner products, the one inner loop of search: with AVX2 and FMA where the processor has them, whatever the compiler was told.
 */
#ifndef PM_DOT_H
#define PM_DOT_H

#include <stddef.h>
#include <stdint.h>

float dot_floats(const float *a, const float *b, size_t n);
int32_t dot_bytes(const int8_t *a, const int8_t *b, size_t n); /* exact; n at most 65536 */

/* The same for many rows of n bytes that lie one behind the other; q is a vector of bytes, widened. */
void dot_rows(const int16_t *q, const int8_t *rows, size_t n_rows, size_t n, int32_t *ret);

/* v to bytes of -127..127 and the factor that undoes it; 0 for zeros. */
float dot_quantise(const float *v, size_t n, int8_t *ret);

/* Brings v to length 1; leaves zeros as they are and returns the length that there was. */
float dot_normalise(float *v, size_t n);
#endif
