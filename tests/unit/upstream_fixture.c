/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream_fixture.h"

#include <criterion/criterion.h>
#include <event2/event.h>

#include "base.h"

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        if (arg)
                (void)loop_clock(arg, now_us());
}

static void on_wake(void *arg)
{
        struct owner *o = arg;

        o->woken++;
}

void bench_init(struct bench *b)
{
        static const struct timeval often = { 0, 5000 };

        memset(b, 0, sizeof *b);
        b->loop.base = b->loop.resolver.base = event_base_new();
        b->loop.ready_last = &b->loop.ready;
        b->u = upstream_create(&b->loop);
        b->loop.run = event_new(b->loop.base, -1, 0, on_beat, NULL); /* turn() runs what is ready */
        b->beat = event_new(b->loop.base, -1, EV_PERSIST, on_beat, &b->loop);
        event_add(b->beat, &often);
        arena_init(&b->a, NULL, 1 << 20);
}

void bench_finish(struct bench *b)
{
        upstream_destroy(b->u);
        event_free(b->beat);
        event_free(b->loop.run);
        resolver_finish(&b->loop.resolver);
        event_base_free(b->loop.base);
        arena_finish(&b->a);
}

const struct way ways[WAYS] = {
        { "plain", "http", PEER_TCP, true },
        { "curl", "http", PEER_TCP, false },
        { "tls", "https", PEER_TLS, false },
};

void aim(struct bench *b, const char *url, bool plain)
{
        static const char fixed[] = "Authorization: Bearer k\r\nX-Title: test\r\n";
        const char *why = "";

        cr_assert_eq(endpoint_parse(&b->a, url, &b->e, &why), 0, "%s: %s", url, why);
        b->e.state = endpoint_state_of(&b->e, "m");
        b->e.plain = plain;
        b->e.idle_max = 1024;
        b->e.fixed_headers = (struct pm_str){ fixed, sizeof fixed - 1 };
}

void aim_at(struct bench *b, const struct way *w, struct peer *p)
{
        char url[128];

        snprintf(url, sizeof url, "%s://127.0.0.1:%u/v1", w->scheme, p->port);
        aim(b, url, w->plain);
        b->e.ca = p->kind == PEER_TLS ? p->path : NULL;
}

void turn(struct bench *b)
{
        struct wake *k;

        event_base_loop(b->loop.base, EVLOOP_ONCE);
        while ((k = b->loop.ready)) {
                loop_unwake(&b->loop, k);
                k->fn(k->arg);
        }
}

void run_ms(struct bench *b, int64_t ms)
{
        for (int64_t end = now_us() + ms * 1000; now_us() < end;)
                turn(b);
}

struct upstream_call call_of(struct bench *b)
{
        static const char headers[] = "Content-Type: application/json\r\nx-request-id: r1\r\n";
        static char text[] = "hello";
        static const struct iovec body = { text, 5 };

        return (struct upstream_call){ .endpoint = &b->e, .path = "/chat/completions", .headers = { headers, sizeof headers - 1 },
                                       .body = &body, .n_body = 1, .connect_ms = 2000, .first_ms = 5000, .idle_ms = 5000,
                                       .high_water = 65536, .head_max = 16384 };
}

void open_with(struct bench *b, struct owner *o, const struct upstream_call *call)
{
        *o = (struct owner){ .wake = { .fn = on_wake, .arg = o } };
        o->t = upstream_open(b->u, call, &o->wake);
        cr_assert(o->t);
        cr_assert_eq(o->woken, 0, "woken inside the call");
}

void open_one(struct bench *b, struct owner *o)
{
        struct upstream_call call = call_of(b);

        open_with(b, o, &call);
}

void wait_state(struct bench *b, struct owner *o, enum transfer_state s)
{
        int64_t limit = now_us() + 10000000;

        while (o->t->state < s) {
                if (now_us() >= limit) /* an assertion costs too much to make one a turn */
                        cr_assert_fail("state %d instead of %d", o->t->state, s);
                turn(b);
        }
        if (o->woken == 0)
                turn(b);
        cr_assert_gt(o->woken, 0);
}

/* A whole exchange that must succeed. */
void exchange(struct bench *b, bool reused)
{
        struct owner o;

        open_one(b, &o);
        wait_state(b, &o, TRANSFER_DONE);
        cr_assert_eq(o.t->state, TRANSFER_DONE, "%s", o.t->error_text);
        cr_assert_eq(o.t->status, 200);
        cr_assert_eq(o.t->reused, reused);
        upstream_close(o.t);
}

void serves(struct peer_conn *c)
{
        while (peer_take(c) && peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
                ;
}
