/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stages_parts.h - what stages.c and stages_answer.c share.
 */
#ifndef PM_STAGES_PARTS_H
#define PM_STAGES_PARTS_H

#include <string.h>
#include <sys/uio.h>

#include "stages.h"

struct on_way; /* an event on its way to the client: stages_answer.c */

struct stages {
        struct stage_run *waits; /* it has said WAIT */
        struct event *timer;     /* for that: the request's time is over */
        size_t at;               /* whose turn it is with the request, or the attempt */
        bool requested;          /* all have seen the request */
        bool ended;              /* a stage, or the expert, has ended the stream */
        struct edits edits;      /* of the attempt */
        char *lines;             /* header lines of the attempt */
        size_t lines_n;
        struct on_way *way;      /* the first one is in hand */
        struct on_way *emitted, **emitted_last;
        size_t emitted_n;        /* bytes, ahead of the one in hand */
        bool in_hand;            /* a stage has it now */
        int refused;             /* a stage wants to refuse: the status */
        const char *refused_code, *refused_why;
        size_t n;
        struct stage_run runs[];
};

/* Before and after a stage is called: it is asked, or asked again, and what it waited for is there, or it says so once more. */
void stages_ask(struct stages *all, struct stage_run *s, struct edits *edits);
void stages_asked(struct stages *all, struct stage_run *s, enum next said);
/* The stage has said WAIT.  WAIT, or r is answered: its time is over. */
enum next stages_wait(struct request *r, struct stage_run *s);
void stages_stop_waiting(struct stages *all);
/* Carries out what a stage has refused. */
enum next stages_refuse_now(struct request *r);
/* A stage of ours does what it must not: the client is told which. */
enum next stages_fault(struct request *r, struct stage_run *s, const char *what);

static inline size_t pieces_length(const struct iovec *pieces, size_t n)
{
        size_t length = 0;

        for (size_t i = 0; i < n; i++)
                length += pieces[i].iov_len;
        return length;
}

static inline void pieces_join(const struct iovec *pieces, size_t n, char *out)
{
        for (size_t i = 0; i < n; i++) {
                if (pieces[i].iov_len)
                        memcpy(out, pieces[i].iov_base, pieces[i].iov_len);
                out += pieces[i].iov_len;
        }
}
#endif
