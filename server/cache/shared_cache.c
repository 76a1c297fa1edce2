/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen caches of each, chosen by the hash's highest bits; the chains inside use its lowest. */
#include "shared_cache.h"

#include <pthread.h>

#include "base.h"
#include "history_codec.h"

enum { PARTS = 16 };

struct part {
        pthread_mutex_t lock;
        struct lru *lru; /* NULL: none is wanted yet */
};

#define PART { .lock = PTHREAD_MUTEX_INITIALIZER }
#define PARTS_4 PART, PART, PART, PART
#define PARTS_16 { PARTS_4, PARTS_4, PARTS_4, PARTS_4 }
static struct part parts[SHARED_CACHES][PARTS] = { [SHARED_CACHE_PINS] = PARTS_16, [SHARED_CACHE_HISTORIES] = PARTS_16, [SHARED_CACHE_STATES] = PARTS_16 };

static struct part *part_of(enum shared_cache which, uint64_t hash)
{
        return &parts[which][hash >> 60];
}

int shared_cache_bound(enum shared_cache which, size_t bytes)
{
        int e = 0;

        for (int i = 0; i < PARTS; i++) {
                struct part *p = &parts[which][i];

                pthread_mutex_lock(&p->lock);
                if (p->lru)
                        lru_bound(p->lru, bytes / PARTS);
                else if (bytes && !(p->lru = lru_create(bytes / PARTS)))
                        e = -ENOMEM;
                pthread_mutex_unlock(&p->lock);
        }
        return e;
}

bool shared_cache_get(enum shared_cache which, uint64_t hash, struct pm_str key, int64_t now_ms, struct arena *a, struct pm_str *value)
{
        struct part *p = part_of(which, hash);
        struct pm_str there;
        char *copy = NULL;

        pthread_mutex_lock(&p->lock);
        if (p->lru && lru_get(p->lru, hash, key, now_ms, &there, NULL)) {
                copy = arena_alloc(a, MAX(there.n, (size_t)1));
                if (copy)
                        *value = (struct pm_str){ memcpy(copy, there.p, there.n), there.n };
        }
        pthread_mutex_unlock(&p->lock);
        return copy != NULL;
}

void shared_cache_put(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms)
{
        struct part *p = part_of(which, hash);

        pthread_mutex_lock(&p->lock);
        if (p->lru)
                (void)lru_put(p->lru, hash, key, value, expires_ms, now_ms); /* one that does not fit is not kept */
        pthread_mutex_unlock(&p->lock);
}

void shared_cache_remove(enum shared_cache which, uint64_t hash, struct pm_str key)
{
        struct part *p = part_of(which, hash);

        pthread_mutex_lock(&p->lock);
        if (p->lru)
                (void)lru_remove(p->lru, hash, key);
        pthread_mutex_unlock(&p->lock);
}

size_t shared_cache_remove_prefix(enum shared_cache which, struct pm_str prefix)
{
        size_t n = 0;

        for (int i = 0; i < PARTS; i++) {
                struct part *p = &parts[which][i];

                pthread_mutex_lock(&p->lock);
                if (p->lru)
                        n += lru_remove_prefix(p->lru, prefix);
                pthread_mutex_unlock(&p->lock);
        }
        return n;
}

struct lru_counts shared_cache_counts(enum shared_cache which)
{
        struct lru_counts all = { 0 };

        for (int i = 0; i < PARTS; i++) {
                struct part *p = &parts[which][i];

                pthread_mutex_lock(&p->lock);
                if (p->lru) {
                        struct lru_counts one = lru_counts(p->lru);

                        all.entries += one.entries;
                        all.bytes += one.bytes;
                        all.evicted += one.evicted;
                        all.expired += one.expired;
                }
                pthread_mutex_unlock(&p->lock);
        }
        return all;
}

void shared_cache_push(enum shared_cache which, uint64_t hash, struct pm_str key, struct pm_str item, size_t keep, int64_t expires_ms, int64_t now_ms)
{
        struct part *p = part_of(which, hash);
        CLEANUP(free_p) char *list = malloc(HISTORY_MAX);
        struct pm_str before = { NULL, 0 };

        if (!list || item.n > HISTORY_ITEM_MAX)
                return;
        pthread_mutex_lock(&p->lock);
        if (p->lru) {
                (void)lru_get(p->lru, hash, key, now_ms, &before, NULL);
                (void)lru_put(p->lru, hash, key, (struct pm_str){ list, history_push(before, item, keep, list) }, expires_ms, now_ms);
        }
        pthread_mutex_unlock(&p->lock);
}
