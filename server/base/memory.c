/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <malloc.h>
#include <stdatomic.h>

#include "base.h"

#define BATCH 65536
#define MMAP_FROM (128 * 1024)

static _Atomic int64_t used, limit = INT64_MAX;
static _Thread_local int64_t unsummed;

void memory_limit(int64_t bytes)
{
        atomic_store_explicit(&limit, bytes, memory_order_relaxed);
}

int64_t memory_used(void)
{
        return MAX(atomic_load_explicit(&used, memory_order_relaxed), 0);
}

void memory_held(int64_t bytes)
{
        unsummed += bytes;
        if (unsummed >= BATCH || unsummed <= -BATCH)
                atomic_fetch_add_explicit(&used, TAKE(unsummed), memory_order_relaxed);
}

bool memory_take(int64_t bytes)
{
        int64_t before = atomic_fetch_add_explicit(&used, bytes, memory_order_relaxed);

        if (before + bytes <= atomic_load_explicit(&limit, memory_order_relaxed))
                return true;
        atomic_fetch_sub_explicit(&used, bytes, memory_order_relaxed);
        return false;
}

bool memory_room(void)
{
        return atomic_load_explicit(&used, memory_order_relaxed) < atomic_load_explicit(&limit, memory_order_relaxed);
}

/*
 * libevent (2.1) looks into the NULL if there is no memory for the callback of a read watermark, a few dozen bytes.  So it is asked for far more
 * before, which is given back.
 */
int memory_read_ahead(struct bufferevent *bev, size_t max)
{
        struct evbuffer *spare = evbuffer_new();
        int e = spare && evbuffer_expand(spare, 4096) == 0 ? 0 : -ENOMEM;

        if (spare)
                evbuffer_free(spare);
        if (e == 0)
                bufferevent_setwatermark(bev, EV_READ, 0, max);
        return e;
}

/*
 * glibc moves the size from which a block is a mapping of its own up to the largest one that was freed, and a heap keeps what lies below
 * its last block in use: after 200 bodies of 10 MiB 2 GB stayed.  Once set, it stands still.
 */
void memory_setup(void)
{
#ifdef __GLIBC__
        (void)mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
        (void)mallopt(M_TRIM_THRESHOLD, 2 * MMAP_FROM);
#endif
}
