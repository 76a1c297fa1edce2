/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h - a folder of pointsman-train interests, opened: items and users with their vectors, histories and lists.
 *
 * manifest.json says what the folder is, with the size and digest of each file; catalogue.safetensors holds the arrays, mapped; a FAISS
 * index may lie beside it.  All is checked before anything is handed out, and read-only from then on: many threads may use it.
 */
#ifndef PM_CATALOGUE_H
#define PM_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id_map.h"
#include "index.h"
#include "ivf.h"

#define CATALOGUE_VERSION 1
#define CATALOGUE_MANIFEST "manifest.json"
#define CATALOGUE_ARRAYS "catalogue.safetensors"
#define CATALOGUE_INDEX "items.index"

/* Lists of numbers, one for each thing. */
/* Scores of what was taken together: sums and quotients of many such are floats. */
#define ALSO_MIN 1e-30
#define ALSO_MAX 1e30

struct lists {
        const uint64_t *start; /* [n + 1] */
        const uint32_t *of;
        size_t n;
};

/* How candidates are found and weighed.  The manifest has what was tuned; a router may say otherwise. */
struct interests_settings {
        uint32_t interests;    /* at most so many of a user's */
        uint32_t neighbours;   /* users alike that smooth the mixture; 0: none */
        double own;            /* 0..1: weight of the user's own items against the neighbours' */
        double near, also, votes, popular; /* weights of the four sources; only `near`: candidates stay in proportion to the interests */
        double self;           /* where users are items: weight of the user's own item in its history, for `also` */
        double sharpness;      /* likeness s to an interest counts as exp(sharpness (s - 1)) */
        uint32_t pool;         /* candidates by interests that are weighed, in percent of what is wanted */
        uint32_t budget;       /* vectors looked at for an interest of full weight; 0: all */
};

struct catalogue {
        struct id_map_view items, users, tags;
        struct ivf by_interest;      /* items, numbered by cell: a cell is an interest */
        struct ivf by_likeness;      /* users; n is 0 where users have no vectors */
        struct lists history;        /* of each user */
        struct lists also;           /* of each item: what was taken together with it, best first */
        const uint16_t *also_part;   /* score / the list's best * 65535 */
        const float *also_best;      /* [items] 0, or ALSO_MIN to ALSO_MAX */
        struct lists tagged;         /* of each tag: its items, ascending */
        const uint32_t *near;        /* [users][n_near], nearest first; ID_MAP_NONE where there are fewer */
        size_t n_near;
        const uint32_t *count;       /* [items]: how many took it */
        const uint32_t *popular;     /* [n_popular] items, most taken first */
        size_t n_popular;
        bool one_kind;               /* users are items, by their ids */
        struct interests_settings settings;
        struct index *index;         /* NULL: by_interest is searched */
        char name[80];               /* data and day, for people: "interests-1a2b3c4d5e6f" */
};

/* With `verify` the digests of all files are compared, which reads them whole.  0, or -errno and one line of why. */
int catalogue_open(const char *folder, bool verify, struct catalogue **ret, char *why, size_t why_size);
void catalogue_close(struct catalogue *c); /* NULL is fine */

/* Its items in a tag, or all users' of a history. */
const uint32_t *lists_at(const struct lists *l, uint32_t i, size_t *ret_n);

/* The item that a user is, where users are items; else ID_MAP_NONE. */
uint32_t catalogue_item_of(const struct catalogue *c, uint32_t user);
#endif
