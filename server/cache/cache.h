/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - what a worker keeps of decisions and answers: its own memory, and its way to Redis.
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
/* The worker has taken another generation: bounds and Redis are its from now on, what is kept stays. */
void cache_reload(struct cache *c, const struct generation *g);

struct lru *cache_decisions(struct cache *c);
struct lru *cache_answers(struct cache *c);
struct lru *cache_vectors(struct cache *c); /* of embedders' backends, and replies to routers */
struct redis *cache_redis(struct cache *c); /* NULL: none is configured */
/* The numbers of the worker's metrics about what is kept are as of now. */
void cache_publish(struct cache *c);
/* Does it pay to ask Redis for this route's decisions, and to tell them to it? */
bool cache_shared_pays(const struct cache *c, const struct route *r);
/* A decision of this route was computed in so long: what cache_shared_pays() goes by. */
void cache_computed(struct cache *c, const struct route *r, int64_t us);

/* ---- keys ---- */

enum cache_kind { CACHE_KEY_DECISION = 'd', CACHE_KEY_PIN = 'p', CACHE_KEY_ANSWER = 'a', CACHE_KEY_HISTORY = 'h', CACHE_KEY_VECTOR = 'v',
                  CACHE_KEY_REPLY = 'r', CACHE_KEY_STATE = 's' };

struct cache_key {
        struct pm_str shared; /* for Redis: with its prefix */
        struct pm_str local;  /* the same without; p NULL: there is no key */
        uint64_t hash;
};

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
/* What stands at the end of a key whose sum is one text's; any thread.  False: it failed. */
bool cache_digest_text(struct pm_str text, char out[CACHE_DIGEST_TEXT + 1]);

/* ---- one computation of each key at a time ---- */

/* Lives in its owner, zeroed at first.  Either it leads (others wait for what it computes), or it waits for the one that does. */
struct singleflight {
        struct singleflight *chain;          /* of those that lead */
        struct singleflight *leader;         /* whom it waits for */
        struct singleflight *first, *next, **pprev; /* who waits, in order */
        struct cache_key key;
        bool is_leader;
        void (*on_result)(struct singleflight *f, struct pm_str value, bool failed); /* told to who waited; may not start singleflights from inside */
};
/* True: it leads now.  False: somebody does already, and it waits: on_result() will come. */
bool singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key);
/* Leading, or waiting, or neither: it ends.  Those that wait for it are told: a value (p not NULL), that it failed, or neither: the
 * leader has left, and somebody else should lead. */
void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, bool failed);

/* ---- for others ---- */

/* Milliseconds since 1970. */
int64_t cache_now_ms(void);
/* The numbers of all workers' Redis; any thread. */
struct redis_stats *cache_redis_stats(void);
#endif
