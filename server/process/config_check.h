/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check.h - `pointsman check` on a file, in a process of its own: a plugin that crashes while it opens takes only that one down.
 */
#ifndef PM_CONFIG_CHECK_H
#define PM_CONFIG_CHECK_H

#include <stdbool.h>

struct event_base;
struct config_check;

/* What the check wrote, as lines; they live as long as the call. */
typedef void config_check_done(void *arg, bool ok, const char *lines);

/* Main thread and its loop.  0 and exactly one call of done, later; -errno: could not start. */
int config_check_start(struct event_base *base, const char *file, config_check_done *done, void *arg, struct config_check **ret);
/* Kills it; done will not come.  NULL is fine. */
void config_check_cancel(struct config_check *c);
#endif
