/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker without a listener, so that routers find what they have in the gateway: loop, pool, and the way to experts.  The main
 * thread reads a text and sends it over; the worker routes it and prints; the main thread sends the next.
 */
#include "preview.h"

#include <event2/event.h>
#include <jansson.h>

#include "config.h"
#include "gateway.h"
#include "log.h"
#include "options.h"
#include "query.h"
#include "route.h"
#include "worker.h"

#include "base.h"

#define PROBLEMS_MAX 200
#define TEXT_MAX ((size_t)1 << 20)

struct preview {
        struct message ask, answered; /* to the worker, and back */
        struct inbox inbox;
        struct event_base *base;
        struct generation *generation;
        const struct route *route;
        struct pool *pool;
        struct worker *worker;
        FILE *out;
        bool failed;

        /* the worker's, from `ask` to `answered` */
        char *body;
        struct arena arena;
        struct query *query;
        struct routing *routing;
        struct wake wake;
        int64_t began;
};

/* ---- on the worker ------------------------------------------------------------------------------------------------------ */
static void print_decision(struct preview *p)
{
        const struct decision *d = &p->routing->decision;
        struct pm_str text = p->routing->query.text;
        int shown = (int)strcspn(text.p ? text.p : "", "\n");

        (void)fprintf(p->out, "%-24s %-16s %-20s %5.3f %8" PRId64 " us  %.*s\n", d->expert ? d->expert->name : "(none available)",
                      d->router ? d->router->name : "(default)", d->category ? d->category : "-", d->confidence, now_us() - p->began,
                      MIN(MIN(shown, 60), (int)text.n), text.p ? text.p : "");
        (void)fflush(p->out);
}

static void answered(void *arg)
{
        struct preview *p = arg;

        arena_finish(&p->arena);
        inbox_post(&p->inbox, &p->answered);
}

static void on_routed(void *arg)
{
        struct preview *p = arg;

        if (!p->routing->done)
                return;
        print_decision(p);
        if (routing_finish(p->routing, answered, p))
                answered(p); /* else a pool job works on the arena until it is back */
}

static void on_ask(struct message *m, void *owner)
{
        struct preview *p = CONTAINER_OF(m, struct preview, ask);
        const struct query_limits limits = { .depth = 8, .messages = 8 };
        struct query_error why = { 0 };
        struct routing_call call = { .worker = owner, .generation = p->generation, .arena = &p->arena, .route = p->route,
                                     .id = { "preview", 7 }, .owner = &p->wake };
        bool list;
        size_t n;

        arena_init(&p->arena, NULL, SIZE_MAX);
        p->wake = (struct wake){ .fn = on_routed, .arg = p };
        p->routing = arena_alloc(&p->arena, sizeof *p->routing);
        if (!p->routing ||
            query_parse_route((struct pm_str){ p->body, strlen(p->body) }, &limits, &p->arena, &p->query, &n, &list, &why) < 0) {
                (void)fprintf(stderr, "pointsman: this text cannot be routed: %s\n", why.message ? why.message : "out of memory");
                p->failed = true;
                answered(p);
                return;
        }
        call.query = p->query;
        p->began = now_us();
        routing_start(p->routing, &call);
        worker_wake(owner, &p->wake); /* it may be done already */
}

/* ---- on the main thread ------------------------------------------------------------------------------------------------- */
static void on_answered(struct message *m, void *owner)
{
        struct preview *p = owner;

        (void)m;
        (void)event_base_loopbreak(p->base);
}

static void ask(struct preview *p, const char *text, size_t n)
{
        json_t *body = json_pack("{s:s%}", "input", text, n);

        p->body = body ? json_dumps(body, JSON_COMPACT) : NULL;
        json_decref(body);
        if (!p->body) {
                (void)fprintf(stderr, "pointsman: this text is not UTF-8: %.60s\n", text);
                p->failed = true;
                return;
        }
        inbox_post(&p->worker->inbox, &p->ask);
        (void)event_base_dispatch(p->base);
        free(TAKE(p->body));
}

static void ask_lines(struct preview *p, FILE *lines)
{
        CLEANUP(free_p) char *line = NULL;
        size_t room = 0;
        ssize_t n;

        while ((n = getline(&line, &room, lines)) > 0) {
                while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                        n--;
                if (n > 0 && (size_t)n <= TEXT_MAX) {
                        ask(p, line, (size_t)n);
                } else if (n > 0) {
                        (void)fprintf(stderr, "pointsman: a line of %zd bytes is passed over, at most %zu can be\n", n, TEXT_MAX);
                        p->failed = true;
                }
        }
}

static int start(struct preview *p)
{
        const struct pm_str name = { "auto", 4 };
        struct worker_setup setup = { .generation = p->generation, .home = &p->inbox };
        const char *why = "out of memory";

        p->route = generation_route(p->generation, name);
        if (!p->route && p->generation->n_routes)
                p->route = p->generation->routes[0];
        if (!p->route) {
                (void)fprintf(stderr, "pointsman: there are no routes in %s\n", p->generation->file);
                return -ENOENT;
        }
        p->ask.deliver = on_ask;
        p->answered.deliver = on_answered;
        p->base = event_base_new();
        p->pool = pool_create(1);
        if (!p->base || !p->pool || inbox_init(&p->inbox, p->base, p) < 0)
                return -ENOMEM;
        setup.pool = p->pool;
        p->worker = worker_create(&setup, &why);
        if (!p->worker) {
                (void)fprintf(stderr, "pointsman: cannot start a worker: %s\n", why);
                return -ENOMEM;
        }
        return 0;
}

static void stop(struct preview *p)
{
        if (p->worker)
                worker_stop(p->worker);
        pool_destroy(p->pool);
        worker_destroy(p->worker);
        inbox_finish(&p->inbox);
        if (p->base)
                event_base_free(p->base);
}

int preview_run(const char *file, const char *text, FILE *lines, FILE *out)
{
        struct preview p = { .out = out };
        struct problems *problems = problems_create(PROBLEMS_MAX);

        log_setup(PM_WARN, LOG_LOGFMT);
        if (!problems || gateway_prepare() < 0 || generation_load(file, 1, problems, &p.generation) < 0) {
                (void)fputs(problems && problems_count(problems) ? problems_text(problems) : "pointsman: out of memory\n", stderr);
                problems_destroy(problems);
                return EXIT_FAILURE;
        }
        problems_destroy(problems);
        if (start(&p) < 0)
                p.failed = true;
        else if (text)
                ask(&p, text, strlen(text));
        else
                ask_lines(&p, lines);
        stop(&p);
        generation_destroy(p.generation);
        return p.failed || ferror(out) ? EXIT_FAILURE : EXIT_SUCCESS;
}
