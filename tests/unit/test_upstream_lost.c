/* SPDX-License-Identifier: Apache-2.0 */
/* Who is not there any more, or never was: machines that vanish, names that move, and what this machine itself is short of. */
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "upstream_fixture.h"

#include "base.h"

/* ---- machines that vanish ----------------------------------------------------------------------------------------------- */
/* From now on the connection's other end acknowledges nothing and says nothing, as a machine without power. */
static void vanish(struct peer_conn *c)
{
        struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
        struct sock_fprog all = { 1, &nothing };

        cr_assert_eq(setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all), 0);
}

static void vanishes_at_rest(struct peer_conn *c)
{
        while (peer_take(c) && peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
                if (c->number == 0) {
                        vanish(c);
                        peer_sleep(60000);
                }
}

Test(upstream, a_kept_connection_without_anybody)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct upstream_call call;
                struct peer *p;
                struct bench b;
                struct owner o;
                int64_t from;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, vanishes_at_rest)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                run_ms(&b, 50);
                call = call_of(&b);
                call.connect_ms = 800;
                call.first_ms = 60000;
                from = now_us();
                open_with(&b, &o, &call);
                wait_state(&b, &o, TRANSFER_DONE);
                cr_assert_eq(o.t->state, TRANSFER_DONE, "%s: %s", ways[i].name, o.t->error_text);
                cr_assert(!o.t->reused && p->connections == 2 && p->requests == 2, "%s: %u connections", ways[i].name, p->connections);
                cr_assert(now_us() - from >= 800000, "%s: too early", ways[i].name);
                upstream_close(o.t);
                bench_finish(&b);
        }
}

static void thinks(struct peer_conn *c)
{
        while (peer_take(c)) {
                if (c->requests == 2)
                        peer_sleep(1500);
                (void)peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                if (c->requests == 3)
                        peer_sleep(1500);
                (void)peer_say(c, "hello");
        }
}

/* One that has taken the request and is slow is not asked twice. */
Test(upstream, a_kept_connection_with_a_slow_one)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct upstream_call call;
                struct peer *p;
                struct bench b;
                struct owner o;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, thinks)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                call = call_of(&b);
                call.connect_ms = 300;
                call.first_ms = 60000;
                for (unsigned k = 2; k <= 3; k++) { /* before the head, and behind it */
                        open_with(&b, &o, &call);
                        WAIT(&b, o.t->state >= TRANSFER_DONE);
                        cr_assert(o.t->state == TRANSFER_DONE && o.t->reused && p->connections == 1 && p->requests == k, "%s: %s", ways[i].name, o.t->error_text);
                        upstream_close(o.t);
                }
                bench_finish(&b);
        }
}

static void vanishes_with_the_request(struct peer_conn *c)
{
        if (peer_take(c)) {
                vanish(c);
                peer_sleep(60000);
        }
}

/* Everything sent was acknowledged: only probes tell that nobody is there. */
Test(upstream, a_machine_that_vanishes_while_it_thinks)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct upstream_call call;
                struct peer *p;
                struct bench b;
                struct owner o;
                int64_t from = now_us();

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, vanishes_with_the_request)));
                aim_at(&b, &ways[i], p);
                b.e.keepalive_ms = 1000;
                b.e.unacknowledged_ms = 1500;
                call = call_of(&b);
                call.first_ms = 60000;
                open_with(&b, &o, &call);
                while (o.t->state < TRANSFER_DONE && now_us() - from < 20000000)
                        turn(&b);
                cr_assert_eq(o.t->error, TRANSFER_RESET, "%s: state %d: %s", ways[i].name, o.t->state, o.t->error_text);
                upstream_close(o.t);
                bench_finish(&b);
        }
}

/* ---- names that move ---------------------------------------------------------------------------------------------------- */
static _Atomic uint32_t moves_to;
static atomic_uint asked;

/* libcurl's and ours, in place of the system's. */
__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
        struct addrinfo *a = calloc(1, sizeof *a + sizeof(struct sockaddr_in));
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)(a + 1);

        (void)hints;
        cr_assert(strcmp(name, "moves.test") == 0 && service);
        atomic_fetch_add(&asked, 1);
        *in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(service, NULL, 10)), .sin_addr.s_addr = htonl(moves_to) };
        a->ai_family = AF_INET;
        a->ai_socktype = SOCK_STREAM;
        a->ai_protocol = IPPROTO_TCP;
        a->ai_addr = (struct sockaddr *)in;
        a->ai_addrlen = sizeof *in;
        *ret = a;
        return 0;
}

__attribute__((visibility("default"))) void freeaddrinfo(struct addrinfo *a)
{
        free(a);
}

Test(upstream, a_name_that_moves)
{
        struct upstream_call call;
        struct peer *p;
        struct bench b;
        struct owner o;
        char url[64];

        bench_init(&b);
        cr_assert((p = peer_start(PEER_TCP, serves)));
        snprintf(url, sizeof url, "http://moves.test:%u/v1", p->port);
        aim(&b, url, false);
        call = call_of(&b);
        moves_to = INADDR_LOOPBACK + 1; /* nobody listens there */
        open_with(&b, &o, &call);
        wait_state(&b, &o, TRANSFER_DONE);
        cr_assert_eq(o.t->error, TRANSFER_CONNECT, "%s", o.t->error_text);
        upstream_close(o.t);
        moves_to = INADDR_LOOPBACK;
        exchange(&b, false);
        exchange(&b, true);
        cr_assert_eq(asked, 2u);
        bench_finish(&b);
}

/* ---- what this machine is short of -------------------------------------------------------------------------------------- */
static void no_descriptors(rlim_t *former)
{
        struct rlimit l;
        int fd = dup(STDERR_FILENO);

        cr_assert(fd >= 0 && getrlimit(RLIMIT_NOFILE, &l) == 0);
        close(fd);
        *former = l.rlim_cur;
        l.rlim_cur = (rlim_t)fd;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static void descriptors_again(rlim_t former)
{
        struct rlimit l;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
        l.rlim_cur = former;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

Test(upstream, without_descriptors_it_is_our_fault)
{
        for (size_t i = 0; i < WAYS; i++) {
                struct upstream_call call;
                struct peer *p;
                struct bench b;
                struct owner o;
                rlim_t former;

                bench_init(&b);
                cr_assert((p = peer_start(ways[i].kind, serves)));
                aim_at(&b, &ways[i], p);
                exchange(&b, false);
                open_one(&b, &o); /* the kept one is in use */
                wait_state(&b, &o, TRANSFER_DONE);
                upstream_close(o.t);
                b.e.idle_max = 0;
                exchange(&b, true); /* and goes */
                WAIT(&b, p->ends == 1);
                run_ms(&b, 20);
                no_descriptors(&former);
                call = call_of(&b);
                open_with(&b, &o, &call);
                wait_state(&b, &o, TRANSFER_DONE);
                descriptors_again(former);
                cr_assert_eq(o.t->error, TRANSFER_LOCAL, "%s: %s: %s", ways[i].name, transfer_error_name(o.t->error), o.t->error_text);
                cr_assert(strstr(o.t->error_text, "this machine") && strstr(o.t->error_text, "too many open files"), "%s", o.t->error_text);
                upstream_close(o.t);
                exchange(&b, false);
                bench_finish(&b);
        }
}

/* A connection that rests at another endpoint gives its descriptor. */
Test(upstream, a_resting_connection_makes_room)
{
        struct peer *p, *q;
        struct bench b;
        rlim_t former;

        bench_init(&b);
        cr_assert((p = peer_start(PEER_TCP, serves)) && (q = peer_start(PEER_TCP, serves)));
        aim_at(&b, &ways[WAY_PLAIN], q);
        exchange(&b, false);
        aim_at(&b, &ways[WAY_PLAIN], p);
        exchange(&b, false);
        aim_at(&b, &ways[WAY_PLAIN], q);
        no_descriptors(&former);
        exchange(&b, true);
        descriptors_again(former);
        bench_finish(&b);
}
