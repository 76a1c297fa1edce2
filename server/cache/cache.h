/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - a worker's cache of decisions, answers and vectors: its own memory, and its connection to Redis.
 *
 * A cache belongs to its worker and outlives generations; all functions on the worker's thread unless they say otherwise.
 */
#ifndef PM_CACHE_H
#define PM_CACHE_H

#include <stdint.h>

struct cache;
struct generation;
struct lru;
struct loop;

/* Main thread, before the worker's thread runs.  NULL: no memory. */
struct cache *cache_create(struct loop *loop, const struct generation *g);
void cache_destroy(struct cache *c); /* NULL is fine */
/* The worker uses another generation: its sizes and its Redis apply from now on; the entries stay. */
void cache_reload(struct cache *c, const struct generation *g);

struct lru *cache_decisions(struct cache *c);
struct lru *cache_answers(struct cache *c);
struct lru *cache_vectors(struct cache *c); /* of embedders' backends, and replies to routers */
/* Updates the worker's metrics of cache entries, bytes and evictions. */
void cache_publish(struct cache *c);
/* Milliseconds since 1970. */
int64_t cache_now_ms(void);
#endif
