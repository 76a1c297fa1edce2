/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recall_bench CONFIG ROUTE ROUNDS LENGTH: what one decision costs, from the parsed request to the expert, on a worker's own thread.
 *
 * Texts of LENGTH bytes come from stdin, at most 256; each round asks for all of them once, in the same order, one after another.  The
 * first round warms (and fills memory or Redis) and is not counted.  Whether a decision is computed, in memory or in Redis is the
 * configuration's business; how many were what is printed.  p50, p99 and mean in microseconds.
 */
#include <event2/event.h>
#include <sched.h>

#include "config.h"
#include "gateway.h"
#include "js.h"
#include "log.h"
#include "request_parts.h"
#include "settings.h"
#include "worker_thread.h"

#include "base.h"

#define TEXTS 256

struct bench {
        struct event_base *base; /* the main thread's */
        struct inbox inbox;
        struct generation *generation;
        const struct route *route;
        struct worker *worker;
        struct message go, done;
        struct pm_str bodies[TEXTS];
        size_t n, rounds, at, round, n_took;
        int64_t began, *took;
        struct request *r;
        struct routing routing;
        unsigned how[METRICS_HOWS];
};

static int64_t now_ns(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void begin(struct bench *b);

static void decided(struct bench *b)
{
        struct request *r = b->r;
        struct arena arena;

        if (b->round > 0) {
                b->took[b->n_took++] = now_ns() - b->began;
                b->how[r->decision.how]++;
        }
        recall_settle(r);
        recall_finish(r);
        arena = r->arena;
        arena_finish(&arena);
        if (++b->at == b->n) {
                b->at = 0;
                b->round++;
        }
        if (b->round > b->rounds)
                inbox_post(&b->inbox, &b->done);
        else
                begin(b);
}

/* Once a decision is in memory this would go on for ever inside of itself: each begins from the loop. */
static void step(void *arg)
{
        struct bench *b = arg;
        struct request *r = b->r;

        if (b->routing.call.worker) {
                if (!b->routing.done)
                        return;
        } else {
                if (r->recall.at == RECALL_AT_START)
                        b->began = now_ns();
                if (recall_step(r) == WAIT)
                        return;
                if (!r->decision.expert) {
                        struct routing_call call = { .worker = r->worker, .generation = r->generation, .arena = &r->arena, .head = r->head,
                                                     .route = r->route, .query = &r->query, .id = r->id, .owner = &r->wake };

                        routing_start(&b->routing, &call);
                        if (!b->routing.done)
                                return;
                }
        }
        if (b->routing.call.worker) {
                r->decision = b->routing.decision;
                recall_decided(r, &b->routing);
                (void)routing_finish(&b->routing, NULL, NULL);
        }
        decided(b);
}

static void begin(struct bench *b)
{
        static const struct h1_head head;
        static const struct query_limits limits = { .depth = 8, .messages = 4 };
        struct query_error why;
        struct arena arena;
        struct request *r;

        arena_init(&arena, &b->worker->loop.arenas, 64 << 20);
        r = b->r = arena_zalloc(&arena, sizeof *r);
        assert(r);
        r->arena = arena;
        r->worker = b->worker;
        r->generation = b->generation;
        r->head = &head;
        r->route = b->route;
        r->id = (struct pm_str){ "bench", 5 };
        r->wake = (struct wake){ .fn = step, .arg = b };
        b->routing = (struct routing){ 0 };
        if (query_parse(b->bodies[b->at], EXPERT_CHAT, &limits, &r->arena, &r->query, &why) < 0) {
                (void)fprintf(stderr, "a body cannot be parsed: %s\n", why.message);
                abort();
        }
        r->step_started_us = now_us();
        loop_wake(&b->worker->loop, &r->wake);
}

static void on_go(struct message *m, void *owner)
{
        (void)owner;
        begin(CONTAINER_OF(m, struct bench, go));
}

static void on_done(struct message *m, void *owner)
{
        struct bench *b = owner;

        (void)m;
        (void)event_base_loopbreak(b->base);
}

static void nobody(struct message *m, void *owner)
{
        (void)m, (void)owner;
}

/* Redis connects while the loop runs. */
static bool redis_is_ready(struct bench *b)
{
        for (int i = 0; i < 200 && cache_has_store(b->worker->cache); i++) {
                if (cache_store_ready(b->worker->cache))
                        return true;
                (void)usleep(10000);
        }
        return !cache_has_store(b->worker->cache);
}

static void read_texts(struct bench *b, size_t length)
{
        static const char before[] = "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"", after[] = "\"}]}";
        CLEANUP(free_p) char *text = malloc(length);

        assert(text);
        for (; b->n < TEXTS && fread(text, 1, length, stdin) == length; b->n++) {
                char *p = malloc(sizeof before + 6 * length + sizeof after);
                size_t n = sizeof before - 1;

                assert(p);
                memcpy(p, before, n);
                n += js_escape((struct pm_str){ text, length }, p + n);
                memcpy(p + n, after, sizeof after - 1);
                b->bodies[b->n] = (struct pm_str){ p, n + sizeof after - 1 };
        }
}

static int by_value(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

static void report(struct bench *b, const char *name, size_t length)
{
        double sum = 0;

        qsort(b->took, b->n_took, sizeof *b->took, by_value);
        for (size_t i = 0; i < b->n_took; i++)
                sum += (double)b->took[i];
        (void)printf("%-10s %4zu characters: p50 %7.2f us, p99 %7.2f us, mean %7.2f us; %zu decisions:", name, length,
                     (double)b->took[b->n_took / 2] / 1e3, (double)b->took[b->n_took * 99 / 100] / 1e3, sum / (double)b->n_took / 1e3, b->n_took);
        for (int i = 0; i < METRICS_HOWS; i++)
                if (b->how[i])
                        (void)printf(" %u %s", b->how[i], decision_how_name((enum decision_how)i));
        (void)printf("\n");
}

int main(int argc, char **argv)
{
        static struct bench b;
        struct problems *p = problems_create(50);
        struct worker_setup setup = { .home = &b.inbox, .drained = nobody };
        size_t length = argc == 5 ? (size_t)strtoul(argv[4], NULL, 10) : 0;
        const char *why = "";
        cpu_set_t one;

        if (length < 1 || length > 1000000) {
                (void)fprintf(stderr, "usage: recall_bench CONFIG ROUTE ROUNDS LENGTH < TEXTS\n");
                return 2;
        }
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        log_setup(PM_WARN, LOG_LOGFMT);
        if (!p || gateway_prepare() < 0 || generation_load(argv[1], 1, p, &b.generation) < 0) {
                (void)fputs(p ? problems_text(p) : "no memory\n", stderr);
                return 1;
        }
        problems_destroy(p);
        b.route = generation_route(b.generation, (struct pm_str){ argv[2], strlen(argv[2]) });
        b.rounds = (size_t)strtoul(argv[3], NULL, 10);
        read_texts(&b, length);
        b.took = calloc(b.rounds * b.n + 1, sizeof *b.took);
        b.base = event_base_new();
        b.generation->n_listeners = 0;
        setup.generation = b.generation;
        setup.pool = pool_create(1);
        b.go.deliver = on_go;
        b.done.deliver = on_done;
        if (!b.route || !b.n || !b.took || !b.base || !setup.pool || inbox_init(&b.inbox, b.base, &b) < 0 ||
            !(b.worker = worker_create(&setup, &why)) || !redis_is_ready(&b)) {
                (void)fprintf(stderr, "no route '%s', no text, or no Redis: %s\n", argv[2], why);
                return 1;
        }
        inbox_post(&b.worker->loop.inbox, &b.go);
        (void)event_base_dispatch(b.base);
        report(&b, argv[2], length);
        worker_stop(b.worker);
        pool_destroy(setup.pool);
        worker_destroy(b.worker);
        inbox_finish(&b.inbox);
        generation_release(b.generation);
        for (size_t i = 0; i < b.n; i++)
                free((char *)(uintptr_t)b.bodies[i].p);
        free(b.took);
        event_base_free(b.base);
        return 0;
}
