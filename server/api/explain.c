/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/route: the decision and why, without calling an expert; one text or a list of them.
 */
#include <event2/buffer.h>
#include <jansson.h>

#include "apis.h"
#include "base.h"
#include "request_parts.h"

struct questions {
        struct query *all;
        size_t n;
        bool list; /* `input` was a list: so is the answer */
};

static enum next explain_parse(struct request *r)
{
        const struct limits *l = &r->generation->limits;
        struct query_limits limits = { .depth = (size_t)l->depth, .messages = (size_t)l->messages };
        struct questions *q = arena_zalloc(&r->arena, sizeof *q);
        struct query_error why;

        if (!q)
                return reply_error(r, 503, NULL, NULL, "out of memory for the request");
        if (query_parse_route((struct pm_str){ r->body, r->body_n }, &limits, &r->arena, &q->all, &q->n, &q->list, &why) < 0)
                return request_bad_body(r, &why);
        r->own = q;
        r->query = q->all[0];
        return request_resolve(r);
}

static bool set(json_t *o, const char *name, json_t *value)
{
        return json_object_set_new(o, name, value) == 0;
}

static json_t *names_of(struct expert *const *experts, size_t n)
{
        json_t *list = json_array();

        for (size_t i = 0; i < n; i++)
                if (json_array_append_new(list, json_string(experts[i]->name)) < 0) {
                        json_decref(list);
                        return NULL;
                }
        return list;
}

static bool explain(struct request *r)
{
        const struct decision *d = &r->decision;
        const struct questions *q = r->own;
        json_t *o;
        struct pm_str text;
        bool good;

        if (!r->out && !(r->out = evbuffer_new()))
                return false;
        o = json_pack("{s:s, s:s%, s:s?, s:o, s:s?, s:s?, s:f, s:s?, s:s, s:{s:I, s:I}}", "object", "route", "model", r->query.model.p,
                      r->query.model.n, "expert", d->expert ? d->expert->name : NULL, "fallbacks", names_of(d->fallbacks, d->n_fallbacks), "router",
                      d->router ? d->router->name : NULL, "category", d->category, "confidence", d->confidence, "reason", d->reason,
                      "decision", decision_how_name(d->how), "steps_us",
                      "parse", (json_int_t)r->step_us[STEP_parse], "route", (json_int_t)(now_us() - r->step_started_us));
        good = o && (!d->provisional || set(o, "provisional", json_true())) && (!d->unsure || set(o, "unsure", json_true())) &&
               (!d->only || set(o, "only", json_true())) && (!d->explained || set(o, "explanation", json_loads(d->explained, 0, NULL))) &&
               api_json(o, JSON_COMPACT | JSON_REAL_PRECISION(6), &r->arena, &text);
        json_decref(o);
        if (!good)
                return false;
        if (q->list)
                reply_printf(r->out, "%s", r->round ? "," : "{\"object\":\"list\",\"data\":[");
        reply_put(r->out, text.p, text.n);
        return true;
}

static enum next explain_route(struct request *r)
{
        struct questions *q = r->own;

        if (request_decide(r, true) == WAIT)
                return WAIT;
        if (r->response_done)
                return GO;
        if (!explain(r))
                return reply_error(r, 503, NULL, NULL, "out of memory for the explanation");
        if (r->round + 1 < q->n) {
                recall_settle(r);
                recall_finish(r);
                follow_finish(r);
                r->query = q->all[r->round + 1];
                r->least_tokens = -1;
                return request_next_round(r);
        }
        if (q->list)
                reply_put(r->out, "]}", 2);
        return reply_buffer(r, 200, "application/json", r->out);
}

const struct request_kind explain_kind = { .parse = explain_parse, .recall = recall_step, .route = explain_route };
