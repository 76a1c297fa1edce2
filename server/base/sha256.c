/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL looks an algorithm up by its name, and that costs more than a short text's sum: so it is looked up once a process.  Where there
 * was no memory for that, the next sum looks again: one moment without memory is not a process without sums.
 */
#include "sha256.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>

#include "base.h"

/* Wherever OpenSSL fails its queue of errors is emptied: what stays there, a TLS connection of the thread would take for its own. */
static const EVP_MD *md(void)
{
        static _Atomic(EVP_MD *) algorithm;
        EVP_MD *had = atomic_load_explicit(&algorithm, memory_order_acquire), *mine;

        if (LIKELY(had))
                return had;
        mine = EVP_MD_fetch(NULL, "SHA256", NULL);
        if (!mine)
                ERR_clear_error();
        if (mine && !atomic_compare_exchange_strong(&algorithm, &had, mine)) {
                EVP_MD_free(mine); /* another thread was first */
                return had;
        }
        return mine;
}

void sha256_init(struct sha256 *d)
{
        d->ctx = EVP_MD_CTX_new();
        if (!d->ctx)
                ERR_clear_error();
        d->failed = true;
        d->n_small = 0;
}

void sha256_finish(struct sha256 *d)
{
        EVP_MD_CTX_free(TAKE(d->ctx));
}

void sha256_begin(struct sha256 *d)
{
        d->n_small = 0;
        d->failed = !d->ctx || !md() || EVP_DigestInit_ex2(d->ctx, md(), NULL) != 1;
        if (d->failed)
                ERR_clear_error();
}

static void add(struct sha256 *d, const void *p, size_t n)
{
        d->failed = d->failed || (n && EVP_DigestUpdate(d->ctx, p, n) != 1);
}

void sha256_flush(struct sha256 *d, const void *p, size_t n)
{
        add(d, d->small, d->n_small);
        d->n_small = 0;
        if (n > sizeof d->small) {
                add(d, p, n);
        } else {
                memcpy(d->small, p, n);
                d->n_small = n;
        }
}

bool sha256_end(struct sha256 *d, unsigned char out[SHA256_SIZE])
{
        add(d, d->small, d->n_small);
        d->n_small = 0;
        return !d->failed && EVP_DigestFinal_ex(d->ctx, out, NULL) == 1;
}

bool sha256_of(const void *p, size_t n, unsigned char out[SHA256_SIZE])
{
        bool good = md() && EVP_Digest(p, n, out, NULL, md(), NULL) == 1;

        if (!good)
                ERR_clear_error();
        return good;
}

void sha256_hex(const unsigned char *p, size_t n, char *out)
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                *out++ = digits[p[i] >> 4];
                *out++ = digits[p[i] & 15];
        }
        *out = '\0';
}
