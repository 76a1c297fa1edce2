/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lru.h - bytes by key, bounded in bytes: what was used longest ago goes first, and what has expired is not there.
 *
 * Keys come with a hash that clients cannot choose freely (the first bytes of a SHA-256).  One thread at a time.
 */
#ifndef PM_LRU_H
#define PM_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

struct lru;

struct lru_counts {
        size_t entries, bytes;       /* now; bytes with what an entry costs beside its key and value */
        uint64_t evicted, expired;   /* since it was made */
};

/* `bytes`: all entries together; 0: nothing is ever kept.  NULL: no memory. */
struct lru *lru_create(size_t bytes);
void lru_destroy(struct lru *l); /* NULL is fine */
/* Another bound; what is too much goes at once. */
void lru_bound(struct lru *l, size_t bytes);

/* True: *value is what was put last and has not expired; good until the next call that changes the cache.  *expires may be NULL. */
bool lru_get(struct lru *l, uint64_t hash, struct pm_str key, int64_t now_ms, struct pm_str *value, int64_t *expires_ms);
/* Copies.  0, -E2BIG: more than a quarter of the bound, or -ENOMEM; then a former value of the key is gone too. */
int lru_put(struct lru *l, uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms);
bool lru_remove(struct lru *l, uint64_t hash, struct pm_str key);
/* All keys that begin so; returns how many.  Looks at every entry. */
size_t lru_remove_prefix(struct lru *l, struct pm_str prefix);

struct lru_counts lru_counts(const struct lru *l);
#endif
