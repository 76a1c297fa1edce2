/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.h - which expert a conversation stays with.
 *
 * One table for the process, because a conversation's next turn may come to any worker, and without Redis nobody else could tell it.
 * It lives as long as the process, so that a reload forgets nothing.  Parts of it have locks of their own, held for one lookup or one
 * copy; all functions on any thread.
 */
#ifndef PM_PINS_H
#define PM_PINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "lru.h"

/* The bound of all parts together; 0: none are kept.  0 or -ENOMEM: then it is as it was. */
int pins_bound(size_t bytes);

/* True: *value is a copy in the arena. */
bool pins_get(uint64_t hash, struct pm_str key, int64_t now_ms, struct arena *a, struct pm_str *value);
void pins_put(uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms);
void pins_remove(uint64_t hash, struct pm_str key);
size_t pins_remove_prefix(struct pm_str prefix);
struct lru_counts pins_counts(void);
#endif
