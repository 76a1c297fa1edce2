/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - an attempt has failed.  Whose fault was it, who is asked next, what is the client told?
 *
 *   no connection                the address's: another endpoint of the expert, then the next expert
 *   reset, cut, 5xx              the endpoint's: the same.  500 and 501 with an error in JSON count once for each conversation
 *   429, 503 with Retry-After    alive but busy: the same; without another one wait as told, once; else tell the client for how long
 *   402, 429 insufficient_quota  the next expert; without one the client is told at once, and not to come again
 *   no first token in time       streams: the next expert.  Whole answers: a clear 504, since the expert may be at work
 *   a prompt too long            an expert whose context is longer or not known, if there is one
 *   stream_options not known     the same one again without that member, if it was ours, and so from then on for an hour
 *   401, 403, 404                our configuration's: the next expert, and never shown as the client's own
 *   508                          our configuration's, too: an expert that leads back to us
 *   other 4xx                    the request's: passed on in the wire's shape, no retry
 *   no descriptor, no memory     ours: 503, and nobody's health is touched
 *
 * A stream's first event that is an error is judged by the same table.  A limit of the request or of the client that passes is not the
 * expert's fault, either.  What has begun to go out cannot be taken back: it is cut.
 *
 * Pure: no request, no clock, nothing is done.  fallback.c gathers what it needs, and does what it says.
 */
#ifndef PM_JUDGE_H
#define PM_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "expert.h"
#include "metrics.h"
#include "refusal.h"
#include "upstream.h"

enum { DEADLINE_SLACK_US = 2000 }; /* limits in whole milliseconds pass a little before their time */

enum failure_what {
        FAILURE_TRANSFER,   /* the transfer: see error */
        FAILURE_REFUSED,    /* the expert says an error in place of an answer: see refusal */
        FAILURE_NO_ANSWER,  /* a 2xx whose body is no answer */
        FAILURE_CUT,        /* the answer ends before it is whole */
        FAILURE_SAID,       /* an answer that has begun says that it has failed */
        FAILURE_NOT_JSON,   /* an event that is not JSON */
        FAILURE_TOO_LARGE,  /* an event above limits.event */
        FAILURE_TIME,       /* the request's time has passed while the answer came */
        FAILURE_MEMORY,     /* we have none for the answer */
        FAILURE_PROGRESS    /* we cannot read it */
};

/* What an attempt has said, and what else the verdict depends on. */
struct failure {
        enum failure_what what;
        enum transfer_error error;     /* FAILURE_TRANSFER */
        bool head;                     /* the answer's head had come */
        bool events;                   /* it has shown itself as a stream of events */
        const struct refusal *refusal; /* FAILURE_REFUSED */
        int64_t retry_ms;              /* the expert wants to be left alone for so long; -1: it does not say */
        /* what was asked */
        bool stream;
        bool our_options;              /* with stream_options that are ours, not the client's, and may be left out */
        /* what has gone out */
        bool headers_sent;
        bool waited;                   /* the request has waited for a Retry-After already */
        /* what is left */
        int64_t left_us;               /* of the request's or the client's time, whichever is shorter */
        bool endpoint_left;            /* this expert may be asked once more, at an endpoint that was not asked yet */
        bool expert_left;              /* a fallback is available */
        bool longer_left;              /* and one of those may take a longer prompt */
};

enum judge_move {
        JUDGE_NEXT_ENDPOINT, /* of this expert, if it may be asked again; else the next expert */
        JUDGE_NEXT_EXPERT,
        JUDGE_LONGER,        /* the next expert whose context is longer */
        JUDGE_SAME_AGAIN,    /* without what it does not know */
        JUDGE_WAIT,          /* for retry_after_ms; then this expert again */
        JUDGE_GIVE_UP,       /* the client is told of this failure */
        JUDGE_LATE,          /* that the time has passed */
        JUDGE_PASS_ON,       /* the expert's own words */
        JUDGE_CUT            /* the reply has begun: an error event if it is a stream, and a cut */
};

struct verdict {
        enum judge_move move;
        enum expert_verdict fault;    /* for the breaker */
        bool doubt;                   /* EXPERT_BAD only if expert_doubted() says so */
        enum metrics_attempt metric;
        int status;                   /* to answer if no attempt is left; JUDGE_CUT: none */
        const char *code;             /* or NULL; of the error event, too */
        int64_t retry_after_ms;       /* to tell the client, and for JUDGE_WAIT; 0: unknown */
        bool no_retry;                /* the client is told not to come again */
};

struct verdict judge(const struct failure *f);

/* Has that time passed, as far as limits go? */
static inline bool judge_too_late(int64_t left_us)
{
        return left_us <= DEADLINE_SLACK_US;
}
#endif
