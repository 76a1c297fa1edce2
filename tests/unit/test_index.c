/* SPDX-License-Identifier: Apache-2.0 */
/* FAISS behind its thin face: answers against an exact search, files, and refusals. */
#include <criterion/criterion.h>

#include "base.h"
#include "index.h"

#define DIM 16
#define N 500

static float vectors[N][DIM];
static char why[256];

static void invent(void)
{
        uint64_t x = 42;

        for (size_t i = 0; i < N; i++)
                for (size_t d = 0; d < DIM; d++) {
                        x = x * 6364136223846793005u + 1442695040888963407u;
                        vectors[i][d] = (float)(int32_t)(x >> 32) / 2147483648.f;
                }
}

TestSuite(index, .init = invent);

static float dot(const float *a, const float *b)
{
        float sum = 0;

        for (size_t d = 0; d < DIM; d++)
                sum += a[d] * b[d];
        return sum;
}

/* How many of the exact k nearest by inner product an index finds. */
static size_t found(struct index *x, const float *v, size_t k)
{
        struct index_hit hit[64];
        size_t n, right = 0;

        cr_assert_eq(index_search(x, v, k, hit, &n, why, sizeof why), 0, "%s", why);
        cr_assert_eq(n, k);
        for (size_t i = 0; i < n; i++) {
                size_t better = 0;

                cr_assert_float_eq((double)hit[i].score, (double)dot(v, vectors[hit[i].id]), 1e-4);
                cr_assert(i == 0 || hit[i].score <= hit[i - 1].score, "nearest first");
                for (size_t j = 0; j < N; j++)
                        better += dot(v, vectors[j]) > hit[i].score + 1e-6f;
                right += better < k;
        }
        return right;
}

Test(index, flat_is_exact_and_hnsw_nearly)
{
        static const struct {
                const char *factory;
                size_t least; /* of 100 */
        } cases[] = { { "Flat", 100 }, { "HNSW16", 90 }, { "IVF4,Flat", 25 } };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct index *x;
                size_t right = 0;

                cr_assert_eq(index_create(DIM, cases[i].factory, INDEX_INNER_PRODUCT, &x, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_train(x, vectors[0], N, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_add(x, vectors[0], N, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_count(x), N);
                for (size_t q = 0; q < 10; q++)
                        right += found(x, vectors[q * 37], 10);
                cr_assert_geq(right, cases[i].least, "%s: %zu of 100", cases[i].factory, right);
                index_destroy(x);
        }
}

Test(index, a_file_answers_as_its_maker)
{
        char file[] = "/tmp/test-index-XXXXXX";
        int fd = mkstemp(file);
        struct index *a, *b;

        cr_assert_geq(fd, 0);
        (void)close(fd);
        cr_assert_eq(index_create(DIM, "Flat", INDEX_INNER_PRODUCT, &a, why, sizeof why), 0);
        cr_assert_eq(index_add(a, vectors[0], N, why, sizeof why), 0);
        cr_assert_eq(index_save(a, file, why, sizeof why), 0, "%s", why);
        cr_assert_eq(index_load(file, DIM, INDEX_INNER_PRODUCT, &b, why, sizeof why), 0, "%s", why);
        cr_assert_eq(index_dim(b), DIM);
        cr_assert_eq(found(b, vectors[3], 10), 10);
        index_destroy(b);
        cr_assert_eq(index_load(file, DIM + 1, INDEX_INNER_PRODUCT, &b, why, sizeof why), -EINVAL);
        cr_assert_str_eq(why, "the index has 16 dimensions and metric 0, wanted 17 and 0");
        cr_assert_eq(index_load(file, DIM, INDEX_L2, &b, why, sizeof why), -EINVAL);
        cr_assert_eq(truncate(file, 100), 0);
        cr_assert_eq(index_load(file, DIM, INDEX_INNER_PRODUCT, &b, why, sizeof why), -EINVAL);
        cr_assert(strstr(why, "cut: "), "%s", why);
        index_destroy(a);
        (void)unlink(file);
}

Test(index, refuses_what_makes_no_sense)
{
        struct index_hit hit[1];
        struct index *x;
        size_t n;

        cr_assert_eq(index_create(DIM, "NoSuchThing", INDEX_L2, &x, why, sizeof why), -EIO);
        cr_assert(strstr(why, "NoSuchThing"), "%s", why);
        cr_assert_eq(index_create(0, "Flat", INDEX_L2, &x, why, sizeof why), -EINVAL);
        cr_assert_eq(index_create(DIM, "IVF4,Flat", INDEX_L2, &x, why, sizeof why), 0);
        cr_assert_eq(index_add(x, vectors[0], N, why, sizeof why), -EINVAL, "not trained yet");
        cr_assert_eq(index_search(x, vectors[0], 0, hit, &n, why, sizeof why), -EINVAL);
        cr_assert_eq(index_search(x, vectors[0], INDEX_K_MAX + 1, hit, &n, why, sizeof why), -EINVAL);
        index_destroy(x);
}

Test(index, fewer_than_asked_for_are_fewer_hits)
{
        struct index_hit hit[10];
        struct index *x;
        size_t n = 99;

        cr_assert_eq(index_create(DIM, "Flat", INDEX_L2, &x, why, sizeof why), 0);
        cr_assert_eq(index_add(x, vectors[0], 3, why, sizeof why), 0);
        cr_assert_eq(index_search(x, vectors[1], 10, hit, &n, why, sizeof why), 0);
        cr_assert_eq(n, 3);
        cr_assert_eq(hit[0].id, 1);
        cr_assert_float_eq((double)hit[0].score, 0, 1e-6);
        index_destroy(x);
}

/* Every kind that can be checked, whole and then with one byte spoilt or with its end cut: refused, or searched without harm. */
Test(index, files_that_would_harm_are_refused)
{
        static const char *const factories[] = { "Flat", "SQ8", "SQfp16", "HNSW8", "IVF4,Flat", "IVF4,SQ8", "IVF4,SQ4", "SQ8,RFlat" };
        char file[] = "/tmp/test-index-XXXXXX";
        struct index_hit hit[5];

        (void)close(mkstemp(file));
        for (size_t i = 0; i < LENGTH_OF(factories); i++) {
                size_t size, refused = 0, n;
                unsigned char *bytes;
                struct index *x;
                FILE *f;

                cr_assert_eq(index_create(DIM, factories[i], INDEX_INNER_PRODUCT, &x, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_train(x, vectors[0], N, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_add(x, vectors[0], 60, why, sizeof why), 0, "%s", why);
                cr_assert_eq(index_save(x, file, why, sizeof why), 0, "%s", why);
                index_destroy(x);
                cr_assert_eq(index_load(file, DIM, INDEX_INNER_PRODUCT, &x, why, sizeof why), 0, "%s: %s", factories[i], why);
                index_destroy(x);
                f = fopen(file, "re");
                (void)fseek(f, 0, SEEK_END);
                size = (size_t)ftell(f);
                rewind(f);
                bytes = malloc(size);
                cr_assert_eq(fread(bytes, 1, size, f), size);
                (void)fclose(f);
                for (size_t at = 0; at < size; at += at < 80 ? 1 : size / 30 + 1)
                        for (int how = 0; how < 2; how++) {
                                f = fopen(file, "we");
                                bytes[at] ^= 0x41;
                                cr_assert_eq(fwrite(bytes, 1, how ? size : at, f), how ? size : at);
                                bytes[at] ^= 0x41;
                                (void)fclose(f);
                                if (index_load(file, DIM, INDEX_INNER_PRODUCT, &x, why, sizeof why) < 0) {
                                        cr_assert(why[0]);
                                        refused++;
                                        continue;
                                }
                                cr_assert(how, "%s: cut at %zu", factories[i], at);
                                (void)index_search(x, vectors[1], 5, hit, &n, why, sizeof why);
                                index_destroy(x);
                        }
                cr_assert_gt(refused, 40, "%s: %zu", factories[i], refused);
                free(bytes);
        }
        (void)unlink(file);
}

Test(index, search_parameters)
{
        struct index *x;

        cr_assert_eq(index_create(DIM, "IVF4,Flat", INDEX_INNER_PRODUCT, &x, why, sizeof why), 0);
        cr_assert_eq(index_train(x, vectors[0], N, why, sizeof why), 0);
        cr_assert_eq(index_add(x, vectors[0], N, why, sizeof why), 0);
        cr_assert_eq(index_tune(x, "nprobe=4", why, sizeof why), 0, "%s", why);
        cr_assert_eq(found(x, vectors[9], 10), 10, "all lists are looked into");
        cr_assert_eq(index_tune(x, "nosuch=4", why, sizeof why), -EIO);
        index_destroy(x);
}
