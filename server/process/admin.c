/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of paths over evhttp.  Each handler makes one JSON value; the state of experts and the sums of counters are read where
 * they lie, so what is shown is what workers see.
 */
#include "admin.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>

#include "admin_gate.h"
#include "browser.h"
#include "cache_key.h"
#include "config.h"
#include "expert.h"
#include "gateway.h"
#include "listen.h"
#include "loader.h"
#include "log.h"
#include "metrics.h"
#include "purge.h"
#include "settings.h"
#include "sha256.h"

#include "base.h"

#define HEADERS_MAX (16 * 1024)
#define BODY_MAX (16 * 1024)
#define TIME_MAX_S 30
#define PREFIX_MAX 400

struct admin {
        struct gateway *gateway;
        struct evhttp *http;
        struct admin_gate *gate;
        struct event_base *base;
        struct evhttp_request *reloading; /* who waits for a reload's end; NULL: nobody, or left */
        struct evhttp_request *forgetter; /* who waits until decisions are forgotten */
        struct purge *forget;            /* NULL: none is under way */
};

static const char page[] =
#include "admin_page.inc"
        ;

/* ---- answers ------------------------------------------------------------------------------------------------------------ */
static bool set_header(struct evhttp_request *req, const char *name, const char *value)
{
        return evhttp_add_header(evhttp_request_get_output_headers(req), name, value) == 0;
}

/* Takes body; NULL, or a `body` that is not `whole`: there was no memory for it. */
static void answer(struct evhttp_request *req, int status, const char *type, struct evbuffer *body, bool whole)
{
        static const char no_memory[] = "{\"error\": {\"message\": \"out of memory for the answer\"}}\n";

        if (!body || !whole || !set_header(req, "Content-Type", type) || !set_header(req, "Cache-Control", "no-store") ||
            !set_header(req, "X-Content-Type-Options", "nosniff")) {
                log_msg(NULL, PM_ERROR, "admin: out of memory for an answer");
                evhttp_clear_headers(evhttp_request_get_output_headers(req));
                if (body)
                        (void)evbuffer_drain(body, evbuffer_get_length(body));
                if (!body || evbuffer_add_reference(body, no_memory, sizeof no_memory - 1, NULL, NULL) < 0 || !set_header(req, "Content-Type", "application/json"))
                        evhttp_send_error(req, 503, "out of memory");
                else
                        evhttp_send_reply(req, 503, NULL, body);
        } else {
                evhttp_send_reply(req, status, NULL, body);
        }
        if (body)
                evbuffer_free(body);
}

static void answer_text(struct evhttp_request *req, int status, const char *text)
{
        struct evbuffer *body = evbuffer_new();

        answer(req, status, "application/json", body, body && text && evbuffer_add(body, text, strlen(text)) == 0 && evbuffer_add(body, "\n", 1) == 0);
}

/* Takes o. */
static void answer_json(struct evhttp_request *req, int status, json_t *o)
{
        CLEANUP(free_p) char *text = o ? json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;

        json_decref(o);
        answer_text(req, status, text);
}

/* A list with one more item, an object with one more number; NULL: no memory, or there was none before. */
static json_t *with(json_t *list, json_t *item)
{
        if (json_array_append_new(list, item) == 0)
                return list;
        json_decref(list);
        return NULL;
}

static json_t *with_number(json_t *object, const char *name, uint64_t n)
{
        if (json_object_set_new(object, name, json_integer((json_int_t)n)) == 0)
                return object;
        json_decref(object);
        return NULL;
}

static void answer_error(struct evhttp_request *req, int status, const char *message)
{
        answer_json(req, status, json_pack("{s:{s:s}}", "error", "message", message));
}

/* The lengths are hidden by hashing, the contents by comparing in constant time.  0, -EACCES, or -ENOMEM: that is not known. */
static int check_token(const struct generation *g, struct evhttp_request *req)
{
        const char *given = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
        unsigned char a[SHA256_SIZE], b[SHA256_SIZE];

        if (!g->admin_token || !*g->admin_token)
                return -EACCES;
        if (!given || strncasecmp(given, "Bearer ", 7) != 0)
                given = "Bearer ";
        if (!sha256_of(given + 7, strlen(given + 7), a) || !sha256_of(g->admin_token, strlen(g->admin_token), b))
                return -ENOMEM;
        return CRYPTO_memcmp(a, b, sizeof a) == 0 && given[7] ? 0 : -EACCES;
}

/* ---- what is shown ------------------------------------------------------------------------------------------------------ */
static json_t *endpoint_to_json(const struct endpoint *p, int64_t now)
{
        const struct endpoint_state *s = p->state;
        const struct breaker *own = &s->breaker, *address = &s->address->breaker;
        int64_t until = MAX(atomic_load_explicit(&own->open_until_us, memory_order_relaxed),
                            atomic_load_explicit(&address->open_until_us, memory_order_relaxed));
        int64_t busy = atomic_load_explicit(&s->busy_until_us, memory_order_relaxed) - now;

        return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "url", p->url, "transport", p->plain ? "plain" : "curl", "breaker",
                         until == 0 ? "closed" : until > now ? "open" : "half-open",
                         "failures", (json_int_t)atomic_load_explicit(&own->failures, memory_order_relaxed),
                         "connect_failures", (json_int_t)atomic_load_explicit(&address->failures, memory_order_relaxed),
                         "opened", (json_int_t)(atomic_load_explicit(&own->opened, memory_order_relaxed) +
                                                atomic_load_explicit(&address->opened, memory_order_relaxed)),
                         "busy_ms", (json_int_t)(MAX(busy, 0) / 1000),
                         "in_flight", (json_int_t)atomic_load_explicit(&s->in_flight, memory_order_relaxed));
}

static json_t *expert_to_json(const struct expert *e)
{
        const int64_t now = now_us();
        uint64_t counts[METRICS_ATTEMPTS];
        json_t *endpoints = json_array(), *attempts = json_object();
        bool down = atomic_load_explicit(&e->state->down, memory_order_relaxed) != 0;

        for (size_t i = 0; i < e->n_endpoints; i++)
                endpoints = with(endpoints, endpoint_to_json(e->endpoints[i], now));
        metrics_sum(METRICS_EXPERT, e->metric, METRICS_AT(expert, attempts), METRICS_ATTEMPTS, counts);
        for (int k = 0; k < METRICS_ATTEMPTS; k++)
                attempts = with_number(attempts, metrics_attempts[k], counts[k]);
        return json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:o, s:o}", "name", e->name, "model", e->model, "health",
                         down ? "down" : expert_available(e, now) ? "up" : "unavailable",
                         "in_flight", (json_int_t)atomic_load_explicit(&e->state->in_flight, memory_order_relaxed),
                         "first_token_ms", (double)atomic_load_explicit(&e->state->first_us, memory_order_relaxed) / 1000,
                         "price_in", e->price_in, "price_out", e->price_out, "endpoints", endpoints, "attempts", attempts);
}

static void show_experts(struct admin *a, struct evhttp_request *req)
{
        const struct generation *g = gateway_generation(a->gateway);
        json_t *list = json_array();

        for (size_t i = 0; i < g->n_experts; i++)
                list = with(list, expert_to_json(g->experts[i]));
        answer_json(req, 200, json_pack("{s:o}", "experts", list));
}

static json_t *router_to_json(const struct router *r)
{
        uint64_t counts[METRICS_DECISIONS];
        json_t *decisions = json_object();

        metrics_sum(METRICS_ROUTER, r->metric, METRICS_AT(router, decisions), METRICS_DECISIONS, counts);
        for (int k = 0; k < METRICS_DECISIONS; k++)
                decisions = with_number(decisions, metrics_decisions[k], counts[k]);
        return json_pack("{s:s, s:s, s:s?, s:s?, s:s, s:i, s:i, s:o}", "name", r->name, "plugin", r->table->name, "version",
                         r->table->version, "summary", r->table->summary, "file", r->plugin->file, "waiting",
                         (int)atomic_load_explicit(&r->pool.waiting, memory_order_relaxed), "abi_minor",
                         (int)r->table->minor, "decisions", decisions);
}

static void show_routers(struct admin *a, struct evhttp_request *req)
{
        const struct generation *g = gateway_generation(a->gateway);
        json_t *routers = json_array(), *routes = json_array();

        for (size_t i = 0; i < g->n_routers; i++)
                routers = with(routers, router_to_json(g->routers[i]));
        for (size_t i = 0; i < g->n_routes; i++) {
                const struct route *r = g->routes[i];
                json_t *names = json_array();

                for (size_t k = 0; k < r->n_routers; k++)
                        names = with(names, json_string(r->routers[k]->name));
                routes = with(routes, json_pack("{s:s, s:o, s:s?, s:I}", "name", r->name, "routers", names, "default", r->preset ? r->preset->name : NULL,
                                                "deadline_ms", (json_int_t)r->deadline_ms));
        }
        answer_json(req, 200, json_pack("{s:o, s:o}", "routers", routers, "routes", routes));
}

static void show_config(struct admin *a, struct evhttp_request *req)
{
        CLEANUP(free_p) char *text = config_to_json(gateway_generation(a->gateway));

        answer_text(req, 200, text);
}

static void show_generation(struct admin *a, struct evhttp_request *req)
{
        const struct generation *g = gateway_generation(a->gateway);
        struct metrics_gauges now;

        gateway_gauges(a->gateway, &now);
        answer_json(req, 200, json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:s, s:b}", "generation",
                                        (json_int_t)g->number, "file", g->file, "digest", g->digest,
                                        "loaded_at", (json_int_t)g->loaded_at, "uptime_s", (json_int_t)gateway_uptime_s(a->gateway),
                                        "reloads", (json_int_t)now.reloads, "reload_failures", (json_int_t)now.reload_failures,
                                        "workers", (int)now.workers, "in_flight", (int)now.in_flight,
                                        "connections", (int)now.connections, "version", PM_VERSION,
                                        "ready", gateway_ready(a->gateway) && now.hanging == 0));
}

static void show_metrics(struct admin *a, struct evhttp_request *req)
{
        struct evbuffer *body = evbuffer_new();
        struct metrics_gauges now;

        gateway_gauges(a->gateway, &now);
        answer(req, 200, "text/plain; version=0.0.4; charset=utf-8", body, body && metrics_write(body, &now) == 0);
}

static void show_health(struct admin *a, struct evhttp_request *req)
{
        (void)a;
        answer_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

/* ---- what is done ------------------------------------------------------------------------------------------------------- */
static json_t *lines_to_json(const char *lines)
{
        json_t *list = json_array();

        while (*lines) {
                size_t n = strcspn(lines, "\n");

                if (n)
                        list = with(list, json_stringn(lines, n));
                lines += n + (lines[n] == '\n');
        }
        return list;
}

static void on_reloaded(void *arg, bool ok, uint64_t number, const char *mistakes)
{
        struct admin *a = arg;
        struct evhttp_request *req = TAKE(a->reloading);

        if (!req) /* the client has left */
                return;
        admin_gate_release(a->gate, req);
        evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
        if (ok)
                answer_json(req, 200, json_pack("{s:I}", "generation", (json_int_t)number));
        else
                answer_json(req, 422, json_pack("{s:I, s:{s:s}, s:o}", "generation", (json_int_t)number, "error", "message",
                                                "the file was refused, nothing has changed", "mistakes", lines_to_json(mistakes)));
}

static void on_reloader_left(struct evhttp_connection *connection, void *arg)
{
        struct admin *a = arg;

        (void)connection;
        a->reloading = NULL;
}

static void do_reload(struct admin *a, struct evhttp_request *req)
{
        if (a->reloading || gateway_reload(a->gateway, on_reloaded, a) < 0) {
                answer_error(req, 409, "a reload is already running, or the gateway is shutting down");
                return;
        }
        a->reloading = req;
        admin_gate_hold(a->gate, req);
        evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_reloader_left, a);
}

static void on_forgotten(void *arg, const struct purged *what)
{
        struct admin *a = arg;
        struct evhttp_request *req = TAKE(a->forgetter);

        a->forget = NULL;
        log_msg(NULL, what->why ? PM_WARN : PM_INFO, "purged by the administrator: %" PRIu64 " in memory, %" PRIu64 " in Redis%s%s", what->memory,
                what->redis, what->why ? "; " : "", what->why ? what->why : "");
        if (!req) /* the client has left */
                return;
        admin_gate_release(a->gate, req);
        evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
        if (what->why)
                answer_json(req, 502, json_pack("{s:{s:I, s:I}, s:{s:s}}", "removed", "memory", (json_int_t)what->memory, "redis",
                                                (json_int_t)what->redis, "error", "message", what->why));
        else
                answer_json(req, 200, json_pack("{s:{s:I, s:I}}", "removed", "memory", (json_int_t)what->memory, "redis", (json_int_t)what->redis));
}

static void on_forgetter_left(struct evhttp_connection *connection, void *arg)
{
        struct admin *a = arg;

        (void)connection;
        a->forgetter = NULL;
}

/* The key of one user's history is known by the digest of the name.  False: the query asks for what cannot be. */
static bool of_user(const char *prefix, const char *letters, const char *user, char *out, size_t size)
{
        size_t n = strlen(prefix);
        char digest[CACHE_DIGEST_TEXT + 1];

        if (strcmp(letters, "h") != 0 || n == 0 || prefix[n - 1] != '|' || !strchr(prefix, '|') || strchr(prefix, '|') == prefix + n - 1 ||
            !cache_digest_text((struct pm_str){ user, strlen(user) }, digest))
                return false;
        return (size_t)snprintf(out, size, "%s%s", prefix, digest) < size;
}

/* DELETE /admin/decisions?prefix=TENANT|ROUTE|...&kind=decisions|pins|answers|replies|vectors|histories|responses|all[&user=...] */
static void forget_decisions(struct admin *a, struct evhttp_request *req)
{
        static const struct {
                const char *name, *letters;
        } kinds[] = { { "decisions", "d" }, { "pins", "p" }, { "answers", "a" }, { "replies", "r" }, { "vectors", "v" }, { "histories", "h" },
                      { "responses", "s" }, { "all", "dparv" } /* what can be computed again */ };
        const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req)), *prefix, *kind, *user, *letters = NULL;
        char whole[PREFIX_MAX];
        struct evkeyvalq all = { 0 };
        int r;

        if (a->forget) {
                answer_error(req, 409, "a purge is already running; try again when it has ended");
                return;
        }
        errno = 0;
        if (evhttp_parse_query_str(query ? query : "", &all) < 0) {
                if (errno == ENOMEM)
                        answer_error(req, 503, "out of memory for the query");
                else
                        answer_error(req, 400, "the query cannot be read: ?prefix=TENANT|ROUTE|&kind=decisions, with | as %7C");
                return;
        }
        prefix = evhttp_find_header(&all, "prefix");
        kind = evhttp_find_header(&all, "kind");
        user = evhttp_find_header(&all, "user");
        for (size_t i = 0; i < LENGTH_OF(kinds); i++)
                if (strcmp(kind ? kind : "decisions", kinds[i].name) == 0)
                        letters = kinds[i].letters;
        if (!prefix)
                answer_error(req, 400, "say which: ?prefix=TENANT|ROUTE|, with * for no tenant; an empty prefix means all of them");
        else if (!letters)
                answer_error(req, 400, "kind is one of decisions, pins, answers, replies, vectors, histories, responses, or all but the last two");
        else if (user && !of_user(prefix, letters, user, whole, sizeof whole))
                answer_error(req, 400, "user goes with kind=histories and a whole prefix: ?prefix=TENANT|ROUTE|&kind=histories&user=NAME");
        else if ((r = purge_begin(a->gateway, a->base, letters, user ? whole : prefix, on_forgotten, a, &a->forget)) < 0)
                answer_error(req, r == -EINVAL ? 400 : 503, r == -EINVAL ? "the prefix is longer than a key can be" : "out of memory");
        else {
                a->forgetter = req;
                admin_gate_hold(a->gate, req);
                evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_forgetter_left, a);
        }
        evhttp_clear_headers(&all);
}

static void set_expert(struct admin *a, struct evhttp_request *req, const char *name)
{
        const struct expert *e = generation_expert(gateway_generation(a->gateway), (struct pm_str){ name, strlen(name) });
        const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
        int64_t down;

        if (!e) {
                answer_error(req, 404, "no expert of that name");
                return;
        }
        if (query && strcmp(query, "state=up") == 0) {
                down = 0;
        } else if (query && strcmp(query, "state=down") == 0) {
                down = 1;
        } else {
                answer_error(req, 400, "say ?state=up or ?state=down");
                return;
        }
        atomic_store(&e->state->down, down);
        log_msg(NULL, PM_INFO, "expert '%s' set %s by the administrator", e->name, down ? "down" : "up");
        answer_json(req, 200, expert_to_json(e));
}

/* ---- paths -------------------------------------------------------------------------------------------------------------- */
static const struct {
        const char *path;
        enum evhttp_cmd_type method;
        void (*run)(struct admin *a, struct evhttp_request *req);
} paths[] = {
        { "/admin/experts", EVHTTP_REQ_GET, show_experts }, { "/admin/routers", EVHTTP_REQ_GET, show_routers },
        { "/admin/config", EVHTTP_REQ_GET, show_config },   { "/admin/generation", EVHTTP_REQ_GET, show_generation },
        { "/admin/reload", EVHTTP_REQ_POST, do_reload },    { "/admin/decisions", EVHTTP_REQ_DELETE, forget_decisions },
        { "/metrics", EVHTTP_REQ_GET, show_metrics },       { "/healthz", EVHTTP_REQ_GET, show_health },
};

static void wrong_method(struct evhttp_request *req, enum evhttp_cmd_type right)
{
        const char *name = right == EVHTTP_REQ_GET ? "GET" : right == EVHTTP_REQ_POST ? "POST" : "DELETE";
        char text[32];

        (void)evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", name);
        (void)snprintf(text, sizeof text, "only %s here", name);
        answer_error(req, 405, text);
}

static void show_page(struct evhttp_request *req)
{
        struct evbuffer *body = evbuffer_new();
        bool whole = set_header(req, "Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                                "frame-ancestors 'none'; base-uri 'none'; form-action 'none'");

        answer(req, 200, "text/html; charset=utf-8", body, whole && body && evbuffer_add_reference(body, page, sizeof page - 1, NULL, NULL) == 0);
}

static void ask_for_token(struct evhttp_request *req)
{
        (void)evhttp_add_header(evhttp_request_get_output_headers(req), "WWW-Authenticate", "Bearer");
        answer_error(req, 401, "the administrator's token is missing or wrong: Authorization: Bearer TOKEN");
}

static struct pm_str header(struct evhttp_request *req, const char *name)
{
        const char *value = evhttp_find_header(evhttp_request_get_input_headers(req), name);

        return (struct pm_str){ value, value ? strlen(value) : 0 };
}

/* Pages of other origins may not even guess at the token.  The page here may be linked to. */
static bool page_may_ask(const struct generation *g, struct evhttp_request *req, bool shown)
{
        struct browser_says says = { header(req, "Host"), header(req, "Origin"), header(req, "Sec-Fetch-Site") };

        if (listen_is_loopback(g->admin.address) && !browser_host_ok(says.host, &g->settings->hosts)) {
                answer_error(req, 403, "the Host must be an IP address, localhost or one of 'hosts'");
                return false;
        }
        if (!shown && !browser_page_ok(&says, &(const struct pm_strs){ NULL, 0 })) {
                answer_error(req, 403, "cross-origin requests are refused");
                return false;
        }
        return true;
}

static void on_request(struct evhttp_request *req, void *arg)
{
        static const char experts[] = "/admin/experts/";
        const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
        const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
        enum evhttp_cmd_type method = evhttp_request_get_command(req);
        struct admin *a = arg;
        bool shown = path && strcmp(path, "/") == 0 && method == EVHTTP_REQ_GET;
        int r;

        if (!page_may_ask(gateway_generation(a->gateway), req, shown))
                return;
        if (shown) {
                show_page(req);
                return;
        }
        r = check_token(gateway_generation(a->gateway), req);
        if (r == -ENOMEM) {
                answer_error(req, 503, "out of memory for looking at the token");
                return;
        }
        if (r < 0) {
                admin_gate_refuse(a->gate, req, ask_for_token);
                return;
        }
        for (size_t i = 0; path && i < LENGTH_OF(paths); i++)
                if (strcmp(path, paths[i].path) == 0) {
                        if (method == paths[i].method)
                                paths[i].run(a, req);
                        else
                                wrong_method(req, paths[i].method);
                        return;
                }
        if (path && strncmp(path, experts, sizeof experts - 1) == 0) {
                CLEANUP(free_p) char *name = evhttp_uridecode(path + sizeof experts - 1, 0, NULL);

                if (method != EVHTTP_REQ_POST)
                        wrong_method(req, EVHTTP_REQ_POST);
                else if (!name)
                        answer_error(req, 503, "out of memory for the expert's name");
                else
                        set_expert(a, req, name);
                return;
        }
        answer_error(req, 404, "no such path");
}

int admin_create(struct gateway *g, struct event_base *base, const char *address, struct problems *p, struct admin **ret)
{
        struct admin *a = calloc(1, sizeof *a);
        char name[LISTEN_NAME_MAX];
        int fd = -1, r = -ENOMEM;

        if (!a)
                return r;
        a->gateway = g;
        a->base = base;
        a->http = evhttp_new(base);
        if (a->http)
                r = listen_open(address, 1, p, &fd, name);
        if (r == 0 && !(a->gate = admin_gate_create(a->http, base, fd)))
                r = -ENOMEM;
        if (r < 0) {
                admin_destroy(a);
                return r;
        }
        evhttp_set_max_headers_size(a->http, HEADERS_MAX);
        evhttp_set_max_body_size(a->http, BODY_MAX);
        evhttp_set_timeout(a->http, TIME_MAX_S);
        evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
        evhttp_set_gencb(a->http, on_request, a);
        log_msg(NULL, PM_INFO, "admin listening on %s", name);
        *ret = a;
        return 0;
}

void admin_destroy(struct admin *a)
{
        if (!a)
                return;
        if (a->http)
                evhttp_free(a->http);
        admin_gate_destroy(a->gate);
        if (a->forget)
                purge_cancel(a->forget);
        free(a);
}
