/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routing.h - runs the routers of a route over one query: steps, moves, deadline, stall watch.
 *
 * Lives inside its owner, who is woken once, when `done` has become true, unless routing_start() ends with it true already.
 */
#ifndef PM_ROUTING_H
#define PM_ROUTING_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "callout.h"
#include "expert.h"
#include "pm_router.h"
#include "pool.h"
#include "query_view.h"
#include "worker.h"

struct embed;
struct event;
struct generation;
struct h1_head;
struct query;
struct route;
struct router;
struct tenant;

#define DECISION_HOWS(V)                                                                                                        \
        V(DECISION_COMPUTED, "computed") V(DECISION_DEFAULT, "default") V(DECISION_NAMED, "named")                              \
        V(DECISION_CACHED_LOCAL, "cached-local") V(DECISION_CACHED_SHARED, "cached-shared") V(DECISION_PINNED, "pinned")
#define V(how, name) how,
enum decision_how { DECISION_HOWS(V) };
#undef V
const char *decision_how_name(enum decision_how how); /* "computed", "cached-local", ...: as in x-pointsman-decision */

enum { DECISION_WORDS_MAX = 1024 }; /* bytes of a category, and of a reason */

struct decision {
        enum decision_how how;
        struct expert *expert;     /* NULL: none is available */
        struct expert **fallbacks; /* best first, none twice */
        size_t n_fallbacks;
        const struct router *router; /* who decided; NULL for the default and for named experts */
        const char *category, *reason, *extra; /* may be NULL; in the arena */
        const char *explained;       /* a JSON object: the router's explanation; may be NULL */
        double confidence;
        bool provisional;            /* a better one is under way: nothing is to be kept of it */
        bool unsure;                 /* no conversation is to stay with the expert because of it */
        bool only;                   /* no other expert may get it; expert NULL: not even that one, because of what the router said about it */
};

/* What a recommend query asks; all of it lives as long as the query. */
struct recommend_query {
        struct pm_str user, body;
        const struct pm_str *const *history, *const *exclude; /* exclude: and what `deny` names */
        const struct pm_str *const *allow;                    /* NULL: any */
        const struct pm_filter *const *filters;
        size_t n_history, n_exclude, n_allow, n_filters, wanted;
        bool keep_seen;
};

/* What is asked. */
struct routing_call {
        struct worker *worker;
        struct generation *generation;
        struct arena *arena;
        const struct h1_head *head;  /* for pm_header; NULL: none */
        const struct tenant *tenant; /* NULL: no keys are configured */
        const struct route *route;
        const struct query *query;   /* chat; NULL: */
        const struct recommend_query *recommend;
        bool explain;                /* an explanation is wanted */
        bool insisting;              /* it has an expert already: only routers that insist are asked, and only an `only` counts */
        enum callout_cache wish;       /* of the client, about what is kept */
        struct pm_str id;
        struct wake *owner;
        int64_t deadline_us;         /* by now_us(); 0: the route's time from now on */
};

struct routing {
        struct pm_query query; /* what the router that is asked sees */
        struct query_view all; /* what there is to see */
        struct routing_call call;
        struct expert **experts; /* as query.experts, in the same order */
        size_t next;           /* in the route's routers */
        const struct router *router; /* who is asked now */
        int64_t asked_us, deadline_us;
        struct event *timer;
        struct wake wake;      /* an operation has ended */

        int move;              /* of this step, enum in routing.c */
        uint64_t ticket;
        unsigned steps;
        pm_step_fn *then;
        const char *text;      /* of a failure or a rejection, or an encoder's name */
        const char *param;     /* of a rejection */
        const char *failed;    /* recommend: what the last router that failed has said; NULL: none did */
        const char *trouble;   /* why the last operation failed: a clause; NULL: it did not, or q->status says all */
        struct expert *asked;  /* pm_call */
        struct pm_call pm_call;
        struct pm_str to_embed;
        void (*work)(void *);
        void *work_arg;

        struct callout *callout; /* the one operation in flight */
        struct callout *replied; /* the last one, while its reply is the query's */
        struct embed *embed;
        struct pool_job *job;
        bool orphan;           /* ended, but the job still runs on our memory */
        void (*free_me)(void *arg);
        void *free_arg;

        bool later;            /* the router that is asked now has been told that a reply will be there for the next query */
        bool provisional;      /* one before it was told so, and did not decide: it will, and better than those after it */
        bool keepable;         /* as far as it went: all candidates there, no router failed, and those asked say what they read */
        bool only;             /* the decision that was refused was for one expert and no other */
        bool rejected;         /* recommend: by the router, whose text and param say why */
        bool starting;         /* inside routing_start(): the owner sees `done` without a wake */
        bool done;
        struct decision decision;    /* chat; recommend: only its how, router, reason and explained */
        const struct pm_item *const *items; /* recommend */
        size_t n_items;
};

/* Asks the first router.  The call's pointers must live until routing_finish() has said true (or called free_me). */
void routing_start(struct routing *x, const struct routing_call *call);

/* Undoes what is in flight and ends it.  True: its memory may go.  False: a pool job still works on it; free_me(arg) is called
 * on this worker, outside of anything, when it may. */
bool routing_finish(struct routing *x, void (*free_me)(void *arg), void *arg);

/* Could a request go to e, if it were available: is it one of the route's, of this API, allowed to the tenant?  tenant may be NULL. */
bool route_may_use(const struct route *route, const struct tenant *tenant, enum expert_api api, const struct expert *e);
/* The experts that q could go to: of its API, allowed to the tenant, available, not surely too short for it (where all are, the longest:
 * it says so best itself).  *ret in the arena; *ret_all: no other expert would be among them for another query or at another time.
 * 0 or -ENOMEM. */
int route_candidates(const struct route *route, const struct tenant *tenant, const struct query *q, struct arena *a,
                     struct expert ***ret, size_t *ret_n, bool *ret_all);
/* After the decision's own fallbacks come the default and the other candidates, up to the route's limit. */
void route_complete_fallbacks(struct decision *d, const struct route *route, struct expert *const *candidates, size_t n, struct arena *a);
#endif
