/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - connections and event loops: requests in.
 *
 * A connection reads a request (http-parser), then answers it, and reads on only when the answer has ended; while it answers it still
 * sees that the client leaves, and notes when. A connection is never freed inside its own callbacks: it is marked DEAD and its timer
 * frees it.
 */
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/eventfd.h>

#include "conn.h"

#define READ_AHEAD (64u << 10) /* bytes of the next request read while one is answered */

static _Atomic int64_t conn_serial;
static const struct timeval at_once, one_ms = { 0, 1000 }, twenty_ms = { 0, 20000 };

/* ---- ends of a connection --------------------------------------------------------------------------------------------------- */

void in_flight_ends(struct conn *c)
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

void conn_kill(struct conn *c, const struct timeval *after)
{
        in_flight_ends(c);
        c->state = DEAD;
        bufferevent_disable(c->bev, EV_READ);
        event_del(&c->tick);
        event_add(&c->timer, after);
}

/* Unsent bytes are gone: what was the connection for? */
void conn_settled(struct conn *c)
{
        if (evbuffer_get_length(c->pending) > 0 || evbuffer_get_length(bufferevent_get_output(c->bev)) > 0)
                return;
        if (c->state == CLOSING)
                conn_kill(c, &at_once);
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
                reply_push(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
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
        reply_error(c, 400, why, NULL, NULL);
}

void conn_read(struct conn *c)
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
                        reply_begin(c);
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
        conn_settled(c);
        if (c->state == STREAMING && !event_pending(&c->timer, EV_TIMEOUT, NULL))
                reply_pump(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
        struct conn *c = arg;

        (void)bev;
        if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) || c->state == DEAD)
                return;
        if (c->state == WAITING || c->state == STREAMING || c->state == SILENT) {
                journal_cancelled(c->expert, c->seq, c->at, c->sent);
                journal_outcome(c->seq, c->status, c->at, c->sent, "cancelled");
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
                reply_pump(c);
        } else if (c->state == WAITING) {
                reply_go(c);
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
                reply_push(c, piece, (size_t)n);
        if (evbuffer_get_length(c->pending) > 0)
                event_add(&c->tick, &one_ms);
        else if (c->state == STREAMING && !event_pending(&c->timer, EV_TIMEOUT, NULL))
                reply_pump(c);
        conn_settled(c);
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
