/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream.c - what both transports share: which one carries a call, the list of open transfers and their deadlines.
 */
#include "upstream.h"

#include <ctype.h>
#include <event2/buffer.h>

#include "expert.h"
#include "list.h"
#include "loop.h"
#include "memory.h"
#include "transport.h"

#include "base.h"

#define PATH_MAX_BYTES 2048
#define TICK_US 50000 /* deadlines are kept with this precision */

const char *transfer_error_name(enum transfer_error e)
{
        switch (e) {
        case TRANSFER_OK:
                return "ok";
        case TRANSFER_CONNECT:
                return "connect";
        case TRANSFER_CONNECT_TIME:
                return "connect_timeout";
        case TRANSFER_FIRST_TIME:
                return "first_token_timeout";
        case TRANSFER_IDLE_TIME:
                return "idle_timeout";
        case TRANSFER_RESET:
                return "reset";
        case TRANSFER_PROTOCOL:
                return "protocol";
        case TRANSFER_MEMORY:
                return "memory";
        case TRANSFER_LOCAL:
                return "local";
        }
        return "unknown";
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------------- */
static void tick_set(struct upstream *u, int64_t at, int64_t now)
{
        int64_t wait = MAX(at - now, TICK_US);
        struct timeval t = { wait / 1000000, wait % 1000000 };

        u->tick_at = now + wait;
        if (evtimer_add(&u->tick, &t) < 0)
                u->tick_at = DEADLINE_NONE; /* the next deadline tries again */
}

void upstream_tick_by(struct upstream *u, int64_t at)
{
        if (at < u->tick_at)
                tick_set(u, at, now_us());
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
        struct upstream *u = arg;
        int64_t now = now_us(), clock = loop_clock(u->loop, now), soonest = DEADLINE_NONE;

        (void)fd, (void)what;
        u->tick_at = 0; /* deadlines that move meanwhile are seen below */
        for (struct transfer_base *a = u->open; a; a = a->next)
                if (a->deadline_us <= clock) {
                        a->deadline_us = DEADLINE_NONE;
                        a->transport->expired(a, now);
                }
        for (struct transfer_base *a = u->open; a; a = a->next)
                soonest = MIN(soonest, a->deadline_us);
        if (soonest != DEADLINE_NONE)
                soonest += now - clock;
        if (u->http1)
                soonest = MIN(soonest, http1_sweep(u->http1, now));
        if (u->curl)
                soonest = MIN(soonest, curl_sweep(u->curl, now));
        u->tick_at = DEADLINE_NONE;
        if (soonest != DEADLINE_NONE)
                tick_set(u, soonest, now);
}

/* ---- transfers ---------------------------------------------------------------------------------------------------------------- */
bool transfer_init(struct transfer_base *a, struct upstream *u, const struct transport *x, const struct upstream_call *call,
                   struct wake *wake, int64_t now)
{
        struct evbuffer *in = a->t.in ? a->t.in : evbuffer_new();

        if (!in)
                return false;
        a->t.loop = u->loop;
        a->t.wake = wake;
        a->t.state = TRANSFER_OPENING;
        a->t.error = TRANSFER_OK;
        a->t.error_text[0] = 0;
        a->t.status = 0;
        a->t.headers = NULL;
        a->t.n_headers = 0;
        a->t.length = -1;
        a->t.in = in;
        a->t.reused = a->t.sent = false;
        a->t.opened_us = now;
        a->t.head_us = a->t.first_byte_us = 0;
        a->upstream = u;
        a->transport = x;
        a->call = *call;
        a->deadline_us = a->content_by = DEADLINE_NONE;
        a->body_got = 0;
        a->counted = 0;
        LIST_PUSH(&u->open, a);
        return true;
}

/* What waits in `in` has become so much. */
static void transfer_count(struct transfer_base *a, size_t n)
{
        memory_held((int64_t)n - (int64_t)a->counted);
        a->counted = n;
}

void transfer_finish(struct transfer_base *a)
{
        LIST_UNLINK(a);
        loop_unwake(a->t.loop, a->t.wake);
        transfer_count(a, 0);
        if (evbuffer_get_length(a->t.in) > 0)
                (void)evbuffer_drain(a->t.in, evbuffer_get_length(a->t.in));
}

void transfer_wake(struct transfer_base *a)
{
        loop_wake(a->t.loop, a->t.wake);
}

void transfer_head(struct transfer_base *a, int64_t now)
{
        a->t.state = TRANSFER_HEAD;
        a->t.head_us = now;
        if (a->call.by_content)
                a->content_by = a->deadline_us; /* that of the first byte */
        transfer_wake(a);
}

bool transfer_body(struct transfer_base *a, const char *p, size_t n, int64_t now)
{
        if (n == 0)
                return true;
        if (evbuffer_add(a->t.in, p, n) < 0) {
                transfer_fail(a, TRANSFER_MEMORY, "out of memory for the answer");
                return false;
        }
        if (a->t.first_byte_us == 0)
                a->t.first_byte_us = now;
        a->body_got += n;
        transfer_count(a, evbuffer_get_length(a->t.in));
        transfer_wake(a);
        return true;
}

void transfer_done(struct transfer_base *a)
{
        a->t.state = TRANSFER_DONE;
        a->deadline_us = DEADLINE_NONE;
        transfer_wake(a);
}

void transfer_fail(struct transfer_base *a, enum transfer_error e, const char *fmt, ...)
{
        va_list args;

        a->t.state = TRANSFER_FAILED;
        a->t.error = e;
        a->deadline_us = DEADLINE_NONE;
        va_start(args, fmt);
        (void)vsnprintf(a->t.error_text, sizeof a->t.error_text, fmt, args);
        va_end(args);
        transfer_wake(a);
}

void transfer_fail_late(struct transfer_base *a)
{
        if (a->t.state == TRANSFER_OPENING)
                transfer_fail(a, TRANSFER_FIRST_TIME, "timeout: no response within %" PRId64 " ms", a->call.first_ms);
        else if (a->t.first_byte_us && a->content_by <= loop_clock(a->t.loop, now_us()))
                transfer_fail(a, TRANSFER_FIRST_TIME, "%" PRIu64 " bytes, but no first token within %" PRId64 " ms", a->body_got, a->call.first_ms);
        else if (a->t.first_byte_us == 0)
                transfer_fail(a, TRANSFER_FIRST_TIME, "timeout: headers, but no first byte within %" PRId64 " ms", a->call.first_ms);
        else
                transfer_fail(a, TRANSFER_IDLE_TIME, "idle timeout: nothing for %" PRId64 " ms after %" PRIu64 " bytes of the answer", a->call.idle_ms,
                             a->body_got);
}

bool transfer_path_ok(struct transfer_base *a)
{
        const char *path = a->call.path;
        size_t n = 0;
        bool ok = *path == '/' || *path == 0;

        for (; path[n]; n++)
                ok &= (unsigned char)path[n] > ' ' && (unsigned char)path[n] < 0x7f && path[n] != '#';
        if (!ok || n > PATH_MAX_BYTES)
                transfer_fail(a, TRANSFER_PROTOCOL, "the path must begin with '/', have no spaces and no '#', and at most %d bytes", PATH_MAX_BYTES);
        return ok && n <= PATH_MAX_BYTES;
}

/* ---- the header's functions --------------------------------------------------------------------------------------------- */
struct upstream *upstream_create(struct loop *loop)
{
        struct upstream *u = calloc(1, sizeof *u);

        if (!u)
                return NULL;
        u->loop = loop;
        u->tick_at = DEADLINE_NONE;
        if (evtimer_assign(&u->tick, loop->base, on_tick, u) < 0) {
                free(u);
                return NULL;
        }
        return u;
}

void upstream_destroy(struct upstream *u)
{
        if (!u)
                return;
        assert(!u->open);
        (void)evtimer_del(&u->tick);
        http1_destroy(u->http1);
        curl_destroy(u->curl);
        free(u);
}

struct transfer *upstream_open(struct upstream *u, const struct upstream_call *call, struct wake *wake)
{
        const struct transport *x = call->endpoint->plain ? &http1_transport : &curl_transport;
        struct transfer_base *a;

        assert(call->high_water > 0 && call->head_max > 0);
        a = x->open(u, call, wake);
        return a ? &a->t : NULL;
}

void upstream_consumed(struct transfer *t)
{
        struct transfer_base *a = CONTAINER_OF(t, struct transfer_base, t);

        transfer_count(a, evbuffer_get_length(t->in));
        a->transport->consumed(a);
}

void upstream_content(struct transfer *t)
{
        struct transfer_base *a = CONTAINER_OF(t, struct transfer_base, t);
        bool waits = a->content_by != DEADLINE_NONE && a->t.state == TRANSFER_HEAD;

        a->content_by = DEADLINE_NONE;
        if (waits && a->deadline_us != DEADLINE_NONE)
                transfer_deadline(a, now_us() + a->call.idle_ms * 1000);
}

void upstream_room(struct transfer *t, size_t high_water)
{
        CONTAINER_OF(t, struct transfer_base, t)->call.high_water = high_water;
}

void upstream_close(struct transfer *t)
{
        struct transfer_base *a;

        if (!t)
                return;
        a = CONTAINER_OF(t, struct transfer_base, t);
        a->transport->close(a);
}
