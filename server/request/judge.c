/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 4, second half: an attempt has failed.  Whose fault was it, who is asked next, what is the client told?
 *
 *   no connection                the address's: another endpoint of the expert, then the next expert
 *   reset, cut, 5xx              the endpoint's: the same.  500 and 501 with an error in JSON count once for each conversation
 *   429, 503 with Retry-After    alive but busy: the same; without another one wait as told, once; else tell the client for how long
 *   402, 429 insufficient_quota  the next expert; without one the client is told at once, and not to come again
 *   no first token in time       streams: the next expert.  Whole answers: a clear 504, since the expert may be at work
 *   a prompt too long            an expert whose context is longer or not known, if there is one
 *   stream_options not known     the same one again without that member, if it was ours, and so from then on for an hour
 *   401, 403, 404                our configuration's: the next expert, and never shown as the client's own
 *   508                          our configuration's, too: an expert that leads back to us
 *   other 4xx                    the request's: passed on in OpenAI's shape, no retry
 *   no descriptor, no memory     ours: 503, and nobody's health is touched
 *
 * A stream's first event that is an error is judged by the same table: forward_refused().  A limit of the request or of the client that
 * passes is not the expert's fault, either.
 */
#include <event2/buffer.h>

#include "base.h"
#include "cache.h"
#include "header_times.h"
#include "log.h"
#include "refusal.h"
#include "request_parts.h"
#include "tenant.h"

enum { WAIT_MAX_MS = 30000, BUSY_PRESET_MS = 1000, HASHED = 16384 };

/* ---- words ---- */

/* Who said it, from where. */
static const char *who_said(struct request *r, const char *clause)
{
        const struct attempt *a = &r->attempt;

        return arena_printf(&r->arena, "expert '%s' at %s%s: %s", a->expert->name, a->endpoint ? a->endpoint->url : "", forward_path(r), clause);
}

static const char *answered(struct request *r, const struct refusal *f)
{
        const char *colon = f->message ? ": " : "", *words = f->message ? f->message : "";

        if (!f->event)
                return arena_printf(&r->arena, "answered %d%s%s", r->attempt.transfer->status, colon, words);
        return arena_printf(&r->arena, "%s an error, which counts as %d%s%s", r->query.stream ? "began its stream with" : "answered 200 with", f->status, colon, words);
}

static void remember(struct request *r, int status, const char *code, const char *why)
{
        r->failed_status = status;
        r->failed_code = code;
        r->failed_why = why ? why : "the expert failed";
        r->retry_after_ms = 0;
        r->no_retry = false;
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

const char *forward_said(struct request *r, struct pm_str error_json)
{
        struct pm_str secrets = r->attempt.endpoint ? r->attempt.endpoint->fixed_headers : (struct pm_str){ 0 };
        struct refusal f;

        refusal_read_event(error_json, secrets, &r->arena, &f);
        return f.message ? f.message : "";
}

/* ---- what comes next ---- */

static enum next next_attempt(struct request *r, enum metrics_attempt how, enum expert_verdict v, int64_t retry_us)
{
        attempt_end(r, how, v, retry_us);
        return forward_next(r);
}

enum next forward_failed(struct request *r, enum metrics_attempt how, enum expert_verdict v, int status, const char *code, const char *why)
{
        remember(r, status, code, who_said(r, why));
        log_attempt(r);
        return next_attempt(r, how, v, 0);
}

enum next judge_transfer(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        const char *why = arena_strndup(&r->arena, t->error_text, strlen(t->error_text));
        enum metrics_attempt how = t->head_us ? ATTEMPT_CUT : ATTEMPT_RESET;

        if (!why)
                why = transfer_error_name(t->error);
        switch (t->error) {
        case TRANSFER_CONNECT:
        case TRANSFER_CONNECT_TIME:
                if (t->error == TRANSFER_CONNECT_TIME && forward_too_late(r, now_us()))
                        break;
                return forward_failed(r, ATTEMPT_CONNECT, EXPERT_UNREACHABLE, 502, "expert_unreachable", why);
        case TRANSFER_FIRST_TIME:
        case TRANSFER_IDLE_TIME:
                if (forward_too_late(r, now_us()))
                        break;
                remember(r, 504, "expert_timeout", who_said(r, why));
                r->attempts_here = UINT16_MAX; /* not again at this one */
                if (!r->query.stream) {
                        r->expert_index = r->decision.n_fallbacks; /* nor, silently, at another: it may be paid for already */
                        r->no_retry = true;
                }
                log_attempt(r);
                return next_attempt(r, ATTEMPT_TIMEOUT, EXPERT_BAD, 0);
        default:
                if (transfer_error_is_ours(t->error))
                        return forward_failed(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 503, NULL, why);
                return forward_failed(r, how, EXPERT_BAD, 502, "expert_failed", why);
        }
        /* The request's or the client's own limit: the expert might have been in time. */
        remember(r, 504, "request_timeout", who_said(r, why));
        log_attempt(r);
        attempt_end(r, ATTEMPT_TIMEOUT, EXPERT_NEUTRAL, 0);
        return forward_late(r);
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

/* The expert's own refusal: as it is if it has the shape, else its words in that shape. */
static enum next pass_on(struct request *r, const struct refusal *f, struct pm_str body)
{
        struct transfer *t = r->attempt.transfer;
        const char *why = who_said(r, answered(r, f));

        if (!f->in_shape)
                body = reply_error_object(&r->arena, f->type ? f->type : reply_type_of(f->status), f->param, f->code,
                                          f->message ? f->message : "the expert refused the request");
        r->end = "refused_by_expert";
        r->error = why;
        r->no_retry = true;
        r->waited_us += r->woken_us - t->opened_us;
        reply_refusal(r, t, f->status, body);
        attempt_end(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 0);
        return request_answered(r);
}

static bool another_expert(const struct request *r)
{
        int64_t now = now_us();

        for (size_t turn = r->expert_index + 1; forward_expert(r, turn); turn++)
                if (expert_available(forward_expert(r, turn), now))
                        return true;
        return false;
}

/* Is there one that might take a longer prompt?  Those that cannot are passed over from now on. */
static bool longer_context(struct request *r)
{
        int64_t had = MAX(r->attempt.expert->context, r->longer_than), now = now_us();

        for (size_t turn = r->expert_index + 1; forward_expert(r, turn); turn++) {
                const struct expert *e = forward_expert(r, turn);

                if ((e->context == 0 || e->context > had) && expert_available(e, now)) {
                        r->longer_than = had;
                        return true;
                }
        }
        return false;
}

/* 429, or 503 with Retry-After: alive, but not for us now. */
static enum next judge_busy(struct request *r, const struct refusal *f, int64_t retry_ms)
{
        const struct expert *e = r->attempt.expert;
        int64_t wait = retry_ms >= 0 ? MAX(retry_ms, 1) : BUSY_PRESET_MS;

        remember(r, f->status == 529 ? 503 : f->status, f->status == 429 ? "rate_limit_exceeded" : "expert_unavailable", who_said(r, answered(r, f)));
        r->retry_after_ms = wait;
        log_attempt(r);
        if (r->attempts_here <= (unsigned)e->retries && (size_t)__builtin_popcountll(r->tried_mask) < e->n_endpoints)
                return next_attempt(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
        if (another_expert(r)) {
                attempt_end(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
                forward_skip(r);
                return forward_next(r);
        }
        if (!r->waited && wait <= WAIT_MAX_MS && !forward_too_late(r, now_us() + wait * 1000)) {
                attempt_end(r, ATTEMPT_STATUS_429, EXPERT_NEUTRAL, 0); /* we wait here, so it need not be closed to us */
                r->waited = true;
                r->attempts_here = 0;
                r->tried_mask = 0;
                r->waits_since = now_us();
                r->at = STEP_forward;
                forward_wake_in(r, wait);
                return WAIT;
        }
        attempt_end(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
        return forward_give_up(r);
}

/* It asks for nothing that the client has sent: without it, then. */
static bool without_our_options(struct request *r)
{
        struct attempt *a = &r->attempt;

        if (!r->query.stream || r->query.stream_options.p || !r->pieces_usage || !expert_learn_no_usage(a->expert, a->endpoint, now_us()))
                return false;
        r->attempts_here--; /* the same place again: it has not been asked for what the client wants */
        r->tried_mask = 0;
        return true;
}

static enum next judge(struct request *r, const struct refusal *f, struct pm_str body, int64_t retry_ms)
{
        enum metrics_attempt how = f->status >= 500 ? ATTEMPT_STATUS_5XX : ATTEMPT_STATUS_4XX;
        const char *why = answered(r, f);

        if (f->status == 508) { /* our own configuration: that expert leads back to us; see hops.h */
                r->attempts_here = UINT16_MAX;
                return forward_failed(r, how, EXPERT_NEUTRAL, 508, "loop_detected", why);
        }
        switch (f->kind) {
        case REFUSAL_BUSY:
                return judge_busy(r, f, retry_ms);
        case REFUSAL_QUOTA:
                if (!another_expert(r))
                        return pass_on(r, f, body);
                r->attempts_here = UINT16_MAX;
                return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, f->status, "insufficient_quota", why);
        case REFUSAL_ACCESS:
                r->attempts_here = UINT16_MAX;
                remember(r, 502, "expert_misconfigured", who_said(r, why));
                r->no_retry = true; /* it stays so until somebody changes our file */
                log_attempt(r);
                return next_attempt(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 0);
        case REFUSAL_CONTEXT:
                if (!longer_context(r))
                        return pass_on(r, f, body);
                r->attempts_here = UINT16_MAX;
                return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 400, "context_length_exceeded", why);
        case REFUSAL_OPTIONS:
                if (without_our_options(r))
                        return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, f->status, NULL, why);
                return pass_on(r, f, body);
        case REFUSAL_REQUEST:
                if (f->json)
                        return pass_on(r, f, body);
                r->attempts_here = UINT16_MAX; /* a page of something before the expert, perhaps: never an empty body, never HTML */
                return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, f->status, "expert_refused", why);
        case REFUSAL_DOUBT:
                return forward_failed(r, how, expert_doubted(r->attempt.endpoint, conversation(r)), 502, "expert_failed", why);
        case REFUSAL_FAULT:
                break;
        }
        return forward_failed(r, how, EXPERT_BAD, 502, "expert_failed", why);
}

enum next judge_answer(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t n = evbuffer_get_length(t->in);
        struct pm_str body = { n ? (const char *)evbuffer_pullup(t->in, -1) : "", n };
        int64_t retry_ms = header_retry_ms(t->headers, t->n_headers, t->status == 429, cache_now_ms() / 1000);
        struct refusal f;

        if (!body.p)
                body = (struct pm_str){ "", 0 };
        refusal_read(t->status, retry_ms >= 0, body, r->attempt.endpoint->fixed_headers, &r->arena, &f);
        return judge(r, &f, body, retry_ms);
}

enum next forward_refused(struct request *r, struct pm_str error_json)
{
        struct refusal f;

        refusal_read_event(error_json, r->attempt.endpoint->fixed_headers, &r->arena, &f);
        return judge(r, &f, error_json, -1);
}
