/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - HTTP/1.1 on bufferevents, with every way of getting it wrong.
 *
 * A connection reads a request (http-parser), then answers it, and reads on only when the answer has ended; while it answers it still
 * sees that the client leaves, and notes when. On plain sockets small writes go straight to the kernel, the bufferevent only takes what
 * did not fit. A connection is never freed inside its own callbacks: it is marked DEAD and its timer frees it.
 *
 * Benchmarks send the same body again and again: each loop remembers the last few bodies and what they meant for up to a second.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/eventfd.h>

#include "mock.h"

#define HIGH_WATER (256u << 10) /* unsent bytes at which an answer waits */
#define READ_AHEAD (64u << 10)  /* bytes of the next request read while one is answered */
#define MEMO_N 4

struct memo {
        const struct expert *expert;
        enum kind kind;
        struct buf body;
        struct plan *plan;
};

/* A listening socket: whose it is. */
struct door {
        struct loop *loop;
        struct expert *expert;
        struct evconnlistener *listener;
};

struct loop {
        struct event_base *base;
        SSL_CTX *tls;
        int stop_fd;
        struct event *stop;
        struct conn *conns;
        struct door doors[MAX_PORTS];
        int door_n;
        struct buf scratch, event;
        struct memo memo[MEMO_N];
        unsigned memo_next;
        uint64_t serial;
};

enum state { READING, WAITING, STREAMING, SILENT, CLOSING, DEAD };

struct conn {
        struct loop *loop;
        struct expert *expert;
        struct conn *next, **back;
        struct bufferevent *bev;
        SSL *ssl;
        struct event timer, tick; /* timer: what the answer waits for; tick: slow reading and split writing */
        enum state state;
        int64_t number; /* of the connection */

        http_parser parser;
        struct buf target, heads, body; /* heads: name NUL value NUL ... */
        bool in_value, too_large, keep_alive, http10, faulted;
        bool reading; /* conn_read() is on the stack */
        bool hard;    /* end without a TLS goodbye */
        struct fault fault;
        char refused[160]; /* a fault that was not understood */

        struct plan *plan;
        size_t at, events, sent; /* the next event, how many there are, bytes of body gone */
        int64_t started, seq;
        int status;
        bool chunked;
        struct evbuffer *pending; /* of "split" */
};

static _Atomic int64_t conn_serial;
static const struct timeval at_once, one_ms = { 0, 1000 }, twenty_ms = { 0, 20000 };

static void answer_go(struct conn *c);
static void conn_read(struct conn *c);
static void pump(struct conn *c);

/* ---- ends of a connection --------------------------------------------------------------------------------------------------- */

static void in_flight_ends(struct conn *c)
{
        if (c->state == WAITING || c->state == STREAMING || c->state == SILENT)
                atomic_fetch_sub(&c->expert->in_flight, 1);
}

static void conn_free(struct conn *c)
{
        in_flight_ends(c);
        event_del(&c->timer);
        event_del(&c->tick);
        *c->back = c->next;
        if (c->next)
                c->next->back = c->back;
        if (c->ssl) {
                if (!c->hard)
                        (void)SSL_shutdown(c->ssl);
                SSL_set_quiet_shutdown(c->ssl, 1);
                ERR_clear_error();
        }
        bufferevent_free(c->bev);
        evbuffer_free(c->pending);
        plan_drop(c->plan);
        buf_free(&c->target);
        buf_free(&c->heads);
        buf_free(&c->body);
        atomic_fetch_sub(&c->expert->open, 1);
        free(c);
}

static void conn_kill(struct conn *c, const struct timeval *after)
{
        in_flight_ends(c);
        c->state = DEAD;
        bufferevent_disable(c->bev, EV_READ);
        event_del(&c->tick);
        event_add(&c->timer, after);
}

/* The end that a fault asked for, after what has been sent: RST, or FIN without a goodbye. */
static void conn_cut(struct conn *c, const char *how)
{
        bool reset = c->fault.reset >= 0;

        book_outcome(c->seq, c->status, c->at, c->sent, how);
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

/* Unsent bytes are gone: what was the connection for? */
static void settled(struct conn *c)
{
        if (evbuffer_get_length(c->pending) > 0 || evbuffer_get_length(bufferevent_get_output(c->bev)) > 0)
                return;
        if (c->state == CLOSING)
                conn_kill(c, &at_once);
}

static size_t backlog(const struct conn *c)
{
        return evbuffer_get_length(c->pending) + evbuffer_get_length(bufferevent_get_output(c->bev));
}

/* ---- bytes out -------------------------------------------------------------------------------------------------------------- */

static void push(struct conn *c, const char *p, size_t n)
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
                push(c, p, n);
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
                settled(c);
        }
        return !cut;
}

static void answer_done(struct conn *c)
{
        if (c->chunked)
                emit(c, "0\r\n\r\n", 5);
        book_outcome(c->seq, c->status, c->at, c->sent, "done");
        in_flight_ends(c);
        plan_drop(c->plan);
        c->plan = NULL;
        if (!c->keep_alive) {
                c->state = CLOSING;
                settled(c);
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

static void error_out(struct conn *c, int status, const char *message, const char *param, const char *code)
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
static void pump(struct conn *c)
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
        pump(c);
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
                        error_out(c, 400, why, param, NULL);
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
                error_out(c, 400, "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
                          "messages", "context_length_exceeded");
        else if (f->content_filter >= 0)
                error_out(c, 400, "The response was filtered due to the prompt triggering our content management policy.", "prompt",
                          "content_filter");
        else
                error_out(c, (int)f->status, "The mock expert was told to fail.", NULL,
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
                json_out(c, book_log());
        } else if (path_is(c, "GET", "/mock/stats")) {
                json_out(c, book_stats());
        } else if (path_is(c, "POST", "/mock/reset")) {
                rules_clear();
                book_reset();
                json_out(c, json_pack("{s:b}", "ok", 1));
        } else if (path_is(c, "POST", "/mock/script")) {
                json_t *root = json_loadb(c->body.p ? c->body.p : "", c->body.n, 0, &e);

                if (!root)
                        error_out(c, 400, e.text, NULL, NULL);
                else if (rules_set(root, why, sizeof why) < 0)
                        error_out(c, 400, why, NULL, NULL);
                else
                        json_out(c, json_pack("{s:b}", "ok", 1));
                json_decref(root);
        } else {
                error_out(c, 404, "no such control: GET /mock/log, /mock/stats, POST /mock/script, /mock/reset", NULL, NULL);
        }
}

static bool is_control(const struct conn *c)
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
static void answer_request(struct conn *c)
{
        struct expert *e = c->expert;
        long delay = c->fault.delay_ms >= 0 ? c->fault.delay_ms : options.first_ms, now_in;

        if (is_control(c)) {
                c->state = WAITING;
                now_in = atomic_fetch_add(&e->in_flight, 1) + 1;
                control(c);
                return;
        }
        c->seq = book_request(e, c->number, http_method_str((enum http_method)c->parser.method), c->target.p, c->target.n, c->heads.p,
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
        answer_go(c);
}

static void answer_go(struct conn *c)
{
        int kind = kind_of(c);

        if (c->refused[0])
                error_out(c, 400, c->refused, "x-mock-fault", NULL);
        else if (c->too_large)
                error_out(c, 413, "the body is larger than 64 MiB", NULL, NULL);
        else if (c->fault.reset >= 0 && c->fault.cut_after < 0)
                conn_cut(c, "reset");
        else if (c->fault.status >= 0 || c->fault.context_length >= 0 || c->fault.content_filter >= 0)
                answer_fault(c);
        else if (kind >= 0 && c->parser.method == HTTP_POST)
                answer_kind(c, (enum kind)kind);
        else if (kind >= 0)
                error_out(c, 405, "Method Not Allowed", NULL, NULL);
        else if (path_is(c, "GET", "/healthz"))
                json_out(c, json_pack("{s:s s:s}", "status", "ok", "expert", c->expert->name));
        else if (path_is(c, "GET", "/models") || path_is(c, "GET", "/v1/models")) {
                CLEANUP(buf_free) struct buf body = { 0 };

                answer_models(&body);
                c->status = 200;
                whole_out(c, "application/json", &body);
        } else
                error_out(c, 404, "Not Found", NULL, NULL);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

static int on_begin(http_parser *h)
{
        struct conn *c = h->data;

        c->target.n = c->heads.n = c->body.n = 0;
        c->too_large = c->in_value = c->faulted = false;
        c->refused[0] = 0;
        c->fault = FAULT_NONE;
        c->at = c->events = c->sent = 0;
        c->seq = 0;
        c->status = 0;
        return 0;
}

static int on_url(http_parser *h, const char *p, size_t n)
{
        struct conn *c = h->data;

        buf_add(&c->target, p, n);
        return 0;
}

static int on_field(http_parser *h, const char *p, size_t n)
{
        struct conn *c = h->data;

        if (c->in_value)
                buf_add(&c->heads, "", 1);
        c->in_value = false;
        buf_add(&c->heads, p, n);
        return 0;
}

static int on_value(http_parser *h, const char *p, size_t n)
{
        struct conn *c = h->data;

        if (!c->in_value)
                buf_add(&c->heads, "", 1);
        c->in_value = true;
        buf_add(&c->heads, p, n);
        return 0;
}

static const char *head_find(const struct conn *c, const char *wanted)
{
        const char *p = c->heads.p, *end = p + c->heads.n;

        while (p && p < end) {
                const char *value = p + strlen(p) + 1;

                if (value > end)
                        return NULL;
                if (strcasecmp(p, wanted) == 0)
                        return value;
                p = value + strlen(value) + 1;
        }
        return NULL;
}

static int on_heads(http_parser *h)
{
        struct conn *c = h->data;
        const char *asked, *expect;

        if (c->in_value)
                buf_add(&c->heads, "", 1);
        asked = head_find(c, "x-mock-fault");
        if (asked)
                (void)fault_parse(asked, strlen(asked), &c->fault, c->refused, sizeof c->refused);
        else if (!is_control(c))
                (void)rules_take(c->expert->name, c->target.p, c->target.n, &c->fault);
        c->faulted = fault_any(&c->fault);
        c->http10 = h->http_major == 1 && h->http_minor == 0;
        c->keep_alive = http_should_keep_alive(h) && c->fault.close < 0 && c->fault.drop < 0 && c->fault.http10 < 0;
        if (c->fault.http10 >= 0)
                c->http10 = true;
        if (c->fault.slow_read >= 0) {
                int small = 4096;

                (void)setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
                bufferevent_set_max_single_read(c->bev, 1024);
        }
        expect = head_find(c, "expect");
        if (expect && strcasecmp(expect, "100-continue") == 0)
                push(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        return 0;
}

static int on_body(http_parser *h, const char *p, size_t n)
{
        struct conn *c = h->data;

        if (c->body.n + n > MAX_BODY)
                c->too_large = true;
        else
                buf_add(&c->body, p, n);
        return 0;
}

static int on_complete(http_parser *h)
{
        http_parser_pause(h, 1);
        return 0;
}

static const http_parser_settings settings = {
        .on_message_begin = on_begin,
        .on_url = on_url,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_heads,
        .on_body = on_body,
        .on_message_complete = on_complete,
};

static void bad_request(struct conn *c, const char *why)
{
        c->fault = FAULT_NONE;
        c->keep_alive = false;
        c->seq = 0;
        c->state = WAITING;
        atomic_fetch_add(&c->expert->in_flight, 1);
        error_out(c, 400, why, NULL, NULL);
}

static void conn_read(struct conn *c)
{
        struct evbuffer *in = bufferevent_get_input(c->bev);
        struct evbuffer_iovec v;

        c->reading = true;
        while (c->state == READING && evbuffer_peek(in, -1, NULL, &v, 1) > 0 && v.iov_len > 0) {
                size_t n = http_parser_execute(&c->parser, &settings, v.iov_base, v.iov_len);
                enum http_errno e = HTTP_PARSER_ERRNO(&c->parser);

                evbuffer_drain(in, n);
                if (e == HPE_PAUSED) {
                        http_parser_pause(&c->parser, 0);
                        answer_request(c);
                } else if (e != HPE_OK || c->parser.upgrade) {
                        bad_request(c, e == HPE_OK ? "upgrade is not known here" : http_errno_description(e));
                }
        }
        c->reading = false;
        if (c->state == READING && c->fault.slow_read >= 0) {
                bufferevent_disable(c->bev, EV_READ);
                event_add(&c->tick, &twenty_ms);
        }
}

/* ---- callbacks of libevent -------------------------------------------------------------------------------------------------- */

static void on_read(struct bufferevent *bev, void *arg)
{
        struct conn *c = arg;

        (void)bev;
        if (c->state == READING)
                conn_read(c);
}

static void on_write(struct bufferevent *bev, void *arg)
{
        struct conn *c = arg;

        (void)bev;
        settled(c);
        if (c->state == STREAMING && !event_pending(&c->timer, EV_TIMEOUT, NULL))
                pump(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
        struct conn *c = arg;

        (void)bev;
        if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) || c->state == DEAD)
                return;
        if (c->state == WAITING || c->state == STREAMING || c->state == SILENT) {
                book_cancelled(c->expert, c->seq, c->at, c->sent);
                book_outcome(c->seq, c->status, c->at, c->sent, "cancelled");
        }
        c->hard = true;
        conn_kill(c, &at_once);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct conn *c = arg;

        (void)fd, (void)what;
        if (c->state == DEAD) {
                conn_free(c);
        } else if (c->state == STREAMING) {
                pump(c);
        } else if (c->state == WAITING) {
                answer_go(c);
                if (c->state == READING)
                        conn_read(c);
        }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
        struct conn *c = arg;
        char piece[4096];
        int n;

        (void)fd, (void)what;
        if (c->state == READING && evbuffer_get_length(c->pending) == 0) { /* slow-read */
                bufferevent_enable(c->bev, EV_READ);
                return;
        }
        n = evbuffer_remove(c->pending, piece, (size_t)MIN(MAX(c->fault.split, 1), (long)sizeof piece));
        if (n > 0)
                push(c, piece, (size_t)n);
        if (evbuffer_get_length(c->pending) > 0)
                event_add(&c->tick, &one_ms);
        else if (c->state == STREAMING && !event_pending(&c->timer, EV_TIMEOUT, NULL))
                pump(c);
        settled(c);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
        struct door *d = arg;
        struct loop *l = d->loop;
        struct conn *c = calloc(1, sizeof *c);
        int one = 1;

        (void)listener, (void)sa, (void)n;
        assert(c);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *c = (struct conn){ .loop = l, .expert = d->expert, .fault = FAULT_NONE, .number = atomic_fetch_add(&conn_serial, 1) + 1 };
        if (d->expert->tls) {
                c->ssl = SSL_new(l->tls);
                assert(c->ssl);
                c->bev = bufferevent_openssl_socket_new(l->base, fd, c->ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        } else {
                c->bev = bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE);
        }
        c->pending = evbuffer_new();
        assert(c->bev && c->pending);
        if (c->ssl)
                bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
        event_assign(&c->timer, l->base, -1, 0, on_timer, c);
        event_assign(&c->tick, l->base, -1, 0, on_tick, c);
        http_parser_init(&c->parser, HTTP_REQUEST);
        c->parser.data = c;
        c->back = &l->conns;
        c->next = l->conns;
        if (c->next)
                c->next->back = &c->next;
        l->conns = c;
        atomic_fetch_add(&d->expert->open, 1);
        atomic_fetch_add(&d->expert->accepted, 1);
        bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
        bufferevent_setwatermark(c->bev, EV_READ, 0, READ_AHEAD);
        bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
        bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
        struct loop *l = arg;

        (void)fd, (void)what;
        event_base_loopbreak(l->base);
}

struct loop *loop_new(SSL_CTX *tls)
{
        struct loop *l = calloc(1, sizeof *l);

        assert(l);
        l->tls = tls;
        l->base = event_base_new();
        l->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert(l->base && l->stop_fd >= 0);
        l->stop = event_new(l->base, l->stop_fd, EV_READ, on_stop, l);
        assert(l->stop);
        event_add(l->stop, NULL);
        return l;
}

int loop_listen(struct loop *l, struct expert *e, int fd)
{
        struct door *d = &l->doors[l->door_n];

        assert(l->door_n < MAX_PORTS);
        *d = (struct door){ .loop = l, .expert = e };
        d->listener = evconnlistener_new(l->base, on_accept, d, LEV_OPT_CLOSE_ON_FREE, 0, fd);
        if (!d->listener)
                return -ENOMEM;
        l->door_n++;
        return 0;
}

void loop_run(struct loop *l)
{
        event_base_dispatch(l->base);
}

void loop_stop(struct loop *l)
{
        uint64_t one = 1;

        (void)!write(l->stop_fd, &one, sizeof one);
}

void loop_free(struct loop *l)
{
        if (!l)
                return;
        while (l->conns)
                conn_free(l->conns);
        for (int i = 0; i < l->door_n; i++)
                evconnlistener_free(l->doors[i].listener);
        for (size_t i = 0; i < MEMO_N; i++) {
                plan_drop(l->memo[i].plan);
                buf_free(&l->memo[i].body);
        }
        event_free(l->stop);
        event_base_free(l->base);
        (void)close(l->stop_fd);
        buf_free(&l->scratch);
        buf_free(&l->event);
        free(l);
}
