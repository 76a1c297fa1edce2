/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - one event loop and what it owns.
 *
 * Workers share nothing that changes.  A connection, its requests and their transfers live on one worker from beginning to end.
 * Everything here runs on the worker's thread unless it says otherwise.
 */
#ifndef PM_WORKER_H
#define PM_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "inbox.h"

struct event_base;
struct generation;
struct gateway;

/* A function that the loop runs once, soon, outside of any library's callback.  Embed it in what it wakes. */
struct wake {
        struct wake *next, **pprev; /* on the worker's list; pprev is NULL when it is not */
        void (*fn)(void *arg);
        void *arg;
};

struct worker {
        unsigned id;
        struct gateway *gateway;
        struct event_base *base;
        struct inbox inbox;
        struct arena_pool arenas;      /* blocks for requests */
        struct generation *generation; /* what the next request takes; replaced by a message */
        struct http *http;             /* the front: listeners and connections */
        struct upstream *upstream;     /* transfers to experts */
        struct cache *cache;           /* decisions that are kept */
        struct errands *errands;       /* what routers have sent for in the background */
        struct writer *writer;         /* of feedback */
        struct metrics_shard *metrics; /* written here, read by whoever scrapes */
        struct log_buffer *log;
        struct pool *pool;             /* shared by all */
        struct wake *ready, **ready_last; /* woken, in order */
        struct event *run;
        int64_t turned_us, missed_us;  /* worker_clock()'s: when it was last asked, by now_us(); what it has left out */
        unsigned clients, away;        /* connections at most, and how many above that are told so at once */
        uint64_t requests;             /* numbered, for ids */
        bool draining;                 /* no new connections; those that rest are closed */

        /* worker.c's own */
        struct wake mark;              /* the end of the pass that runs */
        pthread_t thread;
        struct event *drain_poll, *count, *beat;
        bool counting;
        unsigned passes;               /* of `run`, one after another, without a look at the sockets */
        int64_t passes_began_us;
        _Atomic unsigned connections;
        struct inbox *home;
        struct message stop, drain, cut_short, drained;
};

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

#define WORKER_TURN_US 1000000 /* a loop that turns is looked at more often than that: it beats */

/*
 * The clock for this worker's own limits, from now_us(): it leaves out the time in which the loop did not turn although it should
 * have, since the process was stopped, the machine slept, or no core was to be had.  So what has come meanwhile is read before anybody
 * is judged by it.  It never goes back.
 */
static inline int64_t worker_clock(struct worker *w, int64_t now)
{
        int64_t gap = now - w->turned_us;

        if (__builtin_expect(gap > WORKER_TURN_US, 0) && w->turned_us)
                w->missed_us += gap - WORKER_TURN_US / 4;
        if (gap > 0)
                w->turned_us = now;
        return now - w->missed_us;
}

/* Puts a wake at the end of the list, if it is not on it already. */
void worker_wake(struct worker *w, struct wake *k);
/* Takes it off, if it is on it: for whoever dies first. */
void worker_unwake(struct worker *w, struct wake *k);

/* Main thread: the worker's next request takes this generation.  0 or -ENOMEM. */
int worker_post_generation(struct worker *w, struct generation *g);
/* Main thread: stop listening, close resting connections, finish running requests; the gateway is told when none is left. */
void worker_post_drain(struct worker *w);
/* Main thread, after that: running requests end with an error, as soon as their clients have read it; once. */
void worker_post_cut_short(struct worker *w);

/* Any thread, before worker_stop() of either: what waits for `from` to accept it goes to `to`. */
void worker_relieve(struct worker *from, struct worker *to);

/* Any thread: connections open, at most a second ago. */
unsigned worker_connections(const struct worker *w);
#endif
