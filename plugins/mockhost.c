/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host in one file: the loop that runs steps, the functions that a step may call, and the operations that they start.
 *
 * A move only notes what is wanted; the loop carries it out after the step has returned, as the gateway does.  `in_step` is true
 * while a step runs: a host function that is called at any other time (from an offload's work, from a deferred function) is a
 * mistake of the router and is told, where a real host could only crash.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "loader.h"
#include "mockhost.h"
#include "scrap.h"

#include "base.h"

#define ALLOC_MAX ((size_t)16 << 20)

enum move {
        NO_MOVE,
        DECIDE,
        CANDIDATES,
        PASS,
        FAIL,
        LAST_ENDING = FAIL,
        EMBED,
        CALL,
        OFFLOAD,
        TWO_MOVES
};

struct deferred {
        void (*fn)(void *arg);
        void *arg;
        struct deferred *before;
};

struct mockhost {
        const struct pm_router *router;
        const char *instance;
        struct mock_setup setup;
        struct scrap *memory;
        void *self;
        const struct pm_expert **experts;
        const char **expert_names;
        atomic_uint_fast64_t tickets;
        char *why; /* of the open() that runs */
        size_t why_n;
        bool refused;
        char *log;
        size_t log_n;
};

/* One query on its way.  `query` is what the router sees. */
struct run {
        struct pm_query query;
        struct mockhost *h;
        const struct mock_ask *ask;
        struct mock_result *result;
        struct scrap *memory;
        uint64_t ticket;
        enum move move;
        pm_step_fn *then;
        const char *encoder;
        struct pm_str text;
        struct pm_call call;
        void (*work)(void *job);
        void *job;
        struct deferred *deferred;
        unsigned operations, defers;
        atomic_bool in_step, misused;
        char *log;
        size_t log_n;
        double began;
};

static double clock_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The run behind a query; notes calls that come when no step runs. */
static struct run *run_of(struct pm_query *q)
{
        struct run *r = CONTAINER_OF(q, struct run, query);

        if (!atomic_load(&r->in_step))
                atomic_store(&r->misused, true);
        return r;
}

static PRINTF(4, 0) void append_line(char **log, size_t *n, enum pm_level level, const char *fmt, va_list args)
{
        static const char *const names[] = { "debug", "info", "warn", "error" };
        char line[1024];
        int head = snprintf(line, sizeof line, "%s: ", level >= PM_DEBUG && level <= PM_ERROR ? names[level - 1] : "unknown level");
        char *grown;
        size_t length;

        (void)vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
        length = strlen(line);
        line[length++] = '\n';
        grown = realloc(*log, *n + length + 1);
        assert(grown);
        memcpy(grown + *n, line, length);
        *log = grown;
        *n += length;
        grown[*n] = '\0';
}

static const char *keep(struct run *r, const char *text)
{
        return text ? scrap_text(r->memory, text, strlen(text)) : NULL;
}

static struct pm_str keep_str(struct run *r, struct pm_str s)
{
        return (struct pm_str){ scrap_text(r->memory, s.p, s.n), s.n };
}

static PRINTF(2, 3) const char *format(struct run *r, const char *fmt, ...)
{
        char text[512];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        return keep(r, text);
}

/* ---- what a step may call ------------------------------------------------------------------------------------------------- */

/* Notes a move.  False for the second one of a step, whose arguments no longer matter. */
static bool moved(struct run *r, enum move move)
{
        r->move = r->move == NO_MOVE ? move : TWO_MOVES;
        return r->move == move;
}

static pm_step host_decide(struct pm_query *q, const struct pm_decision *d)
{
        struct run *r = run_of(q);
        struct mock_result *o = r->result;
        const char **fallbacks;
        size_t n = 0;

        if (!moved(r, DECIDE))
                return (pm_step){ r->ticket };
        o->expert = keep(r, d->expert);
        o->category = keep(r, d->category);
        o->reason = keep(r, d->reason);
        o->extra = keep(r, d->extra);
        o->confidence = d->confidence;
        while (d->fallbacks && d->fallbacks[n])
                n++;
        fallbacks = scrap_alloc(r->memory, (n + 1) * sizeof *fallbacks);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < q->n_experts; k++)
                        if (strcmp(q->experts[k]->name, d->fallbacks[i]) == 0)
                                fallbacks[o->n_fallbacks++] = q->experts[k]->name;
        o->fallbacks = fallbacks;
        return (pm_step){ r->ticket };
}

static pm_step host_candidates(struct pm_query *q, const struct pm_item *const *items, size_t n)
{
        struct run *r = run_of(q);

        if (moved(r, CANDIDATES)) {
                r->result->items = items;
                r->result->n_items = n;
        }
        return (pm_step){ r->ticket };
}

static pm_step host_pass(struct pm_query *q)
{
        struct run *r = run_of(q);

        (void)moved(r, PASS);
        return (pm_step){ r->ticket };
}

static PRINTF(2, 3) pm_step host_fail(struct pm_query *q, const char *fmt, ...)
{
        struct run *r = run_of(q);
        char text[512];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        if (moved(r, FAIL))
                r->result->text = keep(r, text);
        return (pm_step){ r->ticket };
}

static pm_step host_embed(struct pm_query *q, const char *encoder, struct pm_str text, pm_step_fn *then)
{
        struct run *r = run_of(q);

        if (moved(r, EMBED)) {
                r->encoder = keep(r, encoder);
                r->text = keep_str(r, text);
                r->then = then;
        }
        return (pm_step){ r->ticket };
}

static pm_step host_call(struct pm_query *q, pm_step_fn *then, const struct pm_call *c)
{
        struct run *r = run_of(q);

        if (moved(r, CALL)) {
                r->call = *c;
                r->call.expert = keep(r, c->expert);
                r->call.path = keep(r, c->path ? c->path : "/chat/completions");
                r->call.body = keep_str(r, c->body);
                r->call.max_reply = c->max_reply ? c->max_reply : (size_t)1 << 20;
                r->then = then;
        }
        return (pm_step){ r->ticket };
}

static pm_step host_offload(struct pm_query *q, void (*work)(void *job), void *job, pm_step_fn *then)
{
        struct run *r = run_of(q);

        if (moved(r, OFFLOAD)) {
                r->work = work;
                r->job = job;
                r->then = then;
        }
        return (pm_step){ r->ticket };
}

static void *host_alloc(struct pm_query *q, size_t n)
{
        struct run *r = run_of(q);

        if (n > (r->h->setup.alloc_max ? r->h->setup.alloc_max : ALLOC_MAX))
                return NULL;
        r->result->allocated += n;
        return scrap_alloc(r->memory, n);
}

static int host_defer(struct pm_query *q, void (*fn)(void *arg), void *arg)
{
        struct run *r = run_of(q);
        struct deferred *d;

        if (++r->defers == r->ask->faults.defer_at) {
                fn(arg);
                return -1;
        }
        d = scrap_alloc(r->memory, sizeof *d);
        *d = (struct deferred){ fn, arg, r->deferred };
        r->deferred = d;
        return 0;
}

static PRINTF(3, 4) void host_log(struct pm_query *q, enum pm_level level, const char *fmt, ...)
{
        struct run *r = run_of(q);
        va_list args;

        va_start(args, fmt);
        append_line(&r->log, &r->log_n, level, fmt, args);
        va_end(args);
}

static struct pm_str host_header(struct pm_query *q, const char *name)
{
        struct run *r = run_of(q);
        struct pm_str joined = { NULL, 0 };

        for (const char *const *h = r->ask->headers; h && h[0] && h[1]; h += 2)
                if (strcasecmp(h[0], name) == 0) {
                        size_t n = joined.n + strlen(h[1]) + 2;
                        char *text = scrap_alloc(r->memory, n + 1);

                        (void)snprintf(text, n + 1, "%s%s%s", joined.n ? joined.p : "", joined.n ? ", " : "", h[1]);
                        joined = mock_str(text);
                }
        return joined;
}

static const struct pm_host functions = {
        .size = sizeof(struct pm_host), .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR,
        .decide = host_decide, .candidates = host_candidates, .pass = host_pass, .fail = host_fail,
        .embed = host_embed, .call = host_call, .offload = host_offload,
        .alloc = host_alloc, .defer = host_defer, .log = host_log, .header = host_header,
};

/* ---- operations ------------------------------------------------------------------------------------------------------------ */

static void operate_embed(struct run *r)
{
        const struct mock_setup *s = &r->h->setup;
        struct mock_vector v = { 0 };
        bool known = s->embed && s->embed(s->ctx, r->encoder, r->text, &v);
        float *copy;

        r->result->embeds++;
        for (size_t i = 0; !known && i < s->n_vectors; i++) {
                const struct mock_vector *row = &s->vectors[i];

                known = (!row->encoder || (r->encoder && strcmp(row->encoder, r->encoder) == 0)) &&
                        (!row->text || (strlen(row->text) == r->text.n && memcmp(row->text, r->text.p, r->text.n) == 0));
                if (known)
                        v = *row;
        }
        r->query.status = known ? v.status : PM_EINVAL;
        if (r->query.status != PM_OK || v.dim == 0)
                return;
        copy = scrap_alloc(r->memory, v.dim * sizeof *copy);
        memcpy(copy, v.v, v.dim * sizeof *copy);
        r->query.vector = copy;
        r->query.dim = v.dim;
}

static bool expert_known(const struct run *r, const char *name)
{
        for (size_t i = 0; name && i < r->h->setup.n_experts; i++)
                if (strcmp(r->h->setup.experts[i].name, name) == 0)
                        return true;
        return false;
}

static void operate_call(struct run *r)
{
        const struct mock_setup *s = &r->h->setup;
        struct mock_reply reply = { 0 };
        bool known = s->call && s->call(s->ctx, &r->call, &reply);

        r->result->calls++;
        for (size_t i = 0; !known && i < s->n_replies; i++) {
                const struct mock_reply *row = &s->replies[i];

                known = (!row->expert || (r->call.expert && strcmp(row->expert, r->call.expert) == 0)) &&
                        (!row->contains || strstr(r->call.body.p, row->contains));
                if (known)
                        reply = *row;
        }
        if (!known || !expert_known(r, r->call.expert)) {
                r->query.status = known ? PM_EINVAL : PM_EUNREACHABLE;
                return;
        }
        r->query.status = reply.status;
        if (reply.status != PM_OK && reply.status != PM_EUPSTREAM)
                return;
        r->query.http_status = reply.http_status ? reply.http_status : reply.status ? 500 : 200;
        if (r->query.http_status < 200 || r->query.http_status > 299)
                r->query.status = PM_EUPSTREAM;
        r->query.reply = keep_str(r, mock_str(reply.body));
        if (r->query.reply.n > r->call.max_reply) {
                r->query.status = PM_ETOOBIG;
                r->query.reply = (struct pm_str){ NULL, 0 };
        }
}

static void *work_thread(void *arg)
{
        struct run *r = arg;

        r->work(r->job);
        return NULL;
}

static void operate_offload(struct run *r)
{
        pthread_t thread;

        r->result->offloads++;
        r->query.status = PM_OK;
        if (!r->h->setup.threads)
                r->work(r->job);
        else if (pthread_create(&thread, NULL, work_thread, r) == 0)
                (void)pthread_join(thread, NULL);
        else
                r->query.status = PM_EBUSY;
}

/* Carries out the continuation that a step asked for.  False: the client left meanwhile. */
static bool operate(struct run *r)
{
        const struct mock_faults *f = &r->ask->faults;
        unsigned now = ++r->operations;

        r->query.http_status = 0;
        r->query.reply = (struct pm_str){ NULL, 0 };
        r->query.vector = NULL;
        r->query.dim = 0;
        if (now == f->busy_at) {
                r->query.status = PM_EBUSY;
                return true;
        }
        if (now == f->timeout_at) {
                r->query.status = PM_ETIMEOUT;
                return true;
        }
        if (r->move == EMBED)
                operate_embed(r);
        else if (r->move == CALL)
                operate_call(r);
        else
                operate_offload(r);
        return now != f->leave_at;
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------- */

static enum mock_end broken(struct run *r, const char *why)
{
        r->result->text = format(r, "router '%s': step %u %s", r->h->instance, r->result->steps, why);
        return MOCK_BROKEN;
}

static enum mock_end refused(struct run *r, const char *why)
{
        r->result->text = keep(r, why);
        return MOCK_REFUSED;
}

static enum mock_end check_decision(struct run *r)
{
        struct mock_result *o = r->result;
        bool usable = false;
        json_t *extra;

        if (r->query.kind != PM_CHAT)
                return refused(r, "decided, where candidates were asked for");
        if (!o->expert)
                return refused(r, "decided without an expert");
        for (size_t i = 0; i < r->query.n_experts; i++)
                usable = usable || strcmp(r->query.experts[i]->name, o->expert) == 0;
        if (!usable)
                return refused(r, format(r, "decided for '%s', which is none of the query's experts", o->expert));
        if (!(o->confidence >= 0 && o->confidence <= 1))
                return refused(r, format(r, "decided with a confidence of %g, which is not in 0..1", o->confidence));
        extra = o->extra ? json_loads(o->extra, 0, NULL) : NULL;
        if (o->extra && !json_is_object(extra)) {
                json_decref(extra);
                return refused(r, format(r, "decided with extra '%.60s', which is no JSON object", o->extra));
        }
        json_decref(extra);
        return MOCK_DECIDED;
}

/* Copies the items, which may live in memory of the router's own until the query ends. */
static enum mock_end check_candidates(struct run *r)
{
        struct mock_result *o = r->result;
        const struct pm_item *const *theirs = o->items;
        const struct pm_item **ours;

        if (r->query.kind != PM_RECOMMEND)
                return refused(r, "gave candidates, where a decision was asked for");
        if (o->n_items > r->query.wanted)
                o->n_items = r->query.wanted;
        ours = scrap_alloc(r->memory, o->n_items * sizeof *ours);
        for (size_t i = 0; i < o->n_items; i++) {
                struct pm_item *copy = scrap_alloc(r->memory, sizeof *copy);

                if (!theirs || !theirs[i])
                        return refused(r, format(r, "gave %zu candidates, of which number %zu is NULL", o->n_items, i));
                *copy = *theirs[i];
                copy->id = keep_str(r, copy->id);
                copy->interest = keep(r, copy->interest);
                copy->source = keep(r, copy->source);
                ours[i] = copy;
        }
        o->items = ours;
        return MOCK_CANDIDATES;
}

static enum mock_end ending(struct run *r)
{
        switch (r->move) {
        case DECIDE:
                return check_decision(r);
        case CANDIDATES:
                return check_candidates(r);
        case PASS:
                return MOCK_PASSED;
        default:
                return MOCK_FAILED;
        }
}

static pm_step take_step(struct run *r, pm_step_fn *step)
{
        struct mock_result *o = r->result;
        double began, took;
        pm_step got;

        r->ticket = atomic_fetch_add(&r->h->tickets, 0x9e3779b97f4a7c15u); /* odd: no ticket comes twice */
        r->move = NO_MOVE;
        r->then = NULL;
        o->steps++;
        began = clock_us();
        loader_running(r->h->instance);
        atomic_store(&r->in_step, true);
        got = step(r->h->self, &r->query);
        atomic_store(&r->in_step, false);
        loader_running(NULL);
        took = clock_us() - began;
        o->steps_us += took;
        o->longest_us = MAX(o->longest_us, took);
        return got;
}

static enum mock_end advance(struct run *r, pm_step_fn *step)
{
        const struct mock_setup *s = &r->h->setup;
        int limit = s->limit_ms ? s->limit_ms : 1000;

        for (;;) {
                double gone = (clock_us() - r->began) / 1000;
                pm_step got;

                if (gone > limit)
                        return MOCK_LATE;
                if (r->result->steps >= (s->max_steps ? s->max_steps : 64))
                        return broken(r, "was the last one allowed, and the query has not ended");
                r->query.left_ms = limit - (int64_t)gone;
                got = take_step(r, step);
                if (r->move == NO_MOVE)
                        return broken(r, "returned without a move");
                if (r->move == TWO_MOVES)
                        return broken(r, "made two moves");
                if (got.ticket != r->ticket)
                        return broken(r, "returned a step that no move of its own made");
                if (r->move <= LAST_ENDING)
                        return ending(r);
                if (!r->then || (r->move == OFFLOAD && !r->work))
                        return broken(r, "named no function to go on with");
                if (!operate(r))
                        return MOCK_LEFT;
                if (atomic_load(&r->misused))
                        return broken(r, "started work that called a function of the host");
                step = r->then;
        }
}

/* ---- the query ------------------------------------------------------------------------------------------------------------- */

static struct pm_str make_body(struct run *r)
{
        json_t *messages = json_array(), *body;
        char *text;
        struct pm_str kept;

        for (size_t i = 0; i < r->query.n_messages; i++) {
                const struct pm_message *m = r->query.messages[i];

                (void)json_array_append_new(messages, json_pack("{s:s%, s:s%}", "role", m->role.p ? m->role.p : "", m->role.n,
                                                                "content", m->text.p ? m->text.p : "", m->text.n));
        }
        body = json_pack("{s:s%, s:o}", "model", r->query.model.p, r->query.model.n, "messages", messages);
        text = body ? json_dumps(body, JSON_COMPACT) : NULL;
        kept = keep_str(r, mock_str(text ? text : "{}"));
        free(text);
        json_decref(body);
        return kept;
}

static const struct pm_message *const *make_messages(struct run *r, size_t *ret_n)
{
        const struct mock_ask *ask = r->ask;
        size_t n = ask->messages ? ask->n_messages : 1;
        const struct pm_message **list = scrap_alloc(r->memory, n * sizeof *list);
        struct pm_message *own;

        for (size_t i = 0; ask->messages && i < n; i++)
                list[i] = &ask->messages[i];
        if (!ask->messages) {
                own = scrap_alloc(r->memory, sizeof *own);
                *own = (struct pm_message){ .role = mock_str("user"), .text = ask->text };
                list[0] = own;
        }
        *ret_n = n;
        return list;
}

static const struct pm_str *const *make_list(struct run *r, const char *const *texts, size_t *ret_n)
{
        const struct pm_str **list;
        size_t n = 0;

        while (texts && texts[n])
                n++;
        list = scrap_alloc(r->memory, n * sizeof *list);
        for (size_t i = 0; i < n; i++) {
                struct pm_str *s = scrap_alloc(r->memory, sizeof *s);

                *s = mock_str(texts[i]);
                list[i] = s;
        }
        *ret_n = n;
        return list;
}

static void make_query(struct run *r)
{
        const struct mock_ask *ask = r->ask;
        struct pm_query *q = &r->query;

        *q = (struct pm_query){ .size = sizeof *q, .kind = ask->kind ? ask->kind : PM_CHAT, .host = &functions };
        q->id = mock_str(ask->id ? ask->id : "mock-1");
        q->tenant = mock_str(ask->tenant ? ask->tenant : "");
        q->model = mock_str(ask->model ? ask->model : "auto");
        if (q->kind == PM_CHAT) {
                q->text = ask->text;
                q->messages = make_messages(r, &q->n_messages);
                q->experts = r->h->experts;
                q->n_experts = r->h->setup.n_experts;
        } else {
                q->user = mock_str(ask->user ? ask->user : "");
                q->history = make_list(r, ask->history, &q->n_history);
                q->exclude = make_list(r, ask->exclude, &q->n_exclude);
                q->wanted = ask->wanted;
        }
        q->body = ask->body.n ? ask->body : make_body(r);
}

void mockhost_run(struct mockhost *h, const struct mock_ask *ask, struct mock_result *ret)
{
        struct scrap *memory = scrap_create();
        struct run *r = scrap_alloc(memory, sizeof *r);
        pm_step_fn *first;

        *ret = (struct mock_result){ .memory = memory };
        r->h = h;
        r->ask = ask;
        r->result = ret;
        r->memory = memory;
        make_query(r);
        first = r->query.kind == PM_CHAT ? h->router->route : h->router->recommend;
        r->began = clock_us();
        ret->end = first ? advance(r, first) : MOCK_PASSED; /* a router for the other kind of query is not asked */
        ret->total_us = clock_us() - r->began;
        for (struct deferred *d = r->deferred; d; d = d->before) {
                d->fn(d->arg);
                ret->defers++;
        }
        if (atomic_load(&r->misused) && ret->end != MOCK_BROKEN)
                ret->end = broken(r, "was followed by a call of a host function outside of any step");
        ret->log = r->log ? keep(r, r->log) : "";
        free(r->log);
}

void mock_result_finish(struct mock_result *r)
{
        scrap_destroy(r->memory);
        *r = (struct mock_result){ 0 };
}

/* ---- open and close --------------------------------------------------------------------------------------------------------- */

/* What open() is given, and the host behind it. */
struct opening {
        struct pm_open open;
        struct mockhost *h;
};

static struct mockhost *opening_host(const struct pm_open *o)
{
        const char *at = (const char *)o - offsetof(struct opening, open);
        struct opening opening;

        memcpy(&opening, at, sizeof opening);
        return opening.h;
}

static PRINTF(3, 4) void open_log(const struct pm_open *o, enum pm_level level, const char *fmt, ...)
{
        struct mockhost *h = opening_host(o);
        va_list args;

        va_start(args, fmt);
        append_line(&h->log, &h->log_n, level, fmt, args);
        va_end(args);
}

static PRINTF(2, 3) int open_refuse(const struct pm_open *o, const char *fmt, ...)
{
        struct mockhost *h = opening_host(o);
        int head = snprintf(h->why, h->why_n, "router '%s': ", h->instance);
        va_list args;

        if (head < 0 || (size_t)head >= h->why_n)
                head = 0;
        va_start(args, fmt);
        (void)vsnprintf(h->why + head, h->why_n - (size_t)head, fmt, args);
        va_end(args);
        h->refused = true;
        return -1;
}

static int open_router(struct mockhost *h)
{
        struct opening o = { .open = { .size = sizeof o.open, .instance = h->instance, .experts = h->expert_names,
                                       .n_experts = h->setup.n_experts, .log = open_log, .refuse = open_refuse }, .h = h };
        int r;

        loader_running(h->instance);
        r = h->router->open(h->self, &o.open);
        loader_running(NULL);
        if (r != 0 && !h->refused)
                (void)snprintf(h->why, h->why_n, "router '%s': open() returned %d without saying why", h->instance, r);
        return r != 0 || h->refused ? -EINVAL : 0;
}

static int fill_options(struct mockhost *h, const struct node *options)
{
        struct options_memory memory = { scrap_alloc_v, h->memory };
        struct problems *p = problems_create(100);
        size_t wrong;

        assert(p);
        wrong = options_fill(h->router->options, h->self, options, h->instance, h->setup.base, NULL, &memory, p);
        if (wrong)
                (void)snprintf(h->why, h->why_n, "%s", problems_text(p));
        problems_destroy(p);
        return wrong ? -EINVAL : 0;
}

int mockhost_open(const struct pm_router *router, const struct node *options, const struct mock_setup *setup,
                  struct mockhost **ret, char *why, size_t n)
{
        struct scrap *memory = scrap_create();
        struct mockhost *h = scrap_alloc(memory, sizeof *h);
        int r;

        h->router = router;
        h->memory = memory;
        h->setup = *setup;
        h->instance = setup->instance ? setup->instance : router->name;
        h->self = scrap_alloc(memory, router->self_size);
        h->experts = scrap_alloc(memory, setup->n_experts * sizeof *h->experts);
        h->expert_names = scrap_alloc(memory, setup->n_experts * sizeof *h->expert_names);
        h->why = why;
        h->why_n = n;
        atomic_init(&h->tickets, (uint_fast64_t)now_us() | 1);
        for (size_t i = 0; i < setup->n_experts; i++) {
                h->experts[i] = &setup->experts[i];
                h->expert_names[i] = setup->experts[i].name;
        }
        r = fill_options(h, options);
        if (r == 0 && router->open)
                r = open_router(h);
        h->why = NULL;
        if (r < 0) {
                free(h->log);
                scrap_destroy(memory);
                return r;
        }
        *ret = h;
        return 0;
}

void mockhost_close(struct mockhost *h)
{
        if (!h)
                return;
        if (h->router->close)
                h->router->close(h->self);
        free(h->log);
        scrap_destroy(h->memory);
}

void *mockhost_self(struct mockhost *h)
{
        return h->self;
}

const char *mockhost_log(const struct mockhost *h)
{
        return h->log ? h->log : "";
}

void mockhost_observe(struct mockhost *h, const struct pm_outcome *o)
{
        if (h->router->observe)
                h->router->observe(h->self, o);
}

const char *mock_end_text(enum mock_end end)
{
        static const char *const names[] = { [MOCK_DECIDED] = "decided", [MOCK_CANDIDATES] = "candidates", [MOCK_PASSED] = "passed",
                                             [MOCK_FAILED] = "failed", [MOCK_REFUSED] = "refused", [MOCK_BROKEN] = "broken",
                                             [MOCK_LATE] = "late", [MOCK_LEFT] = "left" };

        return end >= MOCK_DECIDED && end <= MOCK_LEFT ? names[end] : "?";
}
