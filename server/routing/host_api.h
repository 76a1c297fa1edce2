/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_api.h - private to routing.c, which acts, and host_api.c, which records.
 */
#ifndef PM_HOST_API_H
#define PM_HOST_API_H

#include "routing.h"

#define ROUTE_ALLOC_MAX (16 << 20) /* bytes of one pm_alloc, and of a reply */

/* What a step has recorded in routing.move.  The first seven are none and the endings. */
enum move {
        NO_MOVE,
        DECIDE,
        CANDIDATES,
        PASS,
        FAIL,
        REJECT,  /* the client's mistake; text says which, param where */
        REFUSED, /* a decision that cannot be followed; text says why */
        EMBED,
        CALL,
        OFFLOAD,
        TWO_MOVES,
        BROKEN
};
#define LAST_ENDING REFUSED

/* The table that routers see. */
extern const struct pm_host route_host;

/* A log line with the request's id and the router's name. */
void route_say(struct routing *x, enum pm_level level, const char *what);
bool route_listed(struct expert *const *list, size_t n, const struct expert *e);
#endif
