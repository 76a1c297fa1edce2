/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - how one of our paths speaks: all that the steps of a request must know of the format of its body, its answer, its stream and
 * its errors.
 *
 * A wire is one path of one API, for instance OpenAI's /chat/completions.  OpenAI's three APIs are three wires that share most functions, and not
 * one wire with an API inside: they differ in what ends a stream, in what an error in a stream looks like, in what may be kept and in
 * what a later request goes on from, which is what a wire is for.
 *
 * Constant, for all threads.  The functions keep nothing, and allocate in the arena that they are given.  Where wires may share one it is told
 * the wire's api.  A step of a request makes an indirect call or two, and a stream one for each event.
 */
#ifndef PM_WIRE_H
#define PM_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "expert_api.h"
#include "facts.h"
#include "pm_router.h"
#include "query.h"
#include "reading.h"
#include "scan.h"
#include "stream_event.h"

struct edits;
struct evbuffer;
struct h1_header;
struct iovec;

/* What tells which conversation a request belongs to, where the client does not say it. */
enum wire_conversation {
        WIRE_NO_CONVERSATION, /* the requests of this wire belong to none */
        WIRE_NAMED,           /* nothing: a prompt is all of its conversation */
        WIRE_FIRST_MESSAGES
};

/* Of an id that an answer has given out: `sealed` is text that only that expert can read, and not a name. */
typedef void wire_id_fn(void *arg, struct pm_str id, bool sealed);

struct wire {
        enum expert_api api;     /* an expert must offer it */
        const char *path;        /* of an expert, below its base URL */
        const char *stream_type; /* the media type of streams */
        /* Header lines of a request to an expert: for a whole answer, and for a stream. */
        struct pm_str ask_whole, ask_stream;
        /* A header with the client's key and nothing else, beside `Authorization: Bearer`; NULL: there is none. */
        const char *key_header;

        /* ---- the request ---- */

        /* The client's body: 0, or -EINVAL with *why.  Points into body and a. */
        int (*parse)(struct pm_str body, enum expert_api api, const struct query_limits *limits, struct arena *a, struct query *ret,
                     struct query_error *why);
        /* What makes them a body for an expert of that name, and the same bytes so edited: query.h. */
        int (*edit)(const struct query *q, const char *model, bool usage, struct edits *e);
        int (*splice)(struct pm_str body, const struct edits *e, struct arena *a, struct iovec **ret, size_t *ret_n);
        enum wire_conversation conversation;
        /* Would the same body be answered the same again, so that the answer may be kept?  NULL: never. */
        bool (*repeats)(const struct query *q);

        /* ---- the answer ---- */

        /* Whole or events?  Sets x->kind, or leaves it where more bytes are needed.  What stands before both may be drained.  `ended`: nothing
         * more will come. */
        void (*look)(struct reading *x, struct evbuffer *in, const struct h1_header *headers, size_t n_headers, bool ended);
        /* A whole answer.  What it says, and why it is no answer, as a clause; NULL: it is one. */
        const char *(*read_answer)(struct pm_str body, enum expert_api api, struct facts *ret);
        /* What one that is too long to be kept must have. */
        struct scan_shape shape;
        /* A whole answer told as the stream that was asked for, without what ends it.  0, -ENOMEM, or another error: it cannot be told so. */
        int (*tell_as_events)(struct pm_str answer, const struct query *q, struct evbuffer *out);

        /* ---- the stream ---- */

        /* The next event, and what its data say (only where e->data has something and e is not done).  1: an event; drain e->raw.n bytes when done
         * with it.  0: more is needed.  -EMSGSIZE: above s->max.  -ENOMEM.  `ended`: nothing more will come. */
        int (*read_event)(struct stream_reader *s, struct evbuffer *in, bool ended, struct stream_event *e, struct facts *f);
        struct pm_str event_end; /* what ends an event, for one that came ragged */
        struct pm_str done;      /* what ends a stream; empty: its last event does (facts.closes, facts.failed) */
        /* An event says that this was all (e->done).  Why it was not, as a clause; NULL: it was. */
        const char *(*done_fault)(const struct reading *x);
        /* Was that all of the answer, though nothing says so? */
        bool (*is_all)(const struct reading *x, const struct query *q);
        /* Takes out of an event what we asked for and the client did not.  False: it has nothing else.  NULL: we ask for nothing. */
        bool (*strip)(const struct stream_event *e, const struct facts *f);
        /* What an answer, or an event, gives ids to that a later request goes on from.  True: the answer's own id was due.  NULL: nothing. */
        bool (*ids)(struct pm_str json, bool event, struct arena *a, wire_id_fn *each, void *arg);

        /* ---- errors ---- */

        /* Our words, and an expert's; type NULL: by status; param and code may be NULL.  p NULL: no memory. */
        struct pm_str (*error_body)(struct arena *a, int status, const char *type, const char *param, const char *code, const char *message);
        /* For a stream that has begun.  p NULL: no memory. */
        struct pm_str (*error_event)(struct arena *a, const char *code, const char *message);
        /* The same where there is no memory: that the gateway has none. */
        struct pm_str no_memory_body, no_memory_event;
        /* Is an expert's error body one of this wire's, with all its members? */
        bool (*is_error)(struct pm_str body);
};

/* Of what comes in by no path that has a wire. */
extern const struct wire *const wire_default;
#endif
