/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parallel.h - the rows of a long computation, shared out to threads.
 *
 * What a row gives must not depend on who computes it: then the result is the same for any number of threads.
 */
#ifndef PM_PARALLEL_H
#define PM_PARALLEL_H

#include <stddef.h>

#define PARALLEL_THREADS_MAX 256

/*
 * Calls work(ctx, begin, end) over pieces of 0..n, on `threads` threads (the caller's among them), and returns when all is done.  A
 * piece has at most `grain` rows.  Threads that cannot be started are done without.
 */
void parallel_rows(unsigned threads, size_t n, size_t grain, void (*work)(void *ctx, size_t begin, size_t end), void *ctx);

/* As many as the process may use; at least 1. */
unsigned parallel_processors(void);
#endif
