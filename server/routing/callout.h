/* SPDX-License-Identifier: Apache-2.0 */
/*
 * callout.h - a router's call to an expert (pm_call): a cached reply, or an exchange.
 *
 * The reply is looked for in memory, in the store, and in callouts in flight for the same key; only then is the expert asked.  A background
 * callout belongs to the worker: its router goes on at once, and a later query finds the reply.
 */
#ifndef PM_CALLOUT_H
#define PM_CALLOUT_H

#include "exchange.h"
#include "lookup.h"

struct callouts; /* a worker's, in the background */
struct generation;
struct route;
struct router;
struct tenant;

#define CALLOUTS_MAX 64 /* in the background, of one worker */

/* The client's cache control (x-pointsman-cache). */
enum callout_cache {
        CALLOUT_CACHED,
        CALLOUT_UNCACHED,    /* no lookup, nothing is cached, and so no background callouts */
        CALLOUT_REFRESH /* no lookup; the reply is cached */
};

/* What is asked; all of it lives as long as the callout. */
struct callout_request {
        struct expert *expert;
        const char *path;
        struct pm_str body;
        int64_t timeout_ms, keep_ms; /* keep_ms 0: no lookup, nothing is cached */
        size_t max_reply;
        bool background;             /* wants keep_ms */
        enum callout_cache wish;
        struct generation *generation;
        const struct route *route;
        const struct tenant *scope;  /* the tenant whose replies it shares; NULL: all tenants */
        const struct router *router; /* the caller */
};

/* Lives inside its owner, who is woken once, when `done` has become true. */
struct callout {
        struct callout_request call;
        struct exchange ask;
        struct lookup lookup;
        struct worker *worker;
        struct wake wake, *owner;
        int64_t until_us;
        bool asked;

        bool done;
        int status;          /* enum pm_status */
        int http_status;
        struct pm_str reply; /* in the arena */
        char error[240];
};

/* True: it is done already, and the owner is not woken. */
bool callout_start(struct callout *e, struct worker *w, struct arena *arena, struct wake *owner, const struct callout_request *call);
/* Of one that has ended well: its reply is kept for at most so long from now; 0: no longer. */
void callout_shorten(struct callout *e, int64_t keep_ms);
/* In any state; what runs in the background goes on. */
void callout_cancel(struct callout *e);

/* Worker's thread, when its loop has ended. */
struct callouts *callouts_create(struct worker *w); /* NULL: no memory */
void callouts_destroy(struct callouts *all);        /* NULL is fine; cancels what runs */
#endif
