/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrieve.h - how well a catalogue and its baselines find again what was held back.
 */
#ifndef PM_RETRIEVE_H
#define PM_RETRIEVE_H

#include "interests.h"

#define RETRIEVE_CUTS 3

enum retrieve_method { RETRIEVE_POPULARITY, RETRIEVE_USER_VECTOR, RETRIEVE_HISTORY_CENTROID, RETRIEVE_MIXTURE, RETRIEVE_KNN_EMBED,
                       RETRIEVE_CO_CITATION, RETRIEVE_BLEND, RETRIEVE_METHODS };

extern const char *const retrieve_names[RETRIEVE_METHODS];
extern const size_t retrieve_cuts[RETRIEVE_CUTS]; /* 10, 20, 50 */

struct retrieve_case {
        uint32_t user;
        const uint32_t *wanted; /* ID_MAP_NONE: an item that the catalogue does not have */
        size_t n;
};

struct retrieve_setup {
        const struct retrieve_case *cases;
        size_t n;
        struct interests_settings settings; /* of the blend; the others take what concerns them */
        const char *only;                   /* names separated by commas; NULL: all */
        unsigned threads;
};

/* Means over users, at each cut. */
struct retrieve_quality {
        bool asked;
        double recall[RETRIEVE_CUTS], ndcg[RETRIEVE_CUTS], hit[RETRIEVE_CUTS];
        double diversity[RETRIEVE_CUTS];  /* 1 - mean likeness of two items of a list */
        double cells[RETRIEVE_CUTS];      /* interests in a list, of as many as it could have */
        double coverage[RETRIEVE_CUTS];   /* items that anybody is given, of all */
        double microseconds;              /* of one thread, for a user */
};

/* 0, or below 0 after a message on stderr. */
int retrieve_measure(const struct catalogue *c, const struct retrieve_setup *s, struct retrieve_quality ret[RETRIEVE_METHODS]);
#endif
