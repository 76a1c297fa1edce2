/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - a fixed set of names and their index, in constant time: each request looks its `model` up.
 */
#ifndef PM_NAMES_H
#define PM_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"

struct name_slot {
        const char *name; /* NULL: free */
        uint32_t length, index;
};

struct names {
        const struct name_slot *slots;
        size_t mask;
};

/* The texts must live as long as the set.  NULLs are left out; of equal names the first counts.  0 or -ENOMEM. */
int names_build(struct arena *a, const char *const *list, size_t n, struct names *ret);

/* The index of a name in the list, or -1.  Any thread. */
ptrdiff_t names_find(const struct names *set, const char *p, size_t n);
#endif
