/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a router can say and ask: the host's functions behind the macros of pm_router.h.  A move only records what the router wants;
 * routing.c carries it out when the step has returned.
 */
#include "host_api.h"

#include "base.h"
#include "config.h"
#include "edits.h"
#include "h1.h"
#include "js.h"
#include "loader.h"
#include "log.h"
#include "openai.h"
#include "query.h"

static struct routing *routing_of(struct pm_query *q)
{
        return CONTAINER_OF(q, struct routing, query);
}

static pm_step record(struct routing *x, enum move m)
{
        x->move = x->move == NO_MOVE ? m : TWO_MOVES;
        return (pm_step){ x->ticket };
}

static pm_step refuse(struct routing *x, const char *fmt, ...) PRINTF(2, 3);
static pm_step refuse(struct routing *x, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        x->text = arena_vprintf(x->call.arena, fmt, args);
        va_end(args);
        return record(x, REFUSED);
}

static struct expert *candidate(const struct routing *x, const char *name)
{
        for (size_t i = 0; name && i < x->query.n_experts; i++)
                if (strcmp(x->experts[i]->name, name) == 0)
                        return x->experts[i];
        return NULL;
}

/* For people: a router may have cut its words inside of a character, and what is too long for a header is cut here.  NULL: there are none,
 * or no memory. */
static const char *copy_words(struct arena *a, const char *words)
{
        size_t n = words ? strlen(words) : 0, ascii = 0, quoted;
        char *out;

        if (!words)
                return NULL;
        if (n > DECISION_WORDS_MAX) {
                n = DECISION_WORDS_MAX - 3;
                while (n && ((unsigned char)words[n] & 0xC0) == 0x80)
                        n--;
                out = arena_printf(a, "%.*s...", (int)n, words);
                return out ? copy_words(a, out) : NULL;
        }
        while (ascii < n && (unsigned char)words[ascii] < 0x80)
                ascii++;
        if (ascii == n)
                return arena_strndup(a, words, n);
        out = arena_alloc(a, 12 * n + 3);
        if (!out)
                return NULL;
        quoted = js_escape((struct pm_str){ words, n }, out + 6 * n + 1) + 2; /* what is no character becomes one there */
        out[js_unescape((struct pm_str){ out + 6 * n, quoted }, out)] = 0;
        return out;
}

bool route_listed(struct expert *const *list, size_t n, const struct expert *e)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == e)
                        return true;
        return false;
}

static pm_step host_decide(struct pm_query *q, const struct pm_decision *d)
{
        struct routing *x = routing_of(q);
        struct decision *got = &x->decision;
        struct arena *a = x->call.arena;
        struct expert *e = candidate(x, d->expert);
        bool only = x->router->table->minor >= 3 && d->only;
        const char *why;
        size_t n = 0;

        if (x->move != NO_MOVE)
                return record(x, DECIDE);
        if (q->kind != PM_CHAT)
                return refuse(x, "decided for an expert, where candidates were asked for");
        if (!e && d->expert && (e = generation_expert(x->call.generation, (struct pm_str){ d->expert, strlen(d->expert) })) && !only &&
            (x->call.route->fallbacks > 0 || !route_may_use(x->call.route, x->call.tenant, x->call.query->api, e)))
                return record(x, PASS); /* it rests: the route has others */
        x->only = only;
        if (!e)
                return refuse(x, "decided for '%s', which is not among the %zu experts that it was offered",
                              d->expert ? d->expert : "(NULL)", q->n_experts);
        if (!(d->confidence >= 0 && d->confidence <= 1 + 1e-6)) /* a sum of shares may be a little more */
                return refuse(x, "stated a confidence of %g, which is not in 0..1", d->confidence);
        if (d->extra && edits_extra_check((struct pm_str){ d->extra, strlen(d->extra) }, NULL, &why) < 0)
                return refuse(x, "gave an 'extra' that %s", why);
        while (!only && d->fallbacks && d->fallbacks[n])
                n++;
        *got = (struct decision){ .how = DECISION_COMPUTED, .expert = e, .router = x->router, .category = copy_words(a, d->category),
                                  .reason = copy_words(a, d->reason), .confidence = MIN(d->confidence, 1), .explained = got->explained };
        if (d->extra && !(got->extra = arena_strndup(a, d->extra, strlen(d->extra))))
                return refuse(x, "ran out of memory for its 'extra'");
        got->only = only;
        got->fallbacks = arena_alloc(a, (n + 1) * sizeof(struct expert *));
        for (size_t i = 0; got->fallbacks && i < n; i++) {
                struct expert *f = candidate(x, d->fallbacks[i]);

                if (f && f != e && !route_listed(got->fallbacks, got->n_fallbacks, f))
                        got->fallbacks[got->n_fallbacks++] = f;
        }
        got->provisional = x->provisional || (x->router->table->minor >= 2 && d->provisional);
        got->unsure = x->router->table->minor >= 3 && d->unsure;
        x->keepable = x->keepable && !got->provisional && candidate(x, e->name);
        return record(x, DECIDE);
}

static pm_step host_candidates(struct pm_query *q, const struct pm_item *const *items, size_t n)
{
        struct routing *x = routing_of(q);

        if (x->move != NO_MOVE)
                return record(x, CANDIDATES);
        if (q->kind != PM_RECOMMEND)
                return refuse(x, "answered a chat query with candidates");
        if (n > q->wanted)
                return refuse(x, "gave %zu candidates, where %zu were wanted", n, q->wanted);
        for (size_t i = 0; i < n; i++)
                if (!items || !items[i] || items[i]->id.n == 0 || !items[i]->id.p || !__builtin_isfinite(items[i]->score))
                        return refuse(x, "gave a candidate without an id or with a score that is no number, the %zuth of %zu", i + 1, n);
        x->items = items;
        x->n_items = n;
        x->decision.how = DECISION_COMPUTED;
        x->decision.router = x->router;
        return record(x, CANDIDATES);
}

static void host_explain(struct pm_query *q, const char *json)
{
        struct routing *x = routing_of(q);
        struct pm_str text = { json, strlen(json) };

        if (!q->explain)
                return;
        if (js_check(text, 64, NULL, NULL) < 0 || js_type(js_trim(text)) != JS_OBJECT)
                route_say(x, PM_WARN, "explanation is not a JSON object, ignored");
        else
                x->decision.explained = arena_strndup(x->call.arena, json, text.n);
}

static pm_step host_pass(struct pm_query *q)
{
        return record(routing_of(q), PASS);
}

static pm_step host_fail(struct pm_query *q, const char *fmt, ...) PRINTF(2, 3);
static pm_step host_fail(struct pm_query *q, const char *fmt, ...)
{
        struct routing *x = routing_of(q);
        va_list args;

        va_start(args, fmt);
        x->text = arena_vprintf(x->call.arena, fmt, args);
        va_end(args);
        return record(x, FAIL);
}

static pm_step host_reject(struct pm_query *q, const char *param, const char *fmt, ...) PRINTF(3, 4);
static pm_step host_reject(struct pm_query *q, const char *param, const char *fmt, ...)
{
        struct routing *x = routing_of(q);
        char text[512];
        va_list args;

        if (q->kind != PM_RECOMMEND)
                return refuse(x, "rejected a chat query");
        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        x->text = copy_words(x->call.arena, text);
        x->param = param ? arena_strndup(x->call.arena, param, strlen(param)) : NULL;
        return record(x, REJECT);
}

static pm_step host_embed(struct pm_query *q, const char *encoder, struct pm_str text, pm_step_fn *then)
{
        struct routing *x = routing_of(q);

        if (!then)
                return refuse(x, "called pm_embed without a next step");
        x->text = encoder ? arena_strndup(x->call.arena, encoder, strlen(encoder)) : "";
        /* the query's own text stays; other text may be the step's */
        x->to_embed = text.n == 0 || text.p == x->query.text.p
                              ? text : (struct pm_str){ arena_strndup(x->call.arena, text.p, text.n), text.n };
        x->then = then;
        return record(x, EMBED);
}

static pm_step host_call(struct pm_query *q, pm_step_fn *then, const struct pm_call *c)
{
        struct routing *x = routing_of(q);
        struct arena *a = x->call.arena;

        if (!then)
                return refuse(x, "called pm_call without a next step");
        x->pm_call = (struct pm_call){ 0 };
        memcpy(&x->pm_call, c, x->router->table->minor >= 2 ? sizeof *c : offsetof(struct pm_call, background)); /* as it knew it */
        if (!x->pm_call.path)
                x->pm_call.path = openai_chat.path;
        x->pm_call.path = arena_strndup(a, x->pm_call.path, strlen(x->pm_call.path));
        x->pm_call.body.p = arena_strndup(a, c->body.p ? c->body.p : "", c->body.n);
        x->asked = generation_expert(x->call.generation, (struct pm_str){ c->expert, c->expert ? strlen(c->expert) : 0 });
        x->then = then;
        return record(x, CALL);
}

static pm_step host_offload(struct pm_query *q, void (*work)(void *job), void *job, pm_step_fn *then)
{
        struct routing *x = routing_of(q);

        if (!then || !work)
                return refuse(x, "called pm_offload without work or without a next step");
        x->work = work;
        x->work_arg = job;
        x->then = then;
        return record(x, OFFLOAD);
}

static void host_keep(struct pm_query *q, int seconds)
{
        struct routing *x = routing_of(q);

        if (x->replied)
                callout_shorten(x->replied, (int64_t)MAX(seconds, 0) * 1000);
}

static void *host_alloc(struct pm_query *q, size_t n)
{
        return n > ROUTE_ALLOC_MAX ? NULL : arena_zalloc(routing_of(q)->call.arena, n);
}

struct deferred {
        void (*fn)(void *arg);
        void *arg;
        const char *router;
};

static void run_deferred(void *arg)
{
        const struct deferred *d = arg;
        struct loader_call before = loader_enter(d->router, "a deferred function");

        d->fn(d->arg);
        loader_leave(before);
}

static int host_defer(struct pm_query *q, void (*fn)(void *arg), void *arg)
{
        struct routing *x = routing_of(q);
        struct deferred now = { fn, arg, x->router->name }, *d = arena_alloc(x->call.arena, sizeof *d);

        if (!d) {
                run_deferred(&now);
                return -1;
        }
        *d = now;
        return arena_defer(x->call.arena, run_deferred, d) < 0 ? -1 : 0;
}

void route_say(struct routing *x, enum pm_level level, const char *what)
{
        struct log_line l;

        log_begin(&l, x->call.worker->loop.log, level, what);
        log_str(&l, "id", x->call.id);
        log_text(&l, "router", x->router ? x->router->name : NULL);
        log_end(&l);
}

static void host_log(struct pm_query *q, enum pm_level level, const char *fmt, ...) PRINTF(3, 4);
static void host_log(struct pm_query *q, enum pm_level level, const char *fmt, ...)
{
        char text[1024];
        va_list args;

        if (!log_wants(level))
                return;
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        route_say(routing_of(q), level, text);
}

/* A router that says what it reads is shown no other header. */
static bool may_read(const struct router *r, const char *name)
{
        if (!r->table->reads)
                return true;
        for (size_t i = 0; r->table->reads & PM_READS_HEADERS && i < r->n_read_headers; i++)
                if (strcasecmp(r->read_headers[i], name) == 0)
                        return true;
        return false;
}

static struct pm_str host_header(struct pm_query *q, const char *name)
{
        struct routing *x = routing_of(q);
        const struct h1_head *h = x->call.head;
        struct pm_str all = { 0 };
        size_t n = strlen(name);

        if (!may_read(x->router, name))
                return all;
        for (size_t i = 0; h && i < h->n_headers; i++) {
                const struct h1_header *one = &h->headers[i];

                if (one->name.n != n || strncasecmp(one->name.p, name, n) != 0)
                        continue;
                if (!all.p) {
                        all = one->value;
                } else {
                        char *joined = arena_printf(x->call.arena, "%.*s, %.*s", (int)all.n, all.p, (int)one->value.n, one->value.p);

                        if (joined)
                                all = (struct pm_str){ joined, strlen(joined) };
                }
        }
        return all;
}

const struct pm_host route_host = {
        .size = sizeof(struct pm_host), .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR,
        .decide = host_decide, .candidates = host_candidates, .pass = host_pass, .fail = host_fail, .embed = host_embed,
        .call = host_call, .offload = host_offload, .alloc = host_alloc, .defer = host_defer, .log = host_log, .header = host_header,
        .explain = host_explain, .reject = host_reject, .keep = host_keep,
};
