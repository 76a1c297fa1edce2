/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stand.h - a worker with all that it owns in this process, and one client on a socket: for what can only be asked from outside.
 *
 * Whatever fails here is the fuzzed code's fault or the machine's, so it is asserted.
 */
#ifndef TESTS_FUZZ_STAND_H
#define TESTS_FUZZ_STAND_H

#include "pm_router.h"

/* A folder of its own for the files that a configuration names; removed when the process ends. */
const char *stand_folder(void);
/* Once, before the first post: the configuration as JSON or YAML.  Its one listener must be 127.0.0.1:1, which stands for any port. */
void stand_open(const char *configuration);
/* POST; `headers`: ready-made lines.  The answer's status and its body, which is good until the next one. */
int stand_post(const char *path, const char *headers, struct pm_str body, struct pm_str *ret);
/* Ends the worker, so that all is written that was to be written; at the process' end at the latest.  NULL-safe: more than once is fine. */
void stand_close(void);
#endif
