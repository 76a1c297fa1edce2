/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - state that lives at an expert: a request that continues an answer of /v1/responses goes to the expert that gave it.
 *
 * An answer has an id, which the next request may name (previous_response_id); its items have ids too, and their reasoning may be encrypted
 * for that expert alone.  The expert of each id is stored per tenant, for all workers (shared_cache.h) and in Redis, with a bound and a TTL.
 * This is not a cache: x-pointsman-cache does not turn it off.
 */
#ifndef PM_FOLLOW_H
#define PM_FOLLOW_H

#include <stdbool.h>

#include "cache_store.h"
#include "pm_router.h"

struct request;

/* What a request may go on from, the strongest first. */
enum { FOLLOW_RESPONSE, FOLLOW_CONVERSATION, FOLLOW_SEALED, FOLLOW_ITEM, FOLLOWS };

/* Part of a request; zeroed for each query of it. */
struct follow {
        bool begun, asked;        /* asked: the store, with whatever result */
        struct cache_key keys[FOLLOWS]; /* without a key: the request does not name such */
        struct cache_fetch *fetch; /* NULL: the store has not been asked */
        int which;                /* it was asked for */
};

enum follow_result { FOLLOW_NOTHING, FOLLOW_FOUND, FOLLOW_WAITS, FOLLOW_REFUSED };
/* The expert that a request has to go to: r->decision is it, or r is answered since it cannot be reached any more. */
enum follow_result follow_find(struct request *r);

/* An expert's whole answer, or as much of it as there is, or the data of an event: what it gives ids to is remembered. */
void follow_answer(struct request *r, struct pm_str json, bool event);

/* Undoes what is in flight. */
void follow_finish(struct request *r);
#endif
