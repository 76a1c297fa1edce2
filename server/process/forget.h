/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forget.h - decisions, answers, histories or whatever is to be kept no longer: in every worker, in the process and in Redis.  Main thread.
 */
#ifndef PM_FORGET_H
#define PM_FORGET_H

#include <stdint.h>

struct event_base;
struct forget;
struct gateway;

struct forgotten {
        uint64_t memory, redis; /* entries that were removed */
        const char *why;        /* NULL: all is done; else what could not be done in Redis */
};

/*
 * Everything whose key begins with one of the letters of `kinds` ("d", "dp", ...: cache.h), '|' and `prefix`.  done() comes exactly
 * once, later, unless forget_cancel() comes first.  -EINVAL: the prefix is longer than a key can be; -ENOMEM.
 */
int forget_begin(struct gateway *g, struct event_base *base, const char *kinds, const char *prefix,
                 void (*done)(void *arg, const struct forgotten *what), void *arg, struct forget **ret);
/* Nobody wants to know any more; what has begun goes on in memory and stops in Redis. */
void forget_cancel(struct forget *f);
#endif
