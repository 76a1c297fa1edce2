/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers.h - whole answers kept and told again, where a route says so.
 *
 * Only what would have come out the same: temperature 0, no tools, a body equal to the byte, an answer that reached its end.  A stream is
 * told again as the stream it was.  Never across tenants, unless the route shares; never an error.
 */
#ifndef PM_ANSWERS_H
#define PM_ANSWERS_H

#include <stdbool.h>

#include "pm_router.h"

struct request;

/* If this request's answer may be kept, its key goes into r->recall.answer. */
void answers_key(struct request *r);
/* In memory (shared NULL), or what Redis gave.  True: the client has it, r is answered. */
bool answers_recall(struct request *r, const struct pm_str *shared);
/* Bytes go out to the client; a stream's one after another.  Recorded if the answer may be kept. */
void answers_record(struct request *r, struct pm_str bytes);
/* The request is over: what was recorded is kept if it is whole. */
void answers_settle(struct request *r);
#endif
