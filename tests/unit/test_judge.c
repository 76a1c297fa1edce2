/* SPDX-License-Identifier: Apache-2.0 */
/* Whose fault was it, who is next, what is the client told?  Each row of judge.h's table, and each thing that turns a row into another. */
#include <criterion/criterion.h>

#include "judge.h"

#include "base.h"

enum { LEFT = 60000000, LATE = DEADLINE_SLACK_US };

/* Enough time, nothing gone out, nobody else left. */
#define ALONE .retry_ms = -1, .left_us = LEFT
#define SAYS(kind_, status_, ...) &(const struct refusal){ .kind = REFUSAL_##kind_, .status = (status_), __VA_ARGS__ }
#define ERROR(e) .what = FAILURE_TRANSFER, .error = TRANSFER_##e
#define REFUSES(...) .what = FAILURE_REFUSED, .refusal = SAYS(__VA_ARGS__)

static const struct row {
        const char *name;
        struct failure f;
        struct verdict v;
} rows[] = {
        /* ---- the transfer ---- */
        { "refused, no such name, TLS", { ALONE, ERROR(CONNECT) }, { JUDGE_NEXT_ENDPOINT, EXPERT_UNREACHABLE, .metric = ATTEMPT_CONNECT, .status = 502, .code = "expert_unreachable" } },
        { "no connection, however late it is", { ERROR(CONNECT), .left_us = 0 }, { JUDGE_NEXT_ENDPOINT, EXPERT_UNREACHABLE, .metric = ATTEMPT_CONNECT, .status = 502, .code = "expert_unreachable" } },
        { "no connection in time", { ALONE, ERROR(CONNECT_TIME) }, { JUDGE_NEXT_ENDPOINT, EXPERT_UNREACHABLE, .metric = ATTEMPT_CONNECT, .status = 502, .code = "expert_unreachable" } },
        { "no connection in the request's time", { ERROR(CONNECT_TIME), .left_us = LATE }, { JUDGE_LATE, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" } },
        { "whole: no answer in time; it may be paid for, so nobody else is asked", { ALONE, ERROR(FIRST_TIME), .expert_left = true, .endpoint_left = true },
          { JUDGE_GIVE_UP, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout", .no_retry = true } },
        { "whole: silence in the answer", { ALONE, ERROR(IDLE_TIME), .head = true, .expert_left = true },
          { JUDGE_GIVE_UP, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout", .no_retry = true } },
        { "stream: no first token in time", { ALONE, ERROR(FIRST_TIME), .stream = true, .endpoint_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout" } },
        { "stream: silence before an event", { ALONE, ERROR(IDLE_TIME), .stream = true, .head = true },
          { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout" } },
        { "no first byte in the request's time", { ERROR(FIRST_TIME), .left_us = LATE }, { JUDGE_LATE, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" } },
        { "silence until the request's time", { ERROR(IDLE_TIME), .left_us = -1, .stream = true }, { JUDGE_LATE, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" } },
        { "just in time", { ERROR(FIRST_TIME), .left_us = LATE + 1, .stream = true }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout" } },
        { "reset before the head", { ALONE, ERROR(RESET) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_RESET, .status = 502, .code = "expert_failed" } },
        { "reset after it", { ALONE, ERROR(RESET), .head = true }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "expert_failed" } },
        { "a reset is the expert's, however late it is", { ERROR(RESET), .left_us = 0 }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_RESET, .status = 502, .code = "expert_failed" } },
        { "no HTTP", { ALONE, ERROR(PROTOCOL) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_RESET, .status = 502, .code = "expert_failed" } },
        { "no memory for the transfer", { ALONE, ERROR(MEMORY) }, { JUDGE_NEXT_ENDPOINT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503 } },
        { "no descriptor, no port", { ALONE, ERROR(LOCAL), .head = true }, { JUDGE_NEXT_ENDPOINT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503 } },

        /* ---- what it says in place of an answer ---- */
        { "5xx", { ALONE, REFUSES(FAULT, 502) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_STATUS_5XX, .status = 502, .code = "expert_failed" } },
        { "503 that does not say for how long", { ALONE, REFUSES(FAULT, 503) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_STATUS_5XX, .status = 502, .code = "expert_failed" } },
        { "408", { ALONE, REFUSES(FAULT, 408) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_STATUS_4XX, .status = 502, .code = "expert_failed" } },
        { "500 in JSON", { ALONE, REFUSES(DOUBT, 500, .json = true) }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .doubt = true, .metric = ATTEMPT_STATUS_5XX, .status = 502, .code = "expert_failed" } },
        { "429: another endpoint first", { ALONE, REFUSES(BUSY, 429), .endpoint_left = true, .expert_left = true },
          { JUDGE_NEXT_ENDPOINT, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 1000 } },
        { "429: then another expert", { REFUSES(BUSY, 429), .retry_ms = 45000, .left_us = LEFT, .expert_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 45000 } },
        { "429: else it waits", { REFUSES(BUSY, 429), .retry_ms = 1500, .left_us = LEFT },
          { JUDGE_WAIT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 1500 } },
        { "429 with Retry-After: 0", { REFUSES(BUSY, 429), .retry_ms = 0, .left_us = LEFT },
          { JUDGE_WAIT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 1 } },
        { "429: once", { REFUSES(BUSY, 429), .retry_ms = 1500, .left_us = LEFT, .waited = true },
          { JUDGE_GIVE_UP, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 1500 } },
        { "429: half a minute and no longer", { REFUSES(BUSY, 429), .retry_ms = 30000, .left_us = LEFT },
          { JUDGE_WAIT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 30000 } },
        { "429: longer", { REFUSES(BUSY, 429), .retry_ms = 30001, .left_us = LEFT },
          { JUDGE_GIVE_UP, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 30001 } },
        { "429: not beyond the request's time", { REFUSES(BUSY, 429), .retry_ms = 2000, .left_us = 2000000 + LATE },
          { JUDGE_GIVE_UP, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 2000 } },
        { "429: just within it", { REFUSES(BUSY, 429), .retry_ms = 2000, .left_us = 2000000 + LATE + 1 },
          { JUDGE_WAIT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_429, .status = 429, .code = "rate_limit_exceeded", .retry_after_ms = 2000 } },
        { "503 with Retry-After", { REFUSES(BUSY, 503), .retry_ms = 1, .left_us = LEFT, .expert_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 503, .code = "expert_unavailable", .retry_after_ms = 1 } },
        { "529 is told as 503", { REFUSES(BUSY, 529), .retry_ms = 1, .left_us = LEFT, .expert_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_BUSY, .metric = ATTEMPT_STATUS_429, .status = 503, .code = "expert_unavailable", .retry_after_ms = 1 } },
        { "402", { ALONE, REFUSES(QUOTA, 402), .expert_left = true, .endpoint_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 402, .code = "insufficient_quota" } },
        { "402, alone", { ALONE, REFUSES(QUOTA, 402), .endpoint_left = true }, { JUDGE_PASS_ON, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .no_retry = true } },
        { "429 insufficient_quota", { ALONE, REFUSES(QUOTA, 429), .expert_left = true }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 429, .code = "insufficient_quota" } },
        { "401, 403, 404: our configuration's", { ALONE, REFUSES(ACCESS, 401), .endpoint_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 502, .code = "expert_misconfigured", .no_retry = true } },
        { "508: an expert that leads back to us", { ALONE, REFUSES(FAULT, 508), .endpoint_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_5XX, .status = 508, .code = "loop_detected" } },
        { "508 with Retry-After, too", { REFUSES(BUSY, 508), .retry_ms = 1, .left_us = LEFT }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_5XX, .status = 508, .code = "loop_detected" } },
        { "a prompt too long, one that takes longer ones", { ALONE, REFUSES(CONTEXT, 422, .json = true), .expert_left = true, .longer_left = true },
          { JUDGE_LONGER, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 400, .code = "context_length_exceeded" } },
        { "a prompt too long for all", { ALONE, REFUSES(CONTEXT, 400, .json = true), .expert_left = true }, { JUDGE_PASS_ON, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .no_retry = true } },
        { "our stream_options", { ALONE, REFUSES(OPTIONS, 400, .json = true), .stream = true, .our_options = true },
          { JUDGE_SAME_AGAIN, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 400 } },
        { "the client's", { ALONE, REFUSES(OPTIONS, 400, .json = true), .stream = true, .expert_left = true }, { JUDGE_PASS_ON, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .no_retry = true } },
        { "the request's", { ALONE, REFUSES(REQUEST, 400, .json = true), .expert_left = true, .endpoint_left = true }, { JUDGE_PASS_ON, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .no_retry = true } },
        { "a page of something before the expert", { ALONE, REFUSES(REQUEST, 413), .endpoint_left = true },
          { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 413, .code = "expert_refused" } },
        { "as a stream's first event: the same table", { ALONE, REFUSES(ACCESS, 404, .event = true), .events = true, .stream = true, .head = true },
          { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_STATUS_4XX, .status = 502, .code = "expert_misconfigured", .no_retry = true } },

        /* ---- a 2xx that is none ---- */
        { "no answer", { ALONE, .what = FAILURE_NO_ANSWER, .head = true }, { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "expert_failed" } },
        { "events where none were asked for", { ALONE, .what = FAILURE_NO_ANSWER, .head = true, .events = true },
          { JUDGE_NEXT_ENDPOINT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "expert_failed" } },
        { "no memory for it", { ALONE, .what = FAILURE_MEMORY, .head = true }, { JUDGE_NEXT_ENDPOINT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503 } },
        { "the request's time passes meanwhile", { .what = FAILURE_TIME, .left_us = 0, .head = true, .events = true, .stream = true, .expert_left = true },
          { JUDGE_LATE, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" } },

        /* ---- a stream, before its first token ---- */
#define EVENTS ALONE, .head = true, .events = true, .stream = true, .endpoint_left = true
        { "it ends too early", { EVENTS, .what = FAILURE_CUT }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "stream_cut" } },
        { "it is reset", { EVENTS, ERROR(RESET) }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "stream_cut" } },
        { "it has no first token in time", { EVENTS, ERROR(FIRST_TIME) }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "expert_timeout" } },
        { "it stalls", { EVENTS, ERROR(IDLE_TIME) }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "stream_stalled" } },
        { "it stalls, until the request's time", { ERROR(IDLE_TIME), .events = true, .stream = true, .left_us = LATE }, { JUDGE_LATE, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .status = 504, .code = "request_timeout" } },
        { "our memory", { EVENTS, ERROR(MEMORY) }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503, .code = "no_memory" } },
        { "our memory for an event", { EVENTS, .what = FAILURE_MEMORY }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 503, .code = "no_memory" } },
        { "an event above limits.event", { EVENTS, .what = FAILURE_TOO_LARGE }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_CUT, .status = 502, .code = "event_too_large" } },
        { "an event that is not JSON", { EVENTS, .what = FAILURE_NOT_JSON }, { JUDGE_NEXT_EXPERT, EXPERT_BAD, .metric = ATTEMPT_CUT, .status = 502, .code = "stream_malformed" } },
        { "a loop of ours that goes round in vain", { EVENTS, .what = FAILURE_PROGRESS }, { JUDGE_NEXT_EXPERT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .status = 502, .code = "internal_error" } },

        /* ---- after it: nothing can be taken back ---- */
#define BEGUN EVENTS, .headers_sent = true, .expert_left = true
        { "cut", { BEGUN, .what = FAILURE_CUT }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_CUT, .code = "stream_cut" } },
        { "reset", { BEGUN, ERROR(RESET) }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_CUT, .code = "stream_cut" } },
        { "stalled", { BEGUN, ERROR(IDLE_TIME) }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .code = "stream_stalled" } },
        { "stalled, whatever limit it was", { BEGUN, ERROR(FIRST_TIME) }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .code = "stream_stalled" } },
        { "stalled until the request's time", { BEGUN, ERROR(IDLE_TIME) }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_TIMEOUT, .code = "stream_stalled" } },
        { "our memory", { BEGUN, ERROR(MEMORY) }, { JUDGE_CUT, EXPERT_NEUTRAL, .metric = ATTEMPT_CANCELLED, .code = "no_memory" } },
        { "it says that it has failed", { BEGUN, .what = FAILURE_SAID }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_CUT, .code = "expert_failed" } },
        { "an event that is not JSON", { BEGUN, .what = FAILURE_NOT_JSON }, { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_CUT, .code = "stream_malformed" } },
        { "an event above limits.event", { BEGUN, .what = FAILURE_TOO_LARGE }, { JUDGE_CUT, EXPERT_NEUTRAL, .metric = ATTEMPT_CUT, .code = "event_too_large" } },
        { "the request's time", { BEGUN, .what = FAILURE_TIME }, { JUDGE_CUT, EXPERT_NEUTRAL, .metric = ATTEMPT_TIMEOUT, .code = "request_timeout" } },
        { "a long whole answer that breaks off", { ALONE, .what = FAILURE_CUT, .head = true, .headers_sent = true, .expert_left = true },
          { JUDGE_CUT, EXPERT_BAD, .metric = ATTEMPT_CUT, .code = "expert_failed" } },
};

Test(judge, table)
{
        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                const struct verdict got = judge(&rows[i].f), *v = &rows[i].v;

                cr_expect_eq(got.move, v->move, "%s: move %d, not %d", rows[i].name, got.move, v->move);
                cr_expect_eq(got.fault, v->fault, "%s: fault %d, not %d", rows[i].name, got.fault, v->fault);
                cr_expect_eq(got.doubt, v->doubt, "%s", rows[i].name);
                cr_expect_eq(got.metric, v->metric, "%s: metric %d, not %d", rows[i].name, got.metric, v->metric);
                cr_expect_eq(got.status, v->status, "%s: status %d, not %d", rows[i].name, got.status, v->status);
                cr_expect(got.code == v->code || (got.code && v->code && strcmp(got.code, v->code) == 0), "%s: code %s, not %s", rows[i].name,
                          got.code ? got.code : "none", v->code ? v->code : "none");
                cr_expect_eq(got.retry_after_ms, v->retry_after_ms, "%s: %d ms", rows[i].name, (int)got.retry_after_ms);
                cr_expect_eq(got.no_retry, v->no_retry, "%s", rows[i].name);
        }
}

/* Whatever has failed: who waits has a time to wait for, who is told has a status, and only what has begun is cut. */
Test(judge, holds_together)
{
        for (unsigned bits = 0; bits < 1u << 9; bits++)
                for (int what = 0; what <= FAILURE_PROGRESS; what++)
                        for (int n = 0; n <= (what == FAILURE_TRANSFER ? (int)TRANSFER_LOCAL : what == FAILURE_REFUSED ? (int)REFUSAL_REQUEST : 0); n++) {
                                struct refusal said = { .kind = (enum refusal_kind)n, .status = n == REFUSAL_BUSY ? 429 : 400, .json = bits & 256 };
                                struct failure f = { .what = (enum failure_what)what, .error = (enum transfer_error)n, .refusal = &said, .retry_ms = -1,
                                                     .stream = bits & 1, .events = bits & 2, .headers_sent = bits & 4, .endpoint_left = bits & 8,
                                                     .expert_left = bits & 16, .waited = bits & 32, .left_us = bits & 64 ? LEFT : 0, .head = bits & 128 };
                                struct verdict v = judge(&f);

                                cr_assert_eq(v.move == JUDGE_CUT, f.headers_sent);
                                cr_assert_eq(v.status == 0, v.move == JUDGE_CUT || v.move == JUDGE_PASS_ON);
                                cr_assert(v.move != JUDGE_WAIT || (v.retry_after_ms > 0 && !f.waited && f.left_us > 0));
                                cr_assert(v.fault != EXPERT_BUSY || v.retry_after_ms > 0 || f.headers_sent);
                                cr_assert(v.metric != ATTEMPT_OK && v.fault != EXPERT_GOOD);
                                cr_assert(v.move != JUDGE_LATE || judge_too_late(f.left_us) || what == FAILURE_TIME);
                        }
}
