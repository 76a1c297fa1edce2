/* SPDX-License-Identifier: Apache-2.0 */
/* A second limiter in the place of the first: it makes requests wait, refuses, and is told what they have cost. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "config.h"
#include "folder.h"
#include "gateway.h"
#include "limiter.h"
#include "pool.h"
#include "tenant.h"
#include "worker_thread.h"

#include "base.h"

static const char configuration[] = "listen: 127.0.0.1:1\n"
                                    "experts: {a: {endpoints: ['http://127.0.0.1:9/v1']}}\n"
                                    "tenants: {acme: {keys: ['a-key-of-sixteen-bytes']}}\n";

/* ---- the second one ------------------------------------------------------------------------------------------------------ */
enum { LETS_IN, MAKES_WAIT, REFUSES };
static _Atomic int does;
static _Atomic unsigned admits, cancels, charges;
static _Atomic int64_t tokens;
static struct event *timer;

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct request *r = arg;

        (void)fd, (void)what;
        atomic_store(&does, LETS_IN);
        event_free(TAKE(timer));
        loop_wake(&r->worker->loop, &r->wake);
}

static enum next admit(struct request *r)
{
        static const struct timeval later = { 0, 50000 };

        atomic_fetch_add(&admits, 1);
        cr_assert_str_eq(r->tenant->name, "acme");
        switch (atomic_load(&does)) {
        case MAKES_WAIT:
                if (!timer) {
                        timer = evtimer_new(r->worker->loop.base, on_time, r);
                        (void)evtimer_add(timer, &later);
                }
                return WAIT;
        case REFUSES:
                return reply_error(r, 429, NULL, "rate_limit_exceeded", "the bucket 'tokens a minute' is empty");
        default:
                return GO;
        }
}

static void cancel(struct request *r)
{
        (void)r;
        atomic_fetch_add(&cancels, 1);
        event_free(TAKE(timer));
}

static void charge(struct request *r, int64_t in, int64_t out, double cost)
{
        (void)cost;
        cr_assert_str_eq(r->tenant->name, "acme");
        atomic_store(&tokens, in + out);
        atomic_fetch_add(&charges, 1);
}

static const struct limiter second = { admit, cancel, charge };

/* ---- the gateway, in one process ----------------------------------------------------------------------------------------- */
static struct {
        struct event_base *base;
        struct inbox inbox;
        struct pool *pool;
        struct generation *generation;
        struct worker *w;
        struct sockaddr_in address;
} stand;

static void nobody(struct message *m, void *owner)
{
        (void)m, (void)owner;
}

static void begin(void)
{
        struct worker_setup setup = { .home = &stand.inbox, .n_fds = 1, .drained = nobody };
        struct problems *p = problems_create(20);
        const char *why = "";
        socklen_t n = sizeof stand.address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        folder_begin();
        put("pointsman.yaml", configuration);
        cr_assert_eq(gateway_prepare(), 0);
        cr_assert_eq(generation_load(in_folder("pointsman.yaml"), 1, p, &stand.generation), 0, "%s", problems_text(p));
        problems_destroy(p);
        stand.address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&stand.address, n) == 0 && listen(fd, 8) == 0);
        cr_assert_eq(getsockname(fd, (struct sockaddr *)&stand.address, &n), 0);
        stand.base = event_base_new();
        stand.pool = pool_create(1);
        cr_assert_eq(inbox_init(&stand.inbox, stand.base, &stand), 0);
        setup.generation = stand.generation;
        setup.pool = stand.pool;
        setup.fds = &fd;
        stand.w = worker_create(&setup, &why);
        cr_assert(stand.w, "%s", why);
        stand.w->limiter = &second; /* before it has a client */
}

static void end(void)
{
        worker_stop(stand.w);
        pool_destroy(stand.pool);
        worker_destroy(stand.w);
        inbox_finish(&stand.inbox);
        generation_release(stand.generation);
        event_base_free(stand.base);
        folder_end();
}

static int dial(void)
{
        static const char request[] = "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer a-key-of-sixteen-bytes\r\nConnection: close\r\n\r\n";
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&stand.address, sizeof stand.address) == 0);
        cr_assert_eq(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), (ssize_t)sizeof request - 1);
        return fd;
}

static const char *reply_of(int fd)
{
        static char text[8192];
        size_t at = 0;
        ssize_t n;

        while (at < sizeof text - 1 && (n = recv(fd, text + at, sizeof text - 1 - at, 0)) > 0)
                at += (size_t)n;
        text[at] = 0;
        (void)close(fd);
        return text;
}

static void until(const _Atomic unsigned *counting, unsigned n)
{
        int64_t late = now_us() + 8000000;

        while (atomic_load(counting) < n && now_us() < late)
                (void)usleep(500);
        cr_assert_eq(atomic_load(counting), n);
}

TestSuite(limiter, .init = begin, .fini = end);

Test(limiter, lets_in_and_is_told_the_end)
{
        cr_assert(strstr(reply_of(dial()), "200 OK"));
        until(&charges, 1);
        cr_assert(atomic_load(&admits) == 1 && atomic_load(&cancels) == 0 && atomic_load(&tokens) == -2, "no tokens are known");
}

Test(limiter, makes_wait_until_it_wakes)
{
        int64_t from = now_us();

        atomic_store(&does, MAKES_WAIT);
        cr_assert(strstr(reply_of(dial()), "200 OK"));
        cr_assert_geq(now_us() - from, 50000);
        until(&charges, 1);
        cr_assert(atomic_load(&admits) >= 2 && atomic_load(&cancels) == 0);
}

Test(limiter, refuses)
{
        const char *reply;

        atomic_store(&does, REFUSES);
        reply = reply_of(dial());
        cr_assert(strstr(reply, "429") && strstr(reply, "tokens a minute"), "%s", reply);
        cr_assert(strstr(reply_of((atomic_store(&does, LETS_IN), dial())), "200 OK")); /* the first has come to its end */
        until(&charges, 1);
        cr_assert(atomic_load(&admits) == 2 && atomic_load(&cancels) == 0, "what was refused costs nothing");
}

Test(limiter, who_leaves_while_it_waits_is_forgotten)
{
        int fd;

        atomic_store(&does, MAKES_WAIT);
        fd = dial();
        until(&admits, 1);
        (void)close(fd);
        until(&cancels, 1);
        cr_assert_eq(atomic_load(&charges), 0);
}
