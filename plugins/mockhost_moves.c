/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that a step may call, and the operations that they start.  A move only notes what is wanted; mockhost.c has it
 * carried out after the step has returned, as the gateway does.
 */
#include "mockhost_parts.h"

#include "base.h"

#define ALLOC_MAX ((size_t)16 << 20)

/* The run behind a query; notes calls that come when no step runs. */
static struct run *run_of(struct pm_query *q)
{
        struct run *r = CONTAINER_OF(q, struct run, query);

        if (!atomic_load(&r->in_step))
                atomic_store(&r->misused, true);
        return r;
}

void mockhost_append(char **log, size_t *n, enum pm_level level, const char *fmt, va_list args)
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

const char *run_keep(struct run *r, const char *text)
{
        return text ? mempool_text(r->memory, text, strlen(text)) : NULL;
}

struct pm_str run_keep_str(struct run *r, struct pm_str s)
{
        return (struct pm_str){ mempool_text(r->memory, s.p, s.n), s.n };
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
        o->expert = run_keep(r, d->expert);
        o->category = run_keep(r, d->category);
        o->reason = run_keep(r, d->reason);
        o->extra = run_keep(r, d->extra);
        o->confidence = d->confidence;
        o->provisional = r->h->router->minor >= 2 && d->provisional;
        o->unsure = r->h->router->minor >= 3 && d->unsure;
        o->only = r->h->router->minor >= 3 && d->only;
        while (!o->only && d->fallbacks && d->fallbacks[n])
                n++;
        fallbacks = mempool_alloc(r->memory, (n + 1) * sizeof *fallbacks);
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
                r->result->text = run_keep(r, text);
        return (pm_step){ r->ticket };
}

static PRINTF(3, 4) pm_step host_reject(struct pm_query *q, const char *param, const char *fmt, ...)
{
        struct run *r = run_of(q);
        char text[512];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        if (moved(r, REJECT)) {
                r->result->text = run_keep(r, text);
                r->result->param = run_keep(r, param);
        }
        return (pm_step){ r->ticket };
}

static pm_step host_embed(struct pm_query *q, const char *encoder, struct pm_str text, pm_step_fn *then)
{
        struct run *r = run_of(q);

        if (moved(r, EMBED)) {
                r->encoder = run_keep(r, encoder);
                r->text = run_keep_str(r, text);
                r->then = then;
        }
        return (pm_step){ r->ticket };
}

static pm_step host_call(struct pm_query *q, pm_step_fn *then, const struct pm_call *c)
{
        struct run *r = run_of(q);

        if (moved(r, CALL)) {
                r->call = (struct pm_call){ 0 };
                memcpy(&r->call, c, r->h->router->minor >= 2 ? sizeof *c : offsetof(struct pm_call, background)); /* as it knew it */
                r->call.expert = run_keep(r, c->expert);
                r->call.path = run_keep(r, c->path ? c->path : "/chat/completions");
                r->call.body = run_keep_str(r, c->body);
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
        return mempool_alloc(r->memory, n);
}

static int host_defer(struct pm_query *q, void (*fn)(void *arg), void *arg)
{
        struct run *r = run_of(q);
        struct deferred *d;

        if (++r->defers == r->ask->faults.defer_at) {
                fn(arg);
                return -1;
        }
        d = mempool_alloc(r->memory, sizeof *d);
        *d = (struct deferred){ fn, arg, r->deferred };
        r->deferred = d;
        return 0;
}

static PRINTF(3, 4) void host_log(struct pm_query *q, enum pm_level level, const char *fmt, ...)
{
        struct run *r = run_of(q);
        va_list args;

        va_start(args, fmt);
        mockhost_append(&r->log, &r->log_n, level, fmt, args);
        va_end(args);
}

static void host_explain(struct pm_query *q, const char *json)
{
        struct run *r = run_of(q);
        json_t *o = json_loads(json, 0, NULL);

        if (json_is_object(o))
                r->result->explained = run_keep(r, json);
        json_decref(o);
}

static struct pm_str host_header(struct pm_query *q, const char *name)
{
        struct run *r = run_of(q);
        struct pm_str joined = { NULL, 0 };
        bool known = !r->h->router->reads;

        for (size_t i = 0; r->h->router->reads & PM_READS_HEADERS && i < r->h->n_read_headers; i++)
                known = known || strcasecmp(r->h->read_headers[i], name) == 0;
        if (!known)
                return joined; /* what it does not say that it reads, it is not shown */
        for (const char *const *h = r->ask->headers; h && h[0] && h[1]; h += 2)
                if (strcasecmp(h[0], name) == 0) {
                        size_t n = joined.n + strlen(h[1]) + 2;
                        char *text = mempool_alloc(r->memory, n + 1);

                        (void)snprintf(text, n + 1, "%s%s%s", joined.n ? joined.p : "", joined.n ? ", " : "", h[1]);
                        joined = mock_str(text);
                }
        return joined;
}

static void host_keep(struct pm_query *q, int seconds)
{
        mockhost_shorten(run_of(q), seconds);
}

const struct pm_host mockhost_functions = {
        .size = sizeof(struct pm_host), .major = PM_ABI_MAJOR, .minor = PM_ABI_MINOR,
        .decide = host_decide, .candidates = host_candidates, .pass = host_pass, .fail = host_fail,
        .embed = host_embed, .call = host_call, .offload = host_offload,
        .alloc = host_alloc, .defer = host_defer, .log = host_log, .header = host_header, .explain = host_explain,
        .reject = host_reject, .keep = host_keep,
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
        copy = mempool_alloc(r->memory, v.dim * sizeof *copy);
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

static void ask_expert(struct run *r)
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
        r->query.reply = run_keep_str(r, mock_str(reply.body));
        if (r->query.reply.n > r->call.max_reply) {
                r->query.status = PM_ETOOBIG;
                r->query.reply = (struct pm_str){ NULL, 0 };
        }
}

static bool same(struct pm_str a, struct pm_str b)
{
        return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Whatever the router is shown. */
static struct pm_str tenant_of(const struct run *r)
{
        return mock_str(r->ask->tenant ? r->ask->tenant : "");
}

static int64_t clock_of(const struct run *r)
{
        return now_us() + r->ask->later_s * 1000000;
}

/* Under the host's lock: what is kept, or asked in the background, for this query's tenant.  NULL: neither. */
static struct kept_reply *find_kept(const struct run *r)
{
        struct kept_reply *k = r->h->kept;
        int64_t now = clock_of(r);

        while (k && !(k->ends_us > now && same(k->tenant, tenant_of(r)) && strcmp(k->expert, r->call.expert) == 0 &&
                      strcmp(k->path, r->call.path) == 0 && same(k->body, r->call.body)))
                k = k->next;
        return k;
}

/* Under the host's lock, which is its memory's, too. */
static struct kept_reply *add_kept(struct run *r)
{
        struct mempool *m = r->h->memory;
        struct kept_reply *k = mempool_alloc(m, sizeof *k);
        struct pm_str tenant = tenant_of(r);

        k->tenant = (struct pm_str){ mempool_text(m, tenant.p, tenant.n), tenant.n };
        k->expert = mempool_text(m, r->call.expert, strlen(r->call.expert));
        k->path = mempool_text(m, r->call.path, strlen(r->call.path));
        k->body = (struct pm_str){ mempool_text(m, r->call.body.p, r->call.body.n), r->call.body.n };
        k->ends_us = clock_of(r) + (int64_t)r->call.keep_s * 1000000;
        k->next = r->h->kept;
        r->h->kept = k;
        return k;
}

void mockhost_shorten(struct run *r, int seconds)
{
        struct kept_reply *k;

        if (r->call.keep_s <= 0 || !r->call.expert || r->query.status != PM_OK)
                return;
        (void)pthread_mutex_lock(&r->h->lock);
        k = find_kept(r);
        if (k && !k->sent_by)
                k->ends_us = MIN(k->ends_us, clock_of(r) + (int64_t)MAX(seconds, 0) * 1000000);
        (void)pthread_mutex_unlock(&r->h->lock);
}

static void later(struct run *r)
{
        r->query.status = PM_ELATER;
        r->query.http_status = 0;
        r->query.reply = (struct pm_str){ NULL, 0 };
}

/* The expert is asked now, and what it says is there when the query has ended: mockhost_arrive(). */
static void send_for(struct run *r)
{
        struct kept_reply *k;

        (void)pthread_mutex_lock(&r->h->lock);
        k = add_kept(r);
        k->sent_by = r;
        (void)pthread_mutex_unlock(&r->h->lock);
        ask_expert(r);
        (void)pthread_mutex_lock(&r->h->lock);
        if (r->query.status == PM_OK && r->query.reply.n)
                k->reply = (struct pm_str){ mempool_text(r->h->memory, r->query.reply.p, r->query.reply.n), r->query.reply.n };
        (void)pthread_mutex_unlock(&r->h->lock);
        later(r);
}

void mockhost_arrive(struct run *r)
{
        (void)pthread_mutex_lock(&r->h->lock);
        for (struct kept_reply *k = r->h->kept; k; k = k->next)
                if (k->sent_by == r) {
                        k->sent_by = NULL;
                        if (!k->reply.p)
                                k->ends_us = 0; /* it failed: nothing is kept */
                }
        (void)pthread_mutex_unlock(&r->h->lock);
}

static void ask_and_keep(struct run *r)
{
        ask_expert(r);
        if (r->query.status != PM_OK || !r->query.reply.n)
                return;
        (void)pthread_mutex_lock(&r->h->lock);
        add_kept(r)->reply = (struct pm_str){ mempool_text(r->h->memory, r->query.reply.p, r->query.reply.n), r->query.reply.n };
        (void)pthread_mutex_unlock(&r->h->lock);
}

static void operate_call(struct run *r)
{
        bool background = r->call.background, sent = false;
        struct pm_str reply = { NULL, 0 };
        struct kept_reply *k;

        if (r->call.keep_s <= 0 || !r->call.expert) {
                ask_expert(r);
                return;
        }
        (void)pthread_mutex_lock(&r->h->lock);
        k = find_kept(r);
        sent = k && k->sent_by;
        if (k && !sent)
                reply = run_keep_str(r, k->reply);
        (void)pthread_mutex_unlock(&r->h->lock);
        if (reply.p) {
                r->query.status = reply.n > r->call.max_reply ? PM_ETOOBIG : PM_OK;
                r->query.http_status = 200;
                r->query.reply = reply.n > r->call.max_reply ? (struct pm_str){ NULL, 0 } : reply;
                r->result->kept++;
        } else if (background && sent) {
                later(r);
        } else if (background) {
                send_for(r);
        } else {
                ask_and_keep(r);
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

bool mockhost_operate(struct run *r)
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
