/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 1. Who is it: the history, and users alike.                                  (gather, find_neighbours)
 * 2. The mixture of interests, and a query for each.                           (mixture.c)
 * 3. Candidates: each interest is searched for, and gives in turn by D'Hondt's method, so that every prefix has the interests in
 *    proportion; an interest that has no more hands over.                      (interests_search.c)
 * 4. If other sources count, all candidates are weighed; else they stay in that order.   (weigh)
 * 5. What is still missing: what is popular.                                   (fill)
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "interests_parts.h"

#define ALSO_HISTORY_MAX 256

static void room_p(struct interests_room **x)
{
        interests_room_destroy(*x);
}

int interests_room_create(const struct catalogue *c, struct interests_room **ret)
{
        CLEANUP(room_p) struct interests_room *x = calloc(1, sizeof *x);

        if (!x || score_map_init(&x->items) < 0 || mixture_init(&x->mixture) < 0 || ivf_room_create(&c->by_interest, &x->cells) < 0)
                return -ENOMEM;
        if (c->by_likeness.n > 0 && ivf_room_create(&c->by_likeness, &x->users) < 0)
                return -ENOMEM;
        x->centroid = malloc(c->by_interest.dim * sizeof *x->centroid);
        if (!x->centroid)
                return -ENOMEM;
        *ret = TAKE(x);
        return 0;
}

void interests_room_destroy(struct interests_room *x)
{
        if (!x)
                return;
        score_map_finish(&x->items);
        mixture_finish(&x->mixture);
        ivf_room_destroy(x->cells);
        ivf_room_destroy(x->users);
        free(x->centroid);
        free(x->hit);
        free(x->listed);
        free(x->item);
        free(x);
}

/* ---- who is it ------------------------------------------------------------------------------------------------------------ */

static int mark(struct interests_room *x, uint32_t item, uint32_t flags)
{
        struct score_map_entry *e = score_map_at(&x->items, item);

        if (!e)
                return -ENOMEM;
        e->flags |= flags;
        return 0;
}

/* The history, each item once, the caller's first; every item of it is marked as seen. */
static int gather(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x)
{
        size_t stored_n;
        const uint32_t *stored = lists_at(&c->history, ask->user, &stored_n), *list[2] = { ask->history, stored };
        size_t n[2] = { ask->n_history, stored_n };

        score_map_clear(&x->items);
        x->n_history = 0;
        for (size_t which = 0; which < 2; which++)
                for (size_t i = 0; i < n[which]; i++) {
                        struct score_map_entry *e = score_map_at(&x->items, list[which][i]);

                        if (!e)
                                return -ENOMEM;
                        if (!(e->flags & ITEM_SEEN) && x->n_history < INTERESTS_HISTORY_MAX)
                                x->history[x->n_history++] = list[which][i];
                        e->flags |= ITEM_SEEN;
                }
        for (size_t i = 0; i < ask->n_barred; i++)
                if (mark(x, ask->barred[i], ITEM_BARRED) < 0)
                        return -ENOMEM;
        x->self = catalogue_item_of(c, ask->user);
        return x->self == ID_MAP_NONE ? 0 : mark(x, x->self, ITEM_BARRED);
}

/* Users alike: those that training found, or for a history that nobody had then, the ones whose vectors lie nearest to its middle. */
static void find_neighbours(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                            struct interests_room *x)
{
        size_t most = MIN(s->neighbours, MIXTURE_NEIGHBOURS_MAX), dim = c->by_interest.dim, found;

        x->n_neighbours = 0;
        if (most == 0)
                return;
        if (ask->user < c->users.n) {
                const uint32_t *near = c->near + (size_t)ask->user * c->n_near;

                for (size_t i = 0; i < c->n_near && near[i] != ID_MAP_NONE && x->n_neighbours < most; i++)
                        x->neighbour[x->n_neighbours++] = near[i];
                if (x->n_neighbours > 0)
                        return;
        }
        if (!x->users || x->n_history == 0)
                return;
        memset(x->centroid, 0, dim * sizeof *x->centroid);
        for (size_t i = 0; i < x->n_history; i++)
                for (size_t k = 0; k < dim; k++)
                        x->centroid[k] += c->by_interest.vector[(size_t)x->history[i] * dim + k];
        if (!(dot_normalise(x->centroid, dim) > 0))
                return;
        found = ivf_search(&c->by_likeness, x->centroid, IVF_NONE, s->budget ? s->budget : SIZE_MAX, most, x->users, x->user_hit);
        for (size_t i = 0; i < found; i++)
                if (x->user_hit[i].id != ask->user)
                        x->neighbour[x->n_neighbours++] = x->user_hit[i].id;
}

static int know(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask, struct interests_room *x)
{
        if (gather(c, ask, x) < 0)
                return -ENOMEM;
        find_neighbours(c, s, ask, x);
        return mixture_make(&x->mixture, c, s, &(struct mixture_parts){ x->history, x->n_history, x->neighbour, x->n_neighbours, ask->vector,
                                                                        ask->vector_weight, ask->n_vectors });
}

/* ---- weighing ------------------------------------------------------------------------------------------------------------- */

static int add_also(const struct catalogue *c, struct interests_room *x, uint32_t item, float weight)
{
        uint64_t begin = c->also.start[item], end = c->also.start[item + 1];
        float scale = weight * c->also_best[item] / 65535;

        for (uint64_t i = begin; i < end; i++) {
                struct score_map_entry *e = score_map_at(&x->items, c->also.of[i]);

                if (!e)
                        return -ENOMEM;
                e->part[INTERESTS_ALSO] += scale * (float)c->also_part[i];
        }
        return 0;
}

/* What was taken along with the history, and what users alike took. */
static int add_others(const struct catalogue *c, const struct interests_settings *s, struct interests_room *x)
{
        for (size_t i = 0; s->also > 0 && i < MIN(x->n_history, ALSO_HISTORY_MAX); i++)
                if (add_also(c, x, x->history[i], 1) < 0)
                        return -ENOMEM;
        if (s->also > 0 && s->self > 0 && x->self != ID_MAP_NONE && add_also(c, x, x->self, (float)s->self) < 0)
                return -ENOMEM;
        for (size_t i = 0; s->votes > 0 && i < x->n_neighbours; i++) {
                size_t n;
                const uint32_t *item = lists_at(&c->history, x->neighbour[i], &n);

                n = MIN(n, MIXTURE_HISTORY_MAX);
                for (size_t k = 0; k < n; k++) {
                        struct score_map_entry *e = score_map_at(&x->items, item[k]);

                        if (!e)
                                return -ENOMEM;
                        e->part[INTERESTS_VOTES] += 1 / sqrtf((float)n);
                }
        }
        return 0;
}

static int best_first(const void *a, const void *b)
{
        const struct interests_item *p = a, *q = b;

        if (p->score > q->score || p->score < q->score)
                return p->score < q->score ? 1 : -1;
        return (p->item > q->item) - (p->item < q->item);
}

static void swap(struct interests_item *a, struct interests_item *b)
{
        struct interests_item x = *a;

        *a = *b;
        *b = x;
}

/* Brings the best k of n to the front, in their order: most candidates need not be sorted. */
static void best_of(struct interests_item *x, size_t n, size_t k)
{
        size_t low = 0, high = n;

        k = MIN(k, n);
        while (high - low > 16 && low < k && k < high) { /* quickselect; what lies before `low` is better than what lies behind */
                size_t middle = low + (high - low) / 2, at = low;

                if (best_first(&x[middle], &x[low]) < 0)
                        swap(&x[middle], &x[low]);
                if (best_first(&x[high - 1], &x[low]) < 0)
                        swap(&x[high - 1], &x[low]);
                if (best_first(&x[high - 1], &x[middle]) < 0)
                        swap(&x[high - 1], &x[middle]);
                swap(&x[middle], &x[high - 1]); /* the median of three is the pivot */
                for (size_t i = low; i + 1 < high; i++)
                        if (best_first(&x[i], &x[high - 1]) < 0)
                                swap(&x[i], &x[at++]);
                swap(&x[at], &x[high - 1]);
                if (at >= k)
                        high = at;
                else
                        low = at + 1;
        }
        if (low < k)
                qsort(x + low, high - low, sizeof *x, best_first);
        qsort(x, k, sizeof *x, best_first);
}

/* How near an item is to the mixture. */
static float nearness(const struct catalogue *c, const struct interests_settings *s, const struct interests_room *x, uint32_t item)
{
        size_t dim = c->by_interest.dim;
        const float *v = c->by_interest.vector + (size_t)item * dim;
        float sum = 0;

        for (size_t p = 0; p < x->mixture.n; p++)
                sum += x->mixture.part[p].weight * expf((float)s->sharpness * (dot_floats(x->mixture.query + p * dim, v, dim) - 1));
        return sum;
}

struct scales {
        float also, votes, near, popular; /* what each part is multiplied with */
};

static float weigh_one(const struct catalogue *c, const struct interests_settings *s, const struct scales *k, const struct score_map_entry *e,
                       enum interests_source *source)
{
        /* a part times its scale is at most 1, whatever they are */
        float part[INTERESTS_SOURCES] = { [INTERESTS_NEAR] = (float)s->near * (k->near * e->part[INTERESTS_NEAR]),
                                          [INTERESTS_ALSO] = (float)s->also * (k->also * e->part[INTERESTS_ALSO]),
                                          [INTERESTS_VOTES] = (float)s->votes * (k->votes * e->part[INTERESTS_VOTES]),
                                          [INTERESTS_POPULAR] = (float)s->popular * (k->popular * log1pf((float)c->count[e->key])) };
        enum interests_source best = INTERESTS_NEAR;

        for (size_t i = 1; i < INTERESTS_SOURCES; i++)
                if (part[i] > part[best])
                        best = (enum interests_source)i;
        *source = best;
        return part[0] + part[1] + part[2] + part[3];
}

/* The largest of a part over all that may come back, as what it is divided by. */
static float scale_of(const struct interests_room *x, enum interests_source part)
{
        float largest = 0;

        for (size_t i = 0; i < x->items.n; i++)
                if (!(x->items.entry[i].flags & ITEM_OUT))
                        largest = fmaxf(largest, x->items.entry[i].part[part]);
        return largest > 0 ? 1 / largest : 0;
}

/* Leaves the best of all candidates in x->item, by the weights of all sources. */
static int weigh(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask, struct interests_room *x)
{
        struct scales k = { .popular = c->n_popular > 0 ? 1 / log1pf((float)c->count[c->popular[0]] + 1) : 0 };
        size_t pool = x->n_item; /* those by interests stand first, whatever else is said of them */
        struct score_map_entry *e;

        if (add_others(c, s, x) < 0)
                return -ENOMEM;
        if (interests_rule_out(c, ask, x) < 0 || interests_make_room(x, x->items.n + 1) < 0)
                return -ENOMEM;
        k.also = scale_of(x, INTERESTS_ALSO);
        k.votes = scale_of(x, INTERESTS_VOTES);
        x->n_item = 0;
        for (size_t i = 0; i < x->items.n; i++) { /* first without nearness, which is dear */
                struct interests_item *to = &x->item[x->n_item];

                e = &x->items.entry[i];
                if (e->flags & ITEM_OUT)
                        continue;
                *to = (struct interests_item){ .item = e->key };
                to->score = weigh_one(c, s, &k, e, &to->source) + (e->flags & ITEM_POOL ? 1e6f : 0);
                x->n_item++;
        }
        best_of(x->item, x->n_item, pool + MAX(pool, ask->wanted));
        x->n_item = MIN(x->n_item, pool + MAX(pool, ask->wanted));
        for (size_t i = 0; i < x->n_item; i++) {
                e = score_map_find(&x->items, x->item[i].item);
                e->part[INTERESTS_NEAR] = s->near > 0 ? nearness(c, s, x, e->key) : 0;
                k.near = fmaxf(k.near, e->part[INTERESTS_NEAR]);
        }
        k.near = k.near > 0 ? 1 / k.near : 0;
        for (size_t i = 0; i < x->n_item; i++)
                x->item[i].score = weigh_one(c, s, &k, score_map_find(&x->items, x->item[i].item), &x->item[i].source);
        qsort(x->item, x->n_item, sizeof *x->item, best_first);
        for (size_t i = 0; i < x->n_item; i++)
                score_map_find(&x->items, x->item[i].item)->flags |= ITEM_TAKEN;
        return 0;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------- */

/* What is popular, in the place of what is missing; its scores go on falling from the last one's. */
static int fill(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x)
{
        size_t n = x->restricted ? x->n_listed : c->n_popular;
        const uint32_t *list = x->restricted ? x->listed : c->popular;
        float last = x->n_item > 0 ? x->item[x->n_item - 1].score : 1, first = 0;

        if (interests_make_room(x, ask->wanted + 1) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n && x->n_item < ask->wanted; i++) {
                struct score_map_entry *e = score_map_at(&x->items, list[i]);
                float count;

                if (!e)
                        return -ENOMEM;
                if ((e->flags & (ITEM_TAKEN | ITEM_BARRED)) || ((e->flags & ITEM_SEEN) && !ask->keep_seen) ||
                    !interests_passes(c, ask, list[i]))
                        continue;
                e->flags |= ITEM_TAKEN;
                count = (float)c->count[list[i]] + 1;
                first = first > 0 ? first : 2 * count;
                x->item[x->n_item++] = (struct interests_item){ .item = list[i], .score = last * count / first,
                                                                .source = INTERESTS_POPULAR };
        }
        return 0;
}

int interests_find(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                   struct interests_room *x, struct interests_answer *ret, char *why, size_t why_size)
{
        bool weighed = s->also > 0 || s->votes > 0 || s->popular > 0;
        struct interests_settings cold = *s;
        size_t pool = weighed ? MIN(ask->wanted * MAX(s->pool, 100) / 100, (size_t)INTERESTS_WANTED_MAX * 4) : ask->wanted;
        int r;

        if (ask->wanted > INTERESTS_WANTED_MAX || ask->n_filters > INTERESTS_FILTERS_MAX)
                return -EINVAL;
        r = know(c, s, ask, x);
        if (r == 0)
                r = interests_restrict(c, ask, x);
        if (r == 0)
                r = interests_search(c, s, ask, x, s->near > 0 ? pool : 0, why, why_size);
        cold.votes = s->votes > 0 ? s->votes : 1;
        if (r == 0 && (weighed || x->mixture.n == 0))
                r = weigh(c, x->mixture.n == 0 ? &cold : s, ask, x);
        x->n_item = MIN(x->n_item, ask->wanted);
        if (r == 0)
                r = fill(c, ask, x);
        if (r < 0)
                return r;
        for (size_t i = 0; i < x->n_item; i++)
                x->item[i].interest = ivf_of(&c->by_interest, x->item[i].item);
        *ret = (struct interests_answer){ x->item, x->n_item, x->mixture.part, x->mixture.n };
        return 0;
}

int interests_mixture(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                      struct interests_room *x, const struct interests_part **ret, size_t *ret_n, const float **ret_query)
{
        int r = know(c, s, ask, x);

        if (r < 0)
                return r;
        *ret = x->mixture.part;
        *ret_n = x->mixture.n;
        *ret_query = x->mixture.query;
        return 0;
}

bool interests_has_tag(const struct catalogue *c, uint32_t item, uint32_t tag)
{
        struct interests_filter filter = { &tag, 1 };

        return interests_passes(c, &(struct interests_ask){ .filter = &filter, .n_filters = 1 }, item);
}

const char *interests_source_name(enum interests_source source)
{
        static const char *const names[INTERESTS_SOURCES] = { "interest", "also", "neighbours", "popular" };

        return names[source];
}
