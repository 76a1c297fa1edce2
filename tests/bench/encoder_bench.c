/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_bench MODEL ROUNDS: the time of one encoding.  Reads one JSON string a line; writes for each text the tokens and the median
 * time over the rounds in microseconds of the processor.  Texts take turns, so that none is in a cache because it was the last one.
 */
#include <jansson.h>

#include "base.h"
#include "encoder.h"

#define LINE_MAX_BYTES ((size_t)1 << 20)
#define TEXTS_MAX 1000
#define ROUNDS_MAX 1000

static int by_time(const void *a, const void *b)
{
        const double *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void measure(const struct encoder *e, json_t *const *texts, size_t n, size_t rounds, double (*took)[ROUNDS_MAX])
{
        float vector[ENCODER_DIM_MAX], sum = 0;
        size_t tokens = 0;

        for (size_t round = 0; round < rounds; round++)
                for (size_t i = 0; i < n; i++) {
                        double began = now();

                        (void)encoder_encode(e, NULL, json_string_value(texts[i]), json_string_length(texts[i]), 0, vector, &tokens);
                        took[i][round] = now() - began;
                        sum += vector[0];
                }
        for (size_t i = 0; i < n; i++) {
                (void)encoder_encode(e, NULL, json_string_value(texts[i]), json_string_length(texts[i]), 0, vector, &tokens);
                qsort(took[i], rounds, sizeof took[i][0], by_time);
                (void)printf("%zu %.3f\n", tokens, took[i][rounds / 2]);
        }
        (void)fprintf(stderr, "%s", sum > 1e30f ? "?" : ""); /* so that nothing is left out */
}

int main(int argc, char **argv)
{
        CLEANUP(free_p) char *line = malloc(LINE_MAX_BYTES);
        CLEANUP(free_p) double(*took)[ROUNDS_MAX] = calloc(TEXTS_MAX, sizeof *took);
        json_t *texts[TEXTS_MAX];
        struct encoder *e = NULL;
        long rounds = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
        char why[256];
        size_t n = 0;

        if (rounds < 1 || rounds > ROUNDS_MAX || !line || !took) {
                (void)fprintf(stderr, "usage: encoder_bench MODEL ROUNDS (1..%d)\n", ROUNDS_MAX);
                return 2;
        }
        if (encoder_open(argv[1], &e, why, sizeof why) < 0) {
                (void)fprintf(stderr, "%s: %s\n", argv[1], why);
                return 1;
        }
        while (n < TEXTS_MAX && fgets(line, (int)LINE_MAX_BYTES, stdin)) {
                texts[n] = json_loads(line, JSON_DECODE_ANY, NULL);
                if (!json_is_string(texts[n])) {
                        (void)fprintf(stderr, "line %zu is no JSON string\n", n + 1);
                        return 1;
                }
                n++;
        }
        measure(e, texts, n, (size_t)rounds, took);
        while (n > 0)
                json_decref(texts[--n]);
        encoder_destroy(e);
        return 0;
}
