/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reading.h - what has been read of one attempt's answer.
 *
 * All that the gateway learns from the bytes of an answer lies here and nowhere else, and begins anew with each attempt, so that
 * nothing of an answer that failed is taken for part of the next.
 */
#ifndef PM_READING_H
#define PM_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "sse.h"

struct reading {
        struct sse sse;                /* where the next event begins */
        bool finished;                 /* a finish reason has come */
        int64_t tokens_in, tokens_out; /* -1: not said */
        int64_t first_token;           /* by now_us(); 0: not yet */
};

#define READING_NONE ((struct reading){ .tokens_in = -1, .tokens_out = -1 })
#endif
