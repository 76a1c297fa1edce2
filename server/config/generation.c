/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From settings to a generation: routers are opened first, since what they refuse is a mistake of the file like any other; if
 * there was none at all, experts, routes, embedders and tenants are built, and only then do their names enter what lives as
 * long as the process (states, metrics).  A file that fails leaves nothing behind but the plugins' code.
 *
 * All memory is the generation's arena; closing a router is deferred to its end, so that half a generation closes as a whole one
 * does.
 */
#include "config.h"
#include "embed_model.h"
#include "expert.h"
#include "fingerprint.h"
#include "log.h"
#include "metrics.h"
#include "routers.h"
#include "settings.h"
#include "tenant.h"
#include "text.h"
#include "tree.h"

#include "base.h"

struct build {
        struct generation *g;
        const struct settings *s;
        struct problems *problems;
        struct embed_model **models; /* of the embedders, in their order; NULL: it has none */
        struct tenant **tenants;     /* in their order */
};

static struct node whole(const char *file)
{
        return (struct node){ .file = file };
}

static void no_memory(struct build *b)
{
        struct node at = whole(b->g->file);

        problems_add(b->problems, &at, NULL, "out of memory: cannot build what the file describes");
}

/* Zeroed.  NULL: no memory, which is among the problems then. */
static void *make(struct build *b, size_t n)
{
        void *p = arena_zalloc(&b->g->arena, n);

        if (!p)
                no_memory(b);
        return p;
}

/* ---- tenants ------------------------------------------------------------------------------------------------------------- */

static void add_keys(struct build *b, struct tenants *all, struct tenant *t, const struct pm_strs *keys, const char *key,
                     int (*add)(struct tenants *, struct tenant *, const char *), const char *form)
{
        for (size_t i = 0; i < keys->n; i++) {
                const struct node *at = settings_item(b->s, "tenants", t->name, key, i);
                char path[192];
                int e = add(all, t, keys->items[i]);

                (void)snprintf(path, sizeof path, "tenants.%.120s.%s[%zu]", t->name, key, i);
                if (e == -EEXIST)
                        problems_add(b->problems, at, path, "duplicate of a key earlier in this file");
                else if (e == -EINVAL)
                        problems_add(b->problems, at, path, "%zu characters that are no %s", strlen(keys->items[i]), form);
                else if (e < 0)
                        problems_add(b->problems, at, path, "cannot be kept: %s", ERRNO_TEXT(e));
        }
}

/* The hashes of all before the keys of any: so a key is found to be the same as somebody's hash. */
static void add_tenants(struct build *b, struct tenant **made)
{
        struct tenants *all = tenants_create(&b->g->arena);
        size_t n = b->s->tenants.n;

        for (size_t i = 0; i < n && all; i++) {
                const struct tenant_settings *t = &SETTINGS_AT(b->s->tenants, struct tenant_settings, i);

                made[i] = t->name ? tenants_add(all, t->name) : NULL;
                if (!t->name)
                        continue;
                if (!made[i]) {
                        no_memory(b);
                        return;
                }
                made[i]->max_in_flight = t->in_flight;
                add_keys(b, all, made[i], &t->key_hashes, "key_hashes", tenants_add_hash,
                         "'sha256:SALT:HASH' in hex, as `pointsman hash-key` prints it");
        }
        for (size_t i = 0; i < n && all; i++)
                if (made[i])
                        add_keys(b, all, made[i], &SETTINGS_AT(b->s->tenants, struct tenant_settings, i).keys, "keys", tenants_add_key,
                                 "key: it has 16 to 256 of printable ASCII, without spaces");
        if (!all)
                no_memory(b);
        b->g->tenants = all;
}

/* ---- experts, routes, embedders ------------------------------------------------------------------------------------------ */

static struct pm_str fixed_headers(struct build *b, const struct expert_settings *e)
{
        bool keyed = e->key && *e->key;
        size_t room = keyed ? strlen("Authorization: Bearer \r\n") + strlen(e->key) : 0;
        struct text t;

        for (size_t i = 0; i < e->headers.n; i++)
                room += strlen(e->headers.items[i]) + 3; /* at most a space that was not there, and the end of the line */
        t = (struct text){ .p = make(b, room + 1), .room = room };
        if (!t.p)
                return (struct pm_str){ 0 };
        if (keyed) {
                TEXT_PUT(&t, "Authorization: Bearer ");
                text_put(&t, e->key, strlen(e->key));
                TEXT_PUT(&t, "\r\n");
        }
        for (size_t i = 0; i < e->headers.n; i++) {
                const char *name = e->headers.items[i], *value = strchr(name, ':') + 1;

                text_put(&t, name, (size_t)(value - name));
                TEXT_PUT(&t, " ");
                value += strspn(value, " ");
                text_put(&t, value, strlen(value));
                TEXT_PUT(&t, "\r\n");
        }
        return (struct pm_str){ t.p, t.n };
}

static unsigned apis_of(const struct pm_strs *apis)
{
        unsigned set = 0;

        for (size_t i = 0; i < apis->n; i++) {
#define X(name, bit, text) set |= strcmp(apis->items[i], text) == 0 ? (bit) : 0;
                EXPERT_APIS(X)
#undef X
        }
        return apis->items ? set : EXPERT_CHAT | EXPERT_COMPLETIONS | EXPERT_RESPONSES;
}

/* With quotes around them, for callers that look names of JSON up. */
static struct expert_drop drop_of(struct build *b, const struct pm_strs *names)
{
        struct pm_str *list = make(b, (names->n + 1) * sizeof *list);

        for (size_t i = 0; list && i < names->n; i++) {
                size_t n = strlen(names->items[i]);
                char *quoted = make(b, n + 3);

                if (!quoted)
                        return (struct expert_drop){ 0 };
                (void)snprintf(quoted, n + 3, "\"%s\"", names->items[i]);
                list[i] = (struct pm_str){ quoted + 1, n };
        }
        return (struct expert_drop){ list, list ? names->n : 0 };
}

static struct expert *make_expert(struct build *b, const struct expert_settings *from)
{
        struct pm_str headers = fixed_headers(b, from);
        struct expert *e = make(b, sizeof *e);
        const char *why = "";

        if (!e)
                return NULL;
        *e = (struct expert){ .state = expert_state_of(from->name), .name = from->name, .model = from->model ? from->model : from->name,
                              .n_endpoints = from->endpoints.n, .apis = apis_of(&from->apis), .price_in = from->price_in,
                              .price_out = from->price_out, .context = from->context, .usage = (enum expert_usage)from->usage, .connect_ms = from->connect_time,
                              .first_token_ms = from->first_token_time, .answer_ms = from->answer_time,
                              .idle_ms = from->idle_time, .retries = from->retries,
                              .max_in_flight = from->in_flight, .breaker_failures = from->breaker.failures,
                              .breaker_open_ms = from->breaker.open_time, .drop = drop_of(b, &from->drop), .metric = metrics_intern(METRICS_EXPERT, from->name) };
        e->endpoints = make(b, (e->n_endpoints + 1) * sizeof *e->endpoints);
        if (!e->endpoints)
                return NULL;
        for (size_t i = 0; i < e->n_endpoints; i++) {
                struct endpoint *p = e->endpoints[i] = make(b, sizeof *p);

                if (!p)
                        return NULL;
                if (endpoint_parse(&b->g->arena, from->endpoints.items[i], p, &why) < 0)
                        no_memory(b); /* the URL has been parsed before */
                p->proxy = from->proxy && *from->proxy ? from->proxy : NULL;
                p->plain = p->plain && from->transport != TRANSPORT_CURL && !p->proxy;
                p->ca = from->ca;
                p->keepalive_ms = from->keepalive_time;
                p->unacknowledged_ms = from->ack_time;
                p->idle_max = from->idle_connections;
                p->fixed_headers = headers;
                p->state = endpoint_state_of(p, e->model);
                if (!p->state)
                        no_memory(b);
        }
        if (!e->state || e->metric < 0)
                no_memory(b);
        return e;
}

static struct expert *expert_called(struct build *b, const char *name)
{
        return generation_expert(b->g, (struct pm_str){ name, strlen(name) });
}

/* The names of a list as experts; all of them where there is no list. */
static struct expert **experts_called(struct build *b, const struct pm_strs *names, size_t *ret_n)
{
        size_t n = names->items ? names->n : b->g->n_experts;
        struct expert **list = make(b, (n + 1) * sizeof *list);

        for (size_t i = 0; list && i < n; i++)
                list[i] = names->items ? expert_called(b, names->items[i]) : b->g->experts[i];
        *ret_n = list ? n : 0;
        return list;
}

static struct router **routers_called(struct build *b, const struct pm_strs *names, size_t *ret_n)
{
        size_t n = names->items ? names->n : b->g->n_routers;
        struct router **list = make(b, (n + 1) * sizeof *list);

        for (size_t i = 0; list && i < n; i++)
                for (size_t j = 0; j < b->g->n_routers; j++)
                        if (names->items ? strcmp(names->items[i], b->g->routers[j]->name) == 0 : i == j)
                                list[i] = b->g->routers[j];
        *ret_n = list ? n : 0;
        return list;
}

/* The first candidate that can hold a conversation: a model for embeddings may well stand first in the file. */
static struct expert *first_of(const struct route *r)
{
        for (size_t i = 0; i < r->n_experts; i++)
                if (r->experts[i]->apis & EXPERT_CHAT)
                        return r->experts[i];
        return r->n_experts ? r->experts[0] : NULL;
}

/* Decisions are kept of the routers, from the first on, that say what they read; the key has what these read together. */
static void make_route_cache(struct build *b, struct route *r, const struct route_cache_settings *from)
{
        struct route_cache *c = &r->cache;
        size_t room = 0;

        *c = (struct route_cache){ .levels = from->decisions, .share_all = from->share == SHARE_ALL, .time_ms = from->time,
                                   .pin_ms = from->pin, .answers_ms = from->answers, .answer_size = from->answer_size };
        while (c->n_routers < r->n_routers && r->routers[c->n_routers]->table->reads)
                room += r->routers[c->n_routers++]->n_read_headers;
        c->headers = make(b, (room + 1) * sizeof *c->headers);
        for (size_t i = 0; c->headers && i < r->n_routers; i++) {
                const struct router *router = r->routers[i];
                unsigned reads = router->table->reads;

                r->insists = r->insists || r->routers[i]->insists;
                r->reads_messages = r->reads_messages || !reads || reads & PM_READS_MESSAGES;
                if (i >= c->n_routers)
                        continue;
                c->reads |= reads;
                for (size_t k = 0; reads & PM_READS_HEADERS && k < router->n_read_headers; k++)
                        c->headers[c->n_headers++] = router->read_headers[k];
        }
}

static void make_fingerprints(struct build *b)
{
        for (size_t i = 0; i < b->g->n_routes; i++) {
                struct route_cache *c = &b->g->routes[i]->cache;
                int e = fingerprint_route(b->g, b->g->routes[i], c->n_routers, c->fingerprint);

                if (e == 0)
                        e = fingerprint_answers(b->g->routes[i], c->answers_fingerprint);
                if (e < 0)
                        no_memory(b);
        }
}

static struct route *make_route(struct build *b, const struct route_settings *from)
{
        struct route *r = make(b, sizeof *r);

        if (!r)
                return NULL;
        r->name = from->name;
        r->routers = routers_called(b, &from->routers, &r->n_routers);
        r->experts = experts_called(b, &from->experts, &r->n_experts);
        r->preset = from->preset ? expert_called(b, from->preset) : first_of(r);
        r->deadline_ms = from->deadline;
        r->fallbacks = from->fallbacks;
        make_route_cache(b, r, &from->cache);
        r->metric = metrics_intern(METRICS_ROUTE, from->name);
        if (r->metric < 0)
                no_memory(b);
        return r;
}

static void finish_tenant(struct build *b, struct tenant *t, const struct tenant_settings *from)
{
        if (from->experts.items) {
                t->experts = experts_called(b, &from->experts, &t->n_experts);
                if (fingerprint_tenant(t, t->fingerprint) < 0)
                        no_memory(b);
        }
        t->routes = from->routes.items ? make(b, (from->routes.n + 1) * sizeof *t->routes) : NULL;
        for (size_t i = 0; t->routes && i < from->routes.n; i++)
                t->routes[t->n_routes++] = generation_route(b->g, (struct pm_str){ from->routes.items[i], strlen(from->routes.items[i]) });
        t->metric = metrics_intern(METRICS_TENANT, t->name);
        if (t->metric < 0)
                no_memory(b);
}

static void copy_plain(struct build *b)
{
        const struct settings *s = b->s;
        struct generation *g = b->g;

        g->listeners = make(b, (s->listen.n + 1) * sizeof *g->listeners);
        if (!g->listeners)
                return;
        g->n_listeners = s->listen.n;
        for (size_t i = 0; i < s->listen.n; i++) {
                const struct listen_settings *l = &SETTINGS_AT(s->listen, struct listen_settings, i);

                g->listeners[i] = (struct listener){ l->address, { l->tls.certificate, l->tls.key, l->tls.ciphers, l->tls.min_version == 1 } };
        }
        if (s->admin.token && *s->admin.token) {
                g->admin.address = s->admin.address;
                g->admin_token = s->admin.token;
        }
        g->open = s->open;
        g->cache = &s->cache;
        g->feedback = &s->feedback;
        g->workers = s->workers;
        g->watchdog = s->watchdog;
        g->pool_threads = s->pool.threads;
        g->pool_queue = s->pool.queue;
        g->log_level = s->log.level + PM_DEBUG;
        g->log_format = s->log.format + LOG_LOGFMT;
        g->log_requests = s->log.requests;
        g->limits = s->limits;
}

/* `field` of the generation: room for a list, whose names go into a list of their own. */
#define LIST(b, field, names)                                                                                                               \
        (((b)->g->field = make((b), ((b)->s->field.n + 1) * sizeof *(b)->g->field)) && ((names) = make((b), ((b)->s->field.n + 1) * sizeof *(names))))

static void make_names(struct build *b, const char *const *names, size_t n, struct names *ret)
{
        if (names_build(&b->g->arena, names, n, ret) < 0)
                no_memory(b);
}

static void make_experts(struct build *b)
{
        struct generation *g = b->g;
        const char **names;

        if (!LIST(b, experts, names))
                return;
        for (; g->n_experts < b->s->experts.n; g->n_experts++) {
                struct expert *e = g->experts[g->n_experts] = make_expert(b, &SETTINGS_AT(b->s->experts, struct expert_settings, g->n_experts));

                if (!e)
                        return;
                names[g->n_experts] = e->name;
        }
        make_names(b, names, g->n_experts, &g->expert_names);
}

static void name_routers(struct build *b)
{
        struct generation *g = b->g;
        const char **names = make(b, (g->n_routers + 1) * sizeof *names);

        for (size_t i = 0; names && i < g->n_routers; i++) {
                names[i] = g->routers[i]->name;
                g->routers[i]->metric = metrics_intern(METRICS_ROUTER, g->routers[i]->name);
                if (g->routers[i]->metric < 0)
                        no_memory(b);
        }
        if (names)
                make_names(b, names, g->n_routers, &g->router_names);
}

static void make_routes(struct build *b)
{
        struct generation *g = b->g;
        const char **names;

        if (!LIST(b, routes, names))
                return;
        for (; g->n_routes < b->s->routes.n; g->n_routes++) {
                struct route *r = g->routes[g->n_routes] = make_route(b, &SETTINGS_AT(b->s->routes, struct route_settings, g->n_routes));

                if (!r)
                        return;
                names[g->n_routes] = r->name;
        }
        make_names(b, names, g->n_routes, &g->route_names);
}

static void make_embedders(struct build *b)
{
        struct generation *g = b->g;
        const char **names;

        if (!LIST(b, embedders, names))
                return;
        for (; g->n_embedders < b->s->embedders.n; g->n_embedders++) {
                const struct embedder_settings *from = &SETTINGS_AT(b->s->embedders, struct embedder_settings, g->n_embedders);
                struct embedder *e = g->embedders[g->n_embedders] = make(b, sizeof *e);

                if (!e)
                        return;
                *e = (struct embedder){ .name = from->name, .expert = from->expert ? expert_called(b, from->expert) : NULL, .path = from->path,
                                        .dim = from->dim, .keep_ms = from->keep, .model = b->models[g->n_embedders] };
                if (from->model)
                        fingerprint_file(from->model, e->fingerprint);
                names[g->n_embedders] = e->name;
        }
        make_names(b, names, g->n_embedders, &g->embedder_names);
}

static void finish_tenants(struct build *b)
{
        for (size_t i = 0; i < b->s->tenants.n; i++)
                finish_tenant(b, b->tenants[i], &SETTINGS_AT(b->s->tenants, struct tenant_settings, i));
}

/* Each finds what those before it have made by name: the first that has no memory is the last. */
static void make_all(struct build *b)
{
        static void (*const steps[])(struct build *) = { copy_plain, make_experts, name_routers, make_routes, make_embedders, make_fingerprints, finish_tenants };

        for (size_t i = 0; i < LENGTH_OF(steps) && problems_count(b->problems) == 0; i++)
                steps[i](b);
}

static void close_model(void *arg)
{
        embed_model_close(arg);
}

/* Like routers before anything else: what is wrong with a model is a mistake of the file. */
static void open_models(struct build *b)
{
        for (size_t i = 0; i < b->s->embedders.n; i++) {
                const struct embedder_settings *from = &SETTINGS_AT(b->s->embedders, struct embedder_settings, i);
                const struct node *at = from->name ? settings_place(b->s, "embedders", from->name, "model") : NULL;
                char path[192], why[384] = "";

                if (!from->name || !from->model)
                        continue;
                (void)snprintf(path, sizeof path, "embedders.%.120s.model", from->name);
                if (embed_model_open(from->model, from->text, &b->models[i], why, sizeof why) < 0)
                        problems_add(b->problems, at, path, "%s", why);
                else if (arena_defer(&b->g->arena, close_model, b->models[i]) < 0)
                        no_memory(b);
                else if (from->dim && (size_t)from->dim != embed_model_dim(b->models[i]))
                        problems_add(b->problems, at, path, "its vectors have %zu numbers, and 'dim' says %" PRId64, embed_model_dim(b->models[i]),
                                     from->dim);
        }
}

static void build(struct build *b)
{
        b->models = make(b, (b->s->embedders.n + 1) * sizeof *b->models);
        b->tenants = make(b, (b->s->tenants.n + 1) * sizeof *b->tenants);
        if (!b->models || !b->tenants)
                return;
        open_models(b);
        routers_open(b->g, b->s, b->problems);
        if (b->s->tenants.n)
                add_tenants(b, b->tenants);
        make_all(b);
}

/* ---- a file -------------------------------------------------------------------------------------------------------------- */

static void destroy_p(struct generation **g)
{
        generation_destroy(*g);
}

int generation_load(const char *file, uint64_t number, struct problems *p, struct generation **ret)
{
        CLEANUP(destroy_p) struct generation *g = calloc(1, sizeof *g);
        struct build b = { .g = g, .problems = p };
        struct settings *settings = NULL;
        int e;

        if (!g)
                return -ENOMEM;
        arena_init(&g->arena, NULL, SIZE_MAX);
        atomic_init(&g->holders, 1);
        g->number = number;
        g->loaded_at = (int64_t)time(NULL);
        e = config_load(file, &g->arena, p, g->digest, &settings);
        if (e < 0)
                return e;
        g->settings = b.s = settings;
        g->file = b.s->file;
        g->base = b.s->base;
        if (b.s->tree->kind == NODE_MAP)
                build(&b);
        if (problems_count(p))
                return -EINVAL;
        *ret = TAKE(g);
        return 0;
}

void generation_release(struct generation *g)
{
        int64_t before = atomic_fetch_sub_explicit(&g->holders, 1, memory_order_acq_rel);

        assert(before > 0);
        if (before > 1)
                return;
        if (g->retired)
                g->retired(g, g->retired_arg);
        else
                generation_destroy(g);
}

void generation_destroy(struct generation *g)
{
        if (!g)
                return;
        arena_finish(&g->arena);
        free(g);
}

/* ---- lookups ------------------------------------------------------------------------------------------------------------- */

struct expert *generation_expert(const struct generation *g, struct pm_str name)
{
        ptrdiff_t i = names_find(&g->expert_names, name.p, name.n);

        return i < 0 ? NULL : g->experts[i];
}

struct router *generation_router(const struct generation *g, struct pm_str name)
{
        ptrdiff_t i = names_find(&g->router_names, name.p, name.n);

        return i < 0 ? NULL : g->routers[i];
}

struct route *generation_route(const struct generation *g, struct pm_str name)
{
        ptrdiff_t i = names_find(&g->route_names, name.p, name.n);

        return i < 0 ? NULL : g->routes[i];
}

struct embedder *generation_embedder_named(const struct generation *g, struct pm_str name)
{
        ptrdiff_t i = names_find(&g->embedder_names, name.p, name.n);

        return i < 0 ? NULL : g->embedders[i];
}

struct embedder *generation_embedder(const struct generation *g, const char *name)
{
        return generation_embedder_named(g, (struct pm_str){ name, strlen(name) });
}
