/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - a worker's cache of decisions, answers and vectors: its own memory, and its connection to Redis.
 *
 * Keys are texts that an administrator can read and delete by their beginning:
 *
 *      <prefix>d|<tenant, or *>|<route>|<192 bits of a SHA-256, base64url>      a decision; p: a pin; a: an answer; h: a history; v: a vector; r: an expert's reply to a router;
 *                                                                               s: who gave a response
 *
 * A cache belongs to its worker and outlives generations; all functions on the worker's thread unless they say otherwise.
 */
#ifndef PM_CACHE_H
#define PM_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "pm_router.h"

struct cache;
struct singleflight;
struct generation;
struct lru;
struct redis;
struct redis_config;
struct redis_settings;
struct route;
struct tenant;
struct loop;

/* Main thread, before the worker's thread runs.  NULL: no memory. */
struct cache *cache_create(struct loop *loop, const struct generation *g);
void cache_destroy(struct cache *c); /* NULL is fine */
/* The worker uses another generation: its sizes and its Redis apply from now on; the entries stay. */
void cache_reload(struct cache *c, const struct generation *g);

struct lru *cache_decisions(struct cache *c);
struct lru *cache_answers(struct cache *c);
struct lru *cache_vectors(struct cache *c); /* of embedders' backends, and replies to routers */
struct redis *cache_redis(struct cache *c); /* NULL: none is configured */
/* Updates the worker's metrics of cache entries, bytes and evictions. */
void cache_publish(struct cache *c);
/* Is Redis worth asking for this route's decisions, and worth writing them to? */
bool cache_shared_pays(const struct cache *c, const struct route *r);
/* A decision of this route took `us` to compute: input of cache_shared_pays(). */
void cache_computed(struct cache *c, const struct route *r, int64_t us);

/* ---- keys ---- */

enum cache_kind { CACHE_KEY_DECISION = 'd', CACHE_KEY_PIN = 'p', CACHE_KEY_ANSWER = 'a', CACHE_KEY_HISTORY = 'h', CACHE_KEY_VECTOR = 'v',
                  CACHE_KEY_REPLY = 'r', CACHE_KEY_STATE = 's' };

struct cache_key {
        struct pm_str shared; /* for Redis: with its prefix */
        struct pm_str local;  /* the same without; p NULL: there is no key */
        uint64_t hash;
};

enum { CACHE_SHARE_US = 1000000 }; /* how long a command to Redis that nobody waits for may take */
/* Into Redis, if one is configured; nobody waits for it. */
void cache_share(struct cache *c, const struct cache_key *key, struct pm_str value, int64_t lives_ms);

/* One sum at a time. */
void cache_sum_begin(struct cache *c);
void cache_sum_bytes(struct cache *c, const void *p, size_t n);
void cache_sum_text(struct cache *c, struct pm_str text); /* with its length before it */
/* What was added since, as a key in the arena; scope: whose it is, NULL: everybody's.  False: no memory, or the sum failed. */
bool cache_sum_key(struct cache *c, const struct generation *g, enum cache_kind kind, const struct tenant *scope, const struct route *r,
                   struct arena *a, struct cache_key *ret);
/* The same with a name in place of the tenant's, and of the route's. */
bool cache_sum_key_named(struct cache *c, const struct generation *g, enum cache_kind kind, const char *who, const char *what, struct arena *a,
                         struct cache_key *ret);

enum { CACHE_DIGEST_TEXT = 32 };
/* The end of the key of a single text; any thread.  False: it failed. */
bool cache_digest_text(struct pm_str text, char out[CACHE_DIGEST_TEXT + 1]);

/* ---- single-flight: one computation of each key at a time ---- */

/* Lives in its owner, zeroed at first.  Either it leads (others wait for what it computes), or it waits for the one that does. */
struct singleflight {
        struct singleflight *chain;          /* of those that lead */
        struct singleflight *leader;         /* the one that it waits for */
        struct singleflight *first, *next, **pprev; /* who waits, in order */
        struct cache_key key;
        bool is_leader;
        void (*on_result)(struct singleflight *f, struct pm_str value, bool failed); /* called for each waiter; must not start a singleflight itself */
};
/* True: it is the leader now.  False: there is one already, and this one waits: on_result() will come. */
bool singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key);
/* Leading, or waiting, or neither: it ends.  Those that wait for it are told: a value (p not NULL), that it failed, or neither: the
 * leader has left, and another one should lead. */
void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, bool failed);

/* ---- for others ---- */

/* Milliseconds since 1970. */
int64_t cache_now_ms(void);
/* The numbers of all workers' Redis; any thread. */
struct redis_stats *cache_redis_stats(void);
#endif
