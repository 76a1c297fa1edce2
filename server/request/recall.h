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
#include "redis.h"

struct event;
struct request;
struct routing;

/* One value that Redis is asked for. */
struct recall_fetch {
        struct redis_call call;
        struct request *request;
        struct pm_str value;       /* in the request's arena; p NULL: not there */
};

enum recall_what { FETCH_DECISION, FETCH_PIN, FETCH_ANSWER, FETCHES };

/* Where the step is.  It goes on and never back, but that who waits may have to join once more, if whoever computes leaves. */
enum recall_at {
        RECALL_AT_START,  /* nothing was looked at */
        RECALL_AT_MEMORY, /* the keys are there */
        RECALL_AT_REDIS,  /* it is asked */
        RECALL_AT_REPLY,  /* it was asked, or cannot be: what it said is to be looked at */
        RECALL_AT_JOIN,   /* nothing is there: it is to be computed */
        RECALL_AT_WAIT,   /* somebody is at that */
        RECALL_AT_END     /* found, or to be computed here */
};

enum recall_pin {
        RECALL_PIN_NEW,    /* the conversation begins: there is none to look for */
        RECALL_PIN_SOUGHT, /* it has begun before, as far as one can see */
        RECALL_PIN_MOVED   /* the pin that there was cannot be followed */
};

/* Part of a request; zeroed for each query of it. */
struct recall {
        enum recall_at at;
        enum recall_pin pin_is;
        bool off, refresh;         /* x-pointsman-cache */
        bool passed_over;          /* the decision that memory has cannot be followed */
        struct cache_key decision, pin, answer; /* without a key: not looked for, not kept */
        const char *pinned_by;     /* for the reason: "x-session-id", ... */
        int64_t pin_ends_ms;       /* as it was found; 0: there was none */
        struct pm_str given;       /* what another has computed; p NULL: nothing */
        struct pm_str kept;        /* the decision's bytes for Redis, when the answer is out; p NULL: it is not told */
        int64_t kept_ends_ms;
        int64_t deadline_us;       /* of recall and route together, by now_us() */
        int64_t fetched_us;        /* when Redis was asked */
        struct recall_fetch fetches[FETCHES];
        struct redis *redis;       /* whom */
        struct singleflight singleflight;
        struct event *timer;       /* while it waits for another's computation */
};

/* recall_key.c: the keys go into r->recall.  False: there is none, for want of memory or of words. */
bool recall_decision_key(struct request *r);
bool recall_pin_key(struct request *r);

/* The routers are done with this request's query: may the decision be kept?  Others that wait for it are told. */
void recall_decided(struct request *r, const struct routing *x);
/* An expert's answer begins: the conversation is pinned to it, before the client can ask another worker. */
void recall_begun(struct request *r);
/* The answer is out: Redis is told what it is to know. */
void recall_settle(struct request *r);
/* Undoes what is in flight: at the request's end, or before its next query. */
void recall_finish(struct request *r);
#endif
