/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tally.h - figures about a few of many numbered things, kept by number and listed in the order of coming.
 */
#ifndef PM_TALLY_H
#define PM_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define TALLY_PARTS 4

struct tally_entry {
        uint32_t key, flags;
        float part[TALLY_PARTS];
};

struct tally {
        struct tally_entry *entry; /* [n]; moves when one is added */
        size_t n, room;
        uint32_t *slot;            /* [slots] index into entry, plus 1; 0: empty */
        size_t slots;
};

int tally_init(struct tally *t); /* 0 or -ENOMEM */
void tally_finish(struct tally *t);
void tally_clear(struct tally *t);

/* The entry of a number, zeroed if it is new; valid until the next call.  NULL: no memory. */
struct tally_entry *tally_at(struct tally *t, uint32_t key);
struct tally_entry *tally_find(const struct tally *t, uint32_t key); /* NULL: not there */
#endif
