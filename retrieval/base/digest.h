/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256, so that a model can say which data it was trained on, and a catalogue whether it is whole.
 */
#ifndef PM_DIGEST_H
#define PM_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32
#define DIGEST_HEX (2 * DIGEST_SIZE + 1)

/* Of parts; one thread at a time. */
struct digest {
        struct evp_md_ctx_st *ctx; /* NULL: none is begun, or it failed */
};

/* What fails is told at the end. */
void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t n);
/* Nothing is held afterwards.  0; or -ENOMEM, and ret is untouched. */
int digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE]);
/* Gives up one that was begun and not ended; else does nothing. */
void digest_drop(struct digest *d);
void digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX]);
#endif
