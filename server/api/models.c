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

/* json_dumps() would leave out a name for which it has no memory, and say nothing: here the text has its room before. */
bool api_json(const json_t *o, size_t flags, struct arena *a, struct pm_str *ret)
{
        size_t n = o ? json_dumpb(o, NULL, 0, flags) : 0;
        char *text = n ? arena_alloc(a, n) : NULL;

        if (!text || json_dumpb(o, text, n, flags) != n)
                return false;
        *ret = (struct pm_str){ text, n };
        return true;
}

/* Takes o. */
static enum next reply_object(struct request *r, json_t *o)
{
        struct pm_str text;
        bool good = api_json(o, JSON_COMPACT, &r->arena, &text);

        json_decref(o);
        return good ? reply_json(r, 200, text) : reply_error(r, 503, NULL, NULL, "out of memory for the answer");
}

static bool append(json_t *list, json_t *o)
{
        return json_array_append_new(list, o) == 0;
}

enum next models_list(struct request *r)
{
        const struct generation *g = r->generation;
        json_t *list = json_array();
        bool good = list;

        for (size_t i = 0; good && i < g->n_routes; i++)
                if (tenant_may_ask(r->tenant, g->routes[i]))
                        good = append(list, model_object(g, g->routes[i]->name, "pointsman"));
        for (size_t i = 0; good && i < g->n_experts; i++)
                if (tenant_may_use(r->tenant, g->experts[i]))
                        good = append(list, model_object(g, g->experts[i]->name, "expert"));
        for (size_t i = 0; good && i < g->n_embedders; i++)
                if (g->embedders[i]->model)
                        good = append(list, model_object(g, g->embedders[i]->name, "pointsman"));
        if (!good) {
                json_decref(list);
                list = NULL; /* and json_pack() makes nothing of it */
        }
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
