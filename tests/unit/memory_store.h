/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_store.h - a store in the test's own process: the second one behind store.h, beside Redis.  Its replies come from the loop, when
 * it is let, and are what its script says.
 */
#ifndef PM_MEMORY_STORE_H
#define PM_MEMORY_STORE_H

#include "store.h"

#include "base.h"

struct event_base;

enum memory_script {
        MEMORY_ANSWERS,
        MEMORY_HAS_NOTHING,
        MEMORY_SAYS_ERROR,
        MEMORY_HAS_ANOTHER,  /* an error: the key has something else than what was asked for */
        MEMORY_IS_LATE,      /* the time limit passes */
        MEMORY_IS_LOST,
        MEMORY_IS_UNREACHABLE /* not even asked: -EAGAIN */
};

struct memory_entry {
        char key[160];
        char bytes[256];     /* a value; or items, each with a NUL */
        size_t n;
        int64_t lives_ms;
        bool list;
};

struct memory_store {
        struct store store;
        struct event_base *base;
        enum memory_script script; /* of calls from now on */
        bool held;                 /* replies wait for memory_store_let() */
        unsigned reads, sets, removes, pushes, lists, cancelled, under_way;
        struct memory_entry entries[16];
        size_t n_entries;
        uint64_t last_ticket;
        struct memory_call *calls;
        bool *gone; /* set when it is destroyed */
};

struct memory_store *memory_store_create(struct event_base *base);
void memory_store_let(struct memory_store *m);
/* NULL: it has no such key. */
struct memory_entry *memory_store_entry(struct memory_store *m, struct pm_str key);
void memory_store_put(struct memory_store *m, struct pm_str key, const void *p, size_t n);
#endif
