/* SPDX-License-Identifier: Apache-2.0 */
/* cache_parts.h - what the files of the cache share. */
#ifndef PM_CACHE_PARTS_H
#define PM_CACHE_PARTS_H

#include "cache.h"
#include "sha256.h"

enum {
        SINGLEFLIGHT_CHAINS = 256,
        CACHE_ROUTES = 4096 /* as many as metrics have names */
};

struct cache {
        struct loop *loop;
        struct lru *decisions, *answers, *vectors;
        struct store *store;
        struct retired *retired;
        unsigned char store_print[SHA256_SIZE]; /* of its settings */
        struct sha256 sum;
        int64_t *computed_us;              /* by the route's metric, smoothed; 0: never */
        struct singleflight *singleflights[SINGLEFLIGHT_CHAINS];
};
#endif
