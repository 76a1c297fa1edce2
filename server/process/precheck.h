/* SPDX-License-Identifier: Apache-2.0 */
/*
 * precheck.h - `pointsman check` on a file, in a process of its own: a plugin that crashes while it opens takes only that one down.
 */
#ifndef PM_PRECHECK_H
#define PM_PRECHECK_H

#include <stdbool.h>

struct event_base;
struct precheck;

/* What the check wrote, as lines; they live as long as the call. */
typedef void precheck_done(void *arg, bool ok, const char *lines);

/* Main thread and its loop.  0 and exactly one call of done, later; -errno: could not start. */
int precheck_start(struct event_base *base, const char *file, precheck_done *done, void *arg, struct precheck **ret);
/* Kills it; done will not come.  NULL is fine. */
void precheck_cancel(struct precheck *c);
#endif
