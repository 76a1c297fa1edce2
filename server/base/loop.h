/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one event loop: its libevent base, what is woken, its clock, and where its thread logs and counts.
 *
 * Each worker has one.  Everything here runs on its thread unless it says otherwise.
 */
#ifndef PM_LOOP_H
#define PM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "inbox.h"
#include "resolver.h"

struct event;
struct event_base;
struct log_buffer;
struct metrics_shard;

/* A function that the loop runs once, soon, outside of any library's callback.  Embed it in what it wakes. */
struct wake {
        struct wake *next, **pprev; /* on the loop's list; pprev is NULL when it is not */
        void (*fn)(void *arg);
        void *arg;
};

struct loop {
        unsigned id;                   /* of its worker, from 0 */
        struct event_base *base;
        struct resolver resolver;      /* of all names that its worker looks up */
        struct inbox inbox;
        struct arena_pool arenas;      /* blocks for requests */
        struct metrics_shard *metrics; /* written here, read by scrapes */
        struct log_buffer *log;
        int64_t turned_us, missed_us;  /* loop_clock()'s: when it was last asked, by now_us(); what it has left out */

        /* loop.c's own */
        struct wake *ready, **ready_last; /* woken, in order */
        struct event *run;
        struct wake mark;              /* the end of the pass that runs */
        unsigned passes;               /* of `run`, one after another, without a look at the sockets */
        int64_t passes_began_us;
        void (*after_run)(void *owner);
        void *owner;
};

/* Any thread, before the loop runs.  `owner` is what messages in its inbox are delivered to; after_run(owner), unless NULL, follows
 * each turn that ran what was woken.  0 or -ENOMEM; loop_finish() is due in either case. */
int loop_init(struct loop *l, unsigned id, void (*after_run)(void *owner), void *owner);
/* After its thread.  In two parts, since what the owner frees in between may look at the base; twice is fine. */
void loop_finish_inbox(struct loop *l);
void loop_finish(struct loop *l);

/* Puts a wake at the end of the list, if it is not on it already. */
void loop_wake(struct loop *l, struct wake *k);
/* Takes it off, if it is on it: before what it is embedded in is freed. */
void loop_unwake(struct loop *l, struct wake *k);
/* Runs what is woken until nothing is: when the loop itself has ended. */
void loop_run_woken(struct loop *l);

#define LOOP_TURN_US 1000000 /* a loop that turns asks its clock more often than that */

/*
 * The clock for the loop's own limits, from now_us(): it leaves out the time in which the loop did not turn although it should
 * have, since the process was stopped, the machine slept, or no core was to be had.  So what has come meanwhile is read before anybody
 * is judged by it.  It never goes back.
 */
static inline int64_t loop_clock(struct loop *l, int64_t now)
{
        int64_t gap = now - l->turned_us;

        if (__builtin_expect(gap > LOOP_TURN_US, 0) && l->turned_us)
                l->missed_us += gap - LOOP_TURN_US / 4;
        if (gap > 0)
                l->turned_us = now;
        return now - l->missed_us;
}
#endif
