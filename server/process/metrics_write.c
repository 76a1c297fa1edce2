/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers as Prometheus reads them (text format 0.0.4): one function a group of families, each of which is opened by its
 * HELP and TYPE lines once.
 */
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "log.h"
#include "metrics_numbers.h"
#include "redis.h"
#include "routing.h"

#include "base.h"

static const char *const api_names[METRICS_APIS] = {
        [METRICS_CHAT] = "chat", [METRICS_COMPLETIONS] = "completions", [METRICS_RESPONSES] = "responses",
        [METRICS_EMBEDDINGS] = "embeddings", [METRICS_ROUTE_API] = "route", [METRICS_RECOMMEND] = "recommend", [METRICS_FEEDBACK] = "feedback", [METRICS_OTHER] = "other",
};
static inline uint64_t get(const counter *c)
{
        return atomic_load_explicit(c, memory_order_relaxed);
}

static void family(struct evbuffer *out, const char *name, const char *type, const char *help)
{
        (void)evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct evbuffer *out, const char *name, const char *type, const char *help, double value)
{
        family(out, name, type, help);
        (void)evbuffer_add_printf(out, "%s %.15g\n", name, value);
}

/* Buckets up to each bound, then sum and count; `labels` without braces, may be empty. */
static void histogram(struct evbuffer *out, const char *name, const char *labels, const counter *buckets,
                      const int64_t *bounds, size_t n, double unit, uint64_t sum)
{
        const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
        uint64_t count = 0;

        for (size_t i = 0; i < n; i++) {
                count += get(&buckets[i]);
                (void)evbuffer_add_printf(out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", name, labels, comma,
                                          (double)bounds[i] * unit, count);
        }
        count += get(&buckets[n]);
        (void)evbuffer_add_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, count);
        (void)evbuffer_add_printf(out, "%s_sum%s%s%s %.15g\n", name, open, labels, close, (double)sum * unit);
        (void)evbuffer_add_printf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, count);
}

static void write_times(struct evbuffer *out, const char *name, const char *labels, const struct times *t)
{
        histogram(out, name, labels, t->buckets, metrics_time_bounds, METRICS_TIME_BOUNDS, 1e-6, get(&t->sum));
}

/* `key="name"`, heap; names may be long. */
static char *label(const char *key, const char *value)
{
        char *text;

        return asprintf(&text, "%s=\"%s\"", key, value) < 0 ? NULL : text;
}

static void write_requests(struct evbuffer *out, const struct metrics_totals *t)
{
        static const char *const steps[] = { [METRICS_ADMIT] = "step=\"admit\"", [METRICS_PARSE] = "step=\"parse\"",
                                             [METRICS_RECALL] = "step=\"recall\"",
                                             [METRICS_ROUTE_STEP] = "step=\"route\"", [METRICS_FORWARD] = "step=\"forward\"",
                                             [METRICS_RELAY] = "step=\"relay\"" };
        const struct plain_numbers *p = &t->sum->plain;

        family(out, "pointsman_requests_total", "counter", "Requests answered, by API and status.");
        for (int status = 0; status < METRICS_STATUSES; status++)
                for (int api = 0; api < METRICS_APIS; api++) {
                        uint64_t n = get(&p->requests[status][api]);

                        if (n)
                                (void)evbuffer_add_printf(out, "pointsman_requests_total{api=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                                                          api_names[api], status, n);
                }
        gauge(out, "pointsman_client_left_total", "counter", "Requests whose client disconnected before the end of the response.",
              (double)get(&p->client_left));
        gauge(out, "pointsman_streams_cut_total", "counter", "Responses cut off before their end.", (double)get(&p->stream_cut));
        family(out, "pointsman_no_progress_total", "counter", "Event-loop passes that made no progress and were aborted; each one is a bug in pointsman.");
        for (int i = 0; i < METRICS_LOOPS; i++)
                (void)evbuffer_add_printf(out, "pointsman_no_progress_total{loop=\"%s\"} %" PRIu64 "\n", metrics_loop_name((enum metrics_loop)i),
                                          get(&p->no_progress[i]));
        family(out, "pointsman_step_duration_seconds", "histogram", "Time spent in each step of a request.");
        for (size_t i = 0; i < LENGTH_OF(steps); i++)
                write_times(out, "pointsman_step_duration_seconds", steps[i], &p->times[i]);
        family(out, "pointsman_request_duration_seconds", "histogram", "Total time of a request.");
        write_times(out, "pointsman_request_duration_seconds", "", &p->times[METRICS_TOTAL]);
        family(out, "pointsman_overhead_seconds", "histogram", "Time that pointsman adds: the total time without the waits for experts and clients.");
        write_times(out, "pointsman_overhead_seconds", "", &p->times[METRICS_OVERHEAD]);
        family(out, "pointsman_first_token_seconds", "histogram", "Time to first token: from the arrival of the request to the first byte of its response.");
        write_times(out, "pointsman_first_token_seconds", "", &p->times[METRICS_FIRST_TOKEN]);
}

static void write_experts(struct evbuffer *out, const struct metrics_totals *t)
{
        const size_t n = t->names[METRICS_EXPERT].n;
        char **const label_of = t->names[METRICS_EXPERT].escaped;

        family(out, "pointsman_expert_attempts_total", "counter", "Upstream attempts, by expert and result.");
        for (size_t i = 0; i < n; i++) {
                const struct expert_numbers *e = metrics_totals_of(t, METRICS_EXPERT, i);

                for (int k = 0; k < METRICS_ATTEMPTS; k++)
                        (void)evbuffer_add_printf(out, "pointsman_expert_attempts_total{expert=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                                                  label_of[i], metrics_attempt_name((enum metrics_attempt)k), get(&e->attempts[k]));
        }
        family(out, "pointsman_expert_first_byte_seconds", "histogram", "Upstream time to first byte: from the start of the attempt to the first byte of the response.");
        for (size_t i = 0; i < n; i++) {
                CLEANUP(free_p) char *l = label("expert", label_of[i]);

                write_times(out, "pointsman_expert_first_byte_seconds", l ? l : "",
                            &((const struct expert_numbers *)metrics_totals_of(t, METRICS_EXPERT, i))->first);
        }
        family(out, "gen_ai_client_operation_duration_seconds", "histogram", "Total time of an upstream attempt.");
        for (size_t i = 0; i < n; i++) {
                CLEANUP(free_p) char *l = label("gen_ai_request_model", label_of[i]);

                write_times(out, "gen_ai_client_operation_duration_seconds", l ? l : "",
                            &((const struct expert_numbers *)metrics_totals_of(t, METRICS_EXPERT, i))->total);
        }
        family(out, "gen_ai_client_token_usage", "histogram", "Tokens per response, as the expert reports them.");
        for (size_t i = 0; i < n; i++) {
                const struct expert_numbers *e = metrics_totals_of(t, METRICS_EXPERT, i);

                for (int output = 0; output < 2; output++) {
                        const struct tokens *k = output ? &e->out : &e->in;
                        CLEANUP(free_p) char *l = NULL;

                        if (asprintf(&l, "gen_ai_request_model=\"%s\",gen_ai_token_type=\"%s\"", label_of[i],
                                     output ? "output" : "input") < 0)
                                l = NULL;
                        histogram(out, "gen_ai_client_token_usage", l ? l : "", k->buckets, metrics_token_bounds,
                                  METRICS_TOKEN_BOUNDS, 1, get(&k->sum));
                }
        }
        family(out, "pointsman_expert_tokens_total", "counter", "Tokens in total, as the expert reports them.");
        for (size_t i = 0; i < n; i++) {
                const struct expert_numbers *e = metrics_totals_of(t, METRICS_EXPERT, i);

                (void)evbuffer_add_printf(out, "pointsman_expert_tokens_total{expert=\"%s\",type=\"input\"} %" PRIu64 "\n"
                                               "pointsman_expert_tokens_total{expert=\"%s\",type=\"output\"} %" PRIu64 "\n",
                                          label_of[i], get(&e->in.sum), label_of[i], get(&e->out.sum));
        }
        family(out, "pointsman_expert_cost_usd_total", "counter", "Cost at the configured prices, in US dollars.");
        for (size_t i = 0; i < n; i++)
                (void)evbuffer_add_printf(out, "pointsman_expert_cost_usd_total{expert=\"%s\"} %.15g\n", label_of[i],
                                          (double)get(&((const struct expert_numbers *)metrics_totals_of(t, METRICS_EXPERT, i))->cost) *
                                                  1e-9);
}

static void write_routers(struct evbuffer *out, const struct metrics_totals *t)
{
        const size_t n = t->names[METRICS_ROUTER].n;
        char **const label_of = t->names[METRICS_ROUTER].escaped;

        family(out, "pointsman_router_decisions_total", "counter", "Routing decisions, by router and result.");
        for (size_t i = 0; i < n; i++) {
                const struct router_numbers *r = metrics_totals_of(t, METRICS_ROUTER, i);

                for (int k = 0; k < METRICS_DECISIONS; k++)
                        (void)evbuffer_add_printf(out, "pointsman_router_decisions_total{router=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                                                  label_of[i], metrics_decision_name((enum metrics_decision)k), get(&r->decisions[k]));
        }
        family(out, "pointsman_router_duration_seconds", "histogram", "Time that a router takes to decide.");
        for (size_t i = 0; i < n; i++) {
                CLEANUP(free_p) char *l = label("router", label_of[i]);

                write_times(out, "pointsman_router_duration_seconds", l ? l : "",
                            &((const struct router_numbers *)metrics_totals_of(t, METRICS_ROUTER, i))->time);
        }
        family(out, "pointsman_router_stalls_total", "counter", "Router steps that blocked a worker's event loop for more than 5 ms.");
        for (size_t i = 0; i < n; i++)
                (void)evbuffer_add_printf(out, "pointsman_router_stalls_total{router=\"%s\"} %" PRIu64 "\n", label_of[i],
                                          get(&((const struct router_numbers *)metrics_totals_of(t, METRICS_ROUTER, i))->stalls));
        family(out, "pointsman_router_calls_total", "counter", "Callouts of routers to experts, by where the reply came from; sent and later are background callouts.");
        for (size_t i = 0; i < n; i++) {
                const struct router_numbers *r = metrics_totals_of(t, METRICS_ROUTER, i);

                for (int k = 0; k < METRICS_CALLS; k++)
                        (void)evbuffer_add_printf(out, "pointsman_router_calls_total{router=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                                                  label_of[i], metrics_call_name((enum metrics_call)k), get(&r->calls[k]));
        }
        family(out, "pointsman_router_sent_failed_total", "counter", "Background callouts that failed.");
        for (size_t i = 0; i < n; i++)
                (void)evbuffer_add_printf(out, "pointsman_router_sent_failed_total{router=\"%s\"} %" PRIu64 "\n", label_of[i],
                                          get(&((const struct router_numbers *)metrics_totals_of(t, METRICS_ROUTER, i))->sent_failed));
}

static void write_routes_and_tenants(struct evbuffer *out, const struct metrics_totals *t)
{
        family(out, "pointsman_routes_total", "counter", "Routed requests, by route and by what decided.");
        for (size_t i = 0; i < t->names[METRICS_ROUTE].n; i++) {
                const struct route_numbers *r = metrics_totals_of(t, METRICS_ROUTE, i);

                for (int how = 0; how < METRICS_HOWS; how++)
                        if (how != DECISION_NAMED) /* then no route was asked */
                                (void)evbuffer_add_printf(out, "pointsman_routes_total{route=\"%s\",decision=\"%s\"} %" PRIu64 "\n",
                                                          t->names[METRICS_ROUTE].escaped[i], decision_how_name((enum decision_how)how),
                                                          get(&r->decided[how]));
        }
        family(out, "pointsman_tenant_requests_total", "counter", "Requests of a tenant: admitted, or refused because of its in_flight limit (429).");
        for (size_t i = 0; i < t->names[METRICS_TENANT].n; i++) {
                const struct tenant_numbers *r = metrics_totals_of(t, METRICS_TENANT, i);
                const char *name = t->names[METRICS_TENANT].escaped[i];

                (void)evbuffer_add_printf(out, "pointsman_tenant_requests_total{tenant=\"%s\",result=\"admitted\"} %" PRIu64 "\n"
                                               "pointsman_tenant_requests_total{tenant=\"%s\",result=\"refused\"} %" PRIu64 "\n",
                                          name, get(&r->admitted), name, get(&r->refused));
        }
}

static void write_caches(struct evbuffer *out, const struct metrics_totals *t, const struct metrics_gauges *g)
{
        static const char *const caches[METRICS_CACHES] = { [METRICS_CACHE_DECISIONS] = "decisions", [METRICS_CACHE_PINS] = "pins", [METRICS_CACHE_ANSWERS] = "answers",
                                                            [METRICS_CACHE_VECTORS] = "vectors", [METRICS_CACHE_REPLIES] = "replies" };
        static const char *const results[METRICS_RECALLS] = { [METRICS_RECALL_LOCAL] = "local", [METRICS_RECALL_SHARED] = "shared", [METRICS_RECALL_JOINED] = "joined",
                                                              [METRICS_RECALL_MISS] = "miss", [METRICS_RECALL_STALE] = "stale", [METRICS_RECALL_FOREIGN] = "foreign" };
        uint64_t entries[METRICS_CACHES], bytes[METRICS_CACHES], evicted[METRICS_CACHES];

        for (int c = 0; c < METRICS_CACHES; c++) {
                entries[c] = get(&t->sum->plain.caches[c].entries);
                bytes[c] = get(&t->sum->plain.caches[c].bytes);
                evicted[c] = get(&t->sum->plain.caches[c].evicted);
        }
        entries[METRICS_CACHE_PINS] = g->pins;
        bytes[METRICS_CACHE_PINS] = g->pin_bytes;
        evicted[METRICS_CACHE_PINS] = g->pins_evicted;
        family(out, "pointsman_cache_lookups_total", "counter", "Cache lookups by result: local and shared are hits in memory and in Redis, joined waited for another request's lookup (single-flight).");
        for (int c = 0; c < METRICS_CACHES; c++)
                for (int r = 0; r < METRICS_RECALLS; r++)
                        (void)evbuffer_add_printf(out, "pointsman_cache_lookups_total{cache=\"%s\",result=\"%s\"} %" PRIu64 "\n", caches[c],
                                                  results[r], get(&t->sum->plain.recalls[c][r]));
        family(out, "pointsman_cache_entries", "gauge", "Entries in the in-memory caches of all workers; callout replies count as vectors.");
        for (int c = 0; c < METRICS_CACHE_REPLIES; c++)
                (void)evbuffer_add_printf(out, "pointsman_cache_entries{cache=\"%s\"} %" PRIu64 "\n", caches[c], entries[c]);
        family(out, "pointsman_cache_bytes", "gauge", "Memory used by the in-memory caches.");
        for (int c = 0; c < METRICS_CACHE_REPLIES; c++)
                (void)evbuffer_add_printf(out, "pointsman_cache_bytes{cache=\"%s\"} %" PRIu64 "\n", caches[c], bytes[c]);
        family(out, "pointsman_cache_evictions_total", "counter", "Cache evictions: entries removed to make room for others.");
        for (int c = 0; c < METRICS_CACHE_REPLIES; c++)
                (void)evbuffer_add_printf(out, "pointsman_cache_evictions_total{cache=\"%s\"} %" PRIu64 "\n", caches[c], evicted[c]);
        family(out, "pointsman_cache_shared_seconds", "histogram", "Time that requests wait for Redis.");
        write_times(out, "pointsman_cache_shared_seconds", "", &t->sum->plain.times[METRICS_SHARED]);
}

static void write_redis(struct evbuffer *out, const struct redis_stats *s)
{
        const struct {
                const char *name;
                const counter *n;
        } results[] = { { "answered", &s->answered }, { "nil", &s->nil }, { "error", &s->errors }, { "late", &s->late }, { "lost", &s->lost },
                        { "refused", &s->refused }, { "busy", &s->busy } };

        family(out, "pointsman_redis_commands_total", "counter", "Redis commands, by result; refused (circuit breaker open) and busy (too many pending) ones were not sent.");
        for (size_t i = 0; i < LENGTH_OF(results); i++)
                (void)evbuffer_add_printf(out, "pointsman_redis_commands_total{result=\"%s\"} %" PRIu64 "\n", results[i].name, get(results[i].n));
        gauge(out, "pointsman_redis_up", "gauge", "Workers with a working Redis connection.", (double)atomic_load_explicit(&s->up, memory_order_relaxed));
        gauge(out, "pointsman_redis_connects_total", "counter", "Redis connections established, handshake included.", (double)get(&s->connects));
        gauge(out, "pointsman_redis_breaker_openings_total", "counter", "Times that the circuit breaker for Redis opened.", (double)get(&s->openings));
        gauge(out, "pointsman_redis_redirects_total", "counter", "Commands redirected by a Redis Cluster (MOVED or ASK).", (double)get(&s->redirects));
        gauge(out, "pointsman_redis_failovers_total", "counter", "Redis failovers: the master changed.", (double)get(&s->failovers));
        gauge(out, "pointsman_redis_oversized_total", "counter", "Redis replies that exceeded cache.redis.reply.", (double)get(&s->oversized));
}

static size_t read_small(const char *path, char *out, size_t size)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

        out[n < 0 ? 0 : n] = '\0';
        return n < 0 ? 0 : (size_t)n;
}

/* Seconds since 1970, from the kernel's notion of when this process began. */
static double start_time(void)
{
        char text[1024], *p;
        struct timespec boot, now;
        double ticks = 0;

        if (!read_small("/proc/self/stat", text, sizeof text) || !(p = strrchr(text, ')')))
                return 0;
        for (int field = 2; field < 22; field++) { /* the 22nd is the start, in ticks since boot */
                p = strchr(p, ' ');
                if (!p)
                        return 0;
                p++;
        }
        ticks = strtod(p, NULL);
        (void)clock_gettime(CLOCK_BOOTTIME, &boot);
        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (double)now.tv_sec - (double)boot.tv_sec + ((double)now.tv_nsec - (double)boot.tv_nsec) * 1e-9 +
               ticks / (double)sysconf(_SC_CLK_TCK);
}

static void write_process(struct evbuffer *out)
{
        struct timespec cpu;
        char text[256], *p = text;
        double pages[3] = { 0 }; /* all, resident, shared with a file or others */
        const double page = (double)sysconf(_SC_PAGESIZE);

        (void)read_small("/proc/self/statm", text, sizeof text);
        for (size_t i = 0; i < LENGTH_OF(pages); i++)
                pages[i] = strtod(p, &p);
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        gauge(out, "process_resident_memory_bytes", "gauge", "Resident memory.", pages[1] * page);
        gauge(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", pages[0] * page);
        gauge(out, "pointsman_memory_private_bytes", "gauge", "Private resident memory: not backed by a file and not shared.",
              (pages[1] - pages[2]) * page);
        gauge(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
              (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
        gauge(out, "process_start_time_seconds", "gauge", "Start time of the process since the Unix epoch, in seconds.", start_time());
}

void metrics_write(struct evbuffer *out, const struct metrics_gauges *g)
{
        struct metrics_totals t;

        if (metrics_totals_init(&t) == 0) {
                write_requests(out, &t);
                write_experts(out, &t);
                write_routers(out, &t);
                write_routes_and_tenants(out, &t);
                write_caches(out, &t, g);
        }
        if (g->redis)
                write_redis(out, g->redis);
        metrics_totals_finish(&t);
        gauge(out, "pointsman_in_flight", "gauge", "Requests in flight.", g->in_flight);
        gauge(out, "pointsman_request_memory_bytes", "gauge", "Memory that requests hold, counted against limits.memory: bodies, parsed queries and buffered responses.",
              (double)g->memory);
        gauge(out, "pointsman_connections", "gauge", "Open client connections.", g->connections);
        gauge(out, "pointsman_workers", "gauge", "Worker threads, each with an event loop.", g->workers);
        gauge(out, "pointsman_workers_hanging", "gauge", "Workers whose event loop has been blocked for more than one second.", g->hanging);
        gauge(out, "pointsman_pool_waiting", "gauge", "Jobs in the queue of the CPU thread pool.", (double)g->pool_waiting);
        gauge(out, "pointsman_generation", "gauge", "Number of the active configuration (generation).", (double)g->generation);
        gauge(out, "pointsman_reloads_total", "counter", "Successful configuration reloads.", (double)g->reloads);
        gauge(out, "pointsman_reload_failures_total", "counter", "Failed configuration reloads; the old configuration stayed active.", (double)g->reload_failures);
        gauge(out, "pointsman_log_lines_dropped_total", "counter", "Log lines dropped because standard error was slow or closed.",
              (double)log_dropped());
        family(out, "pointsman_build_info", "gauge", "Version of pointsman, as a label.");
        (void)evbuffer_add_printf(out, "pointsman_build_info{version=\"%s\"} 1\n", PM_VERSION);
        write_process(out);
}
