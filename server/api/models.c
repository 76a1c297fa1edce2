/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/models and /v1/models/{id}: what this key may name as `model`. */
#include <jansson.h>

#include "apis.h"
#include "base.h"
#include "tenant.h"

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
                return reply_error(r, 503, NULL, NULL, "out of memory for the answer");
        n = reply_json(r, 200, (struct pm_str){ text, strlen(text) });
        free(text);
        return n;
}

enum next models_list(struct request *r)
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

enum next models_one(struct request *r)
{
        const struct generation *g = r->generation;
        size_t skip = strlen(r->api->path);
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
        return reply_error(r, 404, "model", "model_not_found", "the model '%.*s' does not exist, or this key has no access to it; GET /v1/models lists the models",
                           (int)MIN(id.n, 200), id.p ? id.p : "");
}
