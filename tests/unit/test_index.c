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
        static const char *const factories[] = { "Flat", "SQ8", "SQfp16", "HNSW8", "IVF4,Flat", "IVF4,SQ8", "IVF4,SQ4", "SQ8,RFlat",
                                                  "IVF4_HNSW8,Flat", "HNSW8_SQ8", "HNSW8,RFlat" };
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
        static const char *const bad[] = { "nosuch=4", "nprobe=0", "nprobe=-1", "nprobe=1e9", "nprobe=", "nprobe", "", "nprobe=4,", "verbose=1", "nprobe=nan",
                                           "k_factor_rf=1001" };
        struct index *x;

        cr_assert_eq(index_create(DIM, "IVF4,Flat", INDEX_INNER_PRODUCT, &x, why, sizeof why), 0);
        cr_assert_eq(index_train(x, vectors[0], N, why, sizeof why), 0);
        cr_assert_eq(index_add(x, vectors[0], N, why, sizeof why), 0);
        cr_assert_eq(index_tune(x, "nprobe=4", why, sizeof why), 0, "%s", why);
        cr_assert_eq(found(x, vectors[9], 10), 10, "all lists are looked into");
        for (size_t i = 0; i < LENGTH_OF(bad); i++)
                cr_assert_eq(index_tune(x, bad[i], why, sizeof why), -EINVAL, "%s", bad[i]);
        cr_assert(strstr(why, "as in 'nprobe=16'"), "%s", why);
        cr_assert_eq(index_try(x, why, sizeof why), 0, "%s", why);
        index_destroy(x);
}

/* ---- what stands in what --------------------------------------------------------------------------------------------------- */

struct blob {
        unsigned char p[65536];
        size_t n;
};

#define HEADER 37 /* four letters, dimensions, vectors, two numbers that say nothing, trained, metric */

static void make(const char *factory, size_t count, struct blob *ret)
{
        char file[] = "/tmp/test-index-XXXXXX";
        struct index *x;
        FILE *f;

        (void)close(mkstemp(file));
        cr_assert_eq(index_create(DIM, factory, INDEX_INNER_PRODUCT, &x, why, sizeof why), 0, "%s", why);
        cr_assert_eq(index_train(x, vectors[0], N, why, sizeof why), 0, "%s", why);
        cr_assert_eq(index_add(x, vectors[0], count, why, sizeof why), 0, "%s", why);
        cr_assert_eq(index_save(x, file, why, sizeof why), 0, "%s", why);
        index_destroy(x);
        f = fopen(file, "re");
        ret->n = fread(ret->p, 1, sizeof ret->p, f);
        (void)fclose(f);
        (void)unlink(file);
}

static void add(struct blob *to, const void *p, size_t n)
{
        cr_assert_leq(to->n + n, sizeof to->p);
        memcpy(to->p + to->n, p, n);
        to->n += n;
}

static void refinement(const struct blob *base, const struct blob *refine, struct blob *ret)
{
        float factor = 2;

        ret->n = 0;
        add(ret, base->p, HEADER);
        memcpy(ret->p, "IxRF", 4);
        add(ret, base->p, base->n);
        add(ret, refine->p, refine->n);
        add(ret, &factor, sizeof factor);
}

/* The same graph over another store of as many vectors. */
static void graph(const struct blob *of, const struct blob *store, struct blob *ret)
{
        size_t end = of->n;

        while (memcmp(of->p + end - 4, "IxFI", 4) != 0)
                end--;
        ret->n = 0;
        add(ret, of->p, end - 4);
        add(ret, store->p, store->n);
}

/* The same lists behind another quantiser. */
static void lists(const struct blob *of, const struct blob *quantiser, const struct blob *instead, struct blob *ret)
{
        ret->n = 0;
        add(ret, of->p, HEADER + 16);
        add(ret, instead->p, instead->n);
        add(ret, of->p + HEADER + 16 + quantiser->n, of->n - (HEADER + 16 + quantiser->n));
}

static int load(const struct blob *b)
{
        char file[] = "/tmp/test-index-XXXXXX";
        int fd = mkstemp(file), r;
        struct index *x;

        cr_assert_eq(write(fd, b->p, b->n), (ssize_t)b->n);
        (void)close(fd);
        r = index_load(file, DIM, INDEX_INNER_PRODUCT, &x, why, sizeof why);
        if (r == 0)
                index_destroy(x);
        (void)unlink(file);
        return r;
}

static struct blob flat, few, scalar, hnsw, few_hnsw, ivf, few_ivf, over, inner, made;

/* Each of those that are refused ended the process at its first search. */
Test(index, what_may_stand_in_what)
{
        static const struct {
                const char *what;
                const struct blob *base, *refine;
                bool good;
        } pairs[] = { { "Flat, Flat", &flat, &flat, true }, { "IVF, SQ", &ivf, &scalar, true }, { "HNSW, Flat", &hnsw, &flat, true },
                      { "Flat, IVF", &flat, &ivf, false }, { "Flat, HNSW", &flat, &hnsw, false }, { "Flat, refined", &flat, &over, false },
                      { "refined, Flat", &over, &flat, false } };

        make("Flat", 60, &flat);
        make("Flat", 4, &few);
        make("SQ8", 60, &scalar);
        make("HNSW8", 60, &hnsw);
        make("HNSW8", 4, &few_hnsw);
        make("IVF4,Flat", 60, &ivf);
        make("IVF4,Flat", 4, &few_ivf);
        refinement(&flat, &flat, &over);
        for (size_t i = 0; i < LENGTH_OF(pairs); i++) {
                refinement(pairs[i].base, pairs[i].refine, &made);
                cr_assert_eq(load(&made), pairs[i].good ? 0 : -EINVAL, "%s: %s", pairs[i].what, why);
                cr_assert(pairs[i].good || strstr(why, "cannot stand "), "%s", why);
        }
        graph(&hnsw, &flat, &made);
        cr_assert_eq(load(&made), 0, "%s", why);
        graph(&hnsw, &scalar, &made);
        cr_assert_eq(load(&made), 0, "%s", why);
        graph(&hnsw, &ivf, &made);
        cr_assert_eq(load(&made), -EINVAL);
        cr_assert_str_eq(why, "an index of kind 'IwFl' cannot stand below a graph");
        graph(&hnsw, &over, &made);
        cr_assert_eq(load(&made), -EINVAL);
        graph(&hnsw, &hnsw, &made);
        cr_assert_eq(load(&made), -EINVAL);
        lists(&ivf, &few, &few_hnsw, &made);
        cr_assert_eq(load(&made), 0, "%s", why);
        lists(&ivf, &few, &few_ivf, &made);
        cr_assert_eq(load(&made), -EINVAL);
        graph(&few_hnsw, &few_ivf, &inner);
        lists(&ivf, &few, &inner, &made);
        cr_assert_eq(load(&made), -EINVAL);
        cr_assert_str_eq(why, "an index of kind 'IwFl' cannot stand below a graph");
}

Test(index, one_without_vectors_is_refused)
{
        static const char *const factories[] = { "Flat", "HNSW8", "IVF4,Flat", "SQ8" };
        int32_t entry = 0x41414141;

        for (size_t i = 0; i < LENGTH_OF(factories); i++) {
                make(factories[i], 0, &made);
                cr_assert_eq(load(&made), -EINVAL, "%s", factories[i]);
                cr_assert(strstr(why, "0 vectors"), "%s", why);
        }
        make("HNSW8", 0, &made);
        for (size_t at = HEADER; at + 4 <= made.n; at++)
                if (memcmp(made.p + at, "\xff\xff\xff\xff", 4) == 0)
                        memcpy(made.p + at, &entry, 4);
        cr_assert_eq(load(&made), -EINVAL);
}
