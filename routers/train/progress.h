/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - a bar on stderr while something takes long; nothing at all when stderr is not a terminal.
 */
#ifndef PM_PROGRESS_H
#define PM_PROGRESS_H

#include <stddef.h>

/* total 0: not known, only the number is shown.  Draws at most ten times a second. */
void progress_show(const char *what, size_t done, size_t total);

/* Wipes the bar, so that a message can follow. */
void progress_done(void);
#endif
