/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen caches, chosen by the hash's highest bits; the chains inside use its lowest. */
#include "pins.h"

#include <pthread.h>

#include "base.h"

enum { PARTS = 16 };

#define PART { .lock = PTHREAD_MUTEX_INITIALIZER }
#define PARTS_4 PART, PART, PART, PART

static struct part {
        pthread_mutex_t lock;
        struct lru *lru; /* NULL: none is wanted yet */
} parts[PARTS] = { PARTS_4, PARTS_4, PARTS_4, PARTS_4 };

static struct part *part_of(uint64_t hash)
{
        return &parts[hash >> 60];
}

int pins_bound(size_t bytes)
{
        int e = 0;

        for (int i = 0; i < PARTS; i++) {
                struct part *p = &parts[i];

                pthread_mutex_lock(&p->lock);
                if (p->lru)
                        lru_bound(p->lru, bytes / PARTS);
                else if (bytes && !(p->lru = lru_create(bytes / PARTS)))
                        e = -ENOMEM;
                pthread_mutex_unlock(&p->lock);
        }
        return e;
}

bool pins_get(uint64_t hash, struct pm_str key, int64_t now_ms, struct arena *a, struct pm_str *value)
{
        struct part *p = part_of(hash);
        struct pm_str there;
        char *copy = NULL;

        pthread_mutex_lock(&p->lock);
        if (p->lru && lru_get(p->lru, hash, key, now_ms, &there, NULL)) {
                copy = arena_alloc(a, there.n);
                if (copy)
                        *value = (struct pm_str){ memcpy(copy, there.p, there.n), there.n };
        }
        pthread_mutex_unlock(&p->lock);
        return copy != NULL;
}

void pins_put(uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms)
{
        struct part *p = part_of(hash);

        pthread_mutex_lock(&p->lock);
        if (p->lru)
                (void)lru_put(p->lru, hash, key, value, expires_ms, now_ms); /* one that does not fit is not kept */
        pthread_mutex_unlock(&p->lock);
}

void pins_remove(uint64_t hash, struct pm_str key)
{
        struct part *p = part_of(hash);

        pthread_mutex_lock(&p->lock);
        if (p->lru)
                (void)lru_remove(p->lru, hash, key);
        pthread_mutex_unlock(&p->lock);
}

size_t pins_remove_prefix(struct pm_str prefix)
{
        size_t n = 0;

        for (int i = 0; i < PARTS; i++) {
                pthread_mutex_lock(&parts[i].lock);
                if (parts[i].lru)
                        n += lru_remove_prefix(parts[i].lru, prefix);
                pthread_mutex_unlock(&parts[i].lock);
        }
        return n;
}

struct lru_counts pins_counts(void)
{
        struct lru_counts all = { 0 };

        for (int i = 0; i < PARTS; i++) {
                pthread_mutex_lock(&parts[i].lock);
                if (parts[i].lru) {
                        struct lru_counts one = lru_counts(parts[i].lru);

                        all.entries += one.entries;
                        all.bytes += one.bytes;
                        all.evicted += one.evicted;
                        all.expired += one.expired;
                }
                pthread_mutex_unlock(&parts[i].lock);
        }
        return all;
}
