/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything here is a worker's own, so there is nothing to lock.  A reload keeps what is in memory, since keys carry the fingerprint
 * of what they came from.
 */
#include "cache.h"

#include <time.h>

#include "cache_parts.h"
#include "cache_store.h"
#include "config.h"
#include "loop.h"
#include "lru.h"
#include "metrics.h"
#include "settings.h"

#include "base.h"

int64_t cache_now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void cache_reload(struct cache *c, const struct generation *g)
{
        bool answers = false;

        for (size_t i = 0; i < g->n_routes; i++)
                answers = answers || g->routes[i]->cache.answers_ms > 0;
        lru_bound(c->decisions, (size_t)g->cache->memory);
        lru_bound(c->answers, answers ? (size_t)g->cache->answers : 0);
        lru_bound(c->vectors, (size_t)g->cache->vectors);
        cache_store_reload(c, &g->cache->redis);
        cache_publish(c);
}

struct cache *cache_create(struct loop *loop, const struct generation *g)
{
        struct cache *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->loop = loop;
        c->decisions = lru_create((size_t)g->cache->memory);
        c->answers = lru_create(0);
        c->vectors = lru_create(0);
        sha256_init(&c->sum);
        c->computed_us = calloc(CACHE_ROUTES, sizeof *c->computed_us);
        if (!c->decisions || !c->answers || !c->vectors || !c->sum.ctx || !c->computed_us) {
                cache_destroy(c);
                return NULL;
        }
        cache_reload(c, g);
        return c;
}

void cache_destroy(struct cache *c)
{
        if (!c)
                return;
        cache_store_finish(c);
        lru_destroy(c->decisions);
        lru_destroy(c->answers);
        lru_destroy(c->vectors);
        sha256_finish(&c->sum);
        free(c->computed_us);
        free(c);
}

struct lru *cache_decisions(struct cache *c)
{
        return c->decisions;
}

struct lru *cache_answers(struct cache *c)
{
        return c->answers;
}

struct lru *cache_vectors(struct cache *c)
{
        return c->vectors;
}

void cache_publish(struct cache *c)
{
        struct lru_counts d = lru_counts(c->decisions), a = lru_counts(c->answers), v = lru_counts(c->vectors);

        metrics_cache_size(c->loop->metrics, METRICS_CACHE_DECISIONS, d.entries, d.bytes, d.evicted);
        metrics_cache_size(c->loop->metrics, METRICS_CACHE_ANSWERS, a.entries, a.bytes, a.evicted);
        metrics_cache_size(c->loop->metrics, METRICS_CACHE_VECTORS, v.entries, v.bytes, v.evicted);
}
