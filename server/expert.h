/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert.h - experts: their endpoints, health, breaker and prices.
 *
 * The description belongs to a generation and does not change.  What changes (breaker, requests in flight, smoothed times) is
 * in struct expert_state and struct endpoint_state: atomics, interned by name and by URL on the main thread, living as long as
 * the process, so that a reload forgets nothing.
 *
 * The breaker: closed; `breaker_failures` bad ends one after another open it; after breaker_open_ms (a little jitter, doubled
 * each time the probe fails, up to 30 s) exactly one request goes through as a probe, and its end closes or opens it again.
 */
#ifndef PM_EXPERT_H
#define PM_EXPERT_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "pm_router.h"

enum expert_api { EXPERT_CHAT = 1, EXPERT_COMPLETIONS = 2, EXPERT_RESPONSES = 4, EXPERT_EMBEDDINGS = 8 };

#define EXPERT_ENDPOINTS_MAX 64 /* of one expert: the bits of expert_pick()'s `tried` */

struct endpoint_state {
        const char *url;
        unsigned slot;                     /* 0, 1, ...: index of a worker's connection pool */
        _Atomic int64_t failures;          /* one after another */
        _Atomic int64_t open_until_us;     /* breaker: nobody goes there before, by now_us(); 0: closed */
        _Atomic int64_t busy_until_us;     /* it asked to be left alone (429, Retry-After) until then; says nothing of its health */
        _Atomic int64_t probing;           /* half open: one request is trying */
        _Atomic int64_t streak;            /* openings since it was last closed: the wait doubles */
        _Atomic int64_t opened;            /* how often, in all */
        _Atomic int64_t in_flight;
};

/* Where requests are sent: one base URL, taken apart. */
struct endpoint {
        struct endpoint_state *state;
        const char *url;       /* "http://127.0.0.1:9001/v1", no slash at the end */
        bool plain;            /* by the plain transport */
        const char *host;      /* for Host: and connect, without brackets */
        unsigned port;
        const char *base;      /* "/v1" or "" */
        const char *unix_path; /* NULL: TCP */
        const char *ca;        /* PEM file, NULL: the system's */
        const char *host_header; /* "127.0.0.1:9001" */
        struct pm_str fixed_headers; /* ready-made lines: "Authorization: Bearer ...\r\nX-Title: ...\r\n" */
};

struct expert_state {
        const char *name;
        _Atomic int64_t in_flight;
        _Atomic int64_t first_us;      /* smoothed time to the first byte; 0: none yet */
        _Atomic int64_t down;          /* set by the administrator */
        _Atomic uint64_t turn;         /* which endpoint is next */
};

/* Members of bodies that do not reach an expert: as the inside of JSON strings. */
struct expert_drop {
        const struct pm_str *names;
        size_t n;
};

struct expert {
        struct expert_state *state;
        const char *name;              /* what clients and routers call it */
        const char *model;             /* what the upstream calls it */
        struct endpoint **endpoints;
        size_t n_endpoints;            /* at most EXPERT_ENDPOINTS_MAX */
        unsigned apis;                 /* enum expert_api, or'ed */
        double price_in, price_out;    /* USD per million tokens */
        int64_t context;               /* tokens; 0: not configured */
        int64_t connect_ms, first_token_ms, answer_ms, idle_ms; /* first_token_ms: streams; answer_ms: whole answers */
        int64_t retries, max_in_flight;
        int64_t breaker_failures, breaker_open_ms; /* failures 0: no breaker */
        struct expert_drop drop;
        int metric;
};

/* Main thread: the state of that name or URL, made if need be.  NULL: no memory. */
struct expert_state *expert_state_of(const char *name);
struct endpoint_state *endpoint_state_of(const char *url);
/* Takes a URL apart into *ret (http, https, unix:/path:/base): scheme and host in small letters, the default port left out.
 * `plain` is true for http.  state, ca and fixed_headers are the caller's business, left empty; state is that of ret->url.
 * 0, or -EINVAL or -ENOMEM with *why. */
int endpoint_parse(struct arena *a, const char *url, struct endpoint *ret, const char **why);

/* Would a request have a chance: an endpoint whose breaker lets it through, below the limit, not taken down?  Any thread. */
bool expert_available(const struct expert *e, int64_t now);
/*
 * The endpoint to use now, in turn among the available ones but for those in `tried` (a bit for each index); NULL: none.
 * Reserves: in_flight goes up (and a half-open breaker's probe is taken); expert_done() gives it back.
 */
struct endpoint *expert_pick(struct expert *e, uint64_t tried, int64_t now, unsigned *ret_index);

/* How an attempt ended, for the breaker: whose fault was it? */
enum expert_verdict {
        EXPERT_GOOD,      /* it answered */
        EXPERT_BAD,       /* connect, reset, time-out, 5xx, cut: counts against the endpoint */
        EXPERT_BUSY,      /* 429, 503 with Retry-After: alive, closed for retry_us (at most 60 s) */
        EXPERT_NEUTRAL    /* the request's own fault (4xx), or cancelled by us: says nothing */
};
/* first_us: time to the first byte of a good answer, 0: not known. */
void expert_done(struct expert *e, struct endpoint *p, enum expert_verdict v, int64_t first_us, int64_t retry_us, int64_t now);
#endif
