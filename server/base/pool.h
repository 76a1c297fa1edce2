/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - the CPU pool: jobs longer than a loop can spare.
 *
 * A bounded queue for each customer (a router): "busy" is an answer, not a wait.  Results come home through the inbox of the
 * worker that submitted.  Each pool thread calls omp_set_num_threads(1) where OpenMP is in the process.
 */
#ifndef PM_POOL_H
#define PM_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "inbox.h"

struct pool;

/* One router's share of the queue; lives in the generation. */
struct pool_customer {
        _Atomic size_t waiting;
        size_t max;
};

struct pool_job {
        struct message home;              /* used for the way back */
        void (*work)(void *arg);          /* pool thread */
        void (*done)(struct pool_job *j); /* home thread, never inside pool_submit() */
        void *arg;
        struct inbox *inbox;              /* where home is */
        struct pool_customer *customer;
        struct pool_job *next, *prev;
        int state;                        /* the pool's */
};

struct pool *pool_create(unsigned threads); /* NULL: could not start */
void pool_destroy(struct pool *p);          /* waits for running jobs; queued ones are not run, and come home */

/* The caller owns the job's memory until done() or a successful withdrawal.  0, or -EBUSY: the customer's queue is full. */
int pool_submit(struct pool *p, struct pool_job *j);
/* True: it was still queued and is yours again, done() will not come.  False: it runs or is on its way home. */
bool pool_withdraw(struct pool *p, struct pool_job *j);
size_t pool_waiting(const struct pool *p); /* any thread; for metrics */

/* OpenMP regions of the calling thread run on one thread from now on, as far as OpenMP is loaded; cheap if nothing changed. */
void pool_calm_openmp(void);
#endif
