/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 5: which expert, which endpoint; open the transfer.  What fails is judged and acted on by fallback.c, which asks for the next attempt here.
 *
 * Everything here happens before the first byte has gone out to the client, so another expert may still answer.
 */
#include <event2/buffer.h>
#include <event2/event.h>

#include "base.h"
#include "edits.h"
#include "header_times.h"
#include "hops.h"
#include "request_parts.h"
#include "stages.h"
#include "tenant.h"

enum {
        ERROR_BODY_MS = 1000, REFUSAL_BODY_MS = 10000,
        LATE_MS = 5 /* libevent's clock is the kernel's coarse one: nobody is asked earlier than he said */
};

void attempt_end(struct request *r, enum metrics_attempt how, enum expert_verdict v, int64_t retry_us)
{
        struct attempt *a = &r->attempt;
        struct transfer *t = TAKE(a->transfer);
        int64_t now, first = 0, total = 0;

        if (!a->endpoint)
                return;
        if (r->headers_sent) { /* what the client got is what counts */
                r->tokens_in = a->reading.tokens_in;
                r->tokens_out = a->reading.tokens_out;
                r->first_token = a->reading.first_token;
        }
        if (UNLIKELY(r->stages != NULL))
                stages_attempt_over(r);
        now = now_us();
        if (t) {
                total = now - t->opened_us;
                first = t->first_byte_us ? t->first_byte_us - t->opened_us : 0;
                if (!r->headers_sent)
                        r->waited_us += total;
        }
        if (r->timer)
                event_free(TAKE(r->timer));
        metrics_attempt(r->worker->loop.metrics, a->expert->metric, how, first, total);
        expert_done(a->expert, TAKE(a->endpoint), v, r->query.stream ? first : 0, retry_us, now);
        upstream_close(t);
}

/* ---- which expert, which endpoint ---- */

struct expert *forward_expert(const struct request *r, size_t turn)
{
        const struct decision *d = &r->decision;

        return turn == 0 ? d->expert : turn <= d->n_fallbacks ? d->fallbacks[turn - 1] : NULL;
}

/* On to the next expert. */
static void skip(struct request *r)
{
        r->expert_index++;
        r->attempts_here = 0;
        r->tried_mask = 0;
        r->pieces = NULL;
}

static void add_line(char *out, size_t room, size_t *n, const char *name, struct pm_str value)
{
        if (value.n && value.n + strlen(name) + 4 < room - *n)
                *n += (size_t)snprintf(out + *n, room - *n, "%s: %.*s\r\n", name, (int)value.n, value.p);
}

static bool compose_headers(struct request *r)
{
        enum { TRACE_ROOM = 2048 };
        static const char id[] = "x-request-id: ";
        struct pm_str lines = r->query.stream ? r->wire->ask_stream : r->wire->ask_whole;
        size_t n = lines.n + sizeof id - 1, room;
        struct pm_str trace = h1_header(r->head, "traceparent");
        char *out;

        room = n + r->id.n + 2 + (trace.n ? TRACE_ROOM : 0); /* and then the line of hops, which is never left out */
        out = arena_alloc(&r->arena, room + HOPS_LINE_MAX);
        if (!out)
                return false;
        memcpy(out, lines.p, lines.n);
        memcpy(out + lines.n, id, sizeof id - 1);
        memcpy(out + n, r->id.p, r->id.n);
        n += r->id.n;
        memcpy(out + n, "\r\n", 2);
        n += 2;
        if (trace.n) {
                add_line(out, room, &n, "traceparent", trace);
                add_line(out, room, &n, "tracestate", h1_header(r->head, "tracestate"));
        }
        n += hops_line(r->head->hops, out + n);
        r->upstream_headers = (struct pm_str){ out, n };
        return true;
}

/* Nobody else may have it, so that its name is no secret worth a wrong answer. */
enum next forward_may(struct request *r)
{
        const struct decision *d = &r->decision;

        if (!d->only || !d->expert || route_may_use(r->route, r->tenant, r->query.api, d->expert))
                return GO;
        if (!(d->expert->apis & r->query.api))
                return reply_error(r, 400, "model", "unsupported_api", "this request may go to expert '%s' only, which does not offer %s", d->expert->name,
                                   r->api->path);
        return reply_error(r, 403, "model", "expert_not_allowed", "this request may go to expert '%s' only, which %s", d->expert->name,
                           tenant_may_use(r->tenant, d->expert) ? "its route does not ask" : "this key may not use");
}

/* ---- when nobody is left ---- */

/* The experts that this request could go to if they were there: of the decision, else of the route. */
static struct expert *eligible(const struct request *r, size_t i)
{
        const struct route *route = r->route;

        if (r->decision.expert)
                return forward_expert(r, i);
        for (size_t at = 0; route && at < route->n_experts; at++)
                if (route_may_use(route, r->tenant, r->query.api, route->experts[at]) && i-- == 0)
                        return route->experts[at];
        return NULL;
}

/* Nobody was asked: all rest, or there is none. */
static enum next nobody(struct request *r)
{
        const char *name = r->decision.expert ? r->decision.expert->name : NULL;
        int64_t now = now_us(), soonest = INT64_MAX;
        bool limited = true;
        struct expert *e;
        size_t n = 0;

        for (; (e = eligible(r, n)); n++) {
                enum expert_rest why;
                int64_t rests = expert_rests(e, now, &why);

                limited = limited && why == EXPERT_RATE_LIMITED;
                soonest = MIN(soonest, rests);
        }
        if (n == 0 && r->route)
                return reply_error(r, 400, "model", "unsupported_api", "no expert of '%s' that this key may use offers %s; GET /v1/models lists the models",
                                   r->route->name, r->api->path);
        if (soonest != INT64_MAX)
                r->retry_after_ms = MAX((soonest + 999) / 1000, 1);
        if (n && limited)
                return reply_error(r, 429, NULL, "rate_limit_exceeded", "%s%s%s is rate limited (retry-after) for another %" PRId64 " s", name ? "expert '" : "every expert",
                                   name ? name : "", name ? "'" : "", (r->retry_after_ms + 999) / 1000);
        if (!name)
                return reply_error(r, 503, NULL, "no_expert_available", "no expert is available for this request; try again later");
        return reply_error(r, 503, NULL, "expert_unavailable", "expert '%s' is not available; try again later", name);
}

enum next forward_give_up(struct request *r)
{
        if (!r->failed_status)
                return nobody(r);
        return reply_error(r, r->failed_status, NULL, r->failed_code, "%s (%u attempt%s)", r->failed_why, r->attempts, r->attempts == 1 ? "" : "s");
}

/* ---- the next attempt ---- */

/* Who waits for a whole answer for so long is told in time that there is none; a stream's first token is meant. */
static void take_patience(struct request *r)
{
        int64_t ms = header_patience_ms(r->head);

        if (ms == 0)
                return;
        r->patience = MIN(r->deadline, r->started_us + ms * 1000);
        if (!r->query.stream)
                r->deadline = r->patience;
}

int64_t forward_left_us(const struct request *r, int64_t now)
{
        return (r->patience ? MIN(r->patience, r->deadline) : r->deadline) - now;
}

enum next forward_late(struct request *r)
{
        if (!r->patience || r->patience > r->deadline)
                return reply_error(r, 504, NULL, "request_timeout", "the request has taken longer than limits.request_time");
        r->no_retry = true;
        return reply_error(r, 504, NULL, "request_timeout", "no answer within the %" PRId64 " ms that the client waits, as its headers say%s%s",
                           (r->patience - r->started_us) / 1000, r->failed_why ? "; before that: " : "", r->failed_why ? r->failed_why : "");
}

static int64_t first_limit(const struct request *r, const struct expert *e, int64_t now, int64_t left)
{
        int64_t ms = MIN(r->query.stream ? e->first_token_ms : e->answer_ms, left);

        return r->patience ? MIN(ms, MAX((r->patience - now) / 1000, 1)) : ms;
}

/* The body for this expert; again if what its endpoints have been found to take differs. */
static int compose_body(struct request *r, const struct expert *e)
{
        bool usage = expert_takes_usage(e, r->attempt.endpoint, now_us()); /* if not, nothing is added to a client's wish, or to its absence */
        const char *extra = r->expert_index == 0 ? r->decision.extra : NULL;
        struct edits edits = EDITS(&r->arena);
        int err;

        if (r->pieces && r->pieces_usage == usage && !r->stages)
                return 0;
        r->pieces_usage = usage;
        err = r->wire->edit(&r->query, e->model, usage, &edits);
        if (err == 0 && e->drop.n)
                err = edits_drop(&edits, &e->drop);
        if (err == 0 && extra)
                err = edits_set_all(&edits, (struct pm_str){ extra, strlen(extra) });
        if (UNLIKELY(r->stages != NULL) && err == 0)
                err = stages_edits(r, &edits);
        return err < 0 ? err : r->wire->splice(r->query.body, &edits, &r->arena, &r->pieces, &r->n_pieces);
}

enum next forward_next(struct request *r)
{
        struct attempt *a = &r->attempt;
        int64_t now = now_us(), left;
        struct upstream_call call;
        struct pm_str headers;
        struct expert *e;
        unsigned index;
        int err;

        r->at = STEP_forward;
        if (r->attempts == 0 && !r->patience)
                take_patience(r);
        left = (r->deadline - now) / 1000;
        if (judge_too_late(forward_left_us(r, now)))
                return forward_late(r);
        for (;; skip(r)) {
                e = forward_expert(r, r->expert_index);
                if (!e)
                        return forward_give_up(r);
                if (r->attempts_here > (unsigned)e->retries || (e->context && e->context <= r->longer_than))
                        continue;
                if (r->expert_index && !query_fits(&r->query, e->context, &r->least_tokens))
                        continue;
                if (UNLIKELY(r->stages != NULL)) {
                        enum next n = stages_attempt(r, e);

                        if (n == DONE && !r->response_done)
                                continue;
                        if (n != GO)
                                return n == WAIT ? WAIT : GO;
                }
                a->endpoint = expert_pick(e, r->tried_mask, now, &index);
                if (!a->endpoint && r->tried_mask) {
                        r->tried_mask = 0; /* all endpoints had their turn: again from the first */
                        a->endpoint = expert_pick(e, 0, now, &index);
                }
                if (a->endpoint)
                        break;
        }
        *a = (struct attempt){ .expert = e, .endpoint = a->endpoint, .reading = READING_NONE };
        r->attempts_here++;
        r->tried_mask |= 1ull << index;
        r->attempts++;
        err = r->upstream_headers.p || compose_headers(r) ? compose_body(r, e) : -ENOMEM;
        headers = UNLIKELY(r->stages != NULL) && err == 0 ? stages_headers(r, r->upstream_headers) : r->upstream_headers;
        if (err < 0 || !headers.p) {
                attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
                if (err == -EINVAL) /* only of theirs do we not know where they are */
                        return reply_error(r, 500, NULL, "stage_failed", "a stage has edited what the gateway has to say itself");
                return reply_error(r, 503, NULL, NULL, "out of memory for the request");
        }
        call = (struct upstream_call){ .endpoint = a->endpoint, .path = r->wire->path, .headers = headers, .body = r->pieces,
                                       .n_body = r->n_pieces, .connect_ms = MIN(e->connect_ms, left), .first_ms = first_limit(r, e, now, left), .by_content = r->query.stream,
                                       .idle_ms = MIN(e->idle_ms, left), .high_water = (size_t)r->generation->limits.buffer,
                                       .head_max = (size_t)r->generation->limits.head };
        a->transfer = upstream_open(r->worker->upstream, &call, &r->wake);
        if (!a->transfer) {
                attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
                return reply_error(r, 503, NULL, NULL, "out of memory for a transfer");
        }
        return WAIT;
}

/* ---- waiting ---- */

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd;
        (void)what;
        event_free(TAKE(r->timer));
        loop_wake(&r->worker->loop, &r->wake);
}

void forward_wake_in(struct request *r, int64_t ms)
{
        int64_t late = ms + LATE_MS;
        struct timeval t = { late / 1000, late % 1000 * 1000 };

        (void)event_base_update_cache_time(r->worker->loop.base); /* else it would count from when the loop last woke */
        r->timer = evtimer_new(r->worker->loop.base, on_time, r);
        if (r->timer && evtimer_add(r->timer, &t) == 0)
                return;
        if (r->timer)
                event_free(TAKE(r->timer));
        loop_wake(&r->worker->loop, &r->wake);
}

/* The status of a failure is there, its words are not.  5xx and the like are decided without them; a 4xx's own words matter more. */
static enum next wait_for_words(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        bool refused = t->status >= 400 && t->status < 500 && t->status != 408 && t->status != 429;
        int64_t left = MIN(t->head_us + (refused ? REFUSAL_BODY_MS : ERROR_BODY_MS) * INT64_C(1000), r->deadline) - now_us();

        if (left <= 0 || evbuffer_get_length(t->in) >= (size_t)r->generation->limits.buffer)
                return fallback_answer(r);
        if (!r->timer)
                forward_wake_in(r, left / 1000 + 1);
        return WAIT;
}

enum next request_forward(struct request *r)
{
        struct transfer *t = r->attempt.transfer;

        if (!t && r->timer)
                return WAIT; /* for a Retry-After */
        if (!t) {
                if (r->waits_since)
                        r->waited_us += now_us() - r->waits_since;
                r->waits_since = 0;
                return forward_next(r);
        }
        switch (t->state) {
        case TRANSFER_OPENING:
                return WAIT;
        case TRANSFER_FAILED:
                if (!t->head_us || t->error == TRANSFER_MEMORY)
                        return fallback_transfer(r);
                break; /* what came first is judged first, however fast the end has followed */
        case TRANSFER_HEAD:
                return t->status >= 200 && t->status < 300 ? GO : wait_for_words(r);
        case TRANSFER_DONE:
                break;
        }
        return t->status >= 200 && t->status < 300 ? GO : fallback_answer(r);
}
