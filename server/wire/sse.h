/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse.h - split a stream of server-sent events.
 *
 * Works on an evbuffer in place.  Lines may end in \n, \r\n or \r, events may be split at any byte, several may come at once,
 * comments and a missing final newline are tolerated.  An event is over when its empty line is: one that ends in \r waits for
 * the next byte, which may be its \n.
 */
#ifndef PM_SSE_H
#define PM_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "pm_router.h"

struct evbuffer;

struct sse {
        size_t max;     /* bytes of one event */
        size_t scanned; /* of the unfinished event, so that no byte is looked at twice */
        size_t line;    /* where its unfinished line begins */
        bool begun;     /* the first event is out: what may stand before it (a byte order mark) cannot come any more */
};

struct sse_event {
        struct pm_str raw;  /* with the empty line that ends it; valid until the buffer changes */
        struct pm_str name; /* "event:", may be empty */
        struct pm_str data; /* "data:", a slice of raw without blanks around it; empty: none, or only blanks.  Several data lines are made one in place, joined by
                             * a space (to JSON the same as \n) and filled up with spaces, so that raw can still be relayed */
        bool done;          /* data is [DONE] */
        bool has_data;      /* there is a data line: else only comments and fields of the connection (id, retry) */
};

void sse_init(struct sse *s, size_t max);
/* 1: an event; drain raw.n bytes when done with it.  0: more is needed.  -EMSGSIZE: above max.  -ENOMEM.
 * `ended`: nothing more will come, so an event without its empty line is taken as it is. */
int sse_next(struct sse *s, struct evbuffer *in, bool ended, struct sse_event *ret);
#endif
