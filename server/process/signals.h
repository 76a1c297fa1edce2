/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h - SIGTERM and SIGINT: the first one asks for an end, a second one gets it within a second, whatever any thread does.
 *
 * Main thread and its loop; one object a process.
 */
#ifndef PM_SIGNALS_H
#define PM_SIGNALS_H

struct event_base;

/* stop() runs on the loop, once for each signal.  0 or -errno. */
int signals_catch(struct event_base *base, void (*stop)(void *arg, int sig), void *arg);
void signals_release(void); /* back to the default; fine if they were not caught */
#endif
