/* SPDX-License-Identifier: Apache-2.0 */
/* FastRP, SVD and ALS against computations of the same things by other means, in double precision, on small graphs. */
#include <criterion/criterion.h>
#include <math.h>

#include "als.h"
#include "base.h"
#include "fastrp.h"
#include "noise.h"
#include "svd.h"

#define USERS 60
#define ITEMS 40

/* A random graph in which item 39 and user 59 have no edge. */
static struct sparse invent(uint64_t seed)
{
        struct sparse_cell cell[USERS * ITEMS];
        struct sparse m;
        size_t n = 0;

        for (uint32_t u = 0; u + 1 < USERS; u++)
                for (uint32_t i = 0; i + 1 < ITEMS; i++)
                        if (noise_uniform(noise_bits(seed, u, i)) < (u % 4 == i % 4 ? .35 : .03) || (u * 7 + 3) % (ITEMS - 1) == i)
                                cell[n++] = (struct sparse_cell){ u, i, 1 };
        cr_assert_eq(sparse_create(USERS, ITEMS, cell, n, &m), 0);
        return m;
}

static double cell_of(const struct sparse *m, size_t r, size_t c)
{
        for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++)
                if (m->col[i] == c)
                        return (double)m->value[i];
        return 0;
}

/* The definition, with dense matrices of doubles: no code of fastrp.c but its random numbers. */
static void fastrp_by_definition(const struct sparse *m, const struct fastrp_settings *s, double *v)
{
        size_t n = m->rows, d = s->dim;
        double *a = calloc(n * n, sizeof *a), *x = calloc(n * d, sizeof *x), *y = calloc(n * d, sizeof *y), sparsity = s->sparsity;

        if (!(sparsity > 0))
                sparsity = sqrt((double)n);
        for (size_t r = 0; r < n; r++) {
                double degree = 0;

                for (size_t c = 0; c < n; c++)
                        degree += a[r * n + c] = cell_of(m, r, c);
                for (size_t c = 0; degree > 0 && c < n; c++)
                        a[r * n + c] /= degree;
                for (size_t k = 0; k < d; k++)
                        x[r * d + k] = degree > 0 ? pow(degree, s->beta) * (double)fastrp_entry(s->seed, r, k, d, sparsity) : 0;
        }
        memset(v, 0, n * d * sizeof *v);
        for (size_t power = 0; power < s->n_powers; power++) {
                memset(y, 0, n * d * sizeof *y);
                for (size_t r = 0; r < n; r++)
                        for (size_t c = 0; c < n; c++)
                                for (size_t k = 0; k < d; k++)
                                        y[r * d + k] += a[r * n + c] * x[c * d + k];
                memcpy(x, y, n * d * sizeof *x);
                for (size_t r = 0; r < n; r++) {
                        double length = 0;

                        for (size_t k = 0; k < d; k++)
                                length += x[r * d + k] * x[r * d + k];
                        for (size_t k = 0; length > 0 && k < d; k++)
                                v[r * d + k] += s->power[power] * x[r * d + k] / sqrt(length);
                }
        }
        free(a);
        free(x);
        free(y);
}

Test(embed, fastrp_is_what_its_definition_says)
{
        struct fastrp_settings settings[] = {
                { .dim = 24, .power = { 1, .5 }, .n_powers = 2, .beta = -.5, .sparsity = 3, .seed = 1, .threads = 2 },
                { .dim = 17, .power = { 0, 0, 1, 6.67 }, .n_powers = 4, .beta = -.9, .sparsity = 0, .seed = 2, .threads = 1 },
                { .dim = 8, .power = { 1 }, .n_powers = 1, .beta = 0, .sparsity = 1, .seed = 3, .threads = 3 },
        };
        struct sparse m = invent(7), all;

        cr_assert_eq(sparse_bipartite(&m, &all), 0);
        for (size_t i = 0; i < LENGTH_OF(settings); i++) {
                size_t n = all.rows * settings[i].dim;
                float *v = calloc(n, sizeof *v);
                double *w = calloc(n, sizeof *w);

                cr_assert_eq(fastrp(&all, &settings[i], v), 0);
                fastrp_by_definition(&all, &settings[i], w);
                for (size_t k = 0; k < n; k++)
                        cr_assert_float_eq((double)v[k], w[k], 1e-4, "settings %zu, place %zu: %g, wanted %g", i, k, (double)v[k], w[k]);
                for (size_t k = 0; k < settings[i].dim; k++)
                        cr_assert_eq(v[(USERS - 1) * settings[i].dim + k], 0, "a node without edges");
                free(v);
                free(w);
        }
        sparse_finish(&all);
        sparse_finish(&m);
}

Test(embed, fastrp_does_not_depend_on_threads)
{
        struct fastrp_settings s = { .dim = 32, .power = { 1, 1, .5 }, .n_powers = 3, .beta = -.5, .sparsity = 3, .standard = true };
        struct sparse m = invent(8), all;
        float one[(USERS + ITEMS) * 32], three[(USERS + ITEMS) * 32];
        double sum = 0, square = 0;

        cr_assert_eq(sparse_bipartite(&m, &all), 0);
        s.threads = 1;
        cr_assert_eq(fastrp(&all, &s, one), 0);
        s.threads = 3;
        cr_assert_eq(fastrp(&all, &s, three), 0);
        cr_assert_eq(memcmp(one, three, sizeof one), 0);
        for (size_t r = 0; r < all.rows; r++) {
                sum += (double)one[r * 32 + 5];
                square += (double)one[r * 32 + 5] * (double)one[r * 32 + 5];
        }
        cr_assert_float_eq(sum, 0, 1e-3, "a standard column's mean is 0");
        cr_assert_float_eq(square / (USERS + ITEMS - 2), 1, 1e-3, "and its deviation 1, over the nodes that have edges");
        sparse_finish(&all);
        sparse_finish(&m);
}

/* The definition of a decomposition: orthonormal sides, falling values, M V = U S and M' U = V S, and nothing stronger left over. */
Test(embed, svd_is_one)
{
        enum { K = 12 };
        struct sparse m = invent(9);
        struct svd_settings s = { .dim = K, .more = 10, .rounds = 6, .seed = 4, .threads = 2 };
        float left[USERS * K], right[ITEMS * K], value[K];
        double total = 0, strongest = 0;

        cr_assert_eq(svd(&m, &s, left, right, value), 0);
        for (size_t a = 0; a < K; a++) {
                cr_assert(a == 0 || value[a] <= value[a - 1]);
                total += (double)value[a] * (double)value[a];
                for (size_t b = 0; b < K; b++) {
                        double u = 0, v = 0;

                        for (size_t i = 0; i < USERS; i++)
                                u += (double)left[i * K + a] * (double)left[i * K + b];
                        for (size_t i = 0; i < ITEMS; i++)
                                v += (double)right[i * K + a] * (double)right[i * K + b];
                        cr_assert_float_eq(v, a == b ? 1 : 0, 1e-4, "right %zu %zu: %g", a, b, v);
                        if (a < 6 && b < 6) /* the weakest ones are still mixed with what was left out */
                                cr_assert_float_eq(u, a == b ? 1 : 0, 1e-3, "left %zu %zu: %g", a, b, u);
                }
                for (size_t i = 0; i < ITEMS && a < 6; i++) {
                        double x = 0;

                        for (size_t u = 0; u < USERS; u++)
                                x += cell_of(&m, u, i) * (double)left[u * K + a];
                        cr_assert_float_eq(x, (double)value[a] * (double)right[i * K + a], 2e-3, "M'U = VS at %zu, %zu", i, a);
                }
        }
        cr_assert_lt(total, (double)sparse_cells(&m), "the sum of all squares is the matrix's");
        for (unsigned trial = 0; trial < 20; trial++) { /* no vector is stretched by more than the first value */
                double x[ITEMS], before = 0, after = 0;

                for (size_t i = 0; i < ITEMS; i++) {
                        x[i] = noise_uniform(noise_bits(5, trial, i)) - (trial % 2 ? .5 : 0);
                        before += x[i] * x[i];
                }
                for (size_t u = 0; u < USERS; u++) {
                        double y = 0;

                        for (size_t i = 0; i < ITEMS; i++)
                                y += cell_of(&m, u, i) * x[i];
                        after += y * y;
                }
                strongest = fmax(strongest, sqrt(after / before));
        }
        cr_assert_leq(strongest, (double)value[0] * 1.0001);
        cr_assert_geq(strongest, (double)value[0] * .5);
        sparse_finish(&m);
}

Test(embed, svd_of_less_than_was_asked_for)
{
        enum { K = 8 };
        struct sparse_cell cell[] = { { 0, 0, 3 }, { 1, 1, 2 } };
        struct sparse m;
        struct svd_settings s = { .dim = K, .more = 4, .rounds = 3, .threads = 1 };
        float left[4 * K], right[3 * K], value[K];

        cr_assert_eq(sparse_create(4, 3, cell, 2, &m), 0);
        cr_assert_eq(svd(&m, &s, left, right, value), 0);
        cr_assert_float_eq((double)value[0], 3, 1e-4);
        cr_assert_float_eq((double)value[1], 2, 1e-4);
        cr_assert_float_eq((double)value[2], 0, 1e-3);
        cr_assert_float_eq((double)right[0], 1, 1e-4);
        cr_assert_float_eq((double)left[1 * K + 1], 1, 1e-4);
        for (size_t i = 0; i < 4 * K; i++)
                cr_assert(isfinite(left[i]));
        sparse_finish(&m);
}

/* The loss that ALS lowers, by its definition. */
static double als_loss(const struct sparse *m, const struct als_settings *s, const float *users, const float *items)
{
        double loss = 0;

        for (size_t u = 0; u < m->rows; u++)
                for (size_t i = 0; i < m->cols; i++) {
                        double x = cell_of(m, u, i), got = 0;

                        for (size_t k = 0; k < s->dim; k++)
                                got += (double)users[u * s->dim + k] * (double)items[i * s->dim + k];
                        loss += (1 + s->alpha * x) * ((x > 0) - got) * ((x > 0) - got);
                }
        for (size_t i = 0; i < m->rows * s->dim; i++)
                loss += s->ridge * (double)users[i] * (double)users[i];
        for (size_t i = 0; i < m->cols * s->dim; i++)
                loss += s->ridge * (double)items[i] * (double)items[i];
        return loss;
}

Test(embed, als_ends_where_its_loss_does_not_fall_any_more)
{
        struct als_settings s = { .dim = 6, .alpha = 5, .ridge = .5, .rounds = 1, .steps = 3, .seed = 1, .threads = 2 };
        struct sparse m = invent(10);
        float users[USERS * 6], items[ITEMS * 6];
        double before = INFINITY, loss = 0;

        for (unsigned rounds = 1; rounds <= 64; rounds *= 2) {
                s.rounds = rounds;
                cr_assert_eq(als(&m, &s, users, items), 0);
                loss = als_loss(&m, &s, users, items);
                cr_assert_leq(loss, before * 1.001, "after %u rounds %g, before %g", rounds, loss, before);
                before = loss;
        }
        for (size_t i = 0; i < USERS * 6; i += 31) /* a minimum: any step away is worse */
                for (int sign = -1; sign <= 1; sign += 2) {
                        float held = users[i];

                        users[i] += (float)sign * .05f;
                        cr_assert_geq(als_loss(&m, &s, users, items), loss - 1e-3 * loss);
                        users[i] = held;
                }
        for (size_t k = 0; k < 6; k++)
                cr_assert_eq(users[(USERS - 1) * 6 + k], 0, "a user without edges");
        sparse_finish(&m);
}
