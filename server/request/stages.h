/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stages.h - what looks at requests and their answers on the way, and may change them: a filter, a guard, a budget.
 *
 * A configuration has a list of stages (struct generation).  Each is asked at four moments, all of which it may leave out:
 *
 *   on_request   once, between parse and recall: before anything is known of an answer, a kept one included, and before a router is
 *                asked.  So what it edits is what decisions and kept answers depend on, and what routers and experts get to see.
 *   on_attempt   before an attempt goes out, with the expert that it is for; again for each attempt, since each begins a new answer
 *   on_event     each event of a streamed answer and then its end, or a whole answer, before it is known to the client
 *   on_settle    at the request's end, whatever that was
 *
 * On the way to the expert stages are asked in the order of the list, and on the way back in the opposite one, as filters are in Envoy:
 * the last one stands next to the expert.  Each sees what those before it have made of the request or the answer.
 *
 * A stage answers as a step of a request does.  GO: on with the next.  WAIT: it has started one thing that will wake the request
 * (stages_wake()), and is then asked the same once more; what it has edited or emitted so far counts for nothing.  If the request ends
 * first, or its time is over, cancel() undoes that thing.  DONE: see each moment.  It keeps nothing of what it is shown.
 *
 * Only requests that an expert may answer have stages.  An expert's error is no answer, and an answer that is kept has been
 * through them: neither is shown.
 */
#ifndef PM_STAGES_H
#define PM_STAGES_H

#include "edits.h"
#include "request_parts.h"

struct stage;

/* A stage at work on one request. */
struct stage_run {
        const struct stage *stage;
        struct request *request;
        void *own;           /* the stage's, for this request: NULL at first */
        struct edits *edits; /* of the request, or of the data of an event; NULL: there is nothing to edit */
};

enum stage_what { STAGE_WHOLE, STAGE_EVENT, STAGE_END };

/* A whole answer, an event of a stream, or the end of one. */
struct stage_event {
        enum stage_what what;
        struct pm_str name;  /* "event:"; empty: it has none */
        struct pm_str data;  /* JSON; STAGE_END: empty.  Edited by s->edits, or replaced by another one.  Empty: the event does not go out. */
        struct arena *arena; /* for what the stage makes of it: copied when it returns */
};

/* What it has cost.  Tokens are -1 where they are not known, cost is in USD. */
struct stage_cost {
        const struct expert *expert; /* NULL: none was asked */
        int status;
        const char *end;             /* "ok", "client_left", "cut", ... */
        int64_t tokens_in, tokens_out;
        double cost;
};

struct stage {
        const char *name;
        void *self; /* what it is made of, for its functions */
        /* Edits are of the client's body.  DONE: the stage has answered, by stages_refuse() or one of reply_...(). */
        enum next (*on_request)(struct stage_run *s);
        /* Edits and stages_header() are for this attempt.  DONE: not this expert, but the next one; after stages_refuse(): none. */
        enum next (*on_attempt)(struct stage_run *s, const struct expert *e);
        /* DONE: this is the last event; it still goes out, and the stream ends as if the expert had ended it.  After stages_refuse(): it does not.  A
         * whole answer ends in any case. */
        enum next (*on_event)(struct stage_run *s, struct stage_event *ev);
        /* Must not wait: the client may have left. */
        void (*on_settle)(struct stage_run *s, const struct stage_cost *c);
        void (*cancel)(struct stage_run *s); /* NULL: it never says WAIT */
};

/* ---- for stages ---- */

void stages_wake(struct stage_run *s);
/* The client gets an error: as an answer, or, where one has begun, as an event and a cut.  code may be NULL.  DONE. */
enum next stages_refuse(struct stage_run *s, int status, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* In on_attempt: a header line for the expert.  0, -ENOMEM, or -EINVAL: not a name and a value in printable ASCII, or a name that says how the
 * message is to be read. */
int stages_header(struct stage_run *s, const char *name, const char *value);
/* In on_event, of streams: an event of its own, which goes out ahead of the one in hand.  0, -ENOMEM, -ENOBUFS: more than limits.buffer for one
 * event, or -EINVAL. */
int stages_emit(struct stage_run *s, struct pm_str name, struct pm_str data);

/* ---- for the steps ---- */

/* Before recall.  GO: on, or r is answered. */
enum next stages_request(struct request *r);
/* Before an attempt at e.  DONE: r is answered, or (not response_done) the next expert is meant. */
enum next stages_attempt(struct request *r, const struct expert *e);
/* What they want of the attempt: adds to edits; and all header lines, `ours` first.  p NULL: no memory. */
int stages_edits(const struct request *r, struct edits *e);
struct pm_str stages_headers(struct request *r, struct pm_str ours);
/* An event, or a whole answer, or the end of a stream comes from the expert.  raw: what the event came as, its name and its data lying in it; empty:
 * it is written anew.  0 or -ENOMEM. */
int stages_take(struct request *r, enum stage_what what, const struct stage_event *ev, struct pm_str raw);
/* All that has been taken goes through the stages and out by relay_put(), relay_whole() and relay_complete().  GO: that was all, or what these
 * have said. */
enum next stages_run(struct request *r);
/* The attempt is over: what is on its way is dropped. */
void stages_attempt_over(struct request *r);
/* The request is over. */
void stages_settle(struct request *r, const struct expert *e, double cost);
#endif
