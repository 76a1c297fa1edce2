/* SPDX-License-Identifier: Apache-2.0 */
/*
 * callout.h - what a router asks an expert for (pm_call): a reply that is kept, or an exchange.
 *
 * In memory, in Redis, under way for somebody else, else asked for, in this order.  In the background the exchange belongs to the worker:
 * whoever sent for it goes on at once, and a later one finds the reply.
 */
#ifndef PM_CALLOUT_H
#define PM_CALLOUT_H

#include "exchange.h"
#include "lookup.h"

struct callouts; /* a worker's, in the background */
struct event;
struct generation;
struct route;
struct router;
struct tenant;

#define CALLOUTS_MAX 64 /* in the background, of one worker */

/* What the client says about what is kept (x-pointsman-cache). */
enum callout_cache {
        CALLOUT_CACHED,
        CALLOUT_UNCACHED,    /* nothing is looked for, nothing kept; and so nothing asked in the background */
        CALLOUT_REFRESH /* nothing is looked for; what comes is kept */
};

/* What is asked; all of it lives as long as the callout. */
struct callout_request {
        struct expert *expert;
        const char *path;
        struct pm_str body;
        int64_t timeout_ms, keep_ms; /* keep_ms 0: nothing is kept, nothing looked for */
        size_t max_reply;
        bool background;             /* wants keep_ms */
        enum callout_cache wish;
        struct generation *generation;
        const struct route *route;
        const struct tenant *scope;  /* whose replies it shares; NULL: everybody's */
        const struct router *router; /* who asks */
};

/* Lives inside its owner, who is woken once, when `done` has become true. */
struct callout {
        struct callout_request call;
        struct exchange ask;
        struct lookup lookup;
        struct worker *worker;
        struct wake wake, *owner;
        struct event *timer; /* while it waits for another's exchange */
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
