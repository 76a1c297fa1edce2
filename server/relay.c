/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 5: the answer to the client, with back-pressure.
 *
 * Until the reply's head is out, an answer that turns out bad goes back to forward.c, and another expert may answer.  So a whole
 * answer is sent when it is complete (up to limits.buffer; longer ones pass through), and a stream begins with its first good
 * event.  After that a failure is told as an error event and a cut connection: an incomplete answer never ends in [DONE].
 */
#include <event2/buffer.h>
#include <event2/event.h>

#include "answers.h"
#include "base.h"
#include "progress.h"
#include "request_parts.h"

enum { READ_ANSWER_MAX = 1 << 20, WIND_UP_MS = 50 };

static bool is_event_stream(const struct transfer *t)
{
        static const char type[] = "text/event-stream";
        struct pm_str v = h1_header(&(struct h1_head){ .headers = t->headers, .n_headers = t->n_headers }, "content-type");

        return v.n >= sizeof type - 1 && strncasecmp(v.p, type, sizeof type - 1) == 0;
}

static const char *content_type(struct request *r, const struct transfer *t)
{
        struct pm_str v = h1_header(&(struct h1_head){ .headers = t->headers, .n_headers = t->n_headers }, "content-type");
        const char *copy = v.n ? arena_strndup(&r->arena, v.p, v.n) : NULL;

        return copy ? copy : "application/json";
}

/* The head that every good answer has; from here on no other expert can answer. */
static struct http_reply begin(struct request *r, const char *type)
{
        const struct transfer *t = r->attempt.transfer;
        struct http_reply head = { .status = t->status, .content_type = type };

        r->waited_us += r->ran - t->opened_us;
        head.headers = reply_headers(r, t);
        r->begun = true;
        r->status = t->status;
        recall_begun(r);
        return head;
}

static enum next complete(struct request *r)
{
        r->end = "ok";
        attempt_end(r, ATTEMPT_OK, EXPERT_GOOD, 0);
        return request_answered(r);
}

/* ---- whole answers ---- */

static enum next whole(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t n = evbuffer_get_length(t->in);
        struct http_reply head;
        struct sse_facts facts;

        if (n <= READ_ANSWER_MAX) {
                struct pm_str body = { n ? (const char *)evbuffer_pullup(t->in, -1) : "", n };

                sse_read_answer(body, &facts);
                if (!facts.json)
                        return forward_failed(r, ATTEMPT_CUT, EXPERT_BAD, 502, "expert_failed", "answered 200 with something that is not JSON");
                r->attempt.reading.tokens_in = facts.tokens_in;
                r->attempt.reading.tokens_out = facts.tokens_out;
                if (facts.has_choices && facts.finished && !facts.error)
                        answers_record(r, body);
        }
        r->attempt.reading.first_token = t->first_byte_us;
        head = begin(r, content_type(r, t));
        r->bytes_out = (int64_t)n;
        http_reply_buffer(r->conn, &head, t->in);
        return complete(r);
}

/* Too long to keep: passed through piece by piece. */
static enum next pieces(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t limit = (size_t)r->generation->limits.buffer;

        if (!r->begun) {
                struct http_reply head;

                r->attempt.reading.first_token = t->first_byte_us;
                head = begin(r, content_type(r, t));
                http_stream_begin(r->conn, &head, t->length);
        }
        while (evbuffer_get_length(t->in) && http_backlog(r->conn) < limit) {
                size_t n = evbuffer_get_contiguous_space(t->in);

                http_stream_data(r->conn, (const char *)evbuffer_pullup(t->in, (ev_ssize_t)n), n);
                r->bytes_out += (int64_t)n;
                evbuffer_drain(t->in, n);
        }
        upstream_consumed(t);
        if (evbuffer_get_length(t->in) || t->state == TRANSFER_HEAD)
                return WAIT;
        if (t->state == TRANSFER_DONE) {
                http_stream_end(r->conn, true);
                return complete(r);
        }
        r->end = "cut";
        r->error = arena_printf(&r->arena, "expert '%s' cut its answer: %s", r->attempt.expert->name, t->error_text);
        metrics_stream_cut(r->worker->metrics);
        http_stream_end(r->conn, false);
        attempt_end(r, ATTEMPT_CUT, EXPERT_BAD, 0);
        return request_answered(r);
}

static enum next relay_answer(struct request *r)
{
        struct transfer *t = r->attempt.transfer;

        if (r->begun || evbuffer_get_length(t->in) >= (size_t)r->generation->limits.buffer)
                return pieces(r);
        if (t->state == TRANSFER_DONE)
                return whole(r);
        if (t->state == TRANSFER_HEAD)
                return WAIT;
        return forward_failed(r, ATTEMPT_CUT, transfer_error_is_ours(t->error) ? EXPERT_NEUTRAL : EXPERT_BAD,
                              t->error == TRANSFER_IDLE_TIME || t->error == TRANSFER_FIRST_TIME ? 504 : 502, "expert_failed",
                              arena_printf(&r->arena, "%s", t->error_text));
}

/* ---- streams of events ---- */

static void send_event(struct request *r, struct pm_str bytes)
{
        if (!r->begun) {
                reply_stream_begin(r, begin(r, "text/event-stream"));
                r->streaming = true;
        }
        http_stream_data(r->conn, bytes.p, bytes.n);
        answers_record(r, bytes);
        r->bytes_out += (int64_t)bytes.n;
}

/* The stream cannot be completed: to another expert if nothing has gone out, else an error event and a cut. */
static enum next broken(struct request *r, enum metrics_attempt how, enum expert_verdict v, const char *code, const char *why)
{
        struct pm_str event;

        if (!r->begun) {
                r->tries = UINT16_MAX;
                return forward_failed(r, how, v, how == ATTEMPT_TIMEOUT ? 504 : 502, code, why ? why : "broke its stream");
        }
        r->end = "cut";
        r->error = arena_printf(&r->arena, "expert '%s': %s", r->attempt.expert->name, why ? why : "broke its stream");
        metrics_stream_cut(r->worker->metrics);
        if (r->streaming) { /* a whole answer that was passing through is only cut */
                event = reply_error_event(r, code, r->error ? r->error : "the stream broke");
                if (event.p)
                        send_event(r, event);
        }
        http_stream_end(r->conn, false);
        attempt_end(r, how, v, 0);
        return request_answered(r);
}

static void on_wound_up(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd;
        (void)what;
        event_free(TAKE(r->timer));
        worker_wake(r->worker, &r->wake);
}

/* The client has everything.  Most servers send the last chunk on its own, a moment later: with it the connection can be used again. */
static enum next wind_up(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        static const struct timeval moment = { 0, WIND_UP_MS * 1000 };

        (void)evbuffer_drain(t->in, evbuffer_get_length(t->in));
        if (t->state != TRANSFER_HEAD)
                return complete(r);
        if (!r->winding_up) {
                r->winding_up = true;
                r->end = "ok";
                r->timer = evtimer_new(r->worker->base, on_wound_up, r);
                if (r->timer && evtimer_add(r->timer, &moment) == 0)
                        return WAIT;
        }
        return r->timer ? WAIT : complete(r);
}

static enum next stream_complete(struct request *r, bool say_done)
{
        static const char done[] = "data: [DONE]\n\n";

        if (say_done)
                send_event(r, (struct pm_str){ done, sizeof done - 1 });
        http_stream_end(r->conn, true);
        return wind_up(r);
}

static bool ends_in_done(const struct request *r)
{
        return r->query.api == EXPERT_CHAT || r->query.api == EXPERT_COMPLETIONS;
}

/* Nothing more comes from the expert. */
static enum next stream_over(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        bool slow = t->error == TRANSFER_IDLE_TIME || t->error == TRANSFER_FIRST_TIME;

        if (t->state == TRANSFER_DONE && r->attempt.reading.finished && r->begun)
                return stream_complete(r, ends_in_done(r));
        if (t->state == TRANSFER_DONE)
                return broken(r, ATTEMPT_CUT, EXPERT_BAD, "stream_cut", "its stream ended before the answer did");
        return broken(r, slow ? ATTEMPT_TIMEOUT : ATTEMPT_CUT, transfer_error_is_ours(t->error) ? EXPERT_NEUTRAL : EXPERT_BAD,
                      slow ? "stream_stalled" : "stream_cut", arena_printf(&r->arena, "%s", t->error_text));
}

/* The raw bytes of an event, with the empty line that a last one may lack; one of mixed line ends is put right. */
static struct pm_str whole_event(struct request *r, const struct sse_event *e)
{
        struct pm_str raw = e->raw;
        char *out;

        if (raw.n >= 2 && (memcmp(raw.p + raw.n - 2, "\n\n", 2) == 0 || memcmp(raw.p + raw.n - 2, "\r\r", 2) == 0))
                return raw;
        if (raw.n >= 4 && memcmp(raw.p + raw.n - 4, "\r\n\r\n", 4) == 0)
                return raw;
        while (raw.n && (raw.p[raw.n - 1] == '\n' || raw.p[raw.n - 1] == '\r'))
                raw.n--;
        out = arena_alloc(&r->arena, raw.n + 2);
        if (!out)
                return e->raw;
        memcpy(out, raw.p, raw.n);
        memcpy(out + raw.n, "\n\n", 2);
        return (struct pm_str){ out, raw.n + 2 };
}

/* One event.  GO: on with the next; anything else is the step's answer. */
static enum next relay_event(struct request *r, const struct sse_event *e, bool *ret_over)
{
        struct sse_facts f;
        bool responses = r->query.api == EXPERT_RESPONSES;

        *ret_over = true;
        if (e->done) {
                if (r->begun && (r->attempt.reading.finished || responses))
                        return stream_complete(r, true);
                if (r->begun)
                        return broken(r, ATTEMPT_CUT, EXPERT_BAD, "stream_cut", "its stream says [DONE] without a finish reason");
                return broken(r, ATTEMPT_CUT, EXPERT_BAD, "stream_cut", "its stream has no answer");
        }
        *ret_over = false;
        if (e->data.n == 0) { /* a comment keeps a connection alive, but promises nothing; clients take empty data for JSON */
                if (r->begun && !e->has_data)
                        send_event(r, whole_event(r, e));
                return GO;
        }
        sse_read(e, &f);
        *ret_over = true;
        if (!f.json)
                return broken(r, ATTEMPT_CUT, EXPERT_BAD, "stream_malformed", "its stream has an event that is not JSON");
        if (f.error)
                return broken(r, ATTEMPT_CUT, EXPERT_BAD, "expert_failed",
                              arena_printf(&r->arena, "its stream says %.*s", (int)MIN(e->data.n, 400), e->data.p));
        *ret_over = false;
        if (f.has_usage) {
                r->attempt.reading.tokens_in = f.tokens_in;
                r->attempt.reading.tokens_out = f.tokens_out;
        }
        if (f.content && !r->attempt.reading.first_token)
                r->attempt.reading.first_token = now_us();
        r->attempt.reading.finished |= f.finished;
        if (f.has_usage && !f.has_choices && !r->query.wants_usage && ends_in_done(r))
                return GO; /* we asked for it, the client did not */
        if (responses)
                follow_event(r, e->data);
        send_event(r, whole_event(r, e));
        return GO;
}

static enum next relay_stream(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        size_t limit = (size_t)r->generation->limits.buffer;

        if (!r->attempt.reading.sse.max)
                sse_init(&r->attempt.reading.sse, limit - 1); /* the transfer pauses at `limit`: a longer event would never be complete */
        while (http_backlog(r->conn) < limit) {
                struct sse_event e;
                size_t before = evbuffer_get_length(t->in);
                int got = sse_next(&r->attempt.reading.sse, t->in, t->state == TRANSFER_DONE, &e);
                enum next n;
                size_t used;
                bool over;

                if (got < 0)
                        return broken(r, ATTEMPT_CUT, EXPERT_NEUTRAL, "event_too_large",
                                      arena_printf(&r->arena, "its stream has an event of %zu bytes or more, which is limits.buffer", limit));
                if (got == 0) {
                        upstream_consumed(t);
                        if (t->state == TRANSFER_HEAD && !r->begun && now_us() - t->opened_us > r->attempt.expert->first_token_ms * 1000)
                                return broken(r, ATTEMPT_TIMEOUT, EXPERT_BAD, "expert_timeout", "comments, but no first token in time");
                        return t->state == TRANSFER_HEAD ? WAIT : stream_over(r);
                }
                used = e.raw.n;
                if (!progress(r->worker, LOOP_STREAM, used > 0 && used <= before))
                        return broken(r, ATTEMPT_CANCELLED, EXPERT_NEUTRAL, "internal_error", "its stream could not be read");
                n = relay_event(r, &e, &over);
                if (over)
                        return n;
                evbuffer_drain(t->in, used);
        }
        return WAIT; /* the client is slow: the transfer pauses by itself when `in` is full */
}

enum next request_relay(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;

        if (r->winding_up)
                return wind_up(r);
        if (now_us() > r->deadline && (r->begun || t->state == TRANSFER_HEAD)) /* bytes that trickle let no other limit pass */
                return broken(r, ATTEMPT_TIMEOUT, EXPERT_NEUTRAL, "request_timeout", "the request has taken longer than limits.request_time");
        return is_event_stream(t) ? relay_stream(r) : relay_answer(r);
}
