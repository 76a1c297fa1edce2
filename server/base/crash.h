/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash.h - the last line of a process that dies: which signal, and in which router.
 *
 * Routers share the process.  When one of them crashes, the signal's default action follows after the line (and with it the
 * core file), so nothing is hidden.
 */
#ifndef PM_CRASH_H
#define PM_CRASH_H

#include <signal.h>

/* Main thread, once, before other threads. */
void crash_setup(void);
/* Each thread, first: an alternate stack, so that a stack overflow is named too. */
void crash_thread_begin(void);
/* Blocks all signals but the fatal ones, so that a thread created now leaves the others to the main thread. */
void crash_block_signals(sigset_t *former);
#endif
