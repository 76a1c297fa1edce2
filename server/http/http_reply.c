/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes out: heads, bodies, chunks.
 *
 * What a plain socket takes at once is written at once, from where it lies, in one system call; only the rest is copied into the
 * backlog, and only then is the loop asked to say when the socket is writable.  A failed write is noted and dealt with by the
 * connection's wake: these functions are called by a request, and do not call it back.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "http_parts.h"
#include "memory.h"
#include "text.h"

#include "base.h"

#define HEAD_ROOM 512 /* our own lines of a head */

/* ---- the socket --------------------------------------------------------------------------------------------------------- */

size_t http_backlog(const struct http_conn *c)
{
        return c->out ? evbuffer_get_length(c->out) : 0;
}

static void write_failed(struct http_conn *c)
{
        conn_abort(c, DROP_CLIENT_LEFT);
        loop_wake(c->http->loop, &c->wake);
}

void conn_count(struct http_conn *c, size_t backlog)
{
        memory_held((int64_t)backlog - (int64_t)c->counted);
        c->counted = backlog;
}

static void arm(struct http_conn *c)
{
        conn_count(c, http_backlog(c));
        if (http_backlog(c) >= c->buffer)
                c->drain_due = true;
        if (c->bev || c->write_armed || http_backlog(c) == 0)
                return;
        if (event_add(&c->writable, NULL) < 0)
                write_failed(c);
        c->write_armed = true;
}

/* Bytes of v that are left go into the backlog. */
static void queue_up(struct http_conn *c, const struct iovec *v, int n, size_t skip)
{
        if (!c->out)
                c->out = evbuffer_new();
        for (int i = 0; i < n; i++) {
                size_t past = MIN(skip, v[i].iov_len);

                skip -= past;
                if (past == v[i].iov_len)
                        continue;
                if (!c->out || evbuffer_add(c->out, (char *)v[i].iov_base + past, v[i].iov_len - past) < 0) {
                        write_failed(c);
                        return;
                }
                c->queued += v[i].iov_len - past;
        }
        arm(c);
}

/* What the socket takes at once; nothing for TLS, or behind a backlog. */
static size_t put_now(struct http_conn *c, struct iovec *v, int n)
{
        struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)n };
        ssize_t sent;

        if (c->dead || c->bev || http_backlog(c) > 0)
                return 0;
        sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
                write_failed(c);
        return (size_t)MAX(sent, 0);
}

static void put_out(struct http_conn *c, struct iovec *v, int n)
{
        size_t all = 0, sent = put_now(c, v, n);

        for (int i = 0; i < n; i++)
                all += v[i].iov_len;
        if (sent < all && !c->dead)
                queue_up(c, v, n, sent);
}

#define PIECE(bytes, length) { .iov_base = (void *)(uintptr_t)(bytes), .iov_len = (length) }

/* Some of the backlog has left. */
static void backlog_fell(struct http_conn *c)
{
        size_t n = http_backlog(c);

        conn_count(c, n);
        if (n <= c->buffer / 4) {
                if (c->drain_due && c->request && !c->dead && c->sent != SENT_ALL)
                        c->http->handler->drained(c->request);
                c->drain_due = false;
                if (c->in && evbuffer_get_length(c->in) > 0)
                        loop_wake(c->http->loop, &c->wake);
        }
        conn_update(c);
}

void conn_on_writable(evutil_socket_t fd, short what, void *arg)
{
        struct http_conn *c = arg;

        (void)what;
        if (evbuffer_write(c->out, fd) < 0 && errno != EAGAIN && errno != EINTR)
                conn_abort(c, DROP_CLIENT_LEFT);
        if (evbuffer_get_length(c->out) == 0) {
                (void)event_del(&c->writable);
                c->write_armed = false;
        }
        backlog_fell(c);
}

void conn_on_bev_written(struct bufferevent *bev, void *arg)
{
        (void)bev;
        backlog_fell(arg);
}

/* ---- heads -------------------------------------------------------------------------------------------------------------- */

/* Our own lines, before and after the request's. */
struct reply_head {
        struct text first, last;
        char rooms[2][HEAD_ROOM];
};

static void add_status(struct text *t, int status)
{
        const char *reason = h1_reason(status);
        char code[] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10), ' ' };

        assert(status >= 100 && status <= 999);
        TEXT_PUT(t, "HTTP/1.1 ");
        text_put(t, code, sizeof code);
        text_put(t, reason, strlen(reason));
        TEXT_PUT(t, "\r\n");
}

/* As RFC 9110 wants it, once a second; strftime() would ask the locale. */
static void add_date(struct text *t, struct http *h)
{
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t now = time(NULL);
        struct tm tm;

        if (now != h->date_s && gmtime_r(&now, &tm)) {
                int n = snprintf(h->date, sizeof h->date, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n", days + tm.tm_wday * 3,
                                 tm.tm_mday, months + tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);

                assert(n > 0 && (size_t)n < sizeof h->date);
                h->date_n = (size_t)n;
                h->date_s = now;
        }
        text_put(t, h->date, h->date_n);
}

/* Does anything of this status have a body? */
static bool bodiless(int status)
{
        return status < 200 || status == 204 || status == 304;
}

/* May the connection go on after this reply? */
static void decide_keep(struct http_conn *c, const struct http_reply *r)
{
        const struct h1_head *head = h1_head(c->h1);

        if (r->close || c->discards || c->close_after || c->eof || c->http->draining || !c->head_received)
                c->keep_alive = false;
        else if (!c->body_received && (c->expects_continue || !head->has_length || head->length - c->body_seen > HTTP_DISCARD_MAX))
                c->keep_alive = false;
        c->expects_continue = false;
}

/* length -1: not known. */
static void make_head(struct http_conn *c, const struct http_reply *r, int64_t length, struct reply_head *ret)
{
        struct text *first = &ret->first, *last = &ret->last;

        *first = (struct text){ .p = ret->rooms[0], .room = HEAD_ROOM };
        *last = (struct text){ .p = ret->rooms[1], .room = HEAD_ROOM };
        decide_keep(c, r);
        c->reply_bodiless |= bodiless(r->status);
        c->length_left = length;
        if (length < 0 && !c->reply_bodiless) {
                c->chunked = !c->http_1_0;
                c->until_close = c->http_1_0;
                if (c->http_1_0)
                        c->keep_alive = false;
        }
        add_status(first, r->status);
        add_date(first, c->http);
        if (r->content_type) {
                TEXT_PUT(first, "Content-Type: ");
                text_put(first, r->content_type, strnlen(r->content_type, 128));
                TEXT_PUT(first, "\r\n");
        }
        if (length >= 0 && !bodiless(r->status)) {
                TEXT_PUT(last, "Content-Length: ");
                text_number(last, (uint64_t)length);
                TEXT_PUT(last, "\r\n");
        } else if (c->chunked) {
                TEXT_PUT(last, "Transfer-Encoding: chunked\r\n");
        }
        if (!c->keep_alive)
                TEXT_PUT(last, "Connection: close\r\n");
        else if (c->http_1_0)
                TEXT_PUT(last, "Connection: keep-alive\r\n");
        TEXT_PUT(last, "\r\n");
        assert(!first->cut && !last->cut);
}

/* ---- replies ------------------------------------------------------------------------------------------------------------ */

void http_reply(struct http_conn *c, const struct http_reply *head, struct pm_str body)
{
        struct reply_head ours;
        int n = 3;

        assert(c->sent == SENT_NOTHING);
        make_head(c, head, (int64_t)body.n, &ours);
        c->sent = SENT_ALL;
        struct iovec v[4] = { PIECE(ours.first.p, ours.first.n), PIECE(head->headers.p, head->headers.n), PIECE(ours.last.p, ours.last.n),
                              PIECE(body.p, body.n) };
        if (!c->reply_bodiless && body.n)
                n = 4;
        put_out(c, v, n);
}

void http_reply_buffer(struct http_conn *c, const struct http_reply *head, struct evbuffer *body)
{
        size_t length = evbuffer_get_length(body), sent, head_n;
        struct evbuffer_iovec pieces[16];
        struct reply_head ours;
        int n = 0;

        assert(c->sent == SENT_NOTHING);
        make_head(c, head, (int64_t)length, &ours);
        c->sent = SENT_ALL;
        struct iovec v[3 + LENGTH_OF(pieces)] = { PIECE(ours.first.p, ours.first.n), PIECE(head->headers.p, head->headers.n),
                                                  PIECE(ours.last.p, ours.last.n) };
        head_n = ours.first.n + head->headers.n + ours.last.n;
        if (c->reply_bodiless)
                length = 0;
        if (length)
                n = MIN(evbuffer_peek(body, -1, NULL, pieces, (int)LENGTH_OF(pieces)), (int)LENGTH_OF(pieces));
        for (int i = 0; i < n; i++)
                v[3 + i] = (struct iovec)PIECE(pieces[i].iov_base, pieces[i].iov_len);
        sent = put_now(c, v, 3 + n);
        if (c->dead)
                return;
        if (sent < head_n) { /* what is left of the head is copied, the body moves */
                queue_up(c, v, 3, sent);
                sent = head_n;
        }
        sent -= head_n;
        (void)evbuffer_drain(body, sent);
        if (length == sent || c->dead)
                return;
        if (!c->out)
                c->out = evbuffer_new();
        if (!c->out || evbuffer_add_buffer(c->out, body) < 0) {
                write_failed(c);
                return;
        }
        c->queued += length - sent;
        arm(c);
}

void http_stream_begin(struct http_conn *c, const struct http_reply *head, int64_t length)
{
        struct reply_head ours;

        assert(c->sent == SENT_NOTHING);
        make_head(c, head, length, &ours);
        c->sent = SENT_HEAD;
        struct iovec v[] = { PIECE(ours.first.p, ours.first.n), PIECE(head->headers.p, head->headers.n), PIECE(ours.last.p, ours.last.n) };
        put_out(c, v, 3);
}

void http_stream_data(struct http_conn *c, const char *p, size_t n)
{
        static const char digits[] = "0123456789abcdef";
        char size[18], *end = size + sizeof size, *at = end;
        size_t left = n;

        assert(c->sent == SENT_HEAD);
        if (n == 0 || c->reply_bodiless)
                return;
        if (!c->chunked) {
                if (c->length_left >= 0) {
                        n = MIN(n, (size_t)c->length_left); /* more would be read as the next reply */
                        c->length_left -= (int64_t)n;
                }
                put_out(c, &(struct iovec)PIECE(p, n), 1);
                return;
        }
        *--at = '\n';
        *--at = '\r';
        do
                *--at = digits[left & 15];
        while (left >>= 4);
        struct iovec v[] = { PIECE(at, (size_t)(end - at)), PIECE(p, n), PIECE("\r\n", 2) };
        put_out(c, v, 3);
}

void http_stream_end(struct http_conn *c, bool clean)
{
        assert(c->sent == SENT_HEAD);
        if (!c->reply_bodiless && !c->chunked && c->length_left > 0)
                clean = false;
        if (!clean) { /* http_request_over() closes; only a reset tells a cut from an end that is the connection's */
                c->keep_alive = false;
                c->fail_at_end = c->until_close;
                return;
        }
        c->sent = SENT_ALL;
        if (c->chunked && !c->reply_bodiless)
                put_out(c, &(struct iovec)PIECE("0\r\n\r\n", 5), 1);
}

void http_continue(struct http_conn *c)
{
        if (c->expects_continue && c->sent == SENT_NOTHING)
                put_out(c, &(struct iovec)PIECE("HTTP/1.1 100 Continue\r\n\r\n", 25), 1);
        c->expects_continue = false;
}

void conn_reject(struct http_conn *c)
{
        static const char body[] = "{\"error\":{\"message\":\"too many connections (limits.connections, or what the descriptors allow of it)\",\"type\":\"server_error\","
                                   "\"param\":null,\"code\":\"overloaded\"}}";

        http_reply(c, &(struct http_reply){ .status = 503, .content_type = "application/json", .headers = { "retry-after: 1\r\n", 16 },
                                            .close = true }, (struct pm_str){ body, sizeof body - 1 });
        c->close_after = c->discards = c->close_lingers = true;
        conn_update(c);
}
