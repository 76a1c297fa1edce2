/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_parts.h - struct request, for the files that carry its steps.
 *
 * request.c has the steps and reads from top to bottom; forward.c chooses attempts, judge.c judges those that fail and fallback.c acts on
 * that, relay.c passes the answer on, reply.c writes heads and errors; kinds of requests that are no chats have files of their own (apis.h).
 */
#ifndef PM_REQUEST_PARTS_H
#define PM_REQUEST_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "config.h"
#include "expert.h"
#include "follow.h"
#include "http.h"
#include "judge.h"
#include "metrics.h"
#include "query.h"
#include "reading.h"
#include "recall.h"
#include "request.h"
#include "routing.h"
#include "upstream.h"
#include "wire.h"
#include "worker.h"

struct event;
struct stages;
struct tenant;

enum next { GO, WAIT, DONE };

#define REQUEST_STEPS(X)                                                        \
        X(admit,   METRICS_ADMIT,      "key, quota, size: no I/O")              \
        X(parse,   METRICS_PARSE,      "JSON body into a query")                \
        X(recall,  METRICS_RECALL,     "has this been decided before? memory, then Redis") \
        X(route,   METRICS_ROUTE_STEP, "ask the routers; deadline; default")    \
        X(forward, METRICS_FORWARD,    "open the upstream transfer, fall back") \
        X(relay,   METRICS_RELAY,      "bytes to the client, with back-pressure") \
        X(settle,  METRICS_STEPS,      "usage, observe, metrics, one log line")

enum step {
#define X(name, metric, help) STEP_##name,
        REQUEST_STEPS(X)
#undef X
                STEPS
};

/* One try at one endpoint, and what came of it: nothing of it outlives it but what attempt_end() passes on. */
struct attempt {
        struct expert *expert;
        struct endpoint *endpoint;  /* reserved: expert_done() gives it back */
        struct transfer *transfer;
        struct reading reading;
};

struct request {
        struct worker *worker;
        struct http_conn *conn;
        struct generation *generation;
        struct arena arena;
        struct wake wake;
        enum step at;

        /* what was asked */
        const struct h1_head *head;
        const struct api *api;       /* which of our paths; NULL: none, or not yet known */
        const struct wire *wire;     /* what the path speaks */
        const struct request_kind *kind;
        void *own;                   /* of its kind; in the arena */
        struct pm_str id;
        struct tenant *tenant;       /* whose key it is; NULL: no keys are configured, or it needs none */
        enum { NOT_ADMITTED, ADMIT_WAITS, ADMITTED } admission; /* by the limiter */
        bool cors;                   /* the page that asks may read the answer */
        char *body;
        size_t body_n, body_room;
        int64_t body_counted;        /* of limits.memory */
        bool body_heap, body_end;
        int body_status;             /* it will not come: the HTTP status to answer */
        const char *body_why;
        struct query query;
        int64_t least_tokens;        /* of the prompt; -1: not counted yet */

        size_t round;                /* of a body with several texts or users: which of them */
        struct evbuffer *out;        /* the answer, where it is ours */

        /* where it goes */
        const struct route *route;   /* NULL: the client named an expert */
        struct routing *routing;
        unsigned orphans;            /* routings whose pool job still works on our memory */
        bool released;               /* only the orphans keep us */
        struct decision decision;
        struct recall recall;
        struct follow follow;
        struct evbuffer *recorded;   /* the answer so far, if it is to be kept */
        const char *replayed;        /* the answer was kept: "local", "shared" */

        /* how it gets there */
        struct attempt attempt;
        unsigned attempts;
        size_t expert_index;         /* in decision.expert, fallbacks... */
        unsigned attempts_here;      /* at this expert */
        uint64_t tried_mask;         /* endpoints of this expert, a bit each */
        bool waited;                 /* for a Retry-After, once */
        int64_t waits_since;         /* for that; 0: it does not */
        int64_t longer_than;         /* tokens: experts whose context is known to be no longer are passed over */
        struct event *timer;
        struct iovec *pieces;        /* the body for this expert */
        size_t n_pieces;
        bool pieces_usage;           /* it asks for usage where the client did not */
        struct pm_str upstream_headers;
        const char *failed_why;      /* the last attempt's failure, a clause */
        int failed_status;           /* what to answer if no attempt is left */
        const char *failed_code;
        int64_t retry_after_ms;      /* to tell the client; 0: unknown */
        bool no_retry;               /* to ask again does not help, or might be paid for twice */

        struct stages *stages;       /* at work on it; NULL: there are none */
        bool staged;                 /* and its answer goes through them */

        /* what came back */
        bool headers_sent;           /* the reply's head is out: no other expert can answer any more */
        bool streaming;              /* begun in pieces, or server-sent events */
        bool cut_short;              /* the gateway ends: it may not run on */
        bool draining_upstream;      /* the client has all, the expert's last chunk has not come */
        bool response_done;          /* the reply is complete or cut: nothing more goes out */
        int status;                  /* as answered; 0: nothing was */
        int64_t tokens_in, tokens_out;
        int64_t bytes_out;
        const char *end;             /* "ok", "client_left", "cut", ...; NULL: still running */
        const char *error;           /* for the log */

        /* when: now_us() */
        int64_t started_us, step_started_us, woken_us, deadline; /* woken_us: the steps were last woken */
        int64_t missed_us;           /* by loop_clock(), as far as `deadline` has been moved */
        int64_t patience;            /* so long the client waits for an answer to begin; 0: as long as it takes */
        int64_t step_us[STEPS];
        int64_t waited_us;           /* for experts, so far */
        int64_t body_us;             /* for the client's body */
        int64_t overhead_us;         /* ours, as the reply's head says */
        int64_t first_token;
};

/* What a kind of request does in the steps that are not the same for all. */
struct request_kind {
        enum next (*parse)(struct request *r);  /* the whole body is there */
        enum next (*recall)(struct request *r); /* NULL: nothing */
        enum next (*route)(struct request *r);  /* answers, or finds the expert that is to */
        void (*finish)(struct request *r);      /* at its end; NULL: nothing.  r->own may be NULL still */
        bool forwards;                          /* an expert's answer is the answer */
};
extern const struct request_kind request_chat; /* chat and its relatives */

/* One of our own paths. */
struct api {
        const char *path;
        bool prefix;                 /* the path goes on: /v1/models/{id} */
        enum h1_method method;
        const struct wire *wire;     /* of those that are forwarded; NULL: answered by us, and errors are as wire_default has them */
        enum metrics_api metric;
        bool open;                   /* needs no key */
        enum next (*answer)(struct request *r); /* at once, without a body; NULL: see kind */
        const struct request_kind *kind;
};

/* ---- request.c, for kinds ---- */

/* The body as a query of this path: GO, or r is answered. */
enum next request_read(struct request *r);
enum next request_bad_body(struct request *r, const struct query_error *why);
/* Resolves r->query.model: an expert, or a route whose routers will be asked.  GO, or r is answered. */
enum next request_resolve(struct request *r);
/* The routers of r->route as `call` wants it, begun from request_call() with what is particular: WAIT, or GO: done, or r is answered. */
struct routing_call request_call(struct request *r);
enum next request_ask(struct request *r, const struct routing_call *call);
/* The decision for r->query, recalled or asked for: WAIT; or GO with it, or r is answered. */
enum next request_decide(struct request *r, bool explain);
/* What request_ask() has brought is not looked at any more. */
void request_asked(struct request *r);
/* The next text or user of the same body: from recall on. */
enum next request_next_round(struct request *r);

/* page.c.  Answered, if it comes from a page in a browser that may not ask. */
enum next page_check(struct request *r);

/* Steps that have files of their own. */
/* Has r->query been decided before?  GO: it has, or not. */
enum next recall_step(struct request *r);
enum next request_forward(struct request *r);
enum next request_relay(struct request *r);
enum next request_settle(struct request *r);
/* The reply has begun and will not be continued: an error event, if it is a stream, and a cut.  why NULL: no memory for it. */
enum next relay_cut_short(struct request *r, const char *code, const char *why);
/* What comes out of the stages (stages.h): an event, the end of a stream, a whole answer (body.p NULL: as it came). */
void relay_put(struct request *r, struct pm_str event);
enum next relay_complete(struct request *r);
enum next relay_whole(struct request *r, struct pm_str body);
enum next relay_no_memory(struct request *r);
/* Ends the attempt in hand, if there is one: closes its transfer, gives the endpoint back, counts. */
void attempt_end(struct request *r, enum metrics_attempt how, enum expert_verdict v, int64_t retry_us);

/* The reply is out or under way; settle comes next. */
enum next request_answered(struct request *r);

/* ---- fallback.c: an attempt has failed ---- */

/* What judge() says of it; nothing is done yet. */
const char *fallback_words(struct request *r, enum failure_what what, const char *why); /* of an answer that has begun, for the client and the log */
struct verdict fallback_verdict(const struct request *r, enum failure_what what);
/* Nothing has gone out to the client: on to what judge() says.  why: a clause. */
enum next fallback_failed(struct request *r, enum failure_what what, const char *why);
/* The transfer has failed; the answer that is there, as far as it is, is no 2xx. */
enum next fallback_transfer(struct request *r);
enum next fallback_answer(struct request *r);
/* An error in JSON where an answer should be, as a stream's first event or in a 200: judged as a status would be. */
enum next fallback_refused(struct request *r, struct pm_str error_json);
/* The words of an error in JSON, for the client and the log: bounded, without keys.  "": none. */
const char *fallback_said(struct request *r, struct pm_str error_json);

/* ---- between forward.c and fallback.c ---- */

/* Opens the next attempt that there is. */
enum next forward_next(struct request *r);
/* No attempt is left: says what the last one was, or for how long all rest. */
enum next forward_give_up(struct request *r);
/* Until the request's or the client's time has passed, whichever is shorter: judge_too_late().  And the answer when it has. */
int64_t forward_left_us(const struct request *r, int64_t now);
enum next forward_late(struct request *r);
/* GO; or the refusal, where the decision is for one expert and no other, and that one is not for this request. */
enum next forward_may(struct request *r);
/* The decision's expert, then its fallbacks; NULL: no more. */
struct expert *forward_expert(const struct request *r, size_t turn);
/* Wakes the request by its timer. */
void forward_wake_in(struct request *r, int64_t ms);

/* ---- reply.c ---- */

/* The error body of the wire.  Then request_answered(). */
enum next reply_error(struct request *r, int status, const char *param, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 5, 6)));
/* A JSON text of ours. */
enum next reply_json(struct request *r, int status, struct pm_str body);
/* To a browser that asks whether a page of an allowed origin may ask. */
enum next reply_preflight(struct request *r);
/* Pieces of an answer for reply_buffer(); after one for which there was no memory the buffer is empty and stays so, and the answer is a 503. */
void reply_put(struct evbuffer *out, const char *p, size_t n);
void reply_printf(struct evbuffer *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_put_text(struct evbuffer *out, struct pm_str s); /* a text of JSON, with its quotes */
enum next reply_buffer(struct request *r, int status, const char *content_type, struct evbuffer *body);
/* Our header lines for an answer that an expert gave (or that /v1/route explains). */
struct pm_str reply_headers(struct request *r, const struct transfer *t);
/* A stream of events begins: adds the lines that only streams have. */
void reply_stream_begin(struct request *r, struct http_reply head);
/* An expert's refusal, in the wire's shape. */
void reply_refusal(struct request *r, const struct transfer *t, int status, struct pm_str body);
#endif
