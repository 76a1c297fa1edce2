/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of stages, up to the attempt; stages_answer.c has the way back.  It asks one at a time, and whatever that one says is acted on
 * after it has returned.
 */
#include <event2/event.h>

#include "base.h"
#include "memory.h"
#include "stages_parts.h"

enum { HEADERS_MAX = 8192 };

/* ---- waiting -------------------------------------------------------------------------------------------------------------- */

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd;
        (void)what;
        event_free(TAKE(r->stages->timer));
        loop_wake(&r->worker->loop, &r->wake);
}

void stages_stop_waiting(struct stages *all)
{
        struct stage_run *s = TAKE(all->waits);

        if (all->timer)
                event_free(TAKE(all->timer));
        if (s)
                s->stage->cancel(s);
}

static int64_t left_us(const struct request *r)
{
        return r->headers_sent ? r->deadline - now_us() : forward_left_us(r, now_us());
}

enum next stages_wait(struct request *r, struct stage_run *s)
{
        struct stages *all = r->stages;
        int64_t left = left_us(r);
        struct timeval t = { left / 1000000, left % 1000000 };

        assert(s->stage->cancel);
        all->waits = s;
        if (!all->timer && left > 0) {
                all->timer = evtimer_new(r->worker->loop.base, on_time, r);
                if (!all->timer || evtimer_add(all->timer, &t) < 0)
                        left = 0; /* nobody would wake it */
        }
        if (left > 0)
                return WAIT;
        stages_stop_waiting(all);
        attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
        if (r->headers_sent)
                return relay_cut_short(r, "request_timeout", arena_printf(&r->arena, "stage '%s' has taken longer than limits.request_time leaves", s->stage->name));
        return forward_late(r);
}

void stages_wake(struct stage_run *s)
{
        loop_wake(&s->request->worker->loop, &s->request->wake);
}

void stages_ask(struct stages *all, struct stage_run *s, struct edits *edits)
{
        assert(!all->waits || all->waits == s);
        all->waits = NULL;
        s->edits = edits;
}

void stages_asked(struct stages *all, struct stage_run *s, enum next said)
{
        s->edits = NULL;
        if (said != WAIT && all->timer)
                event_free(TAKE(all->timer));
}

/* ---- errors --------------------------------------------------------------------------------------------------------------- */

enum next stages_refuse(struct stage_run *s, int status, const char *code, const char *fmt, ...)
{
        struct stages *all = s->request->stages;
        va_list args;

        va_start(args, fmt);
        all->refused_why = arena_vprintf(&s->request->arena, fmt, args);
        va_end(args);
        if (!all->refused_why)
                all->refused_why = "refused";
        all->refused = status;
        all->refused_code = code;
        return DONE;
}

enum next stages_refuse_now(struct request *r)
{
        struct stages *all = r->stages;
        int status = TAKE(all->refused);

        attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
        if (r->headers_sent) {
                r->end = "refused";
                return relay_cut_short(r, all->refused_code, all->refused_why);
        }
        r->no_retry = true; /* it would be refused again */
        return reply_error(r, status, NULL, all->refused_code, "%s", all->refused_why);
}

enum next stages_fault(struct request *r, struct stage_run *s, const char *what)
{
        (void)stages_refuse(s, 500, "stage_failed", "stage '%s' %s", s->stage->name, what ? what : "has failed");
        return stages_refuse_now(r);
}

/* ---- the request ---------------------------------------------------------------------------------------------------------- */

static struct stages *begin(struct request *r)
{
        const struct generation *g = r->generation;
        struct stages *all = arena_zalloc(&r->arena, sizeof *all + g->n_stages * sizeof *all->runs);

        if (!all)
                return NULL;
        all->n = g->n_stages;
        for (size_t i = 0; i < all->n; i++) {
                all->runs[i] = (struct stage_run){ .stage = g->stages[i], .request = r };
                r->staged |= g->stages[i]->on_event != NULL;
        }
        return all;
}

/* The request is what the stage has made of it from here on.  The client's own body stays, for those who have looked into it. */
static enum next edited(struct request *r, struct stage_run *s, const struct edits *e)
{
        const struct limits *l = &r->generation->limits;
        struct query_limits limits = { .depth = (size_t)l->depth, .messages = (size_t)l->messages };
        struct query_error why;
        struct iovec *pieces;
        struct query q;
        size_t n, size;
        char *body;
        int err = r->wire->splice(r->query.body, e, &r->arena, &pieces, &n);

        if (err == -EINVAL)
                return stages_fault(r, s, "has edits that overlap");
        size = err < 0 ? 0 : pieces_length(pieces, n);
        if (err < 0 || !memory_take((int64_t)size))
                return reply_error(r, 503, NULL, "overloaded", "out of memory for the edited body, or none that limits.memory allows; try again");
        r->body_counted += (int64_t)size;
        body = arena_alloc(&r->arena, size);
        if (!body)
                return reply_error(r, 503, NULL, NULL, "out of memory for the edited body");
        pieces_join(pieces, n, body);
        if (r->wire->parse((struct pm_str){ body, size }, r->wire->api, &limits, &r->arena, &q, &why) < 0)
                return stages_fault(r, s, arena_printf(&r->arena, "has made the request one that cannot be: %s", why.message ? why.message : "it is invalid"));
        r->query = q;
        r->least_tokens = -1;
        return GO;
}

enum next stages_request(struct request *r)
{
        struct stages *all = r->stages;

        if (!r->kind->forwards || (all && all->requested))
                return GO;
        if (!all) {
                all = r->stages = begin(r);
                if (!all)
                        return reply_error(r, 503, NULL, NULL, "out of memory for the request");
        }
        for (; all->at < all->n; all->at++) {
                struct stage_run *s = &all->runs[all->at];
                struct edits edits = EDITS(&r->arena);
                enum next said = GO;

                stages_ask(all, s, &edits);
                if (s->stage->on_request)
                        said = s->stage->on_request(s);
                stages_asked(all, s, said);
                if (said == WAIT)
                        return stages_wait(r, s);
                if (all->refused)
                        return stages_refuse_now(r);
                if (said == DONE && !r->response_done)
                        return stages_fault(r, s, "has ended the request without an answer");
                if (r->response_done || (edits_any(&edits) && edited(r, s, &edits) == GO && r->response_done))
                        return GO;
        }
        all->requested = true;
        all->at = 0;
        return GO;
}

/* ---- an attempt ----------------------------------------------------------------------------------------------------------- */

int stages_header(struct stage_run *s, const char *name, const char *value)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
        static const char *const framing[] = { "host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "proxy-connection",
                                               "upgrade", "te", "trailer", "expect", "accept-encoding", "x-request-id", "x-pointsman-hops" };
        struct stages *all = s->request->stages;
        size_t n = strlen(name), more = n + strlen(value) + 4;

        if (!s->edits || all->requested == false || n == 0 || strspn(name, letters) != n || more > HEADERS_MAX - all->lines_n)
                return -EINVAL;
        for (const char *p = value; *p; p++)
                if (*p < 0x20 || *p > 0x7E)
                        return -EINVAL;
        for (size_t i = 0; i < LENGTH_OF(framing); i++)
                if (strcasecmp(name, framing[i]) == 0)
                        return -EINVAL;
        if (!all->lines)
                all->lines = arena_alloc(&s->request->arena, HEADERS_MAX + 1);
        if (!all->lines)
                return -ENOMEM;
        all->lines_n += (size_t)snprintf(all->lines + all->lines_n, more + 1, "%s: %s\r\n", name, value);
        return 0;
}

/* The last word, if nobody is left who may be asked. */
static void not_this_one(struct request *r, const struct stage_run *s, const struct expert *e)
{
        const char *why = arena_printf(&r->arena, "stage '%s' does not let this request go to expert '%s'", s->stage->name, e->name);

        if (r->failed_status)
                return; /* what an expert has said matters more */
        r->failed_status = 403;
        r->failed_code = "expert_not_allowed";
        r->failed_why = why ? why : "a stage does not let this request go there";
        r->no_retry = true;
}

enum next stages_attempt(struct request *r, const struct expert *e)
{
        struct stages *all = r->stages;

        if (!all->waits && all->at == 0) {
                all->edits = EDITS(&r->arena);
                all->lines_n = 0;
                all->ended = false;
        }
        for (; all->at < all->n; all->at++) {
                struct stage_run *s = &all->runs[all->at];
                struct edits edits = EDITS(&r->arena);
                size_t lines_n = all->lines_n;
                enum next said = GO;

                stages_ask(all, s, &edits);
                if (s->stage->on_attempt)
                        said = s->stage->on_attempt(s, e);
                stages_asked(all, s, said);
                if (said != GO)
                        all->lines_n = lines_n;
                if (said == WAIT) {
                        enum next next = stages_wait(r, s);

                        return next == WAIT ? WAIT : DONE;
                }
                if (said == DONE)
                        all->at = 0;
                if (all->refused) {
                        (void)stages_refuse_now(r);
                        return DONE;
                }
                if (said == DONE) {
                        not_this_one(r, s, e);
                        return DONE;
                }
                if (edits_any(&edits)) {
                        int err = edits_add(&all->edits, &edits);

                        if (err < 0) {
                                (void)stages_fault(r, s, err == -ENOMEM ? "has no memory for its edits" : "has edits that overlap with those of another");
                                return DONE;
                        }
                }
        }
        all->at = 0;
        return GO;
}

int stages_edits(const struct request *r, struct edits *e)
{
        return edits_add(e, &r->stages->edits);
}

struct pm_str stages_headers(struct request *r, struct pm_str ours)
{
        const struct stages *all = r->stages;
        char *out;

        if (all->lines_n == 0)
                return ours;
        out = arena_alloc(&r->arena, ours.n + all->lines_n);
        if (!out)
                return (struct pm_str){ 0 };
        memcpy(out, ours.p, ours.n);
        memcpy(out + ours.n, all->lines, all->lines_n);
        return (struct pm_str){ out, ours.n + all->lines_n };
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */

void stages_settle(struct request *r, const struct expert *e, double cost)
{
        const struct stage_cost c = { .expert = e, .status = r->status, .end = r->end, .tokens_in = r->tokens_in, .tokens_out = r->tokens_out, .cost = cost };
        struct stages *all = r->stages;

        stages_attempt_over(r);
        for (size_t i = 0; i < all->n; i++)
                if (all->runs[i].stage->on_settle)
                        all->runs[i].stage->on_settle(&all->runs[i], &c);
}
