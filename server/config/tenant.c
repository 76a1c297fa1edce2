/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes stand in groups, one for each salt: all keys that came in clear text share one salt, drawn when the set is built, so
 * they cost one SHA-256 a lookup, however many there are.  Each group is an array of hashes that is scanned to its end with
 * arithmetic instead of branches: nothing in the time taken depends on the key or on which hash was the right one.
 */
#include <ctype.h>
#include <stdatomic.h>

#include <openssl/rand.h>

#include "sha256.h"
#include "tenant.h"

#include "base.h"

#define SALT_MIN 8
#define SALT_MAX 32
#define FRESH_SALT 16
struct key_digest {
        uint64_t word[SHA256_SIZE / 8];
};

struct salted {
        struct salted *next;
        unsigned char salt[SALT_MAX];
        size_t salt_n, n, room;
        struct key_digest *hashes;
        struct tenant **owners;
};

struct tenants {
        struct arena *arena;
        struct salted *groups;
        unsigned char fresh[FRESH_SALT];
};

/* Requests in flight, by the tenant's name.  Lives as long as the process; the list is the main thread's. */
struct counter {
        _Alignas(64) _Atomic int64_t in_flight; /* its own cache line: workers write it */
        struct counter *next;
        char name[];
};

static struct counter *counters;

static _Atomic int64_t *counter_of(const char *name)
{
        size_t n = strlen(name) + 1, size = (sizeof(struct counter) + n + 63) / 64 * 64;
        struct counter *c;

        for (c = counters; c; c = c->next)
                if (strcmp(c->name, name) == 0)
                        return &c->in_flight;
        c = aligned_alloc(64, size);
        if (!c)
                return NULL;
        memset(c, 0, size);
        memcpy(c->name, name, n);
        c->next = counters;
        counters = c;
        return &c->in_flight;
}

/* ---- hashes -------------------------------------------------------------------------------------------------------------- */

/* SHA-256 of salt and key.  A key that is too long is cut; the caller lets it match nothing. */
static int hash(const unsigned char *salt, size_t salt_n, const char *key, size_t n, struct key_digest *ret)
{
        unsigned char text[SALT_MAX + TENANT_KEY_MAX];

        n = MIN(n, (size_t)TENANT_KEY_MAX);
        memcpy(text, salt, salt_n);
        memcpy(text + salt_n, key, n);
        return sha256_of(text, salt_n + n, (unsigned char *)ret->word) ? 0 : -ENOMEM;
}

/* All ones if x is 0, else 0; without a branch. */
static uint64_t if_zero(uint64_t x)
{
        return ((x | (0 - x)) >> 63) - 1;
}

/* The index of a hash in a group, from 1; 0: not there. */
static uint64_t scan(const struct salted *g, const struct key_digest *d)
{
        uint64_t found = 0;

        for (size_t i = 0; i < g->n; i++) {
                const uint64_t *w = g->hashes[i].word;
                uint64_t differ = (w[0] ^ d->word[0]) | (w[1] ^ d->word[1]) | (w[2] ^ d->word[2]) | (w[3] ^ d->word[3]);

                found |= if_zero(differ) & (i + 1);
        }
        return found;
}

/* A wrong key takes this same way to its end.  -ENOENT: it is nobody's; -ENOMEM: that is not known. */
static int owner_of(const struct tenants *t, const char *key, size_t n, struct tenant **ret)
{
        struct tenant *owner = NULL;
        int error = -ENOENT;

        for (const struct salted *g = t->groups; g; g = g->next) {
                struct key_digest d;
                uint64_t at;

                if (hash(g->salt, g->salt_n, key, n, &d) < 0) {
                        error = -ENOMEM;
                        continue;
                }
                at = scan(g, &d);
                if (at)
                        owner = g->owners[at - 1];
        }
        if (!owner || n < TENANT_KEY_MIN || n > TENANT_KEY_MAX)
                return error;
        *ret = owner;
        return 0;
}

/* ---- building ------------------------------------------------------------------------------------------------------------ */

struct tenants *tenants_create(struct arena *a)
{
        struct tenants *t = arena_zalloc(a, sizeof *t);

        if (!t || RAND_bytes(t->fresh, sizeof t->fresh) != 1)
                return NULL;
        t->arena = a;
        return t;
}

struct tenant *tenants_add(struct tenants *t, const char *name)
{
        struct tenant *made = arena_zalloc(t->arena, sizeof *made);

        if (!made)
                return NULL;
        made->name = arena_strndup(t->arena, name, strlen(name));
        made->in_flight = counter_of(name);
        return made->name && made->in_flight ? made : NULL;
}

static struct salted *group_of(struct tenants *t, const unsigned char *salt, size_t n)
{
        struct salted *g;

        for (g = t->groups; g; g = g->next)
                if (g->salt_n == n && memcmp(g->salt, salt, n) == 0)
                        return g;
        g = arena_zalloc(t->arena, sizeof *g);
        if (!g)
                return NULL;
        memcpy(g->salt, salt, n);
        g->salt_n = n;
        g->next = t->groups;
        t->groups = g;
        return g;
}

static int group_add(struct tenants *t, struct salted *g, const struct key_digest *d, struct tenant *of)
{
        if (scan(g, d))
                return -EEXIST;
        if (g->n == g->room) {
                size_t room = g->room ? 2 * g->room : 4;
                struct key_digest *hashes = arena_alloc(t->arena, room * sizeof *hashes);
                struct tenant **owners = arena_alloc(t->arena, room * sizeof *owners);

                if (!hashes || !owners)
                        return -ENOMEM;
                if (g->n) {
                        memcpy(hashes, g->hashes, g->n * sizeof *hashes);
                        memcpy(owners, g->owners, g->n * sizeof *owners);
                }
                g->hashes = hashes;
                g->owners = owners;
                g->room = room;
        }
        g->hashes[g->n] = *d;
        g->owners[g->n++] = of;
        return 0;
}

static bool is_key(const char *key)
{
        size_t n = strlen(key);

        for (const char *p = key; *p; p++)
                if (*p <= ' ' || *p > '~')
                        return false;
        return n >= TENANT_KEY_MIN && n <= TENANT_KEY_MAX;
}

int tenants_add_key(struct tenants *t, struct tenant *of, const char *key)
{
        struct tenant *owner;
        struct salted *g;
        struct key_digest d;
        int r;

        if (!is_key(key))
                return -EINVAL;
        r = owner_of(t, key, strlen(key), &owner);
        if (r != -ENOENT)
                return r == 0 ? -EEXIST : r;
        g = group_of(t, t->fresh, sizeof t->fresh);
        if (!g)
                return -ENOMEM;
        if (hash(g->salt, g->salt_n, key, strlen(key), &d) < 0)
                return -ENOMEM;
        return group_add(t, g, &d, of);
}

/* n bytes from 2n hex digits. */
static bool from_hex(const char *hex, size_t n, unsigned char *out)
{
        for (size_t i = 0; i < n; i++) {
                char two[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

                if (!isxdigit((unsigned char)two[0]) || !isxdigit((unsigned char)two[1]))
                        return false;
                out[i] = (unsigned char)strtoul(two, NULL, 16);
        }
        return true;
}

int tenants_add_hash(struct tenants *t, struct tenant *of, const char *text)
{
        const char *salt = text + 7, *colon = strncmp(text, "sha256:", 7) == 0 ? strchr(salt, ':') : NULL;
        size_t digits = colon ? (size_t)(colon - salt) : 0;
        unsigned char bytes[SALT_MAX], d[SHA256_SIZE];
        struct key_digest digest;
        struct salted *g;

        if (digits % 2 || digits < 2 * SALT_MIN || digits > 2 * SALT_MAX || strlen(colon + 1) != 2 * SHA256_SIZE)
                return -EINVAL;
        if (!from_hex(salt, digits / 2, bytes) || !from_hex(colon + 1, SHA256_SIZE, d))
                return -EINVAL;
        memcpy(&digest, d, sizeof digest);
        g = group_of(t, bytes, digits / 2);
        return g ? group_add(t, g, &digest, of) : -ENOMEM;
}

/* ---- use ----------------------------------------------------------------------------------------------------------------- */

int tenants_find_key(const struct tenants *t, struct pm_str key, struct tenant **ret)
{
        return key.n ? owner_of(t, key.p, key.n, ret) : -ENOENT;
}

int tenants_find(const struct tenants *t, struct pm_str authorization, struct tenant **ret)
{
        const char *p = authorization.p;
        size_t n = authorization.n;

        if (n < 7 || strncasecmp(p, "bearer", 6) != 0 || (p[6] != ' ' && p[6] != '\t'))
                return -ENOENT;
        for (p += 6, n -= 6; n && (*p == ' ' || *p == '\t'); p++)
                n--;
        while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
                n--;
        return n ? owner_of(t, p, n, ret) : -ENOENT;
}

bool tenant_may_use(const struct tenant *t, const struct expert *e)
{
        if (!t || !t->experts)
                return true;
        for (size_t i = 0; i < t->n_experts; i++)
                if (t->experts[i] == e)
                        return true;
        return false;
}

bool tenant_may_ask(const struct tenant *t, const struct route *r)
{
        if (!t || !t->routes)
                return true;
        for (size_t i = 0; i < t->n_routes; i++)
                if (t->routes[i] == r)
                        return true;
        return false;
}

bool tenant_enter(struct tenant *t)
{
        int64_t before = atomic_fetch_add_explicit(t->in_flight, 1, memory_order_relaxed);

        if (t->max_in_flight == 0 || before < t->max_in_flight)
                return true;
        tenant_leave(t);
        return false;
}

void tenant_leave(struct tenant *t)
{
        int64_t before = atomic_fetch_sub_explicit(t->in_flight, 1, memory_order_relaxed);

        assert(before > 0);
}

int tenant_hash_key(const char *key, char *out, size_t n)
{
        char salt_text[2 * FRESH_SALT + 1], digest_text[2 * SHA256_SIZE + 1];
        unsigned char salt[FRESH_SALT];
        struct key_digest d;

        if (!is_key(key))
                return -EINVAL;
        if (n < 7 + sizeof salt_text + sizeof digest_text)
                return -ENOSPC;
        if (RAND_bytes(salt, sizeof salt) != 1)
                return -EIO;
        if (hash(salt, sizeof salt, key, strlen(key), &d) < 0)
                return -ENOMEM;
        sha256_hex(salt, sizeof salt, salt_text);
        sha256_hex((const unsigned char *)d.word, SHA256_SIZE, digest_text);
        (void)snprintf(out, n, "sha256:%s:%s", salt_text, digest_text);
        return 0;
}
