/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - what the requests of one worker share.
 *
 * Workers share nothing that changes.  A connection, its requests and their transfers live on one worker from beginning to end, on
 * its thread (worker_thread.h).
 */
#ifndef PM_WORKER_H
#define PM_WORKER_H

#include <stddef.h>

#include "loop.h"

struct api;
struct cache;
struct callouts;
struct gateway;
struct generation;
struct limiter;
struct pool;
struct upstream;
struct event_log;

struct worker {
        struct loop loop;
        struct generation *generation; /* what the next request takes; replaced by a message */
        struct upstream *upstream;     /* transfers to experts */
        struct cache *cache;           /* decisions that are kept */
        struct callouts *callouts;       /* what routers have sent for in the background */
        struct event_log *event_log;         /* of feedback */
        struct pool *pool;             /* shared by all */
        struct gateway *gateway;
        const struct limiter *limiter; /* of its requests */
        const struct api *apis;        /* our paths, n_apis of them */
        size_t n_apis;
        uint64_t requests;             /* numbered, for ids */
};
#endif
