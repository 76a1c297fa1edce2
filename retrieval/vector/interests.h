/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests.h - one recommendation: a user as a mixture of interests, candidates in proportion to it (kNN-Embed: El-Kishky et al., PAKDD
 * 2023), weighed together with what was taken along, what users alike took, and what is popular.
 *
 * Everything here is numbers of a catalogue; ids and JSON are the caller's.  Thread-safe for different rooms.
 */
#ifndef PM_INTERESTS_H
#define PM_INTERESTS_H

#include "catalogue.h"

#define INTERESTS_WANTED_MAX 1000
#define INTERESTS_HISTORY_MAX 1024  /* items of a history that are looked at; the caller's come first */
#define INTERESTS_FILTERS_MAX 16
#define INTERESTS_PARTS_MAX 256     /* interests of one user */

enum interests_source { INTERESTS_NEAR, INTERESTS_ALSO, INTERESTS_VOTES, INTERESTS_POPULAR, INTERESTS_SOURCES };

/* An item must have one of these tags. */
struct interests_filter {
        const uint32_t *tag; /* numbers of tags; ID_MAP_NONE: one that no item has */
        size_t n;
};

struct interests_ask {
        uint32_t user;              /* ID_MAP_NONE: unknown */
        const uint32_t *history;    /* what the caller knows of, newest first; known items only, may hold some twice */
        size_t n_history;
        const float *vector;        /* what stands for a history without items: [n_vectors][dim], of any length but 0 */
        const float *vector_weight; /* [n_vectors], above 0 */
        size_t n_vectors;
        const uint32_t *barred;     /* these never come back */
        size_t n_barred;
        const uint32_t *allowed;    /* only these may come back, if `only_allowed` */
        size_t n_allowed;
        bool only_allowed, keep_seen;
        const struct interests_filter *filter; /* all must hold */
        size_t n_filters;
        size_t wanted;              /* 0..INTERESTS_WANTED_MAX */
};

struct interests_item {
        uint32_t item, interest;    /* interest: its cell, IVF_NONE if it is in none */
        float score;                /* falling */
        enum interests_source source; /* what counted most */
};

struct interests_part {
        uint32_t interest;
        float weight;               /* of those kept: they add up to 1 */
};

struct interests_answer {
        struct interests_item *item; /* all of this lives in the room, until its next use */
        size_t n;
        const struct interests_part *part;
        size_t n_parts;
};

struct interests_room;

int interests_room_create(const struct catalogue *c, struct interests_room **ret);
void interests_room_destroy(struct interests_room *room); /* NULL is fine */

/* 0; -ENOMEM; or -EIO and why, if the index fails. */
int interests_find(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                   struct interests_room *room, struct interests_answer *ret, char *why, size_t why_size);

/* Only the mixture: its parts, and for each a query of length 1 (dim floats one behind the other, in the room). */
int interests_mixture(const struct catalogue *c, const struct interests_settings *s, const struct interests_ask *ask,
                      struct interests_room *room, const struct interests_part **ret, size_t *ret_n, const float **ret_query);

bool interests_has_tag(const struct catalogue *c, uint32_t item, uint32_t tag);

const char *interests_source_name(enum interests_source source); /* "interest", "also", "neighbours", "popular" */
#endif
