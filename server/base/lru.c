/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of chains, sized once by the bound, and a ring of all entries in the order of use.  The table comes from the kernel, page by
 * page as entries come, so an empty cache costs nothing; there is never a moment at which everything is hashed again.
 */
#include "lru.h"

#include <sys/mman.h>

#include "base.h"

enum { BYTES_A_CHAIN = 256, CHAINS_MIN = 64, CHAINS_MAX = 1 << 22, EXPIRED_AT_ONCE = 2 };

struct ring {
        struct ring *newer, *older; /* the head stands between the oldest and the newest */
};

struct entry {
        struct ring ring; /* first: a link of the ring is its entry */
        struct entry *chain;
        uint64_t hash;
        int64_t expires_ms;
        uint32_t key_n, value_n;
        char data[];
};

struct lru {
        struct entry **chains;
        size_t mask, bytes_max;
        struct ring head;
        struct lru_counts counts;
};

static size_t cost(size_t key_n, size_t value_n)
{
        return sizeof(struct entry) + key_n + value_n + 16; /* and malloc's own */
}

static size_t chains_for(size_t bytes)
{
        size_t n = CHAINS_MIN;

        while (n < bytes / BYTES_A_CHAIN && n < CHAINS_MAX)
                n *= 2;
        return n;
}

/* NULL: no memory. */
static struct entry **chains_create(size_t n)
{
        void *p = mmap(NULL, n * sizeof(struct entry *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

static void chains_destroy(struct lru *l)
{
        (void)munmap(l->chains, (l->mask + 1) * sizeof(struct entry *));
}

struct lru *lru_create(size_t bytes)
{
        CLEANUP(free_p) struct lru *l = calloc(1, sizeof *l);
        size_t n = chains_for(bytes);

        if (!l)
                return NULL;
        l->chains = chains_create(n);
        if (!l->chains)
                return NULL;
        l->mask = n - 1;
        l->bytes_max = bytes;
        l->head.newer = l->head.older = &l->head;
        return TAKE(l);
}

static void detach(struct entry *e)
{
        e->ring.newer->older = e->ring.older;
        e->ring.older->newer = e->ring.newer;
}

static void attach_newest(struct lru *l, struct entry *e)
{
        e->ring = (struct ring){ .older = l->head.older, .newer = &l->head };
        l->head.older->newer = &e->ring;
        l->head.older = &e->ring;
}

/* The entry after this link, on the way from the oldest to the newest; NULL behind the last. */
static struct entry *next_of(const struct lru *l, const struct ring *at)
{
        return at->newer == &l->head ? NULL : CONTAINER_OF(at->newer, struct entry, ring);
}

static struct entry *oldest(const struct lru *l)
{
        return next_of(l, &l->head);
}

static void drop(struct lru *l, struct entry *e)
{
        struct entry **p = &l->chains[e->hash & l->mask];

        while (*p != e)
                p = &(*p)->chain;
        *p = e->chain;
        detach(e);
        l->counts.entries--;
        l->counts.bytes -= cost(e->key_n, e->value_n);
        free(e);
}

static struct entry *find(const struct lru *l, uint64_t hash, struct pm_str key)
{
        struct entry *e = l->chains[hash & l->mask];

        while (e && (e->hash != hash || e->key_n != key.n || memcmp(e->data, key.p, key.n) != 0))
                e = e->chain;
        return e;
}

void lru_destroy(struct lru *l)
{
        if (!l)
                return;
        for (struct entry *e; (e = oldest(l));)
                drop(l, e);
        chains_destroy(l);
        free(l);
}

static void evict(struct lru *l, size_t room)
{
        for (struct entry *e; l->counts.bytes + room > l->bytes_max && (e = oldest(l));) {
                drop(l, e);
                l->counts.evicted++;
        }
}

void lru_bound(struct lru *l, size_t bytes)
{
        size_t n = chains_for(bytes);
        struct entry **chains = n != l->mask + 1 ? chains_create(n) : NULL;

        l->bytes_max = bytes;
        evict(l, 0);
        if (!chains)
                return; /* the same, or no memory: chains of another length are slower, not wrong */
        chains_destroy(l);
        l->chains = chains;
        l->mask = n - 1;
        for (struct entry *e = oldest(l); e; e = next_of(l, &e->ring)) {
                e->chain = chains[e->hash & l->mask];
                chains[e->hash & l->mask] = e;
        }
}

bool lru_get(struct lru *l, uint64_t hash, struct pm_str key, int64_t now_ms, struct pm_str *value, int64_t *expires_ms)
{
        struct entry *e = find(l, hash, key);

        if (!e)
                return false;
        if (e->expires_ms <= now_ms) {
                drop(l, e);
                l->counts.expired++;
                return false;
        }
        detach(e);
        attach_newest(l, e);
        *value = (struct pm_str){ e->data + e->key_n, e->value_n };
        if (expires_ms)
                *expires_ms = e->expires_ms;
        return true;
}

int lru_put(struct lru *l, uint64_t hash, struct pm_str key, struct pm_str value, int64_t expires_ms, int64_t now_ms)
{
        size_t need = cost(key.n, value.n);
        struct entry *e = find(l, hash, key), *old;

        if (e)
                drop(l, e);
        /* the oldest are often the expired ones: a cache that is not full does not keep them for ever */
        for (int i = 0; i < EXPIRED_AT_ONCE && (old = oldest(l)) && old->expires_ms <= now_ms; i++) {
                drop(l, old);
                l->counts.expired++;
        }
        if (need > l->bytes_max / 4 || key.n > UINT32_MAX || value.n > UINT32_MAX)
                return -E2BIG;
        evict(l, need);
        e = malloc(sizeof *e + key.n + value.n);
        if (!e)
                return -ENOMEM;
        *e = (struct entry){ .chain = l->chains[hash & l->mask], .hash = hash, .expires_ms = expires_ms, .key_n = (uint32_t)key.n,
                             .value_n = (uint32_t)value.n };
        memcpy(e->data, key.p, key.n);
        memcpy(e->data + key.n, value.p, value.n);
        l->chains[hash & l->mask] = e;
        attach_newest(l, e);
        l->counts.entries++;
        l->counts.bytes += need;
        return 0;
}

bool lru_remove(struct lru *l, uint64_t hash, struct pm_str key)
{
        struct entry *e = find(l, hash, key);

        if (e)
                drop(l, e);
        return e != NULL;
}

size_t lru_remove_prefix(struct lru *l, struct pm_str prefix)
{
        struct entry *e = oldest(l), *next;
        size_t n = 0;

        for (; e; e = next) {
                next = next_of(l, &e->ring);
                if (e->key_n < prefix.n || memcmp(e->data, prefix.p, prefix.n) != 0)
                        continue;
                drop(l, e);
                n++;
        }
        return n;
}

struct lru_counts lru_counts(const struct lru *l)
{
        return l->counts;
}
