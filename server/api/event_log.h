/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log.h - events into a file of edges that pointsman-train reads: user, item, weight, time, with tabs between.
 *
 * One of each worker, and a thread of the process that touches the disk.  Lines are gathered for a second, then appended in one write; the file
 * is opened for each, so that it may be moved away at any time.  On the worker's thread, but for create, destroy and end.
 */
#ifndef PM_EVENT_LOG_H
#define PM_EVENT_LOG_H

#include <stdint.h>

#include "pm_router.h"

struct event_base;
struct event_log;

/* Ids without control characters. */
struct edge {
        struct pm_str user, item;
        double weight;
        int64_t time; /* seconds since 1970 */
};

struct event_log *event_log_create(struct event_base *base); /* NULL: no memory */
/*
 * All of them, or none.  0; -ENOSPC: more than 4 MiB of all workers wait, because the file does not take them; -ENOMEM, -EAGAIN: no thread; else what open() said of this
 * file, when lines that wait for it were to be written.
 */
int event_log_add(struct event_log *w, const char *file, const struct edge *edges, size_t n);
void event_log_destroy(struct event_log *w); /* hands over what is left; NULL is fine */
/* Main thread, after all writers: waits until all is written, or lost, but a few seconds at most. */
void event_log_end(void);
#endif
