/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_bench [EXPERTS [LENGTH [ROUNDS]]]: how long one estimate of a score model takes, on one core.
 *
 * The model has 2^17 buckets of drawn weights, 14 categories and EXPERTS (64) heads; prompts of LENGTH (1000) characters of drawn words, another
 * one each time, so that its rows are not in a cache from the last one.  Prints p50 and p99.
 */
#include <math.h>

#include "base.h"
#include "scorer.h"

#define BITS 17
#define CATEGORIES 14
#define PROMPTS 256

static uint64_t state = 1;

static uint32_t draw(void)
{
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(state >> 33);
}

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static struct scorer *make(size_t experts)
{
        size_t all = CATEGORIES + experts, columns = classifier_columns(all);
        int8_t *rows = calloc((size_t)1 << BITS, columns);
        float *scale = calloc(4 * all + 4, sizeof *scale), *bias = scale + all, *mix = bias + all;
        float *table = calloc((CATEGORIES + 1) * experts, sizeof *table);
        char (*name)[24] = calloc(all, sizeof *name);
        const char **labels = calloc(all, sizeof *labels);
        struct classifier_parts p = { .bits = BITS, .categories = all, .rows = rows, .scale = scale, .bias = bias, .idf_step = 1, .slope = 1, .text_max = 16384 };
        struct scorer_parts parts = { .categories = CATEGORIES, .experts = experts, .table = table, .mix = mix };

        assert(rows && scale && table && name && labels);
        for (size_t i = 0; i < (size_t)columns << BITS; i++)
                rows[i] = (int8_t)(draw() % 127);
        for (size_t i = 0; i < all; i++) {
                (void)snprintf(name[i], sizeof *name, "%s%zu", i < CATEGORIES ? "" : SCORER_PREFIX, i);
                labels[i] = name[i];
                scale[i] = .01f;
        }
        for (size_t i = 0; i < 3 * experts; i++)
                mix[i] = .5f;
        p.labels = labels;
        return scorer_create(classifier_create(&p), &parts);
}

/* One of some thousand words, few of them often, as in any language; returns its length with the blank behind it. */
static size_t put_word(char *to, size_t room)
{
        uint64_t word = (uint64_t)(draw() % 64) * (draw() % 64) + 1, letters = word * 0x9e3779b97f4a7c15u;
        size_t n = 2 + letters % 8, i = 0;

        for (; i < MIN(n, room); i++, letters = letters * 6364136223846793005u + 1)
                to[i] = (char)('a' + (letters >> 40) % 26);
        if (i < room)
                to[i++] = ' ';
        return i;
}

int main(int argc, char **argv)
{
        size_t experts = argc > 1 ? strtoul(argv[1], NULL, 10) : 64, length = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
        size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 20;
        struct score_table_doubt limits = { .5, NAN, NAN };
        char *text = malloc(PROMPTS * length + 1);
        int64_t *took = calloc(rounds * PROMPTS + 1, sizeof *took);
        struct scorer *s;

        if (!text || !took || experts < 1 || experts > SCORER_EXPERTS_MAX || length < 8 || rounds < 1)
                return 2;
        s = make(experts);
        for (size_t i = 0; i < PROMPTS * length;)
                i += put_word(text + i, PROMPTS * length - i);
        for (size_t i = 0; i < rounds * PROMPTS; i++) {
                float estimate[SCORER_EXPERTS_MAX];
                struct verdict v;
                double doubt;
                int64_t begin = now_ns();

                scorer_estimate(s, text + i % PROMPTS * length, length, 0, &limits, estimate, &v, &doubt);
                took[i] = now_ns() - begin;
        }
        qsort(took, rounds * PROMPTS, sizeof *took, by_value);
        (void)printf("%zu experts, %zu characters: p50 %.1f us, p99 %.1f us\n", experts, length, (double)took[rounds * PROMPTS / 2] / 1e3,
                     (double)took[rounds * PROMPTS * 99 / 100] / 1e3);
        return 0;
}
