/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker without listeners, so that routers find what they have in the gateway: the loop, the pool, the way to experts and
 * embedders.  The main thread sends it one text at a time and prints what comes back.
 */
#include "offline.h"

#include <event2/event.h>
#include <jansson.h>

#include "config.h"
#include "gateway.h"
#include "js.h"
#include "log.h"
#include "options.h"
#include "query.h"
#include "routing.h"
#include "worker_thread.h"

#include "base.h"

#define PROBLEMS_MAX 200
#define LINE_LONGEST ((size_t)1 << 20)
#define MEMORY_MAX ((size_t)64 << 20) /* of one text: sixteen times the longest, and what a router may use */
#define SHOWN 60                      /* characters of a text */

struct offline {
        struct event_base *base; /* the main thread's */
        struct inbox inbox;
        struct generation *generation;
        const struct route *route;
        struct pool *pool;
        struct worker *worker;
        FILE *out;
        bool failed;

        /* the worker's from `ask` to `asked` */
        struct message ask, asked;
        struct pm_str text;
        struct arena arena;
        struct query *query;
        struct routing *routing;
        struct wake wake;
        int64_t began;
        char *answer; /* a heap string; NULL: `why` says what is wrong */
        char why[200];
};

/* ---- on the worker ------------------------------------------------------------------------------------------------------ */

/* The first characters of a text that has been proved to be UTF-8. */
static size_t shown(struct pm_str text)
{
        size_t n = 0;

        for (size_t characters = 0; n < text.n; n++)
                if (((unsigned char)text.p[n] & 0xC0) != 0x80 && characters++ == SHOWN)
                        break;
        return n;
}

static char *explain(const struct routing *x, int64_t us)
{
        const struct decision *d = &x->decision;
        struct pm_str text = x->all.text;
        json_t *o, *fallbacks = json_array();
        char *line;

        for (size_t i = 0; i < d->n_fallbacks; i++)
                json_array_append_new(fallbacks, json_string(d->fallbacks[i]->name));
        o = json_pack("{s:s%, s:s?, s:o, s:s?, s:s?, s:f, s:s?, s:s, s:I}", "text", text.n ? text.p : "", shown(text),
                      "expert", d->expert ? d->expert->name : NULL, "fallbacks", fallbacks, "router",
                      d->router ? d->router->name : NULL, "category", d->category, "confidence", d->confidence, "reason",
                      d->reason, "decision", decision_how_name(d->how), "us", (json_int_t)us);
        if (o && d->provisional)
                (void)json_object_set_new(o, "provisional", json_true());
        if (o && d->unsure)
                (void)json_object_set_new(o, "unsure", json_true());
        if (o && d->only)
                (void)json_object_set_new(o, "only", json_true());
        line = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        json_decref(o);
        return line;
}

static void over(void *arg)
{
        struct offline *o = arg;

        arena_finish(&o->arena);
        inbox_post(&o->inbox, &o->asked);
}

static void refuse(struct offline *o, const char *why)
{
        (void)snprintf(o->why, sizeof o->why, "%s", why);
        over(o);
}

static void on_routed(void *arg)
{
        struct offline *o = arg;

        if (!o->routing->done)
                return;
        o->answer = explain(o->routing, now_us() - o->began);
        if (!o->answer)
                (void)snprintf(o->why, sizeof o->why, "out of memory for the answer");
        if (routing_finish(o->routing, over, o))
                over(o); /* else a pool job works on the arena until it is back */
}

/* A line that is an object with a `prompt` or with `messages` stands for these; any other is the prompt itself.  p NULL: no memory. */
static struct pm_str body_of(struct offline *o)
{
        static const char before[] = "{\"input\":", after[] = "}";
        struct pm_str text = js_trim(o->text), prompt = { 0 };
        char *p = arena_alloc(&o->arena, sizeof before + 6 * o->text.n + 2 + sizeof after);
        size_t n = sizeof before - 1;

        if (!p)
                return (struct pm_str){ 0 };
        if (js_type(text) == JS_OBJECT && js_check(text, 64, NULL, NULL) == 0) {
                if (js_member(text, "messages").p)
                        return text;
                prompt = js_member(text, "prompt");
        }
        memcpy(p, before, n);
        if (js_type(prompt) == JS_STRING) {
                memcpy(p + n, prompt.p, prompt.n);
                n += prompt.n;
        } else {
                p[n++] = '"';
                n += js_escape(o->text, p + n); /* bytes that are no UTF-8 become U+FFFD */
                p[n++] = '"';
        }
        memcpy(p + n, after, sizeof after - 1);
        return (struct pm_str){ p, n + sizeof after - 1 };
}

static void on_ask(struct message *m, void *owner)
{
        static const struct query_limits limits = { .depth = 64, .messages = 4096 };
        struct offline *o = CONTAINER_OF(m, struct offline, ask);
        struct routing_call call = { .worker = owner, .generation = o->generation, .arena = &o->arena, .route = o->route,
                                     .id = { "offline", 7 }, .owner = &o->wake };
        struct query_error why;
        struct pm_str body;
        bool list;
        size_t n;

        arena_init(&o->arena, NULL, MEMORY_MAX);
        o->wake = (struct wake){ .fn = on_routed, .arg = o };
        o->routing = arena_alloc(&o->arena, sizeof *o->routing);
        body = body_of(o);
        if (!o->routing || !body.p) {
                refuse(o, "out of memory for it");
                return;
        }
        if (query_parse_route(body, &limits, &o->arena, &o->query, &n, &list, &why) < 0) {
                refuse(o, why.message);
                return;
        }
        if (list) {
                refuse(o, "a line is one prompt, and this one has a list of them");
                return;
        }
        call.query = o->query;
        o->began = now_us();
        routing_start(o->routing, &call);
        if (o->routing->done)
                on_routed(o);
}

/* ---- on the main thread ------------------------------------------------------------------------------------------------- */
static void on_asked(struct message *m, void *owner)
{
        struct offline *o = owner;

        (void)m;
        (void)event_base_loopbreak(o->base);
}

static void ask(struct offline *o, const char *text, size_t n)
{
        o->text = (struct pm_str){ text, n };
        o->why[0] = 0;
        inbox_post(&o->worker->loop.inbox, &o->ask);
        (void)event_base_dispatch(o->base);
        if (o->answer) {
                (void)fprintf(o->out, "%s\n", o->answer);
                (void)fflush(o->out); /* somebody may wait for each */
        } else {
                (void)fprintf(stderr, "pointsman: '%.*s' cannot be routed: %s\n", (int)MIN(n, SHOWN), text, o->why);
                o->failed = true;
        }
        free(TAKE(o->answer));
}

/* A line without its end into a buffer of LINE_LONGEST bytes; *ret_n is how long it is, all of it.  False: there is none. */
static bool read_line(FILE *in, char *line, size_t *ret_n)
{
        size_t n = 0;
        int c;

        while ((c = getc_unlocked(in)) != EOF && c != '\n') {
                if (n < LINE_LONGEST)
                        line[n] = (char)c;
                n++;
        }
        if (c == '\n' && n > 0 && n <= LINE_LONGEST && line[n - 1] == '\r')
                n--;
        *ret_n = n;
        return c != EOF || n > 0;
}

static void ask_lines(struct offline *o, FILE *lines)
{
        CLEANUP(free_p) char *line = malloc(LINE_LONGEST);
        size_t n, number = 0;

        if (!line) {
                (void)fputs("pointsman: out of memory\n", stderr);
                o->failed = true;
                return;
        }
        while (read_line(lines, line, &n)) {
                number++;
                if (n > 0 && n <= LINE_LONGEST) {
                        ask(o, line, n);
                } else if (n > 0) {
                        (void)fprintf(stderr, "pointsman: line %zu has %zu bytes, at most %zu can be asked about, passed over\n", number, n,
                                      LINE_LONGEST);
                        o->failed = true;
                }
        }
        if (ferror(lines)) {
                (void)fprintf(stderr, "pointsman: cannot read on after line %zu: %s\n", number, ERRNO_TEXT(errno));
                o->failed = true;
        }
}

static void nobody_drains(struct message *m, void *owner)
{
        (void)m;
        (void)owner;
}

static int start(struct offline *o)
{
        struct worker_setup setup = { .generation = o->generation, .home = &o->inbox, .drained = nobody_drains };
        const char *why = "out of memory";

        o->route = generation_route(o->generation, (struct pm_str){ "auto", 4 });
        if (!o->route && o->generation->n_routes)
                o->route = o->generation->routes[0];
        if (!o->route) {
                (void)fprintf(stderr, "%s: it has no routes\n", o->generation->file);
                return -ENOENT;
        }
        o->generation->n_listeners = 0; /* nobody has seen it yet, and it will have none */
        o->ask.deliver = on_ask;
        o->asked.deliver = on_asked;
        o->pool = pool_create(1);
        setup.pool = o->pool;
        o->worker = o->pool ? worker_create(&setup, &why) : NULL;
        if (!o->worker) {
                (void)fprintf(stderr, "pointsman: cannot start a worker: %s\n", why);
                return -ENOMEM;
        }
        return 0;
}

static void stop(struct offline *o)
{
        if (o->worker)
                worker_stop(o->worker);
        pool_destroy(o->pool);
        worker_destroy(o->worker);
}

int offline_run(const char *file, const char *text, FILE *lines, FILE *out)
{
        struct offline o = { .out = out };
        struct problems *p = problems_create(PROBLEMS_MAX);

        log_setup(PM_WARN, LOG_LOGFMT);
        if (!p || gateway_prepare() < 0 || generation_load(file, 1, p, &o.generation) < 0) {
                (void)fputs(p && problems_count(p) ? problems_text(p) : "pointsman: out of memory\n", stderr);
                problems_destroy(p);
                return EXIT_FAILURE;
        }
        problems_destroy(p);
        o.base = event_base_new();
        if (!o.base || inbox_init(&o.inbox, o.base, &o) < 0) {
                (void)fputs("pointsman: out of memory\n", stderr);
                o.failed = true;
        } else {
                if (start(&o) < 0)
                        o.failed = true;
                else if (text)
                        ask(&o, text, strlen(text));
                else
                        ask_lines(&o, lines);
                stop(&o);
                inbox_finish(&o.inbox);
        }
        if (o.base)
                event_base_free(o.base);
        generation_release(o.generation);
        return o.failed || ferror(out) ? EXIT_FAILURE : EXIT_SUCCESS;
}
