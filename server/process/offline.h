/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offline.h - `pointsman route`: what a configuration's routers decide about texts, without a listener.
 */
#ifndef PM_OFFLINE_H
#define PM_OFFLINE_H

#include <stdio.h>

/*
 * Loads the configuration and asks the routers of the route `auto` (of the first one, if there is none of that name) about one
 * text, or, if text is NULL, about each line of `lines` that is not empty.  A JSON object a line goes to out.  The exit status:
 * failure if the configuration is wrong or a text could not be asked about; mistakes go to standard error.
 */
int offline_run(const char *file, const char *text, FILE *lines, FILE *out);
#endif
