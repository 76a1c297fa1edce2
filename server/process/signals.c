/* SPDX-License-Identifier: Apache-2.0 */
/* A handler of our own, because libevent's only tells a loop, and the second signal must count when the loop does not turn. */
#include "signals.h"

#include <event2/event.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "watchdog.h"

#include "base.h"

#define SECOND_US 700000 /* what a second signal leaves for an orderly end */

static const int caught[] = { SIGTERM, SIGINT };
static struct sigaction former[LENGTH_OF(caught)];
static int fd = -1;
static struct event *event;
static void (*stop_fn)(void *arg, int sig);
static void *stop_arg;
static _Atomic int last, count;

static void on_signal(int sig)
{
        const uint64_t one = 1;
        const int error = errno;

        atomic_store(&last, sig);
        if (atomic_fetch_add(&count, 1) > 0)
                watchdog_end_by(now_us() + SECOND_US);
        if (write(fd, &one, sizeof one) < 0)
                (void)0; /* the counter is full: the loop is told already */
        errno = error;
}

static void on_told(evutil_socket_t from, short what, void *arg)
{
        uint64_t n = 0;

        (void)what, (void)arg;
        if (read(from, &n, sizeof n) < 0)
                return;
        for (; n > 0; n--)
                stop_fn(stop_arg, atomic_load(&last));
}

int signals_catch(struct event_base *base, void (*stop)(void *arg, int sig), void *arg)
{
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        stop_fn = stop;
        stop_arg = arg;
        event = event_new(base, fd, EV_READ | EV_PERSIST, on_told, NULL);
        if (!event || event_add(event, NULL) < 0) {
                signals_release();
                return -ENOMEM;
        }
        (void)sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < LENGTH_OF(caught); i++)
                (void)sigaction(caught[i], &action, &former[i]);
        return 0;
}

void signals_release(void)
{
        if (fd < 0)
                return;
        for (size_t i = 0; i < LENGTH_OF(caught); i++)
                (void)sigaction(caught[i], &former[i], NULL);
        if (event)
                event_free(TAKE(event));
        (void)close(fd);
        fd = -1;
}
