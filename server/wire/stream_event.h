/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_event.h - one event of a stream of answers, however the stream is cut into events.
 */
#ifndef PM_STREAM_EVENT_H
#define PM_STREAM_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "pm_router.h"

/* Where the next event begins: what is remembered between two looks at the bytes. */
struct stream_reader {
        size_t max;     /* bytes of one event */
        size_t scanned; /* of the unfinished event, so that no byte is looked at twice */
        size_t line;    /* where its unfinished line begins */
        bool begun;     /* the first event is out: what may stand before it (a byte order mark) cannot come any more */
};

static inline void stream_reader_init(struct stream_reader *s, size_t max)
{
        *s = (struct stream_reader){ .max = max };
}

struct stream_event {
        struct pm_str raw;  /* with what ends it; valid until the buffer changes */
        struct pm_str name; /* "event:", may be empty */
        struct pm_str data; /* "data:", a slice of raw without blanks around it; empty: none, or only blanks.  Several data lines are made one in place, joined by
                             * a space (to JSON the same as \n) and filled up with spaces, so that raw can still be relayed */
        bool done;          /* it says that this was all, and nothing else: [DONE] */
        bool ragged;        /* raw has no end, or one of mixed line ends */
        bool has_data;      /* there is a data line: else only comments and fields of the connection (id, retry) */
};
#endif
