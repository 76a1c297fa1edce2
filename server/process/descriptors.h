/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors.h - how many clients the process's descriptors allow.
 *
 * A client with a request takes two, its own and one to an expert; some are kept for all else: the loops, Redis, the administrator, a
 * reload.  Who comes above that is told so (503), which takes one for a moment.  Main thread.
 */
#ifndef PM_DESCRIPTORS_H
#define PM_DESCRIPTORS_H

struct generation;

struct descriptors {
        unsigned limit;    /* of the process; UINT_MAX: none */
        unsigned kept;     /* for all else */
        unsigned clients;  /* of one worker, at most; at least 1 */
        unsigned away;     /* of one worker: clients above that, while they are told so */
};

/* Raises the soft limit to the hard one, as far as it may. */
void descriptors_raise(void);
/* What each of so many workers may have; before they start. */
struct descriptors descriptors_share(const struct generation *g, unsigned workers);
/* The number of clients that this configuration wants and will not get is in the log, with what would be right. */
void descriptors_say(const struct descriptors *d, const struct generation *g, unsigned workers);
#endif
