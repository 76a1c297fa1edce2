/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces are taken from one counter, so that a thread that is slow takes fewer of them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base.h"
#include "parallel.h"

struct share {
        void (*work)(void *ctx, size_t begin, size_t end);
        void *ctx;
        size_t n, grain;
        atomic_size_t next;
};

static void *run(void *arg)
{
        struct share *s = arg;
        size_t begin;

        while ((begin = atomic_fetch_add(&s->next, s->grain)) < s->n)
                s->work(s->ctx, begin, MIN(begin + s->grain, s->n));
        return NULL;
}

void parallel_rows(unsigned threads, size_t n, size_t grain, void (*work)(void *ctx, size_t begin, size_t end), void *ctx)
{
        struct share s = { .work = work, .ctx = ctx, .n = n, .grain = MAX(grain, (size_t)1) };
        pthread_t thread[PARALLEL_THREADS_MAX];
        size_t pieces = n / s.grain + (n % s.grain > 0);
        unsigned started = 0;

        threads = MIN(threads, PARALLEL_THREADS_MAX);
        while (started + 1 < threads && started + 1 < pieces && pthread_create(&thread[started], NULL, run, &s) == 0)
                started++;
        (void)run(&s);
        while (started > 0)
                (void)pthread_join(thread[--started], NULL);
}

unsigned parallel_processors(void)
{
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

        return (unsigned)MIN(MAX(n, 1), PARALLEL_THREADS_MAX);
}
