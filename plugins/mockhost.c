/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries and the loop that runs their steps; mockhost_moves.c has what a step may call.
 *
 * A move only notes what is wanted; the loop carries it out after the step has returned, as the gateway does.  `in_step` is true
 * while a step runs: a host function that is called at any other time (from an offload's work, from a deferred function) is a
 * mistake of the router and is told, where a real host could only crash.
 */
#include <jansson.h>

#include "loader.h"
#include "mockhost_parts.h"
#include "query_view.h"

#include "base.h"

static double clock_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static PRINTF(2, 3) const char *format(struct run *r, const char *fmt, ...)
{
        char text[512];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        return run_keep(r, text);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------- */

static enum mock_end broken(struct run *r, const char *why)
{
        r->result->text = format(r, "router '%s': step %u %s", r->h->instance, r->result->steps, why);
        return MOCK_BROKEN;
}

static enum mock_end refused(struct run *r, const char *why)
{
        r->result->text = run_keep(r, why);
        return MOCK_REFUSED;
}

static bool is_expert(const struct mockhost *h, const char *name)
{
        for (size_t i = 0; i < h->setup.n_experts; i++)
                if (strcmp(h->expert_names[i], name) == 0)
                        return true;
        return false;
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
        if (!usable && !o->only && is_expert(r->h, o->expert))
                return MOCK_PASSED; /* it rests */
        if (!usable && !is_expert(r->h, o->expert))
                return refused(r, format(r, "decided for '%s', which is none of the query's experts", o->expert));
        if (!(o->confidence >= 0 && o->confidence <= 1))
                return refused(r, format(r, "decided with a confidence of %g, which is not in 0..1", o->confidence));
        extra = o->extra ? json_loads(o->extra, 0, NULL) : NULL;
        if (o->extra && !json_is_object(extra)) {
                json_decref(extra);
                return refused(r, format(r, "decided with extra '%.60s', which is no JSON object", o->extra));
        }
        if (o->extra && (strlen(o->extra) > PM_EXTRA_BYTES_MAX || json_object_size(extra) > PM_EXTRA_MEMBERS_MAX)) {
                json_decref(extra);
                return refused(r, "decided with extra of more than 64 KiB or 256 members");
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
        ours = mempool_alloc(r->memory, o->n_items * sizeof *ours);
        for (size_t i = 0; i < o->n_items; i++) {
                struct pm_item *copy = mempool_alloc(r->memory, sizeof *copy);

                if (!theirs || !theirs[i])
                        return refused(r, format(r, "gave %zu candidates, of which number %zu is NULL", o->n_items, i));
                *copy = *theirs[i];
                copy->id = run_keep_str(r, copy->id);
                copy->interest = run_keep(r, copy->interest);
                copy->source = run_keep(r, copy->source);
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
        case REJECT:
                return r->query.kind == PM_RECOMMEND ? MOCK_REJECTED : refused(r, "rejected a chat query");
        default:
                return MOCK_FAILED;
        }
}

static pm_step take_step(struct run *r, pm_step_fn *step)
{
        struct mock_result *o = r->result;
        struct loader_call before;
        double began, took;
        pm_step got;

        r->ticket = atomic_fetch_add(&r->h->tickets, 0x9e3779b97f4a7c15u); /* odd: no ticket comes twice */
        r->move = NO_MOVE;
        r->then = NULL;
        o->steps++;
        began = clock_us();
        before = loader_enter(r->h->instance, "a step");
        atomic_store(&r->in_step, true);
        got = step(r->h->self, &r->query);
        atomic_store(&r->in_step, false);
        loader_leave(before);
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
                        return broken(r, "named no function for its next step");
                if (!mockhost_operate(r))
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
        kept = run_keep_str(r, mock_str(text ? text : "{}"));
        free(text);
        json_decref(body);
        return kept;
}

static const struct pm_message *const *make_messages(struct run *r, size_t *ret_n)
{
        const struct mock_ask *ask = r->ask;
        size_t n = ask->messages ? ask->n_messages : 1;
        const struct pm_message **list = mempool_alloc(r->memory, n * sizeof *list);
        struct pm_message *own;

        for (size_t i = 0; ask->messages && i < n; i++)
                list[i] = &ask->messages[i];
        if (!ask->messages) {
                own = mempool_alloc(r->memory, sizeof *own);
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
        list = mempool_alloc(r->memory, n * sizeof *list);
        for (size_t i = 0; i < n; i++) {
                struct pm_str *s = mempool_alloc(r->memory, sizeof *s);

                *s = mock_str(texts[i]);
                list[i] = s;
        }
        *ret_n = n;
        return list;
}

/* ---- what the body of a recommend query says ------------------------------------------------------------------------------- */

static void wrong(struct run *r, const char *param, const char *what)
{
        r->wrong_param = r->wrong ? r->wrong_param : param;
        r->wrong = r->wrong ? r->wrong : what;
}

/* A list's texts behind those of *list. */
static void add_texts(struct run *r, const char *param, json_t *from, const struct pm_str *const **list, size_t *n)
{
        const struct pm_str **all = mempool_alloc(r->memory, (*n + json_array_size(from) + 1) * sizeof *all);

        if (!json_is_array(from))
                wrong(r, param, "must be a list of ids");
        for (size_t i = 0; i < *n; i++)
                all[i] = (*list)[i];
        for (size_t i = 0; i < json_array_size(from); i++) {
                json_t *id = json_array_get(from, i);
                struct pm_str *s = mempool_alloc(r->memory, sizeof *s);

                if (!json_is_string(id) || json_string_length(id) == 0)
                        wrong(r, param, "must be a list of ids");
                *s = run_keep_str(r, (struct pm_str){ json_is_string(id) ? json_string_value(id) : "", json_string_length(id) });
                all[(*n)++] = s;
        }
        *list = all;
}

static struct pm_str filter_value(struct run *r, json_t *v)
{
        char number[24];

        if (json_is_string(v))
                return run_keep_str(r, (struct pm_str){ json_string_value(v), json_string_length(v) });
        if (json_is_boolean(v))
                return mock_str(json_is_true(v) ? "true" : "false");
        if (!json_is_integer(v))
                wrong(r, "filter", "must be an object of attributes, each with a text, a whole number, true, false, or a list of these");
        (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        return mock_str(run_keep(r, number));
}

static const struct pm_filter *make_filter(struct run *r, const char *key, json_t *value)
{
        size_t n = json_is_array(value) ? json_array_size(value) : 1;
        struct pm_str *texts = mempool_alloc(r->memory, (n + 1) * sizeof *texts);
        const struct pm_str **list = mempool_alloc(r->memory, (n + 1) * sizeof *list);
        struct pm_filter *f = mempool_alloc(r->memory, sizeof *f);

        for (size_t i = 0; i < n; i++) {
                texts[i] = filter_value(r, json_is_array(value) ? json_array_get(value, i) : value);
                list[i] = &texts[i];
        }
        *f = (struct pm_filter){ mock_str(run_keep(r, key)), list, n };
        return f;
}

/* A member's value; null is what is not given. */
static json_t *given(json_t *body, const char *name)
{
        json_t *v = json_object_get(body, name);

        return json_is_null(v) ? NULL : v;
}

/* As the gateway reads it. */
static void read_body(struct run *r)
{
        struct pm_query *q = &r->query;
        json_t *body = json_loadb(q->body.p ? q->body.p : "", q->body.n, JSON_ALLOW_NUL, NULL), *value, *filter = given(body, "filter");
        const char *seen = json_string_value(given(body, "seen")), *key;
        const struct pm_filter **filters = mempool_alloc(r->memory, (json_object_size(filter) + 1) * sizeof *filters);

        if (r->ask->body.n && !json_is_object(body))
                wrong(r, NULL, "the body must be a JSON object");
        if (given(body, "deny"))
                add_texts(r, "deny", given(body, "deny"), &q->exclude, &q->n_exclude);
        if (given(body, "allow"))
                add_texts(r, "allow", given(body, "allow"), &q->allow, &q->n_allow);
        if (given(body, "seen") && (!seen || (strcmp(seen, "keep") != 0 && strcmp(seen, "drop") != 0)))
                wrong(r, "seen", "must be \"keep\" or \"drop\"");
        q->keep_seen = seen && strcmp(seen, "keep") == 0;
        if (filter && !json_is_object(filter))
                wrong(r, "filter", "must be an object of attributes, each with a text, a whole number, true, false, or a list of these");
        json_object_foreach(filter, key, value)
                filters[q->n_filters++] = make_filter(r, key, value);
        q->filters = filters;
        json_decref(body);
}

/* The experts that are not said to rest. */
static const struct pm_expert *const *present(struct run *r, size_t *ret_n)
{
        const struct pm_expert **list = mempool_alloc(r->memory, (r->h->setup.n_experts + 1) * sizeof *list);
        size_t n = 0;

        for (size_t i = 0; i < r->h->setup.n_experts; i++) {
                const char *const *resting = r->ask->resting;

                while (resting && *resting && strcmp(*resting, r->h->expert_names[i]) != 0)
                        resting++;
                if (!resting || !*resting)
                        list[n++] = r->h->experts[i];
        }
        *ret_n = n;
        return list;
}

static void make_query(struct run *r)
{
        const struct mock_ask *ask = r->ask;
        struct pm_query *q = &r->query;
        struct query_view all;

        *q = (struct pm_query){ .size = sizeof *q, .kind = ask->kind ? ask->kind : PM_CHAT, .host = &mockhost_functions };
        q->id = mock_str(ask->id ? ask->id : "mock-1");
        q->tenant = mock_str(ask->tenant ? ask->tenant : "");
        q->model = mock_str(ask->model ? ask->model : "auto");
        if (q->kind == PM_CHAT) {
                q->text = ask->text;
                q->user = mock_str(ask->user ? ask->user : "");
                q->messages = make_messages(r, &q->n_messages);
                q->experts = present(r, &q->n_experts);
        } else {
                q->user = mock_str(ask->user ? ask->user : "");
                q->history = make_list(r, ask->history, &q->n_history);
                q->exclude = make_list(r, ask->exclude, &q->n_exclude);
                q->wanted = ask->wanted;
        }
        q->body = ask->body.n ? ask->body : make_body(r);
        if (q->kind == PM_RECOMMEND)
                read_body(r);
        q->explain = ask->explain;
        all = view_of(q);
        view_for(q, &all, r->h->router->reads);
}

void mockhost_run(struct mockhost *h, const struct mock_ask *ask, struct mock_result *ret)
{
        struct mempool *memory = mempool_create();
        struct run *r = mempool_alloc(memory, sizeof *r);
        pm_step_fn *first;

        *ret = (struct mock_result){ .memory = memory };
        r->h = h;
        r->ask = ask;
        r->result = ret;
        r->memory = memory;
        make_query(r);
        first = r->query.kind == PM_CHAT ? h->router->route : h->router->recommend;
        r->began = clock_us();
        if (r->wrong) {
                ret->end = MOCK_REJECTED;
                ret->param = r->wrong_param;
                ret->text = r->wrong;
        } else {
                ret->end = first ? advance(r, first) : MOCK_PASSED; /* a router for the other kind of query is not asked */
        }
        ret->total_us = clock_us() - r->began;
        for (struct deferred *d = r->deferred; d; d = d->before) {
                d->fn(d->arg);
                ret->defers++;
        }
        mockhost_arrive(r);
        if (atomic_load(&r->misused) && ret->end != MOCK_BROKEN)
                ret->end = broken(r, "was followed by a call of a host function outside of any step");
        ret->log = r->log ? run_keep(r, r->log) : "";
        free(r->log);
}

void mock_result_finish(struct mock_result *r)
{
        mempool_destroy(r->memory);
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
        mockhost_append(&h->log, &h->log_n, level, fmt, args);
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

static void open_reads_header(const struct pm_open *o, const char *name)
{
        struct mockhost *h = opening_host(o);
        const char **more = mempool_alloc(h->memory, (h->n_read_headers + 1) * sizeof *more);

        if (h->n_read_headers)
                memcpy(more, h->read_headers, h->n_read_headers * sizeof *more);
        more[h->n_read_headers++] = memcpy(mempool_alloc(h->memory, strlen(name) + 1), name, strlen(name));
        h->read_headers = more;
}

static void open_insists(const struct pm_open *o)
{
        opening_host(o)->insists = true;
}

static int open_router(struct mockhost *h)
{
        struct opening o = { .open = { .size = sizeof o.open, .instance = h->instance, .experts = h->expert_names,
                                       .n_experts = h->setup.n_experts, .log = open_log, .refuse = open_refuse,
                                       .reads_header = open_reads_header, .insists = open_insists }, .h = h };
        struct loader_call before = loader_enter(h->instance, "open");
        int r = h->router->open(h->self, &o.open);

        loader_leave(before);
        if (r != 0 && !h->refused)
                (void)snprintf(h->why, h->why_n, "router '%s': open() returned %d without saying why", h->instance, r);
        return r != 0 || h->refused ? -EINVAL : 0;
}

static int fill_options(struct mockhost *h, const struct node *options)
{
        struct options_memory memory = { mempool_alloc_v, h->memory };
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
        struct mempool *memory = mempool_create();
        struct mockhost *h = mempool_alloc(memory, sizeof *h);
        int r;

        h->router = router;
        h->memory = memory;
        (void)pthread_mutex_init(&h->lock, NULL);
        h->setup = *setup;
        h->instance = setup->instance ? setup->instance : router->name;
        h->self = mempool_alloc(memory, router->self_size);
        h->experts = mempool_alloc(memory, setup->n_experts * sizeof *h->experts);
        h->expert_names = mempool_alloc(memory, setup->n_experts * sizeof *h->expert_names);
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
                (void)pthread_mutex_destroy(&h->lock);
                mempool_destroy(memory);
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
        (void)pthread_mutex_destroy(&h->lock);
        mempool_destroy(h->memory);
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
                                             [MOCK_LATE] = "late", [MOCK_LEFT] = "left", [MOCK_REJECTED] = "rejected" };

        return end >= MOCK_DECIDED && end <= MOCK_REJECTED ? names[end] : "?";
}
