/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_out.h - lines to standard error; for log.c alone.
 *
 * Until log_start() they are written at once.  From then on a thread writes them: no caller waits for a slow reader of standard
 * error; beyond 4 MiB of waiting lines, further ones are dropped and counted.
 */
#ifndef PM_LOG_OUT_H
#define PM_LOG_OUT_H

#include <stddef.h>

void log_out(const char *lines, size_t n); /* whole lines; any thread */

/* For a handler of a fatal signal.  Gives the thread a moment to write what it has. */
void log_out_drain(void);
/* Past all queues, as far as standard error takes it within a moment. */
void log_out_now(const char *p, size_t n);
#endif
