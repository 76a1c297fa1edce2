/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 4: open the upstream transfer, judge what comes, fall back.
 *
 * Everything here happens before the first byte has gone out to the client, so another expert may still answer.  Whose fault was it?
 *
 *   connect, reset, cut          the endpoint's: another endpoint of the expert, then the next expert
 *   500, 502, 503, 504           the same (503 with Retry-After: alive but busy)
 *   429                          another endpoint of the expert, the next expert; without one, wait as told, once; else tell the client
 *   no first token in time       streams: the next expert.  Whole answers: a clear 504, since the expert may be at work
 *   400 context_length_exceeded  an expert with a longer context, if there is one
 *   401, 403, 404                our configuration's: the next expert, and never shown as the client's own
 *   other 4xx                    the request's: passed on as they are, no retry
 */
#include <event2/buffer.h>
#include <event2/event.h>

#include "base.h"
#include "js.h"
#include "log.h"
#include "request_parts.h"

enum { WAIT_MAX_S = 30 };

static void wait_for_retry(struct request *r, int64_t ms);

void attempt_end(struct request *r, enum metrics_attempt how, enum expert_verdict v, int64_t retry_us)
{
        struct attempt *a = &r->attempt;
        struct transfer *t = TAKE(a->transfer);
        int64_t now, first = 0, total = 0;

        if (!a->endpoint)
                return;
        if (r->begun) { /* what the client got is what counts */
                r->tokens_in = a->reading.tokens_in;
                r->tokens_out = a->reading.tokens_out;
                r->first_token = a->reading.first_token;
        }
        now = now_us();
        if (t) {
                total = now - t->opened_us;
                first = t->first_byte_us ? t->first_byte_us - t->opened_us : 0;
                if (!r->begun)
                        r->waited_us += total;
        }
        metrics_attempt(r->worker->metrics, a->expert->metric, how, first, total);
        expert_done(a->expert, TAKE(a->endpoint), v, first, retry_us, now);
        upstream_close(t);
}

/* ---- which expert, which endpoint ---- */

static struct expert *expert_at(const struct request *r, size_t turn)
{
        const struct decision *d = &r->decision;

        return turn == 0 ? d->expert : turn <= d->n_fallbacks ? d->fallbacks[turn - 1] : NULL;
}

static void next_expert(struct request *r)
{
        r->turn++;
        r->tries = 0;
        r->tried = 0;
        r->pieces = NULL;
}

static const char *upstream_path(const struct request *r)
{
        return r->ours->path + sizeof "/v1" - 1;
}

static void add_line(char *out, size_t room, size_t *n, const char *name, struct pm_str value)
{
        if (value.n && value.n + strlen(name) + 4 < room - *n)
                *n += (size_t)snprintf(out + *n, room - *n, "%s: %.*s\r\n", name, (int)value.n, value.p);
}

static bool compose_headers(struct request *r)
{
        enum { ROOM = 2048 };
        static const char stream[] = "Content-Type: application/json\r\nAccept: text/event-stream\r\nx-request-id: ";
        static const char whole[] = "Content-Type: application/json\r\nAccept: application/json\r\nx-request-id: ";
        char *out = arena_alloc(&r->arena, ROOM);
        size_t n = r->query.stream ? sizeof stream - 1 : sizeof whole - 1;
        struct pm_str trace = h1_header(r->head, "traceparent");

        if (!out)
                return false;
        memcpy(out, r->query.stream ? stream : whole, n);
        memcpy(out + n, r->id.p, r->id.n);
        n += r->id.n;
        memcpy(out + n, "\r\n", 2);
        n += 2;
        if (trace.n) {
                add_line(out, ROOM, &n, "traceparent", trace);
                add_line(out, ROOM, &n, "tracestate", h1_header(r->head, "tracestate"));
        }
        r->upstream_headers = (struct pm_str){ out, n };
        return true;
}

/* No attempt is left: say what the last one was. */
static enum next give_up(struct request *r)
{
        struct expert *e = r->decision.expert;

        if (!r->failed_status && !e)
                return reply_error(r, 503, NULL, "no_expert_available", "no expert is available for this request; try again later");
        if (!r->failed_status)
                return reply_error(r, 503, NULL, "expert_unavailable", "expert '%s' is not available; try again later", e->name);
        return reply_error(r, r->failed_status, NULL, r->failed_code, "%s after %u attempt%s", r->failed_why, r->attempts,
                           r->attempts == 1 ? "" : "s");
}

static int64_t first_limit(const struct request *r, const struct expert *e, int64_t left)
{
        return MIN(r->query.stream ? e->first_token_ms : e->answer_ms, left);
}

/* Opens the next attempt there is. */
static enum next open_attempt(struct request *r)
{
        struct attempt *a = &r->attempt;
        int64_t now = now_us(), left = (r->deadline - now) / 1000;
        struct upstream_call call;
        struct expert *e;
        unsigned index;

        if (left <= 0)
                return reply_error(r, 504, NULL, "request_timeout", "the request has taken longer than limits.request_time");
        for (;; next_expert(r)) {
                e = expert_at(r, r->turn);
                if (!e)
                        return give_up(r);
                if (r->tries > (unsigned)e->retries)
                        continue;
                a->endpoint = expert_pick(e, r->tried, now, &index);
                if (!a->endpoint && r->tried) {
                        r->tried = 0; /* all endpoints had their turn: again from the first */
                        a->endpoint = expert_pick(e, 0, now, &index);
                }
                if (a->endpoint)
                        break;
        }
        *a = (struct attempt){ .expert = e, .endpoint = a->endpoint, .reading = READING_NONE };
        r->tries++;
        r->tried |= 1ull << index;
        r->attempts++;
        if (!r->upstream_headers.p && !compose_headers(r))
                return reply_error(r, 503, NULL, NULL, "no memory for the request");
        if (!r->pieces && query_splice(&r->query, e->model, r->turn == 0 ? r->decision.extra : NULL, &e->drop, &r->arena, &r->pieces, &r->n_pieces) < 0)
                return reply_error(r, 503, NULL, NULL, "no memory for the request");
        call = (struct upstream_call){ .endpoint = a->endpoint, .path = upstream_path(r), .headers = r->upstream_headers, .body = r->pieces,
                                       .n_body = r->n_pieces, .connect_ms = MIN(e->connect_ms, left), .first_ms = first_limit(r, e, left),
                                       .idle_ms = MIN(e->idle_ms, left), .high_water = (size_t)r->generation->limits.buffer,
                                       .head_max = (size_t)r->generation->limits.head };
        a->transfer = upstream_open(r->worker->upstream, &call, &r->wake);
        if (!a->transfer) {
                attempt_end(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 0);
                return reply_error(r, 503, NULL, NULL, "no memory for a transfer");
        }
        return WAIT;
}

/* ---- judging ---- */

static void remember(struct request *r, int status, const char *code, const char *why)
{
        r->failed_status = status;
        r->failed_code = code;
        r->failed_why = why ? why : "the expert failed";
}

static void log_attempt(struct request *r)
{
        struct log_line l;

        log_begin(&l, r->worker->log, PM_WARN, "attempt failed");
        log_str(&l, "id", r->id);
        log_text(&l, "expert", r->attempt.expert->name);
        log_text(&l, "endpoint", r->attempt.endpoint ? r->attempt.endpoint->url : NULL);
        log_int(&l, "attempt", r->attempts);
        log_text(&l, "error", r->failed_why);
        log_end(&l);
}

enum next forward_failed(struct request *r, enum metrics_attempt how, enum expert_verdict v, int status, const char *code, const char *why)
{
        const char *text = arena_printf(&r->arena, "expert '%s': %s", r->attempt.expert->name, why);

        remember(r, status, code, text);
        log_attempt(r);
        attempt_end(r, how, v, 0);
        r->at = STEP_forward;
        return open_attempt(r);
}

static enum next judge_transfer(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        const char *why = arena_strndup(&r->arena, t->error_text, strlen(t->error_text));

        if (!why)
                why = transfer_error_name(t->error);
        switch (t->error) {
        case TRANSFER_CONNECT:
        case TRANSFER_CONNECT_TIME:
                return forward_failed(r, ATTEMPT_CONNECT, EXPERT_UNREACHABLE, 502, "expert_unreachable", why);
        case TRANSFER_FIRST_TIME:
        case TRANSFER_IDLE_TIME:
                r->tries = UINT16_MAX; /* not again at this one */
                if (!r->query.stream)
                        r->turn = r->decision.n_fallbacks; /* nor, silently, at another */
                return forward_failed(r, ATTEMPT_TIMEOUT, EXPERT_BAD, 504, "expert_timeout", why);
        case TRANSFER_MEMORY:
                return forward_failed(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, 503, NULL, why);
        default:
                return forward_failed(r, ATTEMPT_RESET, EXPERT_BAD, 502, "expert_failed", why);
        }
}

static struct pm_str header_of(const struct transfer *t, const char *name)
{
        return h1_header(&(struct h1_head){ .headers = t->headers, .n_headers = t->n_headers }, name);
}

/* Seconds, or milliseconds in retry-after-ms; an HTTP date or nonsense counts as one second.  0: the header is not there. */
static int64_t retry_after_ms(const struct transfer *t)
{
        struct pm_str ms = header_of(t, "retry-after-ms"), s = header_of(t, "retry-after");
        int64_t v;

        if (ms.n && js_int(ms, &v) && v >= 0)
                return MIN(v, 86400000);
        if (!s.n)
                return 0;
        return js_int(s, &v) && v >= 0 ? MIN(v, 86400) * 1000 : 1000;
}

/* The error's code, from {"error":{"code":...}} or {"code":...}; "" if there is none. */
static struct pm_str error_code(struct request *r, struct pm_str body)
{
        struct pm_str error, code;

        if (js_check(body, 64, NULL, NULL) < 0)
                return (struct pm_str){ "", 0 };
        error = js_member(js_trim(body), "error");
        code = js_member(js_type(error) == JS_OBJECT ? error : js_trim(body), "code");
        code = js_text(code, &r->arena);
        return code.p ? code : (struct pm_str){ "", 0 };
}

static bool is(struct pm_str s, const char *text)
{
        return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* The expert's own refusal, as it is. */
static enum next pass_on(struct request *r, struct pm_str body)
{
        const struct transfer *t = r->attempt.transfer;
        struct pm_str type = header_of(t, "content-type");
        const char *content_type = type.n ? arena_strndup(&r->arena, type.p, type.n) : NULL;
        struct http_reply head = { .status = t->status, .content_type = content_type ? content_type : "application/json" };

        if (js_check(body, 64, NULL, NULL) < 0) /* never an empty body, never HTML */
                return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, t->status, "expert_refused",
                                      arena_printf(&r->arena, "answered %d without a JSON error", t->status));
        r->waited_us += r->ran - t->opened_us;
        head.headers = reply_headers(r, t);
        r->begun = true;
        r->status = t->status;
        r->end = "refused_by_expert";
        r->bytes_out = (int64_t)body.n;
        http_reply(r->conn, &head, body);
        attempt_end(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 0);
        return request_answered(r);
}

/* Of the experts still to come, is there one with a longer context?  Then it is next. */
static bool longer_context(struct request *r)
{
        int64_t had = r->attempt.expert->context;

        for (size_t turn = r->turn + 1; expert_at(r, turn); turn++)
                if (expert_at(r, turn)->context > had) {
                        r->turn = turn - 1;
                        r->tries = UINT16_MAX;
                        return true;
                }
        return false;
}

static bool another_expert(const struct request *r)
{
        int64_t now = now_us();

        for (size_t turn = r->turn + 1; expert_at(r, turn); turn++)
                if (expert_available(expert_at(r, turn), now))
                        return true;
        return false;
}

/* 429, or 503 with Retry-After: alive, but not for us now. */
static enum next judge_busy(struct request *r, int status, int64_t retry_ms)
{
        const struct expert *e = r->attempt.expert;
        bool another = another_expert(r);
        int64_t wait = retry_ms ? retry_ms : 1000;
        const char *why = arena_printf(&r->arena, "expert '%s' answered %d", r->attempt.expert->name, status);

        remember(r, status, status == 429 ? "rate_limit_exceeded" : "expert_unavailable", why);
        r->retry_after_s = (wait + 999) / 1000;
        log_attempt(r);
        if (r->tries <= (unsigned)e->retries && (size_t)__builtin_popcountll(r->tried) < e->n_endpoints) {
                attempt_end(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
                return open_attempt(r);
        }
        if (another) {
                attempt_end(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
                next_expert(r);
                return open_attempt(r);
        }
        if (!r->waited && wait <= WAIT_MAX_S * 1000 && now_us() + wait * 1000 < r->deadline) {
                attempt_end(r, ATTEMPT_STATUS_429, EXPERT_NEUTRAL, 0); /* we wait here, so it need not be closed to us */
                wait_for_retry(r, wait);
                return WAIT;
        }
        attempt_end(r, ATTEMPT_STATUS_429, EXPERT_BUSY, wait * 1000);
        return give_up(r);
}

static void on_retry_time(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd;
        (void)what;
        event_free(TAKE(r->timer));
        worker_wake(r->worker, &r->wake);
}

static void wait_for_retry(struct request *r, int64_t ms)
{
        struct timeval t = { ms / 1000, ms % 1000 * 1000 };

        r->waited = true;
        r->tries = 0;
        r->tried = 0;
        r->waited_us += ms * 1000;
        r->timer = evtimer_new(r->worker->base, on_retry_time, r);
        if (r->timer && evtimer_add(r->timer, &t) == 0)
                return;
        if (r->timer)
                event_free(TAKE(r->timer));
        worker_wake(r->worker, &r->wake);
}

/* A whole answer that is not a 2xx. */
static enum next judge_status(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t n = evbuffer_get_length(t->in);
        struct pm_str body = { n ? (const char *)evbuffer_pullup(t->in, -1) : "", n };
        int status = t->status;
        int64_t retry_ms = retry_after_ms(t);
        const char *why;

        if (status == 429 || (status == 503 && retry_ms))
                return judge_busy(r, status, retry_ms);
        why = arena_printf(&r->arena, "answered %d", status);
        if (status == 401 || status == 403 || status == 404) {
                if (status != 401 && is(error_code(r, body), "content_filter"))
                        return pass_on(r, body);
                r->tries = UINT16_MAX;
                return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 502, "expert_misconfigured", why);
        }
        if (status >= 400 && status < 500 && status != 408) {
                if (is(error_code(r, body), "context_length_exceeded") && longer_context(r))
                        return forward_failed(r, ATTEMPT_STATUS_4XX, EXPERT_NEUTRAL, 400, "context_length_exceeded",
                                              "the prompt is longer than its context");
                return pass_on(r, body);
        }
        return forward_failed(r, status >= 500 ? ATTEMPT_STATUS_5XX : ATTEMPT_STATUS_4XX, EXPERT_BAD, 502, "expert_failed", why);
}

enum next request_forward(struct request *r)
{
        struct transfer *t = r->attempt.transfer;

        if (r->timer)
                return WAIT; /* for a Retry-After */
        if (!t)
                return open_attempt(r);
        switch (t->state) {
        case TRANSFER_OPENING:
                return WAIT;
        case TRANSFER_FAILED:
                return judge_transfer(r);
        case TRANSFER_HEAD:
                if (t->status >= 200 && t->status < 300)
                        return GO;
                if (now_us() > r->deadline)
                        return forward_failed(r, ATTEMPT_TIMEOUT, EXPERT_NEUTRAL, 504, "request_timeout", "was still telling its error at the deadline");
                if (evbuffer_get_length(t->in) < (size_t)r->generation->limits.buffer)
                        return WAIT;
                return forward_failed(r, ATTEMPT_STATUS_5XX, EXPERT_BAD, 502, "expert_failed",
                                      arena_printf(&r->arena, "answered %d with a body of limits.buffer or more", t->status));
        case TRANSFER_DONE:
                break;
        }
        return t->status >= 200 && t->status < 300 ? GO : judge_status(r);
}
