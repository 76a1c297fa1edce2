/* SPDX-License-Identifier: Apache-2.0 */
/* The cache against a plain list that does the same slowly; then the shared_cache, which are sixteen of them with locks. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "history_codec.h"
#include "lru.h"
#include "shared_cache.h"

#include "base.h"

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

/* Spreads as a digest would, and collides in its low bits on purpose every eighth time. */
static uint64_t hash_of(uint64_t n)
{
        uint64_t h = (n + 1) * UINT64_C(0x9E3779B97F4A7C15);

        h ^= h >> 29;
        h *= UINT64_C(0xBF58476D1CE4E5B9);
        return n % 8 == 0 ? h & ~UINT64_C(0xFFFF) : h ^ h >> 32;
}

Test(lru, keeps_what_was_put_last)
{
        struct lru *l = lru_create(1 << 16);
        struct pm_str v;
        int64_t ends;

        cr_assert_not_null(l);
        cr_expect_not(lru_get(l, 1, str("a"), 0, &v, NULL));
        cr_expect_eq(lru_put(l, 1, str("a"), str("one"), 100, 0), 0);
        cr_expect_eq(lru_put(l, 1, str("b"), str("two"), 200, 0), 0, "the same hash is another key");
        cr_assert(lru_get(l, 1, str("a"), 99, &v, &ends));
        cr_expect(v.n == 3 && memcmp(v.p, "one", 3) == 0 && ends == 100);
        cr_expect_eq(lru_put(l, 1, str("a"), str(""), 300, 0), 0);
        cr_assert(lru_get(l, 1, str("a"), 250, &v, NULL));
        cr_expect_eq(v.n, 0, "an empty value is one");
        cr_expect_eq(lru_counts(l).entries, 2);
        cr_expect(lru_remove(l, 1, str("a")));
        cr_expect_not(lru_remove(l, 1, str("a")));
        cr_expect_not(lru_get(l, 1, str("a"), 0, &v, NULL));
        lru_destroy(l);
        lru_destroy(NULL);
}

Test(lru, what_has_expired_is_not_there)
{
        struct lru *l = lru_create(1 << 16);
        struct pm_str v;

        cr_assert_eq(lru_put(l, 7, str("a"), str("x"), 1000, 0), 0);
        cr_expect(lru_get(l, 7, str("a"), 999, &v, NULL));
        cr_expect_not(lru_get(l, 7, str("a"), 1000, &v, NULL));
        cr_expect_eq(lru_counts(l).entries, 0);
        cr_expect_eq(lru_counts(l).bytes, 0);
        cr_expect_eq(lru_counts(l).expired, 1);
        /* the old that nobody asks for go while new ones come */
        for (uint64_t i = 0; i < 100; i++)
                cr_assert_eq(lru_put(l, hash_of(i), (struct pm_str){ (const char *)&i, sizeof i }, str("v"), 10, 0), 0);
        for (uint64_t i = 100; i < 200; i++)
                cr_assert_eq(lru_put(l, hash_of(i), (struct pm_str){ (const char *)&i, sizeof i }, str("v"), 1000, 20), 0);
        cr_expect_eq(lru_counts(l).entries, 100);
        cr_expect_eq(lru_counts(l).evicted, 0);
        lru_destroy(l);
}

Test(lru, is_bounded_and_gives_up_what_was_used_longest_ago)
{
        enum { BYTES = 20000, KEYS = 400, TURNS = 20000, VALUE = 40 };
        struct lru *l = lru_create(BYTES);
        static uint64_t used[KEYS]; /* the turn in which each was used last; 0: never */
        unsigned random = 1, hits = 0;
        char value[VALUE];
        size_t each = 0;

        memset(value, 'v', sizeof value);
        for (uint64_t turn = 1; turn <= TURNS; turn++) {
                uint64_t k;
                struct pm_str key = { (const char *)&k, sizeof k }, v;
                size_t newer = 0;

                random = random * 1103515245 + 12345;
                k = (random >> 16) % KEYS;
                for (size_t i = 0; i < KEYS; i++)
                        newer += used[i] > used[k];
                if (lru_get(l, hash_of(k), key, 0, &v, NULL)) {
                        hits++;
                        cr_assert(used[k] && v.n == VALUE);
                        cr_assert_lt(newer, BYTES / each, "it is among the newest that fit");
                } else {
                        if (each)
                                cr_assert(!used[k] || newer + 1 >= BYTES / each, "%zu newer ones, and it was gone", newer);
                        cr_assert_eq(lru_put(l, hash_of(k), key, (struct pm_str){ value, sizeof value }, 1, 0), 0);
                        each = each ? each : lru_counts(l).bytes;
                }
                used[k] = turn;
                cr_assert_leq(lru_counts(l).bytes, BYTES);
        }
        cr_expect_gt(hits, TURNS / 8);
        cr_expect_gt(lru_counts(l).evicted, 100);
        lru_bound(l, BYTES / 4);
        cr_expect_leq(lru_counts(l).bytes, BYTES / 4);
        cr_expect_gt(lru_counts(l).entries, 0);
        lru_bound(l, 1 << 20); /* a longer table: everything is found in it */
        hits = 0;
        for (uint64_t k = 0; k < KEYS; k++) {
                struct pm_str v;

                hits += lru_get(l, hash_of(k), (struct pm_str){ (const char *)&k, sizeof k }, 0, &v, NULL);
        }
        cr_expect_eq(hits, lru_counts(l).entries);
        lru_destroy(l);
}

Test(lru, refuses_what_is_too_large)
{
        struct lru *l = lru_create(4000), *none = lru_create(0);
        char large[1000] = { 0 };
        struct pm_str v;

        cr_expect_eq(lru_put(l, 1, str("k"), str("small"), 1, 0), 0);
        cr_expect_eq(lru_put(l, 1, str("k"), (struct pm_str){ large, sizeof large }, 1, 0), -E2BIG);
        cr_expect_not(lru_get(l, 1, str("k"), 0, &v, NULL), "what it was to replace is gone");
        cr_expect_eq(lru_put(none, 1, str("k"), str("v"), 1, 0), -E2BIG);
        cr_expect_not(lru_get(none, 1, str("k"), 0, &v, NULL));
        lru_destroy(l);
        lru_destroy(none);
}

Test(lru, removes_by_beginning)
{
        struct lru *l = lru_create(1 << 20);
        struct pm_str v;

        for (unsigned i = 0; i < 100; i++) {
                char key[32];

                (void)snprintf(key, sizeof key, "%s|auto|%u", i % 3 ? "acme" : "acm", i);
                cr_assert_eq(lru_put(l, hash_of(i), str(key), str("v"), 1, 0), 0);
        }
        cr_expect_eq(lru_remove_prefix(l, str("acme|other|")), 0);
        cr_expect_eq(lru_remove_prefix(l, str("acme|")), 66);
        cr_expect(lru_get(l, hash_of(0), str("acm|auto|0"), 0, &v, NULL));
        cr_expect_eq(lru_remove_prefix(l, str("")), 34);
        cr_expect_eq(lru_counts(l).bytes, 0);
        lru_destroy(l);
}

/* ---- shared_cache ---------------------------------------------------------------------------------------------------------------- */

Test(shared_cache, are_the_processs)
{
        struct arena a;
        struct pm_str v;

        arena_init(&a, NULL, 1 << 20);
        shared_cache_put(SHARED_CACHE_PINS, 1, str("a"), str("x"), 100, 0);
        cr_expect_not(shared_cache_get(SHARED_CACHE_PINS, 1, str("a"), 0, &a, &v), "there is no room for any yet");
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_PINS, 1 << 20), 0);
        for (uint64_t i = 0; i < 16; i++)
                shared_cache_put(SHARED_CACHE_PINS, i << 60, str("a"), str("value"), 100, 0);
        for (uint64_t i = 0; i < 16; i++) {
                cr_assert(shared_cache_get(SHARED_CACHE_PINS, i << 60, str("a"), 99, &a, &v));
                cr_expect(v.n == 5 && memcmp(v.p, "value", 5) == 0);
        }
        cr_expect_eq(shared_cache_counts(SHARED_CACHE_PINS).entries, 16);
        shared_cache_remove(SHARED_CACHE_PINS, (uint64_t)3 << 60, str("a"));
        cr_expect_not(shared_cache_get(SHARED_CACHE_PINS, (uint64_t)3 << 60, str("a"), 0, &a, &v));
        cr_expect_eq(shared_cache_remove_prefix(SHARED_CACHE_PINS, str("a")), 15);
        cr_expect_eq(shared_cache_counts(SHARED_CACHE_PINS).entries, 0);
        shared_cache_put(SHARED_CACHE_PINS, 1, str("b"), str("x"), 100, 0);
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_PINS, 0), 0);
        cr_expect_eq(shared_cache_counts(SHARED_CACHE_PINS).entries, 0);
        arena_finish(&a);
}

static void *use_pins(void *arg)
{
        uint64_t n = (uint64_t)(uintptr_t)arg;
        struct arena a;
        struct pm_str v;

        arena_init(&a, NULL, SIZE_MAX);
        for (unsigned i = 0; i < 20000; i++) {
                uint64_t h = hash_of(i % 64 + 1);
                char key[16], value[32];

                (void)snprintf(key, sizeof key, "k%u", i % 64);
                (void)snprintf(value, sizeof value, "%s:%" PRIu64, key, n);
                if (i % 3 == n % 3)
                        shared_cache_put(SHARED_CACHE_PINS, h, str(key), str(value), 10, 0);
                else if (shared_cache_get(SHARED_CACHE_PINS, h, str(key), 0, &a, &v))
                        cr_assert(v.n > strlen(key) && memcmp(v.p, key, strlen(key)) == 0 && v.p[strlen(key)] == ':', "whole, and this key's");
        }
        arena_finish(&a);
        return NULL;
}

Test(shared_cache, from_many_threads)
{
        pthread_t t[4];

        cr_assert_eq(shared_cache_bound(SHARED_CACHE_PINS, 1 << 14), 0); /* small: entries go all the time */
        for (uintptr_t i = 0; i < LENGTH_OF(t); i++)
                cr_assert_eq(pthread_create(&t[i], NULL, use_pins, (void *)i), 0);
        for (size_t i = 0; i < LENGTH_OF(t); i++)
                (void)pthread_join(t[i], NULL);
        cr_expect_leq(shared_cache_counts(SHARED_CACHE_PINS).bytes, 1 << 14);
}

Test(shared_cache, lists_have_the_newest_first_and_an_end)
{
        struct pm_str texts[8], v;
        char item[16], long_item[4000];
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        memset(long_item, 'i', sizeof long_item);
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_HISTORIES, 16 << 20), 0);
        for (int i = 1; i <= 5; i++) {
                (void)snprintf(item, sizeof item, "item-%d", i);
                shared_cache_push(SHARED_CACHE_HISTORIES, 7, str("u"), str(item), 3, 100, 0);
        }
        cr_assert(shared_cache_get(SHARED_CACHE_HISTORIES, 7, str("u"), 0, &a, &v));
        cr_assert_eq(history_decode(v, texts, LENGTH_OF(texts)), 3);
        cr_expect(memcmp(texts[0].p, "item-5", 6) == 0 && memcmp(texts[2].p, "item-3", 6) == 0);
        cr_expect_eq(history_decode(v, texts, 2), 2, "no more than there is room for");
        cr_expect_eq(history_decode((struct pm_str){ v.p, v.n - 1 }, texts, 8), 2, "a cut list ends before what is cut");
        cr_expect_not(shared_cache_get(SHARED_CACHE_HISTORIES, 7, str("u"), 100, &a, &v), "until it ends");
        cr_expect_eq(shared_cache_counts(SHARED_CACHE_PINS).entries, 0, "pins are something else");
        for (int i = 0; i < 40; i++)
                shared_cache_push(SHARED_CACHE_HISTORIES, 7, str("u"), (struct pm_str){ long_item, sizeof long_item }, 1000, 100, 0);
        cr_assert(shared_cache_get(SHARED_CACHE_HISTORIES, 7, str("u"), 0, &a, &v));
        cr_expect_leq(v.n, 65536);
        cr_expect_gt(v.n, 60000);
        arena_finish(&a);
}
