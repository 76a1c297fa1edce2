/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing, at most half full.  Clearing costs what was put in, not what there is room for.
 */
#include "base.h"
#include "score_map.h"

#define BEGIN 256

static inline size_t slot_of(const struct score_map *t, uint32_t key)
{
        return (size_t)(key * 0x9e3779b97f4a7c15u >> 32) & (t->slots - 1);
}

int score_map_init(struct score_map *t)
{
        *t = (struct score_map){ .room = BEGIN, .slots = 2 * BEGIN };
        t->entry = malloc(t->room * sizeof *t->entry);
        t->slot = calloc(t->slots, sizeof *t->slot);
        if (t->entry && t->slot)
                return 0;
        score_map_finish(t);
        return -ENOMEM;
}

void score_map_finish(struct score_map *t)
{
        free(t->entry);
        free(t->slot);
        *t = (struct score_map){ 0 };
}

static size_t place(const struct score_map *t, uint32_t key)
{
        size_t i = slot_of(t, key);

        while (t->slot[i] && t->entry[t->slot[i] - 1].key != key)
                i = (i + 1) & (t->slots - 1);
        return i;
}

void score_map_clear(struct score_map *t)
{
        if (t->n > t->slots / 16)
                memset(t->slot, 0, t->slots * sizeof *t->slot);
        else
                for (size_t i = t->n; i-- > 0;) /* the last one first: those that it had to pass are still there */
                        t->slot[place(t, t->entry[i].key)] = 0;
        t->n = 0;
}

static int grow(struct score_map *t)
{
        struct score_map_entry *entry = realloc(t->entry, 2 * t->room * sizeof *entry);
        uint32_t *slot;

        if (!entry)
                return -ENOMEM;
        t->entry = entry;
        slot = calloc(2 * t->slots, sizeof *slot);
        if (!slot)
                return -ENOMEM;
        free(t->slot);
        t->slot = slot;
        t->slots *= 2;
        t->room *= 2;
        for (size_t i = 0; i < t->n; i++)
                slot[place(t, entry[i].key)] = (uint32_t)i + 1;
        return 0;
}

struct score_map_entry *score_map_at(struct score_map *t, uint32_t key)
{
        size_t i = place(t, key);

        if (t->slot[i])
                return &t->entry[t->slot[i] - 1];
        if (t->n == t->room) {
                if (grow(t) < 0)
                        return NULL;
                i = place(t, key);
        }
        t->entry[t->n] = (struct score_map_entry){ .key = key };
        t->slot[i] = (uint32_t)++t->n;
        return &t->entry[t->n - 1];
}

struct score_map_entry *score_map_find(const struct score_map *t, uint32_t key)
{
        size_t i = place(t, key);

        return t->slot[i] ? &t->entry[t->slot[i] - 1] : NULL;
}
