/* SPDX-License-Identifier: Apache-2.0 */
/* What was taken together, by hand; and with weights whose products are nothing, or more than a float holds. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "cooccurrence.h"

static struct cooccurrence a;

static void make(struct sparse_cell *cell, size_t n, size_t users, size_t items, struct cooccurrence_settings s)
{
        struct sparse m;

        cr_assert_eq(sparse_create(users, items, cell, n, &m), 0);
        cr_assert_eq(cooccurrence_make(&m, &s, &a), 0);
        sparse_finish(&m);
}

/* What a catalogue's check asks of it. */
static void is_sound(size_t items)
{
        for (size_t i = 0; i < items; i++) {
                cr_assert_leq(a.start[i], a.start[i + 1]);
                cr_assert(isfinite(a.best[i]) && a.best[i] >= 0);
                for (uint64_t k = a.start[i]; k < a.start[i + 1]; k++) {
                        cr_assert(a.of[k] < items && a.of[k] != i);
                        cr_assert(k == a.start[i] ? a.part[k] == 65535 : a.part[k] <= a.part[k - 1]);
                        for (uint64_t j = a.start[i]; j < k; j++)
                                cr_assert_neq(a.of[j], a.of[k], "item %zu has %u twice", i, a.of[k]);
                }
        }
}

Test(cooccurrence, a_small_one_by_hand)
{
        struct sparse_cell cell[] = { { 0, 0, 1 }, { 0, 1, 1 }, { 1, 0, 1 }, { 1, 1, 1 }, { 1, 2, 1 }, { 2, 2, 1 } };

        make(cell, LENGTH_OF(cell), 3, 3, (struct cooccurrence_settings){ 0, 0, 2, 100, 1 }); /* without exponents: common users */
        is_sound(3);
        cr_assert_eq(a.start[1] - a.start[0], 2);
        cr_assert_eq(a.of[0], 1);
        cr_assert_float_eq((double)a.best[0], 2, 1e-6);
        cr_assert_eq(a.of[1], 2);
        cr_assert_eq(a.part[1], 32768);
        cooccurrence_finish(&a);
}

/* 40 users, each of whom holds a product that is 0 as a float: 40 times "not seen before" was put down beyond the row's end. */
Test(cooccurrence, weights_whose_product_is_nothing)
{
        enum { USERS = 40, ITEMS = 4 };
        static const float little[] = { 1e-30f, 1e-45f, 1e30f };

        for (size_t w = 0; w < LENGTH_OF(little); w++)
                for (double exponent = 0; exponent <= 1; exponent += .5) {
                        struct sparse_cell cell[USERS * ITEMS];

                        for (uint32_t i = 0; i < USERS * ITEMS; i++)
                                cell[i] = (struct sparse_cell){ i / ITEMS, i % ITEMS, i % ITEMS ? little[w] : 1 };
                        make(cell, LENGTH_OF(cell), USERS, ITEMS, (struct cooccurrence_settings){ exponent, exponent, 3, 1000, 1 });
                        is_sound(ITEMS);
                        cooccurrence_finish(&a);
                }
}
