/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.h - a thread that looks whether the others still move.
 *
 * Workers and threads of the pool enter themselves; a worker's loop beats.  Who has not moved for a second is named in the log while it hangs,
 * with the router whose code it runs; for a worker `relieve` is called again and again, so that others take its connections.  Above the
 * limit, and when the process was to be over by a moment that has passed, the process ends with a line that says why.  Time in which
 * a thread waited for a core, or the whole process stood still, does not count.
 */
#ifndef PM_WATCHDOG_H
#define PM_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

enum watchdog_kind { WATCHDOG_WORKER, WATCHDOG_POOL };

#define WATCHDOG_BEAT_MS 200

/* Each thread for itself, first and last.  `name` is copied ("worker 3"); `owner` is for relieve(). */
void watchdog_thread_begin(const char *name, enum watchdog_kind kind, void *owner);
void watchdog_thread_end(void);
/* A loop, each WATCHDOG_BEAT_MS. */
void watchdog_beat(void);
/* How long this thread has waited for a core since its last beat, at most; 0 if it does not beat or the kernel does not say. */
int64_t watchdog_waited_us(void);

/* Main thread.  relieve: on the watchdog's thread, while `owner` hangs.  0 or -errno. */
int watchdog_start(void (*relieve)(void *arg, void *owner), void *arg);
/* Any thread: the process ends when a worker, or all threads of the pool, have hung for so long; 0: never. */
void watchdog_limit(int64_t ms);
/* Main thread: from now on relieve() is not called and no thread is reported as hung: the threads are about to end. */
void watchdog_calm(void);
/* Any thread, or a signal handler: the process is over by then (now_us()), or is ended; the earliest of all counts. */
void watchdog_end_by(int64_t us);
void watchdog_stop(void);
/* Any thread: workers that hang now. */
unsigned watchdog_hanging(void);
/* Inside of relieve(). */
bool watchdog_is_hanging(const void *owner);
#endif
