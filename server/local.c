/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our paths, and the answers that need no expert: models, health, metrics.
 */
#include <event2/buffer.h>
#include <jansson.h>

#include "base.h"
#include "gateway.h"
#include "request_parts.h"
#include "tenant.h"
#include "watchdog.h"

static enum next models(struct request *r);
static enum next one_model(struct request *r);
static enum next healthz(struct request *r);
static enum next readyz(struct request *r);
static enum next metrics(struct request *r);

/* In the order of their traffic; the first that fits is taken. */
const struct endpoint_of_ours our_endpoints[] = {
        { .path = "/v1/chat/completions", .method = H1_POST, .api = EXPERT_CHAT, .metric = METRICS_CHAT },
        { .path = "/v1/completions", .method = H1_POST, .api = EXPERT_COMPLETIONS, .metric = METRICS_COMPLETIONS },
        { .path = "/v1/responses", .method = H1_POST, .api = EXPERT_RESPONSES, .metric = METRICS_RESPONSES },
        { .path = "/v1/embeddings", .method = H1_POST, .api = EXPERT_EMBEDDINGS, .metric = METRICS_EMBEDDINGS },
        { .path = "/v1/recommend", .method = H1_POST, .metric = METRICS_RECOMMEND, .parse = recommend_parse },
        { .path = "/v1/feedback", .method = H1_POST, .metric = METRICS_FEEDBACK, .parse = feedback_parse },
        { .path = "/v1/route", .method = H1_POST, .metric = METRICS_ROUTE_API, .parse = route_parse },
        { .path = "/v1/models", .method = H1_GET, .metric = METRICS_OTHER, .local = models },
        { .path = "/v1/models/", .prefix = true, .method = H1_GET, .metric = METRICS_OTHER, .local = one_model },
        { .path = "/healthz", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .local = healthz },
        { .path = "/readyz", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .local = readyz },
        { .path = "/metrics", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .local = metrics },
};
const size_t n_our_endpoints = LENGTH_OF(our_endpoints);

static json_t *model_object(const struct generation *g, const char *id, const char *owner)
{
        return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", "model", "created", (json_int_t)g->loaded_at, "owned_by", owner);
}

static enum next reply_object(struct request *r, json_t *o)
{
        char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        enum next n;

        json_decref(o);
        if (!text)
                return reply_error(r, 503, NULL, NULL, "no memory for the answer");
        n = reply_json(r, 200, (struct pm_str){ text, strlen(text) });
        free(text);
        return n;
}

static enum next models(struct request *r)
{
        const struct generation *g = r->generation;
        json_t *list = json_array();

        for (size_t i = 0; i < g->n_routes; i++)
                if (tenant_may_ask(r->tenant, g->routes[i]))
                        json_array_append_new(list, model_object(g, g->routes[i]->name, "pointsman"));
        for (size_t i = 0; i < g->n_experts; i++)
                if (tenant_may_use(r->tenant, g->experts[i]))
                        json_array_append_new(list, model_object(g, g->experts[i]->name, "expert"));
        for (size_t i = 0; i < g->n_embedders; i++)
                if (g->embedders[i]->model)
                        json_array_append_new(list, model_object(g, g->embedders[i]->name, "pointsman"));
        return reply_object(r, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

/* Ids may hold '/', as they are or as %2F. */
static struct pm_str percent_decoded(struct pm_str s, struct arena *a)
{
        char *out = arena_alloc(a, s.n + 1);
        size_t n = 0;

        for (size_t i = 0; out && i < s.n; i++) {
                char digits[3] = { 0 };
                char *end;
                unsigned long v;

                if (s.p[i] == '%' && i + 2 < s.n) {
                        memcpy(digits, s.p + i + 1, 2);
                        v = strtoul(digits, &end, 16);
                        if (end == digits + 2 && digits[0] != '-' && digits[0] != '+') {
                                out[n++] = (char)v;
                                i += 2;
                                continue;
                        }
                }
                out[n++] = s.p[i];
        }
        return (struct pm_str){ out, n };
}

static enum next one_model(struct request *r)
{
        const struct generation *g = r->generation;
        size_t skip = strlen(r->ours->path);
        struct pm_str id = percent_decoded((struct pm_str){ r->head->path.p + skip, r->head->path.n - skip }, &r->arena);
        const struct expert *e = generation_expert(g, id);
        const struct route *route = generation_route(g, id);
        const struct embedder *by = generation_embedder_named(g, id);

        if (e && tenant_may_use(r->tenant, e))
                return reply_object(r, model_object(g, e->name, "expert"));
        if (route && tenant_may_ask(r->tenant, route))
                return reply_object(r, model_object(g, route->name, "pointsman"));
        if (by && by->model)
                return reply_object(r, model_object(g, by->name, "pointsman"));
        return reply_error(r, 404, "model", "model_not_found", "there is no model '%.*s' here, or not for this key; GET /v1/models lists them",
                           (int)MIN(id.n, 200), id.p ? id.p : "");
}

static enum next healthz(struct request *r)
{
        static const char ok[] = "{\"status\":\"ok\"}";

        return reply_json(r, 200, (struct pm_str){ ok, sizeof ok - 1 });
}

/* Ready: serving, not draining, no worker hangs, and at least one expert could take a request. */
static enum next readyz(struct request *r)
{
        static const char ok[] = "{\"status\":\"ready\"}";
        int64_t now = now_us();

        if (!gateway_ready(r->worker->gateway))
                return reply_error(r, 503, NULL, "draining", "the gateway is stopping");
        if (watchdog_hanging() > 0)
                return reply_error(r, 503, NULL, "worker_hangs", "a worker does not answer; the log says what it does");
        for (size_t i = 0; i < r->generation->n_experts; i++)
                if (expert_available(r->generation->experts[i], now))
                        return reply_json(r, 200, (struct pm_str){ ok, sizeof ok - 1 });
        return reply_error(r, 503, NULL, "no_expert", "no expert is available");
}

/* With tenants, numbers with their names are the operator's: on the administrative listener. */
static enum next metrics(struct request *r)
{
        struct metrics_gauges gauges = { 0 };
        struct evbuffer *out;
        enum next n;

        if (r->generation->tenants)
                return reply_error(r, 403, NULL, "admin_only", "with tenants configured, /metrics is served by the administrative listener only");
        out = evbuffer_new();
        if (!out)
                return reply_error(r, 503, NULL, NULL, "no memory for the answer");
        gateway_gauges(r->worker->gateway, &gauges);
        metrics_write(out, &gauges);
        n = reply_buffer(r, 200, "text/plain; version=0.0.4; charset=utf-8", out);
        evbuffer_free(out);
        return n;
}
