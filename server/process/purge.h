/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.h - decisions, answers, histories or whatever is to be kept no longer: in every worker, in the process and in Redis.  Main thread.
 */
#ifndef PM_PURGE_H
#define PM_PURGE_H

#include <stdint.h>

struct event_base;
struct purge;
struct gateway;

struct purged {
        uint64_t memory, redis; /* entries that were removed */
        const char *why;        /* NULL: all is done; else what could not be done in Redis */
};

/*
 * Everything whose key begins with one of the letters of `kinds` ("d", "dp", ...: cache.h), '|' and `prefix`.  done() comes exactly
 * once, later, unless purge_cancel() comes first.  -EINVAL: the prefix is longer than a key can be; -ENOMEM.
 */
int purge_begin(struct gateway *g, struct event_base *base, const char *kinds, const char *prefix,
                void (*done)(void *arg, const struct purged *what), void *arg, struct purge **ret);
/* Nobody wants to know any more; what has begun goes on in memory and stops in Redis. */
void purge_cancel(struct purge *f);
#endif
