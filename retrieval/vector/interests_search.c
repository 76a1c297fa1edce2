/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Candidates in proportion to the interests' weights: D'Hondt's highest averages, as seats are given to parties.  Interest p with weight
 * w that has given g candidates has the claim w / (g + 1); the highest claim gives the next one.  So every prefix of the list is
 * proportional, and a list that is cut anywhere is still fair.
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "interests_parts.h"

#define LISTED_MAX 20000    /* items that are looked at one by one rather than searched for */
#define OVERFETCH_MAX 32

int interests_make_room(struct interests_room *x, size_t n)
{
        struct interests_item *item;

        if (n <= x->item_room)
                return 0;
        n = MAX(n, 2 * x->item_room);
        item = realloc(x->item, n * sizeof *item);
        if (!item)
                return -ENOMEM;
        x->item = item;
        x->item_room = n;
        return 0;
}

/* ---- who may come back ------------------------------------------------------------------------------------------------------ */

static bool has_tag(const struct catalogue *c, uint32_t item, uint32_t tag)
{
        size_t n, low = 0;
        const uint32_t *list = lists_at(&c->tagged, tag, &n);

        while (n > 0) {
                size_t half = n / 2;

                if (list[low + half] < item) {
                        low += half + 1;
                        n -= half + 1;
                } else {
                        n = half;
                }
        }
        return list && low < c->tagged.start[tag + 1] - c->tagged.start[tag] && list[low] == item;
}

bool interests_passes(const struct catalogue *c, const struct interests_ask *ask, uint32_t item)
{
        for (size_t f = 0; f < ask->n_filters; f++) {
                bool any = false;

                for (size_t i = 0; i < ask->filter[f].n && !any; i++)
                        any = ask->filter[f].tag[i] < c->tags.n && has_tag(c, item, ask->filter[f].tag[i]);
                if (!any)
                        return false;
        }
        return true;
}

static size_t items_of(const struct catalogue *c, const struct interests_filter *f)
{
        size_t sum = 0, n;

        for (size_t i = 0; i < f->n; i++) {
                (void)lists_at(&c->tagged, f->tag[i], &n);
                sum += n;
        }
        return sum;
}

static int list_up(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x, const uint32_t *item, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct score_map_entry *e = score_map_at(&x->items, item[i]);

                if (!e)
                        return -ENOMEM;
                if ((e->flags & (ITEM_LISTED | ITEM_BARRED)) || ((e->flags & ITEM_SEEN) && !ask->keep_seen) ||
                    !interests_passes(c, ask, item[i]))
                        continue;
                if (x->n_listed == x->listed_room) {
                        size_t room = MAX(2 * x->listed_room, (size_t)256);
                        uint32_t *listed = realloc(x->listed, room * sizeof *listed);

                        if (!listed)
                                return -ENOMEM;
                        x->listed = listed;
                        x->listed_room = room;
                }
                e->flags |= ITEM_LISTED;
                x->listed[x->n_listed++] = item[i];
        }
        return 0;
}

static int most_taken_first(const void *a, const void *b, void *ctx)
{
        const struct catalogue *c = ctx;
        uint32_t x, y;

        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        if (c->count[x] != c->count[y])
                return c->count[x] < c->count[y] ? 1 : -1;
        return (x > y) - (x < y);
}

int interests_restrict(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x)
{
        const struct interests_filter *least = NULL;
        union {
                const struct catalogue *from;
                void *to;
        } ctx = { c };
        size_t fewest = c->items.n;
        int r = 0;

        x->n_listed = 0;
        x->restricted = false;
        x->overfetch = 1;
        for (size_t f = 0; f < ask->n_filters; f++) {
                size_t n = items_of(c, &ask->filter[f]);

                if (n < fewest || !least) {
                        fewest = MIN(n, fewest);
                        least = &ask->filter[f];
                }
        }
        if (ask->only_allowed) {
                x->restricted = true;
                r = list_up(c, ask, x, ask->allowed, ask->n_allowed);
        } else if (least && fewest <= LISTED_MAX) {
                x->restricted = true;
                for (size_t i = 0; i < least->n && r == 0; i++) {
                        size_t n;
                        const uint32_t *list = lists_at(&c->tagged, least->tag[i], &n);

                        r = list_up(c, ask, x, list, n);
                }
        } else if (least) {
                x->overfetch = MIN(c->items.n / fewest + 1, (size_t)OVERFETCH_MAX);
        }
        if (x->n_listed > 1)
                qsort_r(x->listed, x->n_listed, sizeof *x->listed, most_taken_first, ctx.to);
        return r;
}

int interests_rule_out(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x)
{
        for (size_t i = 0; i < x->items.n; i++) {
                struct score_map_entry *e = &x->items.entry[i];

                if ((e->flags & ITEM_BARRED) || ((e->flags & ITEM_SEEN) && !ask->keep_seen) ||
                    (x->restricted ? !(e->flags & ITEM_LISTED) : !interests_passes(c, ask, e->key)))
                        e->flags |= ITEM_OUT;
        }
        return 0;
}

/* ---- searching ---------------------------------------------------------------------------------------------------------------- */

static int best_first(const void *a, const void *b)
{
        const struct ivf_hit *p = a, *q = b;

        if (p->score > q->score || p->score < q->score)
                return p->score < q->score ? 1 : -1;
        return (p->id > q->id) - (p->id < q->id);
}

static int by_index(const struct catalogue *c, const float *q, size_t k, struct ivf_hit *hit, size_t *ret_n, char *why, size_t why_size)
{
        struct index_hit found[INDEX_K_MAX];
        size_t n;
        int r = index_search(c->index, q, MIN(k, (size_t)INDEX_K_MAX), found, &n, why, why_size);

        *ret_n = 0;
        for (size_t i = 0; r == 0 && i < n; i++) /* an index file holds numbers too, and is not ours alone */
                if (found[i].id >= 0 && (uint64_t)found[i].id < c->items.n && isfinite(found[i].score))
                        hit[(*ret_n)++] = (struct ivf_hit){ (uint32_t)found[i].id, found[i].score };
        return r;
}

static void by_hand(const struct catalogue *c, const float *q, const struct interests_room *x, struct ivf_hit *hit)
{
        size_t dim = c->by_interest.dim;

        for (size_t i = 0; i < x->n_listed; i++)
                hit[i] = (struct ivf_hit){ x->listed[i], dot_floats(q, c->by_interest.vector + (size_t)x->listed[i] * dim, dim) };
        qsort(hit, x->n_listed, sizeof *hit, best_first);
}

/* Searches for interest p, for `asked` hits; they take the place of those that it had. */
static int search(const struct catalogue *c, const struct interests_settings *s, struct interests_room *x, size_t p,
                  size_t asked, char *why, size_t why_size)
{
        const float *q = x->mixture.query + p * c->by_interest.dim;
        const struct interests_part *part = &x->mixture.part[p];
        size_t all = c->by_interest.start[c->by_interest.n_cells], budget = SIZE_MAX;
        struct turn *t = &x->turn[p];
        int r = 0;

        asked = x->restricted ? x->n_listed : MIN(MIN(asked, all), (size_t)IVF_K_MAX);
        if (x->hit_n + asked > x->hit_room) {
                size_t room = MAX(2 * x->hit_room, x->hit_n + asked);
                struct ivf_hit *hit = realloc(x->hit, room * sizeof *hit);

                if (!hit)
                        return -ENOMEM;
                x->hit = hit;
                x->hit_room = room;
        }
        *t = (struct turn){ .hit = x->hit_n, .asked = asked, .given = t->given };
        if (x->restricted) {
                by_hand(c, q, x, x->hit + t->hit);
                t->n = asked;
        } else if (c->index) {
                r = by_index(c, q, asked, x->hit + t->hit, &t->n, why, why_size);
        } else {
                /* an interest that few candidates come from need not be searched as far as one that gives most of them */
                if (s->budget > 0)
                        budget = MAX((size_t)((float)s->budget * sqrtf(part->weight)), 2 * asked);
                t->n = ivf_search(&c->by_interest, q, part->interest, budget, asked, x->cells, x->hit + t->hit);
        }
        x->hit_n += t->n;
        return r;
}

/* The next candidate of interest p, or ID_MAP_NONE: it has no more. */
static uint32_t next(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x, struct turn *t)
{
        for (; t->at < t->n; t->at++) {
                uint32_t item = x->hit[t->hit + t->at].id;
                const struct score_map_entry *e = score_map_find(&x->items, item);
                uint32_t flags = e ? e->flags : 0;

                if (!(flags & (ITEM_TAKEN | ITEM_BARRED)) && (!(flags & ITEM_SEEN) || ask->keep_seen) &&
                    (x->restricted || interests_passes(c, ask, item)))
                        return item;
        }
        return ID_MAP_NONE;
}

/* The interest with the highest claim, or SIZE_MAX: all have given what they had. */
static size_t claim(const struct interests_room *x, float *ret)
{
        size_t best = SIZE_MAX;

        for (size_t p = 0; p < x->mixture.n; p++) {
                float mine = x->mixture.part[p].weight / (float)(x->turn[p].given + 1);

                if (!x->turn[p].done && (best == SIZE_MAX || mine > *ret)) {
                        best = p;
                        *ret = mine;
                }
        }
        return best;
}

/* So many hits an interest will need: its share, and the seen ones that will be passed over. */
static size_t need(const struct catalogue *c, const struct interests_room *x, size_t p, size_t wanted)
{
        const struct interests_part *part = &x->mixture.part[p];
        size_t seen = 0;

        for (size_t i = 0; i < x->n_history; i++)
                seen += ivf_of(&c->by_interest, x->history[i]) == part->interest;
        return ((size_t)ceilf(part->weight * (float)wanted) + 2) * x->overfetch * 5 / 4 + seen + 2;
}

int interests_search(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                     struct interests_room *x, size_t wanted, char *why, size_t why_size)
{
        size_t all = c->by_interest.start[c->by_interest.n_cells], limit = c->index ? INDEX_K_MAX : IVF_K_MAX;

        x->n_item = x->hit_n = 0;
        if (interests_make_room(x, wanted + 1) < 0)
                return -ENOMEM;
        memset(x->turn, 0, x->mixture.n * sizeof *x->turn);
        while (x->n_item < wanted) {
                float score = 0;
                size_t p = claim(x, &score);
                struct score_map_entry *e;
                struct turn *t;
                uint32_t item;

                if (p == SIZE_MAX)
                        break;
                t = &x->turn[p];
                if (t->asked == 0) {
                        int r = search(c, s, x, p, need(c, x, p, wanted), why, why_size);

                        if (r < 0)
                                return r;
                }
                item = next(c, ask, x, t);
                if (item == ID_MAP_NONE) {
                        int r;

                        t->done = x->restricted || t->n < t->asked || t->asked >= MIN(all, limit);
                        if (t->done)
                                continue;
                        r = search(c, s, x, p, 4 * t->asked, why, why_size);
                        if (r < 0)
                                return r;
                        continue;
                }
                e = score_map_at(&x->items, item);
                if (!e)
                        return -ENOMEM;
                e->flags |= ITEM_TAKEN | ITEM_POOL;
                t->at++;
                t->given++;
                x->item[x->n_item++] = (struct interests_item){ .item = item, .score = score, .source = INTERESTS_NEAR };
        }
        return 0;
}
