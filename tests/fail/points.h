/* SPDX-License-Identifier: Apache-2.0 */
/*
 * points.h - an allocator that fails where it is told to.
 *
 * Every malloc(), calloc(), realloc() and posix_memalign() of the process between points_arm() and points_disarm() is a point, whoever
 * makes it (ours, libevent, OpenSSL, libcurl, Jansson, hiredis, a router), but for threads that called points_exempt().
 */
#ifndef TESTS_FAIL_POINTS_H
#define TESTS_FAIL_POINTS_H

#include <stdbool.h>
#include <stddef.h>

enum { POINTS_FRAMES = 40 };

struct points_failure {
        void *frames[POINTS_FRAMES]; /* who asked */
        int n;
        bool hit;                    /* there was an n-th call */
        bool passed;                 /* a library that would not survive it: it got its memory */
};

/* The calling thread is a client, or a test. */
void points_exempt(bool yes);
/* The requests are for libevent's HTTP server, with its own faults. */
void points_evhttp(void);
/* The n-th call from now on fails, and with `on` all that come after it; n 0: none does.  *ret is
 * written at once, even if the process does not survive it. */
void points_arm(unsigned long n, bool on, struct points_failure *ret);
/* How many calls there were. */
unsigned long points_disarm(void);
/* Notes all blocks that are made from now on; with `trace` who makes them, which costs time. */
void points_track(bool trace);
/* How many of them are live and nobody points at, but for what libraries are known to lose if it is known who made them; with `show`, each, to
 * standard error.  At the end, on the main thread. */
size_t points_lost(bool show);
/* A stack, by names, to standard error. */
void points_show(void *const *frames, int n);
#endif
