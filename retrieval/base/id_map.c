/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing over a table that is at most half full.  The hash is part of the file format: it must not
 * change without the version of the folders that carry it.
 */
#include "base.h"
#include "id_map.h"

struct id_map {
        char *text;
        uint64_t *start;
        uint32_t *slot;
        size_t n, room, slots, text_size, text_room;
};

/* FNV-1a, with its weak upper bits stirred once more, since the slot is taken from the lower ones. */
static uint64_t hash_of(const char *id, size_t n)
{
        uint64_t h = 14695981039346656037u;

        for (size_t i = 0; i < n; i++)
                h = (h ^ (unsigned char)id[i]) * 1099511628211u;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93u;
        return h ^ h >> 32;
}

static void ids_p(struct id_map **x)
{
        id_map_destroy(*x);
}

int id_map_create(struct id_map **ret)
{
        CLEANUP(ids_p) struct id_map *x = calloc(1, sizeof *x);

        if (!x)
                return -ENOMEM;
        x->slots = 1024;
        x->slot = malloc(x->slots * sizeof *x->slot);
        x->room = 256;
        x->start = calloc(x->room + 1, sizeof *x->start);
        x->text_room = 4096;
        x->text = malloc(x->text_room);
        if (!x->slot || !x->start || !x->text)
                return -ENOMEM;
        memset(x->slot, 0xff, x->slots * sizeof *x->slot);
        *ret = TAKE(x);
        return 0;
}

void id_map_destroy(struct id_map *x)
{
        if (!x)
                return;
        free(x->text);
        free(x->start);
        free(x->slot);
        free(x);
}

static size_t free_slot(const struct id_map *x, const char *id, size_t n)
{
        size_t i = hash_of(id, n) & (x->slots - 1);

        while (x->slot[i] != ID_MAP_NONE)
                i = (i + 1) & (x->slots - 1);
        return i;
}

static int grow_slots(struct id_map *x)
{
        size_t slots = x->slots * 2;
        uint32_t *slot = malloc(slots * sizeof *slot);

        if (!slot)
                return -ENOMEM;
        memset(slot, 0xff, slots * sizeof *slot);
        free(x->slot);
        x->slot = slot;
        x->slots = slots;
        for (size_t i = 0; i < x->n; i++)
                slot[free_slot(x, x->text + x->start[i], x->start[i + 1] - x->start[i])] = (uint32_t)i;
        return 0;
}

static int grow_text(struct id_map *x, size_t n)
{
        if (x->n == x->room) {
                uint64_t *start = realloc(x->start, (x->room * 2 + 1) * sizeof *start);

                if (!start)
                        return -ENOMEM;
                x->start = start;
                x->room *= 2;
        }
        if (x->text_room - x->text_size < n) {
                size_t room = MAX(x->text_room * 2, x->text_size + n);
                char *text = realloc(x->text, room);

                if (!text)
                        return -ENOMEM;
                x->text = text;
                x->text_room = room;
        }
        return 0;
}

struct id_map_view id_map_view(const struct id_map *x)
{
        return (struct id_map_view){ x->text, x->start, x->slot, x->n, x->slots, x->text_size };
}

int id_map_add(struct id_map *x, const char *id, size_t n, uint32_t *ret)
{
        struct id_map_view v = id_map_view(x);
        uint32_t found = id_map_find(&v, id, n);

        if (found != ID_MAP_NONE) {
                *ret = found;
                return 0;
        }
        if (n == 0 || n > ID_MAP_LENGTH_MAX)
                return -EINVAL;
        if (x->n == ID_MAP_NUMBER_MAX)
                return -ENOSPC;
        if (grow_text(x, n) < 0 || ((x->n + 1) * 2 > x->slots && grow_slots(x) < 0))
                return -ENOMEM;
        x->slot[free_slot(x, id, n)] = (uint32_t)x->n;
        memcpy(x->text + x->text_size, id, n);
        x->text_size += n;
        x->start[x->n + 1] = x->text_size;
        *ret = (uint32_t)x->n++;
        return 0;
}

uint32_t id_map_find(const struct id_map_view *v, const char *id, size_t n)
{
        size_t i;

        if (v->slots == 0 || n == 0)
                return ID_MAP_NONE;
        i = hash_of(id, n) & (v->slots - 1);
        while (v->slot[i] != ID_MAP_NONE) {
                uint64_t begin = v->start[v->slot[i]];

                if (v->start[v->slot[i] + 1] - begin == n && memcmp(v->text + begin, id, n) == 0)
                        return v->slot[i];
                i = (i + 1) & (v->slots - 1);
        }
        return ID_MAP_NONE;
}

const char *id_map_at(const struct id_map_view *v, uint32_t number, size_t *ret_n)
{
        assert(number < v->n);
        *ret_n = (size_t)(v->start[number + 1] - v->start[number]);
        return v->text + v->start[number];
}

int id_map_check(const struct id_map_view *v, char *why, size_t why_size)
{
        size_t full = 0;

        if (v->n > ID_MAP_NUMBER_MAX || v->slots < 2 || (v->slots & (v->slots - 1)) || v->slots / 2 < v->n) {
                (void)snprintf(why, why_size, "%zu ids in %zu slots: a power of two of slots, at most half full, was expected", v->n,
                               v->slots);
                return -EINVAL;
        }
        if (v->start[0] != 0 || v->start[v->n] != v->text_size) {
                (void)snprintf(why, why_size, "the ids cover bytes %" PRIu64 " to %" PRIu64 " of %zu", v->start[0], v->start[v->n],
                               v->text_size);
                return -EINVAL;
        }
        for (size_t i = 0; i < v->n; i++)
                if (v->start[i + 1] <= v->start[i] || v->start[i + 1] - v->start[i] > ID_MAP_LENGTH_MAX || v->start[i + 1] > v->text_size) {
                        (void)snprintf(why, why_size, "id %zu is empty, longer than %d bytes, or ends before it begins", i, ID_MAP_LENGTH_MAX);
                        return -EINVAL;
                }
        for (size_t i = 0; i < v->slots; i++) {
                if (v->slot[i] == ID_MAP_NONE)
                        continue;
                full++;
                if (v->slot[i] >= v->n) {
                        (void)snprintf(why, why_size, "slot %zu holds id %u of %zu", i, v->slot[i], v->n);
                        return -EINVAL;
                }
        }
        if (full != v->n) {
                (void)snprintf(why, why_size, "%zu slots are full, for %zu ids", full, v->n);
                return -EINVAL;
        }
        return 0;
}
