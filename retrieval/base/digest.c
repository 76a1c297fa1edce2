/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The constants are the first 32 bits of the fractional parts of the cube roots of the first 64 primes, and of the square roots
 * of the first eight, as the standard lists them.
 */
#include "base.h"
#include "digest.h"

static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t right(uint32_t x, unsigned n)
{
        return x >> n | x << (32 - n);
}

static void block(struct digest *d, const uint8_t *p)
{
        uint32_t w[64], v[8];

        for (size_t i = 0; i < 16; i++)
                w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (size_t i = 16; i < 64; i++) {
                uint32_t s0 = right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3;
                uint32_t s1 = right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10;

                w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        memcpy(v, d->h, sizeof v);
        for (size_t i = 0; i < 64; i++) {
                uint32_t s1 = right(v[4], 6) ^ right(v[4], 11) ^ right(v[4], 25);
                uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
                uint32_t s0 = right(v[0], 2) ^ right(v[0], 13) ^ right(v[0], 22);
                uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

                memmove(v + 1, v, 7 * sizeof v[0]);
                v[4] += t1;
                v[0] = t1 + t2;
        }
        for (size_t i = 0; i < 8; i++)
                d->h[i] += v[i];
}

void digest_begin(struct digest *d)
{
        *d = (struct digest){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                                     0x5be0cd19 } };
}

void digest_add(struct digest *d, const void *data, size_t n)
{
        const uint8_t *p = data;
        size_t held = d->bytes % 64;

        d->bytes += n;
        while (n > 0) {
                size_t take = MIN(64 - held, n);

                memcpy(d->block + held, p, take);
                held += take;
                p += take;
                n -= take;
                if (held == 64) {
                        block(d, d->block);
                        held = 0;
                }
        }
}

void digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE])
{
        static const uint8_t padding[64] = { 0x80 };
        uint64_t bits = d->bytes * 8;
        uint8_t length[8];

        digest_add(d, padding, 64 - (d->bytes + 8) % 64);
        for (size_t i = 0; i < 8; i++)
                length[i] = (uint8_t)(bits >> (56 - 8 * i));
        digest_add(d, length, 8);
        for (size_t i = 0; i < DIGEST_SIZE; i++)
                ret[i] = (uint8_t)(d->h[i / 4] >> (24 - 8 * (i % 4)));
}

void digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX])
{
        for (size_t i = 0; i < DIGEST_SIZE; i++)
                (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}
