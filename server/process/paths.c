/* SPDX-License-Identifier: Apache-2.0 */
/* All our paths, and the answers about the process itself: health and metrics. */
#include <event2/buffer.h>

#include "apis.h"
#include "base.h"
#include "gateway.h"
#include "openai.h"
#include "paths.h"
#include "watchdog.h"

static enum next healthz(struct request *r)
{
        static const char ok[] = "{\"status\":\"ok\"}";

        return reply_json(r, 200, (struct pm_str){ ok, sizeof ok - 1 });
}

/* Ready: serving, not draining, no worker hangs, and at least one expert could take a request. */
static enum next readyz(struct request *r)
{
        static const char ok[] = "{\"status\":\"ready\"}";
        int64_t now = now_us();

        if (!gateway_ready(r->worker->gateway))
                return reply_error(r, 503, NULL, "draining", "the gateway is shutting down");
        if (watchdog_hanging() > 0)
                return reply_error(r, 503, NULL, "worker_hangs", "a worker is blocked; see the log");
        for (size_t i = 0; i < r->generation->n_experts; i++)
                if (expert_available(r->generation->experts[i], now))
                        return reply_json(r, 200, (struct pm_str){ ok, sizeof ok - 1 });
        return reply_error(r, 503, NULL, "no_expert", "no expert is available");
}

/* With tenants, numbers with their names are the operator's: on the administrative listener. */
static enum next metrics(struct request *r)
{
        struct metrics_gauges gauges = { 0 };
        struct evbuffer *out;
        enum next n;

        if (r->generation->tenants)
                return reply_error(r, 403, NULL, "admin_only", "with tenants configured, /metrics is served by the administrative listener only");
        out = evbuffer_new();
        if (!out)
                return reply_error(r, 503, NULL, NULL, "out of memory for the answer");
        gateway_gauges(r->worker->gateway, &gauges);
        if (metrics_write(out, &gauges) < 0)
                n = reply_error(r, 503, NULL, NULL, "out of memory for the answer");
        else
                n = reply_buffer(r, 200, "text/plain; version=0.0.4; charset=utf-8", out);
        evbuffer_free(out);
        return n;
}

/* In the order of their traffic; the first that fits is taken. */
static const struct api all[] = {
        { .path = "/v1/chat/completions", .method = H1_POST, .wire = &openai_chat, .metric = METRICS_CHAT, .kind = &request_chat },
        { .path = "/v1/completions", .method = H1_POST, .wire = &openai_completions, .metric = METRICS_COMPLETIONS, .kind = &request_chat },
        { .path = "/v1/responses", .method = H1_POST, .wire = &openai_responses, .metric = METRICS_RESPONSES, .kind = &request_chat },
        { .path = "/v1/embeddings", .method = H1_POST, .wire = &openai_embeddings, .metric = METRICS_EMBEDDINGS, .kind = &embeddings_kind },
        { .path = "/v1/recommend", .method = H1_POST, .metric = METRICS_RECOMMEND, .kind = &recommend_kind },
        { .path = "/v1/feedback", .method = H1_POST, .metric = METRICS_FEEDBACK, .kind = &feedback_kind },
        { .path = "/v1/route", .method = H1_POST, .metric = METRICS_ROUTE_API, .kind = &explain_kind },
        { .path = "/v1/models", .method = H1_GET, .metric = METRICS_OTHER, .answer = models_list },
        { .path = "/v1/models/", .prefix = true, .method = H1_GET, .metric = METRICS_OTHER, .answer = models_one },
        { .path = "/healthz", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .answer = healthz },
        { .path = "/readyz", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .answer = readyz },
        { .path = "/metrics", .method = H1_GET, .metric = METRICS_OTHER, .open = true, .answer = metrics },
};

const struct api *paths_all(size_t *ret_n)
{
        *ret_n = LENGTH_OF(all);
        return all;
}
