/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert.c - which expert and endpoint a request goes to, and what its result says about their health.
 *
 * The hot path (expert_pick, expert_done) takes no lock: a closed breaker costs a few relaxed loads and the two in-flight
 * counters.  The breaker's fields change in an order that lets other threads err only on the safe side: the slot of the
 * half-open probe is released after the new opening time is written, and a thread that takes the slot reads that time again.
 */
#include "expert.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "log.h"
#include "sha256.h"
#include "text.h"

#define OPEN_MAX_US 30000000 /* a flapping expert is found again within so long */
#define BUSY_MAX_US 60000000
#define NO_USAGE_US INT64_C(3600000000)

/* ---- states, by name ---------------------------------------------------------------------------------------------------- */
struct expert_entry {
        struct expert_entry *next;
        struct expert_state state;
        char name[];
};

struct address_entry {
        struct address_entry *next;
        struct address_state state;
        unsigned char key[SHA256_SIZE]; /* of what is connected to, and how */
        char name[];
};

struct endpoint_entry {
        struct endpoint_entry *next;
        struct endpoint_state state;
        unsigned char key[SHA256_SIZE]; /* of URL, way, model and headers: these hold secrets, and this lives as long as the process */
        char url[];
};

static pthread_mutex_t entries_lock = PTHREAD_MUTEX_INITIALIZER;
static struct expert_entry *experts;
static struct address_entry *addresses;
static struct endpoint_entry *endpoints;
static unsigned n_slots;

struct expert_state *expert_state_of(const char *name)
{
        size_t n = strlen(name) + 1;
        struct expert_entry *x;

        pthread_mutex_lock(&entries_lock);
        for (x = experts; x && strcmp(x->name, name) != 0; x = x->next)
                ;
        if (!x) {
                x = calloc(1, sizeof *x + n);
                if (x) {
                        memcpy(x->name, name, n);
                        x->state.name = x->name;
                        x->next = experts;
                        experts = x;
                }
        }
        pthread_mutex_unlock(&entries_lock);
        return x ? &x->state : NULL;
}

/* What is connected to: scheme, host and port, or the socket's path. */
static size_t address_length(const char *url)
{
        const char *rest = strstr(url, "://"), *colon;

        if (rest)
                return (size_t)(rest - url) + 3 + strcspn(rest + 3, "/");
        colon = strrchr(url, ':'); /* unix:/path:/base */
        return colon ? (size_t)(colon - url) : strlen(url);
}

/* One number of several texts; NULL is another one than "". */
static bool key_of(const struct pm_str *parts, size_t n, unsigned char ret[SHA256_SIZE])
{
        struct sha256 sum;
        bool good;

        sha256_init(&sum);
        sha256_begin(&sum);
        for (size_t i = 0; i < n; i++) {
                sha256_bytes(&sum, parts[i].p ? "1" : "0", 1);
                sha256_text(&sum, parts[i]);
        }
        good = sha256_end(&sum, ret);
        sha256_finish(&sum);
        return good;
}

static struct address_entry *address_of(const struct endpoint *p)
{
        size_t n = address_length(p->url);
        const struct pm_str parts[] = { { p->url, n }, str_of(p->ca), str_of(p->proxy) };
        unsigned char key[SHA256_SIZE];
        struct address_entry *x;

        if (!key_of(parts, LENGTH_OF(parts), key))
                return NULL;
        for (x = addresses; x && memcmp(x->key, key, sizeof key) != 0; x = x->next)
                ;
        if (!x) {
                x = calloc(1, sizeof *x + n + 1);
                if (!x)
                        return NULL;
                memcpy(x->key, key, sizeof key);
                memcpy(x->name, p->url, n);
                x->state.name = x->name;
                x->state.slot = n_slots++;
                x->next = addresses;
                addresses = x;
        }
        return x;
}

struct endpoint_state *endpoint_state_of(const struct endpoint *p, const char *model)
{
        unsigned char key[SHA256_SIZE];
        size_t n = strlen(p->url) + 1;
        struct address_entry *address;
        struct endpoint_entry *x = NULL;

        pthread_mutex_lock(&entries_lock);
        address = address_of(p);
        if (address) {
                const struct pm_str parts[] = { { (const char *)address->key, sizeof address->key }, str_of(p->url), str_of(model), p->fixed_headers };

                if (!key_of(parts, LENGTH_OF(parts), key))
                        address = NULL;
                for (x = address ? endpoints : NULL; x && memcmp(x->key, key, sizeof key) != 0; x = x->next)
                        ;
        }
        if (address && !x) {
                x = calloc(1, sizeof *x + n);
                if (x) {
                        memcpy(x->key, key, sizeof key);
                        memcpy(x->url, p->url, n);
                        x->state.url = x->url;
                        x->state.address = &address->state;
                        x->state.slot = address->state.slot;
                        x->next = endpoints;
                        endpoints = x;
                }
        }
        pthread_mutex_unlock(&entries_lock);
        return x ? &x->state : NULL;
}

/* ---- which one ---------------------------------------------------------------------------------------------------------- */
static inline int64_t get(const _Atomic int64_t *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

static inline void set(_Atomic int64_t *word, int64_t value)
{
        atomic_store_explicit(word, value, memory_order_release);
}

static bool below_limit(const struct expert *e)
{
        return e->max_in_flight <= 0 || get(&e->state->in_flight) < e->max_in_flight;
}

/* Would the breaker let a request through, as its probe if need be? */
static bool breaker_open(const struct breaker *b, int64_t now)
{
        int64_t until = get(&b->open_until_us);

        return until != 0 && (until > now || get(&b->probing));
}

bool expert_available(const struct expert *e, int64_t now)
{
        if (get(&e->state->down) || !below_limit(e))
                return false;
        for (size_t i = 0; i < e->n_endpoints; i++) {
                const struct endpoint_state *s = e->endpoints[i]->state;

                if (get(&s->busy_until_us) <= now && !breaker_open(&s->breaker, now) && !breaker_open(&s->address->breaker, now))
                        return true;
        }
        return false;
}

int64_t expert_rests(const struct expert *e, int64_t now, enum expert_rest *ret_why)
{
        int64_t soonest = INT64_MAX;

        *ret_why = EXPERT_DOWN;
        if (get(&e->state->down))
                return soonest;
        for (size_t i = 0; i < e->n_endpoints; i++) {
                const struct endpoint_state *s = e->endpoints[i]->state;
                int64_t busy = get(&s->busy_until_us) > now ? MAX(get(&s->told_until_us), get(&s->busy_until_us)) - now : 0;
                int64_t open = MAX(get(&s->breaker.open_until_us), get(&s->address->breaker.open_until_us)) - now;
                int64_t rests = MAX(MAX(busy, open), 0);

                if (rests < soonest) {
                        soonest = rests;
                        *ret_why = rests == 0 ? EXPERT_FULL : busy >= open ? EXPERT_RATE_LIMITED : EXPERT_FAILING;
                }
        }
        return soonest;
}

bool expert_takes_usage(const struct expert *e, const struct endpoint *p, int64_t now)
{
        return e->usage == USAGE_ALWAYS || (e->usage == USAGE_AUTO && get(&p->state->no_usage_until_us) <= now);
}

bool expert_learn_no_usage(const struct expert *e, struct endpoint *p, int64_t now)
{
        if (e->usage == USAGE_ALWAYS)
                return false;
        set(&p->state->no_usage_until_us, now + NO_USAGE_US);
        return true;
}

/* Lets the breaker this request through?  If it is half open, the request becomes its probe. */
static bool enter(struct breaker *b, int64_t now)
{
        int64_t until = get(&b->open_until_us), nobody = 0;

        if (LIKELY(until == 0))
                return true;
        if (until > now || !atomic_compare_exchange_strong(&b->probing, &nobody, 1))
                return false;
        /* The last probe may have ended between the two looks. */
        until = get(&b->open_until_us);
        if (until != 0 && until <= now)
                return true;
        set(&b->probing, 0);
        return until == 0;
}

/* If a request from before the opening ends so while a probe is out, a second probe may go: harmless. */
static void breaker_pass(struct breaker *b)
{
        if (get(&b->probing))
                set(&b->probing, 0);
}

static bool enter_endpoint(struct endpoint_state *s, int64_t now)
{
        if (UNLIKELY(get(&s->busy_until_us) > now) || !enter(&s->address->breaker, now))
                return false;
        if (enter(&s->breaker, now))
                return true;
        breaker_pass(&s->address->breaker);
        return false;
}

struct endpoint *expert_pick(struct expert *e, uint64_t tried, int64_t now, unsigned *ret_index)
{
        size_t n = e->n_endpoints, first = 0;

        assert(n <= EXPERT_ENDPOINTS_MAX);
        if (get(&e->state->down))
                return NULL;
        if (atomic_fetch_add(&e->state->in_flight, 1) >= e->max_in_flight && e->max_in_flight > 0)
                goto none;
        if (n > 1)
                first = (size_t)(atomic_fetch_add_explicit(&e->state->turn, 1, memory_order_relaxed) % n);
        for (size_t k = 0; k < n; k++) {
                size_t i = first + k < n ? first + k : first + k - n;
                struct endpoint *p = e->endpoints[i];

                assert(p->state);
                if ((tried >> i & 1) || !enter_endpoint(p->state, now))
                        continue;
                atomic_fetch_add(&p->state->in_flight, 1);
                *ret_index = (unsigned)i;
                return p;
        }
none:
        atomic_fetch_sub(&e->state->in_flight, 1);
        return NULL;
}

/* ---- how it ended ------------------------------------------------------------------------------------------------------- */
/* 0.875 to 1.125 of us, so that gateways do not probe in step. */
static int64_t jitter(int64_t us, const void *who, int64_t now)
{
        uint64_t x = (uint64_t)now ^ (uint64_t)(uintptr_t)who;

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31;
        return us - us / 8 + (int64_t)(x % (uint64_t)(us / 4 + 1));
}

static int64_t open_time(const struct expert *e, const struct breaker *b, int64_t streak, int64_t now)
{
        int64_t us = MAX(e->breaker_open_ms, 1) * 1000, most = MAX(us, OPEN_MAX_US);

        for (int64_t i = 1; i < streak && us < most; i++)
                us *= 2;
        return MIN(jitter(MIN(us, most), b, now), most);
}

static void say(const struct expert *e, const struct endpoint *p, const char *what, int64_t failures, int64_t us)
{
        struct log_line l;

        log_begin(&l, NULL, PM_WARN, what);
        log_text(&l, "expert", e->name);
        log_text(&l, "endpoint", p->url);
        if (us) {
                log_int(&l, "failures", failures);
                log_int(&l, "open_ms", us / 1000);
        }
        log_end(&l);
}

static void breaker_close(const struct expert *e, const struct endpoint *p, struct breaker *b)
{
        int64_t until;

        /* A healthy endpoint's words are only read: its cache line stays shared between the workers. */
        if (get(&b->failures))
                set(&b->failures, 0);
        until = get(&b->open_until_us);
        if (until) {
                set(&b->streak, 0);
                if (atomic_compare_exchange_strong(&b->open_until_us, &until, 0)) /* one thread says so */
                        say(e, p, "circuit breaker closed: requests go to this endpoint again", 0, 0);
                set(&b->probing, 0);
        }
}

static void breaker_count(const struct expert *e, const struct endpoint *p, struct breaker *b, int64_t now)
{
        int64_t failures = atomic_fetch_add(&b->failures, 1) + 1, until = get(&b->open_until_us), us;

        if (e->breaker_failures <= 0) { /* who shares the address, or a former configuration, may have opened it */
                breaker_pass(b);
                return;
        }
        if (until == 0) {
                if (failures < e->breaker_failures)
                        return;
        } else if (until > now || !get(&b->probing)) {
                return; /* a request from before the opening: nothing new */
        }
        us = open_time(e, b, get(&b->streak) + 1, now);
        if (!atomic_compare_exchange_strong(&b->open_until_us, &until, now + us))
                return; /* another thread has just opened or closed it */
        atomic_fetch_add(&b->streak, 1);
        atomic_fetch_add(&b->opened, 1);
        set(&b->probing, 0);
        say(e, p, "circuit breaker open: no requests go to this endpoint", failures, us);
}

/* It has answered a request as it should, or said why not: the doubts about it were the requests' own. */
static void trust(const struct expert *e, const struct endpoint *p)
{
        struct endpoint_state *s = p->state;

        if (get(&s->breaker.failures))
                for (size_t i = 0; i < EXPERT_DOUBTERS; i++)
                        atomic_store_explicit(&s->doubters[i], 0, memory_order_relaxed);
        breaker_close(e, p, &s->breaker);
        breaker_close(e, p, &s->address->breaker);
}

enum expert_verdict expert_doubted(struct endpoint *p, uint64_t who)
{
        struct endpoint_state *s = p->state;

        who |= 1; /* 0: nobody */
        for (size_t i = 0; i < EXPERT_DOUBTERS; i++)
                if (atomic_load_explicit(&s->doubters[i], memory_order_relaxed) == who)
                        return EXPERT_NEUTRAL;
        /* Two threads at once may take one place: then one of the two may be counted twice. */
        atomic_store_explicit(&s->doubters[(uint64_t)get(&s->breaker.failures) % EXPERT_DOUBTERS], who, memory_order_relaxed);
        return EXPERT_BAD;
}

void expert_done(struct expert *e, struct endpoint *p, enum expert_verdict v, int64_t first_us, int64_t retry_us, int64_t now)
{
        struct endpoint_state *s = p->state;
        int64_t old;

        switch (v) {
        case EXPERT_GOOD:
                trust(e, p);
                if (first_us > 0) {
                        /* Two threads at once may lose one sample: it is an average. */
                        old = get(&e->state->first_us);
                        set(&e->state->first_us, old ? MAX(old + (first_us - old) / 8, 1) : first_us);
                }
                break;
        case EXPERT_BAD:
                breaker_close(e, p, &s->address->breaker);
                breaker_count(e, p, &s->breaker, now);
                break;
        case EXPERT_UNREACHABLE:
                breaker_count(e, p, &s->address->breaker, now);
                breaker_pass(&s->breaker);
                break;
        case EXPERT_BUSY:
                trust(e, p);
                if (retry_us > 0) {
                        set(&s->told_until_us, now + retry_us);
                        set(&s->busy_until_us, now + MIN(retry_us, BUSY_MAX_US));
                }
                break;
        case EXPERT_NEUTRAL:
                breaker_pass(&s->address->breaker);
                breaker_pass(&s->breaker);
                break;
        }
        old = atomic_fetch_sub(&s->in_flight, 1);
        assert(old > 0);
        old = atomic_fetch_sub(&e->state->in_flight, 1);
        assert(old > 0);
}
