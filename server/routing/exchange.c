/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transfer whose answer is read whole.  It is tried once: a router that calls has a fraction of a second, and knows best what to do
 * without an answer.
 */
#include "exchange.h"

#include <event2/buffer.h>
#include <event2/event.h>

#include "base.h"
#include "cache.h"
#include "expert.h"
#include "header_times.h"
#include "hops.h"
#include "refusal.h"
#include "upstream.h"

enum { HASHED = 16384 };

static void ended(struct exchange *a, int status, const char *fmt, ...) PRINTF(3, 4);
static void ended(struct exchange *a, int status, const char *fmt, ...)
{
        va_list args;

        assert(!a->done);
        a->done = true;
        a->status = status;
        va_start(args, fmt);
        vsnprintf(a->error, sizeof a->error, fmt, args);
        va_end(args);
        loop_wake(&a->worker->loop, a->owner);
}

/* Gives the endpoint back and lets the transfer go. */
static void give_back(struct exchange *a, enum expert_verdict v, int64_t retry_us)
{
        struct transfer *t = TAKE(a->transfer);

        if (a->timer)
                event_free(TAKE(a->timer));
        loop_unwake(&a->worker->loop, &a->wake);
        upstream_close(t);
        if (a->endpoint)
                expert_done(a->expert, TAKE(a->endpoint), v, 0, retry_us, now_us()); /* a whole answer has no first token */
}

/* For doubts: a router's question that an expert cannot take must not shut it for everybody, however often it is asked. */
static uint64_t question(const struct exchange *a)
{
        const unsigned char *p = a->body.iov_base;
        uint64_t h = UINT64_C(14695981039346656037);

        for (size_t i = 0; i < MIN(a->body.iov_len, (size_t)HASHED); i++)
                h = (h ^ p[i]) * UINT64_C(1099511628211);
        return h ^ (uint64_t)a->body.iov_len << 32;
}

/* A reply that is not a 2xx is judged as a client's would be. */
static void refused(struct exchange *a)
{
        const struct transfer *t = a->transfer;
        int64_t told = header_retry_ms(t->headers, t->n_headers, t->status == 429, cache_now_ms() / 1000);
        enum expert_verdict v = EXPERT_NEUTRAL;
        struct refusal f;

        refusal_read(t->status, told >= 0, a->reply, a->endpoint->fixed_headers, a->arena, &f);
        if (f.kind == REFUSAL_BUSY)
                v = EXPERT_BUSY;
        else if (f.kind == REFUSAL_DOUBT)
                v = expert_doubted(a->endpoint, question(a));
        else if (f.kind == REFUSAL_FAULT && t->status >= 400)
                v = EXPERT_BAD;
        give_back(a, v, MAX(told, 0) * 1000);
        ended(a, PM_EUPSTREAM, "'%s' answered %d%s%s", a->expert->name, a->http_status, f.message ? ": " : "", f.message ? f.message : "");
}

static void take_reply(struct exchange *a)
{
        struct transfer *t = a->transfer;
        size_t n = evbuffer_get_length(t->in);
        char *p;
        int code = t->status;

        p = arena_alloc(a->arena, n + 1);
        if (!p) {
                give_back(a, EXPERT_NEUTRAL, 0);
                ended(a, PM_ETOOBIG, "out of memory for a reply of %zu bytes", n);
                return;
        }
        evbuffer_remove(t->in, p, n);
        p[n] = 0;
        a->http_status = code;
        a->reply = (struct pm_str){ p, n };
        if (code < 200 || code > 299) {
                refused(a);
                return;
        }
        give_back(a, EXPERT_GOOD, 0);
        ended(a, PM_OK, "%s", "");
}

static void on_change(void *arg)
{
        struct exchange *a = arg;
        struct transfer *t = a->transfer;

        if (a->done)
                return;
        if (evbuffer_get_length(t->in) > a->max_reply) {
                give_back(a, EXPERT_NEUTRAL, 0);
                ended(a, PM_ETOOBIG, "the reply is longer than %zu bytes", a->max_reply);
                return;
        }
        switch (t->state) {
        case TRANSFER_OPENING:
        case TRANSFER_HEAD:
                return;
        case TRANSFER_DONE:
                take_reply(a);
                return;
        case TRANSFER_FAILED:
                break;
        }

        bool slow = t->error == TRANSFER_FIRST_TIME || t->error == TRANSFER_IDLE_TIME || t->error == TRANSFER_CONNECT_TIME;
        bool ours = transfer_error_is_ours(t->error);
        char why[sizeof t->error_text];

        snprintf(why, sizeof why, "%s", t->error_text);
        give_back(a, ours ? EXPERT_NEUTRAL : t->error == TRANSFER_CONNECT || t->error == TRANSFER_CONNECT_TIME ? EXPERT_UNREACHABLE : EXPERT_BAD, 0);
        ended(a, ours ? PM_EBUSY : slow ? PM_ETIMEOUT : PM_EUNREACHABLE, "'%s': %s", a->expert->name, why);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct exchange *a = arg;

        (void)fd;
        (void)what;
        if (a->done)
                return;
        give_back(a, EXPERT_NEUTRAL, 0); /* our limit, not necessarily the expert's fault */
        ended(a, PM_ETIMEOUT, "'%s' did not answer in time", a->expert->name);
}

void exchange_start(struct exchange *a, struct worker *w, struct arena *arena, struct wake *owner, struct expert *e,
                    const char *path, struct pm_str body, int64_t timeout_ms, size_t max_reply)
{
        static const char headers[] = "Content-Type: application/json\r\nAccept: application/json\r\n";
        char *lines = arena_alloc(arena, sizeof headers + HOPS_LINE_MAX);
        struct timeval limit = { timeout_ms / 1000, (timeout_ms % 1000) * 1000 };
        union { const char *from; void *to; } bytes = { body.p };
        unsigned index;

        *a = (struct exchange){ .worker = w, .arena = arena, .owner = owner, .expert = e, .max_reply = max_reply };
        a->wake = (struct wake){ .fn = on_change, .arg = a };
        a->body = (struct iovec){ bytes.to, body.n };
        if (!lines) {
                ended(a, PM_EBUSY, "out of memory for a request");
                return;
        }
        memcpy(lines, headers, sizeof headers - 1);
        a->endpoint = expert_pick(e, 0, now_us(), &index);
        if (!a->endpoint) {
                ended(a, PM_EUNREACHABLE, "no endpoint of '%s' is available", e->name);
                return;
        }
        /* The transfer's limits are the expert's own, so that passing them says something about it; ours is the timer. */
        a->timer = evtimer_new(w->loop.base, on_time, a);
        if (!a->timer || evtimer_add(a->timer, &limit) < 0) {
                give_back(a, EXPERT_NEUTRAL, 0);
                ended(a, PM_EBUSY, "out of memory for a timer");
                return;
        }
        a->transfer = upstream_open(w->upstream,
                                    &(struct upstream_call){ .endpoint = a->endpoint, .path = path,
                                                             .headers = { lines, sizeof headers - 1 + hops_line((struct pm_str){ 0 }, lines + sizeof headers - 1) },
                                                             .body = &a->body, .n_body = 1, .connect_ms = e->connect_ms,
                                                             .first_ms = e->answer_ms, .idle_ms = e->idle_ms,
                                                             .high_water = max_reply + 1, .head_max = 65536 },
                                    &a->wake);
        if (!a->transfer) {
                give_back(a, EXPERT_NEUTRAL, 0);
                ended(a, PM_EBUSY, "out of memory for a transfer");
        }
}

void exchange_cancel(struct exchange *a)
{
        if (!a->worker)
                return;
        give_back(a, EXPERT_NEUTRAL, 0);
        loop_unwake(&a->worker->loop, a->owner);
        a->done = true;
}
