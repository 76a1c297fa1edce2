/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routing_fixture.h - a worker, a pool, experts and a route, for tests that ask routers as a request would.
 *
 * A trial is one query.  It is started on the worker, its memory is an arena of its own that goes as soon as routing_finish()
 * allows, and what came of it is copied out for the test's thread.
 */
#ifndef PM_TEST_ROUTING_FIXTURE_H
#define PM_TEST_ROUTING_FIXTURE_H

#include <criterion/criterion.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "config.h"
#include "expert.h"
#include "h1.h"
#include "log.h"
#include "metrics.h"
#include "pool.h"
#include "query.h"
#include "routing.h"
#include "settings.h"
#include "tenant.h"
#include "worker_thread.h"

#include "base.h"

#define EXPERTS 3
#define ROUTERS 4
#define HELPER static __attribute__((unused))

struct bench {
        struct event_base *base; /* the test's thread's, for the worker's messages home */
        struct inbox inbox;
        struct generation generation;
        struct pool *pool;
        struct worker *w;
        struct endpoint endpoints[EXPERTS], *endpoint_lists[EXPERTS];
        struct expert experts[EXPERTS], *expert_list[EXPERTS];
        struct router routers[ROUTERS], *router_list[ROUTERS];
        struct embedder embedder, *embedder_list[1];
        struct route route;
        _Atomic unsigned calls[ROUTERS]; /* each router's self: how often its steps ran */
};
static struct bench bench;
static const struct cache_settings no_cache, *bench_cache = &no_cache; /* set before bench_begin() */

struct trial {
        struct message go, drop;
        const char *body;
        const struct h1_head *head;
        const struct tenant *tenant;
        enum callout_cache wish;
        bool late; /* its owner comes only when it is dropped */

        struct arena arena;
        struct query query;
        struct routing *x;
        struct wake owner;
        sem_t over;

        _Atomic unsigned woken;
        bool at_once, wake_left; /* done when routing_start() returned; the owner was woken all the same */
        bool decided;            /* else it was dropped */
        bool outlived;           /* routing_finish() said false */
        bool keepable;           /* as far as the routers go */
        struct decision d;       /* its pointers are of the bench or below */
        char fallbacks[64], category[64], reason[256], extra[256];
};

HELPER void drained(struct message *m, void *owner)
{
        (void)m, (void)owner;
}

HELPER void expert_begin(size_t i, const char *name, const char *url)
{
        struct expert *e = &bench.experts[i];
        const char *why = "";

        cr_assert_eq(endpoint_parse(&bench.generation.arena, url, &bench.endpoints[i], &why), 0, "%s", why);
        bench.endpoints[i].state = endpoint_state_of(&bench.endpoints[i], "m");
        bench.endpoint_lists[i] = &bench.endpoints[i];
        *e = (struct expert){ .state = expert_state_of(name), .name = name, .model = name, .endpoints = &bench.endpoint_lists[i],
                              .n_endpoints = 1, .apis = EXPERT_CHAT | EXPERT_EMBEDDINGS, .price_in = (double)i + 1, .price_out = 2, .context = 4096,
                              .connect_ms = 1000, .first_token_ms = 5000, .answer_ms = 5000, .idle_ms = 5000, .max_in_flight = 100,
                              .breaker_failures = 3, .breaker_open_ms = 1000 };
        bench.expert_list[i] = e;
}

/* Everything but routers; nothing listens on the experts' port 9 unless expert_begin() is told another. */
HELPER void bench_begin(void)
{
        static const char *const names[EXPERTS] = { "math", "law", "code" };
        struct generation *g = &bench.generation;
        struct worker_setup setup = { .id = 3, .generation = g, .home = &bench.inbox, .drained = drained };
        const char *why = NULL;

        log_setup(PM_DEBUG, LOG_LOGFMT);
        bench.base = event_base_new();
        cr_assert_eq(inbox_init(&bench.inbox, bench.base, &bench), 0);
        *g = (struct generation){ .cache = bench_cache, .limits = { .head = 65536, .headers = 100, .connections = 100, .head_time = 1000, .body_time = 1000,
                                              .idle_time = 1000, .write_time = 1000, .request_time = 1000, .buffer = 65536, .body = 65536 } };
        atomic_store(&g->holders, 1);
        arena_init(&g->arena, NULL, SIZE_MAX);
        for (size_t i = 0; i < EXPERTS; i++) {
                char url[64];

                (void)snprintf(url, sizeof url, "http://127.0.0.1:9/%s", names[i]);
                expert_begin(i, names[i], url);
        }
        bench.embedder = (struct embedder){ .name = "e5", .expert = &bench.experts[2], .path = "/embeddings" };
        bench.embedder_list[0] = &bench.embedder;
        g->experts = bench.expert_list;
        g->n_experts = EXPERTS;
        cr_assert_eq(names_build(&g->arena, names, EXPERTS, &g->expert_names), 0);
        g->embedders = bench.embedder_list;
        g->n_embedders = 1;
        cr_assert_eq(names_build(&g->arena, (const char *const[]){ "e5" }, 1, &g->embedder_names), 0);
        bench.route = (struct route){ .name = "auto", .reads_messages = true, .routers = bench.router_list, .experts = bench.expert_list, .n_experts = EXPERTS,
                                      .preset = &bench.experts[1], .deadline_ms = 5000, .fallbacks = 8 };
        bench.pool = pool_create(1);
        setup.pool = bench.pool;
        bench.w = worker_create(&setup, &why);
        cr_assert_not_null(bench.w, "%s", why);
}

HELPER void bench_end(void)
{
        worker_stop(bench.w);
        pool_destroy(bench.pool);
        worker_destroy(bench.w);
        inbox_finish(&bench.inbox);
        event_base_free(bench.base);
        arena_finish(&bench.generation.arena);
}

/* The route's routers, in order. */
HELPER void use(const struct pm_router *a, const struct pm_router *b)
{
        const struct pm_router *tables[] = { a, b };

        bench.route.n_routers = 0;
        for (size_t i = 0; i < LENGTH_OF(tables) && tables[i]; i++) {
                bench.routers[i] = (struct router){ .name = tables[i]->name, .table = tables[i], .self = &bench.calls[i], .pool.max = 2,
                                                    .metric = metrics_intern(METRICS_ROUTER, tables[i]->name) };
                bench.router_list[i] = &bench.routers[i];
                bench.route.n_routers++;
        }
}

/* How often router i has ended so. */
HELPER uint64_t ended(size_t i, enum metrics_decision how)
{
        uint64_t counts[METRICS_DECISIONS];

        metrics_sum(METRICS_ROUTER, bench.routers[i].metric, METRICS_AT(router, decisions), METRICS_DECISIONS, counts);
        return counts[how];
}

/* ---- on the worker ------------------------------------------------------------------------------------------------------ */
HELPER void trial_over(void *arg)
{
        struct trial *t = arg;

        loop_unwake(&bench.w->loop, &t->owner);
        arena_finish(&t->arena);
        (void)sem_post(&t->over);
}

HELPER void copy(const char **p, char *out, size_t n)
{
        if (*p)
                (void)snprintf(out, n, "%s", *p);
        *p = *p ? out : NULL;
}

HELPER void trial_finish(struct trial *t)
{
        t->d = t->x->decision;
        t->decided = t->x->done;
        t->keepable = t->x->keepable;
        for (size_t i = 0; i < t->d.n_fallbacks; i++)
                (void)snprintf(t->fallbacks + strlen(t->fallbacks), sizeof t->fallbacks - strlen(t->fallbacks), "%s%s", i ? " " : "",
                               t->d.fallbacks[i]->name);
        t->d.fallbacks = NULL;
        copy(&t->d.category, t->category, sizeof t->category);
        copy(&t->d.reason, t->reason, sizeof t->reason);
        copy(&t->d.extra, t->extra, sizeof t->extra);
        if (routing_finish(t->x, trial_over, t))
                trial_over(t);
        else
                t->outlived = true;
}

HELPER void on_owner(void *arg)
{
        struct trial *t = arg;

        t->woken++;
        if (t->x->done && !t->late)
                trial_finish(t);
}

HELPER void on_go(struct message *m, void *owner)
{
        static const struct query_limits limits = { .depth = 16, .messages = 16 };
        struct trial *t = CONTAINER_OF(m, struct trial, go);
        struct query_error why;
        struct pm_str body = { t->body, strlen(t->body) };
        struct routing_call call = { .worker = owner, .generation = &bench.generation, .arena = &t->arena, .head = t->head, .tenant = t->tenant,
                                     .route = &bench.route, .query = &t->query, .id = { "req-1", 5 }, .owner = &t->owner, .wish = t->wish };

        arena_init(&t->arena, NULL, 64 << 20);
        if (query_parse(body, EXPERT_CHAT, &limits, &t->arena, &t->query, &why) < 0)
                abort();
        t->x = arena_alloc(&t->arena, sizeof *t->x);
        routing_start(t->x, &call);
        t->wake_left = t->owner.pprev != NULL;
        t->at_once = t->x->done;
        if (t->at_once)
                trial_finish(t);
}

HELPER void on_drop(struct message *m, void *owner)
{
        (void)owner;
        trial_finish(CONTAINER_OF(m, struct trial, drop));
}

/* ---- on the test's thread ----------------------------------------------------------------------------------------------- */
HELPER void trial_go(struct trial *t)
{
        if (!t->body)
                t->body = "{\"model\":\"auto\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"What is 2+2?\"}]}";
        t->go.deliver = on_go;
        t->drop.deliver = on_drop;
        t->owner = (struct wake){ .fn = on_owner, .arg = t };
        (void)sem_init(&t->over, 0, 0);
        inbox_post(&bench.w->loop.inbox, &t->go);
}

/* The client leaves. */
HELPER void trial_drop(struct trial *t)
{
        inbox_post(&bench.w->loop.inbox, &t->drop);
}

HELPER void trial_wait(struct trial *t)
{
        while (sem_wait(&t->over) < 0 && errno == EINTR)
                ;
        (void)sem_destroy(&t->over);
}

struct behind {
        struct message m;
        sem_t over;
};

HELPER void on_behind(struct message *m, void *owner)
{
        struct behind *b = CONTAINER_OF(m, struct behind, m);

        log_buffer_flush(((struct worker *)owner)->loop.log);
        (void)sem_post(&b->over);
}

/* The worker has done what it was told before, and what it has logged is out. */
HELPER void worker_caught_up(void)
{
        struct behind b = { .m.deliver = on_behind };

        (void)sem_init(&b.over, 0, 0);
        inbox_post(&bench.w->loop.inbox, &b.m);
        while (sem_wait(&b.over) < 0 && errno == EINTR)
                ;
        (void)sem_destroy(&b.over);
}

/* From beginning to end. */
HELPER struct trial ask_routers(const struct pm_router *a, const struct pm_router *b)
{
        struct trial t = { 0 };

        use(a, b);
        trial_go(&t);
        trial_wait(&t);
        cr_assert(t.decided);
        cr_assert_not(t.wake_left, "who has its answer at once is not woken");
        cr_assert_eq(t.woken, t.at_once ? 0 : 1, "woken once");
        return t;
}

/* What the gateway's log says meanwhile, into text. */
HELPER struct trial ask_and_read_log(const struct pm_router *a, const struct pm_router *b, char *text, size_t n)
{
        char name[] = "/tmp/test_route.XXXXXX";
        int file = mkstemp(name), before = dup(STDERR_FILENO);
        struct trial t;
        ssize_t got;

        cr_assert(file >= 0 && before >= 0);
        (void)unlink(name);
        (void)dup2(file, STDERR_FILENO);
        t = ask_routers(a, b);
        worker_caught_up();
        (void)dup2(before, STDERR_FILENO);
        got = pread(file, text, n - 1, 0);
        text[MAX(got, 0)] = 0;
        (void)close(before);
        (void)close(file);
        return t;
}

HELPER bool goes_to(const struct trial *t, const char *expert)
{
        return t->d.expert && strcmp(t->d.expert->name, expert) == 0;
}

/* A router that decides for "math", for the second place. */
HELPER pm_step math_route(void *self, struct pm_query *q)
{
        atomic_fetch_add((_Atomic unsigned *)self, 1);
        return pm_decide(q, .expert = "math");
}
HELPER const struct pm_router math = { .size = sizeof(struct pm_router), .name = "math", .route = math_route };

/* Of a router's self: its steps run once more. */
HELPER unsigned count(void *self)
{
        return atomic_fetch_add((_Atomic unsigned *)self, 1) + 1;
}

#define ROUTER(fn) static const struct pm_router fn = { .size = sizeof(struct pm_router), .minor = PM_ABI_MINOR, .name = #fn, .route = fn##_route }
#endif
