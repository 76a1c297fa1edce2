/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands out.  They are written behind one another into one buffer that leaves once a turn of the loop, with one write; a ring keeps
 * their tickets in the same order, in which the replies will come.
 */
#include "redis_parts.h"
#include "text.h"

#include "base.h"

#define KEEP_OUT 65536 /* a larger buffer is given back once it is empty */

void link_flush(evutil_socket_t fd, short what, void *arg)
{
        struct link *l = arg;
        char text[80];

        (void)fd, (void)what;
        l->flushing = false;
        while (l->fd >= 0 && l->out_at < l->out_n) {
                ssize_t n = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL);

                if (n >= 0) {
                        l->out_at += (size_t)n;
                } else if (errno == EAGAIN) {
                        l->flushing = true;
                        if (event_add(&l->writable, NULL) < 0)
                                link_fail(l, SAID_GONE, "out of memory for an event");
                        return;
                } else if (errno != EINTR) {
                        link_fail(l, SAID_GONE, "%s", errno_clause(errno, text, sizeof text));
                        return;
                }
        }
        l->out_at = l->out_n = 0;
        if (l->out_size > KEEP_OUT) {
                free(TAKE(l->out));
                l->out_size = 0;
        }
}

static void flush_soon(struct link *l)
{
        if (!l->flushing) {
                l->flushing = true;
                event_active(&l->flush, EV_TIMEOUT, 0);
        }
}

static char *room(struct link *l, size_t n)
{
        size_t size = MAX(l->out_size, 1024);
        char *p;

        if (n <= l->out_size - l->out_n)
                return l->out + l->out_n;
        if (l->out_at > 0) {
                memmove(l->out, l->out + l->out_at, l->out_n - l->out_at);
                l->out_n -= l->out_at;
                l->out_at = 0;
        }
        while (size - l->out_n < n)
                size *= 2;
        p = size == l->out_size ? l->out : realloc(l->out, size);
        if (!p)
                return NULL;
        l->out = p;
        l->out_size = size;
        return p + l->out_n;
}

/* A place at the ring's end. */
static struct sent *ring_place(struct link *l)
{
        size_t size = l->ring_size ? l->ring_size * 2 : 32;
        struct sent *p;

        if (l->n_sent == l->ring_size) {
                p = calloc(size, sizeof *p);
                if (!p)
                        return NULL;
                for (size_t i = 0; i < l->n_sent; i++)
                        p[i] = l->ring[(l->head + i) & (l->ring_size - 1)];
                free(l->ring);
                l->ring = p;
                l->ring_size = size;
                l->head = 0;
        }
        return &l->ring[(l->head + l->n_sent) & (l->ring_size - 1)];
}

/* "*3\r\n" or "$3\r\n". */
static char *put_number(char *p, char mark, size_t v)
{
        char digits[24], *d = digits + sizeof digits;

        do
                *--d = (char)('0' + v % 10);
        while (v /= 10);
        *p++ = mark;
        while (d < digits + sizeof digits)
                *p++ = *d++;
        *p++ = '\r';
        *p++ = '\n';
        return p;
}

/* Where a command of at most n bytes goes; *ret_error if nowhere. */
static char *push_begin(struct link *l, size_t n, struct sent **ret_sent, int *ret_error)
{
        char *p;

        /* the greeting fits beside what the owner may have under way */
        if (l->n_sent >= l->r->config.waiting_max + 4 || n > REDIS_OUT_MAX || l->out_n - l->out_at + n > REDIS_OUT_MAX) {
                *ret_error = -EBUSY;
                return NULL;
        }
        *ret_sent = ring_place(l);
        p = *ret_sent ? room(l, n) : NULL;
        if (!p)
                *ret_error = -ENOMEM;
        return p;
}

static void push_end(struct link *l, struct sent *s, uint64_t ticket, int64_t now, const char *end)
{
        *s = (struct sent){ ticket, now };
        l->n_sent++;
        l->out_n = (size_t)(end - l->out);
        flush_soon(l);
}

int link_push(struct link *l, uint64_t ticket, int64_t now, int argc, const char *const *argv, const size_t *argvlen, size_t *ret_n)
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
        begin = push_begin(l, most, &s, &error);
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
        push_end(l, s, ticket, now, p);
        return 0;
}

int link_push_bytes(struct link *l, uint64_t ticket, int64_t now, const char *bytes, size_t n)
{
        struct sent *s;
        int error = 0;
        char *p = push_begin(l, n, &s, &error);

        if (!p)
                return error;
        memcpy(p, bytes, n);
        push_end(l, s, ticket, now, p + n);
        return 0;
}
