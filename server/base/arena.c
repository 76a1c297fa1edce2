/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of blocks, newest first.  Small allocations move a pointer in the newest ordinary block; one that would waste much of
 * a block gets a block of its own size behind it.  Deferred functions are nodes in the arena's own memory, newest first, so
 * the order of clean-up needs no care.
 */
#include "arena.h"

#include "memory.h"

#include "base.h"

#define BLOCK_SIZE ((size_t)8192)
#define LARGE (BLOCK_SIZE / 4) /* from here on a block of its own */

struct arena_block {
        struct arena_block *next;
        size_t size; /* all of it, and 1 more if it stands alone: the others may go to the pool */
        _Alignas(ARENA_ALIGN) char data[];
};

struct arena_deferred {
        struct arena_deferred *next;
        void (*fn)(void *arg);
        void *arg;
};

void arena_pool_init(struct arena_pool *p, size_t keep)
{
        *p = (struct arena_pool){ .keep = keep };
}

void arena_pool_finish(struct arena_pool *p)
{
        while (p->free) {
                struct arena_block *b = p->free;

                p->free = b->next;
                free(b);
        }
        p->n = 0;
}

void arena_init(struct arena *a, struct arena_pool *pool, size_t max)
{
        *a = (struct arena){ .pool = pool, .max = max };
}

static struct arena_block *block_take(struct arena_pool *pool)
{
        struct arena_block *b;

        if (pool)
                memory_held(BLOCK_SIZE);
        if (pool && pool->free) {
                b = pool->free;
                pool->free = b->next;
                pool->n--;
                return b;
        }
        b = malloc(BLOCK_SIZE);
        if (b)
                b->size = BLOCK_SIZE;
        else if (pool)
                memory_held(-(int64_t)BLOCK_SIZE);
        return b;
}

static void block_give(struct arena_pool *pool, struct arena_block *b)
{
        if (pool)
                memory_held(-(int64_t)(b->size & ~(size_t)1));
        if (!pool || b->size != BLOCK_SIZE || pool->n >= pool->keep) {
                free(b);
                return;
        }
        b->next = pool->free;
        pool->free = b;
        pool->n++;
}

void arena_finish(struct arena *a)
{
        while (a->deferred) {
                struct arena_deferred *d = a->deferred;

                a->deferred = d->next; /* first: fn may defer more */
                d->fn(d->arg);
        }
        while (a->blocks) {
                struct arena_block *b = a->blocks;

                a->blocks = b->next;
                block_give(a->pool, b);
        }
        arena_init(a, a->pool, a->max);
}

static void *alloc_alone(struct arena *a, size_t n)
{
        struct arena_block *b = malloc(sizeof *b + n);

        if (!b)
                return NULL;
        b->size = (sizeof *b + n) | 1;
        if (a->pool)
                memory_held((int64_t)(b->size & ~(size_t)1));
        if (a->blocks) { /* behind the newest, whose room stays in use */
                b->next = a->blocks->next;
                a->blocks->next = b;
        } else {
                b->next = NULL;
                a->blocks = b;
        }
        return b->data;
}

void *arena_alloc_slowly(struct arena *a, size_t n)
{
        size_t need;
        void *p;

        assert(a->used <= a->max);
        if (n == 0)
                n = 1;
        if (n > SIZE_MAX / 2)
                return NULL;
        need = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
        if (need > a->max - a->used)
                return NULL;
        if (ARENA_CHECKED || need >= LARGE) {
                p = alloc_alone(a, n);
                if (p)
                        a->used += need;
                return p;
        }
        if (need > (size_t)(a->end - a->at)) {
                struct arena_block *b = block_take(a->pool);

                if (!b)
                        return NULL;
                b->next = a->blocks;
                a->blocks = b;
                a->at = b->data;
                a->end = (char *)b + BLOCK_SIZE;
        }
        p = a->at;
        a->at += need;
        a->used += need;
        return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
        void *p = arena_alloc(a, n);

        return p ? memset(p, 0, n) : NULL;
}

void *arena_zalloc_v(void *arena, size_t n)
{
        return arena_zalloc(arena, n);
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
        char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;

        if (!copy)
                return NULL;
        if (n)
                memcpy(copy, p, n);
        copy[n] = '\0';
        return copy;
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list args)
{
        char small[256];
        va_list again;
        char *text;
        int n;

        va_copy(again, args);
        n = vsnprintf(small, sizeof small, fmt, args);
        if (n < 0) {
                text = NULL;
        } else if ((size_t)n < sizeof small) {
                text = arena_strndup(a, small, (size_t)n);
        } else {
                text = arena_alloc(a, (size_t)n + 1);
                if (text)
                        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
        }
        va_end(again);
        return text;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list args;
        char *text;

        va_start(args, fmt);
        text = arena_vprintf(a, fmt, args);
        va_end(args);
        return text;
}

int arena_defer(struct arena *a, void (*fn)(void *arg), void *arg)
{
        struct arena_deferred *d = arena_alloc(a, sizeof *d);

        if (!d) {
                fn(arg);
                return -ENOMEM;
        }
        *d = (struct arena_deferred){ a->deferred, fn, arg };
        a->deferred = d;
        return 0;
}
