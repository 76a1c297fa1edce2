/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - what was asked and how it ended.
 *
 * Tests compare what reached an expert with what a client sent, byte for byte: so a request is kept as it came, headers in order and
 * in their case, the body as base64. The journal is a ring of at most --log requests and MAX_KEPT bytes, the oldest go first.
 */
#include "mock.h"

#define MAX_KEPT (128u << 20)
#define MAX_CANCELLED 1024

void buf_add(struct buf *b, const void *p, size_t n)
{
        if (b->n + n + 1 > b->cap) {
                b->cap = MAX(b->cap * 2, b->n + n + 256);
                b->p = realloc(b->p, b->cap);
                assert(b->p);
        }
        if (n)
                memcpy(b->p + b->n, p, n);
        b->n += n;
        b->p[b->n] = 0;
}

void buf_str(struct buf *b, const char *s)
{
        buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
        char small[1024];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(small, sizeof small, fmt, ap);
        va_end(ap);
        assert(n >= 0 && (size_t)n < sizeof small); /* long things go in by buf_add */
        buf_add(b, small, (size_t)n);
}

void buf_json(struct buf *b, const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];

                if (c == '"' || c == '\\')
                        buf_add(b, (char[]){ '\\', (char)c }, 2);
                else if (c < 0x20)
                        buf_printf(b, "\\u%04x", c);
                else
                        buf_add(b, &s[i], 1);
        }
}

void buf_base64(struct buf *b, const void *data, size_t n)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const unsigned char *p = data;

        for (size_t i = 0; i < n; i += 3) {
                unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
                char q[4] = { digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63] };

                if (i + 2 >= n)
                        q[3] = '=';
                if (i + 1 >= n)
                        q[2] = '=';
                buf_add(b, q, 4);
        }
}

void buf_free(struct buf *b)
{
        free(b->p);
        *b = (struct buf){ 0 };
}

/* ---- the ring --------------------------------------------------------------------------------------------------------------- */

struct entry {
        int64_t seq, conn, at;
        const struct expert *expert;
        char method[16];
        struct buf target, heads, body;
        int status;
        size_t events, bytes;
        const char *ended; /* a constant */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *ring; /* options.log entries; seq % options.log is an entry's place */
static int64_t next_seq = 1, first_seq = 1;
static size_t kept;

static struct gone {
        const struct expert *expert;
        int64_t seq, at;
        size_t events, bytes;
} gone[MAX_CANCELLED];
static size_t gone_n; /* ever; the last MAX_CANCELLED are kept */

static void forget(struct entry *e)
{
        kept -= e->heads.n + e->body.n + e->target.n;
        buf_free(&e->heads);
        buf_free(&e->body);
        buf_free(&e->target);
        *e = (struct entry){ 0 };
}

int64_t journal_request(const struct expert *x, int64_t conn, const char *method, const char *target, size_t target_n,
                        const char *heads, size_t heads_n, const void *body, size_t body_n)
{
        struct entry *e;
        int64_t seq;

        if (options.log == 0)
                return 0;
        pthread_mutex_lock(&lock);
        if (!ring)
                ring = calloc((size_t)options.log, sizeof *ring);
        assert(ring);
        while (first_seq < next_seq && (next_seq - first_seq >= options.log || kept + body_n > MAX_KEPT))
                forget(&ring[first_seq++ % options.log]);
        seq = next_seq++;
        e = &ring[seq % options.log];
        *e = (struct entry){ .seq = seq, .conn = conn, .at = unix_us(), .expert = x, .ended = "running" };
        (void)snprintf(e->method, sizeof e->method, "%s", method);
        buf_add(&e->target, target, target_n);
        buf_add(&e->heads, heads, heads_n);
        buf_add(&e->body, body, body_n);
        kept += target_n + heads_n + body_n;
        pthread_mutex_unlock(&lock);
        return seq;
}

void journal_outcome(int64_t seq, int status, size_t events, size_t bytes, const char *ended)
{
        if (seq == 0)
                return;
        pthread_mutex_lock(&lock);
        if (ring && seq >= first_seq && seq < next_seq) {
                struct entry *e = &ring[seq % options.log];

                e->status = status;
                e->events = events;
                e->bytes = bytes;
                e->ended = ended;
        }
        pthread_mutex_unlock(&lock);
}

void journal_cancelled(struct expert *x, int64_t seq, size_t events, size_t bytes)
{
        atomic_fetch_add(&x->cancelled, 1);
        pthread_mutex_lock(&lock);
        gone[gone_n++ % MAX_CANCELLED] = (struct gone){ .expert = x, .seq = seq, .at = unix_us(), .events = events, .bytes = bytes };
        pthread_mutex_unlock(&lock);
}

/* Header bytes need not be UTF-8, JSON strings must be: what is not becomes Latin-1. */
static json_t *text(const char *s)
{
        json_t *j = json_string(s);
        struct buf b = { 0 };

        if (j)
                return j;
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if (c < 0x80)
                        buf_add(&b, s, 1);
                else
                        buf_add(&b, (char[]){ (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)) }, 2);
        }
        j = json_string(b.p ? b.p : "");
        buf_free(&b);
        return j;
}

static json_t *heads_json(const struct buf *heads)
{
        json_t *list = json_array();
        const char *p = heads->p, *end = p + heads->n;

        while (p && p < end) {
                const char *name = p, *value = name + strlen(name) + 1;
                json_t *pair = json_array();

                if (value >= end) {
                        json_decref(pair);
                        break;
                }
                json_array_append_new(pair, text(name));
                json_array_append_new(pair, text(value));
                json_array_append_new(list, pair);
                p = value + strlen(value) + 1;
        }
        return list;
}

json_t *journal_log(void)
{
        json_t *list = json_array();

        pthread_mutex_lock(&lock);
        for (int64_t s = first_seq; s < next_seq && ring; s++) {
                struct entry *e = &ring[s % options.log];
                CLEANUP(buf_free) struct buf body = { 0 };

                buf_add(&body, "", 0);
                buf_base64(&body, e->body.p, e->body.n);
                json_array_append_new(
                        list, json_pack("{s:I s:I s:s s:f s:s s:o s:o s:s s:i s:I s:I s:s}", "seq", (json_int_t)e->seq,
                                        "conn", (json_int_t)e->conn, "expert", e->expert->name, "at", (double)e->at / 1e6,
                                        "method", e->method, "target", text(e->target.p), "headers", heads_json(&e->heads),
                                        "body_base64", body.p, "status", e->status, "events", (json_int_t)e->events, "bytes",
                                        (json_int_t)e->bytes, "ended", e->ended));
        }
        pthread_mutex_unlock(&lock);
        return json_pack("{s:o}", "requests", list);
}

json_t *journal_stats(void)
{
        json_t *experts = json_object(), *list = json_array();
        long open = 0, accepted = 0, requests = 0;

        for (int i = 0; i < options.port_n; i++) {
                struct expert *e = &options.ports[i];
                json_t *o = json_pack("{s:i s:b s:I s:I s:I s:I s:I s:I}", "port", e->port, "tls", e->tls, "open",
                                      (json_int_t)e->open, "accepted", (json_int_t)e->accepted, "requests",
                                      (json_int_t)e->requests, "in_flight", (json_int_t)e->in_flight, "max_in_flight",
                                      (json_int_t)e->max_in_flight, "cancelled", (json_int_t)e->cancelled);

                open += e->open;
                accepted += e->accepted;
                requests += e->requests;
                json_object_set_new(experts, e->name, o);
        }
        pthread_mutex_lock(&lock);
        for (size_t i = gone_n > MAX_CANCELLED ? gone_n - MAX_CANCELLED : 0; i < gone_n; i++) {
                struct gone *g = &gone[i % MAX_CANCELLED];

                json_array_append_new(list, json_pack("{s:s s:I s:f s:I s:I}", "expert", g->expert->name, "seq",
                                                      (json_int_t)g->seq, "at", (double)g->at / 1e6, "events",
                                                      (json_int_t)g->events, "bytes", (json_int_t)g->bytes));
        }
        pthread_mutex_unlock(&lock);
        return json_pack("{s:I s:I s:I s:o s:o}", "open", (json_int_t)open, "accepted", (json_int_t)accepted, "requests",
                         (json_int_t)requests, "cancelled", list, "experts", experts);
}

void journal_reset(void)
{
        pthread_mutex_lock(&lock);
        while (first_seq < next_seq)
                forget(&ring[first_seq++ % options.log]);
        gone_n = 0;
        pthread_mutex_unlock(&lock);
        for (int i = 0; i < options.port_n; i++) {
                struct expert *e = &options.ports[i];

                e->accepted = e->requests = e->cancelled = 0;
                e->max_in_flight = (long)e->in_flight;
        }
}

void journal_free(void)
{
        journal_reset();
        free(ring);
        ring = NULL;
}
