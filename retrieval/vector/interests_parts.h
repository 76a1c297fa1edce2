/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_parts.h - what interests.c (the whole way) and interests_search.c (candidates in proportion) share; for nobody else.
 */
#ifndef PM_INTERESTS_PARTS_H
#define PM_INTERESTS_PARTS_H

#include "interests.h"
#include "mixture.h"
#include "score_map.h"

enum item_flags {
        ITEM_SEEN = 1,    /* in the history */
        ITEM_BARRED = 2,
        ITEM_TAKEN = 4,   /* among the candidates */
        ITEM_POOL = 8,    /* by an interest */
        ITEM_OUT = 16,    /* may not come back */
        ITEM_LISTED = 32  /* one of the few that may */
};

/* One interest's search on its way. */
struct turn {
        size_t hit, n, at;       /* its hits in x->hit, and how far they are used */
        size_t asked;            /* for so many it was searched */
        size_t given;            /* candidates so far */
        bool done;               /* there are no more */
};

struct interests_room {
        struct score_map items;  /* parts by interests_source */
        struct mixture mixture;
        struct ivf_room *cells, *users;
        float *centroid;
        uint32_t history[INTERESTS_HISTORY_MAX], neighbour[MIXTURE_NEIGHBOURS_MAX];
        size_t n_history, n_neighbours;
        uint32_t self;           /* the item that the user is, or ID_MAP_NONE */
        struct ivf_hit user_hit[MIXTURE_NEIGHBOURS_MAX];
        struct turn turn[MIXTURE_PARTS_MAX];
        struct ivf_hit *hit;     /* [hit_room], hit_n used */
        size_t hit_n, hit_room;
        uint32_t *listed;        /* if restricted: the few items that may come back, most taken first */
        size_t n_listed, listed_room;
        bool restricted;
        size_t overfetch;        /* so many times more is searched for, since filters will refuse most */
        struct interests_item *item;
        size_t n_item, item_room;
};

int interests_make_room(struct interests_room *x, size_t n_items);

/* May it come back, as far as filters go? */
bool interests_passes(const struct catalogue *c, const struct interests_ask *ask, uint32_t item);

/* Finds out whether so few items may come back that they are looked at one by one. */
int interests_restrict(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x);

/* Marks the items of the map that may not come back. */
int interests_rule_out(const struct catalogue *c, const struct interests_ask *ask, struct interests_room *x);

/* Puts up to `wanted` candidates of the mixture into x->item, in proportion. */
int interests_search(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                     struct interests_room *x, size_t wanted, char *why, size_t why_size);
#endif
