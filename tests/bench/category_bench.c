/* SPDX-License-Identifier: Apache-2.0 */
/*
 * category_bench MODEL [LENGTH [ROUNDS [ENCODER]]]: how long one decision of the category model takes, on one core.
 *
 * Prompts come from stdin, one a line (`zcat questions.jsonl.gz` does), glued together to LENGTH characters; every round decides
 * each of them once, so caches are as warm as a busy gateway's.  Prints p50, p99 and the mean of single decisions.  With ROUNDS 0
 * it decides once and prints nothing: for counting instructions.
 */
#include <sched.h>

#include "base.h"
#include "classifier.h"
#include "encoder.h"

#define PROMPTS 512

static int by_value(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Fills up to PROMPTS texts of `length` bytes from stdin; returns how many. */
static size_t read_prompts(char *text, size_t length)
{
        size_t n = fread(text, 1, PROMPTS * length, stdin) / length;

        return n;
}

static void measure(const struct classifier *c, const char *text, size_t n, size_t length, int64_t *took, size_t rounds)
{
        double sum = 0;

        for (size_t r = 0; r < rounds; r++)
                for (size_t i = 0; i < n; i++) {
                        struct verdict v;
                        int64_t begin = now_ns();

                        classifier_decide(c, text + i * length, length, 0, &v);
                        took[r * n + i] = now_ns() - begin;
                        sum += (double)took[r * n + i];
                }
        qsort(took, rounds * n, sizeof *took, by_value);
        (void)printf("%zu characters: p50 %.1f us, p99 %.1f us, mean %.1f us (%zu decisions on %zu prompts)\n", length,
                     (double)took[rounds * n / 2] / 1e3, (double)took[rounds * n * 99 / 100] / 1e3,
                     sum / (double)(rounds * n) / 1e3, rounds * n, n);
}

int main(int argc, char **argv)
{
        size_t length = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 1000;
        size_t rounds = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 100, n;
        CLEANUP(free_p) char *text = length > 0 && length <= 1000000 ? malloc(PROMPTS * length) : NULL;
        CLEANUP(free_p) int64_t *took = calloc(rounds * PROMPTS + 1, sizeof *took);
        struct encoder *e = NULL;
        struct classifier *c;
        char why[256];
        cpu_set_t one;

        if (argc < 2 || !text || !took) {
                (void)fprintf(stderr, "usage: category_bench MODEL [LENGTH [ROUNDS [ENCODER]]] < PROMPTS\n");
                return 2;
        }
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        if (classifier_open(argv[1], &c, why, sizeof why) < 0) {
                (void)fprintf(stderr, "%s: %s\n", argv[1], why);
                return 1;
        }
        if (argc > 4 && (encoder_open(argv[4], &e, why, sizeof why) < 0 || classifier_attach(c, e, why, sizeof why) < 0)) {
                (void)fprintf(stderr, "%s: %s\n", argv[4], why);
                return 1;
        }
        n = read_prompts(text, length);
        if (n == 0) {
                (void)fprintf(stderr, "stdin has fewer than %zu bytes\n", length);
        } else if (rounds == 0) {
                struct verdict v;

                classifier_decide(c, text, length, 0, &v);
        } else {
                measure(c, text, n, length, took, rounds);
        }
        classifier_destroy(c);
        encoder_destroy(e);
        return n == 0;
}
