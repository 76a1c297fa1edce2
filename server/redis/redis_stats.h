/* SPDX-License-Identifier: Apache-2.0 */
/* redis_stats.h - what is counted of Redis. */
#ifndef PM_REDIS_STATS_H
#define PM_REDIS_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/* Relaxed counters, for any thread to read; several redis may share one. */
struct redis_stats {
        _Atomic uint64_t answered, nil, errors, late, lost; /* commands, by result */
        _Atomic uint64_t refused, busy;      /* not sent: -EAGAIN, -EBUSY */
        _Atomic uint64_t connects, openings; /* connections that became useful; breakers opened */
        _Atomic uint64_t redirects;          /* MOVED, ASK, TRYAGAIN followed */
        _Atomic uint64_t failovers;          /* Sentinel: another master; Cluster: slots that came to another node's care */
        _Atomic uint64_t ignored;            /* replies that came after their call was late or cancelled */
        _Atomic uint64_t oversized;          /* replies above reply_max */
        _Atomic int64_t up;                  /* how many of the redis that write here are ready */
};
#endif
