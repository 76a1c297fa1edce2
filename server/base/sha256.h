/* SPDX-License-Identifier: Apache-2.0 */
/* sha256.h - SHA-256, of one text or of parts. */
#ifndef PM_SHA256_H
#define PM_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pm_router.h"

enum { SHA256_SIZE = 32, SHA256_HEX = 2 * SHA256_SIZE + 1 };

/* Of parts.  One thread at a time; what fails is told at the end. */
struct sha256 {
        struct evp_md_ctx_st *ctx;
        bool failed;
        size_t n_small;
        unsigned char small[1024]; /* what OpenSSL has not been given yet: few calls, not one for each length */
};

void sha256_init(struct sha256 *d);
void sha256_finish(struct sha256 *d);
/* From the start again; the memory of the last one serves again. */
void sha256_begin(struct sha256 *d);
/* What does not fit beside what was gathered. */
void sha256_flush(struct sha256 *d, const void *p, size_t n);
static inline void sha256_bytes(struct sha256 *d, const void *p, size_t n)
{
        if (n > sizeof d->small - d->n_small) {
                sha256_flush(d, p, n);
        } else if (n) {
                memcpy(d->small + d->n_small, p, n);
                d->n_small += n;
        }
}
/* With its length before it (8 bytes), so that no two lists of texts look alike. */
static inline void sha256_text(struct sha256 *d, struct pm_str text)
{
        uint64_t n = text.n;

        sha256_bytes(d, &n, sizeof n);
        sha256_bytes(d, text.p, text.n);
}
/* False: it failed, and out is untouched. */
bool sha256_end(struct sha256 *d, unsigned char out[SHA256_SIZE]);

/* Of those bytes alone; any thread.  False: it failed. */
bool sha256_of(const void *p, size_t n, unsigned char out[SHA256_SIZE]);
/* 2 n letters, small, and NUL. */
void sha256_hex(const unsigned char *p, size_t n, char *out);
#endif
