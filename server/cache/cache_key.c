/* SPDX-License-Identifier: Apache-2.0 */
/* A key is named so that it can be found, and numbered by a sum so that it need not be read. */
#include "cache_key.h"

#include "base64.h"
#include "cache_parts.h"
#include "config.h"
#include "settings.h"
#include "tenant.h"

#include "base.h"

enum {
        DIGEST_KEPT = 24, /* 192 bits: nobody finds two conversations with one key */
        DIGEST_TEXT = CACHE_DIGEST_TEXT
};

void cache_sum_begin(struct cache *c)
{
        sha256_begin(&c->sum);
}

void cache_sum_bytes(struct cache *c, const void *p, size_t n)
{
        sha256_bytes(&c->sum, p, n);
}

void cache_sum_text(struct cache *c, struct pm_str text)
{
        sha256_text(&c->sum, text);
}

static char *put(char *out, const char *p, size_t n)
{
        memcpy(out, p, n);
        return out + n;
}

bool cache_digest_text(struct pm_str text, char out[CACHE_DIGEST_TEXT + 1])
{
        unsigned char digest[SHA256_SIZE];
        struct sha256 sum;
        bool done;

        sha256_init(&sum);
        sha256_begin(&sum);
        sha256_text(&sum, text);
        done = sha256_end(&sum, digest);
        sha256_finish(&sum);
        if (done)
                *base64url_encode(digest, DIGEST_KEPT, out) = '\0';
        return done;
}

bool cache_sum_key(struct cache *c, const struct generation *g, enum cache_kind kind, const struct tenant *scope, const struct route *r,
                   struct arena *a, struct cache_key *ret)
{
        return cache_sum_key_named(c, g, kind, scope ? scope->name : "*", r->name, a, ret);
}

bool cache_sum_key_named(struct cache *c, const struct generation *g, enum cache_kind kind, const char *who, const char *what, struct arena *a,
                         struct cache_key *ret)
{
        const char *prefix = g->cache->redis.prefix;
        size_t prefix_n = prefix ? strlen(prefix) : 0, who_n = strlen(who), what_n = strlen(what);
        size_t n = prefix_n + 2 + who_n + 1 + what_n + 1 + DIGEST_TEXT;
        unsigned char digest[SHA256_SIZE];
        char letter = (char)kind, *text, *p;

        if (!sha256_end(&c->sum, digest))
                return false;
        p = text = arena_alloc(a, n);
        if (!text)
                return false;
        if (prefix_n)
                p = put(p, prefix, prefix_n);
        p = put(p, &letter, 1);
        p = put(p, "|", 1);
        p = put(p, who, who_n);
        p = put(p, "|", 1);
        p = put(p, what, what_n);
        p = put(p, "|", 1);
        p = base64url_encode(digest, DIGEST_KEPT, p);
        assert(p == text + n);
        memcpy(&ret->hash, digest, sizeof ret->hash);
        ret->shared = (struct pm_str){ text, n };
        ret->local = (struct pm_str){ text + prefix_n, n - prefix_n };
        return true;
}
