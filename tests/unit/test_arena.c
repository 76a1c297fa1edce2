/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "arena.h"

#include "base.h"

static int order[8];
static size_t n_order;

static void note(void *arg)
{
        order[n_order++] = *(int *)arg;
}

Test(arena, hands_out_aligned_memory_that_does_not_overlap)
{
        struct arena a;
        unsigned char *p[400];

        arena_init(&a, NULL, SIZE_MAX);
        for (size_t i = 0; i < LENGTH_OF(p); i++) {
                size_t n = i * 7 % 300;

                p[i] = arena_alloc(&a, n);
                cr_assert_not_null(p[i]);
                cr_assert_eq((uintptr_t)p[i] % ARENA_ALIGN, 0);
                memset(p[i], (int)(i & 0xff), n);
        }
        for (size_t i = 0; i < LENGTH_OF(p); i++)
                for (size_t k = 0; k < i * 7 % 300; k++)
                        cr_assert_eq(p[i][k], i & 0xff);
        arena_finish(&a);
        cr_assert_eq(a.used, 0);
}

Test(arena, large_pieces_leave_the_open_block_in_use)
{
        struct arena a;
        char *small, *large, *next;

        arena_init(&a, NULL, SIZE_MAX);
        small = arena_alloc(&a, 16);
        large = arena_zalloc(&a, 1 << 20);
        next = arena_alloc(&a, 16);
        cr_assert(small && large && next);
        if (!ARENA_CHECKED)
                cr_assert_eq(next, small + 16);
        for (size_t i = 0; i < 1 << 20; i++)
                cr_assert_eq(large[i], 0);
        arena_finish(&a);
}

Test(arena, refuses_above_its_max_and_absurd_sizes)
{
        struct arena a;

        arena_init(&a, NULL, 1024);
        cr_assert_not_null(arena_alloc(&a, 1000));
        cr_assert_null(arena_alloc(&a, 32));
        cr_assert_not_null(arena_alloc(&a, 16));
        cr_assert_null(arena_alloc(&a, 1));
        cr_assert_null(arena_alloc(&a, SIZE_MAX));
        cr_assert_null(arena_alloc(&a, SIZE_MAX - 8));
        cr_assert_null(arena_strndup(&a, "", SIZE_MAX));
        arena_finish(&a);
        cr_assert_not_null(arena_alloc(&a, 1024), "all of it is free again");
        arena_finish(&a);
}

Test(arena, blocks_go_back_to_the_pool_up_to_its_limit)
{
        struct arena_pool pool;
        struct arena a;
        void *first;

        if (ARENA_CHECKED)
                return;
        arena_pool_init(&pool, 2);
        arena_init(&a, &pool, SIZE_MAX);
        for (int i = 0; i < 40; i++)
                cr_assert_not_null(arena_alloc(&a, 1000));
        cr_assert_not_null(arena_alloc(&a, 100000));
        arena_finish(&a);
        cr_assert_eq(pool.n, 2);
        first = arena_alloc(&a, 8);
        cr_assert_eq(pool.n, 1);
        arena_finish(&a);
        cr_assert_eq(arena_alloc(&a, 8), first, "the warm block comes first");
        arena_finish(&a);
        arena_pool_finish(&pool);
        cr_assert_eq(pool.n, 0);
}

static struct arena *again;

static int nine = 9;

static void defers_more(void *arg)
{
        note(arg);
        cr_assert_eq(arena_defer(again, note, &nine), 0);
}

Test(arena, deferred_functions_run_last_first_and_may_defer)
{
        static int one = 1, two = 2, three = 3;
        struct arena a;

        arena_init(&a, NULL, SIZE_MAX);
        again = &a;
        cr_assert_eq(arena_defer(&a, note, &one), 0);
        cr_assert_eq(arena_defer(&a, defers_more, &two), 0);
        cr_assert_eq(arena_defer(&a, note, &three), 0);
        cr_assert_eq(n_order, 0);
        arena_finish(&a);
        cr_assert_eq(n_order, 4);
        cr_assert_arr_eq(order, ((int[]){ 3, 2, 9, 1 }), 4 * sizeof(int));
}

Test(arena, a_function_that_cannot_be_deferred_runs_at_once)
{
        struct arena a;
        int five = 5;

        arena_init(&a, NULL, 8);
        cr_assert_eq(arena_defer(&a, note, &five), -ENOMEM);
        cr_assert_eq(n_order, 1);
        arena_finish(&a);
        cr_assert_eq(n_order, 1);
}

Test(arena, prints_short_and_long_text)
{
        char long_text[2000];
        struct arena a;

        arena_init(&a, NULL, SIZE_MAX);
        memset(long_text, 'x', sizeof long_text);
        long_text[sizeof long_text - 1] = '\0';
        cr_assert_str_eq(arena_printf(&a, "%s-%d", "a", 7), "a-7");
        cr_assert_str_eq(arena_printf(&a, "%s", long_text), long_text);
        cr_assert_str_eq(arena_strndup(&a, "abcdef", 3), "abc");
        cr_assert_str_eq(arena_strndup(&a, NULL, 0), "");
        cr_assert_eq(*(char *)arena_zalloc_v(&a, 1), 0);
        arena_finish(&a);
}
