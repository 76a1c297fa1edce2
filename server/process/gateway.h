/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.h - the process: workers, generations in force, signals, reload and drain.
 *
 * SIGTERM and SIGINT drain (a second one cuts at once), SIGHUP reloads.  Main thread, unless it says otherwise.
 */
#ifndef PM_GATEWAY_H
#define PM_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct gateway;
struct generation;
struct inbox;
struct metrics_gauges;
struct worker;

struct gateway_options {
        const char *file;
        int log_format; /* enum log_format; -1: as the file says */
};

/* What belongs to the process and must be in order before the first thread.  0 or -ENOMEM; gateway_run() does it itself. */
int gateway_prepare(void);
/* Serves until it is told to stop.  The process's exit status. */
int gateway_run(const struct gateway_options *o);

/* The configuration in force; valid until the loop's next turn. */
struct generation *gateway_generation(const struct gateway *g);
int64_t gateway_uptime_s(const struct gateway *g);

/*
 * Checks the file in a process of its own, then loads it and hands it to the workers.  Exactly one call of done, later: `mistakes`
 * (lines; empty when it worked) lives as long as the call.  0, or -EBUSY: a reload is already running, or the gateway is shutting down.
 */
typedef void gateway_reloaded(void *arg, bool ok, uint64_t number, const char *mistakes);
int gateway_reload(struct gateway *g, gateway_reloaded *done, void *arg);

/* The workers, for messages to them; *ret_n of them.  Main thread. */
struct worker **gateway_workers(const struct gateway *g, unsigned *ret_n);
struct inbox *gateway_inbox(struct gateway *g); /* the main thread's */

/* Any thread. */
bool gateway_ready(const struct gateway *g); /* serving, not draining */
void gateway_gauges(const struct gateway *g, struct metrics_gauges *out);
#endif
