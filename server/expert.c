/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert.c - where a request may go, and what its end says about the place.
 *
 * The hot path (expert_pick, expert_done) takes no lock: a closed breaker costs a few relaxed loads and the two in-flight
 * counters.  The breaker's words change in an order that lets readers on other threads err only on the careful side: a probe's
 * place is given back after the new opening time is written, and whoever takes the place looks at that time again.
 */
#include "expert.h"

#include <arpa/inet.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/un.h>

#include "base.h"

#define OPEN_MAX_US 30000000 /* a flapping expert is found again within so long */
#define BUSY_MAX_US 60000000
#define URL_MAX 2048
#define HOST_MAX 253

/* ---- states, by name ---------------------------------------------------------------------------------------------------- */
struct expert_entry {
        struct expert_entry *next;
        struct expert_state state;
        char name[];
};

struct address_entry {
        struct address_entry *next;
        struct address_state state;
        char name[];
};

struct endpoint_entry {
        struct endpoint_entry *next;
        struct endpoint_state state;
        unsigned char key[SHA256_DIGEST_LENGTH]; /* of URL, model and headers: these hold secrets, and this lives as long as the process */
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

static struct address_state *address_state_of(const char *name, size_t n)
{
        struct address_entry *x;

        for (x = addresses; x && (strncmp(x->name, name, n) != 0 || x->name[n]); x = x->next)
                ;
        if (!x) {
                x = calloc(1, sizeof *x + n + 1);
                if (!x)
                        return NULL;
                memcpy(x->name, name, n);
                x->state.name = x->name;
                x->state.slot = n_slots++;
                x->next = addresses;
                addresses = x;
        }
        return &x->state;
}

static void endpoint_key(const char *url, const char *model, struct pm_str headers, unsigned char ret[SHA256_DIGEST_LENGTH])
{
        unsigned char parts[3][SHA256_DIGEST_LENGTH];

        (void)SHA256((const unsigned char *)url, strlen(url), parts[0]);
        (void)SHA256((const unsigned char *)model, strlen(model), parts[1]);
        (void)SHA256((const unsigned char *)(headers.n ? headers.p : ""), headers.n, parts[2]);
        (void)SHA256(parts[0], sizeof parts, ret);
}

struct endpoint_state *endpoint_state_of(const char *url, const char *model, struct pm_str headers)
{
        unsigned char key[SHA256_DIGEST_LENGTH];
        size_t n = strlen(url) + 1;
        struct endpoint_entry *x;

        endpoint_key(url, model, headers, key);
        pthread_mutex_lock(&entries_lock);
        for (x = endpoints; x && memcmp(x->key, key, sizeof key) != 0; x = x->next)
                ;
        if (!x) {
                struct address_state *address = address_state_of(url, address_length(url));

                x = address ? calloc(1, sizeof *x + n) : NULL;
                if (x) {
                        memcpy(x->key, key, sizeof key);
                        memcpy(x->url, url, n);
                        x->state.url = x->url;
                        x->state.address = address;
                        x->state.slot = address->slot;
                        x->next = endpoints;
                        endpoints = x;
                }
        }
        pthread_mutex_unlock(&entries_lock);
        return x ? &x->state : NULL;
}

/* ---- URLs --------------------------------------------------------------------------------------------------------------- */
static int refuse(const char **why, const char *text)
{
        *why = text;
        return -EINVAL;
}

/* "/v1/" becomes "/v1"; what is beyond printable ASCII would have to be written as %XX. */
static int parse_base(struct arena *a, const char *p, const char **ret, const char **why)
{
        size_t n = strlen(p);

        if (strchr(p, '?'))
                return refuse(why, "a base URL has no query ('?')");
        if (strchr(p, '#'))
                return refuse(why, "a base URL has no fragment ('#')");
        if (n > 0 && *p != '/')
                return refuse(why, "the path must begin with '/'");
        for (const char *c = p; *c; c++)
                if (strchr("\"<>\\^`{|}", *c))
                        return refuse(why, "the path has a character that must be written as %XX");
        while (n > 0 && p[n - 1] == '/')
                n--;
        *ret = arena_strndup(a, p, n);
        if (!*ret) {
                *why = "no memory";
                return -ENOMEM;
        }
        return 0;
}

static int parse_port(const char *p, size_t n, unsigned *ret, const char **why)
{
        unsigned port = 0;

        if (n == 0 || n > 5)
                return refuse(why, "the port must be 1..65535");
        for (size_t i = 0; i < n; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return refuse(why, "the port must be 1..65535");
                port = port * 10 + (unsigned)(p[i] - '0');
        }
        if (port == 0 || port > 65535)
                return refuse(why, "the port must be 1..65535");
        *ret = port;
        return 0;
}

/* A name's or an IPv4 address's characters; small letters in place. */
static bool fold_name(char *p)
{
        size_t label = 0;

        for (; *p; p++) {
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
                if (*p == '.') {
                        if (label == 0)
                                return false;
                        label = 0;
                } else if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '_') {
                        if (++label > 63)
                                return false;
                } else {
                        return false;
                }
        }
        return true;
}

/* The authority: [host]:port or host:port, in [p, p + n). */
static int parse_authority(struct arena *a, const char *p, size_t n, unsigned preset, struct endpoint *e, const char **why)
{
        const char *end = p + n, *host_end, *port = NULL;
        bool brackets = n > 0 && *p == '[';
        struct in6_addr six;
        char *host;
        int r;

        if (memchr(p, '@', n))
                return refuse(why, "no user or password belongs in a URL: use 'key'");
        if (brackets) {
                host_end = memchr(p, ']', n);
                if (!host_end)
                        return refuse(why, "'[' without ']'");
                p++;
                if (host_end + 1 < end) {
                        if (host_end[1] != ':')
                                return refuse(why, "after ']' only ':port' may follow");
                        port = host_end + 2;
                }
        } else {
                host_end = memchr(p, ':', n);
                if (host_end) {
                        port = host_end + 1;
                        if (memchr(port, ':', (size_t)(end - port)))
                                return refuse(why, "an IPv6 address must be in brackets: [::1]:8080");
                } else {
                        host_end = end;
                }
        }
        if (host_end == p)
                return refuse(why, "no host name");
        if (host_end - p > HOST_MAX)
                return refuse(why, "the host name is longer than 253 characters");
        e->port = preset;
        if (port) {
                r = parse_port(port, (size_t)(end - port), &e->port, why);
                if (r < 0)
                        return r;
        }
        host = arena_strndup(a, p, (size_t)(host_end - p));
        if (!host)
                goto no_memory;
        if (brackets) {
                char text[INET6_ADDRSTRLEN];

                if (inet_pton(AF_INET6, host, &six) != 1)
                        return refuse(why, "not an IPv6 address in the brackets");
                /* the usual spelling, so that one address has one state */
                if (inet_ntop(AF_INET6, &six, text, sizeof text))
                        host = arena_strndup(a, text, strlen(text));
                if (!host)
                        goto no_memory;
        } else if (!fold_name(host)) {
                return refuse(why, "not a host name: letters, digits, '-', '_' and single dots are allowed");
        }
        e->host = host;
        if (e->port == preset)
                e->host_header = arena_printf(a, brackets ? "[%s]" : "%s", host);
        else
                e->host_header = arena_printf(a, brackets ? "[%s]:%u" : "%s:%u", host, e->port);
        if (e->host_header)
                return 0;
no_memory:
        *why = "no memory";
        return -ENOMEM;
}

/* unix:/run/llama.sock:/v1 */
static int parse_unix(struct arena *a, const char *p, struct endpoint *e, const char **why)
{
        const char *colon = strrchr(p, ':');
        size_t n = colon ? (size_t)(colon - p) : strlen(p);
        int r;

        if (*p != '/' || n < 2)
                return refuse(why, "unix: needs an absolute path: unix:/run/expert.sock:/v1");
        if (n >= sizeof ((struct sockaddr_un *)0)->sun_path)
                return refuse(why, "the socket's path is longer than a Unix socket's address can be (107)");
        r = parse_base(a, colon ? colon + 1 : "", &e->base, why);
        if (r < 0)
                return r;
        e->host = e->host_header = "localhost";
        e->port = 80;
        e->unix_path = arena_strndup(a, p, n);
        e->url = e->unix_path ? arena_printf(a, "unix:%s:%s", e->unix_path, e->base) : NULL;
        if (!e->url) {
                *why = "no memory";
                return -ENOMEM;
        }
        return 0;
}

int endpoint_parse(struct arena *a, const char *url, struct endpoint *ret, const char **why)
{
        struct endpoint e = { 0 };
        const char *rest, *path;
        bool tls;
        int r;

        if (strlen(url) > URL_MAX)
                return refuse(why, "the URL is longer than 2048 characters");
        for (const unsigned char *c = (const unsigned char *)url; *c; c++)
                if (*c <= ' ' || *c >= 0x7f)
                        return refuse(why, "the URL has a space, a control character or a letter beyond ASCII");
        if (strncasecmp(url, "unix:", 5) == 0) {
                r = parse_unix(a, url + 5, &e, why);
                if (r == 0)
                        *ret = e;
                return r;
        }
        tls = strncasecmp(url, "https://", 8) == 0;
        if (!tls && strncasecmp(url, "http://", 7) != 0)
                return refuse(why, "expected http://host:port/base, https://host/base or unix:/path.sock:/base");
        rest = url + (tls ? 8 : 7);
        path = rest + strcspn(rest, "/?#");
        r = parse_authority(a, rest, (size_t)(path - rest), tls ? 443 : 80, &e, why);
        if (r < 0)
                return r;
        r = parse_base(a, path, &e.base, why);
        if (r < 0)
                return r;
        e.plain = !tls;
        e.url = arena_printf(a, "%s://%s%s", tls ? "https" : "http", e.host_header, e.base);
        if (!e.url) {
                *why = "no memory";
                return -ENOMEM;
        }
        *ret = e;
        return 0;
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

static void breaker_close(struct breaker *b)
{
        /* A healthy endpoint's words are only read: its cache line stays shared between the workers. */
        if (get(&b->failures))
                set(&b->failures, 0);
        if (get(&b->open_until_us)) {
                set(&b->streak, 0);
                set(&b->open_until_us, 0);
                set(&b->probing, 0);
        }
}

static void breaker_count(const struct expert *e, struct breaker *b, int64_t now)
{
        int64_t failures = atomic_fetch_add(&b->failures, 1) + 1, until = get(&b->open_until_us);

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
        if (!atomic_compare_exchange_strong(&b->open_until_us, &until, now + open_time(e, b, get(&b->streak) + 1, now)))
                return; /* another thread has just opened or closed it */
        atomic_fetch_add(&b->streak, 1);
        atomic_fetch_add(&b->opened, 1);
        set(&b->probing, 0);
}

/* It has answered a request as it should, or said why not: the doubts about it were the requests' own. */
static void trust(struct endpoint_state *s)
{
        if (get(&s->breaker.failures))
                for (size_t i = 0; i < EXPERT_DOUBTERS; i++)
                        atomic_store_explicit(&s->doubters[i], 0, memory_order_relaxed);
        breaker_close(&s->breaker);
        breaker_close(&s->address->breaker);
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
                trust(s);
                if (first_us > 0) {
                        /* Two threads at once may lose one sample: it is an average. */
                        old = get(&e->state->first_us);
                        set(&e->state->first_us, old ? MAX(old + (first_us - old) / 8, 1) : first_us);
                }
                break;
        case EXPERT_BAD:
                breaker_close(&s->address->breaker);
                breaker_count(e, &s->breaker, now);
                break;
        case EXPERT_UNREACHABLE:
                breaker_count(e, &s->address->breaker, now);
                breaker_pass(&s->breaker);
                break;
        case EXPERT_BUSY:
                trust(s);
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
