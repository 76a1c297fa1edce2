/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errand.h - what a router asks an expert for (pm_call): a reply that is kept, or an exchange.
 *
 * In memory, in Redis, under way for somebody else, else asked for, in this order.  In the background the exchange belongs to the worker:
 * whoever sent for it goes on at once, and a later one finds the reply.
 */
#ifndef PM_ERRAND_H
#define PM_ERRAND_H

#include "ask.h"
#include "lookup.h"

struct errands; /* a worker's, in the background */
struct event;
struct generation;
struct route;
struct router;
struct tenant;

#define ERRANDS_MAX 64 /* in the background, of one worker */

/* What the client says about what is kept (x-pointsman-cache). */
enum errand_wish {
        ERRAND_ANY,
        ERRAND_OFF,    /* nothing is looked for, nothing kept; and so nothing asked in the background */
        ERRAND_REFRESH /* nothing is looked for; what comes is kept */
};

/* What is asked; all of it lives as long as the errand. */
struct errand_call {
        struct expert *expert;
        const char *path;
        struct pm_str body;
        int64_t timeout_ms, keep_ms; /* keep_ms 0: nothing is kept, nothing looked for */
        size_t max_reply;
        bool background;             /* wants keep_ms */
        enum errand_wish wish;
        struct generation *generation;
        const struct route *route;
        const struct tenant *scope;  /* whose replies it shares; NULL: everybody's */
        const struct router *router; /* who asks */
};

/* Lives inside its owner, who is woken once, when `done` has become true. */
struct errand {
        struct errand_call call;
        struct ask ask;
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
bool errand_start(struct errand *e, struct worker *w, struct arena *arena, struct wake *owner, const struct errand_call *call);
/* Of one that has ended well: its reply is kept for at most so long from now; 0: no longer. */
void errand_shorten(struct errand *e, int64_t keep_ms);
/* In any state; what runs in the background goes on. */
void errand_cancel(struct errand *e);

/* Worker's thread, when its loop has ended. */
struct errands *errands_create(struct worker *w); /* NULL: no memory */
void errands_destroy(struct errands *all);        /* NULL is fine; cancels what runs */
#endif
