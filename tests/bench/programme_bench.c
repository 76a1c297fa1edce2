/* SPDX-License-Identifier: Apache-2.0 */
/*
 * programme_bench [CATEGORIES [EXPERTS]]: how long the best map takes to find and to prove, under several budgets (200 and 60).
 *
 * Experts are made up: larger ones are better, with strengths and weaknesses; half the size is active.  Prints wall and processor time.
 */
#include <math.h>

#include "base.h"
#include "noise.h"
#include "programme.h"

static double now(clockid_t clock)
{
        struct timespec t;

        clock_gettime(clock, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double draw(size_t a, size_t b)
{
        return noise_uniform(noise_bits(1, a, b));
}

static void measure(const char *what, struct programme *p, double loaded, double active)
{
        double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        struct programme_answer a;
        int r;

        p->budget[PROGRAMME_LOADED] = loaded;
        p->budget[PROGRAMME_ACTIVE] = active;
        p->budget[PROGRAMME_PRICE] = INFINITY;
        r = programme_solve(p, &a);
        wall = now(CLOCK_MONOTONIC) - wall;
        cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        if (r < 0) {
                (void)printf("%-34s %s\n", what, ERRNO_TEXT(r));
                return;
        }
        (void)printf("%-34s %7.1f s %7.1f s   score %.6f, loaded %.1f, active %.2f\n", what, wall, cpu, 1 - a.loss, a.cost[PROGRAMME_LOADED],
                     a.cost[PROGRAMME_ACTIVE]);
        (void)fflush(stdout);
        programme_answer_finish(&a);
}

int main(int argc, char **argv)
{
        size_t m = argc > 1 ? strtoul(argv[1], NULL, 10) : 200, k = argc > 2 ? strtoul(argv[2], NULL, 10) : 60;
        CLEANUP(free_p) double *loss = calloc(m * k + 1, sizeof *loss), *weight = calloc(m + 1, sizeof *weight), *quality = calloc(k + 1, sizeof *quality);
        CLEANUP(free_p) double *loaded = calloc(k + 1, sizeof *loaded), *active = calloc(k + 1, sizeof *active);
        struct programme p = { .categories = m, .experts = k, .loss = loss, .weight = weight, .cost = { loaded, active } };
        double all = 0;

        if (!loss || !weight || !quality || !loaded || !active || m == 0 || k == 0 || !programme_can()) {
                (void)fprintf(stderr, "usage: programme_bench [CATEGORIES [EXPERTS]]; a build with Cbc\n");
                return 2;
        }
        for (size_t e = 0; e < k; e++) {
                loaded[e] = round(10 * (1 + 70 * draw(e, 0))) / 10;
                active[e] = loaded[e] / 2;
                quality[e] = .4 + .3 * log(loaded[e]) / log(71) + .05 * draw(e, 1);
        }
        for (size_t c = 0; c < m; c++)
                all += weight[c] = .1 + draw(c, 2);
        for (size_t c = 0; c < m; c++) {
                double hard = .2 * draw(c, 3);

                weight[c] /= all;
                for (size_t e = 0; e < k; e++)
                        loss[c * k + e] = 1 - MIN(1, MAX(0, quality[e] - hard + .15 * (draw(c, 10 + e) - .5)));
        }
        (void)printf("%zu categories, %zu experts                   wall processor\n", m, k);
        measure("no budget", &p, INFINITY, INFINITY);
        measure("300 loaded", &p, 300, INFINITY);
        measure("150 loaded", &p, 150, INFINITY);
        measure("mean active 20", &p, INFINITY, 20);
        measure("300 loaded, mean active 25", &p, 300, 25);
        return 0;
}
