/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers.h - the response cache: whole answers are cached and served again, for routes that ask for it.
 *
 * Only answers that would be the same again: temperature 0, no tools, a byte-identical body, an answer that reached its end.  A stream is
 * served as the stream that it was.  Never across tenants, unless the route shares; never an error.
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
