/* SPDX-License-Identifier: Apache-2.0 */
#include "limiter.h"

#include "base.h"
#include "tenant.h"

static enum next admit(struct request *r)
{
        struct tenant *t = r->tenant;

        if (!t)
                return GO;
        if (!tenant_enter(t)) {
                metrics_count_of(r->worker->loop.metrics, METRICS_TENANT, t->metric, METRICS_AT(tenant, requests[TENANT_REFUSED]));
                return reply_error(r, 429, NULL, "rate_limit_exceeded", "tenant '%s' has %" PRId64 " in flight, which is its limit",
                                   t->name, t->max_in_flight);
        }
        metrics_count_of(r->worker->loop.metrics, METRICS_TENANT, t->metric, METRICS_AT(tenant, requests[TENANT_ADMITTED]));
        return GO;
}

static void charge(struct request *r, int64_t tokens_in, int64_t tokens_out, double cost)
{
        (void)tokens_in, (void)tokens_out, (void)cost;
        if (r->tenant)
                tenant_leave(r->tenant);
}

const struct limiter limiter_in_flight = { .admit = admit, .charge = charge };
