/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert.h - experts: their endpoints, health, breaker and prices.
 *
 * The description belongs to a generation and does not change.  What changes (breaker, requests in flight, smoothed times) is
 * in struct expert_state, struct endpoint_state and struct address_state: atomics, interned on the main thread, living as long as
 * the process, so that a reload forgets nothing.
 *
 * Health has two scopes.  A failure to connect belongs to the address (scheme, host and port, one proxy, one trusted CA), and so to every
 * endpoint behind it.  All other failures (5xx, resets, timeouts, 429) belong to one model, asked with one key at one URL: other models
 * there may be healthy, and each has its own rate limit.
 *
 * A 500 with an error in JSON may be the request's own fault (a picture for a model that reads text).  It counts once for each
 * conversation that met one since the last good answer, so that many must fail before all are kept away: expert_doubted().
 * A failure to connect, a reset, silence, 502, 503, 504 and anything that is not JSON count at once.
 *
 * The breaker: closed; `breaker_failures` bad ends one after another open it; after breaker_open_ms (a little jitter, doubled
 * each time the probe fails, up to 30 s) exactly one request goes through as a probe, and its end closes or opens it again.
 */
#ifndef PM_EXPERT_H
#define PM_EXPERT_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "expert_api.h"
#include "pm_router.h"

enum expert_usage { USAGE_AUTO, USAGE_ALWAYS, USAGE_NEVER };

#define EXPERT_ENDPOINTS_MAX 64 /* of one expert: the bits of expert_pick()'s `tried` */

#define EXPERT_DOUBTERS 8

struct breaker {
        _Atomic int64_t failures;          /* one after another */
        _Atomic int64_t open_until_us;     /* circuit breaker: no request before this time, by now_us(); 0: closed */
        _Atomic int64_t probing;           /* half open: one request is trying */
        _Atomic int64_t streak;            /* openings since it was last closed: the wait doubles */
        _Atomic int64_t opened;            /* how often, in all */
};

/* What is connected to. */
struct address_state {
        const char *name;                  /* "http://127.0.0.1:9001", "unix:/run/llama.sock" */
        unsigned slot;                     /* 0, 1, ...: index of a worker's connection pool */
        struct breaker breaker;            /* of failures to connect */
};

/* One model, asked with one key at one URL. */
struct endpoint_state {
        const char *url;
        struct address_state *address;
        unsigned slot;                     /* the address's */
        struct breaker breaker;            /* of all other failures */
        _Atomic int64_t busy_until_us;     /* it asked to be left alone (429, Retry-After) until then; says nothing of its health */
        _Atomic int64_t told_until_us;     /* how long it said; we ask again after a minute at the latest */
        _Atomic uint64_t doubters[EXPERT_DOUBTERS]; /* conversations whose 500 has been counted; 0: free */
        _Atomic int64_t no_usage_until_us; /* it has refused stream_options: it is not asked for usage before */
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
        const char *proxy;     /* URL; NULL: none, whatever the environment says */
        int64_t keepalive_ms, unacknowledged_ms; /* of its sockets; 0: the system's */
        int64_t idle_max;      /* kept connections of a worker, at most */
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
        enum expert_usage usage;       /* are streams asked for it where the client does not? */
        int64_t retries, max_in_flight;
        int64_t breaker_failures, breaker_open_ms; /* failures 0: no breaker */
        struct expert_drop drop;
        int metric;
};

/* Main thread: the state of that name, or of that model asked at p (its URL, ca, proxy and fixed_headers, which have the key), made if
 * need be.  NULL: no memory. */
struct expert_state *expert_state_of(const char *name);
struct endpoint_state *endpoint_state_of(const struct endpoint *p, const char *model);
/* Takes a URL apart into *ret (http, https, unix:/path:/base): scheme and host in small letters, the default port left out.
 * `plain` is true for http.  state, ca and fixed_headers are the caller's business, left empty.
 * 0, or -EINVAL or -ENOMEM with *why. */
int endpoint_parse(struct arena *a, const char *url, struct endpoint *ret, const char **why);

/* May a stream there be asked for its usage? */
bool expert_takes_usage(const struct expert *e, const struct endpoint *p, int64_t now);
/* It refused to be: not again for an hour.  False: the configuration says that it must be asked. */
bool expert_learn_no_usage(const struct expert *e, struct endpoint *p, int64_t now);
/* Would a request have a chance: an endpoint whose breaker lets it through, below the limit, not taken down?  Any thread. */
bool expert_available(const struct expert *e, int64_t now);
/* Why it is not: the administrator took it down; it was asked to be left alone; breakers are open; as many are under way as may be. */
enum expert_rest { EXPERT_DOWN, EXPERT_RATE_LIMITED, EXPERT_FAILING, EXPERT_FULL };
/* How long from now, in microseconds, until the first of its endpoints may be asked again; INT64_MAX: unknown. */
int64_t expert_rests(const struct expert *e, int64_t now, enum expert_rest *ret_why);
/*
 * The endpoint to use now, in turn among the available ones but for those in `tried` (a bit for each index); NULL: none.
 * Reserves: in_flight goes up (and a half-open breaker's probe is taken); expert_done() gives it back.
 */
struct endpoint *expert_pick(struct expert *e, uint64_t tried, int64_t now, unsigned *ret_index);

/* How an attempt ended, for the breaker: whose fault was it? */
enum expert_verdict {
        EXPERT_GOOD,      /* it answered */
        EXPERT_BAD,       /* reset, time-out, 5xx, cut: counts against the endpoint */
        EXPERT_UNREACHABLE, /* no connection: counts against the address */
        EXPERT_BUSY,      /* 429, 503 with Retry-After: alive, closed for retry_us (at most 60 s) */
        EXPERT_NEUTRAL    /* the request's own fault (4xx), or cancelled by us: says nothing */
};
/* A failure that may be the request's own: EXPERT_BAD if `who` (a hash of the conversation) is the first to be counted for it since the
 * last good answer, else EXPERT_NEUTRAL. */
enum expert_verdict expert_doubted(struct endpoint *p, uint64_t who);
/* first_us: time to the first byte of a good answer that was streamed, 0: not known. */
void expert_done(struct expert *e, struct endpoint *p, enum expert_verdict v, int64_t first_us, int64_t retry_us, int64_t now);
#endif
