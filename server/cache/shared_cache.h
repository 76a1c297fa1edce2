/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_cache.h - the little that all workers keep together: which expert a conversation stays with, which one gave a response,
 * and what a user has taken lately.
 *
 * A conversation's next turn, and a user's next request, may come to any worker; without Redis nobody else could tell it.  Each of them
 * lives as long as the process, so that a reload forgets nothing.  Parts of it have locks of their own, held for one lookup or one
 * copy; all functions on any thread.
 */
#ifndef PM_SHARED_CACHE_H
#define PM_SHARED_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "lru.h"

enum shared_cache { SHARED_CACHE_PINS, SHARED_CACHE_HISTORIES, SHARED_CACHE_STATES, SHARED_CACHES };

/* The bound of all parts together; 0: nothing is kept.  0 or -ENOMEM: then it is as it was. */
int shared_cache_bound(enum shared_cache which, size_t bytes);

/* True: *value is a copy in the arena. */
bool shared_cache_get(enum shared_cache which, uint64_t hash, struct pm_str key, int64_t now_ms, struct arena *a, struct pm_str *value);
void shared_cache_put(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms);
void shared_cache_remove(enum shared_cache which, uint64_t hash, struct pm_str key);
size_t shared_cache_remove_prefix(enum shared_cache which, struct pm_str prefix);
struct lru_counts shared_cache_counts(enum shared_cache which);

/* A value can be a list of texts, the newest first: puts one before the others, of which at most `keep` stay, in 64 KiB. */
void shared_cache_push(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str text, size_t keep, int64_t expires_ms, int64_t now_ms);
/* The texts of such a value, which they point into; at most `max`.  Returns how many. */
size_t shared_cache_texts(struct pm_str value, struct pm_str *texts, size_t max);
#endif
