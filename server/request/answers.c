/* SPDX-License-Identifier: Apache-2.0 */
/* As bytes: answer_codec.h. */
#include "answers.h"

#include <event2/buffer.h>

#include "answer_codec.h"
#include "base.h"
#include "lru.h"
#include "request_parts.h"
#include "stages.h"
#include "tenant.h"

void answers_key(struct request *r)
{
        const struct query *q = &r->query;
        const struct route_cache *rc = &r->route->cache;
        struct cache *c = r->worker->cache;
        unsigned char api = (unsigned char)q->api;

        if (!r->wire->repeats || !r->wire->repeats(q))
                return;
        cache_sum_begin(c);
        cache_sum_bytes(c, rc->fingerprint, sizeof rc->fingerprint);
        cache_sum_bytes(c, rc->answers_fingerprint, sizeof rc->answers_fingerprint);
        if (r->tenant && r->tenant->experts)
                cache_sum_bytes(c, r->tenant->fingerprint, sizeof r->tenant->fingerprint);
        cache_sum_bytes(c, &api, 1);
        cache_sum_text(c, q->body);
        if (r->tenant && (rc->reads & PM_READS_TENANT || rc->n_routers < r->route->n_routers)) /* what the routers go by, or may */
                cache_sum_text(c, (struct pm_str){ r->tenant->name, strlen(r->tenant->name) });
        for (size_t i = 0; i < rc->n_headers; i++)
                cache_sum_text(c, h1_header(r->head, rc->headers[i]));
        for (size_t i = 0; i < r->generation->n_stages; i++) /* what is kept has been through them */
                cache_sum_text(c, (struct pm_str){ r->generation->stages[i]->name, strlen(r->generation->stages[i]->name) });
        (void)cache_sum_key(c, r->generation, CACHE_KEY_ANSWER, rc->share_all ? NULL : r->tenant, r->route, &r->arena, &r->recall.answer);
}

/* ---- told again ---------------------------------------------------------------------------------------------------------- */

/* What an answer of this request has. */
static struct pm_str type_of(const struct request *r)
{
        return r->query.stream ? (struct pm_str){ r->wire->stream_type, strlen(r->wire->stream_type) } : (struct pm_str){ "application/json", 16 };
}

static bool same(struct pm_str a, struct pm_str b)
{
        return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Events up to the one that ends the stream, and nothing after it. */
static bool read_stream(const struct wire *w, struct evbuffer *in, struct reading *x)
{
        struct stream_event e;
        struct facts f;

        stream_reader_init(&x->reader, evbuffer_get_length(in) + 1);
        while (w->read_event(&x->reader, in, false, &e, &f) == 1) {
                if (e.done)
                        return e.raw.n == evbuffer_get_length(in);
                if (e.data.n > 0) {
                        if (!f.json || f.error)
                                return false;
                        reading_add(x, &f);
                        if (f.closes && !w->done.n)
                                return e.raw.n == evbuffer_get_length(in);
                }
                evbuffer_drain(in, e.raw.n);
        }
        return false;
}

/* Who else writes to Redis, and what it has lost, is not known here: what it gives is proved as an expert's answer is. */
static bool is_answer(const struct request *r, struct pm_str body)
{
        struct reading x = READING_NONE;
        struct evbuffer *copy;
        struct facts f;
        bool good;

        if (r->query.stream) {
                copy = evbuffer_new(); /* the reader joins lines in place */
                good = copy && evbuffer_add(copy, body.p, body.n) == 0 && read_stream(r->wire, copy, &x);
                if (copy)
                        evbuffer_free(copy);
        } else {
                good = !r->wire->read_answer(body, r->wire->api, &f);
                reading_add(&x, &f);
        }
        return good && r->wire->is_all(&x, &r->query);
}

static void tell(struct request *r, struct pm_str body)
{
        struct http_reply head = { .status = 200, .content_type = type_of(r).p, .headers = reply_headers(r, NULL) };

        r->status = 200;
        r->end = "ok";
        r->headers_sent = true;
        r->bytes_out = (int64_t)body.n;
        if (!r->query.stream) {
                http_reply(r->conn, &head, body);
        } else {
                reply_stream_begin(r, head);
                http_stream_data(r->conn, body.p, body.n);
                http_stream_end(r->conn, true);
        }
        (void)request_answered(r);
}

bool answers_recall(struct request *r, const struct pm_str *shared)
{
        const struct cache_key *key = &r->recall.answer;
        struct lru *lru = cache_answers(r->worker->cache);
        enum metrics_recall how = METRICS_RECALL_FOREIGN;
        int64_t now_ms = cache_now_ms();
        struct cached_answer kept;
        struct pm_str value;
        struct expert *e = NULL;

        if (!key->local.p)
                return false;
        if (shared)
                value = *shared;
        else if (!lru_get(lru, key->hash, key->local, now_ms, &value, NULL))
                return false;
        if (answer_decode(value, &kept) == 0 && kept.key == key->hash && same(kept.type, type_of(r)) && (e = generation_expert(r->generation, kept.expert)) &&
            route_may_use(r->route, r->tenant, r->query.api, e) && (!shared || is_answer(r, kept.body)))
                how = kept.ends_ms > now_ms ? (shared ? METRICS_RECALL_SHARED : METRICS_RECALL_LOCAL) : METRICS_RECALL_STALE;
        metrics_count(r->worker->loop.metrics, METRICS_AT(plain, lookups[METRICS_CACHE_ANSWERS][how]));
        if (how != METRICS_RECALL_SHARED && how != METRICS_RECALL_LOCAL)
                return false;
        if (shared) {
                (void)lru_put(lru, key->hash, key->local, value, kept.ends_ms, now_ms);
                cache_publish(r->worker->cache);
        }
        r->decision = (struct decision){ .how = shared ? DECISION_CACHED_SHARED : DECISION_CACHED_LOCAL, .expert = e };
        r->replayed = shared ? "cached-shared" : "cached-local";
        metrics_count_of(r->worker->loop.metrics, METRICS_ROUTE, r->route->metric, METRICS_AT(route, decided[r->decision.how]));
        tell(r, kept.body);
        return true;
}

/* ---- kept ---------------------------------------------------------------------------------------------------------------- */

void answers_record(struct request *r, struct pm_str bytes)
{
        if (!r->recall.answer.local.p)
                return;
        if (!r->recorded)
                r->recorded = evbuffer_new();
        if (!r->recorded || evbuffer_get_length(r->recorded) + bytes.n > (size_t)r->route->cache.answer_size ||
            evbuffer_add(r->recorded, bytes.p, bytes.n) < 0)
                r->recall.answer = (struct cache_key){ .hash = 0 }; /* too long, or no memory: not kept */
}

static bool whole(const struct request *r)
{
        return r->recorded && !r->decision.provisional && r->streaming == r->query.stream && r->status == 200 && r->end && strcmp(r->end, "ok") == 0 && r->attempt.expert && !r->replayed;
}

void answers_settle(struct request *r)
{
        const struct cache_key *key = &r->recall.answer;
        int64_t lives, now_ms;
        struct cached_answer kept;
        size_t n;
        char *out;

        if (!key->local.p || !whole(r))
                return;
        lives = r->route->cache.answers_ms;
        now_ms = cache_now_ms();
        kept = (struct cached_answer){ .ends_ms = now_ms + lives, .key = key->hash, .type = type_of(r), .body.n = evbuffer_get_length(r->recorded),
                                       .expert = { r->attempt.expert->name, strlen(r->attempt.expert->name) } };
        n = answer_encoded_size(&kept);
        out = arena_alloc(&r->arena, n);
        if (!out)
                return;
        (void)evbuffer_copyout(r->recorded, answer_encode(&kept, out), kept.body.n);
        (void)lru_put(cache_answers(r->worker->cache), key->hash, key->local, (struct pm_str){ out, n }, kept.ends_ms, now_ms);
        cache_publish(r->worker->cache);
        cache_share(r->worker->cache, key, (struct pm_str){ out, n }, lives);
}
