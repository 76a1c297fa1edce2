/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedding.h - one text to an expert's /embeddings, and the vector that comes back.
 *
 * Asked for in base64: a vector of 1,024 floats is then 5.5 kB instead of 20 kB and needs no number parsing.  Answers with a list of numbers are
 * accepted too.  Any thread.
 */
#ifndef PM_EMBEDDING_H
#define PM_EMBEDDING_H

#include <stddef.h>

#include "arena.h"
#include "pm_router.h"

/* The body; p NULL: no memory. */
struct pm_str embedding_ask(const char *model, struct pm_str text, struct arena *a);
/* The vector, in the arena: 0; -EINVAL: there is none, or it has numbers that are not finite; -ENOMEM. */
int embedding_read(struct pm_str reply, struct arena *a, const float **ret, size_t *ret_dim);
#endif
