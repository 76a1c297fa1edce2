/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.c - answers out, with every way of getting them wrong.
 *
 * On plain sockets small writes go straight to the kernel, the bufferevent only takes what did not fit. Benchmarks send the same body
 * again and again: each loop remembers the last few bodies and what they meant for up to a second.
 */
#include "conn.h"

#define HIGH_WATER (256u << 10) /* unsent bytes at which an answer waits */

static const struct timeval at_once, one_ms = { 0, 1000 }, twenty_ms = { 0, 20000 };

/* ---- bytes out -------------------------------------------------------------------------------------------------------------- */

/* The end that a fault asked for, after what has been sent: RST, or FIN without a goodbye. */
static void conn_cut(struct conn *c, const char *how)
{
        bool reset = c->fault.reset >= 0;

        journal_outcome(c->seq, c->status, c->at, c->sent, how);
        c->hard = true;
        if (reset) {
                struct linger l = { .l_onoff = 1, .l_linger = 0 };

                (void)setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &l, sizeof l);
                conn_kill(c, c->sent ? &twenty_ms : &at_once); /* what was sent should arrive before the RST */
                return;
        }
        in_flight_ends(c);
        c->state = CLOSING;
}

static size_t backlog(const struct conn *c)
{
        return evbuffer_get_length(c->pending) + evbuffer_get_length(bufferevent_get_output(c->bev));
}
void reply_push(struct conn *c, const char *p, size_t n)
{
        if (!c->ssl && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
                ssize_t done = send(bufferevent_getfd(c->bev), p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (done > 0) {
                        p += done;
                        n -= (size_t)done;
                }
        }
        if (n)
                bufferevent_write(c->bev, p, n); /* errors come back through on_event() */
}

static void emit(struct conn *c, const char *p, size_t n)
{
        if (c->fault.split <= 0) {
                reply_push(c, p, n);
                return;
        }
        evbuffer_add(c->pending, p, n);
        if (!event_pending(&c->tick, EV_TIMEOUT, NULL))
                event_add(&c->tick, &one_ms);
}

static void head_make(struct conn *c, const char *type, ssize_t length, struct buf *out)
{
        const struct fault *f = &c->fault;

        buf_printf(out, "HTTP/1.%d %d %s\r\ncontent-type: %s\r\n", c->http10 ? 0 : 1, c->status,
                   http_status_str((enum http_status)c->status), type);
        if (length >= 0 && !(f->http10 >= 0))
                buf_printf(out, "content-length: %zd\r\n", length);
        else if (c->chunked)
                buf_str(out, "transfer-encoding: chunked\r\ncache-control: no-cache\r\n");
        if (f->retry_after >= 0)
                buf_printf(out, "retry-after: %ld\r\n", f->retry_after);
        if (f->retry_after_ms >= 0)
                buf_printf(out, "retry-after-ms: %ld\r\n", f->retry_after_ms);
        if (!c->keep_alive && f->drop < 0)
                buf_str(out, "connection: close\r\n");
        buf_str(out, "\r\n");
}

/* Bytes of the body, as far as a cut lets them through; false: the connection has ended here. */
static bool body_out(struct conn *c, const char *p, size_t n, struct buf *head)
{
        struct buf *out = head;
        size_t take = n;
        bool cut = c->fault.cut_after >= 0 && c->sent + n >= (size_t)c->fault.cut_after;

        if (cut)
                take = (size_t)c->fault.cut_after - c->sent;
        if (c->chunked)
                buf_printf(out, "%zx\r\n", n);
        buf_add(out, p, take);
        if (c->chunked && take == n)
                buf_str(out, "\r\n");
        emit(c, out->p, out->n);
        c->sent += take;
        if (cut) {
                conn_cut(c, "cut");
                conn_settled(c);
        }
        return !cut;
}

static void answer_done(struct conn *c)
{
        if (c->chunked)
                emit(c, "0\r\n\r\n", 5);
        journal_outcome(c->seq, c->status, c->at, c->sent, "done");
        in_flight_ends(c);
        plan_drop(c->plan);
        c->plan = NULL;
        if (!c->keep_alive) {
                c->state = CLOSING;
                conn_settled(c);
                return;
        }
        c->state = READING;
}

/* An answer of one piece: always through scratch, so that head and body leave in one write. */
static void whole_out(struct conn *c, const char *type, const struct buf *body)
{
        struct buf *out = &c->loop->scratch;

        c->chunked = false;
        out->n = 0;
        head_make(c, type, (ssize_t)body->n, out);
        if (body_out(c, body->p ? body->p : "", body->n, out))
                answer_done(c);
}

void reply_error(struct conn *c, int status, const char *message, const char *param, const char *code)
{
        struct buf *body = &c->loop->event;

        c->status = status;
        body->n = 0;
        if (c->fault.html >= 0)
                buf_printf(body, "<html>\r\n<head><title>%d</title></head>\r\n<body><h1>%d</h1></body>\r\n</html>\r\n", status, status);
        else if (c->fault.empty < 0)
                answer_error(status, message, param, code, body);
        whole_out(c, c->fault.html >= 0 ? "text/html" : "application/json", body);
}

static void json_out(struct conn *c, json_t *root)
{
        CLEANUP(buf_free) struct buf body = { 0 };
        char *text = json_dumps(root, JSON_COMPACT);

        assert(text);
        buf_str(&body, text);
        free(text);
        json_decref(root);
        c->status = 200;
        whole_out(c, "application/json", &body);
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------- */

static int64_t due(const struct conn *c)
{
        long rate = c->fault.rate >= 0 ? c->fault.rate : options.rate;

        return rate == 0 ? 0 : c->started + stream_token(c->plan, c->at) * INT64_C(1000000) / rate;
}

/* Sends the events whose time has come. */
void reply_pump(struct conn *c)
{
        while (c->state == STREAMING) {
                int64_t wait = due(c) - now_us();
                struct buf *out = &c->loop->scratch, *event = &c->loop->event;

                if (c->at >= c->events) {
                        answer_done(c);
                        if (c->state == READING && !c->reading)
                                conn_read(c);
                        return;
                }
                if (c->fault.stall_after >= 0 && c->at >= (size_t)c->fault.stall_after) {
                        c->state = SILENT;
                        return;
                }
                if (wait > 0) {
                        event_add(&c->timer, &(struct timeval){ wait / 1000000, wait % 1000000 });
                        return;
                }
                if (backlog(c) > HIGH_WATER)
                        return; /* on_write() or the tick goes on */
                event->n = 0;
                stream_event(c->plan, &c->fault, c->at, event);
                c->at++;
                out->n = 0;
                if (!body_out(c, event->p, event->n, out))
                        return;
        }
}

static void stream_begin(struct conn *c)
{
        struct buf *out = &c->loop->scratch;

        c->status = 200;
        c->chunked = !c->http10;
        if (c->http10)
                c->keep_alive = false;
        out->n = 0;
        head_make(c, "text/event-stream; charset=utf-8", -1, out);
        emit(c, out->p, out->n);
        c->events = stream_events(c->plan, &c->fault);
        c->started = now_us();
        c->state = STREAMING;
        reply_pump(c);
}

/* ---- answering -------------------------------------------------------------------------------------------------------------- */

static struct plan *memo_find(struct conn *c, enum kind kind)
{
        struct loop *l = c->loop;
        int64_t now = (int64_t)time(NULL);

        for (size_t i = 0; i < MEMO_N; i++) {
                struct memo *m = &l->memo[i];

                if (m->plan && m->kind == kind && m->expert == c->expert && m->body.n == c->body.n && m->plan->refs == 1 &&
                    m->plan->created == now && memcmp(m->body.p, c->body.p, c->body.n) == 0)
                        return plan_hold(m->plan);
        }
        return NULL;
}

static void memo_keep(struct conn *c, enum kind kind, struct plan *p)
{
        struct memo *m = &c->loop->memo[c->loop->memo_next++ % MEMO_N];

        plan_drop(m->plan);
        m->expert = c->expert;
        m->kind = kind;
        m->body.n = 0;
        buf_add(&m->body, c->body.p, c->body.n);
        m->plan = plan_hold(p);
}

static void answer_kind(struct conn *c, enum kind kind)
{
        const char *param = NULL;
        char why[256];
        bool plain = !c->faulted && c->body.n > 0 && c->body.n < 8192;

        c->plan = plain ? memo_find(c, kind) : NULL;
        if (!c->plan) {
                if (plan_make(c->expert, kind, c->body.p ? c->body.p : "", c->body.n, &c->fault, &c->plan, &param, why, sizeof why) < 0) {
                        reply_error(c, 400, why, param, NULL);
                        return;
                }
                if (plain)
                        memo_keep(c, kind, c->plan);
        }
        plan_name(c->plan, ++c->loop->serial);
        if (c->plan->stream) {
                stream_begin(c);
                return;
        }
        c->status = 200;
        c->loop->event.n = 0;
        answer_whole(c->plan, &c->fault, &c->loop->event);
        whole_out(c, "application/json", &c->loop->event);
}

static void answer_fault(struct conn *c)
{
        const struct fault *f = &c->fault;

        if (f->context_length >= 0)
                reply_error(c, 400, "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
                          "messages", "context_length_exceeded");
        else if (f->content_filter >= 0)
                reply_error(c, 400, "The response was filtered due to the prompt triggering our content management policy.",
                            "prompt", "content_filter");
        else
                reply_error(c, (int)f->status, "The mock expert was told to fail.", NULL,
                            f->status == 429   ? "rate_limit_exceeded"
                            : f->status == 401 ? "invalid_api_key"
                            : f->status == 404 ? "model_not_found"
                                               : NULL);
}

static bool path_is(const struct conn *c, const char *method, const char *path)
{
        const char *query = memchr(c->target.p, '?', c->target.n);
        size_t n = query ? (size_t)(query - c->target.p) : c->target.n;

        return strcmp(http_method_str((enum http_method)c->parser.method), method) == 0 && n == strlen(path) &&
               memcmp(c->target.p, path, n) == 0;
}

static void control(struct conn *c)
{
        char why[256];
        json_error_t e;

        c->fault = FAULT_NONE;
        if (path_is(c, "GET", "/mock/log")) {
                json_out(c, journal_log());
        } else if (path_is(c, "GET", "/mock/stats")) {
                json_out(c, journal_stats());
        } else if (path_is(c, "POST", "/mock/reset")) {
                rules_clear();
                journal_reset();
                json_out(c, json_pack("{s:b}", "ok", 1));
        } else if (path_is(c, "POST", "/mock/script")) {
                json_t *root = json_loadb(c->body.p ? c->body.p : "", c->body.n, 0, &e);

                if (!root)
                        reply_error(c, 400, e.text, NULL, NULL);
                else if (rules_set(root, why, sizeof why) < 0)
                        reply_error(c, 400, why, NULL, NULL);
                else
                        json_out(c, json_pack("{s:b}", "ok", 1));
                json_decref(root);
        } else {
                reply_error(c, 404, "no such control: GET /mock/log, /mock/stats, POST /mock/script, /mock/reset", NULL, NULL);
        }
}

bool is_control(const struct conn *c)
{
        return c->target.n >= 6 && memcmp(c->target.p, "/mock/", 6) == 0;
}

/* The enum kind of a path of the API, or -1. */
static int kind_of(const struct conn *c)
{
        static const char *const paths[] = {
                [CHAT] = "/chat/completions", [TEXT] = "/completions", [RESPONSES] = "/responses", [EMBEDDINGS] = "/embeddings"
        };
        const char *p = c->target.p, *query = memchr(p, '?', c->target.n);
        size_t n = query ? (size_t)(query - p) : c->target.n;

        if (n > 3 && memcmp(p, "/v1", 3) == 0) {
                p += 3;
                n -= 3;
        }
        for (size_t i = 0; i < LENGTH_OF(paths); i++)
                if (n == strlen(paths[i]) && memcmp(p, paths[i], n) == 0)
                        return (int)i;
        return -1;
}

/* A whole request has come. */
void reply_begin(struct conn *c)
{
        struct expert *e = c->expert;
        long delay = c->fault.delay_ms >= 0 ? c->fault.delay_ms : options.first_ms, now_in;

        if (is_control(c)) {
                c->state = WAITING;
                now_in = atomic_fetch_add(&e->in_flight, 1) + 1;
                control(c);
                return;
        }
        c->seq = journal_request(e, c->number, http_method_str((enum http_method)c->parser.method), c->target.p, c->target.n, c->heads.p,
                                 c->heads.n, c->body.p, c->body.n);
        atomic_fetch_add_explicit(&e->requests, 1, memory_order_relaxed);
        now_in = atomic_fetch_add(&e->in_flight, 1) + 1;
        if (now_in > atomic_load(&e->max_in_flight))
                atomic_store(&e->max_in_flight, now_in);
        c->state = WAITING;
        if (c->fault.never >= 0) {
                c->state = SILENT;
                return;
        }
        if (kind_of(c) >= 0 && delay > 0) {
                event_add(&c->timer, &(struct timeval){ delay / 1000, delay % 1000 * 1000 });
                return;
        }
        reply_go(c);
}

void reply_go(struct conn *c)
{
        int kind = kind_of(c);

        if (c->refused[0])
                reply_error(c, 400, c->refused, "x-mock-fault", NULL);
        else if (c->too_large)
                reply_error(c, 413, "the body is larger than 64 MiB", NULL, NULL);
        else if (c->fault.reset >= 0 && c->fault.cut_after < 0)
                conn_cut(c, "reset");
        else if (c->fault.status >= 0 || c->fault.context_length >= 0 || c->fault.content_filter >= 0)
                answer_fault(c);
        else if (kind >= 0 && c->parser.method == HTTP_POST)
                answer_kind(c, (enum kind)kind);
        else if (kind >= 0)
                reply_error(c, 405, "Method Not Allowed", NULL, NULL);
        else if (path_is(c, "GET", "/healthz"))
                json_out(c, json_pack("{s:s s:s}", "status", "ok", "expert", c->expert->name));
        else if (path_is(c, "GET", "/models") || path_is(c, "GET", "/v1/models")) {
                CLEANUP(buf_free) struct buf body = { 0 };

                answer_models(&body);
                c->status = 200;
                whole_out(c, "application/json", &body);
        } else
                reply_error(c, 404, "Not Found", NULL, NULL);
}
