/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory of one life-time (generation, worker, request) with deferred clean-up.
 *
 * An arena hands out memory that is freed all at once; what is not memory is deferred to the arena's end and runs last in,
 * first out.  Small arenas take blocks from their worker's pool, so a request normally costs no malloc.  One thread at a time.
 */
#ifndef PM_ARENA_H
#define PM_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "pm_router.h"

/* Free blocks of one thread.  Keeps at most `keep` of them. */
struct arena_pool {
        struct arena_block *free;
        size_t n, keep;
};

struct arena {
        struct arena_pool *pool; /* NULL: blocks come from malloc */
        struct arena_block *blocks;
        char *at, *end;          /* free part of the newest block */
        struct arena_deferred *deferred;
        size_t used, max;        /* bytes handed out; above max arena_alloc says NULL */
};

void arena_pool_init(struct arena_pool *p, size_t keep);
void arena_pool_finish(struct arena_pool *p);

void arena_init(struct arena *a, struct arena_pool *pool, size_t max);
/* Runs what was deferred, then frees all.  The arena may be used again. */
void arena_finish(struct arena *a);

/* Under AddressSanitizer each allocation is one of malloc's, so that an overrun is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_CHECKED 1
#endif
#endif
#ifndef ARENA_CHECKED
#define ARENA_CHECKED 0
#endif

#define ARENA_ALIGN 16
void *arena_alloc_slowly(struct arena *a, size_t n);

/* Aligned for any type, not cleared.  NULL above the arena's max or when there is no memory. */
static inline void *arena_alloc(struct arena *a, size_t n)
{
        size_t room = (size_t)(a->end - a->at), need = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
        void *p = a->at;

        /* at and end are aligned, so what fits also fits rounded up; n - 1 sends 0 the slow way */
        if (__builtin_expect(n - 1 >= room || need > a->max - a->used, 0))
                return arena_alloc_slowly(a, n);
        a->at += need;
        a->used += need;
        return p;
}
void *arena_zalloc(struct arena *a, size_t n);
/* NUL-terminated copies; NULL as above. */
char *arena_strndup(struct arena *a, const char *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

/* fn(arg) runs when the arena ends.  0, or -ENOMEM: then fn(arg) has run already. */
int arena_defer(struct arena *a, void (*fn)(void *arg), void *arg);

/* arena_zalloc() as struct options_memory wants it. */
void *arena_zalloc_v(void *arena, size_t n);
#endif
