/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment.h - ${NAME} and ${NAME:-default} in the texts of a configuration file.  Main thread.
 */
#ifndef PM_ENVIRONMENT_H
#define PM_ENVIRONMENT_H

#include <stddef.h>

#include "arena.h"
#include "options.h"

/* Set the first three; one for each file. */
struct environment {
        struct arena *arena;
        struct problems *problems;
        size_t left; /* bytes that variables may still add */
};

/*
 * Replaces the variables in a scalar's text; $${ becomes ${.  A scalar with one counts as written without quotes, and is secret
 * if a variable that was set became part of it.  After a mistake, which is added to the problems under `path`, the text stays
 * as it was.  0 or -ENOMEM.
 */
int environment_expand(struct environment *e, struct node *scalar, const char *path);
#endif
