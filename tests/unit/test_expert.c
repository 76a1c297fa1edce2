/* SPDX-License-Identifier: Apache-2.0 */
/* URLs taken apart, turns taken, breakers opened and closed. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

#include "expert.h"

#include "base.h"

#define MS 1000
#define S 1000000

Test(expert, urls)
{
        static const struct {
                const char *url, *canonical, *host, *header, *base, *unix_path;
                unsigned port;
                bool plain;
        } good[] = {
                { "http://127.0.0.1:9001/v1", "http://127.0.0.1:9001/v1", "127.0.0.1", "127.0.0.1:9001", "/v1", NULL, 9001, true },
                { "HTTP://Example.COM/", "http://example.com", "example.com", "example.com", "", NULL, 80, true },
                { "http://example.com:80/a/b//", "http://example.com/a/b", "example.com", "example.com", "/a/b", NULL, 80, true },
                { "https://api.example.com", "https://api.example.com", "api.example.com", "api.example.com", "", NULL, 443, false },
                { "https://h:8443/v1", "https://h:8443/v1", "h", "h:8443", "/v1", NULL, 8443, false },
                { "http://[::1]:8080/v1", "http://[::1]:8080/v1", "::1", "[::1]:8080", "/v1", NULL, 8080, true },
                { "http://[2001:DB8::0]", "http://[2001:db8::]", "2001:db8::", "[2001:db8::]", "", NULL, 80, true },
                { "unix:/run/llama.sock:/v1", "unix:/run/llama.sock:/v1", "localhost", "localhost", "/v1", "/run/llama.sock", 80, false },
                { "unix:/run/llama.sock", "unix:/run/llama.sock:", "localhost", "localhost", "", "/run/llama.sock", 80, false },
                { "http://my_host.internal-1/v1", "http://my_host.internal-1/v1", "my_host.internal-1", "my_host.internal-1", "/v1", NULL, 80, true },
        };
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        for (size_t i = 0; i < LENGTH_OF(good); i++) {
                struct endpoint e;
                const char *why = "";

                cr_assert_eq(endpoint_parse(&a, good[i].url, &e, &why), 0, "%s: %s", good[i].url, why);
                cr_assert_str_eq(e.url, good[i].canonical);
                cr_assert_str_eq(e.host, good[i].host);
                cr_assert_str_eq(e.host_header, good[i].header);
                cr_assert_str_eq(e.base, good[i].base);
                cr_assert_eq(e.port, good[i].port);
                cr_assert_eq(e.plain, good[i].plain);
                cr_assert(good[i].unix_path ? e.unix_path && strcmp(e.unix_path, good[i].unix_path) == 0 : !e.unix_path);
        }
        arena_finish(&a);
}

Test(expert, urls_refused)
{
        static const struct {
                const char *url, *why;
        } bad[] = {
                { "", "expected" }, { "127.0.0.1:80", "expected" }, { "ftp://h", "expected" }, { "http:/h", "expected" },
                { "http://", "no host" }, { "http://:80", "no host" }, { "http:///v1", "no host" }, { "http://u:p@h/v1", "password" },
                { "http://u@h", "password" }, { "http://h?x=1", "query" }, { "http://h/v1?x", "query" }, { "http://h/v1#x", "fragment" },
                { "http://h#x", "fragment" }, { "http://h:0", "port" }, { "http://h:65536", "port" }, { "http://h:", "port" },
                { "http://h:8a", "port" }, { "http://h:123456", "port" }, { "http://h/\n", "control" }, { "http://h /v1", "space" },
                { "http://h\x7f", "control" }, { "http://h\xc3\xa4", "ASCII" }, { "http://::1:80", "brackets" }, { "http://[::1", "']'" },
                { "http://[::1]x", "':port'" }, { "http://[h]", "IPv6" }, { "http://[]", "no host" }, { "http://a..b", "host name" },
                { "http://a,b", "host name" }, { "http://h/a\"b", "%XX" }, { "http://h/a\\b", "%XX" }, { "unix:relative.sock", "absolute" },
                { "unix:", "absolute" }, { "unix:/s.sock:v1", "'/'" }, { "unix:/s.sock:/v1?x", "query" }, { "https://[::1%25eth0]", "IPv6" },
                { "http://.h", "host name" }, { "http://[::1]:", "port" },
        };
        struct arena a;
        char longer[3000] = "http://h/", label[100] = "http://";
        struct endpoint e = { .port = 7 };
        const char *why;

        arena_init(&a, NULL, 1 << 20);
        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                why = NULL;
                cr_assert_eq(endpoint_parse(&a, bad[i].url, &e, &why), -EINVAL, "%s", bad[i].url);
                cr_assert(why && strstr(why, bad[i].why), "%s: '%s', expected '%s'", bad[i].url, why, bad[i].why);
        }
        memset(longer + 9, 'a', sizeof longer - 10);
        cr_assert_eq(endpoint_parse(&a, longer, &e, &why), -EINVAL);
        memset(label + 7, 'a', 64);
        cr_assert_eq(endpoint_parse(&a, label, &e, &why), -EINVAL);
        snprintf(longer, sizeof longer, "unix:/%0120d", 0);
        cr_assert_eq(endpoint_parse(&a, longer, &e, &why), -EINVAL);
        cr_assert(strstr(why, "107"));
        cr_assert_eq(e.port, 7u, "touched on failure");
        arena_finish(&a);

        arena_init(&a, NULL, 8);
        cr_assert_eq(endpoint_parse(&a, "http://127.0.0.1:9001/v1", &e, &why), -ENOMEM);
        arena_finish(&a);
}

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

static struct endpoint_state *state_of(const char *url, const char *model, const char *headers, const char *ca, const char *proxy)
{
        struct endpoint p = { .url = url, .fixed_headers = str(headers), .ca = ca, .proxy = proxy };

        return endpoint_state_of(&p, model);
}

Test(expert, states_are_interned)
{
        struct endpoint_state *a = state_of("http://a", "m", "", NULL, NULL), *b = state_of("http://b", "m", "", NULL, NULL);

        cr_assert(a != b && a->slot != b->slot);
        cr_assert_eq(state_of("http://a", "m", "", NULL, NULL), a);
        cr_assert_str_eq(a->url, "http://a");
        cr_assert_eq(expert_state_of("x"), expert_state_of("x"));
        cr_assert_neq(expert_state_of("x"), expert_state_of("y"));
        cr_assert_str_eq(expert_state_of("y")->name, "y");
}

Test(expert, a_state_is_of_url_model_and_key)
{
        static const char one[] = "Authorization: Bearer 1\r\n", two[] = "Authorization: Bearer 2\r\n";
        struct endpoint_state *a = state_of("http://h:1/v1", "big", one, NULL, NULL), *model = state_of("http://h:1/v1", "mini", one, NULL, NULL);
        struct endpoint_state *key = state_of("http://h:1/v1", "big", two, NULL, NULL), *path = state_of("http://h:1/v2", "big", one, NULL, NULL);
        struct endpoint_state *port = state_of("http://h:11/v1", "big", one, NULL, NULL), *tls = state_of("https://h:1/v1", "big", one, NULL, NULL);
        struct endpoint_state *ca = state_of("https://h:1/v1", "big", one, "ca.pem", NULL), *proxy = state_of("https://h:1/v1", "big", one, NULL, "http://p");
        struct endpoint_state *socket = state_of("unix:/s.sock:/v1", "m", "", NULL, NULL);

        cr_assert_eq(state_of("http://h:1/v1", "big", one, NULL, NULL), a);
        cr_assert(a != model && a != key && a != path && model != key);
        cr_assert(a->address == model->address && a->address == key->address && a->address == path->address);
        cr_assert(a->address != port->address && a->address != tls->address && port->slot != a->slot && path->slot == a->slot);
        cr_assert(tls->address != ca->address && tls->address != proxy->address && tls != ca && tls != proxy, "what we trust, and which way we go, is no fault of others");
        cr_assert_str_eq(a->address->name, "http://h:1");
        cr_assert_str_eq(socket->address->name, "unix:/s.sock");
        cr_assert_eq(state_of("unix:/s.sock:/v2", "m", "", NULL, NULL)->address, socket->address);
}

/* ---- picking ------------------------------------------------------------------------------------------------------------ */
struct pair {
        struct expert e;
        struct endpoint p[3];
        struct endpoint *list[3];
};

static void pair_init(struct pair *x, const char *name, size_t n)
{
        char url[64];

        memset(x, 0, sizeof *x);
        for (size_t i = 0; i < n; i++) {
                snprintf(url, sizeof url, "http://%s-%zu", name, i);
                x->p[i].state = state_of(url, "m", "", NULL, NULL);
                x->list[i] = &x->p[i];
        }
        x->e = (struct expert){ .state = expert_state_of(name), .endpoints = x->list, .n_endpoints = n, .breaker_failures = 3, .breaker_open_ms = 1000 };
}

static struct endpoint *pick(struct pair *x, int64_t now)
{
        unsigned index;

        return expert_pick(&x->e, 0, now, &index);
}

static void end(struct pair *x, struct endpoint *p, enum expert_verdict v, int64_t now)
{
        expert_done(&x->e, p, v, 0, 0, now);
}

static void fail_times(struct pair *x, int n, int64_t now)
{
        for (int i = 0; i < n; i++) {
                struct endpoint *p = pick(x, now);

                cr_assert(p, "failure %d", i);
                end(x, p, EXPERT_BAD, now);
        }
}

Test(expert, turns_and_tried)
{
        struct endpoint *seen[4];
        unsigned index = 9;
        struct pair x;

        pair_init(&x, "turns", 3);
        for (size_t i = 0; i < 4; i++)
                seen[i] = pick(&x, 1);
        cr_assert(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2] && seen[0] == seen[3]);
        cr_assert_eq(x.e.state->in_flight, 4);
        cr_assert_eq(seen[0]->state->in_flight, 2);
        for (size_t i = 0; i < 4; i++)
                end(&x, seen[i], EXPERT_GOOD, 1);
        cr_assert_eq(x.e.state->in_flight, 0);
        for (size_t i = 0; i < 4; i++) {
                struct endpoint *p = expert_pick(&x.e, 5, 1, &index);

                cr_assert(p == &x.p[1] && index == 1);
                end(&x, p, EXPERT_NEUTRAL, 1);
        }
        cr_assert_null(expert_pick(&x.e, 7, 1, &index));
        cr_assert_eq(x.e.state->in_flight, 0);
}

Test(expert, limit_and_down)
{
        struct endpoint *a, *b;
        struct pair x;

        pair_init(&x, "limit", 1);
        x.e.max_in_flight = 2;
        a = pick(&x, 1);
        cr_assert(expert_available(&x.e, 1));
        b = pick(&x, 1);
        cr_assert(a && b && !pick(&x, 1) && !expert_available(&x.e, 1));
        end(&x, a, EXPERT_GOOD, 1);
        cr_assert(expert_available(&x.e, 1));
        end(&x, b, EXPERT_GOOD, 1);
        x.e.state->down = 1;
        cr_assert(!pick(&x, 1) && !expert_available(&x.e, 1));
        x.e.state->down = 0;
        cr_assert(expert_available(&x.e, 1));
}

Test(expert, breaker_opens_probes_doubles_and_closes)
{
        struct endpoint_state *s;
        struct endpoint *probe;
        int64_t now = 100 * S, wait = S;
        struct pair x;

        pair_init(&x, "breaker", 1);
        s = x.p[0].state;

        /* good answers between failures keep it closed */
        fail_times(&x, 2, now);
        end(&x, pick(&x, now), EXPERT_GOOD, now);
        fail_times(&x, 2, now);
        cr_assert(expert_available(&x.e, now));

        fail_times(&x, 1, now);
        for (int i = 0; i < 8; i++) {
                int64_t until = s->breaker.open_until_us;

                cr_assert(!expert_available(&x.e, now) && !pick(&x, now));
                cr_assert(until - now >= wait - wait / 8 && until - now <= MIN(wait + wait / 8, 30 * S), "opening %d lasts %" PRId64, i, until - now);
                cr_assert(!pick(&x, until - 1));
                now = until;
                cr_assert(expert_available(&x.e, now));
                probe = pick(&x, now);
                cr_assert(probe && !pick(&x, now) && !expert_available(&x.e, now), "exactly one probe");
                end(&x, probe, EXPERT_BAD, now);
                wait = MIN(2 * wait, 30 * S);
        }
        cr_assert_eq(s->breaker.opened, 9);

        now = s->breaker.open_until_us;
        probe = pick(&x, now);
        end(&x, probe, EXPERT_NEUTRAL, now);
        probe = pick(&x, now);
        cr_assert(probe, "a cancelled probe frees its place");
        end(&x, probe, EXPERT_GOOD, now);
        cr_assert(s->breaker.open_until_us == 0 && s->breaker.failures == 0 && s->breaker.streak == 0);

        /* the next opening is a short one again */
        fail_times(&x, 3, now);
        cr_assert_leq(s->breaker.open_until_us - now, S + S / 8);
}

Test(expert, requests_from_before_the_opening)
{
        struct endpoint *old[4];
        struct endpoint_state *s;
        int64_t now = S, until;
        struct pair x;

        pair_init(&x, "before", 1);
        s = x.p[0].state;
        for (size_t i = 0; i < 4; i++)
                old[i] = pick(&x, now);
        fail_times(&x, 3, now);
        until = s->breaker.open_until_us;
        end(&x, old[0], EXPERT_BAD, now);
        cr_assert_eq(s->breaker.open_until_us, until, "no longer for an old failure");
        end(&x, old[1], EXPERT_BAD, until + 1);
        cr_assert_eq(s->breaker.open_until_us, until);
        end(&x, old[2], EXPERT_NEUTRAL, now);
        cr_assert_eq(s->breaker.open_until_us, until);
        end(&x, old[3], EXPERT_GOOD, now);
        cr_assert_eq(s->breaker.open_until_us, 0, "a late good answer closes");
        cr_assert_eq(s->in_flight, 0);
}

Test(expert, busy_is_not_ill)
{
        int64_t now = S;
        struct pair x;

        pair_init(&x, "busy", 1);
        for (int i = 0; i < 10; i++) {
                struct endpoint *p = pick(&x, now);

                expert_done(&x.e, p, EXPERT_BUSY, 0, 2 * S, now);
                cr_assert(!pick(&x, now + 2 * S - 1) && !expert_available(&x.e, now + 2 * S - 1));
                now += 2 * S;
        }
        cr_assert_eq(x.p[0].state->breaker.opened, 0);
        expert_done(&x.e, pick(&x, now), EXPERT_BUSY, 0, 3600ll * S, now);
        cr_assert(!pick(&x, now + 59 * S) && expert_available(&x.e, now + 60ll * S), "bounded");
        now += 60ll * S;
        expert_done(&x.e, pick(&x, now), EXPERT_BUSY, 0, 0, now);
        cr_assert(expert_available(&x.e, now), "no time given: open");
}

Test(expert, other_endpoints_stand_in)
{
        struct pair x;
        unsigned index;

        pair_init(&x, "other", 2);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(expert_pick(&x.e, 2, S, &index), &x.p[0]);
                end(&x, &x.p[0], EXPERT_BAD, S);
        }
        for (int i = 0; i < 4; i++) {
                struct endpoint *p = pick(&x, S);

                cr_assert_eq(p, &x.p[1]);
                end(&x, p, EXPERT_GOOD, S);
        }
        cr_assert(expert_available(&x.e, S));
        cr_assert_null(expert_pick(&x.e, 2, S, &index));
        x.e.breaker_failures = 0;
        fail_times(&x, 20, S);
        cr_assert_eq(x.p[1].state->breaker.open_until_us, 0, "no breaker");
}

/* Two models behind one address. */
static void neighbours(struct pair *x, struct pair *y, const char *name)
{
        char url[64];

        pair_init(x, name, 1);
        *y = *x;
        snprintf(url, sizeof url, "http://%s-0", name);
        y->p[0].state = state_of(url, "another", "", NULL, NULL);
        y->list[0] = &y->p[0];
        y->e.endpoints = y->list;
        y->e.state = expert_state_of(url);
        x->e.endpoints = x->list;
}

Test(expert, a_neighbour_is_not_shut_for_what_another_does)
{
        struct pair x, y;

        neighbours(&x, &y, "flats");
        fail_times(&x, 3, S);
        cr_assert(!expert_available(&x.e, S) && expert_available(&y.e, S), "the breaker is of one model and key");
        end(&y, pick(&y, S), EXPERT_GOOD, S);
        cr_assert(!expert_available(&x.e, S), "nor opened by it");

        neighbours(&x, &y, "limits");
        expert_done(&x.e, pick(&x, S), EXPERT_BUSY, 0, 9 * S, S);
        cr_assert(!expert_available(&x.e, S) && expert_available(&y.e, S), "and so is a rate limit");
}

Test(expert, who_cannot_be_connected_to_is_an_address)
{
        struct endpoint *probe;
        struct pair x, y;
        int64_t until;

        neighbours(&x, &y, "house");
        end(&x, pick(&x, S), EXPERT_UNREACHABLE, S);
        end(&y, pick(&y, S), EXPERT_UNREACHABLE, S);
        end(&x, pick(&x, S), EXPERT_UNREACHABLE, S);
        cr_assert(!expert_available(&x.e, S) && !expert_available(&y.e, S));
        cr_assert_eq(x.p[0].state->breaker.failures, 0);
        until = x.p[0].state->address->breaker.open_until_us;
        probe = pick(&y, until);
        cr_assert(probe && !pick(&x, until) && !expert_available(&x.e, until), "one probe for all");
        end(&y, probe, EXPERT_BAD, until);
        cr_assert(expert_available(&x.e, until) && y.p[0].state->breaker.failures == 1, "it was connected to: the rest is that model's");

        fail_times(&y, 2, until);
        cr_assert(!pick(&y, until), "its own breaker is open now");
        cr_assert(pick(&x, until) && !x.p[0].state->address->breaker.probing, "and keeps no probe of the address");
}

Test(expert, doubts_count_once_for_each_conversation)
{
        struct pair x;

        pair_init(&x, "doubts", 1);
        for (int i = 0; i < 20; i++)
                end(&x, pick(&x, S), expert_doubted(&x.p[0], 7), S);
        cr_assert(expert_available(&x.e, S) && x.p[0].state->breaker.failures == 1, "one client's picture, however often it is sent");
        end(&x, pick(&x, S), EXPERT_GOOD, S);
        end(&x, pick(&x, S), expert_doubted(&x.p[0], 7), S);
        cr_assert_eq(x.p[0].state->breaker.failures, 1, "after a good answer it counts anew");
        end(&x, pick(&x, S), expert_doubted(&x.p[0], 9), S);
        cr_assert(expert_available(&x.e, S));
        end(&x, pick(&x, S), expert_doubted(&x.p[0], 11), S);
        cr_assert(!expert_available(&x.e, S), "many that fail are not to blame");
}

Test(expert, how_long_it_rests)
{
        enum expert_rest why;
        int64_t rests;
        struct pair x;

        pair_init(&x, "rests", 2);
        x.e.max_in_flight = 1;
        cr_assert_eq(expert_rests(&x.e, S, &why), 0);
        cr_assert_eq(why, EXPERT_FULL);
        x.e.max_in_flight = 0;
        for (int i = 0; i < 2; i++)
                expert_done(&x.e, pick(&x, S), EXPERT_BUSY, 0, (45ll + 3600 * i) * S, S);
        cr_assert_eq(expert_rests(&x.e, 6ll * S, &why), 40ll * S, "the first of them");
        cr_assert_eq(why, EXPERT_RATE_LIMITED);
        x.p[0].state->busy_until_us = 0;
        x.p[0].state->breaker.open_until_us = 100ll * S;
        x.p[1].state->busy_until_us = 62ll * S;
        rests = expert_rests(&x.e, 11ll * S, &why);
        cr_assert(rests == 89ll * S && why == EXPERT_FAILING);
        x.p[0].state->breaker.open_until_us = 1000000ll * S;
        cr_assert_eq(expert_rests(&x.e, 11ll * S, &why), 3635ll * S, "as it was told, though we ask again after a minute");
        x.e.state->down = 1;
        cr_assert_eq(expert_rests(&x.e, S, &why), INT64_MAX);
        cr_assert_eq(why, EXPERT_DOWN);
}

/* The breaker's state is shared by name: an expert without a breaker may meet one that another, or a former configuration, has opened. */
Test(expert, a_probe_without_a_breaker_is_given_back)
{
        struct pair x;
        struct endpoint *p;

        pair_init(&x, "lent", 1);
        fail_times(&x, 3, S);
        cr_assert(!pick(&x, S), "open");
        x.e.breaker_failures = 0;
        for (int i = 0; i < 3; i++) {
                p = pick(&x, 100ll * S);
                cr_assert_not_null(p);
                end(&x, p, EXPERT_BAD, 100ll * S);
        }
        p = pick(&x, 100ll * S);
        cr_assert_not_null(p);
        end(&x, p, EXPERT_GOOD, 100ll * S);
        cr_assert_eq(x.p[0].state->breaker.open_until_us, 0);
}

Test(expert, smoothed_first_byte)
{
        struct pair x;

        pair_init(&x, "smooth", 1);
        expert_done(&x.e, pick(&x, 1), EXPERT_GOOD, 800, 0, 1);
        cr_assert_eq(x.e.state->first_us, 800);
        expert_done(&x.e, pick(&x, 1), EXPERT_GOOD, 1600, 0, 1);
        cr_assert_eq(x.e.state->first_us, 900);
        expert_done(&x.e, pick(&x, 1), EXPERT_GOOD, 0, 0, 1);
        expert_done(&x.e, pick(&x, 1), EXPERT_BAD, 9999, 0, 1);
        cr_assert_eq(x.e.state->first_us, 900);
}

/* ---- threads ------------------------------------------------------------------------------------------------------------ */
static struct pair shared;
static _Atomic int64_t probes, most_probes;

/* All threads see the same half-open breaker at the same moments: never two probes at once. */
static void *prober(void *arg)
{
        (void)arg;
        for (int64_t now = S; now < 20000 * (int64_t)S; now += 40 * (int64_t)S) {
                struct endpoint *p = pick(&shared, now);
                int64_t n, most;

                if (!p)
                        continue;
                n = atomic_fetch_add(&probes, 1) + 1;
                most = atomic_load(&most_probes);
                while (n > most && !atomic_compare_exchange_weak(&most_probes, &most, n))
                        ;
                atomic_fetch_sub(&probes, 1);
                end(&shared, p, EXPERT_BAD, now);
        }
        return NULL;
}

static void *mixer(void *arg)
{
        uint64_t x = (uint64_t)(uintptr_t)arg + 1;

        for (int64_t now = S; now < 20000; now += 1) {
                struct endpoint *p = pick(&shared, now * S);

                x = x * 6364136223846793005u + 1442695040888963407u;
                if (p)
                        expert_done(&shared.e, p, (enum expert_verdict)((x >> 33) % 5), (int64_t)(x >> 50), (int64_t)(x >> 40), now * S);
                (void)expert_available(&shared.e, now * S);
        }
        return NULL;
}

static void run(void *(*fn)(void *arg))
{
        pthread_t t[4];

        for (size_t i = 0; i < LENGTH_OF(t); i++)
                cr_assert_eq(pthread_create(&t[i], NULL, fn, (void *)(uintptr_t)i), 0);
        for (size_t i = 0; i < LENGTH_OF(t); i++)
                pthread_join(t[i], NULL);
        cr_assert_eq(shared.e.state->in_flight, 0);
        for (size_t i = 0; i < shared.e.n_endpoints; i++)
                cr_assert_eq(shared.p[i].state->in_flight, 0);
}

Test(expert, threads_one_probe)
{
        pair_init(&shared, "probe-threads", 1);
        fail_times(&shared, 3, 0);
        run(prober);
        cr_assert_eq(most_probes, 1, "%d probes at once", (int)most_probes);
}

Test(expert, threads_mixed)
{
        pair_init(&shared, "mixed-threads", 3);
        shared.e.max_in_flight = 3;
        run(mixer);
}
