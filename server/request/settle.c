/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 7: everything that is counted, kept and said when a request is over: metrics, what Redis is to know, the router's outcome, one log
 * line.
 */
#include "base.h"
#include "limiter.h"
#include "loader.h"
#include "log.h"
#include "stages.h"
#include "tenant.h"

static double cost_of(const struct expert *e, int64_t in, int64_t out)
{
        return (e->price_in * (double)MAX(in, 0) + e->price_out * (double)MAX(out, 0)) / 1e6;
}

/* A whole answer's first byte comes when all of it is there: it is no first token. */
static int64_t first_token_us(const struct request *r)
{
        return r->query.stream && r->first_token ? r->first_token - r->started_us : 0;
}

static void observe(struct request *r, const struct expert *e, double cost, int64_t total_us)
{
        const struct router *router = r->decision.router;
        struct pm_outcome o = {
                .size = sizeof o, .id = r->id, .expert = e ? e->name : NULL, .category = r->decision.category, .http_status = r->status,
                .tokens_in = r->tokens_in, .tokens_out = r->tokens_out, .total_ms = (double)total_us / 1000, .cost = cost,
                .first_token_ms = (double)first_token_us(r) / 1000,
                .complete = r->end && strcmp(r->end, "ok") == 0,
        };

        struct loader_call before;

        if (!router || !router->table->observe || !e)
                return;
        before = loader_enter(router->name, "observe");
        router->table->observe(router->self, &o);
        loader_leave(before);
}

static void log_request(struct request *r, const struct expert *e, int64_t total_us)
{
        static const char *const keys[STEPS] = {
#define X(step, metric, help) #step "_us",
                REQUEST_STEPS(X)
#undef X
        };
        const struct decision *d = &r->decision;
        struct pm_str client_id = h1_header(r->head, "x-client-request-id");
        struct log_line l;

        log_begin(&l, r->worker->loop.log, PM_INFO, "request");
        log_str(&l, "id", r->id);
        log_str(&l, "client_id", client_id);
        log_text(&l, "tenant", r->tenant ? r->tenant->name : NULL);
        log_str(&l, "method", r->head->method_text);
        log_str(&l, "path", r->head->path);
        log_str(&l, "model", r->query.model);
        log_text(&l, "route", r->route ? r->route->name : NULL);
        log_text(&l, "router", d->router ? d->router->name : NULL);
        log_text(&l, "category", d->category);
        if (d->confidence > 0)
                log_real(&l, "confidence", d->confidence);
        if (e) {
                log_text(&l, "expert", e->name);
                log_text(&l, "decision", decision_how_name(d->how));
                log_int(&l, "attempts", r->attempts);
        } else if (r->replayed) {
                log_text(&l, "expert", d->expert->name);
                log_text(&l, "answer", r->replayed);
        }
        log_int(&l, "status", r->status);
        if (r->query.stream)
                log_text(&l, "stream", "true");
        log_int(&l, "bytes_in", (int64_t)r->body_n);
        log_int(&l, "bytes_out", r->bytes_out);
        if (r->tokens_in >= 0)
                log_int(&l, "tokens_in", r->tokens_in);
        if (r->tokens_out >= 0)
                log_int(&l, "tokens_out", r->tokens_out);
        if (first_token_us(r))
                log_int(&l, "ttft_us", first_token_us(r));
        log_int(&l, "total_us", total_us);
        for (int i = 0; i < STEP_settle; i++)
                if (r->step_us[i])
                        log_int(&l, keys[i], r->step_us[i]);
        log_text(&l, "client", http_peer(r->conn));
        log_text(&l, "end", r->end);
        log_text(&l, "error", r->error);
        log_end(&l);
}

enum next request_settle(struct request *r)
{
        static const enum metrics_step metric_of[STEPS] = {
#define X(step, metric, help) [STEP_##step] = metric,
                REQUEST_STEPS(X)
#undef X
        };
        struct metrics_shard *m = r->worker->loop.metrics;
        const struct expert *e = r->attempt.expert ? r->attempt.expert : r->attempts ? r->decision.expert : NULL;
        int64_t total = now_us() - r->started_us;
        double cost = 0;

        if (!r->end)
                r->end = "ok";
        if (r->waits_since)
                r->waited_us += now_us() - r->waits_since;
        recall_settle(r);
        for (int i = 0; i < STEP_settle; i++)
                if (r->step_us[i])
                        metrics_time(m, METRICS_AT(plain, steps[metric_of[i]]), r->step_us[i]);
        metrics_time(m, METRICS_AT(plain, total), total);
        metrics_time(m, METRICS_AT(plain, overhead), MAX(r->headers_sent ? r->overhead_us : total - r->waited_us - r->body_us, 0));
        if (first_token_us(r))
                metrics_time(m, METRICS_AT(plain, first_token), first_token_us(r));
        metrics_request(m, r->api ? r->api->metric : METRICS_OTHER, r->status);
        if (e) {
                cost = cost_of(e, r->tokens_in, r->tokens_out);
                if (r->tokens_in >= 0 || r->tokens_out >= 0)
                        metrics_tokens(m, e->metric, MAX(r->tokens_in, 0), MAX(r->tokens_out, 0), cost);
                observe(r, e, cost, total);
        }
        if (UNLIKELY(r->stages != NULL))
                stages_settle(r, e, cost);
        if (r->admission == ADMITTED)
                r->worker->limiter->charge(r, r->tokens_in, r->tokens_out, cost);
        if (r->generation->log_requests && log_wants(PM_INFO))
                log_request(r, e, total);
        return DONE;
}
