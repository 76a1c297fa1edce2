/* SPDX-License-Identifier: Apache-2.0 */
/* Inner products, maps of scores, and the search of cells against looking at everything. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "dot.h"
#include "ivf.h"
#include "noise.h"
#include "score_map.h"

#define DIM 37 /* no multiple of anything: the ends of the fast loops are reached */
#define CELLS 20
#define N 2000

static float vector[N][DIM], centre[CELLS][DIM], scale[N];
static int8_t code[N][DIM];
static uint32_t start[CELLS + 1], near[CELLS][CELLS];
static struct ivf cells = { DIM, N, CELLS, CELLS, start, centre[0], near[0], vector[0], code[0], scale };

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

TestSuite(ivf, .init = invent);

Test(ivf, inner_products)
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

Test(ivf, exact_search_is_exact)
{
        struct ivf_room *room;
        struct ivf_hit hit[10];

        cr_assert_eq(ivf_room_create(&cells, &room), 0);
        for (size_t q = 0; q < 50; q++) {
                float query[DIM];

                draw(query, 3, q, NULL, 1);
                cr_assert_eq(ivf_search(&cells, query, IVF_NONE, SIZE_MAX, 10, room, hit), 10);
                for (size_t i = 0; i < 10; i++) {
                        size_t better = 0;

                        for (size_t k = 0; k < start[CELLS]; k++)
                                better += dot_floats(query, vector[k], DIM) > hit[i].score;
                        cr_assert_eq(better, i, "place %zu", i);
                        cr_assert_lt(hit[i].id, start[CELLS]);
                }
        }
        ivf_room_destroy(room);
}

Test(ivf, a_budget_finds_nearly_the_same)
{
        struct ivf_room *room;
        struct ivf_hit hit[10], exact[10];
        size_t same = 0;

        cr_assert_eq(ivf_room_create(&cells, &room), 0);
        for (size_t q = 0; q < 100; q++) {
                float query[DIM];

                draw(query, 4, q, centre[q % CELLS], .2f);
                cr_assert_eq(ivf_search(&cells, query, IVF_NONE, SIZE_MAX, 10, room, exact), 10);
                cr_assert_eq(ivf_search(&cells, query, (uint32_t)(q % CELLS), 300, 10, room, hit), 10);
                for (size_t i = 0; i < 10; i++) {
                        cr_assert_float_eq((double)hit[i].score, (double)dot_floats(query, vector[hit[i].id], DIM), 1e-6,
                                           "the score is the floats', not the bytes'");
                        for (size_t k = 0; k < 10; k++)
                                same += hit[i].id == exact[k].id;
                }
        }
        cr_assert_geq(same, 950, "%zu of 1000", same);
        ivf_room_destroy(room);
}

Test(ivf, edges_of_what_can_be_asked)
{
        struct ivf empty = { DIM, 3, 0, 0, (uint32_t[]){ 0 }, centre[0], near[0], vector[0], code[0], scale };
        struct ivf_room *room;
        struct ivf_hit *hit = calloc(N, sizeof *hit);

        cr_assert_eq(ivf_room_create(&cells, &room), 0);
        cr_assert_eq(ivf_search(&cells, vector[0], 0, 100, 0, room, hit), 0);
        cr_assert_eq(ivf_search(&cells, vector[0], 0, 1, 1900, room, hit), 1900, "a budget does not cut what was asked for");
        cr_assert_eq(ivf_search(&empty, vector[0], IVF_NONE, 100, 5, room, hit), 0);
        cr_assert_eq(ivf_of(&empty, 0), IVF_NONE);
        for (uint32_t i = 0; i < N; i++)
                cr_assert_eq(ivf_of(&cells, i), i < 1900 ? i / 95 : IVF_NONE);
        ivf_room_destroy(room);
        free(hit);
}

Test(ivf, score_maps_count_and_forget)
{
        struct score_map t;

        cr_assert_eq(score_map_init(&t), 0);
        for (uint32_t round = 1; round < 6; round++) {
                for (uint32_t i = 0; i < 1000 * round; i++)
                        score_map_at(&t, i * 2654435761u % (700 * round))->part[1] += 1;
                for (uint32_t i = 0; i < t.n; i++)
                        cr_assert_eq(score_map_find(&t, t.entry[i].key), &t.entry[i]);
                {
                        double sum = 0;

                        for (uint32_t i = 0; i < t.n; i++)
                                sum += (double)t.entry[i].part[1];
                        cr_assert_float_eq(sum, 1000 * round, 0);
                }
                cr_assert_null(score_map_find(&t, 700 * round));
                score_map_clear(&t);
                cr_assert_eq(t.n, 0);
                cr_assert_null(score_map_find(&t, 3));
                for (uint32_t i = 0; i < 20; i++) /* few of many: forgotten one by one */
                        score_map_at(&t, i << 20)->flags = 1;
                score_map_clear(&t);
                for (uint32_t i = 0; i < 20; i++)
                        cr_assert_null(score_map_find(&t, i << 20));
        }
        score_map_finish(&t);
}
