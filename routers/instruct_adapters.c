/* SPDX-License-Identifier: Apache-2.0 */
#include "instruct_adapters.h"

#include "base.h"

const struct pm_option adapter_options[] = {
        PM_KEY_OPTION(struct adapter, expert),
        PM_STR_OPTION(struct adapter, server, "server", PM_REQUIRED, NULL, "configured expert that serves the adapter"),
        PM_INT_OPTION(struct adapter, id, "id", "-1", -1, 65535, "number of the adapter in llama.cpp's server (member lora of the body); -1: not sent"),
        PM_REAL_OPTION(struct adapter, scale, "scale", "1", 0, 100, "factor for its weight"),
        PM_END_OPTION
};

bool adapters_configured(const struct pm_open *o, const char *expert)
{
        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], expert) == 0)
                        return true;
        return false;
}

static const struct adapter *find(const struct pm_tables *adapters, const char *expert)
{
        const struct adapter *list = adapters->items;

        for (size_t i = 0; i < adapters->n; i++)
                if (strcmp(list[i].expert, expert) == 0)
                        return &list[i];
        return NULL;
}

static int check(const struct pm_open *o, const struct pm_tables *adapters, const char *model, const struct gates_parts *p)
{
        const struct adapter *list = adapters->items;

        for (size_t i = 0; i < adapters->n; i++) {
                size_t k = 0;

                while (k < p->experts && strcmp(p->names[k], list[i].expert) != 0)
                        k++;
                if (k == p->experts)
                        return o->refuse(o, "adapters: model '%s' has no expert '%s'", model, list[i].expert);
                if (!adapters_configured(o, list[i].server))
                        return o->refuse(o, "adapters.%s: server '%s' is not a configured expert", list[i].expert, list[i].server);
                for (k = 0; k < i; k++)
                        if (list[i].id >= 0 && list[k].id == list[i].id && strcmp(list[k].server, list[i].server) == 0)
                                return o->refuse(o, "adapters.%s: id %lld of '%s' is '%s' already", list[i].expert, (long long)list[i].id, list[i].server,
                                                 list[k].expert);
        }
        return 0;
}

/* Those without a server come first. */
static int by_name(const struct placed *p, const char *server)
{
        return !p->server ? server ? -1 : 0 : server ? strcmp(p->server, server) : 1;
}

static void sort(struct placed *placed, size_t n)
{
        for (size_t k = 0; k < n; k++) {
                size_t at = k;

                for (; at > 0 && by_name(&placed[placed[at - 1].by_server], placed[k].server) > 0; at--)
                        placed[at].by_server = placed[at - 1].by_server;
                placed[at].by_server = k;
        }
}

int adapters_place(const struct pm_open *o, const struct pm_tables *adapters, const char *model, const struct gates_parts *p, struct placed **ret)
{
        int r = check(o, adapters, model, p);
        size_t n = 0, used = 0;
        char missing[256] = "";

        if (r < 0)
                return r;
        *ret = calloc(p->experts, sizeof **ret);
        if (!*ret)
                return o->refuse(o, "out of memory");
        for (size_t k = 0; k < p->experts; k++) {
                const struct adapter *a = find(adapters, p->names[k]);

                (*ret)[k] = (struct placed){ a ? a->server : adapters_configured(o, p->names[k]) ? p->names[k] : NULL, a, 0 };
                n += (*ret)[k].server != NULL;
                if (!(*ret)[k].server && used < sizeof missing)
                        used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", p->names[k]);
        }
        sort(*ret, p->experts);
        if (n == 0)
                return o->refuse(o, "none of the experts of model '%s' is configured: %s", model, missing);
        if (used)
                o->log(o, PM_WARN, "model '%s' knows experts that are not configured, passing them over: %s", model, missing);
        return 0;
}

void adapters_usable(const struct placed *placed, size_t n, const struct pm_query *q, bool *usable)
{
        for (size_t k = 0; k < n; k++)
                usable[k] = false;
        for (size_t i = 0; i < q->n_experts; i++) {
                const char *name = q->experts[i]->name;
                size_t low = 0, left = n;

                while (left > 0) { /* the first of that server, if there is one */
                        size_t half = left / 2;

                        if (by_name(&placed[placed[low + half].by_server], name) < 0) {
                                low += half + 1;
                                left -= half + 1;
                        } else {
                                left = half;
                        }
                }
                for (; low < n && by_name(&placed[placed[low].by_server], name) == 0; low++)
                        usable[placed[low].by_server] = true;
        }
}

/* Is it an adapter of the same server? */
static bool beside(const struct placed *first, const struct placed *p)
{
        return p->adapter && p->adapter->id >= 0 && strcmp(p->server, first->server) == 0;
}

const char *adapters_extra(struct pm_query *q, const struct placed *placed, const struct ranked *ranked, size_t n)
{
        const struct placed *first = &placed[ranked[0].expert];
        size_t room = 16 + 64 * n, used;
        double all = 0;
        char *out;

        if (!first->adapter || first->adapter->id < 0)
                return NULL;
        out = pm_alloc(q, room);
        if (!out)
                return NULL;
        used = (size_t)snprintf(out, room, "{\"lora\":[");
        for (size_t i = 0; i < n; i++)
                if (beside(first, &placed[ranked[i].expert]))
                        all += ranked[i].weight;
        for (size_t i = 0; i < n; i++) {
                const struct adapter *a = placed[ranked[i].expert].adapter;

                if (beside(first, &placed[ranked[i].expert]))
                        used += (size_t)snprintf(out + used, room - used, "%s{\"id\":%lld,\"scale\":%.4f}", i ? "," : "", (long long)a->id,
                                                 ranked[i].weight / all * a->scale);
        }
        (void)snprintf(out + used, room - used, "]}");
        return out;
}
