/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 to experts without TLS, on sockets of ours.
 *
 * A pass-through request costs one sendmsg() and one recv() here: the head is put together on the stack and leaves with the body's
 * pieces from where they lie; what comes is read into the worker's scratch buffer and goes from there, through the codec, into
 * the owner's evbuffer.  The read event stays armed from the first connection to the last, also at rest (http1_pool.c); the write
 * event is armed only for a connect or a backlog.
 */
#include <event2/buffer.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "expert.h"
#include "h1.h"
#include "http1_parts.h"
#include "loop.h"
#include "text.h"

#include "base.h"

#define FREE_MAX 256       /* transfer_bases kept for reuse */
#define READ_MIN 4096      /* reads become no smaller as `in` fills up */
#define HEAD_ROOM 4096
#define PIECES_AT_ONCE 32

static void drop_conn(struct http1_transfer *t)
{
        http1_conn_free(TAKE(t->conn));
}

/* ---- the request goes out ----------------------------------------------------------------------------------------------- */

/* Into `room` bytes, or heap memory if that is too small.  NULL: no memory. */
static char *compose_head(const struct upstream_call *call, char *room, size_t size, size_t *ret_n)
{
        const struct endpoint *e = call->endpoint;
        size_t base = strlen(e->base), path = strlen(call->path), host = strlen(e->host_header), length = 0;
        size_t need = base + path + host + e->fixed_headers.n + call->headers.n + 128;
        struct text t = { .p = need <= size ? room : malloc(need), .room = need };

        if (!t.p)
                return NULL;
        for (size_t i = 0; i < call->n_body; i++)
                length += call->body[i].iov_len;
        TEXT_PUT(&t, "POST ");
        text_put(&t, e->base, base);
        text_put(&t, call->path, path);
        TEXT_PUT(&t, " HTTP/1.1\r\nHost: ");
        text_put(&t, e->host_header, host);
        TEXT_PUT(&t, "\r\nContent-Length: ");
        text_number(&t, length);
        TEXT_PUT(&t, "\r\n");
        if (e->fixed_headers.n)
                text_put(&t, e->fixed_headers.p, e->fixed_headers.n);
        if (call->headers.n)
                text_put(&t, call->headers.p, call->headers.n);
        TEXT_PUT(&t, "\r\n");
        assert(!t.cut);
        *ret_n = t.n;
        return t.p;
}

/* The rest of the pieces, from byte `skip` on; the body is referred to (it lives as long as the transfer), the head copied. */
static bool queue_rest(struct conn *c, const char *head, size_t head_n, const struct upstream_call *call, size_t skip)
{
        size_t past = MIN(skip, head_n);

        if (!c->out)
                c->out = evbuffer_new();
        if (!c->out || (past < head_n && evbuffer_add(c->out, head + past, head_n - past) < 0))
                return false;
        skip -= past;
        for (size_t i = 0; i < call->n_body; i++) {
                const struct iovec *v = &call->body[i];

                past = MIN(skip, v->iov_len);
                skip -= past;
                if (past < v->iov_len && evbuffer_add_reference(c->out, (const char *)v->iov_base + past, v->iov_len - past, NULL, NULL) < 0)
                        return false;
        }
        return event_add(&c->writable, NULL) == 0;
}

static void connect_anew(struct http1_transfer *t)
{
        drop_conn(t);
        t->fresh = true;
        t->unproved = false;
        t->a.t.reused = false;
        http1_connect(t);
}

/* The connection failed before any byte of an answer: a kept one may simply have been closed, so once more on a fresh one. */
static void lost(struct http1_transfer *t, enum transfer_error how, const char *what)
{
        struct conn *c = t->conn;
        bool again = t->a.t.reused && !t->fresh && !c->got;

        if (!again) {
                http1_conn_stop(c);
                transfer_fail(&t->a, how, "%s", what);
                return;
        }
        connect_anew(t);
}

static void lost_errno(struct http1_transfer *t, int e)
{
        char text[80], clause[140];

        (void)snprintf(clause, sizeof clause, "%s %s", errno_clause(e, text, sizeof text), t->conn->got ? "in the answer" : "before any answer");
        lost(t, TRANSFER_RESET, clause);
}

/* On a kept connection there may be nobody any more: that is looked at when connecting would have taken too long. */
static void await_answer(struct http1_transfer *t)
{
        const struct upstream_call *call = &t->a.call;

        t->sent_us = now_us();
        t->unproved = t->a.t.reused && !t->fresh;
        transfer_deadline(&t->a, t->sent_us + (t->unproved ? MIN(call->connect_ms, call->first_ms) : call->first_ms) * 1000);
}

static void send_request(struct http1_transfer *t)
{
        const struct upstream_call *call = &t->a.call;
        struct conn *c = t->conn;
        struct iovec v[PIECES_AT_ONCE + 1];
        struct msghdr m = { .msg_iov = v };
        char room[HEAD_ROOM], *head;
        size_t head_n, all;
        ssize_t sent = 0;
        bool ok = true;

        head = compose_head(call, room, sizeof room, &head_n);
        if (!head) {
                transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory for the request");
                return;
        }
        v[0] = (struct iovec){ head, head_n };
        all = head_n;
        for (size_t i = 0; i < call->n_body; i++) {
                all += call->body[i].iov_len;
                if (i < PIECES_AT_ONCE)
                        v[i + 1] = call->body[i];
        }
        m.msg_iovlen = 1 + MIN(call->n_body, (size_t)PIECES_AT_ONCE);
        sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        c->deaf = sent < 0 && (errno == EPIPE || errno == ECONNRESET); /* what can be read decides */
        if (sent < 0 && !c->deaf && errno != EAGAIN && errno != EINTR) {
                int e = errno;

                if (head != room)
                        free(head);
                lost_errno(t, e);
                return;
        }
        t->a.t.sent = sent > 0;
        if ((size_t)MAX(sent, 0) < all && !c->deaf)
                ok = queue_rest(c, head, head_n, call, (size_t)MAX(sent, 0));
        if (head != room)
                free(head);
        if (!ok) {
                transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory for the request");
                return;
        }
        await_answer(t);
}

/* ---- the answer comes in ------------------------------------------------------------------------------------------------ */

static void take_head(struct http1_transfer *t, int64_t now)
{
        const struct h1_head *h = h1_head(t->conn->h1);

        if (t->unproved) { /* there is somebody */
                t->unproved = false;
                transfer_deadline(&t->a, t->sent_us + t->a.call.first_ms * 1000);
        }
        t->a.t.status = h->status;
        t->a.t.headers = h->headers;
        t->a.t.n_headers = h->n_headers;
        t->a.t.length = h->has_length ? h->length : -1;
        transfer_head(&t->a, now);
}

static void answer_complete(struct http1_transfer *t, size_t left)
{
        struct conn *c = t->conn;

        /* more bytes than the answer, or less of the request taken than was sent: the next message would not start clean */
        c->keep = h1_head(c->h1)->keep_alive && left == 0 && !c->deaf && !(c->out && evbuffer_get_length(c->out));
        transfer_done(&t->a);
}

static void feed(struct http1_transfer *t, const char *p, size_t n)
{
        struct conn *c = t->conn;
        int64_t now = now_us();

        c->got = true;
        for (;;) {
                struct pm_str piece;
                const char *why;
                size_t used;

                switch (h1_feed(c->h1, p, n, &used, &piece)) {
                case H1_HEAD:
                        take_head(t, now);
                        if (t->a.t.status < 200) {
                                http1_conn_stop(c);
                                transfer_fail(&t->a, TRANSFER_PROTOCOL, "its answer is %d, which was not asked for", t->a.t.status);
                                return;
                        }
                        break;
                case H1_BODY:
                        if (!transfer_body(&t->a, piece.p, piece.n, now)) {
                                http1_conn_stop(c);
                                return;
                        }
                        break;
                case H1_END:
                        answer_complete(t, n - used);
                        return;
                case H1_ERROR:
                        (void)h1_error(c->h1, &why);
                        http1_conn_stop(c);
                        transfer_fail(&t->a, TRANSFER_PROTOCOL, "its answer is not HTTP: %s", why);
                        return;
                case H1_MORE:
                        if (t->a.t.first_byte_us)
                                transfer_deadline(&t->a, now + t->a.call.idle_ms * 1000);
                        return;
                }
                p += used;
                n -= used;
        }
}

static void ended(struct http1_transfer *t)
{
        struct conn *c = t->conn;
        char text[100];

        if (h1_eof(c->h1) == H1_END) {
                answer_complete(t, 0);
                http1_conn_stop(c);
                return;
        }
        if (!c->got)
                (void)snprintf(text, sizeof text, "connection closed before any answer");
        else if (t->a.t.state == TRANSFER_OPENING)
                (void)snprintf(text, sizeof text, "connection closed in the answer's head");
        else if (t->a.t.length >= 0)
                (void)snprintf(text, sizeof text, "connection closed after %" PRIu64 " of %" PRId64 " bytes of the answer", t->a.body_got, t->a.t.length);
        else
                (void)snprintf(text, sizeof text, "connection closed after %" PRIu64 " bytes of an unfinished answer", t->a.body_got);
        lost(t, TRANSFER_RESET, text);
}

static bool running(const struct http1_transfer *t)
{
        return t && (t->a.t.state == TRANSFER_OPENING || t->a.t.state == TRANSFER_HEAD);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        struct conn *c = arg;
        struct http1_transfer *t = c->user;
        size_t room = sizeof c->plain->scratch, have;
        ssize_t n;

        (void)what;
        if (t) { /* `in` goes beyond its mark by READ_MIN at most */
                have = evbuffer_get_length(t->a.t.in);
                room = MIN(room, MAX(have < t->a.call.high_water ? t->a.call.high_water - have : 0, READ_MIN));
        }
        n = recv(fd, c->plain->scratch, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (!t) { /* at rest: closed by the expert, or talking out of turn */
                http1_conn_free(c);
                return;
        }
        if (!running(t)) { /* complete, not yet given back: fit for nothing more */
                c->keep = false;
                (void)http1_conn_watch(c, false);
                return;
        }
        if (n < 0)
                lost_errno(t, errno);
        else if (n == 0)
                ended(t);
        else
                feed(t, c->plain->scratch, (size_t)n);
        if (t->conn == c && running(t) && evbuffer_get_length(t->a.t.in) >= t->a.call.high_water) {
                (void)http1_conn_watch(c, false);
                transfer_deadline(&t->a, DEADLINE_NONE); /* the client is slow, not the expert */
        }
}

/* ---- connecting --------------------------------------------------------------------------------------------------------- */

static void flush(struct conn *c)
{
        struct http1_transfer *t = c->user;
        int n = evbuffer_write(c->out, c->fd);

        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
                c->deaf = true;
                (void)event_del(&c->writable);
                return;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
                lost_errno(t, errno);
                return;
        }
        t->a.t.sent |= n > 0;
        if (evbuffer_get_length(c->out) == 0) {
                (void)event_del(&c->writable);
                await_answer(t);
        }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
        struct conn *c = arg;
        struct http1_transfer *t = c->user;
        socklen_t n = sizeof(int);
        int e = 0;

        (void)what;
        if (!running(t)) {
                (void)event_del(&c->writable);
                return;
        }
        if (c->connected) {
                flush(c);
                return;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
                e = errno;
        if (e == 0) {
                c->connected = true;
                (void)event_del(&c->writable);
                if (http1_conn_watch(c, true))
                        send_request(t);
                else
                        transfer_fail(&t->a, TRANSFER_MEMORY, "out of memory for a connection");
                return;
        }
        drop_conn(t);
        if (connect_more(&t->connect))
                http1_connect_next(t);
        else
                http1_connect_failed(t, e);
}

struct conn *http1_conn_create(struct http1 *p, const struct upstream_call *call, int fd)
{
        struct conn *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->plain = p;
        c->fd = fd;
        c->slot = call->endpoint->state->slot;
        c->h1 = h1_create(H1_RESPONSES, call->head_max, TRANSPORT_HEADERS_MAX);
        c->head_max = call->head_max;
        if (!c->h1 || event_assign(&c->readable, p->upstream->loop->base, fd, EV_READ | EV_PERSIST, on_readable, c) < 0 ||
            event_assign(&c->writable, p->upstream->loop->base, fd, EV_WRITE | EV_PERSIST, on_writable, c) < 0) {
                h1_destroy(c->h1);
                free(c);
                return NULL;
        }
        return c;
}

/* ---- the transport ------------------------------------------------------------------------------------------------------ */

static struct http1 *http1_of(struct upstream *u)
{
        if (!u->http1) {
                u->http1 = calloc(1, sizeof *u->http1);
                if (u->http1)
                        u->http1->upstream = u;
        }
        return u->http1;
}

static struct transfer_base *http1_open(struct upstream *u, const struct upstream_call *call, struct wake *wake)
{
        struct http1 *p = http1_of(u);
        unsigned slot = call->endpoint->state->slot;
        struct http1_transfer *t;
        struct conn *c;

        if (!p || !http1_pool_room(p, slot))
                return NULL;
        t = p->free;
        if (t) {
                p->free = t->next_free;
                p->n_free--;
        } else {
                t = calloc(1, sizeof *t);
        }
        if (!t)
                return NULL;
        if (!transfer_init(&t->a, u, &http1_transport, call, wake, now_us())) {
                free(t);
                return NULL;
        }
        t->conn = NULL;
        t->connect.lookup = NULL;
        t->fresh = t->unproved = false;
        if (!transfer_path_ok(&t->a))
                return &t->a;
        c = http1_pool_take(p, slot, call->head_max);
        if (!c) {
                http1_connect(t);
                return &t->a;
        }
        c->user = t;
        t->conn = c;
        t->a.t.reused = true;
        send_request(t);
        return &t->a;
}

static void http1_consumed(struct transfer_base *a)
{
        struct http1_transfer *t = CONTAINER_OF(a, struct http1_transfer, a);

        if (!running(t) || !t->conn || !t->conn->connected || t->conn->reading || evbuffer_get_length(a->t.in) >= a->call.high_water)
                return;
        if (!http1_conn_watch(t->conn, true)) {
                http1_conn_stop(t->conn);
                transfer_fail(a, TRANSFER_MEMORY, "out of memory: cannot read on");
                return;
        }
        transfer_deadline(a, now_us() + a->call.idle_ms * 1000);
}

static void http1_expired(struct transfer_base *a, int64_t now)
{
        struct http1_transfer *t = CONTAINER_OF(a, struct http1_transfer, a);

        (void)now;
        if (!running(t))
                return;
        if (t->unproved) {
                t->unproved = false;
                if (t->conn->got || !upstream_socket_gone(t->conn->fd))
                        transfer_deadline(a, t->sent_us + a->call.first_ms * 1000);
                else
                        connect_anew(t);
                return;
        }
        if (t->conn && t->conn->connected) {
                http1_conn_stop(t->conn);
                transfer_fail_late(a);
                return;
        }
        connect_cancel(&t->connect);
        drop_conn(t);
        if (connect_more(&t->connect))
                http1_connect_next(t);
        else
                transfer_fail(a, TRANSFER_CONNECT_TIME, "connect timeout: %s within %" PRId64 " ms",
                              t->connect.n_addresses ? "not connected" : "its name was not resolved", a->call.connect_ms);
}

static void http1_close(struct transfer_base *a)
{
        struct http1_transfer *t = CONTAINER_OF(a, struct http1_transfer, a);
        struct http1 *p = a->upstream->http1;
        bool complete = a->t.state == TRANSFER_DONE;

        connect_cancel(&t->connect);
        transfer_finish(a);
        if (t->conn && complete)
                http1_pool_give(p, TAKE(t->conn), (unsigned)a->call.endpoint->idle_max);
        else
                drop_conn(t);
        if (p->n_free >= FREE_MAX) {
                evbuffer_free(a->t.in);
                free(t);
                return;
        }
        t->next_free = p->free;
        p->free = t;
        p->n_free++;
}

const struct transport http1_transport = { .open = http1_open, .consumed = http1_consumed, .expired = http1_expired, .close = http1_close };

void http1_destroy(struct http1 *p)
{
        struct http1_transfer *next;

        if (!p)
                return;
        http1_pool_finish(p);
        for (struct http1_transfer *t = p->free; t; t = next) {
                next = t->next_free;
                evbuffer_free(t->a.t.in);
                free(t);
        }
        free(p);
}
