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

#include "stream_event.h"

struct evbuffer;

/* 1: an event; drain raw.n bytes when done with it.  0: more is needed.  -EMSGSIZE: above max.  -ENOMEM.
 * `ended`: nothing more will come, so an event without its empty line is taken as it is. */
int sse_next(struct stream_reader *s, struct evbuffer *in, bool ended, struct stream_event *ret);
#endif
