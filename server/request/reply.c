/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads and errors.  Header lines are put together by hand: they are written for each request, and printf would cost more than
 * parsing the request did.
 */
#include <event2/buffer.h>

#include "base.h"
#include "js.h"
#include "request_parts.h"
#include "settings.h"
#include "text.h"

enum { HEADERS_ROOM = 4096, NAME_MAX_BYTES = 64 };

/* One header line; bytes that a header may not carry become '?'. */
static void put_header(struct text *t, const char *name, size_t name_n, const char *value, size_t n)
{
        char *to;

        if (t->room - t->n < name_n + n + 4)
                return;
        text_put(t, name, name_n);
        text_put(t, ": ", 2);
        to = t->p + t->n;
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)value[i];

                to[i] = (char)(c < 0x20 || c > 0x7E ? '?' : c);
        }
        t->n += n;
        text_put(t, "\r\n", 2);
}

#define HEADER(t, name, value) put_header((t), name, sizeof(name) - 1, (value), strlen(value))

/* What pages may read of an answer's head, beside its type and length. */
static const char exposed[] = "access-control-expose-headers: x-request-id, openai-processing-ms, retry-after, x-should-retry, server-timing, "
                              "x-pointsman-expert, x-pointsman-decision, x-pointsman-answer, x-pointsman-router, x-pointsman-category, "
                              "x-pointsman-confidence, x-pointsman-reason, x-pointsman-attempts, x-pointsman-overhead-us, "
                              "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
                              "x-ratelimit-reset-requests, x-ratelimit-reset-tokens\r\n";

static void put_cors(struct request *r, struct text *t)
{
        put_header(t, "access-control-allow-origin", 27, r->head->origin.p, r->head->origin.n);
        TEXT_PUT(t, "vary: origin\r\n");
}

static bool passes(struct pm_str name)
{
        static const char ratelimit[] = "x-ratelimit-";

        if (name.n <= sizeof ratelimit || name.n > NAME_MAX_BYTES || (name.p[0] | 0x20) != 'x' ||
            strncasecmp(name.p, ratelimit, sizeof ratelimit - 1) != 0)
                return false;
        for (size_t i = sizeof ratelimit - 1; i < name.n; i++) {
                char c = name.p[i];

                if (c != '-' && (c < '0' || c > '9') && ((c | 0x20) < 'a' || (c | 0x20) > 'z'))
                        return false; /* strict clients drop an answer for one such name */
        }
        return true;
}

static const char *fallback_reason(struct request *r)
{
        const struct decision *d = &r->decision;
        const char *text = arena_printf(&r->arena, "%s%sfallback for %s", d->reason ? d->reason : "", d->reason ? "; " : "", d->expert->name);

        return text ? text : "fallback";
}

struct pm_str reply_headers(struct request *r, const struct transfer *t)
{
        const struct decision *d = &r->decision;
        const struct expert *e = r->attempt.expert ? r->attempt.expert : d->expert;
        struct text out = { .room = r->cors ? HEADERS_ROOM : HEADERS_ROOM / 2 };
        int64_t now = now_us();

        r->overhead_us = MAX(now - r->started_us - r->waited_us - r->body_us, 0);
        out.p = arena_alloc(&r->arena, out.room);
        if (!out.p)
                return (struct pm_str){ 0 };
        TEXT_PUT(&out, "x-request-id: "); /* made here: every byte of it may stand in a header */
        text_put(&out, r->id.p, r->id.n);
        TEXT_PUT(&out, "\r\nopenai-processing-ms: ");
        text_int(&out, (now - r->started_us) / 1000);
        TEXT_PUT(&out, "\r\n");
        if (e) {
                HEADER(&out, "x-pointsman-expert", e->name);
                HEADER(&out, "x-pointsman-decision", decision_how_name(d->how));
        }
        if (r->replayed)
                HEADER(&out, "x-pointsman-answer", r->replayed);
        if (d->router)
                HEADER(&out, "x-pointsman-router", d->router->name);
        if (d->category)
                HEADER(&out, "x-pointsman-category", d->category);
        if (d->confidence > 0) {
                TEXT_PUT(&out, "x-pointsman-confidence: ");
                text_thousandths(&out, (int64_t)(d->confidence * 1000 + .5)); /* 0.000 to 1.000 */
                TEXT_PUT(&out, "\r\n");
        }
        if (e && d->expert && e != d->expert) /* the reason is that of the decision */
                HEADER(&out, "x-pointsman-reason", fallback_reason(r));
        else if (d->reason)
                HEADER(&out, "x-pointsman-reason", d->reason);
        if (r->attempts) {
                TEXT_PUT(&out, "x-pointsman-attempts: ");
                text_int(&out, r->attempts);
                TEXT_PUT(&out, "\r\n");
        }
        TEXT_PUT(&out, "x-pointsman-overhead-us: ");
        text_int(&out, r->overhead_us);
        TEXT_PUT(&out, "\r\nserver-timing: parse;dur=");
        text_thousandths(&out, r->step_us[STEP_parse]);
        TEXT_PUT(&out, ", route;dur=");
        text_thousandths(&out, r->step_us[STEP_route]);
        TEXT_PUT(&out, ", expert;dur=");
        text_thousandths(&out, r->waited_us);
        TEXT_PUT(&out, "\r\nx-content-type-options: nosniff\r\n");
        if (r->cors) {
                put_cors(r, &out);
                text_put(&out, exposed, sizeof exposed - 1);
        }
        for (size_t i = 0; t && i < t->n_headers; i++)
                if (passes(t->headers[i].name))
                        put_header(&out, t->headers[i].name.p, t->headers[i].name.n, t->headers[i].value.p, t->headers[i].value.n);
        return (struct pm_str){ out.p, out.n };
}

void reply_stream_begin(struct request *r, struct http_reply head)
{
        static const char ours[] = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
        const size_t n = head.headers.n;
        char *all = arena_alloc(&r->arena, n + sizeof ours - 1);

        if (all) {
                if (n)
                        memcpy(all, head.headers.p, n);
                memcpy(all + n, ours, sizeof ours - 1);
                head.headers = (struct pm_str){ all, n + sizeof ours - 1 };
        }
        http_stream_begin(r->conn, &head, -1);
}

/*
 * Lines that only errors have.  A time is told where one is known, and with every 429 and 503 of ours.  Clients that come again by
 * themselves are told not to where we have done so already, where it cannot help, and where they would have to wait for longer than
 * they do (openai-python comes at once if it is told more than a minute).
 */
static void put_retry(struct request *r, struct text *t, int status)
{
        bool should = status != 508 && !r->no_retry && r->attempts < 2 && r->retry_after_ms <= 60000;

        if (status != 429 && status != 500 && status != 502 && status != 503 && status != 504 && status != 508)
                return;
        if (!r->no_retry && (r->retry_after_ms || status == 429 || status == 503)) {
                TEXT_PUT(t, "retry-after: ");
                text_int(t, MAX((r->retry_after_ms + 999) / 1000, 1));
                TEXT_PUT(t, "\r\n");
        }
        if (should)
                TEXT_PUT(t, "x-should-retry: true\r\n");
        else
                TEXT_PUT(t, "x-should-retry: false\r\n");
}

enum next reply_error(struct request *r, int status, const char *param, const char *code, const char *fmt, ...)
{
        struct text lines = { .room = HEADERS_ROOM + 256 };
        struct pm_str body, common;
        const char *message;
        va_list args;

        va_start(args, fmt);
        message = arena_vprintf(&r->arena, fmt, args);
        va_end(args);
        r->error = message ? message : "the gateway is out of memory";
        body = message ? r->wire->error_body(&r->arena, status, NULL, param, code, message) : (struct pm_str){ 0 };
        if (!body.p) { /* whatever it was, there is no memory to say it: asked again, there may be */
                status = 503;
                body = r->wire->no_memory_body;
        }
        r->end = r->end ? r->end : status >= 500 ? "failed" : "refused";
        r->status = status;
        common = reply_headers(r, NULL);
        lines.p = arena_alloc(&r->arena, lines.room);
        if (lines.p) {
                text_put(&lines, common.p, common.n);
                put_retry(r, &lines, status);
                if (status == 401)
                        TEXT_PUT(&lines, "www-authenticate: Bearer\r\n");
                if (status == 405 && r->api) {
                        TEXT_PUT(&lines, "allow: ");
                        if (r->api->method == H1_GET)
                                TEXT_PUT(&lines, "GET, HEAD\r\n");
                        else
                                TEXT_PUT(&lines, "POST\r\n");
                }
        }
        http_reply(r->conn, &(struct http_reply){ .status = status, .content_type = "application/json", .headers = { lines.p, lines.n } }, body);
        r->bytes_out = (int64_t)body.n;
        r->headers_sent = true;
        return request_answered(r);
}

void reply_refusal(struct request *r, const struct transfer *t, int status, struct pm_str body)
{
        struct pm_str common = reply_headers(r, t);
        struct text lines = { .room = common.n + 128 };

        lines.p = arena_alloc(&r->arena, lines.room);
        if (lines.p) {
                text_put(&lines, common.p, common.n);
                put_retry(r, &lines, status);
        }
        r->headers_sent = true;
        r->status = status;
        r->bytes_out = (int64_t)body.n;
        http_reply(r->conn, &(struct http_reply){ .status = status, .content_type = "application/json", .headers = { lines.p, lines.n } }, body);
}

/* The page may send what it has asked for: keys are looked at when it comes. */
enum next reply_preflight(struct request *r)
{
        struct pm_str wants = h1_header(r->head, "access-control-request-headers"), common = reply_headers(r, NULL);
        struct text t = { .room = HEADERS_ROOM + 256 + wants.n };

        t.p = arena_alloc(&r->arena, t.room);
        if (t.p) {
                text_put(&t, common.p, common.n);
                if (!r->api) /* the page gets to read the 404 */
                        TEXT_PUT(&t, "access-control-allow-methods: GET, HEAD, POST\r\n");
                else if (r->api->method == H1_GET)
                        TEXT_PUT(&t, "access-control-allow-methods: GET, HEAD\r\n");
                else
                        TEXT_PUT(&t, "access-control-allow-methods: POST\r\n");
                if (wants.n)
                        put_header(&t, "access-control-allow-headers", 28, wants.p, wants.n);
                if (h1_header(r->head, "access-control-request-private-network").n)
                        TEXT_PUT(&t, "access-control-allow-private-network: true\r\n");
                TEXT_PUT(&t, "access-control-max-age: ");
                text_int(&t, r->generation->settings->cors.max_age / 1000);
                TEXT_PUT(&t, "\r\n");
        }
        r->status = 204;
        r->end = "ok";
        http_reply(r->conn, &(struct http_reply){ .status = 204, .headers = { t.p, t.n } }, (struct pm_str){ "", 0 });
        r->headers_sent = true;
        return request_answered(r);
}

enum next reply_json(struct request *r, int status, struct pm_str body)
{
        r->status = status;
        r->end = "ok";
        http_reply(r->conn, &(struct http_reply){ .status = status, .content_type = "application/json", .headers = reply_headers(r, NULL) }, body);
        r->bytes_out = (int64_t)body.n;
        r->headers_sent = true;
        return request_answered(r);
}

/* ---- answers in pieces ---- */

/* Nothing of it goes out: a freeze lets nothing more in, so that what follows cannot stand there without what was lost. */
static void lose(struct evbuffer *out)
{
        (void)evbuffer_drain(out, evbuffer_get_length(out));
        (void)evbuffer_freeze(out, 0);
}

void reply_put(struct evbuffer *out, const char *p, size_t n)
{
        if (evbuffer_add(out, p, n) < 0)
                lose(out);
}

void reply_printf(struct evbuffer *out, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        if (evbuffer_add_vprintf(out, fmt, args) < 0)
                lose(out);
        va_end(args);
}

void reply_put_text(struct evbuffer *out, struct pm_str s)
{
        struct evbuffer_iovec v;

        if (evbuffer_reserve_space(out, (ev_ssize_t)(6 * s.n + 2), &v, 1) != 1) {
                lose(out);
                return;
        }
        ((char *)v.iov_base)[0] = '"';
        v.iov_len = js_escape(s, (char *)v.iov_base + 1) + 2;
        ((char *)v.iov_base)[v.iov_len - 1] = '"';
        if (evbuffer_commit_space(out, &v, 1) < 0)
                lose(out);
}

enum next reply_buffer(struct request *r, int status, const char *content_type, struct evbuffer *body)
{
        if (evbuffer_get_length(body) == 0)
                return reply_error(r, 503, NULL, NULL, "out of memory for the answer");
        r->status = status;
        r->end = "ok";
        r->bytes_out = (int64_t)evbuffer_get_length(body);
        http_reply_buffer(r->conn, &(struct http_reply){ .status = status, .content_type = content_type, .headers = reply_headers(r, NULL) }, body);
        r->headers_sent = true;
        return request_answered(r);
}
