/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands out.  They are written behind one another into one buffer that leaves once a turn of the loop, with one write; a ring keeps
 * their tickets in the same order, in which the replies will come.
 */
#include "redis_parts.h"
#include "text.h"

#include "base.h"

#define KEEP_OUT 65536 /* a larger buffer is given back once it is empty */

void redis_conn_flush(evutil_socket_t fd, short what, void *arg)
{
        struct redis_conn *conn = arg;
        char text[80];

        (void)fd, (void)what;
        conn->flushing = false;
        while (conn->fd >= 0 && conn->out_at < conn->out_n) {
                ssize_t n = send(conn->fd, conn->out + conn->out_at, conn->out_n - conn->out_at, MSG_NOSIGNAL);

                if (n >= 0) {
                        conn->out_at += (size_t)n;
                } else if (errno == EAGAIN) {
                        conn->flushing = true;
                        if (event_add(&conn->writable, NULL) < 0)
                                redis_conn_fail(conn, SAID_GONE, "out of memory for an event");
                        return;
                } else if (errno != EINTR) {
                        redis_conn_fail(conn, SAID_GONE, "%s", errno_clause(errno, text, sizeof text));
                        return;
                }
        }
        conn->out_at = conn->out_n = 0;
        if (conn->out_size > KEEP_OUT) {
                free(TAKE(conn->out));
                conn->out_size = 0;
        }
}

static void flush_soon(struct redis_conn *conn)
{
        if (!conn->flushing) {
                conn->flushing = true;
                event_active(&conn->flush, EV_TIMEOUT, 0);
        }
}

static char *room(struct redis_conn *conn, size_t n)
{
        size_t size = MAX(conn->out_size, 1024);
        char *p;

        if (n <= conn->out_size - conn->out_n)
                return conn->out + conn->out_n;
        if (conn->out_at > 0) {
                memmove(conn->out, conn->out + conn->out_at, conn->out_n - conn->out_at);
                conn->out_n -= conn->out_at;
                conn->out_at = 0;
        }
        while (size - conn->out_n < n)
                size *= 2;
        p = size == conn->out_size ? conn->out : realloc(conn->out, size);
        if (!p)
                return NULL;
        conn->out = p;
        conn->out_size = size;
        return p + conn->out_n;
}

/* A place at the ring's end. */
static struct sent *ring_place(struct redis_conn *conn)
{
        size_t size = conn->ring_size ? conn->ring_size * 2 : 32;
        struct sent *p;

        if (conn->n_sent == conn->ring_size) {
                p = calloc(size, sizeof *p);
                if (!p)
                        return NULL;
                for (size_t i = 0; i < conn->n_sent; i++)
                        p[i] = conn->ring[(conn->head + i) & (conn->ring_size - 1)];
                free(conn->ring);
                conn->ring = p;
                conn->ring_size = size;
                conn->head = 0;
        }
        return &conn->ring[(conn->head + conn->n_sent) & (conn->ring_size - 1)];
}

/* "*3\r\n" or "$3\r\n". */
static char *put_number(char *p, char mark, size_t v)
{
        char digits[TEXT_DIGITS], *end = digits + sizeof digits, *d = text_digits(end, v);

        *p++ = mark;
        while (d < end)
                *p++ = *d++;
        *p++ = '\r';
        *p++ = '\n';
        return p;
}

/* Where a command of at most n bytes goes; *ret_error if nowhere. */
static char *push_begin(struct redis_conn *conn, size_t n, struct sent **ret_sent, int *ret_error)
{
        char *p;

        /* the handshake fits beside what the owner may have under way */
        if (conn->n_sent >= conn->r->config.waiting_max + 4 || n > REDIS_OUT_MAX || conn->out_n - conn->out_at + n > REDIS_OUT_MAX) {
                *ret_error = -EBUSY;
                return NULL;
        }
        *ret_sent = ring_place(conn);
        p = *ret_sent ? room(conn, n) : NULL;
        if (!p)
                *ret_error = -ENOMEM;
        return p;
}

static void push_end(struct redis_conn *conn, struct sent *s, uint64_t ticket, int64_t now, const char *end)
{
        *s = (struct sent){ ticket, now };
        conn->n_sent++;
        conn->out_n = (size_t)(end - conn->out);
        flush_soon(conn);
}

int redis_conn_push(struct redis_conn *conn, uint64_t ticket, int64_t now, int argc, const char *const *argv, const size_t *argvlen, size_t *ret_n)
{
        size_t most = 24;
        struct sent *s;
        char *begin, *p;
        int error = 0;

        for (int i = 0; i < argc; i++) {
                if (argvlen[i] > REDIS_OUT_MAX)
                        return -EBUSY;
                most += argvlen[i] + 28;
        }
        begin = push_begin(conn, most, &s, &error);
        if (!begin)
                return error;
        p = put_number(begin, '*', (size_t)argc);
        for (int i = 0; i < argc; i++) {
                p = put_number(p, '$', argvlen[i]);
                if (argvlen[i] > 0)
                        memcpy(p, argv[i], argvlen[i]);
                p += argvlen[i];
                *p++ = '\r';
                *p++ = '\n';
        }
        if (ret_n)
                *ret_n = (size_t)(p - begin);
        push_end(conn, s, ticket, now, p);
        return 0;
}

int redis_conn_push_bytes(struct redis_conn *conn, uint64_t ticket, int64_t now, const char *bytes, size_t n)
{
        struct sent *s;
        int error = 0;
        char *p = push_begin(conn, n, &s, &error);

        if (!p)
                return error;
        memcpy(p, bytes, n);
        push_end(conn, s, ticket, now, p + n);
        return 0;
}
