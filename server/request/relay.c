/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 6: the answer to the client, with back-pressure.
 *
 * Until the reply's head is out, an answer that turns out bad goes back to fallback.c, and another expert may answer.  So a whole
 * answer is sent when it is complete (up to limits.buffer; longer ones pass through and are judged by their structure), and a stream
 * begins with its first token: a role, empty deltas and comments close the way to nobody.  After that a failure is told as an error
 * event and a cut connection: an incomplete answer never ends as a whole one does.
 *
 * What the bytes mean is the wire's to say (wire.h); what follows from it is said here.
 */
#include <event2/buffer.h>
#include <event2/event.h>

#include "answers.h"
#include "base.h"
#include "progress.h"
#include "request_parts.h"
#include "stages.h"

enum { READ_ANSWER_MAX = 1 << 20, WIND_UP_MS = 50 };

static void evbuffer_free_p(struct evbuffer **b)
{
        if (*b)
                evbuffer_free(*b);
}

static const char *content_type(struct request *r, const struct transfer *t)
{
        struct pm_str v = h1_header(&(struct h1_head){ .headers = t->headers, .n_headers = t->n_headers }, "content-type");
        static const char json[] = "application/json";
        const char *copy;

        if (v.n < sizeof json - 1 || strncasecmp(v.p, json, sizeof json - 1) != 0)
                return json; /* it has been read, whatever it is called */
        copy = arena_strndup(&r->arena, v.p, v.n);
        return copy ? copy : json;
}

/* The head that every good answer has; from here on no other expert can answer. */
static struct http_reply begin(struct request *r, const char *type)
{
        const struct transfer *t = r->attempt.transfer;
        struct http_reply head = { .status = t->status, .content_type = type };

        r->waited_us += r->woken_us - t->opened_us;
        head.headers = reply_headers(r, t);
        r->headers_sent = true;
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

/* A 2xx whose body is no answer: the expert's fault, and nothing has gone out. */
static enum next no_answer(struct request *r, const char *fault)
{
        return fallback_failed(r, FAILURE_NO_ANSWER, arena_printf(&r->arena, "answered %d %s", r->attempt.transfer->status, fault));
}

/* Only what has come to its end is kept. */
static void keep_only_whole(struct request *r)
{
        if (r->recall.answer.local.p && !r->wire->is_all(&r->attempt.reading, &r->query))
                r->recall.answer = (struct cache_key){ .hash = 0 };
}

static enum next whole_as_events(struct request *r, struct pm_str body);
static enum next broken(struct request *r, enum failure_what what, const char *why);

/* What has come since the last look goes through the scanner. */
static bool scan_rest(struct request *r)
{
        struct reading *x = &r->attempt.reading;
        struct evbuffer *in = r->attempt.transfer->in;
        struct evbuffer_iovec v;
        struct evbuffer_ptr at;

        while (x->scanned < evbuffer_get_length(in)) {
                if (evbuffer_ptr_set(in, &at, x->scanned, EVBUFFER_PTR_SET) < 0 || evbuffer_peek(in, -1, &at, &v, 1) < 1)
                        return false;
                if (!progress(&r->worker->loop, LOOP_STREAM, v.iov_len > 0) || !scan_feed(&x->scan, &r->wire->shape, v.iov_base, v.iov_len))
                        return false;
                x->scanned += v.iov_len;
        }
        return !x->scan.bad;
}

/* It is all there, and is an answer: body is what of it lies in one piece; p NULL: none. */
static enum next whole_answer(struct request *r, struct pm_str body)
{
        struct transfer *t = r->attempt.transfer;
        struct http_reply head;

        if (r->query.stream)
                return whole_as_events(r, body);
        if (body.p)
                answers_record(r, body);
        head = begin(r, content_type(r, t));
        r->bytes_out = (int64_t)evbuffer_get_length(t->in);
        http_reply_buffer(r->conn, &head, t->in);
        return complete(r);
}

enum next relay_whole(struct request *r, struct pm_str body)
{
        struct evbuffer *in = r->attempt.transfer->in;

        if (body.p && (evbuffer_drain(in, evbuffer_get_length(in)) < 0 || evbuffer_add(in, body.p, body.n) < 0))
                return relay_no_memory(r);
        body = (struct pm_str){ (const char *)evbuffer_pullup(in, -1), evbuffer_get_length(in) };
        return body.p ? whole_answer(r, body) : relay_no_memory(r);
}

static enum next to_stages(struct request *r, enum stage_what what, const struct stage_event *ev, struct pm_str raw)
{
        if ((what != STAGE_END && !ev->data.p) || stages_take(r, what, ev, raw) < 0)
                return relay_no_memory(r);
        return stages_run(r);
}

static enum next whole(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        struct reading *x = &r->attempt.reading;
        size_t n = evbuffer_get_length(t->in);
        struct facts facts;
        const char *fault;

        if (n <= READ_ANSWER_MAX) {
                struct pm_str body = { n ? (const char *)evbuffer_pullup(t->in, -1) : "", n };

                if (!body.p)
                        return fallback_failed(r, FAILURE_MEMORY, "out of memory for the answer");
                fault = r->wire->read_answer(body, r->wire->api, &facts);
                if (fault)
                        return facts.error ? fallback_refused(r, body) : no_answer(r, fault);
                reading_add(x, &facts);
                x->first_token = t->first_byte_us;
                keep_only_whole(r);
                if (LIKELY(!r->staged))
                        return whole_answer(r, body);
        } else { /* read as it came */
                fault = !scan_rest(r) || !scan_closed(&x->scan) ? "with something that is not a JSON object" : scan_fault(&x->scan, &r->wire->shape);
                if (fault)
                        return no_answer(r, fault);
                if (r->query.stream)
                        return no_answer(r, "with a long whole answer where a stream was asked for");
                x->first_token = t->first_byte_us;
                r->recall.answer = (struct cache_key){ .hash = 0 };
                if (LIKELY(!r->staged))
                        return whole_answer(r, (struct pm_str){ 0 });
        }
        return to_stages(r, STAGE_WHOLE, &(struct stage_event){ .data = { (const char *)evbuffer_pullup(t->in, -1), n } }, (struct pm_str){ 0 });
}

/* The client sees that this is not all. */
static enum next cut(struct request *r, const char *why)
{
        struct verdict v;

        r->end = "cut";
        r->error = arena_printf(&r->arena, "expert '%s' cut its answer: %s", r->attempt.expert->name, why);
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, stream_cut));
        http_stream_end(r->conn, false);
        v = fallback_verdict(r, FAILURE_CUT);
        attempt_end(r, v.metric, v.fault, 0);
        return request_answered(r);
}

/* Too long to keep: passed through piece by piece, and judged while it passes.  The last byte waits for that, so that an answer that is
 * not whole never ends as its head has promised. */
static enum next pieces(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        struct reading *x = &r->attempt.reading;
        size_t limit = (size_t)r->generation->limits.buffer;
        const char *fault;

        if (!r->headers_sent) {
                struct http_reply head;

                fault = scan_rest(r) ? scan_fault(&x->scan, &r->wire->shape) : "with something that is not a JSON object";
                if (!fault && r->query.stream)
                        fault = "with a whole answer of limits.buffer or more where a stream was asked for";
                if (fault)
                        return no_answer(r, fault);
                x->first_token = t->first_byte_us;
                r->recall.answer = (struct cache_key){ .hash = 0 };
                head = begin(r, content_type(r, t));
                http_stream_begin(r->conn, &head, t->length < 0 ? -1 : t->length - (int64_t)x->skipped);
        }
        while (http_backlog(r->conn) < limit) {
                size_t have = evbuffer_get_length(t->in), n = MIN(evbuffer_get_contiguous_space(t->in), have - (have > 0 && t->state == TRANSFER_HEAD));

                if (n == 0)
                        break;
                if (!scan_rest(r))
                        return cut(r, "it goes on with something that is not JSON");
                if (n == have && t->state == TRANSFER_DONE && (!scan_closed(&x->scan) || scan_fault(&x->scan, &r->wire->shape)))
                        break; /* it was no answer, or not all of one */
                http_stream_data(r->conn, (const char *)evbuffer_pullup(t->in, (ev_ssize_t)n), n);
                r->bytes_out += (int64_t)n;
                evbuffer_drain(t->in, n);
                x->scanned -= n;
        }
        upstream_consumed(t);
        if (t->state == TRANSFER_HEAD || http_backlog(r->conn) >= limit)
                return WAIT;
        if (t->state == TRANSFER_FAILED)
                return t->error == TRANSFER_MEMORY ? broken(r, FAILURE_MEMORY, t->error_text) : cut(r, t->error_text);
        if (evbuffer_get_length(t->in) > 0) {
                fault = scan_fault(&x->scan, &r->wire->shape);
                return cut(r, fault ? arena_printf(&r->arena, "it came %s", fault) : "it ends in the middle of its JSON");
        }
        http_stream_end(r->conn, true);
        return complete(r);
}

static enum next relay_answer(struct request *r)
{
        struct transfer *t = r->attempt.transfer;

        if (r->headers_sent || evbuffer_get_length(t->in) >= (size_t)r->generation->limits.buffer)
                return UNLIKELY(r->staged) ? broken(r, FAILURE_TOO_LARGE, "its answer has limits.buffer or more, and stages must see all of it") : pieces(r);
        if (t->state == TRANSFER_DONE)
                return whole(r);
        if (t->state == TRANSFER_HEAD) {
                if (evbuffer_get_length(t->in) > READ_ANSWER_MAX)
                        (void)scan_rest(r);
                return WAIT;
        }
        return fallback_transfer(r);
}

/* ---- streams of events ---- */

static void send_bytes(struct request *r, struct pm_str bytes)
{
        http_stream_data(r->conn, bytes.p, bytes.n);
        answers_record(r, bytes);
        r->bytes_out += (int64_t)bytes.n;
}

/* The first one takes what was held back for it along. */
static void send_event(struct request *r, struct pm_str bytes)
{
        struct reading *x = &r->attempt.reading;

        if (UNLIKELY(!r->headers_sent)) {
                reply_stream_begin(r, begin(r, r->wire->stream_type));
                r->streaming = true;
                if (x->held_n)
                        send_bytes(r, (struct pm_str){ x->held, x->held_n });
                x->held_n = 0;
        }
        send_bytes(r, bytes);
}

static void send_error(struct request *r, const char *code, const char *message)
{
        struct pm_str event = r->wire->error_event(&r->arena, code, message);

        send_event(r, event.p ? event : r->wire->no_memory_event);
}

/* The answer cannot be completed: to another expert if nothing has gone out, else an error event and a cut. */
static enum next broken(struct request *r, enum failure_what what, const char *why)
{
        struct verdict v;

        why = why ? why : "broke its stream";
        if (!r->headers_sent)
                return fallback_failed(r, what, why);
        v = fallback_verdict(r, what);
        r->end = "cut";
        r->error = fallback_words(r, what, why);
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, stream_cut));
        if (r->streaming) /* a whole answer that was passing through is only cut */
                send_error(r, v.code, r->error);
        http_stream_end(r->conn, false);
        attempt_end(r, v.metric, v.fault, 0);
        return request_answered(r);
}

enum next relay_no_memory(struct request *r)
{
        return broken(r, FAILURE_MEMORY, "out of memory for the answer");
}

enum next relay_cut_short(struct request *r, const char *code, const char *why)
{
        r->error = why ? why : "out of memory for the reason";
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, stream_cut));
        if (r->streaming)
                send_error(r, code, r->error);
        http_stream_end(r->conn, false);
        return request_answered(r);
}

static void on_wound_up(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd;
        (void)what;
        event_free(TAKE(r->timer));
        loop_wake(&r->worker->loop, &r->wake);
}

/* The client has everything.  Most servers send the last chunk on its own, a moment later: with it the connection can be used again. */
static enum next wind_up(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        static const struct timeval moment = { 0, WIND_UP_MS * 1000 };

        (void)evbuffer_drain(t->in, evbuffer_get_length(t->in));
        if (t->state != TRANSFER_HEAD)
                return complete(r);
        if (!r->draining_upstream) {
                r->draining_upstream = true;
                r->end = "ok";
                r->timer = evtimer_new(r->worker->loop.base, on_wound_up, r);
                if (r->timer && evtimer_add(r->timer, &moment) == 0)
                        return WAIT;
        }
        return r->timer ? WAIT : complete(r);
}

enum next relay_complete(struct request *r)
{
        keep_only_whole(r);
        if (r->wire->done.n)
                send_event(r, r->wire->done);
        http_stream_end(r->conn, true);
        return wind_up(r);
}

static enum next stream_complete(struct request *r)
{
        return UNLIKELY(r->staged) ? to_stages(r, STAGE_END, &(struct stage_event){ .what = STAGE_END }, (struct pm_str){ 0 }) : relay_complete(r);
}

static enum next whole_as_events(struct request *r, struct pm_str body)
{
        CLEANUP(evbuffer_free_p) struct evbuffer *out = evbuffer_new();
        int e = out ? r->wire->tell_as_events(body, &r->query, out) : -ENOMEM;
        struct pm_str events;

        if (e == -ENOMEM)
                return fallback_failed(r, FAILURE_MEMORY, "out of memory for the answer");
        if (e < 0)
                return no_answer(r, "with a whole answer where a stream was asked for");
        events = (struct pm_str){ (const char *)evbuffer_pullup(out, -1), evbuffer_get_length(out) };
        if (!events.p)
                return fallback_failed(r, FAILURE_MEMORY, "out of memory for the answer");
        send_event(r, events);
        return relay_complete(r);
}

/* The expert says that this was all. */
static enum next stream_said_done(struct request *r)
{
        const char *fault = r->wire->done_fault(&r->attempt.reading);

        return fault ? broken(r, FAILURE_CUT, fault) : stream_complete(r);
}

/* Nothing more comes from the expert. */
static enum next stream_over(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;

        if (t->state == TRANSFER_DONE && r->headers_sent && r->wire->is_all(&r->attempt.reading, &r->query))
                return stream_complete(r);
        if (t->state == TRANSFER_DONE)
                return broken(r, FAILURE_CUT, "its stream ended before the answer did");
        return broken(r, FAILURE_TRANSFER, arena_printf(&r->arena, "%s", t->error_text));
}

/* With the end that a last event may lack; one of mixed line ends is put right. */
static struct pm_str mended(struct request *r, const struct stream_event *e)
{
        struct pm_str raw = e->raw, end = r->wire->event_end;
        char *out;

        while (raw.n && (raw.p[raw.n - 1] == '\n' || raw.p[raw.n - 1] == '\r'))
                raw.n--;
        out = arena_alloc(&r->arena, raw.n + end.n);
        if (!out)
                return e->raw;
        memcpy(out, raw.p, raw.n);
        memcpy(out + raw.n, end.p, end.n);
        return (struct pm_str){ out, raw.n + end.n };
}

/* The bytes of an event, as they go out. */
static inline struct pm_str whole_event(struct request *r, const struct stream_event *e)
{
        return LIKELY(!e->ragged) ? e->raw : mended(r, e);
}

/* An event that says that the answer has failed. */
static enum next stream_failed(struct request *r, const struct stream_event *e, const struct facts *f)
{
        const char *said, *why;

        if (!r->headers_sent)
                return fallback_refused(r, e->data);
        said = fallback_said(r, e->data);
        why = *said ? arena_printf(&r->arena, "its stream says: %s", said) : "its stream says that it has failed";
        if (!f->failed || r->wire->done.n || r->staged) /* no stage is to see what it has all of the answer so far in */
                return broken(r, FAILURE_SAID, why);
        /* the API's own end of an answer that has failed, which its clients know */
        r->recall.answer = (struct cache_key){ .hash = 0 };
        send_event(r, whole_event(r, e));
        http_stream_end(r->conn, true);
        r->end = "failed";
        r->error = arena_printf(&r->arena, "expert '%s': %s", r->attempt.expert->name, why ? why : "failed");
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, stream_cut));
        attempt_end(r, ATTEMPT_CUT, EXPERT_BAD, 0);
        return request_answered(r);
}

void relay_put(struct request *r, struct pm_str event)
{
        struct reading *x = &r->attempt.reading;

        if (UNLIKELY(!x->first_token && !r->headers_sent) && reading_hold(x, &r->arena, event))
                return; /* another expert can still answer */
        send_event(r, event);
}

/* One event, and what it says.  GO: on with the next; anything else is the step's answer. */
static enum next relay_event(struct request *r, const struct stream_event *e, const struct facts *f, bool *ret_over)
{
        struct reading *x = &r->attempt.reading;

        *ret_over = true;
        if (e->done)
                return stream_said_done(r);
        *ret_over = false;
        if (e->data.n == 0) { /* a comment keeps a connection alive, but promises nothing; clients take empty data for JSON */
                if (r->headers_sent && !e->has_data)
                        send_event(r, whole_event(r, e));
                return GO;
        }
        *ret_over = true;
        if (!f->json)
                return broken(r, FAILURE_NOT_JSON, "its stream has an event that is not JSON");
        if (f->error)
                return stream_failed(r, e, f);
        *ret_over = false;
        reading_add(x, f);
        if (UNLIKELY(!x->first_token && (x->content || x->finished))) {
                x->first_token = now_us();
                upstream_content(r->attempt.transfer);
        }
        if (r->wire->ids)
                follow_answer(r, e->data, true);
        if (UNLIKELY(f->usage.n > 0) && !r->query.wants_usage && r->pieces_usage && r->wire->strip && !r->wire->strip(e, f))
                return GO; /* only usage, which we asked for and the client did not */
        if (LIKELY(!r->staged))
                relay_put(r, whole_event(r, e));
        else if (stages_take(r, STAGE_EVENT, &(struct stage_event){ .name = e->name, .data = e->data }, e->ragged ? (struct pm_str){ 0 } : e->raw) < 0)
                return *ret_over = true, relay_no_memory(r);
        if (UNLIKELY(f->closes) && !r->wire->done.n) {
                *ret_over = true;
                return stream_complete(r);
        }
        return GO;
}

/* An event that is longer than the buffer gets the room it needs, as long as it needs that. */
static void make_room(struct request *r, size_t have)
{
        struct transfer *t = r->attempt.transfer;
        struct reading *x = &r->attempt.reading;
        size_t limit = (size_t)r->generation->limits.buffer;
        bool wide = have >= limit;

        if (UNLIKELY(wide || x->wide))
                upstream_room(t, wide ? MIN(2 * have, MAX(x->reader.max + 1, limit)) : limit);
        x->wide = wide;
        upstream_consumed(t);
}

static enum next relay_stream(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        struct reading *x = &r->attempt.reading;
        size_t limit = (size_t)r->generation->limits.buffer;
        enum next n;

        if (!x->reader.max)
                stream_reader_init(&x->reader, (size_t)r->generation->limits.event);
        while (http_backlog(r->conn) < limit) {
                struct stream_event e;
                struct facts f;
                size_t before = evbuffer_get_length(t->in);
                int got = r->wire->read_event(&x->reader, t->in, t->state == TRANSFER_DONE, &e, &f);
                size_t used;
                bool over;

                if (got == -ENOMEM)
                        return broken(r, FAILURE_MEMORY, "out of memory for an event of the stream");
                if (got < 0)
                        return broken(r, FAILURE_TOO_LARGE,
                                      arena_printf(&r->arena, "its stream has an event of more than %zu bytes, which is limits.event", x->reader.max));
                if (got == 0) {
                        if (t->state != TRANSFER_HEAD)
                                return stream_over(r);
                        make_room(r, evbuffer_get_length(t->in));
                        return WAIT;
                }
                used = e.raw.n;
                if (!progress(&r->worker->loop, LOOP_STREAM, used > 0 && used <= before))
                        return broken(r, FAILURE_PROGRESS, "its stream could not be read");
                n = relay_event(r, &e, &f, &over);
                if (over)
                        return n;
                evbuffer_drain(t->in, used);
                if (UNLIKELY(r->staged) && ((n = stages_run(r)) == WAIT || r->at != STEP_relay))
                        return n;
        }
        return WAIT; /* the client is slow: the transfer pauses by itself when `in` is full */
}

/* The first bytes say what it is. */
static enum next look(struct request *r)
{
        struct transfer *t = r->attempt.transfer;
        struct reading *x = &r->attempt.reading;

        r->wire->look(x, t->in, t->headers, t->n_headers, t->state != TRANSFER_HEAD);
        if (x->kind == READING_EVENTS && !r->query.stream)
                return no_answer(r, "with a stream of events where a whole answer was asked for");
        if (x->kind == READING_UNKNOWN) {
                upstream_consumed(t);
                return WAIT;
        }
        if (x->kind == READING_WHOLE)
                upstream_content(t);
        return GO;
}

enum next request_relay(struct request *r)
{
        const struct transfer *t = r->attempt.transfer;
        enum next n;

        if (r->draining_upstream)
                return wind_up(r);
        if (now_us() > r->deadline && (r->headers_sent || t->state == TRANSFER_HEAD)) /* bytes that trickle let no other limit pass */
                return broken(r, FAILURE_TIME, "the request has taken longer than limits.request_time");
        if (UNLIKELY(r->staged) && ((n = stages_run(r)) == WAIT || r->at != STEP_relay))
                return n; /* one of them has waited */
        if (UNLIKELY(r->attempt.reading.kind == READING_UNKNOWN)) {
                n = look(r);
                if (r->attempt.reading.kind == READING_UNKNOWN || r->at != STEP_relay)
                        return n;
        }
        return r->attempt.reading.kind == READING_EVENTS ? relay_stream(r) : relay_answer(r);
}
