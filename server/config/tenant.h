/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant.h - who may ask: keys, limits on requests in flight, what they may use.
 *
 * Keys are kept as salted SHA-256 only.  A lookup hashes the presented key once for each distinct salt and compares with every
 * stored hash in constant time, so that each wrong key gets the same answer in the same time.
 */
#ifndef PM_TENANT_H
#define PM_TENANT_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "pm_router.h"

struct expert;
struct route;
struct tenants;

/* A key has so many bytes, all of them printable ASCII without spaces, since it must fit into a header. */
#define TENANT_KEY_MIN 16
#define TENANT_KEY_MAX 256
#define TENANT_HASH_TEXT 128 /* room for "sha256:SALT:HASH" as tenant_hash_key() writes it */

struct tenant {
        const char *name;
        int64_t max_in_flight; /* 0: no limit */
        _Atomic int64_t *in_flight; /* process-wide by name, so that it outlives reloads */
        struct expert **experts;    /* may use only these; NULL: all */
        size_t n_experts;
        unsigned char fingerprint[32]; /* of these, if there are any */
        struct route **routes;      /* may ask for only these; NULL: all */
        size_t n_routes;
        int metric;
};

/* Builds the set while a generation is loaded, on the main thread.  Keys in clear text (from the environment) are hashed with a
 * fresh salt.  NULL: no memory, or OpenSSL has no SHA-256 or no random bytes. */
struct tenants *tenants_create(struct arena *a);
struct tenant *tenants_add(struct tenants *t, const char *name); /* NULL: no memory */
/* 0, -EINVAL: wrong length or characters for a key, -EEXIST: a tenant has it already, in plain text or as a hash. */
int tenants_add_key(struct tenants *t, struct tenant *of, const char *key);
/* "sha256:SALT:HASH" in hex, 8 to 32 bytes of salt, HASH of the salt's bytes and the key.  0, -EINVAL, -EEXIST. */
int tenants_add_hash(struct tenants *t, struct tenant *of, const char *hash);

/* The owner of "Authorization: Bearer KEY" (the header's value), in *ret.  0; -ENOENT: nobody's; -ENOMEM: not known.  Any thread. */
int tenants_find(const struct tenants *t, struct pm_str authorization, struct tenant **ret);
/* Of a key alone. */
int tenants_find_key(const struct tenants *t, struct pm_str key, struct tenant **ret);

bool tenant_may_use(const struct tenant *t, const struct expert *e); /* t may be NULL: no keys are configured */
bool tenant_may_ask(const struct tenant *t, const struct route *r);
/* Any thread.  False: the limit is reached. */
bool tenant_enter(struct tenant *t);
void tenant_leave(struct tenant *t);

/* For `pointsman hash-key`: "sha256:..." of a key with a random salt into out.  0, -EINVAL as above, -ENOSPC, -EIO. */
int tenant_hash_key(const char *key, char *out, size_t n);
#endif
