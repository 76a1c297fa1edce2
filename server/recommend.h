/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recommend.h - /v1/recommend in and out: a body into queries, what the user has taken lately, the routers' candidates as JSON.
 *
 * The steps of a request that recommends: parse, recall (the user's history, from Redis), route (the routers that recommend), settle.
 */
#ifndef PM_RECOMMEND_H
#define PM_RECOMMEND_H

#include <stdbool.h>

#include "cache.h"
#include "redis.h"
#include "route.h"

struct request;

struct recommend {
        struct recommend_query *queries; /* one for each user */
        size_t n, at;
        bool list;                       /* `users` was given: the answer is a list */
        bool explain;

        struct request *request;
        bool asked;                      /* for the history of the user whose turn it is */
        struct redis_call call;
        struct redis *redis;
        struct pm_str *recent;           /* newest first */
        size_t n_recent;
        struct cache_key key;
};

/* The route that `model` names, or that recommends.  NULL: r is answered.  Proves that the body is a JSON object. */
const struct route *recommend_route_of(struct request *r, struct pm_str body);
/* At the request's end. */
void recommend_finish(struct request *r);
#endif
