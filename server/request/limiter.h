/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limiter.h - may a request begin now, and what has it cost in the end?
 *
 * One of them, named by the worker, stands in step admit, behind the key; limiter_in_flight is what a tenant's in_flight means.
 */
#ifndef PM_LIMITER_H
#define PM_LIMITER_H

#include "request_parts.h"

struct limiter {
        /*
         * For each request that needs a key, r->tenant being NULL where no keys are configured.  GO: it may begin, or r is answered (429);
         * WAIT: not yet: whatever wakes r has it asked again, and when the request ends first, cancel() comes.
         */
        enum next (*admit)(struct request *r);
        void (*cancel)(struct request *r); /* NULL: it never says WAIT */
        /* Once for each request that it has let in, at its end; tokens are -1 where they are not known, cost is in USD. */
        void (*charge)(struct request *r, int64_t tokens_in, int64_t tokens_out, double cost);
};

extern const struct limiter limiter_in_flight;
#endif
