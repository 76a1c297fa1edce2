/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with at least half of the slots free.  The set comes from the configuration and only lookups come from
 * clients, so the hash need not withstand chosen keys: a bad one costs a few more slots.
 */
#include "names.h"

#include "base.h"

static size_t hash(const char *p, size_t n)
{
        uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15), word;

        for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
                memcpy(&word, p, sizeof word);
                h = (h ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
                h ^= h >> 29;
        }
        word = 0;
        if (n)
                memcpy(&word, p, n);
        h = (h ^ word) * UINT64_C(0x94d049bb133111eb);
        return (size_t)(h ^ h >> 31);
}

static const struct name_slot *slot_of(const struct names *set, const char *p, size_t n)
{
        for (size_t i = hash(p, n);; i++) {
                const struct name_slot *s = &set->slots[i & set->mask];

                if (!s->name || (s->length == n && memcmp(s->name, p, n) == 0))
                        return s;
        }
}

int names_build(struct arena *a, const char *const *list, size_t n, struct names *ret)
{
        struct name_slot *slots;
        size_t room = 4;

        assert(n < UINT32_MAX);
        while (room < 2 * n)
                room *= 2;
        slots = arena_zalloc(a, room * sizeof *slots);
        if (!slots)
                return -ENOMEM;
        *ret = (struct names){ .slots = slots, .mask = room - 1 };
        for (size_t i = 0; i < n; i++) {
                size_t length = list[i] ? strlen(list[i]) : 0;
                size_t at;

                if (!list[i] || length > UINT32_MAX)
                        continue;
                at = (size_t)(slot_of(ret, list[i], length) - slots);
                if (!slots[at].name)
                        slots[at] = (struct name_slot){ list[i], (uint32_t)length, (uint32_t)i };
        }
        return 0;
}

ptrdiff_t names_find(const struct names *set, const char *p, size_t n)
{
        const struct name_slot *s = slot_of(set, n ? p : "", n);

        return s->name ? (ptrdiff_t)s->index : -1;
}
