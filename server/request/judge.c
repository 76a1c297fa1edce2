/* SPDX-License-Identifier: Apache-2.0 */
/* The table of judge.h, row by row. */
#include "judge.h"

enum { WAIT_MAX_MS = 30000, BUSY_PRESET_MS = 1000 };

/* The request's or the client's own limit: the expert might have been in time. */
static const struct verdict late = { .move = JUDGE_LATE, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" };

/* The transfer broke before anything could be made of what it brought. */
static struct verdict judge_transfer(const struct failure *f)
{
        switch (f->error) {
        case TRANSFER_CONNECT_TIME:
                if (judge_too_late(f->left_us))
                        return late;
                __attribute__((fallthrough));
        case TRANSFER_CONNECT:
                return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_UNREACHABLE, .metric = ATTEMPT_CONNECT, .status = 502,
                                         .code = "expert_unreachable" };
        case TRANSFER_FIRST_TIME:
        case TRANSFER_IDLE_TIME:
                if (judge_too_late(f->left_us))
                        return late;
                /* A whole answer may be paid for already: it is not asked for again, silently, at another one. */
                return (struct verdict){ .move = f->stream ? JUDGE_NEXT_EXPERT : JUDGE_GIVE_UP, .fault = EXPERT_BAD, .metric = ATTEMPT_TIMEOUT,
                                         .status = 504, .code = "expert_timeout", .no_retry = !f->stream };
        default:
                break;
        }
        if (transfer_error_is_ours(f->error))
                return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503 };
        return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_BAD, .metric = f->head ? ATTEMPT_CUT : ATTEMPT_RESET, .status = 502,
                                 .code = "expert_failed" };
}

/* Ours, whatever the expert has sent. */
static const struct verdict no_memory = { .move = JUDGE_NEXT_EXPERT, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503, .code = "no_memory" };

/* An answer that had begun to be read as events: another endpoint of the same expert would do the same again. */
static struct verdict judge_stream(const struct failure *f)
{
        struct verdict v = { .move = JUDGE_NEXT_EXPERT, .fault = EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "stream_cut" };

        switch (f->what) {
        case FAILURE_TRANSFER:
                if (f->error == TRANSFER_FIRST_TIME || f->error == TRANSFER_IDLE_TIME) {
                        if (!f->headers_sent && judge_too_late(f->left_us))
                                return late;
                        v.metric = ATTEMPT_TIMEOUT;
                        v.status = 504;
                        v.code = f->error == TRANSFER_FIRST_TIME && !f->headers_sent ? "expert_timeout" : "stream_stalled";
                } else if (f->error == TRANSFER_MEMORY) {
                        return no_memory;
                } else if (transfer_error_is_ours(f->error)) {
                        v.fault = EXPERT_NEUTRAL;
                }
                break;
        case FAILURE_SAID:
                v.code = "expert_failed";
                break;
        case FAILURE_NOT_JSON:
                v.code = "stream_malformed";
                break;
        case FAILURE_TOO_LARGE:
                v.fault = EXPERT_NEUTRAL;
                v.code = "event_too_large";
                break;
        case FAILURE_MEMORY:
                return no_memory;
        case FAILURE_PROGRESS:
                v.fault = EXPERT_NEUTRAL;
                v.metric = ATTEMPT_CANCELLED;
                v.code = "internal_error";
                break;
        default:
                break;
        }
        return v;
}

/* 429, or 503 with Retry-After: alive, but not for us now. */
static struct verdict judge_busy(const struct failure *f)
{
        int status = f->refusal->status;
        struct verdict v = { .fault = EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = status == 529 ? 503 : status,
                             .code = status == 429 ? "rate_limit_exceeded" : "expert_unavailable",
                             .retry_after_ms = f->retry_ms < 0 ? BUSY_PRESET_MS : f->retry_ms ? f->retry_ms : 1 };

        if (f->endpoint_left) {
                v.move = JUDGE_NEXT_ENDPOINT;
        } else if (f->expert_left) {
                v.move = JUDGE_NEXT_EXPERT;
        } else if (!f->waited && v.retry_after_ms <= WAIT_MAX_MS && !judge_too_late(f->left_us - v.retry_after_ms * 1000)) {
                v.move = JUDGE_WAIT;
                v.fault = EXPERT_NEUTRAL; /* we wait here, so it need not be closed to us */
        } else {
                v.move = JUDGE_GIVE_UP;
        }
        return v;
}

static struct verdict judge_refusal(const struct failure *f)
{
        static const struct verdict pass_on = { .move = JUDGE_PASS_ON, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .no_retry = true };
        const struct refusal *r = f->refusal;
        struct verdict v = { .move = JUDGE_NEXT_EXPERT, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = r->status };

        if (r->status == 508) { /* our own configuration: that expert leads back to us; see hops.h */
                v.metric = ATTEMPT_STATUS_5XX;
                v.code = "loop_detected";
                return v;
        }
        switch (r->kind) {
        case REFUSAL_BUSY:
                return judge_busy(f);
        case REFUSAL_QUOTA:
                v.code = "insufficient_quota";
                return f->expert_left ? v : pass_on;
        case REFUSAL_ACCESS:
                v.status = 502;
                v.code = "expert_misconfigured";
                v.no_retry = true; /* it stays so until somebody changes our file */
                return v;
        case REFUSAL_CONTEXT:
                v.move = JUDGE_LONGER;
                v.status = 400;
                v.code = "context_length_exceeded";
                return f->longer_left ? v : pass_on;
        case REFUSAL_OPTIONS:
                v.move = JUDGE_SAME_AGAIN; /* it has not been asked for what the client wants */
                return f->our_options ? v : pass_on;
        case REFUSAL_REQUEST:
                v.code = "expert_refused"; /* a page of something before the expert, perhaps: never an empty body, never HTML */
                return r->json ? pass_on : v;
        case REFUSAL_DOUBT:
        case REFUSAL_FAULT:
                break;
        }
        return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_BAD, .doubt = r->kind == REFUSAL_DOUBT,
                                 .metric = r->status >= 500 ? ATTEMPT_STATUS_5XX : ATTEMPT_STATUS_4XX, .status = 502, .code = "expert_failed" };
}

static struct verdict judge_first(const struct failure *f)
{
        if (f->what == FAILURE_REFUSED)
                return judge_refusal(f);
        if (f->what == FAILURE_TIME)
                return late;
        if (f->events && f->what != FAILURE_NO_ANSWER)
                return judge_stream(f);
        if (f->what == FAILURE_TRANSFER)
                return judge_transfer(f);
        if (f->what == FAILURE_MEMORY)
                return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503 };
        return (struct verdict){ .move = JUDGE_NEXT_ENDPOINT, .fault = EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "expert_failed" };
}

struct verdict judge(const struct failure *f)
{
        struct verdict v = judge_first(f);

        if (f->headers_sent) {
                v.move = JUDGE_CUT;
                v.status = 0;
                v.doubt = v.no_retry = false;
                v.retry_after_ms = 0;
        }
        return v;
}
