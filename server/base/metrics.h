/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - counters and histograms, one shard a worker, summed when someone scrapes.
 *
 * A shard is written by its worker alone with relaxed atomic stores and read by any thread.  Series with a name (experts,
 * routers, routes, tenants) are interned on the main thread while a generation is built, live as long as the process and keep
 * their numbers over reloads.
 */
#ifndef PM_METRICS_H
#define PM_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "metrics_table.h"

struct evbuffer;
struct metrics_shard;
struct redis_stats;

#define V(name, value) name,
enum metrics_api { METRICS_API_VALUES(V) METRICS_APIS };
enum metrics_step { METRICS_STEP_VALUES(V) METRICS_STEPS };
enum metrics_loop { METRICS_LOOP_VALUES(V) METRICS_LOOPS };
enum metrics_attempt { METRICS_ATTEMPT_VALUES(V) METRICS_ATTEMPTS };
enum metrics_direction { METRICS_DIRECTION_VALUES(V) METRICS_DIRECTIONS };
enum metrics_decision { METRICS_DECISION_VALUES(V) METRICS_DECISIONS };
enum metrics_call { METRICS_CALL_VALUES(V) METRICS_CALLS };
enum metrics_tenant { METRICS_TENANT_VALUES(V) METRICS_TENANT_RESULTS };
enum metrics_cache { METRICS_CACHE_VALUES(V) METRICS_CACHES };
enum metrics_recall { METRICS_RECALL_VALUES(V) METRICS_RECALLS };
#undef V
enum { METRICS_HOWS = 6 };      /* of routing.h's enum decision_how, which asserts it */
enum { METRICS_STATUSES = 600 }; /* 0: anything out of range */

#define METRICS_TIME_BOUNDS 24 /* log-spaced: 10 us .. 600 s */
#define METRICS_TOKEN_BOUNDS 11

typedef _Atomic uint64_t counter;

/* Only counters inside, so that shards can be added up without knowing what they mean. */
struct times {
        counter buckets[METRICS_TIME_BOUNDS + 1], sum; /* microseconds */
};

struct tokens {
        counter buckets[METRICS_TOKEN_BOUNDS + 1], sum;
};

#define METRICS_HOLDS_counter counter
#define METRICS_HOLDS_nanos counter
#define METRICS_HOLDS_times struct times
#define METRICS_HOLDS_tokens struct tokens
#define X(slot, holds, values, ...) METRICS_HOLDS_##holds slot values;
#define VIEW(...)
struct plain_numbers { METRICS_PLAIN_TABLE(X) METRICS_CACHE_TABLE(X) };
struct expert_numbers { METRICS_EXPERT_TABLE(X, VIEW) };
struct router_numbers { METRICS_ROUTER_TABLE(X) };
struct route_numbers { METRICS_ROUTE_TABLE(X) };
struct tenant_numbers { METRICS_TENANT_TABLE(X) };
#undef VIEW
#undef X

/* Where a slot of the table lies: METRICS_AT(router, calls[ROUTER_CALL_SENT]). */
#define METRICS_AT(owner, slot) (offsetof(struct owner##_numbers, slot) / sizeof(counter))

/* Whose numbers: `plain` ones have no name, so that they have no index either. */
enum metrics_family { METRICS_EXPERT, METRICS_ROUTER, METRICS_ROUTE, METRICS_TENANT, METRICS_FAMILIES };

/* Main thread.  The index of a name in its family: small, stable, shared by equal names; -ENOSPC above 4096 names. */
int metrics_intern(enum metrics_family family, const char *name);

struct metrics_shard *metrics_shard_create(void); /* known to metrics_write() from now on */
void metrics_shard_destroy(struct metrics_shard *s); /* its numbers are kept in the totals */

/* Adds one to a counter, or a duration to a histogram, of plain numbers. */
void metrics_count(struct metrics_shard *s, size_t at);
void metrics_time(struct metrics_shard *s, size_t at, int64_t us);
/* Adds one to a counter of a name; below 0 (an error of metrics_intern()) there is nowhere to count. */
void metrics_count_of(struct metrics_shard *s, enum metrics_family family, int index, size_t at);

void metrics_request(struct metrics_shard *s, enum metrics_api api, int status);
void metrics_attempt(struct metrics_shard *s, int expert, enum metrics_attempt end, int64_t first_us, int64_t total_us);
void metrics_tokens(struct metrics_shard *s, int expert, int64_t in, int64_t out, double usd);
void metrics_router(struct metrics_shard *s, int router, enum metrics_decision end, int64_t us);
/* Entries and bytes in this worker's cache now; evictions since the start. */
void metrics_cache_size(struct metrics_shard *s, enum metrics_cache which, uint64_t entries, uint64_t bytes, uint64_t evicted);

/* Any thread: counters [at, at + n) of a name, summed over all shards, for the administrator's view. */
void metrics_sum(enum metrics_family family, int index, size_t at, size_t n, uint64_t *out);
extern const char *const metrics_loops[], *const metrics_attempts[], *const metrics_decisions[];

/* Gauges that others own: called on the scraping thread while writing. */
struct metrics_gauges {
#define X(type, slot, ...) type slot;
        METRICS_GAUGE_TABLE(X)
#undef X
        uint64_t pins, pin_bytes, pins_evicted;
        const struct redis_stats *redis; /* NULL: none is configured */
};
/* Prometheus text format 0.0.4, all families, with process memory (resident, private) and start time.  Any thread.
 * 0, or -ENOMEM: something is missing. */
int metrics_write(struct evbuffer *out, const struct metrics_gauges *g);
#endif
