/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_cli.h - `pointsman decisions`: what Redis has of decisions and pins as JSON lines, and back, so that logs can be replayed and a new
 * cluster begins warm.
 */
#ifndef PM_CACHE_CLI_H
#define PM_CACHE_CLI_H

#include <stdio.h>

/* Reads the configuration (routers are not opened) and writes one line a decision to out.  The process's exit status. */
int decisions_export(const char *file, FILE *out);
/* Reads such lines; those that have ended meanwhile are passed over and counted, bad ones are named.  The process's exit status. */
int decisions_import(const char *file, FILE *in);

struct cached_decision;
struct pm_str;
/* One line, without its end: {"key": ..., "expert": ...}.  Heap string, or NULL: no memory, or it has texts that are not UTF-8. */
char *decisions_line(struct pm_str key, const struct cached_decision *k);
/* The same back.  Texts of *k live in *ret_memory (json_decref).  0, or -EINVAL with a clause in why. */
int decisions_read_line(const char *line, size_t n, struct pm_str *key, struct cached_decision *k, void **ret_memory, char *why, size_t size);
#endif
