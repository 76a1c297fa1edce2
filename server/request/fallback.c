/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 5, second half: an attempt has failed.  What is known of it goes to judge(), and what that says is done here: the breaker and the
 * metrics are told, another attempt is opened, or the client gets its answer.
 */
#include <event2/buffer.h>

#include "base.h"
#include "cache.h"
#include "header_times.h"
#include "log.h"
#include "request_parts.h"
#include "tenant.h"

enum { HASHED = 16384 };

/* ---- words ---- */

/* Who said it, from where. */
static const char *who_said(struct request *r, const char *clause)
{
        const struct attempt *a = &r->attempt;

        return arena_printf(&r->arena, "expert '%s' at %s%s: %s", a->expert->name, a->endpoint ? a->endpoint->url : "", r->wire->path, clause);
}

/* What we lack ourselves is not said of the expert.  The clause begins with "out of memory". */
static const char *we_say(struct request *r, const char *clause)
{
        const char *why = arena_printf(&r->arena, "the gateway is %s", clause);

        return why ? why : "the gateway is out of memory";
}

static const char *answered(struct request *r, const struct refusal *f)
{
        const char *colon = f->message ? ": " : "", *words = f->message ? f->message : "";

        if (!f->event)
                return arena_printf(&r->arena, "answered %d%s%s", r->attempt.transfer->status, colon, words);
        return arena_printf(&r->arena, "%s an error, which counts as %d%s%s", r->query.stream ? "began its stream with" : "answered 200 with", f->status, colon, words);
}

static void log_attempt(struct request *r)
{
        struct log_line l;

        log_begin(&l, r->worker->loop.log, PM_WARN, "attempt failed");
        log_str(&l, "id", r->id);
        log_text(&l, "expert", r->attempt.expert->name);
        log_text(&l, "endpoint", r->attempt.endpoint ? r->attempt.endpoint->url : NULL);
        log_int(&l, "attempt", r->attempts);
        log_text(&l, "error", r->failed_why);
        log_end(&l);
}

/* ---- what is known of it ---- */

static bool expert_left(const struct request *r)
{
        int64_t now = now_us();

        for (size_t turn = r->expert_index + 1; forward_expert(r, turn); turn++)
                if (expert_available(forward_expert(r, turn), now))
                        return true;
        return false;
}

static int64_t context_had(const struct request *r)
{
        return MAX(r->attempt.expert->context, r->longer_than);
}

/* Is there one that might take a longer prompt? */
static bool longer_left(const struct request *r)
{
        int64_t had = context_had(r), now = now_us();

        for (size_t turn = r->expert_index + 1; forward_expert(r, turn); turn++) {
                const struct expert *e = forward_expert(r, turn);

                if ((e->context == 0 || e->context > had) && expert_available(e, now))
                        return true;
        }
        return false;
}

static struct failure failure_of(const struct request *r, enum failure_what what)
{
        const struct attempt *a = &r->attempt;
        const struct transfer *t = a->transfer;
        const struct expert *e = a->expert;

        return (struct failure){
                .what = what, .error = t->error, .head = t->head_us != 0, .events = a->reading.kind == READING_EVENTS, .retry_ms = -1,
                .stream = r->query.stream, .our_options = r->query.stream && !r->query.stream_options.p && r->pieces_usage && e->usage != USAGE_ALWAYS,
                .headers_sent = r->headers_sent, .waited = r->waited, .left_us = forward_left_us(r, now_us()),
                .endpoint_left = r->attempts_here <= (unsigned)e->retries && (size_t)__builtin_popcountll(r->tried_mask) < e->n_endpoints,
                .expert_left = expert_left(r), .longer_left = longer_left(r),
        };
}

/* Whose talk it is, for doubts: the tenant and what the user said first. */
static uint64_t conversation(const struct request *r)
{
        struct pm_str said = r->query.body;
        uint64_t h = UINT64_C(14695981039346656037);
        const char *name = r->tenant ? r->tenant->name : "";

        for (size_t i = 0; i < r->query.n_turns; i++)
                if (query_is_user(&r->query.turns[i])) {
                        said = r->query.turns[i].content;
                        break;
                }
        for (; *name; name++)
                h = (h ^ (unsigned char)*name) * UINT64_C(1099511628211);
        for (size_t i = 0; i < MIN(said.n, (size_t)HASHED); i++)
                h = (h ^ (unsigned char)said.p[i]) * UINT64_C(1099511628211);
        return h ^ said.n << 32;
}

/* ---- what comes next ---- */

/* The expert's own refusal: as it is if it has the shape, else its words in that shape. */
static enum next pass_on(struct request *r, const struct refusal *f, struct pm_str body)
{
        struct transfer *t = r->attempt.transfer;
        const char *why = who_said(r, answered(r, f));

        if (!f->clean || !r->wire->is_error(body))
                body = r->wire->error_body(&r->arena, f->status, f->type, f->param, f->code, f->message ? f->message : "the expert refused the request");
        if (!body.p)
                return fallback_failed(r, FAILURE_MEMORY, "out of memory for the expert's refusal");
        r->end = "refused_by_expert";
        r->error = why;
        r->no_retry = true;
        r->waited_us += r->woken_us - t->opened_us;
        reply_refusal(r, t, f->status, body);
        attempt_end(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 0);
        return request_answered(r);
}

static void remember(struct request *r, const struct verdict *v, const char *why)
{
        r->failed_status = v->status;
        r->failed_code = v->code;
        r->failed_why = why ? why : "the expert failed";
        r->retry_after_ms = v->retry_after_ms;
        r->no_retry = v->no_retry;
}

static enum next wait_as_told(struct request *r, int64_t ms)
{
        r->waited = true;
        r->attempts_here = 0;
        r->tried_mask = 0;
        r->waits_since = now_us();
        r->at = STEP_forward;
        forward_wake_in(r, ms);
        return WAIT;
}

/* Everything but JUDGE_PASS_ON and JUDGE_CUT.  why: who said what; NULL: there is no memory for it. */
static enum next act(struct request *r, const struct verdict *v, const char *why)
{
        struct attempt *a = &r->attempt;
        enum expert_verdict fault = v->doubt ? expert_doubted(a->endpoint, conversation(r)) : v->fault;

        remember(r, v, why);
        log_attempt(r);
        switch (v->move) {
        case JUDGE_LONGER: /* those that cannot take it are passed over from now on */
                r->longer_than = context_had(r);
                r->attempts_here = UINT16_MAX;
                break;
        case JUDGE_NEXT_EXPERT:
                r->attempts_here = UINT16_MAX;
                break;
        case JUDGE_SAME_AGAIN:
                (void)expert_learn_no_usage(a->expert, a->endpoint, now_us());
                r->attempts_here--;
                r->tried_mask = 0;
                break;
        default:
                break;
        }
        attempt_end(r, v->metric, fault, fault == EXPERT_BUSY ? v->retry_after_ms * 1000 : 0);
        switch (v->move) {
        case JUDGE_WAIT:
                return wait_as_told(r, v->retry_after_ms);
        case JUDGE_GIVE_UP:
                return forward_give_up(r);
        case JUDGE_LATE:
                return forward_late(r);
        default:
                return forward_next(r);
        }
}

static enum next refused(struct request *r, const struct refusal *f, struct pm_str body, int64_t retry_ms)
{
        struct failure said = failure_of(r, FAILURE_REFUSED);
        struct verdict v;

        said.refusal = f;
        said.retry_ms = retry_ms;
        v = judge(&said);
        return v.move == JUDGE_PASS_ON ? pass_on(r, f, body) : act(r, &v, who_said(r, answered(r, f)));
}

/* ---- for forward.c and relay.c ---- */

static bool is_memory(const struct request *r, enum failure_what what)
{
        return what == FAILURE_MEMORY || (what == FAILURE_TRANSFER && r->attempt.transfer->error == TRANSFER_MEMORY);
}

const char *fallback_words(struct request *r, enum failure_what what, const char *why)
{
        const char *said = is_memory(r, what) ? we_say(r, why) : arena_printf(&r->arena, "expert '%s': %s", r->attempt.expert->name, why);

        return said ? said : "the stream broke";
}

struct verdict fallback_verdict(const struct request *r, enum failure_what what)
{
        const struct failure f = failure_of(r, what);

        return judge(&f);
}

enum next fallback_failed(struct request *r, enum failure_what what, const char *why)
{
        struct verdict v = fallback_verdict(r, what);

        return act(r, &v, is_memory(r, what) ? we_say(r, why) : who_said(r, why));
}

enum next fallback_transfer(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        const char *why = arena_strndup(&r->arena, t->error_text, strlen(t->error_text));

        return fallback_failed(r, FAILURE_TRANSFER, why ? why : transfer_error_name(t->error));
}

enum next fallback_answer(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t n = evbuffer_get_length(t->in);
        struct pm_str body = { n ? (const char *)evbuffer_pullup(t->in, -1) : "", n };
        int64_t retry_ms = header_retry_ms(t->headers, t->n_headers, t->status == 429, cache_now_ms() / 1000);
        struct refusal f;

        if (!body.p)
                return fallback_failed(r, FAILURE_MEMORY, "out of memory for the answer");
        refusal_read(t->status, retry_ms >= 0, body, r->attempt.endpoint->fixed_headers, &r->arena, &f);
        return refused(r, &f, body, retry_ms);
}

enum next fallback_refused(struct request *r, struct pm_str error_json)
{
        struct refusal f;

        refusal_read_event(error_json, r->attempt.endpoint->fixed_headers, &r->arena, &f);
        return refused(r, &f, error_json, -1);
}

const char *fallback_said(struct request *r, struct pm_str error_json)
{
        struct pm_str secrets = r->attempt.endpoint ? r->attempt.endpoint->fixed_headers : (struct pm_str){ 0 };
        struct refusal f;

        refusal_read_event(error_json, secrets, &r->arena, &f);
        return f.message ? f.message : "";
}
