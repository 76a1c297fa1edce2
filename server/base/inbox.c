/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The eventfd is written only when the list was empty, so a burst of messages costs one system call.  The owner takes the whole
 * list at once and delivers it without the lock; what is posted meanwhile waits for the loop's next turn.
 */
#include "inbox.h"

#include <event2/event.h>
#include <sys/eventfd.h>

#include "base.h"

static struct message *take_all(struct inbox *in)
{
        struct message *m;

        pthread_mutex_lock(&in->lock);
        m = in->first;
        in->first = NULL;
        in->last = &in->first;
        pthread_mutex_unlock(&in->lock);
        return m;
}

static void deliver_all(struct inbox *in, struct message *m)
{
        while (m) {
                struct message *next = m->next; /* deliver() may free m */

                m->deliver(m, in->owner);
                m = next;
        }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        uint64_t n;

        (void)what;
        if (read(fd, &n, sizeof n) < 0)
                assert(errno == EAGAIN || errno == EINTR);
        deliver_all(arg, take_all(arg));
}

int inbox_init(struct inbox *in, struct event_base *base, void *owner)
{
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (fd < 0)
                return -errno;
        *in = (struct inbox){ .fd = fd, .owner = owner };
        in->last = &in->first;
        in->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, in);
        if (!in->event || event_add(in->event, NULL) < 0) {
                if (in->event)
                        event_free(in->event);
                (void)close(fd);
                *in = (struct inbox){ .fd = -1 };
                return -ENOMEM;
        }
        pthread_mutex_init(&in->lock, NULL);
        return 0;
}

void inbox_post(struct inbox *in, struct message *m)
{
        bool first;

        m->next = NULL;
        pthread_mutex_lock(&in->lock);
        first = !in->first;
        *in->last = m;
        in->last = &m->next;
        /* under the lock, so that the owner cannot deliver the last message and finish before the write */
        if (first) {
                const uint64_t one = 1;
                ssize_t n;

                do
                        n = write(in->fd, &one, sizeof one);
                while (n < 0 && errno == EINTR);
                assert(n == sizeof one || errno == EAGAIN); /* EAGAIN: the counter is full, so the owner is woken */
        }
        pthread_mutex_unlock(&in->lock);
}

void inbox_deliver(struct inbox *in)
{
        struct message *m;

        while ((m = take_all(in)) != NULL)
                deliver_all(in, m);
}

void inbox_finish(struct inbox *in)
{
        if (!in->event)
                return;
        inbox_deliver(in);
        event_free(in->event);
        in->event = NULL;
        (void)close(in->fd);
        in->fd = -1;
        pthread_mutex_destroy(&in->lock);
}
