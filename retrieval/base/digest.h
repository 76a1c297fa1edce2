/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256 (FIPS 180-4), so that a model can say which data it was trained on without a library of ciphers.
 */
#ifndef PM_DIGEST_H
#define PM_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32
#define DIGEST_HEX (2 * DIGEST_SIZE + 1)

struct digest {
        uint32_t h[8];
        uint64_t bytes;
        uint8_t block[64];
};

void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t n);
void digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE]);
void digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX]);
#endif
