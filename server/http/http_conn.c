/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in: from a socket through the parser to a request.
 *
 * A plain socket is read by an event of its own into the worker's scratch buffer, which costs neither copies nor system calls
 * beyond recv(); a TLS connection is a bufferevent.  Bytes that belong to the next message wait in `in`, for TLS the
 * bufferevent's input.  Reading goes on while a request runs, so that a client that leaves is seen; above HTTP_AHEAD_MAX waiting
 * bytes it rests.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "http_parts.h"
#include "list.h"
#include "log.h"
#include "memory.h"
#include "progress.h"

#include "base.h"

void conn_abort(struct http_conn *c, enum request_drop_why why)
{
        if (!c->dead)
                c->dead_why = why;
        c->dead = true;
}

void conn_wait(struct http_conn *c, enum http_wait wait)
{
        c->wait = wait;
        c->deadline = 0;
}

/* Nothing more is read as a message; the socket goes after the backlog. */
static void close_soon(struct http_conn *c)
{
        c->close_after = true;
        conn_wait(c, WAIT_NOTHING);
}

/* ---- a message's events ------------------------------------------------------------------------------------------------- */

static void start_message(struct http_conn *c)
{
        c->head_received = c->body_received = c->reply_bodiless = c->http_1_0 = c->expects_continue = false;
        c->body_seen = 0;
        c->keep_alive = true;
        c->sent = SENT_NOTHING;
        c->chunked = c->until_close = c->drain_due = false;
        c->buffer = (size_t)c->http->limits.buffer;
        conn_wait(c, WAIT_IDLE);
}

static void on_head(struct http_conn *c)
{
        const struct h1_head *head = h1_head(c->h1);

        c->head_received = true;
        c->reply_bodiless = head->method == H1_HEAD_METHOD;
        c->http_1_0 = head->minor == 0;
        c->keep_alive = head->keep_alive;
        c->expects_continue = head->expect_continue;
        c->buffer = (size_t)c->http->limits.buffer;
        conn_wait(c, WAIT_BODY);
        c->request = c->http->handler->begin(c->http->owner, c, head);
        if (!c->request) { /* the client is told, and may ask again */
                c->discards = c->close_lingers = true;
                c->http->handler->refuse(c->http->owner, c, 503, "the gateway is out of memory for the request; try again");
                close_soon(c);
        }
}

/* The body's receiver, until the reply is out. */
static struct request *listener_of(struct http_conn *c)
{
        return c->sent == SENT_ALL ? NULL : c->request;
}

static void on_piece(struct http_conn *c, struct pm_str piece)
{
        struct request *r = listener_of(c);

        c->body_seen += (int64_t)piece.n;
        c->expects_continue = false; /* the client did not wait */
        if (r) {
                c->http->handler->body(r, piece.p, piece.n);
        } else if (c->body_seen > HTTP_DISCARD_MAX) {
                c->discards = c->close_lingers = true;
                c->keep_alive = false;
                if (!c->request)
                        close_soon(c);
        }
}

static void refuse(struct http_conn *c, int status, const char *why)
{
        c->discards = c->close_lingers = true;
        c->keep_alive = false;
        conn_wait(c, WAIT_NOTHING);
        if (c->request) {
                if (listener_of(c))
                        c->http->handler->body_failed(c->request, status, why);
        } else {
                if (!c->head_received)
                        c->http->handler->refuse(c->http->owner, c, status, why);
                close_soon(c);
        }
}

/* The parser stops at the end of a message that is still being answered. */
static bool may_parse(const struct http_conn *c)
{
        if (c->body_received || c->discards || c->dead || c->close_after)
                return false;
        return c->head_received || http_backlog(c) <= (size_t)c->http->limits.buffer; /* a client that asks and does not read */
}

static size_t take_bytes(struct http_conn *c, const char *p, size_t n)
{
        size_t at = 0;

        while (may_parse(c)) {
                struct pm_str piece;
                const char *why;
                size_t used;
                int status;

                switch (h1_feed(c->h1, p + at, n - at, &used, &piece)) {
                case H1_MORE:
                        if (!c->head_received && c->wait == WAIT_IDLE && !h1_idle(c->h1))
                                conn_wait(c, WAIT_HEAD);
                        return at + used;
                case H1_HEAD:
                        on_head(c);
                        break;
                case H1_BODY:
                        on_piece(c, piece);
                        break;
                case H1_END:
                        c->body_received = true;
                        conn_wait(c, WAIT_NOTHING);
                        if (listener_of(c))
                                c->http->handler->body_end(c->request);
                        else if (!c->request)
                                conn_message_over(c);
                        break;
                case H1_ERROR:
                        status = h1_error(c->h1, &why);
                        refuse(c, status, why);
                        break;
                }
                at += used;
        }
        return at;
}

/* What was read ahead. */
static void take_ahead(struct http_conn *c)
{
        struct evbuffer_iovec v;

        while (c->in && may_parse(c) && evbuffer_peek(c->in, -1, NULL, &v, 1) > 0 && v.iov_len > 0) {
                size_t used = take_bytes(c, v.iov_base, v.iov_len);

                if (!progress(c->http->loop, LOOP_CONNECTION, used > 0 || !may_parse(c))) {
                        conn_abort(c, DROP_CLIENT_LEFT);
                        return;
                }
                (void)evbuffer_drain(c->in, used);
        }
        if (c->in && c->discards)
                (void)evbuffer_drain(c->in, evbuffer_get_length(c->in));
}

static size_t ahead(const struct http_conn *c)
{
        return c->in ? evbuffer_get_length(c->in) : 0;
}

/* ---- between messages --------------------------------------------------------------------------------------------------- */

/* Both the request and its body are over: may be called from inside the request's last call, so it calls nobody. */
void conn_message_over(struct http_conn *c)
{
        assert(!c->request && c->body_received);
        if (c->sent != SENT_ALL || !c->keep_alive || c->eof || c->http->draining) {
                close_soon(c);
                c->close_lingers |= ahead(c) > 0;
                return;
        }
        h1_next(c->h1);
        start_message(c);
}

void http_request_over(struct http_conn *c)
{
        c->request = NULL;
        if (c->sent != SENT_ALL) { /* an answer that was cut, or never came */
                close_soon(c);
                c->discards = true;
                c->close_lingers = !c->body_received;
                c->keep_alive = false;
        } else if (c->body_received) {
                conn_message_over(c);
        } else if (!c->keep_alive || c->eof) { /* what is left of the body is not worth reading */
                close_soon(c);
                c->close_lingers = c->discards = true;
        }
        if (c->close_after || c->dead || ahead(c) > 0)
                loop_wake(c->http->loop, &c->wake);
}

static void on_wake(void *arg)
{
        struct http_conn *c = arg;

        take_ahead(c);
        conn_update(c);
}

void conn_late(struct http_conn *c)
{
        switch (c->wait) {
        case WAIT_HEAD:
                refuse(c, 408, "the request's head did not arrive in time (limits.head_time)");
                break;
        case WAIT_BODY:
                refuse(c, 408, "the request's body did not arrive in time (limits.body_time)");
                break;
        case WAIT_HANDSHAKE:
        case WAIT_IDLE:
        case WAIT_LINGER:
                conn_abort(c, DROP_CLIENT_LEFT);
                break;
        case WAIT_NOTHING:
                break;
        }
        conn_update(c);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static void pause_reading(struct http_conn *c, bool pause)
{
        if (c->read_paused == pause || c->bev) /* the bufferevent has its watermark */
                return;
        c->read_paused = pause;
        if (pause)
                (void)event_del(&c->readable);
        else if (event_add(&c->readable, NULL) < 0)
                conn_abort(c, DROP_CLIENT_LEFT);
}

/* The client has closed, or only its half: who waits for an answer is taken to have left. */
static void on_eof(struct http_conn *c, bool broken)
{
        c->eof = true;
        if (c->bev)
                (void)bufferevent_disable(c->bev, EV_READ);
        else
                pause_reading(c, true);
        if (broken || c->write_closed || (c->request && c->sent != SENT_ALL))
                conn_abort(c, DROP_CLIENT_LEFT);
        else if (!c->request)
                close_soon(c);
}

static void on_bytes(struct http_conn *c, const char *p, size_t n)
{
        size_t used = 0;

        if (ahead(c) == 0)
                used = take_bytes(c, p, n);
        if (used == n)
                return;
        if (c->discards || c->close_after) {
                c->close_lingers = true;
                return;
        }
        if (!c->in)
                c->in = evbuffer_new();
        if (!c->in || evbuffer_add(c->in, p + used, n - used) < 0) {
                conn_abort(c, DROP_CLIENT_LEFT);
                return;
        }
        take_ahead(c);
        if (ahead(c) >= HTTP_AHEAD_MAX)
                pause_reading(c, true);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        struct http_conn *c = arg;
        struct http *h = c->http;
        ssize_t n = recv(fd, h->scratch, sizeof h->scratch, 0);

        (void)what;
        if (n > 0)
                on_bytes(c, h->scratch, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                on_eof(c, n < 0);
        conn_update(c);
}

static void on_bev_readable(struct bufferevent *bev, void *arg)
{
        struct http_conn *c = arg;

        (void)bev;
        take_ahead(c);
        if (c->close_after && ahead(c) > 0)
                (void)evbuffer_drain(c->in, ahead(c));
        conn_update(c);
}

static void on_bev_event(struct bufferevent *bev, short what, void *arg)
{
        struct http_conn *c = arg;

        if (what & BEV_EVENT_CONNECTED) {
                start_message(c);
                if (c->above_limit) {
                        conn_reject(c);
                        return;
                }
        } else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
                unsigned long e = bufferevent_get_openssl_error(bev);

                if (c->wait == WAIT_HANDSHAKE && e)
                        log_msg(c->http->loop->log, PM_DEBUG, "TLS handshake with %s failed: %s", c->peer, ERR_reason_error_string(e));
                /* Libevent says EOF of a reset, too; but what cannot be written finds nobody who reads. */
                on_eof(c, (what & (BEV_EVENT_ERROR | BEV_EVENT_WRITING)) != 0 || c->wait == WAIT_HANDSHAKE);
                if (!c->dead && http_backlog(c) > 0) { /* it has stopped writing as well; this may call us, and c be gone then */
                        (void)bufferevent_enable(bev, EV_WRITE);
                        return;
                }
        }
        conn_update(c);
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

static void conn_free(struct http_conn *c)
{
        struct http *h = c->http;

        assert(!c->request);
        conn_count(c, 0);
        loop_unwake(h->loop, &c->wake);
        if (c->fail_at_end)
                (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        if (c->bev) {
                SSL *ssl = bufferevent_openssl_get_ssl(c->bev);

                if (!c->write_closed && !c->fail_at_end && SSL_is_init_finished(ssl))
                        (void)SSL_shutdown(ssl);
                ERR_clear_error();
                bufferevent_free(c->bev); /* closes the socket */
        } else {
                if (event_initialized(&c->readable))
                        (void)event_del(&c->readable);
                if (event_initialized(&c->writable))
                        (void)event_del(&c->writable);
                if (c->in)
                        evbuffer_free(c->in);
                if (c->out)
                        evbuffer_free(c->out);
                (void)close(c->fd);
        }
        if (c->pprev) {
                LIST_UNLINK(c);
                h->n_conns--;
                h->n_away -= c->above_limit;
                http_room(h);
        }
        h1_destroy(c->h1);
        free(c);
}

/* Our last byte is written: say so, and let the client read before the socket goes. */
static void shut(struct http_conn *c)
{
        if (c->bev) {
                (void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
                ERR_clear_error();
        }
        (void)shutdown(c->fd, SHUT_WR);
        c->write_closed = c->discards = true;
        pause_reading(c, false);
        conn_wait(c, WAIT_LINGER);
}

void conn_update(struct http_conn *c)
{
        if (c->dead) {
                c->fail_at_end |= c->until_close && c->sent == SENT_HEAD; /* or the cut would look like the answer's end */
                if (c->request)
                        c->http->handler->drop(TAKE(c->request), c->dead_why);
                conn_free(c);
                return;
        }
        if (c->close_after && !c->write_closed && http_backlog(c) == 0) {
                if (c->fail_at_end || c->eof || !c->close_lingers) {
                        conn_free(c);
                        return;
                }
                shut(c);
        }
        if (c->read_paused && !c->eof && ahead(c) < HTTP_AHEAD_MAX)
                pause_reading(c, false);
}

static int open_plain(struct http_conn *c)
{
        struct event_base *base = c->http->loop->base;

        if (event_assign(&c->readable, base, c->fd, EV_READ | EV_PERSIST, on_readable, c) < 0 ||
            event_assign(&c->writable, base, c->fd, EV_WRITE | EV_PERSIST, conn_on_writable, c) < 0)
                return -ENOMEM;
        return event_add(&c->readable, NULL) < 0 ? -ENOMEM : 0;
}

static int open_tls(struct http_conn *c, SSL_CTX *tls)
{
        SSL *ssl = SSL_new(tls);

        if (!ssl)
                return -ENOMEM;
        c->bev = bufferevent_openssl_socket_new(c->http->loop->base, c->fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        if (!c->bev) {
                SSL_free(ssl);
                return -ENOMEM;
        }
        bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
        bufferevent_setcb(c->bev, on_bev_readable, conn_on_bev_written, on_bev_event, c);
        bufferevent_setwatermark(c->bev, EV_WRITE, (size_t)c->http->limits.buffer / 4, 0);
        c->in = bufferevent_get_input(c->bev);
        c->out = bufferevent_get_output(c->bev);
        return memory_read_ahead(c->bev, HTTP_AHEAD_MAX) < 0 || bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

struct http_conn *conn_create(struct http *h, int fd, SSL_CTX *tls, const char *peer)
{
        struct http_conn *c = calloc(1, sizeof *c);

        if (!c) {
                (void)close(fd);
                return NULL;
        }
        c->http = h;
        c->fd = fd;
        c->wake = (struct wake){ .fn = on_wake, .arg = c };
        (void)snprintf(c->peer, sizeof c->peer, "%s", peer);
        c->h1 = h1_create(H1_REQUESTS, (size_t)h->limits.head, (size_t)h->limits.headers);
        if (!c->h1 || (tls ? open_tls(c, tls) : open_plain(c)) < 0) {
                conn_free(c);
                return NULL;
        }
        start_message(c);
        if (tls)
                conn_wait(c, WAIT_HANDSHAKE);
        LIST_PUSH(&h->conns, c);
        h->n_conns++;
        return c;
}

bool http_on_loopback(const struct http_conn *c)
{
        return c->loopback;
}

const char *http_peer(const struct http_conn *c)
{
        return c->peer;
}
