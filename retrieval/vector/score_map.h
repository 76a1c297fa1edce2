/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_map.h - figures about a few of many numbered things, kept by number and listed in the order of coming.
 */
#ifndef PM_SCORE_MAP_H
#define PM_SCORE_MAP_H

#include <stddef.h>
#include <stdint.h>

#define SCORE_MAP_PARTS 4

struct score_map_entry {
        uint32_t key, flags;
        float part[SCORE_MAP_PARTS];
};

struct score_map {
        struct score_map_entry *entry; /* [n]; moves when one is added */
        size_t n, room;
        uint32_t *slot;            /* [slots] index into entry, plus 1; 0: empty */
        size_t slots;
};

int score_map_init(struct score_map *t); /* 0 or -ENOMEM */
void score_map_finish(struct score_map *t);
void score_map_clear(struct score_map *t);

/* The entry of a number, zeroed if it is new; valid until the next call.  NULL: no memory. */
struct score_map_entry *score_map_at(struct score_map *t, uint32_t key);
struct score_map_entry *score_map_find(const struct score_map *t, uint32_t key); /* NULL: not there */
#endif
