/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers as Prometheus reads them (text format 0.0.4): metrics_table.h, row by row.  HELP and TYPE open each family once.
 */
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "log.h"
#include "metrics_numbers.h"
#include "redis_stats.h"
#include "routing.h"

#include "base.h"

/* ---- values of labels ---------------------------------------------------------------------------------------------------- */
#define V(name, value) value,
static const char *const api_values[] = { METRICS_API_VALUES(V) }, *const step_values[] = { METRICS_STEP_VALUES(V) },
                  *const loop_values[] = { METRICS_LOOP_VALUES(V) }, *const attempt_values[] = { METRICS_ATTEMPT_VALUES(V) },
                  *const direction_values[] = { METRICS_DIRECTION_VALUES(V) }, *const decision_values[] = { METRICS_DECISION_VALUES(V) },
                  *const call_values[] = { METRICS_CALL_VALUES(V) }, *const tenant_values[] = { METRICS_TENANT_VALUES(V) },
                  *const cache_values[] = { METRICS_CACHE_VALUES(V) }, *const recall_values[] = { METRICS_RECALL_VALUES(V) };
#undef V
static const char *const redis_values[] = { "answered", "nil", "error", "late", "lost", "refused", "busy" };
_Static_assert(offsetof(struct redis_stats, busy) - offsetof(struct redis_stats, answered) == (LENGTH_OF(redis_values) - 1) * sizeof(counter),
               "results of commands lie side by side");
#define V(how, name) how == DECISION_NAMED ? NULL : name, /* then no route was asked: no series */
static const char *const how_values[] = { DECISION_HOWS(V) };
#undef V

/* ---- the table ----------------------------------------------------------------------------------------------------------- */
enum holds { HOLDS_counter, HOLDS_nanos, HOLDS_times, HOLDS_tokens };
enum owner { OWNER_plain = METRICS_FAMILIES, OWNER_redis, OWNER_expert = METRICS_EXPERT, OWNER_router = METRICS_ROUTER,
             OWNER_route = METRICS_ROUTE, OWNER_tenant = METRICS_TENANT };

struct label {
        const char *key, *const *values; /* no values: a number, whose series of 0 are left out */
        size_t n, each;                  /* so many values, each of them for so many counters in a row */
};

struct metric {
        const char *name, *type, *help;
        enum owner owner;
        const char *key;    /* the label of its owner's name; NULL: it has none */
        enum holds holds;
        size_t at, stride;  /* in counters: its first value, and from there to the next */
        struct label by[2];
};

#define NONE { { NULL } }
#define BY(key, of) { { key, of##_values, LENGTH_OF(of##_values), 1 } }
#define BY_FIRST(n, key, of) { { key, of##_values, n, 1 } }
#define BY2(key, of, key2, of2) \
        { { key, of##_values, LENGTH_OF(of##_values), LENGTH_OF(of2##_values) }, { key2, of2##_values, LENGTH_OF(of2##_values), 1 } }
#define BY_NUMBER(key, of, key2, n) { { key, of##_values, LENGTH_OF(of##_values), 1 }, { key2, NULL, n, LENGTH_OF(of##_values) } }
#define SHOW(of, slot, holds, in, name, type, key, help, ...) \
        { name, type, help, OWNER_##of, key, HOLDS_##holds, METRICS_AT(of, slot), sizeof(METRICS_HOLDS_##in) / sizeof(counter), __VA_ARGS__ },
#define redis_numbers redis_stats

static const struct metric metrics[] = {
#define VIEW_EXPERT(slot, in, ...) SHOW(expert, slot, counter, in, __VA_ARGS__)
#define VIEW_REDIS(slot, in, ...) SHOW(redis, slot, counter, in, __VA_ARGS__)
#define PLAIN(slot, holds, values, ...) SHOW(plain, slot, holds, holds, __VA_ARGS__)
#define EXPERT(slot, holds, values, ...) SHOW(expert, slot, holds, holds, __VA_ARGS__)
#define ROUTER(slot, holds, values, ...) SHOW(router, slot, holds, holds, __VA_ARGS__)
#define ROUTE(slot, holds, values, ...) SHOW(route, slot, holds, holds, __VA_ARGS__)
#define TENANT(slot, holds, values, ...) SHOW(tenant, slot, holds, holds, __VA_ARGS__)
        METRICS_PLAIN_TABLE(PLAIN) METRICS_EXPERT_TABLE(EXPERT, VIEW_EXPERT) METRICS_ROUTER_TABLE(ROUTER) METRICS_ROUTE_TABLE(ROUTE)
        METRICS_TENANT_TABLE(TENANT) METRICS_CACHE_TABLE(PLAIN) METRICS_REDIS_TABLE(VIEW_REDIS)
};

/* ---- writing ------------------------------------------------------------------------------------------------------------- */
/* Text in the making: whole, or `cut` by a lack of memory. */
struct writer {
        struct evbuffer *to;
        bool cut;
};

static PRINTF(2, 3) void put(struct writer *out, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        out->cut = evbuffer_add_vprintf(out->to, fmt, args) < 0 || out->cut;
        va_end(args);
}

static void family(struct writer *out, const char *name, const char *type, const char *help)
{
        put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct writer *out, const char *name, const char *type, const char *help, double value)
{
        family(out, name, type, help);
        put(out, "%s %.15g\n", name, value);
}

/* Buckets up to each bound, then sum and count; `labels` without braces, may be empty. */
static void histogram(struct writer *out, const char *name, const char *labels, const counter *buckets,
                      const int64_t *bounds, size_t n, double unit)
{
        const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
        uint64_t count = 0, sum = counter_get(&buckets[n + 1]);

        for (size_t i = 0; i < n; i++) {
                count += counter_get(&buckets[i]);
                put(out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", name, labels, comma, (double)bounds[i] * unit, count);
        }
        count += counter_get(&buckets[n]);
        put(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, count);
        put(out, "%s_sum%s%s%s %.15g\n", name, open, labels, close, (double)sum * unit);
        put(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, count);
}

/* Appends a label.  False: no memory. */
static bool add_label(struct writer *out, char **labels, const char *key, const char *value)
{
        char *more;

        if (asprintf(&more, "%s%s%s=\"%s\"", *labels ? *labels : "", *labels ? "," : "", key, value) < 0) {
                out->cut = true;
                return false;
        }
        free(*labels);
        *labels = more;
        return true;
}

/* Its i-th series. */
static void write_series(struct writer *out, const struct metric *m, const char *owner, const counter *value, size_t i)
{
        CLEANUP(free_p) char *labels = NULL;
        const char *text;
        char number[24];

        if (m->key && !add_label(out, &labels, m->key, owner))
                return;
        for (const struct label *l = m->by; l < m->by + LENGTH_OF(m->by) && l->key; l++) {
                const size_t nth = i / l->each % l->n;

                if (!l->values && counter_get(value) == 0)
                        return;
                (void)snprintf(number, sizeof number, "%zu", nth);
                text = l->values ? l->values[nth] : number;
                if (!text || !add_label(out, &labels, l->key, text))
                        return;
        }
        if (m->holds == HOLDS_times)
                histogram(out, m->name, labels ? labels : "", value, metrics_time_bounds, METRICS_TIME_BOUNDS, 1e-6);
        else if (m->holds == HOLDS_tokens)
                histogram(out, m->name, labels ? labels : "", value, metrics_token_bounds, METRICS_TOKEN_BOUNDS, 1);
        else if (labels)
                put(out, "%s{%s} ", m->name, labels);
        else
                put(out, "%s ", m->name);
        if (m->holds == HOLDS_counter)
                put(out, "%" PRIu64 "\n", counter_get(value));
        else if (m->holds == HOLDS_nanos)
                put(out, "%.15g\n", (double)counter_get(value) * 1e-9);
}

static void write_metric(struct writer *out, const struct metric *m, const char *owner, const counter *numbers)
{
        size_t n = 1;

        for (size_t i = 0; i < LENGTH_OF(m->by) && m->by[i].key; i++)
                n *= m->by[i].n;
        for (size_t i = 0; i < n; i++)
                write_series(out, m, owner, numbers + m->at + i * m->stride, i);
}

static void write_metrics(struct writer *out, const struct metrics_totals *t, const struct redis_stats *redis)
{
        for (const struct metric *m = metrics; m < metrics + LENGTH_OF(metrics); m++) {
                if (m->owner == OWNER_redis ? !redis : !t->sum)
                        continue;
                family(out, m->name, m->type, m->help);
                if (m->owner == OWNER_redis)
                        write_metric(out, m, NULL, (const counter *)(const void *)redis);
                else if (m->owner == OWNER_plain)
                        write_metric(out, m, NULL, (const counter *)(const void *)&t->sum->plain);
                else
                        for (size_t i = 0; i < t->names[m->owner].n; i++)
                                write_metric(out, m, t->names[m->owner].escaped[i], metrics_totals_of(t, (enum metrics_family)m->owner, i));
        }
}

/* ---- what others count ---------------------------------------------------------------------------------------------------- */
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

static void write_process(struct writer *out)
{
        struct {
#define X(type, slot, ...) type slot;
                METRICS_PROCESS_TABLE(X)
#undef X
        } now;
        struct timespec cpu;
        char text[256], *p = text;
        double pages[3] = { 0 }; /* all, resident, shared with a file or others */
        const double page = (double)sysconf(_SC_PAGESIZE);

        (void)read_small("/proc/self/statm", text, sizeof text);
        for (size_t i = 0; i < LENGTH_OF(pages); i++)
                pages[i] = strtod(p, &p);
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        now.resident = pages[1] * page;
        now.all = pages[0] * page;
        now.own = (pages[1] - pages[2]) * page;
        now.cpu_s = (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9;
        now.started_s = start_time();
#define X(type_, slot, name, type, help) gauge(out, name, type, help, now.slot);
        METRICS_PROCESS_TABLE(X)
#undef X
}

int metrics_write(struct evbuffer *to, const struct metrics_gauges *g)
{
        struct writer writer = { .to = to }, *out = &writer;
        struct metrics_totals t;

        if (metrics_totals_init(&t) < 0) {
                out->cut = true;
        } else {
                t.sum->plain.entries[METRICS_CACHE_PINS] = g->pins; /* which all workers keep together */
                t.sum->plain.bytes[METRICS_CACHE_PINS] = g->pin_bytes;
                t.sum->plain.evicted[METRICS_CACHE_PINS] = g->pins_evicted;
        }
        write_metrics(out, &t, g->redis);
        metrics_totals_finish(&t);
#define X(type_, slot, name, type, help) gauge(out, name, type, help, (double)g->slot);
        METRICS_GAUGE_TABLE(X)
#undef X
        family(out, "pointsman_build_info", "gauge", "Version of pointsman, as a label.");
        put(out, "pointsman_build_info{version=\"%s\"} 1\n", PM_VERSION);
        write_process(out);
        return out->cut ? -ENOMEM : 0;
}
