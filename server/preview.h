/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preview.h - `pointsman route`: what a configuration's routers decide about texts, without a listener.
 */
#ifndef PM_PREVIEW_H
#define PM_PREVIEW_H

#include <stdio.h>

/*
 * Loads the configuration and asks the routers of the route `auto` (or of the first, if there is none of that name) about one
 * text, or about each line of `lines` if text is NULL.  A line of decision for each goes to out.  The exit status.
 */
int preview_run(const char *file, const char *text, FILE *lines, FILE *out);
#endif
