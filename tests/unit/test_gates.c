/* SPDX-License-Identifier: Apache-2.0 */
/* The scores against the formula, written out plainly; gates that are fitted; files that come back the same, and files that are refused. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "folder.h"
#include "gates.h"
#include "gates_fit.h"
#include "noise.h"
#include "tensors.h"

#define DIM 24
#define EXPERTS 5
#define TASKS 4
#define PARTS 3
#define NEAR(a, b) cr_assert_float_eq((double)(a), (double)(b), 1e-5, "%g, %g", (double)(a), (double)(b))

static const char *path;
static char why[256];
static float centre[DIM], gate[EXPERTS][DIM], vector[TASKS][DIM], strength[EXPERTS][TASKS], expected[TASKS], reference[DIM + 1], background[2][DIM];
static const char *names[EXPERTS] = { "a", "b", "c", "d", "e" }, *texts[TASKS] = { "One.", "Two.", "Three.", "Vier \xC3\xA4." };
static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static float any(uint64_t row, uint64_t column)
{
        return (float)(2 * noise_uniform(noise_bits(5, row, column)) - 1);
}

static void unit(float *v)
{
        double s = 0;

        for (size_t i = 0; i < DIM; i++)
                s += (double)v[i] * (double)v[i];
        for (size_t i = 0; i < DIM; i++)
                v[i] /= (float)sqrt(s);
}

static struct gates_parts parts_of(void)
{
        return (struct gates_parts){ .dim = DIM, .experts = EXPERTS, .instructions = TASKS, .backgrounds = 2, .names = names, .texts = texts, .centre = centre,
                                     .gates = gate[0], .vectors = vector[0], .strengths = strength[0], .expected = expected, .reference = reference,
                                     .background = background[0], .gamma = 100, .beta = 3, .threshold = .8, .sharpness = 10, .window = 1024,
                                     .encoder = digest };
}

static void begin(void)
{
        folder_begin();
        path = in_folder("m.safetensors");
        for (size_t i = 0; i < DIM; i++) {
                centre[i] = any(0, i) / 4;
                reference[i] = any(50, i);
                background[0][i] = any(60, i);
                background[1][i] = any(61, i);
                for (size_t k = 0; k < EXPERTS; k++)
                        gate[k][i] = any(1 + k, i);
                for (size_t t = 0; t < TASKS; t++)
                        vector[t][i] = any(20 + t, i);
        }
        for (size_t k = 0; k < EXPERTS; k++)
                gates_layer_norm(gate[k], DIM);
        for (size_t t = 0; t < TASKS; t++) {
                unit(vector[t]);
                expected[t] = t == 3 ? NAN : .5f;
                for (size_t k = 0; k < EXPERTS; k++)
                        strength[k][t] = any(40 + k, t);
        }
        for (size_t t = 0; t < TASKS; t++) {
                strength[3][t] = t == 2 ? 1 : NAN; /* one instruction, as in the paper */
                strength[4][t] = NAN;              /* none */
        }
}

TestSuite(gates, .init = begin, .fini = folder_end);

Test(gates, layer_norm)
{
        float v[4] = { 1, 2, 3, 6 }, zero[4] = { 0 }, same[4] = { 7, 7, 7, 7 };
        double mean = 0, square = 0;

        gates_layer_norm(v, 4);
        for (size_t i = 0; i < 4; i++) {
                mean += (double)v[i];
                square += (double)v[i] * (double)v[i];
        }
        NEAR(mean, 0);
        NEAR(square, 4);
        NEAR(v[3], 3 / sqrt(3.5));
        gates_layer_norm(zero, 4);
        gates_layer_norm(same, 4);
        cr_assert(zero[0] == 0 && same[2] == 0, "no deviation: zeros, not a division by it");
}

/* LN(v_k) . LN(u - centre) / sqrt(d), by doubles. */
static double local_of(size_t k, const float *part)
{
        double mean = 0, square = 0, sum = 0, u[DIM];

        for (size_t i = 0; i < DIM; i++)
                mean += (u[i] = (double)part[i] - (double)centre[i]) / DIM;
        for (size_t i = 0; i < DIM; i++)
                square += (u[i] - mean) * (u[i] - mean) / DIM;
        for (size_t i = 0; i < DIM; i++)
                sum += (double)gate[k][i] * (u[i] - mean) / sqrt(square);
        return sum / sqrt(DIM);
}

/* An expert's mean counts beside its gate; a model without means is one of the older version, and its scores are as they were. */
Test(gates, means_are_added_and_saved)
{
        static const float means[EXPERTS] = { .5f, -.25f, 0, 1, -1 };
        struct gates_parts p = parts_of(), q = parts_of();
        struct gates *plain = gates_create(&p), *with, *read;
        float part[2][DIM] = { { 0 } }, work[2][DIM], a[EXPERTS], b[EXPERTS];

        for (size_t i = 0; i < DIM; i++)
                part[0][i] = any(70, i);
        q.means = means;
        q.delta = 3;
        q.sure = .6;
        with = gates_create(&q);
        cr_assert_eq(gates_save(&q, path, NULL, why, sizeof why), 0, "%s", why);
        cr_assert_eq(gates_open(path, &read, why, sizeof why), 0, "%s", why);
        cr_assert_str_eq(gates_meta(read, "version"), "2");
        NEAR(gates_parts(read)->delta, 3);
        NEAR(gates_parts(read)->sure, .6);
        for (int combine = GATES_MEAN; combine <= GATES_MAX; combine++) {
                memcpy(work, part, sizeof work);
                gates_local(plain, (enum gates_combine)combine, work[0], 2, a);
                memcpy(work, part, sizeof work);
                gates_local(read, (enum gates_combine)combine, work[0], 2, b);
                for (size_t k = 0; k < EXPERTS; k++)
                        NEAR(b[k], a[k] + 3 * means[k]);
        }
        gates_local(with, GATES_MEAN, work[0], 0, b);
        NEAR(b[3], 3);
        gates_destroy(read);
        q.delta = 0;
        cr_assert_eq(gates_save(&q, path, NULL, why, sizeof why), 0, "%s", why);
        cr_assert_eq(gates_open(path, &read, why, sizeof why), 0, "%s", why);
        cr_assert_str_eq(gates_meta(read, "version"), "1");
        cr_assert_null(gates_parts(read)->means);
        gates_destroy(read);
        gates_destroy(plain);
        gates_destroy(with);
}

Test(gates, from_near)
{
        struct gates_parts p = parts_of();
        struct gates *g = gates_create(&p);
        float part[PARTS + 1][DIM] = { 0 }, work[PARTS + 1][DIM], mean[EXPERTS], most[EXPERTS];

        for (size_t c = 0; c < PARTS; c++)
                for (size_t i = 0; i < DIM; i++)
                        part[c + (c > 0)][i] = any(70 + c, i); /* the second one has no token that is known */
        memcpy(work, part, sizeof work);
        gates_local(g, GATES_MEAN, work[0], PARTS + 1, mean);
        memcpy(work, part, sizeof work);
        gates_local(g, GATES_MAX, work[0], PARTS + 1, most);
        for (size_t k = 0; k < EXPERTS; k++) {
                double a = local_of(k, part[0]), b = local_of(k, part[2]), c = local_of(k, part[3]);

                NEAR(mean[k], (a + b + c) / 3);
                NEAR(most[k], MAX(a, MAX(b, c)));
        }
        gates_local(g, GATES_MAX, work[0], 0, most);
        cr_assert(most[0] == 0 && most[4] == 0);
        gates_destroy(g);
}

Test(gates, from_afar)
{
        struct gates_parts p = parts_of();
        struct gates *g = gates_create(&p);
        float e[DIM], global[EXPERTS];
        double near[TASKS], nearest;
        size_t which = 9;

        for (size_t i = 0; i < DIM; i++)
                e[i] = any(90, i) / 3 + vector[1][i];
        unit(e);
        for (size_t t = 0; t < TASKS; t++) {
                near[t] = 0;
                for (size_t i = 0; i < DIM; i++)
                        near[t] += (double)e[i] * (double)vector[t][i];
        }
        nearest = gates_global(g, e, global, &which);
        cr_assert_eq(which, 1);
        NEAR(nearest, near[1]);
        for (size_t k = 0; k < 3; k++) {
                double sum = 0, all = 0;

                for (size_t t = 0; t < TASKS; t++) {
                        sum += exp(10 * near[t]) * (double)strength[k][t] * near[t];
                        all += exp(10 * near[t]);
                }
                NEAR(global[k], sum / all);
        }
        NEAR(global[3], near[2]); /* the paper's */
        cr_assert_eq(global[4], 0);
        gates_destroy(g);
}

Test(gates, a_file_comes_back_the_same)
{
        struct gates_parts p = parts_of();
        const struct gates_parts *q;
        struct gates *g;

        cr_assert_eq(gates_save(&p, path, (const char *[]){ "note", "x", NULL }, why, sizeof why), 0, "%s", why);
        cr_assert_eq(gates_open(path, &g, why, sizeof why), 0, "%s", why);
        q = gates_parts(g);
        cr_assert(q->dim == DIM && q->experts == EXPERTS && q->instructions == TASKS && q->backgrounds == 2 && q->window == 1024 && q->combine == GATES_MEAN);
        cr_assert(q->gamma >= 100 && q->gamma <= 100 && q->beta >= 3 && q->threshold > .79 && q->sharpness >= 10);
        cr_assert_str_eq(q->names[4], "e");
        cr_assert_str_eq(q->texts[3], "Vier \xC3\xA4.");
        cr_assert_str_eq(q->encoder, digest);
        cr_assert_str_eq(gates_meta(g, "note"), "x");
        cr_assert_eq(memcmp(q->gates, gate, sizeof gate), 0);
        cr_assert_eq(memcmp(q->strengths, strength, sizeof strength), 0);
        cr_assert_eq(memcmp(q->background, background, sizeof background), 0);
        gates_destroy(g);
}

static void refused(const char *what, const char *says)
{
        struct gates *g = NULL;
        int r = gates_open(path, &g, why, sizeof why);

        cr_assert(r < 0 && !g, "%s", what);
        cr_assert(strstr(why, says), "%s: '%s'", what, why);
}

Test(gates, others_are_refused)
{
        struct gates_parts p = parts_of();
        const char *twice[EXPERTS] = { "a", "b", "a", "d", "e" };
        long size;
        FILE *f;

        p.gamma = NAN;
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        refused("gamma", "'gamma' in its metadata is 'nan', wanted a number from 0 to 1e+06");
        p = parts_of();
        p.names = twice;
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        refused("names", "has 'a' twice");
        p = parts_of();
        strength[1][2] = 3;
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        refused("strengths", "has 3, wanted -1 to 1");
        strength[1][2] = 0;
        gate[2][7] = NAN;
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        refused("a gate", "tensor 'gates' has a number that is not finite");
        gate[2][7] = 0;
        p.encoder = "short";
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        refused("encoder", "64 hexadecimal digits");
        cr_assert_eq(tensors_write(path, &(struct tensor){ "x", TENSOR_F32, 1, { DIM }, centre, sizeof centre }, 1, (const char *[]){ "kind", "else", NULL }, why,
                                   sizeof why), 0);
        refused("another kind", "kind is 'else', wanted 'pointsman.instruct'");

        p = parts_of();
        cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
        cr_assert((f = fopen(path, "r")) && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 500);
        fclose(f);
        for (long cut = 0; cut < size; cut += 211) {
                struct gates *g = NULL;

                cr_assert_eq(gates_save(&p, path, NULL, why, sizeof why), 0);
                cr_assert_eq(truncate(path, cut), 0);
                cr_assert_lt(gates_open(path, &g, why, sizeof why), 0, "cut to %ld bytes", cut);
        }
}

/* The gradient at what was found, by doubles: a minimum of a strictly convex function has none. */
static double steepness(const struct gates_fit *f, const float *v)
{
        double g[DIM + 1], size = 0;

        for (size_t k = 0; k <= DIM; k++)
                g[k] = f->l2 * (k == DIM ? .01 : 1) * (double)v[k];
        for (size_t i = 0; i < f->n; i++) {
                double z = (double)v[DIM] + (double)f->offset[i], by;

                if (isnan(f->outcome[i]))
                        continue;
                for (size_t k = 0; k < DIM; k++)
                        z += (double)v[k] * (double)f->x[i * DIM + k];
                by = (double)f->weight[i] * (1 / (1 + exp(-z)) - (double)f->outcome[i]);
                for (size_t k = 0; k < DIM; k++)
                        g[k] += by * (double)f->x[i * DIM + k];
                g[DIM] += by;
        }
        for (size_t k = 0; k <= DIM; k++)
                size += g[k] * g[k];
        return sqrt(size);
}

Test(gates, a_fit_is_at_the_minimum_for_any_number_of_threads)
{
        enum { N = 1500 };
        static float x[N][DIM], weight[N], outcome[N], offset[N];
        float v[DIM + 1], w[DIM + 1], zero[DIM + 1] = { 0 };
        struct gates_fit f = { x[0], N, DIM, weight, outcome, offset, 3, 1 };

        for (size_t i = 0; i < N; i++) {
                for (size_t k = 0; k < DIM; k++)
                        x[i][k] = any(1000 + i, k);
                weight[i] = i % 3 ? 1 : .5f;
                offset[i] = any(9999, i);
                outcome[i] = i % 50 == 0 ? NAN : x[i][3] - x[i][5] + offset[i] + any(9998, i) > 0;
        }
        cr_assert_eq(gates_fit(&f, v), 0);
        cr_assert_lt(steepness(&f, v), 1e-3 * steepness(&f, zero), "%g of %g", steepness(&f, v), steepness(&f, zero));
        cr_assert(v[3] > .5f && v[5] < -.5f && fabsf(v[8]) < .5f);
        f.threads = 2;
        cr_assert_eq(gates_fit(&f, w), 0);
        cr_assert_eq(memcmp(v, w, sizeof v), 0, "the same bytes");
}
