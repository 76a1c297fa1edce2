/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_cache.h - the caches that all workers share: pins (the expert of a conversation), the expert that gave a response, and a user's
 * last items.
 *
 * They are shared because a conversation's next turn and a user's next request may come to any worker, which without Redis could not know
 * them otherwise.  They live as long as the process, so a reload loses nothing.  Each cache is split into parts with a lock each, held for
 * one lookup or one copy; all functions on any thread.
 */
#ifndef PM_SHARED_CACHE_H
#define PM_SHARED_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "lru.h"

enum shared_cache { SHARED_CACHE_PINS, SHARED_CACHE_HISTORIES, SHARED_CACHE_STATES, SHARED_CACHES };

/* Sets the size of all parts together; 0 bytes: nothing is cached.  0, or -ENOMEM: the size is unchanged. */
int shared_cache_bound(enum shared_cache which, size_t bytes);

/* True: *value is a copy in the arena. */
bool shared_cache_get(enum shared_cache which, uint64_t hash, struct pm_str key, int64_t now_ms, struct arena *a, struct pm_str *value);
void shared_cache_put(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms);
void shared_cache_remove(enum shared_cache which, uint64_t hash, struct pm_str key);
size_t shared_cache_remove_prefix(enum shared_cache which, struct pm_str prefix);
struct lru_counts shared_cache_counts(enum shared_cache which);

/* The value is a history (history_codec.h): puts an item before the others, of which at most `keep` stay. */
void shared_cache_push(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str item, size_t keep, int64_t expires_ms, int64_t now_ms);
#endif
