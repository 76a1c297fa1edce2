/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_router.h - what interests.c (recommend) and interests_route.c (route) share; for nobody else.
 */
#ifndef PM_INTERESTS_ROUTER_H
#define PM_INTERESTS_ROUTER_H

#include <pthread.h>
#include <stdbool.h>

#include "interests.h"
#include "pm_router.h"

#define ROOMS_MAX 64           /* kept for the next job */

struct router {
        const char *folder, *encoder;
        int verify;
        int64_t interests, neighbours, pool, budget, turns, alike;
        double own, near, also, votes, popular, self, fade;

        struct catalogue *catalogue;
        struct interests_settings settings;
        char (*names)[12];     /* of the interests */
        struct interests_room *room[ROOMS_MAX];
        size_t n_rooms;
        pthread_mutex_t lock;
        bool opened;
};

/* A room for one job; NULL: no memory. */
struct interests_room *router_room_take(struct router *x);
void router_room_give(struct router *x, struct interests_room *room); /* NULL is fine */

/* A conversation's turns as interests over a catalogue of labelled prompts. */
pm_step interests_route(void *self, struct pm_query *q);

/* Refuses what route would need and the catalogue or the experts lack. */
int interests_route_check(const struct router *x, const struct pm_open *o);
#endif
