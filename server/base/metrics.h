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

struct evbuffer;
struct metrics_shard;
struct redis_stats;

enum metrics_family { METRICS_EXPERT, METRICS_ROUTER, METRICS_ROUTE, METRICS_TENANT, METRICS_FAMILIES };

/* Main thread.  The index of a name in its family: small, stable, shared by equal names; -ENOSPC above 4096 names. */
int metrics_intern(enum metrics_family family, const char *name);

struct metrics_shard *metrics_shard_create(void); /* known to metrics_write() from now on */
void metrics_shard_destroy(struct metrics_shard *s); /* its numbers are kept in the totals */

/* The durations that are kept as histograms, in microseconds (log-spaced buckets 10 us .. 600 s). */
enum metrics_time {
        METRICS_ADMIT, METRICS_PARSE, METRICS_RECALL, METRICS_ROUTE_STEP, METRICS_FORWARD, METRICS_RELAY, /* steps */
        METRICS_TOTAL,       /* whole request */
        METRICS_OVERHEAD,    /* total less the time spent waiting for experts and the client */
        METRICS_FIRST_TOKEN, /* request's arrival to the first byte of the answer */
        METRICS_SHARED,      /* waiting for Redis */
        METRICS_TIMES
};
void metrics_time(struct metrics_shard *s, enum metrics_time which, int64_t us);

/* Ends of requests by status and API ("chat", "completions", "responses", "embeddings", "route", "recommend", "feedback", "other"). */
enum metrics_api { METRICS_CHAT, METRICS_COMPLETIONS, METRICS_RESPONSES, METRICS_EMBEDDINGS, METRICS_ROUTE_API, METRICS_RECOMMEND, METRICS_FEEDBACK, METRICS_OTHER, METRICS_APIS };
void metrics_request(struct metrics_shard *s, enum metrics_api api, int status);
void metrics_client_left(struct metrics_shard *s);
/* Loops that must make progress in each round: progress.h. */
enum metrics_loop { LOOP_STEPS, LOOP_STREAM, LOOP_CONNECTION, METRICS_LOOPS };
const char *metrics_loop_name(enum metrics_loop loop);
void metrics_no_progress(struct metrics_shard *s, enum metrics_loop loop);
void metrics_stream_cut(struct metrics_shard *s); /* an answer that did not reach its end */

/* One attempt at an expert. */
enum metrics_attempt { ATTEMPT_OK, ATTEMPT_CONNECT, ATTEMPT_TIMEOUT, ATTEMPT_RESET, ATTEMPT_STATUS_4XX, ATTEMPT_STATUS_429, ATTEMPT_STATUS_5XX, ATTEMPT_CUT, ATTEMPT_CANCELLED, METRICS_ATTEMPTS };
void metrics_attempt(struct metrics_shard *s, int expert, enum metrics_attempt end, int64_t first_us, int64_t total_us);
void metrics_tokens(struct metrics_shard *s, int expert, int64_t in, int64_t out, double usd);

/* One router's answer to one query. */
enum metrics_decision { ROUTER_DECIDED, ROUTER_PASSED, ROUTER_FAILED, ROUTER_BROKEN, ROUTER_DEADLINE, ROUTER_CANCELLED, ROUTER_REJECTED, METRICS_DECISIONS };
void metrics_router(struct metrics_shard *s, int router, enum metrics_decision end, int64_t us);
void metrics_stall(struct metrics_shard *s, int router); /* a step above 5 ms */
/* One call of a router (pm_call): where its reply came from, or why it has none. */
enum metrics_call {
        ROUTER_CALL_LOCAL, ROUTER_CALL_SHARED,
        ROUTER_CALL_JOINED,    /* another query's */
        ROUTER_CALL_ASKED, ROUTER_CALL_FAILED,
        ROUTER_CALL_SENT,      /* in the background: the callout has begun */
        ROUTER_CALL_LATER,     /* in the background: one is already in flight */
        ROUTER_CALL_BUSY,      /* too many background callouts in flight */
        ROUTER_CALL_CANCELLED,
        METRICS_CALLS
};
void metrics_router_call(struct metrics_shard *s, int router, enum metrics_call how);
void metrics_router_sent_failed(struct metrics_shard *s, int router); /* of those in the background */
/* Who decided: the numbers of routing.h's enum decision_how, which asserts that they are as many. */
enum { METRICS_HOWS = 6 };
void metrics_route(struct metrics_shard *s, int route, int how);
void metrics_tenant(struct metrics_shard *s, int tenant, int refused);

/* Cache lookups, by cache and result. */
enum metrics_cache {
        METRICS_CACHE_DECISIONS, METRICS_CACHE_PINS, METRICS_CACHE_ANSWERS, METRICS_CACHE_VECTORS,
        METRICS_CACHE_REPLIES, /* to routers; they lie among the vectors */
        METRICS_CACHES
};
enum metrics_recall {
        METRICS_RECALL_LOCAL, METRICS_RECALL_SHARED,
        METRICS_RECALL_JOINED,  /* another request was computing it (single-flight) */
        METRICS_RECALL_MISS,
        METRICS_RECALL_STALE,   /* expired, or its expert cannot be used now */
        METRICS_RECALL_FOREIGN, /* of another version or key, or corrupt */
        METRICS_RECALLS
};
void metrics_recall(struct metrics_shard *s, enum metrics_cache which, enum metrics_recall how);
/* Entries and bytes in this worker's cache now; evictions since the start. */
void metrics_cache_size(struct metrics_shard *s, enum metrics_cache which, uint64_t entries, uint64_t bytes, uint64_t evicted);

/* Any thread: sums over all shards, for the administrator's view. */
void metrics_expert_attempts(int expert, uint64_t out[METRICS_ATTEMPTS]);
void metrics_router_decisions(int router, uint64_t out[METRICS_DECISIONS]);
void metrics_router_calls(int router, uint64_t out[METRICS_CALLS]);
const char *metrics_attempt_name(enum metrics_attempt end);
const char *metrics_decision_name(enum metrics_decision end);
const char *metrics_call_name(enum metrics_call how);

/* Gauges that others own: called on the scraping thread while writing. */
struct metrics_gauges {
        unsigned workers, hanging, connections, in_flight;
        size_t pool_waiting;
        int64_t memory; /* of requests */
        uint64_t generation, reloads, reload_failures;
        uint64_t pins, pin_bytes, pins_evicted;
        const struct redis_stats *redis; /* NULL: none is configured */
};
/* Prometheus text format 0.0.4, all families, with process memory (resident, private) and start time.  Any thread. */
void metrics_write(struct evbuffer *out, const struct metrics_gauges *g);
#endif
