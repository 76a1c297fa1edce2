/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All numbers of a shard are uint64_t counters that only its owner writes (a relaxed load, an addition, a relaxed store: no
 * locked instruction).  What has a name lies in chunks that appear when they are first needed.  A scrape adds the shards up; a
 * shard that goes is added to `gone` first.
 */
#include "metrics.h"

#include <pthread.h>
#include <stdatomic.h>

#include "metrics_numbers.h"

#include "base.h"

const int64_t metrics_time_bounds[METRICS_TIME_BOUNDS] = {
        10,     20,     50,     100,     200,     500,     1000,     2000,     5000,     10000,     20000,     50000,
        100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 20000000, 50000000, 100000000, 200000000, 600000000,
};
const int64_t metrics_token_bounds[METRICS_TOKEN_BOUNDS] = { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576 };

static const size_t sizes[METRICS_FAMILIES] = {
        [METRICS_EXPERT] = sizeof(struct expert_numbers),
        [METRICS_ROUTER] = sizeof(struct router_numbers),
        [METRICS_ROUTE] = sizeof(struct route_numbers),
        [METRICS_TENANT] = sizeof(struct tenant_numbers),
};

/* Shards and names; numbers are not under it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metrics_shard *shards, gone;
static struct {
        char **items;
        size_t n;
} names[METRICS_FAMILIES];

int metrics_intern(enum metrics_family family, const char *name)
{
        CLEANUP(free_p) char *copy = strdup(name);
        int ret = -ENOMEM;

        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < names[family].n; i++)
                if (strcmp(names[family].items[i], name) == 0) {
                        pthread_mutex_unlock(&lock);
                        return (int)i;
                }
        if (names[family].n == METRICS_NAMES) {
                ret = -ENOSPC;
        } else if (copy) {
                char **more = reallocarray(names[family].items, names[family].n + 1, sizeof *more);

                if (more) {
                        names[family].items = more;
                        more[names[family].n] = TAKE(copy);
                        ret = (int)names[family].n++;
                }
        }
        pthread_mutex_unlock(&lock);
        return ret;
}

struct metrics_shard *metrics_shard_create(void)
{
        struct metrics_shard *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        pthread_mutex_lock(&lock);
        s->next = shards;
        shards = s;
        pthread_mutex_unlock(&lock);
        return s;
}

static inline void add(counter *c, uint64_t n)
{
        atomic_store_explicit(c, counter_get(c) + n, memory_order_relaxed);
}

static void add_all(counter *to, const counter *from, size_t bytes)
{
        for (size_t i = 0; i < bytes / sizeof *to; i++) {
                uint64_t n = counter_get(&from[i]);

                if (n)
                        add(&to[i], n);
        }
}

/* The numbers of one name in this shard.  NULL: index is an error of metrics_intern(), or there is no memory. */
static void *named(struct metrics_shard *s, enum metrics_family family, int index)
{
        counter *chunk;

        if (index < 0)
                return NULL;
        assert(index < METRICS_NAMES);
        chunk = atomic_load_explicit(&s->named[family][index / METRICS_CHUNK], memory_order_relaxed);
        if (UNLIKELY(!chunk)) {
                chunk = calloc(METRICS_CHUNK, sizes[family]);
                if (!chunk)
                        return NULL;
                atomic_store_explicit(&s->named[family][index / METRICS_CHUNK], chunk, memory_order_release);
        }
        return chunk + (size_t)(index % METRICS_CHUNK) * (sizes[family] / sizeof *chunk);
}

void metrics_shard_destroy(struct metrics_shard *s)
{
        if (!s)
                return;
        pthread_mutex_lock(&lock);
        for (struct metrics_shard **p = &shards; *p; p = &(*p)->next)
                if (*p == s) {
                        *p = s->next;
                        break;
                }
        add_all((counter *)(void *)&gone.plain, (const counter *)(const void *)&s->plain, sizeof s->plain);
        for (int f = 0; f < METRICS_FAMILIES; f++)
                for (int c = 0; c < METRICS_NAMES / METRICS_CHUNK; c++) {
                        counter *chunk = s->named[f][c], *to;

                        if (!chunk)
                                continue;
                        to = named(&gone, (enum metrics_family)f, c * METRICS_CHUNK);
                        if (to)
                                add_all(to, chunk, METRICS_CHUNK * sizes[f]);
                        free(chunk);
                }
        pthread_mutex_unlock(&lock);
        free(s);
}

/* ---- what workers count ------------------------------------------------------------------------------------------------- */
static void times_add(struct times *t, int64_t us)
{
        size_t i = 0;

        if (us < 0)
                us = 0;
        while (i < METRICS_TIME_BOUNDS && us > metrics_time_bounds[i])
                i++;
        add(&t->buckets[i], 1);
        add(&t->sum, (uint64_t)us);
}

static void tokens_add(struct tokens *t, int64_t n)
{
        size_t i = 0;

        while (i < METRICS_TOKEN_BOUNDS && n > metrics_token_bounds[i])
                i++;
        add(&t->buckets[i], 1);
        add(&t->sum, (uint64_t)n);
}

static void *plain(struct metrics_shard *s, size_t at)
{
        return (char *)&s->plain + at * sizeof(counter);
}

void metrics_count(struct metrics_shard *s, size_t at)
{
        add(plain(s, at), 1);
}

void metrics_time(struct metrics_shard *s, size_t at, int64_t us)
{
        times_add(plain(s, at), us);
}

void metrics_count_of(struct metrics_shard *s, enum metrics_family family, int index, size_t at)
{
        counter *numbers = named(s, family, index);

        if (numbers)
                add(numbers + at, 1);
}

void metrics_request(struct metrics_shard *s, enum metrics_api api, int status)
{
        add(&s->plain.requests[status >= 100 && status < METRICS_STATUSES ? status : 0][api], 1);
}

void metrics_attempt(struct metrics_shard *s, int expert, enum metrics_attempt end, int64_t first_us, int64_t total_us)
{
        struct expert_numbers *e = named(s, METRICS_EXPERT, expert);

        if (!e)
                return;
        add(&e->attempts[end], 1);
        if (first_us > 0)
                times_add(e->first, first_us);
        times_add(e->duration, total_us);
}

void metrics_tokens(struct metrics_shard *s, int expert, int64_t in, int64_t out, double usd)
{
        struct expert_numbers *e = named(s, METRICS_EXPERT, expert);

        if (!e)
                return;
        if (in >= 0)
                tokens_add(&e->tokens[TOKENS_IN], in);
        if (out >= 0)
                tokens_add(&e->tokens[TOKENS_OUT], out);
        if (usd > 0 && usd < 1e6)
                add(e->cost, (uint64_t)(usd * 1e9 + .5));
}

void metrics_router(struct metrics_shard *s, int router, enum metrics_decision end, int64_t us)
{
        struct router_numbers *r = named(s, METRICS_ROUTER, router);

        if (!r)
                return;
        add(&r->decisions[end], 1);
        times_add(r->duration, us);
}

void metrics_cache_size(struct metrics_shard *s, enum metrics_cache which, uint64_t entries, uint64_t bytes, uint64_t evicted)
{
        atomic_store_explicit(&s->plain.entries[which], entries, memory_order_relaxed);
        atomic_store_explicit(&s->plain.bytes[which], bytes, memory_order_relaxed);
        atomic_store_explicit(&s->plain.evicted[which], evicted, memory_order_relaxed);
}

/* ---- what is read ------------------------------------------------------------------------------------------------------- */
#define V(name, value) value,
const char *const metrics_loops[] = { METRICS_LOOP_VALUES(V) };
const char *const metrics_attempts[] = { METRICS_ATTEMPT_VALUES(V) };
const char *const metrics_decisions[] = { METRICS_DECISION_VALUES(V) };
#undef V

void metrics_sum(enum metrics_family family, int index, size_t at, size_t n, uint64_t *out)
{
        memset(out, 0, n * sizeof *out);
        if (index < 0)
                return;
        pthread_mutex_lock(&lock);
        for (struct metrics_shard *s = shards ? shards : &gone; s; s = s == &gone ? NULL : s->next ? s->next : &gone) {
                const counter *chunk = atomic_load_explicit(&s->named[family][index / METRICS_CHUNK], memory_order_acquire);

                if (!chunk)
                        continue;
                chunk += (size_t)(index % METRICS_CHUNK) * (sizes[family] / sizeof *chunk) + at;
                for (size_t i = 0; i < n; i++)
                        out[i] += counter_get(&chunk[i]);
        }
        pthread_mutex_unlock(&lock);
}

static char *escape_label(const char *name)
{
        char *out = malloc(2 * strlen(name) + 1), *p = out;

        if (!out)
                return NULL;
        for (; *name; name++) {
                if (*name == '"' || *name == '\\' || *name == '\n')
                        *p++ = '\\';
                *p++ = *name == '\n' ? 'n' : *name;
        }
        *p = '\0';
        return out;
}

void metrics_totals_finish(struct metrics_totals *t)
{
        if (t->sum)
                for (int f = 0; f < METRICS_FAMILIES; f++)
                        for (int c = 0; c < METRICS_NAMES / METRICS_CHUNK; c++)
                                free(t->sum->named[f][c]);
        free(t->sum);
        for (int f = 0; f < METRICS_FAMILIES; f++) {
                for (size_t i = 0; i < t->names[f].n; i++)
                        free(t->names[f].escaped[i]);
                free(t->names[f].escaped);
        }
}

static void add_shard(struct metrics_shard *to, const struct metrics_shard *s)
{
        add_all((counter *)(void *)&to->plain, (const counter *)(const void *)&s->plain, sizeof s->plain);
        for (int f = 0; f < METRICS_FAMILIES; f++)
                for (int c = 0; c < METRICS_NAMES / METRICS_CHUNK; c++) {
                        const counter *chunk = atomic_load_explicit(&s->named[f][c], memory_order_acquire);
                        counter *into = chunk ? named(to, (enum metrics_family)f, c * METRICS_CHUNK) : NULL;

                        if (into)
                                add_all(into, chunk, METRICS_CHUNK * sizes[f]);
                }
}

int metrics_totals_init(struct metrics_totals *t)
{
        int r = -ENOMEM;

        *t = (struct metrics_totals){ .sum = calloc(1, sizeof *t->sum) };
        if (!t->sum)
                return r;
        pthread_mutex_lock(&lock);
        add_shard(t->sum, &gone);
        for (const struct metrics_shard *s = shards; s; s = s->next)
                add_shard(t->sum, s);
        for (int f = 0; f < METRICS_FAMILIES; f++) {
                t->names[f].escaped = calloc(names[f].n + 1, sizeof(char *));
                if (!t->names[f].escaped)
                        goto out;
                for (; t->names[f].n < names[f].n; t->names[f].n++) {
                        char *text = escape_label(names[f].items[t->names[f].n]);

                        if (!text)
                                goto out;
                        t->names[f].escaped[t->names[f].n] = text;
                }
        }
        r = 0;
out:
        pthread_mutex_unlock(&lock);
        return r;
}

const void *metrics_totals_of(const struct metrics_totals *t, enum metrics_family f, size_t i)
{
        static const struct expert_numbers none; /* the largest of them */
        const counter *chunk = t->sum->named[f][i / METRICS_CHUNK];

        if (!chunk)
                return &none;
        return chunk + (i % METRICS_CHUNK) * (sizes[f] / sizeof *chunk);
}
