/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recall.h - the step between parse and route: has this been decided before?
 *
 * In this order: the answer itself, where a route keeps answers (answers.c); the expert that the conversation is pinned to; the
 * decision for the same question, in the worker's memory, then in Redis.  What is not found is computed by one request at a time for
 * each key; the others wait for it within their routes' deadlines.
 */
#ifndef PM_RECALL_H
#define PM_RECALL_H

#include <stdbool.h>
#include <stdint.h>

#include "cache.h"
#include "cache_store.h"
#include "singleflight.h"

struct request;
struct routing;

enum recall_what { FETCH_DECISION, FETCH_PIN, FETCH_ANSWER, FETCHES };

/* The state of the step.  It only moves forward, with one exception: a waiting request joins again if the one that computes leaves. */
enum recall_at {
        RECALL_AT_START,  /* not begun */
        RECALL_AT_MEMORY, /* the keys are made; memory comes next */
        RECALL_AT_STORE,  /* the store has been asked */
        RECALL_AT_REPLY,  /* it has replied, or cannot be asked: its reply is to be processed */
        RECALL_AT_JOIN,   /* not found: it must be computed */
        RECALL_AT_WAIT,   /* another request computes it (single-flight) */
        RECALL_AT_END     /* found, or this request computes it */
};

enum recall_pin {
        RECALL_PIN_NEW,    /* the conversation begins: there is none to look for */
        RECALL_PIN_SOUGHT, /* it has begun before, as far as one can see */
        RECALL_PIN_MOVED   /* a pin was found, but its expert cannot be used */
};

/* Part of a request; zeroed for each query of it. */
struct recall {
        enum recall_at at;
        enum recall_pin pin_is;
        bool off, refresh;         /* x-pointsman-cache */
        bool passed_over;          /* a decision was found in memory, but cannot be used */
        struct cache_key decision, pin, answer; /* without a key: not looked for, not kept */
        const char *pinned_by;     /* for the reason: "x-session-id", ... */
        int64_t pin_ends_ms;       /* as it was found; 0: there was none */
        struct pm_str given;       /* the value that another request computed; p NULL: none */
        struct pm_str kept;        /* the decision, to be written to Redis when the answer is out; p NULL: it is not */
        int64_t kept_ends_ms;
        int64_t deadline_us;       /* of recall and route together, by now_us() */
        int64_t fetched_us;        /* when the store was asked */
        struct cache_fetch *fetches; /* FETCHES of them; NULL: the store has not been asked */
        struct singleflight singleflight;
};

/* recall_key.c: the key goes into r->recall.  False: there is none, for lack of memory or of anything to make it from. */
bool recall_decision_key(struct request *r);
bool recall_pin_key(struct request *r);

/* The routers have ended: caches the decision if that is allowed, and gives it to the requests that wait for it. */
void recall_decided(struct request *r, const struct routing *x);
/* An expert's answer begins: the conversation is pinned to it, before the client can ask another worker. */
void recall_begun(struct request *r);
/* The answer has been sent: writes the decision to Redis and the answer to the caches, where they belong there. */
void recall_settle(struct request *r);
/* Cancels what is in flight: at the end of the request, or before its next query. */
void recall_finish(struct request *r);
#endif
