/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feedback.h - what users have taken: it counts at once, and is written down for the next training.
 *
 * A user's last items are kept by tenant and route, in Redis where there is one, and in the process (shared_cache.h) in any case.  Events are
 * appended to a file of edges (event_log.h).
 */
#ifndef PM_FEEDBACK_H
#define PM_FEEDBACK_H

#include <stdbool.h>

#include "cache_key.h"
#include "pm_router.h"

struct request;
struct route;

/* The key of a user's history; false: no memory. */
bool feedback_key(struct request *r, const struct route *route, struct pm_str user, struct cache_key *ret);
#endif
