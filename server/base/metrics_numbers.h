/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_numbers.h - how the numbers lie: between metrics.c, which counts, and metrics_write.c, which writes.
 */
#ifndef PM_METRICS_NUMBERS_H
#define PM_METRICS_NUMBERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics.h"

#define METRICS_NAMES 4096
#define METRICS_CHUNK 64

extern const int64_t metrics_time_bounds[METRICS_TIME_BOUNDS], metrics_token_bounds[METRICS_TOKEN_BOUNDS];

static inline uint64_t counter_get(const counter *c)
{
        return atomic_load_explicit(c, memory_order_relaxed);
}

struct metrics_shard {
        struct metrics_shard *next;
        _Atomic(counter *) named[METRICS_FAMILIES][METRICS_NAMES / METRICS_CHUNK];
        struct plain_numbers plain;
};

/* The sum of all shards at one time. */
struct metrics_totals {
        struct metrics_shard *sum;
        struct {
                size_t n;
                char **escaped; /* names as label values */
        } names[METRICS_FAMILIES];
};

int metrics_totals_init(struct metrics_totals *t); /* 0 or -ENOMEM; finish in any case */
void metrics_totals_finish(struct metrics_totals *t);
/* The numbers of the i-th name; zeros if there were none. */
const void *metrics_totals_of(const struct metrics_totals *t, enum metrics_family f, size_t i);
#endif
