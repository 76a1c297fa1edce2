/* SPDX-License-Identifier: Apache-2.0 */
/* The cache beside a store that does what its script says: who asks it, who waits for whom, and what a store that fails costs. */
#include <criterion/criterion.h>
#include <event2/buffer.h>
#include <event2/event.h>

#include "cache.h"
#include "cache_store.h"
#include "config.h"
#include "envelope.h"
#include "log.h"
#include "lookup.h"
#include "lru.h"
#include "memory_store.h"
#include "metrics.h"
#include "settings.h"

#include "base.h"

enum { STORE_US = 20000, PATIENT_US = 10000000 };

static const struct cache_settings settings = { .memory = 1 << 20, .vectors = 1 << 20, .redis = { .prefix = "pm:" } };
static struct generation generation = { .cache = &settings };
static const struct route route = { .name = "auto", .metric = -1 };
static struct loop loop;
static struct cache *cache;
static struct memory_store *store;
static bool store_gone;

static void begin(void)
{
        log_setup(PM_DEBUG, LOG_LOGFMT);
        cr_assert_eq(loop_init(&loop, 0, NULL, NULL), 0);
        cache = cache_create(&loop, &generation);
        store = memory_store_create(loop.base);
        store->gone = &store_gone;
        cr_assert(cache && !cache_has_store(cache) && cache_store_use(cache, &store->store));
}

static void end(void)
{
        cache_destroy(cache);
        cr_assert(store_gone, "a store goes with its cache");
        loop_finish_inbox(&loop);
        loop_finish(&loop);
}

TestSuite(cache_store, .init = begin, .fini = end, .timeout = 60);

#define UNTIL(condition)                                                                           \
        do {                                                                                       \
                for (int64_t until_ = now_us() + 20000000; !(condition) && now_us() < until_;)     \
                        (void)event_base_loop(loop.base, EVLOOP_NONBLOCK);                         \
                cr_assert(condition, "in time: %s", #condition);                                   \
        } while (0)

/* All that can happen without a wait has happened. */
static void settle(void)
{
        for (int i = 0; i < 20; i++)
                (void)event_base_loop(loop.base, EVLOOP_NONBLOCK);
}

static uint64_t counted(const char *result)
{
        struct evbuffer *out = evbuffer_new();
        char line[100];
        const char *at;
        uint64_t n;

        (void)snprintf(line, sizeof line, "pointsman_cache_lookups_total{cache=\"replies\",result=\"%s\"} ", result);
        metrics_write(out, &(struct metrics_gauges){ .workers = 1 });
        (void)evbuffer_add(out, "", 1);
        at = strstr((const char *)evbuffer_pullup(out, -1), line);
        n = at ? strtoull(at + strlen(line), NULL, 10) : 0;
        evbuffer_free(out);
        return n;
}

/* ---- lookups ------------------------------------------------------------------------------------------------------------- */

struct look {
        struct lookup l;
        struct arena arena;
        struct wake wake;
        unsigned woken;
};

static void on_woken(void *arg)
{
        struct look *k = arg;

        k->woken++;
        (void)lookup_state(&k->l);
}

static void look_ready(struct look *k, const char *text)
{
        *k = (struct look){ .wake = { .fn = on_woken, .arg = k } };
        arena_init(&k->arena, NULL, 1 << 20);
        k->l = (struct lookup){ .loop = &loop, .cache = cache, .arena = &k->arena, .owner = &k->wake, .of = METRICS_CACHE_REPLIES,
                                .store_us = STORE_US, .until_us = now_us() + PATIENT_US };
        cache_sum_begin(cache);
        cache_sum_text(cache, (struct pm_str){ text, strlen(text) });
        cr_assert(cache_sum_key(cache, &generation, CACHE_KEY_REPLY, NULL, &route, &k->arena, &k->l.key));
}

static enum lookup_state look(struct look *k)
{
        look_ready(k, "text");
        return lookup_begin(&k->l);
}

static void gone(struct look *k)
{
        lookup_cancel(&k->l);
        arena_finish(&k->arena);
}

static void computed(struct look *k, const char *value)
{
        lookup_done(&k->l, (struct pm_str){ value, value ? strlen(value) : 0 }, 60000);
}

#define STATE(k, state_) cr_assert_eq((k).l.state, state_, "%d", (int)(k).l.state)
#define FOUND(k, text, where)                                                                      \
        do {                                                                                       \
                STATE(k, LOOKUP_FOUND);                                                            \
                cr_assert_eq((k).l.from, where);                                                   \
                cr_assert((k).l.value.n == strlen(text) && memcmp((k).l.value.p, text, strlen(text)) == 0); \
        } while (0)

/* The store has a value for the key of `k`. */
static void store_has(const struct look *k, const char *value, int64_t lives_ms)
{
        char kept[100], *p = envelope_put(kept, 3, cache_now_ms() + lives_ms, k->l.key.hash);

        memcpy(p, value, strlen(value));
        memory_store_put(store, k->l.key.shared, kept, ENVELOPE_SIZE + strlen(value));
}

Test(cache_store, what_is_computed_is_in_memory_and_in_the_store)
{
        struct look a, b;
        struct memory_entry *e;

        cr_assert_eq(look(&a), LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_COMPUTE);
        cr_assert_eq(a.woken, 1);
        computed(&a, "one");
        e = memory_store_entry(store, a.l.key.shared);
        cr_assert(e && e->n == ENVELOPE_SIZE + 3 && e->lives_ms == 60000 && strncmp(e->key, "pm:r|*|auto|", 12) == 0, "%s", e ? e->key : "not there");
        cr_assert_eq(look(&b), LOOKUP_FOUND);
        FOUND(b, "one", METRICS_RECALL_LOCAL);
        cr_assert(store->reads == 1 && store->sets == 1 && counted("miss") == 1 && counted("local") == 1);
        gone(&a);
        gone(&b);
}

Test(cache_store, what_the_store_has_is_kept_here_and_not_computed)
{
        struct look a, b;

        look_ready(&a, "text");
        store_has(&a, "there", 60000);
        cr_assert_eq(lookup_begin(&a.l), LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_FOUND);
        FOUND(a, "there", METRICS_RECALL_SHARED);
        cr_assert_eq(look(&b), LOOKUP_FOUND);
        FOUND(b, "there", METRICS_RECALL_LOCAL);
        cr_assert(store->reads == 1 && store->sets == 0 && counted("shared") == 1 && counted("miss") == 0);
        gone(&a);
        gone(&b);
}

Test(cache_store, a_value_that_has_ended_or_is_not_ours_is_computed)
{
        struct look a;

        look_ready(&a, "text");
        store_has(&a, "old", -1);
        cr_assert_eq(lookup_begin(&a.l), LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_COMPUTE);
        cr_assert(counted("stale") == 1 && counted("miss") == 1);
        memory_store_put(store, a.l.key.shared, "garbage", 7);
        gone(&a);
        cr_assert_eq(look(&a), LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_COMPUTE);
        cr_assert_eq(counted("foreign"), 1);
        gone(&a);
}

/* ---- who waits for whom -------------------------------------------------------------------------------------------------- */

Test(cache_store, one_asks_and_computes_for_all)
{
        struct look leader, one, other;

        store->held = true;
        cr_assert_eq(look(&leader), LOOKUP_FETCHING);
        cr_assert_eq(look(&one), LOOKUP_JOINED);
        cr_assert_eq(look(&other), LOOKUP_JOINED);
        cr_assert(!lookup_leader_computes(&one.l));
        memory_store_let(store);
        UNTIL(leader.l.state == LOOKUP_COMPUTE);
        UNTIL(one.woken == 1 && other.woken == 1);
        STATE(one, LOOKUP_JOINED);
        cr_assert(lookup_leader_computes(&one.l), "who waits may not want to wait for that");
        gone(&other);
        computed(&leader, "told");
        UNTIL(one.l.state == LOOKUP_FOUND);
        FOUND(one, "told", METRICS_RECALL_JOINED);
        cr_assert(store->reads == 1 && store->sets == 1 && other.woken == 1 && counted("joined") == 1);
        gone(&leader);
        gone(&one);
}

Test(cache_store, what_the_store_had_is_told_to_all)
{
        struct look leader, one;

        look_ready(&leader, "text");
        store_has(&leader, "there", 60000);
        cr_assert_eq(lookup_begin(&leader.l), LOOKUP_FETCHING);
        cr_assert_eq(look(&one), LOOKUP_JOINED);
        UNTIL(one.l.state == LOOKUP_FOUND);
        FOUND(one, "there", METRICS_RECALL_JOINED);
        FOUND(leader, "there", METRICS_RECALL_SHARED);
        cr_assert_eq(store->reads, 1);
        gone(&leader);
        gone(&one);
}

Test(cache_store, other_keys_do_not_wait)
{
        struct look a, b;

        cr_assert_eq(look(&a), LOOKUP_FETCHING);
        look_ready(&b, "another text");
        cr_assert_eq(lookup_begin(&b.l), LOOKUP_FETCHING);
        gone(&a);
        gone(&b);
}

/* While the store is asked, and while it computes: another one leads, the rest waits on. */
Test(cache_store, a_leader_that_goes_is_followed_by_another)
{
        struct look first, second, third;

        store->held = true;
        cr_assert_eq(look(&first), LOOKUP_FETCHING);
        cr_assert_eq(look(&second), LOOKUP_JOINED);
        cr_assert_eq(look(&third), LOOKUP_JOINED);
        gone(&first);
        cr_assert(store->cancelled == 1 && store->under_way == 0);
        UNTIL(second.l.state == LOOKUP_FETCHING);
        STATE(third, LOOKUP_JOINED);
        memory_store_let(store);
        UNTIL(second.l.state == LOOKUP_COMPUTE);
        gone(&second);
        UNTIL(third.l.state == LOOKUP_COMPUTE);
        cr_assert_eq(store->reads, 3);
        computed(&third, "at last");
        cr_assert_eq(look(&first), LOOKUP_FOUND);
        gone(&first);
        gone(&third);
}

/* It would fail for them too, one after another: each computes for itself, at once. */
Test(cache_store, after_a_failure_nobody_waits_again)
{
        struct look leader, one, other, later;

        cr_assert_eq(look(&leader), LOOKUP_FETCHING);
        UNTIL(leader.l.state == LOOKUP_COMPUTE);
        cr_assert_eq(look(&one), LOOKUP_JOINED);
        cr_assert_eq(look(&other), LOOKUP_JOINED);
        computed(&leader, NULL);
        UNTIL(one.l.state == LOOKUP_COMPUTE && other.l.state == LOOKUP_COMPUTE);
        cr_assert_eq(store->sets, 0);
        cr_assert_eq(look(&later), LOOKUP_FETCHING, "and the next one is a leader again");
        computed(&one, "well");
        cr_assert_eq(store->sets, 1);
        gone(&leader);
        gone(&one);
        gone(&other);
        gone(&later);
}

Test(cache_store, a_wait_has_its_end)
{
        struct look leader, one;

        store->held = true;
        cr_assert_eq(look(&leader), LOOKUP_FETCHING);
        look_ready(&one, "text");
        one.l.until_us = now_us() + 30000;
        cr_assert_eq(lookup_begin(&one.l), LOOKUP_JOINED);
        UNTIL(one.l.state == LOOKUP_TIMED_OUT);
        STATE(leader, LOOKUP_FETCHING);
        memory_store_let(store);
        UNTIL(leader.l.state == LOOKUP_COMPUTE);
        computed(&leader, "late");
        settle();
        STATE(one, LOOKUP_TIMED_OUT);
        cr_assert_eq(one.woken, 1);
        gone(&leader);
        gone(&one);
}

/* A refresh asks nobody; those who come meanwhile get what it brings. */
Test(cache_store, who_leads_looks_nowhere)
{
        struct look old, fresh, meanwhile, second;

        cr_assert_eq(look(&old), LOOKUP_FETCHING);
        UNTIL(old.l.state == LOOKUP_COMPUTE);
        computed(&old, "old");
        look_ready(&fresh, "text");
        cr_assert(lookup_lead(&fresh.l));
        STATE(fresh, LOOKUP_COMPUTE);
        look_ready(&second, "text");
        cr_assert(!lookup_lead(&second.l), "one is enough");
        (void)lru_remove_prefix(cache_vectors(cache), (struct pm_str){ "", 0 });
        cr_assert_eq(look(&meanwhile), LOOKUP_JOINED);
        computed(&fresh, "fresh");
        UNTIL(meanwhile.l.state == LOOKUP_FOUND);
        FOUND(meanwhile, "fresh", METRICS_RECALL_JOINED);
        cr_assert(store->reads == 1 && store->sets == 2);
        gone(&old);
        gone(&fresh);
        gone(&second);
        gone(&meanwhile);
}

static unsigned told[4];

static void on_told(struct singleflight *f, struct pm_str value, enum singleflight_result result)
{
        (void)f, (void)value;
        told[result]++;
}

Test(cache_store, so_many_wait_and_no_more)
{
        struct singleflight leader = { .on_result = on_told }, *all = calloc(SINGLEFLIGHT_WAITERS_MAX, sizeof *all), late = { .on_result = on_told };
        struct cache_key key = { .local = { "k", 1 }, .hash = 7 };

        cr_assert_eq(singleflight_join(cache, &leader, &key, 0), SINGLEFLIGHT_LEADS);
        for (size_t i = 0; i < SINGLEFLIGHT_WAITERS_MAX; i++) {
                all[i].on_result = on_told;
                cr_assert_eq(singleflight_join(cache, &all[i], &key, 0), SINGLEFLIGHT_WAITS);
        }
        cr_assert_eq(singleflight_join(cache, &late, &key, 0), SINGLEFLIGHT_ALONE);
        singleflight_leave(cache, &late);
        cr_assert_eq(told[SINGLEFLIGHT_LEFT], 0, "it has never been there");
        singleflight_leave(cache, &all[SINGLEFLIGHT_WAITERS_MAX - 1]); /* the last, the first, and one between */
        singleflight_leave(cache, &all[0]);
        singleflight_leave(cache, &all[77]);
        cr_assert_eq(singleflight_join(cache, &late, &key, 0), SINGLEFLIGHT_WAITS);
        singleflight_end(cache, &leader, (struct pm_str){ "v", 1 }, SINGLEFLIGHT_DONE);
        cr_assert_eq(told[SINGLEFLIGHT_DONE], SINGLEFLIGHT_WAITERS_MAX - 2);
        cr_assert_eq(singleflight_join(cache, &late, &key, 0), SINGLEFLIGHT_LEADS);
        singleflight_leave(cache, &late);
        free(all);
}

/* ---- a store that fails -------------------------------------------------------------------------------------------------- */

/* It costs its time limit at most, and the value is computed. */
static void fails(enum memory_script script)
{
        struct look a;

        store->script = script;
        look_ready(&a, "text");
        store_has(&a, "there", 60000);
        cr_assert_eq(lookup_begin(&a.l), script == MEMORY_IS_UNREACHABLE ? LOOKUP_COMPUTE : LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_COMPUTE);
        cr_assert(counted("miss") == 1 && counted("foreign") == 0 && store->under_way == 0);
        computed(&a, "computed");
        gone(&a);
        cr_assert_eq(look(&a), LOOKUP_FOUND);
        FOUND(a, "computed", METRICS_RECALL_LOCAL);
        gone(&a);
}

Test(cache_store, a_store_that_has_nothing) { fails(MEMORY_HAS_NOTHING); }
Test(cache_store, a_store_that_says_an_error) { fails(MEMORY_SAYS_ERROR); }
Test(cache_store, a_store_with_something_else) { fails(MEMORY_HAS_ANOTHER); }
Test(cache_store, a_store_that_is_late) { fails(MEMORY_IS_LATE); }
Test(cache_store, a_store_that_is_lost) { fails(MEMORY_IS_LOST); }
Test(cache_store, a_store_that_cannot_be_reached) { fails(MEMORY_IS_UNREACHABLE); }

Test(cache_store, no_store_at_all)
{
        struct look a;

        cr_assert(cache_store_use(cache, NULL));
        cr_assert(!cache_has_store(cache) && !cache_store_ready(cache) && !cache_shared_pays(cache, &route));
        cr_assert_eq(look(&a), LOOKUP_COMPUTE);
        computed(&a, "here");
        gone(&a);
        cr_assert_eq(look(&a), LOOKUP_FOUND);
        gone(&a);
        cr_assert(store->reads == 0 && store->sets == 0);
}

/* A reload replaces it while it is asked: who asked it gets its reply, or goes; the next one asks the other. */
Test(cache_store, a_store_that_is_replaced)
{
        struct memory_store *other = memory_store_create(loop.base);
        struct look asks, leaves, next;

        store->held = true;
        look_ready(&asks, "text");
        store_has(&asks, "there", 60000);
        cr_assert_eq(lookup_begin(&asks.l), LOOKUP_FETCHING);
        look_ready(&leaves, "one text");
        cr_assert_eq(lookup_begin(&leaves.l), LOOKUP_FETCHING);
        cr_assert(cache_store_use(cache, &other->store));
        look_ready(&next, "another text");
        cr_assert_eq(lookup_begin(&next.l), LOOKUP_FETCHING);
        gone(&leaves);
        cr_assert(store->reads == 2 && store->cancelled == 1 && other->reads == 1);
        memory_store_let(store);
        UNTIL(asks.l.state == LOOKUP_FOUND);
        FOUND(asks, "there", METRICS_RECALL_SHARED);
        gone(&asks);
        gone(&next);
}

/* ---- shorter, and gone --------------------------------------------------------------------------------------------------- */

Test(cache_store, a_value_that_is_to_end_sooner)
{
        struct look a, b;

        cr_assert_eq(look(&a), LOOKUP_FETCHING);
        UNTIL(a.l.state == LOOKUP_COMPUTE);
        computed(&a, "one");
        lookup_shorten(&a.l, (struct pm_str){ "one", 3 }, 1000);
        cr_assert_eq(memory_store_entry(store, a.l.key.shared)->lives_ms, 1000);
        lookup_shorten(&a.l, (struct pm_str){ "one", 3 }, 50000);
        cr_assert(memory_store_entry(store, a.l.key.shared)->lives_ms == 1000 && store->sets == 2, "and never later");
        lookup_shorten(&a.l, (struct pm_str){ "one", 3 }, 0);
        cr_assert(!memory_store_entry(store, a.l.key.shared) && store->removes == 1);
        cr_assert_eq(look(&b), LOOKUP_FETCHING);
        gone(&a);
        gone(&b);
}

/* ---- lists --------------------------------------------------------------------------------------------------------------- */

static unsigned fetched;

static void on_fetched(void *arg)
{
        (void)arg;
        fetched++;
}

Test(cache_store, lists_newest_first_and_stores_without)
{
        struct cache_key key = { .shared = { "pm:h|k", 6 }, .local = { "h|k", 3 } };
        struct wake wake = { .fn = on_fetched };
        struct store_ops without = *store->store.ops;
        struct cache_fetch f = { .n_items = 0 };
        struct arena arena;

        arena_init(&arena, NULL, 1 << 20);
        cache_share_item(cache, &key, (struct pm_str){ "one", 3 }, 2, 1000);
        cache_share_item(cache, &key, (struct pm_str){ "two", 3 }, 2, 1000);
        cache_share_item(cache, &key, (struct pm_str){ "three", 5 }, 2, 1000);
        cr_assert(cache_fetch_list(cache, &f, &key, 10, &arena, &wake, STORE_US) && cache_fetching(&f));
        UNTIL(fetched == 1);
        cr_assert(!cache_fetching(&f) && f.n_items == 2 && !f.value.p);
        cr_assert(strcmp(f.items[0].p, "three") == 0 && strcmp(f.items[1].p, "two") == 0);
        cr_assert(cache_fetch_list(cache, &f, &key, 10, &arena, &wake, STORE_US));
        cache_fetch_cancel(&f);
        settle();
        cr_assert(fetched == 1 && store->cancelled == 1);
        store->script = MEMORY_HAS_ANOTHER;
        cr_assert(cache_fetch_list(cache, &f, &key, 10, &arena, &wake, STORE_US));
        UNTIL(fetched == 2);
        cr_assert(f.foreign && f.n_items == 0 && !f.value.p, "what an error says is no value");
        without.push = NULL;
        without.list = NULL;
        store->store.ops = &without;
        cache_share_item(cache, &key, (struct pm_str){ "four", 4 }, 2, 1000);
        cr_assert(!cache_fetch_list(cache, &f, &key, 10, &arena, &wake, STORE_US));
        cr_assert(store->pushes == 3 && store->lists == 3);
        arena_finish(&arena);
        cache_destroy(TAKE(cache)); /* before `without` goes */
}

/* ---- does it pay? -------------------------------------------------------------------------------------------------------- */

Test(cache_store, pays_when_computing_takes_longer_than_asking)
{
        struct route r = { .name = "auto", .metric = metrics_intern(METRICS_ROUTE, "auto"), .cache = { .levels = CACHE_LEVELS_AUTO } };

        cr_assert(cache_shared_pays(cache, &r), "until it is known");
        cache_computed(cache, &r, 200);
        cr_assert(!cache_shared_pays(cache, &r));
        cache_computed(cache, &r, 5000);
        cr_assert(cache_shared_pays(cache, &r), "twice the store's 100 us is less");
        r.cache.levels = CACHE_LEVELS_LOCAL;
        cr_assert(!cache_shared_pays(cache, &r));
        r.cache.levels = CACHE_LEVELS_SHARED;
        cache_computed(cache, &r, 1);
        cr_assert(cache_shared_pays(cache, &r));
}
