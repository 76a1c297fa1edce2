/* SPDX-License-Identifier: Apache-2.0 */
/* Inner products, tallies, and the search of cells against looking at everything. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "cells.h"
#include "dot.h"
#include "noise.h"
#include "tally.h"

#define DIM 37 /* no multiple of anything: the ends of the fast loops are reached */
#define CELLS 20
#define N 2000

static float vector[N][DIM], centre[CELLS][DIM], scale[N];
static int8_t code[N][DIM];
static uint32_t start[CELLS + 1], near[CELLS][CELLS];
static struct cells cells = { DIM, N, CELLS, CELLS, start, centre[0], near[0], vector[0], code[0], scale };

static void draw(float *v, uint64_t seed, uint64_t row, const float *around, float spread)
{
        for (size_t k = 0; k < DIM; k++)
                v[k] = (around ? around[k] : 0) + spread * (float)(noise_uniform(noise_bits(seed, row, k)) - .5);
        (void)dot_normalise(v, DIM);
}

static void invent(void)
{
        for (size_t c = 0; c < CELLS; c++) {
                draw(centre[c], 1, c, NULL, 1);
                start[c] = (uint32_t)(c * 95); /* the last 100 are in no cell */
                for (size_t k = 0; k < CELLS; k++)
                        near[c][k] = (uint32_t)((c + k) % CELLS);
        }
        start[CELLS] = CELLS * 95;
        for (size_t i = 0; i < N; i++) {
                draw(vector[i], 2, i, i < start[CELLS] ? centre[i / 95] : NULL, .5);
                scale[i] = dot_quantise(vector[i], DIM, code[i]);
        }
}

TestSuite(cells, .init = invent);

Test(cells, inner_products)
{
        for (size_t n = 0; n <= DIM; n++) {
                double sum = 0;
                int32_t whole = 0;

                for (size_t k = 0; k < n; k++) {
                        sum += (double)vector[3][k] * (double)vector[4][k];
                        whole += code[3][k] * code[4][k];
                }
                cr_assert_float_eq((double)dot_floats(vector[3], vector[4], n), sum, 1e-6);
                cr_assert_eq(dot_bytes(code[3], code[4], n), whole);
        }
        {
                int8_t least[256];

                memset(least, -128, sizeof least);
                cr_assert_eq(dot_bytes(least, least, sizeof least), 256 * 128 * 128);
        }
}

Test(cells, exact_search_is_exact)
{
        struct cells_room *room;
        struct cells_hit hit[10];

        cr_assert_eq(cells_room_create(&cells, &room), 0);
        for (size_t q = 0; q < 50; q++) {
                float query[DIM];

                draw(query, 3, q, NULL, 1);
                cr_assert_eq(cells_search(&cells, query, CELLS_NONE, SIZE_MAX, 10, room, hit), 10);
                for (size_t i = 0; i < 10; i++) {
                        size_t better = 0;

                        for (size_t k = 0; k < start[CELLS]; k++)
                                better += dot_floats(query, vector[k], DIM) > hit[i].score;
                        cr_assert_eq(better, i, "place %zu", i);
                        cr_assert_lt(hit[i].id, start[CELLS]);
                }
        }
        cells_room_destroy(room);
}

Test(cells, a_budget_finds_nearly_the_same)
{
        struct cells_room *room;
        struct cells_hit hit[10], exact[10];
        size_t same = 0;

        cr_assert_eq(cells_room_create(&cells, &room), 0);
        for (size_t q = 0; q < 100; q++) {
                float query[DIM];

                draw(query, 4, q, centre[q % CELLS], .2f);
                cr_assert_eq(cells_search(&cells, query, CELLS_NONE, SIZE_MAX, 10, room, exact), 10);
                cr_assert_eq(cells_search(&cells, query, (uint32_t)(q % CELLS), 300, 10, room, hit), 10);
                for (size_t i = 0; i < 10; i++) {
                        cr_assert_float_eq((double)hit[i].score, (double)dot_floats(query, vector[hit[i].id], DIM), 1e-6,
                                           "the score is the floats', not the bytes'");
                        for (size_t k = 0; k < 10; k++)
                                same += hit[i].id == exact[k].id;
                }
        }
        cr_assert_geq(same, 950, "%zu of 1000", same);
        cells_room_destroy(room);
}

Test(cells, edges_of_what_can_be_asked)
{
        struct cells empty = { DIM, 3, 0, 0, (uint32_t[]){ 0 }, centre[0], near[0], vector[0], code[0], scale };
        struct cells_room *room;
        struct cells_hit *hit = calloc(N, sizeof *hit);

        cr_assert_eq(cells_room_create(&cells, &room), 0);
        cr_assert_eq(cells_search(&cells, vector[0], 0, 100, 0, room, hit), 0);
        cr_assert_eq(cells_search(&cells, vector[0], 0, 1, 1900, room, hit), 1900, "a budget does not cut what was asked for");
        cr_assert_eq(cells_search(&empty, vector[0], CELLS_NONE, 100, 5, room, hit), 0);
        cr_assert_eq(cells_of(&empty, 0), CELLS_NONE);
        for (uint32_t i = 0; i < N; i++)
                cr_assert_eq(cells_of(&cells, i), i < 1900 ? i / 95 : CELLS_NONE);
        cells_room_destroy(room);
        free(hit);
}

Test(cells, tallies_count_and_forget)
{
        struct tally t;

        cr_assert_eq(tally_init(&t), 0);
        for (uint32_t round = 1; round < 6; round++) {
                for (uint32_t i = 0; i < 1000 * round; i++)
                        tally_at(&t, i * 2654435761u % (700 * round))->part[1] += 1;
                for (uint32_t i = 0; i < t.n; i++)
                        cr_assert_eq(tally_find(&t, t.entry[i].key), &t.entry[i]);
                {
                        double sum = 0;

                        for (uint32_t i = 0; i < t.n; i++)
                                sum += (double)t.entry[i].part[1];
                        cr_assert_float_eq(sum, 1000 * round, 0);
                }
                cr_assert_null(tally_find(&t, 700 * round));
                tally_clear(&t);
                cr_assert_eq(t.n, 0);
                cr_assert_null(tally_find(&t, 3));
                for (uint32_t i = 0; i < 20; i++) /* few of many: forgotten one by one */
                        tally_at(&t, i << 20)->flags = 1;
                tally_clear(&t);
                for (uint32_t i = 0; i < 20; i++)
                        cr_assert_null(tally_find(&t, i << 20));
        }
        tally_finish(&t);
}
