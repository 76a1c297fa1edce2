/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header_times.h - times that stand in header lines: how long an expert wants to be left alone, how long a client waits.
 *
 * Nonsense counts as not there.  No allocation, any thread.
 */
#ifndef PM_HEADER_TIMES_H
#define PM_HEADER_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "h1.h"

/*
 * Milliseconds, at most a day; -1: it does not say.  In this order: retry-after-ms, retry-after (seconds, both with a fraction, or an
 * HTTP date: counted from the answer's own Date, else from wall_s, seconds since 1970) and, if it is rate_limited,
 * x-ratelimit-reset-requests and -tokens ("6m0s", "12ms"; the later one of those whose -remaining- is 0 or missing).
 */
int64_t header_retry_ms(const struct h1_header *headers, size_t n, bool rate_limited, int64_t wall_s);

/* How long the client waits, in milliseconds: the least of x-stainless-read-timeout and x-stainless-timeout (seconds, as OpenAI's clients
 * send them) and x-request-timeout-ms.  0: it does not say. */
int64_t header_patience_ms(const struct h1_head *head);
#endif
