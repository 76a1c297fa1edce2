/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's, which uses what the processor has for it.
 */
#include <errno.h>
#include <openssl/evp.h>

#include "base.h"
#include "digest.h"

void digest_drop(struct digest *d)
{
        EVP_MD_CTX_free(TAKE(d->ctx));
}

void digest_begin(struct digest *d)
{
        d->ctx = EVP_MD_CTX_new();
        if (d->ctx && EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
                digest_drop(d);
}

void digest_add(struct digest *d, const void *data, size_t n)
{
        if (d->ctx && EVP_DigestUpdate(d->ctx, data, n) != 1)
                digest_drop(d);
}

int digest_end(struct digest *d, uint8_t ret[DIGEST_SIZE])
{
        bool ok = d->ctx && EVP_DigestFinal_ex(d->ctx, ret, NULL) == 1;

        digest_drop(d);
        return ok ? 0 : -ENOMEM;
}

void digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX])
{
        for (size_t i = 0; i < DIGEST_SIZE; i++)
                (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}
