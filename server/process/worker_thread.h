/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_thread.h - a worker's thread: what it is made of, and what the main thread tells it.
 */
#ifndef PM_WORKER_THREAD_H
#define PM_WORKER_THREAD_H

#include <stddef.h>

#include "inbox.h"
#include "worker.h"

struct worker_setup {
        struct gateway *gateway;
        unsigned id;
        struct generation *generation; /* taken */
        struct pool *pool;
        const int *fds;                /* listening sockets, in the order of the generation's listeners; owned from here on */
        size_t n_fds;
        unsigned clients, away;        /* its share of the descriptors: descriptors.h; 0: not known */
        struct inbox *home;            /* main thread; where `drained` is posted, once, when a drained worker has no connection */
        void (*drained)(struct message *m, void *owner);
};

/* Main thread.  Starts the thread with its loop and listeners.  NULL: *why says what is wrong. */
struct worker *worker_create(const struct worker_setup *s, const char **why);
/* Main thread.  Ends the loop at once, drops what runs and joins the thread.  What is still on the way to the inbox (jobs of the
 * pool) may go on arriving until worker_destroy(). */
void worker_stop(struct worker *w);
void worker_destroy(struct worker *w); /* main thread, after worker_stop(); NULL is fine */

/* Main thread: the worker's next request takes this generation.  The message is one's own for each worker, and lives as long as g. */
struct generation_message {
        struct message m;
        struct generation *g;
};
void worker_post_generation(struct worker *w, struct generation *g, struct generation_message *message);
/* Main thread: stop listening, close resting connections, finish running requests; the gateway is told when none is left. */
void worker_post_drain(struct worker *w);
/* Main thread, after that: running requests end with an error, as soon as their clients have read it; once. */
void worker_post_cut_short(struct worker *w);

/* Any thread, before worker_stop() of either: what waits for `from` to accept it goes to `to`. */
void worker_relieve(struct worker *from, struct worker *to);

/* Any thread: connections open, at most a second ago. */
unsigned worker_connections(const struct worker *w);
#endif
