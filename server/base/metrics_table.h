/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_table.h - every metric, one row each, in the order of a scrape.  The rows are the fields that count (metrics.h,
 * metrics_numbers.h) and what metrics_write.c writes.
 *
 *   X(slot, holds, [values], name, type, own label, HELP, BY(...))
 *
 * `holds` is counter, nanos (a counter that is written as units), times or tokens (histograms).  [values] has one dimension for
 * each label in BY(), whose values are a list below; NONE: it has no such label.  The own label is that of the expert, router,
 * route or tenant.  A VIEW shows slots that are declared elsewhere.  A new metric is a row here, and a metrics_count(),
 * metrics_count_of() or metrics_time() where it happens.
 */
#ifndef PM_METRICS_TABLE_H
#define PM_METRICS_TABLE_H

/* ---- values of labels: V(enumerator, value) --------------------------------------------------------------------------------- */
#define METRICS_API_VALUES(V)                                                                                          \
        V(METRICS_CHAT, "chat") V(METRICS_COMPLETIONS, "completions") V(METRICS_RESPONSES, "responses")                \
        V(METRICS_EMBEDDINGS, "embeddings") V(METRICS_ROUTE_API, "route") V(METRICS_RECOMMEND, "recommend")            \
        V(METRICS_FEEDBACK, "feedback") V(METRICS_OTHER, "other")

/* Steps of a request whose time is kept. */
#define METRICS_STEP_VALUES(V)                                                                                         \
        V(METRICS_ADMIT, "admit") V(METRICS_PARSE, "parse") V(METRICS_RECALL, "recall") V(METRICS_ROUTE_STEP, "route") \
        V(METRICS_FORWARD, "forward") V(METRICS_RELAY, "relay")

/* Loops that must make progress in each round: progress.h. */
#define METRICS_LOOP_VALUES(V) V(LOOP_STEPS, "steps") V(LOOP_STREAM, "stream") V(LOOP_CONNECTION, "connection")

/* One attempt at an expert. */
#define METRICS_ATTEMPT_VALUES(V)                                                                                      \
        V(ATTEMPT_OK, "ok") V(ATTEMPT_CONNECT, "connect") V(ATTEMPT_TIMEOUT, "timeout") V(ATTEMPT_RESET, "reset")      \
        V(ATTEMPT_STATUS_4XX, "4xx") V(ATTEMPT_STATUS_429, "429") V(ATTEMPT_STATUS_5XX, "5xx") V(ATTEMPT_CUT, "cut")   \
        V(ATTEMPT_CANCELLED, "cancelled")

#define METRICS_DIRECTION_VALUES(V) V(TOKENS_IN, "input") V(TOKENS_OUT, "output")

/* One router's answer to one query. */
#define METRICS_DECISION_VALUES(V)                                                                                     \
        V(ROUTER_DECIDED, "decided") V(ROUTER_PASSED, "passed") V(ROUTER_FAILED, "failed") V(ROUTER_BROKEN, "broken")  \
        V(ROUTER_DEADLINE, "deadline") V(ROUTER_CANCELLED, "cancelled") V(ROUTER_REJECTED, "rejected")

/*
 * One call of a router (pm_call): where its reply came from, or why it has none.  JOINED: another query's.  In the background: SENT, it
 * has begun; LATER, one is already in flight; BUSY, too many are.
 */
#define METRICS_CALL_VALUES(V)                                                                                         \
        V(ROUTER_CALL_LOCAL, "local") V(ROUTER_CALL_SHARED, "shared") V(ROUTER_CALL_JOINED, "joined")                  \
        V(ROUTER_CALL_ASKED, "asked") V(ROUTER_CALL_FAILED, "failed") V(ROUTER_CALL_SENT, "sent")                      \
        V(ROUTER_CALL_LATER, "later") V(ROUTER_CALL_BUSY, "busy") V(ROUTER_CALL_CANCELLED, "cancelled")

#define METRICS_TENANT_VALUES(V) V(TENANT_ADMITTED, "admitted") V(TENANT_REFUSED, "refused")

/* REPLIES, to routers, lie among the vectors: they have lookups of their own, but no entries. */
#define METRICS_CACHE_VALUES(V)                                                                                        \
        V(METRICS_CACHE_DECISIONS, "decisions") V(METRICS_CACHE_PINS, "pins") V(METRICS_CACHE_ANSWERS, "answers")      \
        V(METRICS_CACHE_VECTORS, "vectors") V(METRICS_CACHE_REPLIES, "replies")

/* JOINED: another request was computing it (single-flight).  STALE: expired, or its expert cannot be used now.  FOREIGN: of another
 * version or key, or corrupt. */
#define METRICS_RECALL_VALUES(V)                                                                                       \
        V(METRICS_RECALL_LOCAL, "local") V(METRICS_RECALL_SHARED, "shared") V(METRICS_RECALL_JOINED, "joined")         \
        V(METRICS_RECALL_MISS, "miss") V(METRICS_RECALL_STALE, "stale") V(METRICS_RECALL_FOREIGN, "foreign")

/* ---- what a worker counts ----------------------------------------------------------------------------------------------------- */
#define METRICS_PLAIN_TABLE(X)                                                                                         \
        X(requests, counter, [METRICS_STATUSES][METRICS_APIS], "pointsman_requests_total", "counter", NULL,            \
          "Requests answered, by API and status.", BY_NUMBER("api", api, "status", METRICS_STATUSES))                  \
        X(client_left, counter, [1], "pointsman_client_left_total", "counter", NULL,                                   \
          "Requests whose client disconnected before the end of the response.", NONE)                                  \
        X(stream_cut, counter, [1], "pointsman_streams_cut_total", "counter", NULL,                                    \
          "Responses cut off before their end.", NONE)                                                                 \
        X(no_progress, counter, [METRICS_LOOPS], "pointsman_no_progress_total", "counter", NULL,                       \
          "Event-loop passes that made no progress and were aborted; each one is a bug in pointsman.", BY("loop", loop)) \
        X(steps, times, [METRICS_STEPS], "pointsman_step_duration_seconds", "histogram", NULL,                         \
          "Time spent in each step of a request.", BY("step", step))                                                   \
        X(total, times, [1], "pointsman_request_duration_seconds", "histogram", NULL, "Total time of a request.", NONE) \
        X(overhead, times, [1], "pointsman_overhead_seconds", "histogram", NULL,                                       \
          "Time that pointsman adds: the total time without the waits for experts and clients.", NONE)                 \
        X(first_token, times, [1], "pointsman_first_token_seconds", "histogram", NULL,                                 \
          "Time to first token: from the arrival of the request to the first byte of its response.", NONE)

#define METRICS_EXPERT_TABLE(X, VIEW)                                                                                  \
        X(attempts, counter, [METRICS_ATTEMPTS], "pointsman_expert_attempts_total", "counter", "expert",               \
          "Upstream attempts, by expert and result.", BY("result", attempt))                                           \
        X(first, times, [1], "pointsman_expert_first_byte_seconds", "histogram", "expert",                             \
          "Upstream time to first byte: from the start of the attempt to the first byte of the response.", NONE)       \
        X(duration, times, [1], "gen_ai_client_operation_duration_seconds", "histogram", "gen_ai_request_model",       \
          "Total time of an upstream attempt.", NONE)                                                                  \
        X(tokens, tokens, [METRICS_DIRECTIONS], "gen_ai_client_token_usage", "histogram", "gen_ai_request_model",      \
          "Tokens per response, as the expert reports them.", BY("gen_ai_token_type", direction))                      \
        VIEW(tokens[0].sum, tokens, "pointsman_expert_tokens_total", "counter", "expert",                              \
             "Tokens in total, as the expert reports them.", BY("type", direction))                                    \
        X(cost, nanos, [1], "pointsman_expert_cost_usd_total", "counter", "expert",                                    \
          "Cost at the configured prices, in US dollars.", NONE)

#define METRICS_ROUTER_TABLE(X)                                                                                        \
        X(decisions, counter, [METRICS_DECISIONS], "pointsman_router_decisions_total", "counter", "router",            \
          "Routing decisions, by router and result.", BY("result", decision))                                          \
        X(duration, times, [1], "pointsman_router_duration_seconds", "histogram", "router",                            \
          "Time that a router takes to decide.", NONE)                                                                 \
        X(stalls, counter, [1], "pointsman_router_stalls_total", "counter", "router",                                  \
          "Router steps that blocked a worker's event loop for more than 5 ms.", NONE)                                 \
        X(calls, counter, [METRICS_CALLS], "pointsman_router_calls_total", "counter", "router",                        \
          "Callouts of routers to experts, by where the reply came from; sent and later are background callouts.", BY("result", call)) \
        X(sent_failed, counter, [1], "pointsman_router_sent_failed_total", "counter", "router",                        \
          "Background callouts that failed.", NONE)

/* Who decided: the values are routing.h's enum decision_how. */
#define METRICS_ROUTE_TABLE(X)                                                                                         \
        X(decided, counter, [METRICS_HOWS], "pointsman_routes_total", "counter", "route",                              \
          "Routed requests, by route and by what decided.", BY("decision", how))

#define METRICS_TENANT_TABLE(X)                                                                                        \
        X(requests, counter, [METRICS_TENANT_RESULTS], "pointsman_tenant_requests_total", "counter", "tenant",         \
          "Requests of a tenant: admitted, or refused because of its in_flight limit (429).", BY("result", tenant))

#define METRICS_CACHE_TABLE(X)                                                                                         \
        X(lookups, counter, [METRICS_CACHES][METRICS_RECALLS], "pointsman_cache_lookups_total", "counter", NULL,       \
          "Cache lookups by result: local and shared are hits in memory and in Redis, joined waited for another request's lookup (single-flight).", BY2("cache", cache, "result", recall)) \
        X(entries, counter, [METRICS_CACHE_REPLIES], "pointsman_cache_entries", "gauge", NULL,                         \
          "Entries in the in-memory caches of all workers; callout replies count as vectors.", BY_FIRST(METRICS_CACHE_REPLIES, "cache", cache)) \
        X(bytes, counter, [METRICS_CACHE_REPLIES], "pointsman_cache_bytes", "gauge", NULL,                             \
          "Memory used by the in-memory caches.", BY_FIRST(METRICS_CACHE_REPLIES, "cache", cache))                     \
        X(evicted, counter, [METRICS_CACHE_REPLIES], "pointsman_cache_evictions_total", "counter", NULL,               \
          "Cache evictions: entries removed to make room for others.", BY_FIRST(METRICS_CACHE_REPLIES, "cache", cache)) \
        X(shared, times, [1], "pointsman_cache_shared_seconds", "histogram", NULL,                                     \
          "Time that requests wait for Redis.", NONE)

/* The slots are struct redis_stats' (redis.h). */
#define METRICS_REDIS_TABLE(VIEW)                                                                                      \
        VIEW(answered, counter, "pointsman_redis_commands_total", "counter", NULL,                                     \
             "Redis commands, by result; refused (circuit breaker open) and busy (too many pending) ones were not sent.", BY("result", redis)) \
        VIEW(up, counter, "pointsman_redis_up", "gauge", NULL, "Workers with a working Redis connection.", NONE)       \
        VIEW(connects, counter, "pointsman_redis_connects_total", "counter", NULL,                                     \
             "Redis connections established, handshake included.", NONE)                                               \
        VIEW(openings, counter, "pointsman_redis_breaker_openings_total", "counter", NULL,                             \
             "Times that the circuit breaker for Redis opened.", NONE)                                                 \
        VIEW(redirects, counter, "pointsman_redis_redirects_total", "counter", NULL,                                   \
             "Commands redirected by a Redis Cluster (MOVED or ASK).", NONE)                                           \
        VIEW(failovers, counter, "pointsman_redis_failovers_total", "counter", NULL,                                   \
             "Redis failovers: the master changed.", NONE)                                                             \
        VIEW(oversized, counter, "pointsman_redis_oversized_total", "counter", NULL,                                   \
             "Redis replies that exceeded cache.redis.reply.", NONE)

/* ---- gauges, which gateway_gauges() fills: X(type of the field, field, name, type, HELP) ---------------------------------------- */
#define METRICS_GAUGE_TABLE(X)                                                                                         \
        X(unsigned, in_flight, "pointsman_in_flight", "gauge", "Requests in flight.")                                  \
        X(int64_t, memory, "pointsman_request_memory_bytes", "gauge",                                                  \
          "Memory that requests hold, counted against limits.memory: bodies, parsed queries and buffered responses.")  \
        X(unsigned, connections, "pointsman_connections", "gauge", "Open client connections.")                         \
        X(unsigned, workers, "pointsman_workers", "gauge", "Worker threads, each with an event loop.")                 \
        X(unsigned, hanging, "pointsman_workers_hanging", "gauge",                                                     \
          "Workers whose event loop has been blocked for more than one second.")                                       \
        X(size_t, pool_waiting, "pointsman_pool_waiting", "gauge", "Jobs in the queue of the CPU thread pool.")        \
        X(uint64_t, generation, "pointsman_generation", "gauge", "Number of the active configuration (generation).")   \
        X(uint64_t, reloads, "pointsman_reloads_total", "counter", "Successful configuration reloads.")                \
        X(uint64_t, reload_failures, "pointsman_reload_failures_total", "counter",                                     \
          "Failed configuration reloads; the old configuration stayed active.")                                        \
        X(uint64_t, log_dropped, "pointsman_log_lines_dropped_total", "counter",                                       \
          "Log lines dropped because standard error was slow or closed.")

/* What the kernel says of the process. */
#define METRICS_PROCESS_TABLE(X)                                                                                       \
        X(double, resident, "process_resident_memory_bytes", "gauge", "Resident memory.")                              \
        X(double, all, "process_virtual_memory_bytes", "gauge", "Virtual memory.")                                     \
        X(double, own, "pointsman_memory_private_bytes", "gauge",                                                      \
          "Private resident memory: not backed by a file and not shared.")                                             \
        X(double, cpu_s, "process_cpu_seconds_total", "counter", "CPU time, user and system.")                         \
        X(double, started_s, "process_start_time_seconds", "gauge",                                                    \
          "Start time of the process since the Unix epoch, in seconds.")
#endif
