/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_key.h - by what something is found that is kept.  Keys are texts that an administrator can read and delete by their beginning:
 *
 *      <prefix>d|<tenant, or *>|<route>|<192 bits of a SHA-256, base64url>      a decision; p: a pin; a: an answer; h: a history; v: a vector; r: an expert's reply to a router;
 *                                                                               s: who gave a response
 *
 * On the worker's thread, unless it says otherwise.
 */
#ifndef PM_CACHE_KEY_H
#define PM_CACHE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "pm_router.h"

struct cache;
struct generation;
struct route;
struct tenant;

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
/* The end of the key of a single text; any thread.  False: it failed. */
bool cache_digest_text(struct pm_str text, char out[CACHE_DIGEST_TEXT + 1]);
#endif
