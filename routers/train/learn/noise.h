/* SPDX-License-Identifier: Apache-2.0 */
/*
 * noise.h - random numbers that depend on a seed and two places only, so that any thread may draw any of them, in any order, and an
 * independent program can draw the same.
 */
#ifndef PM_NOISE_H
#define PM_NOISE_H

#include <stdint.h>

/* SplitMix64's step and finaliser (Steele, Lea, Flood, 2014). */
static inline uint64_t noise_mix(uint64_t x)
{
        x += 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        return x ^ x >> 31;
}

/* 64 random bits for (seed, row, column). */
static inline uint64_t noise_bits(uint64_t seed, uint64_t row, uint64_t column)
{
        return noise_mix(noise_mix(noise_mix(seed) ^ row) ^ column);
}

/* 0 <= u < 1 with 53 bits. */
static inline double noise_uniform(uint64_t bits)
{
        return (double)(bits >> 11) * 0x1p-53;
}
#endif
