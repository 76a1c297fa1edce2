/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/feedback: {"user", "item"[, "weight"][, "time"][, "model"]}, or {"events": [...]} of such.  An event is accepted when it counts
 * in the user's history and stands in the writer's buffer; if a disk is full the client is told.
 */
#include "feedback.h"

#include <time.h>

#include "alike.h"
#include "base.h"
#include "event_log.h"
#include "js.h"
#include "recommend.h"
#include "request_parts.h"
#include "settings.h"
#include "shared_cache.h"

enum { ID_MAX = 512, EVENTS_MAX = 1000 };

/* What the training that reads the file can compute with: routers/train/learn/graph_line.c. */
static const double weight_min = 1e-30, weight_max = 1e9;
static const int64_t time_max = 8999999999999999;

/* ---- a user's history ---------------------------------------------------------------------------------------------------- */

bool feedback_key(struct request *r, const struct route *route, struct pm_str user, struct cache_key *ret)
{
        struct cache *c = r->worker->cache;

        cache_sum_begin(c);
        cache_sum_text(c, user);
        return cache_sum_key(c, r->generation, CACHE_KEY_HISTORY, r->tenant, route, &r->arena, ret);
}

/* It counts from now on; the store is told behind. */
static void count(struct request *r, const struct cache_key *key, struct pm_str item)
{
        const struct feedback_settings *s = r->generation->feedback;
        int64_t now_ms = cache_now_ms();

        if (s->keep == 0)
                return;
        shared_cache_push(SHARED_CACHE_HISTORIES, key->hash, key->local, item, (size_t)s->keep, now_ms + s->time, now_ms);
        cache_share_item(r->worker->cache, key, item, s->keep, s->time);
}

/* ---- POST /v1/feedback --------------------------------------------------------------------------------------------------- */

/* An id that can stand in a line of the file. */
static bool id_ok(struct pm_str id)
{
        for (size_t i = 0; i < id.n; i++)
                if ((unsigned char)id.p[i] < 0x20 || id.p[i] == 0x7F)
                        return false;
        return id.n > 0 && id.n <= ID_MAX;
}

static enum next bad_event(struct request *r, const char *in, size_t i, const char *member, const char *what)
{
        const char *param = in ? arena_printf(&r->arena, "%s[%zu].%s", in, i, member) : member;

        return reply_error(r, 400, param, NULL, "'%s' %s", param ? param : member, what);
}

/* GO with *ret filled and r not answered, or the answer. */
static enum next read_event(struct request *r, struct pm_str o, const char *in, size_t i, struct edge *ret)
{
        static const char *const names[] = { "user", "item", "weight", "time" };
        struct pm_str raw, user = js_member(o, "user"), item = js_member(o, "item"), weight = js_member(o, "weight"), at = js_member(o, "time");

        const char *ours;

        if (in && js_type(o) == JS_OBJECT && alike_find(o, names, LENGTH_OF(names), &ours, &raw))
                return bad_event(r, in, i, ours, "appears more than once, perhaps spelled differently");
        *ret = (struct edge){ .user = js_text(user, &r->arena), .item = js_text(item, &r->arena), .weight = 1, .time = (int64_t)time(NULL) };
        if (!id_ok(ret->user))
                return bad_event(r, in, i, "user", "must be a text of 1 to 512 bytes without control characters");
        if (!id_ok(ret->item))
                return bad_event(r, in, i, "item", "must be a text of 1 to 512 bytes without control characters");
        if (weight.p) {
                ret->weight = js_type(weight) == JS_NUMBER ? strtod(weight.p, NULL) : -1; /* ends where the number does */
                if (!(ret->weight >= weight_min && ret->weight <= weight_max))
                        return bad_event(r, in, i, "weight", "must be a number from 1e-30 to 1e9");
        }
        if (at.p && (!js_int(at, &ret->time) || ret->time < 0 || ret->time > time_max))
                return bad_event(r, in, i, "time", "must be a whole number of seconds since 1970, below 9e15");
        return GO;
}

/* All of them count, or the client is told that none does: it will send them again. */
static enum next take_events(struct request *r, const struct route *route, const struct edge *list, size_t n)
{
        const struct feedback_settings *s = r->generation->feedback;
        struct cache_key *keys = arena_alloc(&r->arena, MAX(n, (size_t)1) * sizeof *keys);
        int w = 0;

        for (size_t i = 0; i < n; i++)
                if (!keys || !feedback_key(r, route, list[i].user, &keys[i]))
                        return reply_error(r, 503, NULL, NULL, "out of memory for the %s", n == 1 ? "event" : "events");
        if (s->file && n)
                w = event_log_add(r->worker->event_log, s->file, list, n);
        if (w == -ENOMEM)
                return reply_error(r, 503, NULL, NULL, "out of memory for the %s", n == 1 ? "event" : "events");
        if (w < 0 && w != -ENOSPC && w != -EAGAIN)
                return reply_error(r, 503, NULL, "feedback_not_written", "the %s could not be stored: feedback.file cannot be opened (%s)",
                                   n == 1 ? "event" : "events", ERRNO_TEXT(w));
        if (w < 0)
                return reply_error(r, 507, NULL, "feedback_not_written", "the %s could not be stored: %s; try again later",
                                   n == 1 ? "event" : "events", ERRNO_TEXT(w));
        for (size_t i = 0; i < n; i++)
                count(r, &keys[i], list[i].item);
        return GO;
}

static enum next feedback_parse(struct request *r)
{
        struct pm_str body = js_trim((struct pm_str){ r->body, r->body_n }), events, key;
        const struct route *route = recommend_route_of(r, body);
        struct edge *list;
        size_t n = 0;
        struct js j;
        char text[64];
        int m;

        if (r->response_done)
                return GO;
        events = js_member(body, "events");
        list = arena_alloc(&r->arena, EVENTS_MAX * sizeof *list);
        if (!list)
                return reply_error(r, 503, NULL, NULL, "out of memory for the events");
        if (!events.p) {
                (void)read_event(r, body, NULL, 0, &list[n++]);
        } else {
                js_start(&j, events, 8);
                if (js_type(events) != JS_ARRAY)
                        return reply_error(r, 400, "events", NULL, "'events' must be a list of events");
                for (js_enter(&j); js_more(&j, &key) && !r->response_done; n++) {
                        if (n == EVENTS_MAX)
                                return reply_error(r, 400, "events", NULL, "'events' has more than %d entries", EVENTS_MAX);
                        (void)read_event(r, js_take(&j), "events", n, &list[n]);
                }
        }
        if (!r->response_done)
                (void)take_events(r, route, list, n);
        if (r->response_done)
                return GO;
        m = snprintf(text, sizeof text, "{\"object\":\"feedback\",\"accepted\":%zu}", n);
        return reply_json(r, 200, (struct pm_str){ text, (size_t)m });
}

const struct request_kind feedback_kind = { .parse = feedback_parse };
