/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_bench CATALOGUE [OPTION...]: what a recommendation costs without a gateway, and what FAISS costs for the same queries.
 *
 *   --threads N  --seconds S  --wanted N  --budget N      (2, 5, 50, as trained)
 *   --sample N                                            queries that recall is counted on (500)
 *   --answers N                                           users whose whole answers are compared with exact ones (20)
 *   --faiss FILE:PARAMETERS                               an index of the same items, for example x.index:efSearch=64; may be repeated
 *
 * Run it with OMP_NUM_THREADS=1, as the gateway's pool does: with more, a query waits for threads.
 *
 * Recall: of the first 10 and 20 by exact search, how many are found, over the queries of random users' interests.
 */
#include <getopt.h>
#include <math.h>
#include <pthread.h>

#include "base.h"
#include "interests.h"
#include "noise.h"

#define QUERIES_MAX 100000
#define TIMES_MAX 4000000

struct query {
        uint32_t interest;
        float v[];
};

struct bench {
        struct catalogue *c;
        struct interests_settings settings;
        size_t threads, wanted, sample, answers, n_queries, users;
        double seconds;
        char **query;      /* [n_queries] struct query */
        uint32_t (*exact)[20];
        const char *faiss[8];
        size_t n_faiss;
        struct index *index;
        int64_t until;
        bool by_faiss;
};

struct worker {
        struct bench *b;
        size_t number, done, items, parts;
        double cpu_us;       /* of the thread: what others do on the machine is not in it */
        float *time;
        pthread_t thread;
};

static int by_time(const void *a, const void *b)
{
        const float *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

/* Random users' interests as queries, and what exact search finds for them. */
static int make_queries(struct bench *b)
{
        const struct ivf *cells = &b->c->by_interest;
        struct interests_room *room = NULL;
        struct ivf_room *search = NULL;
        struct ivf_hit hit[20];
        size_t at = 0;

        if (interests_room_create(b->c, &room) < 0 || ivf_room_create(cells, &search) < 0)
                return -ENOMEM;
        b->query = calloc(QUERIES_MAX, sizeof *b->query);
        b->exact = calloc(QUERIES_MAX, sizeof *b->exact);
        for (uint64_t u = 0; b->query && b->exact && b->n_queries < b->sample && u < 100 * b->sample; u++) {
                struct interests_ask ask = { .user = (uint32_t)(noise_bits(1, u, 0) % b->c->users.n) };
                const struct interests_part *part;
                const float *v;
                size_t n;

                if (interests_mixture(b->c, &b->settings, &ask, room, &part, &n, &v) < 0)
                        return -ENOMEM;
                b->users++;
                at += n;
                for (size_t p = 0; p < n && b->n_queries < MIN(b->sample, (size_t)QUERIES_MAX); p++) {
                        struct query *q = malloc(sizeof *q + cells->dim * sizeof q->v[0]);

                        if (!q)
                                return -ENOMEM;
                        q->interest = part[p].interest;
                        memcpy(q->v, v + p * cells->dim, cells->dim * sizeof q->v[0]);
                        n = MIN(n, (size_t)256);
                        (void)ivf_search(cells, q->v, IVF_NONE, SIZE_MAX, 20, search, hit);
                        for (size_t i = 0; i < 20; i++)
                                b->exact[b->n_queries][i] = hit[i].id;
                        b->query[b->n_queries++] = (char *)q;
                }
        }
        (void)printf("%zu queries of %zu users, %.1f interests each\n", b->n_queries, b->users, (double)at / (double)b->users);
        interests_room_destroy(room);
        ivf_room_destroy(search);
        return b->n_queries > 0 ? 0 : -ENODATA;
}

static size_t common(const uint32_t *exact, size_t k, const uint32_t *got, size_t n)
{
        size_t same = 0;

        for (size_t i = 0; i < k; i++)
                for (size_t j = 0; j < MIN(n, k); j++)
                        same += exact[i] == got[j];
        return same;
}

static void tell_queries(const struct bench *b, const char *what, float *time, const size_t *same)
{
        double total = 0;
        size_t n = b->n_queries;

        for (size_t i = 0; i < n; i++)
                total += (double)time[i];
        qsort(time, n, sizeof *time, by_time);
        (void)printf("%-40s recall@10 %.4f recall@20 %.4f   %8.1f us a query, p50 %.1f p99 %.1f\n", what, (double)same[0] / (double)(n * 10),
                     (double)same[1] / (double)(n * 20), total / (double)n, (double)time[n / 2], (double)time[n * 99 / 100]);
}

/* One thread, one query at a time: the index's cost alone. */
static int measure_queries(struct bench *b, const char *what, size_t budget, struct index *index)
{
        const struct ivf *cells = &b->c->by_interest;
        CLEANUP(free_p) float *time = malloc(b->n_queries * sizeof *time);
        struct ivf_room *room = NULL;
        size_t same[2] = { 0 };
        char why[256];

        if (!time || ivf_room_create(cells, &room) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_queries; i++) {
                const struct query *q = (const struct query *)(const void *)b->query[i];
                struct index_hit found[20];
                struct ivf_hit hit[20];
                uint32_t got[20];
                size_t n = 0;
                struct timespec x, y;

                clock_gettime(CLOCK_MONOTONIC, &x);
                if (index) {
                        if (index_search(index, q->v, 20, found, &n, why, sizeof why) < 0) {
                                (void)fprintf(stderr, "%s\n", why);
                                return -EIO;
                        }
                } else {
                        n = ivf_search(cells, q->v, q->interest, budget, 20, room, hit);
                }
                clock_gettime(CLOCK_MONOTONIC, &y);
                time[i] = (float)((double)(y.tv_sec - x.tv_sec) * 1e6 + (double)(y.tv_nsec - x.tv_nsec) / 1e3);
                for (size_t k = 0; k < n; k++)
                        got[k] = index ? (uint32_t)found[k].id : hit[k].id;
                same[0] += common(b->exact[i], 10, got, n);
                same[1] += common(b->exact[i], 20, got, n);
        }
        tell_queries(b, what, time, same);
        ivf_room_destroy(room);
        return 0;
}

/* Whole answers, by interests alone: how many of the items that exact search gives are among those that this budget gives. */
static int measure_answers(struct bench *b, size_t budget, size_t users)
{
        struct interests_settings exact = b->settings, with = b->settings;
        struct interests_room *room = NULL;
        size_t same = 0, all = 0;
        uint32_t kept[INTERESTS_WANTED_MAX];
        char why[256];

        exact.budget = 0;
        with.budget = (uint32_t)budget;
        if (interests_room_create(b->c, &room) < 0)
                return -ENOMEM;
        for (uint64_t u = 0; u < users; u++) {
                struct interests_ask ask = { .user = (uint32_t)(noise_bits(9, u, 0) % b->c->users.n), .wanted = b->wanted };
                struct interests_answer a;
                size_t n;

                if (interests_find(b->c, &exact, &ask, room, &a, why, sizeof why) < 0)
                        return -EIO;
                n = a.n;
                for (size_t i = 0; i < n; i++)
                        kept[i] = a.item[i].item;
                if (interests_find(b->c, &with, &ask, room, &a, why, sizeof why) < 0)
                        return -EIO;
                for (size_t i = 0; i < n; i++)
                        for (size_t k = 0; k < a.n; k++)
                                same += kept[i] == a.item[k].item;
                all += n;
        }
        (void)printf("answers, budget %-6zu of %zu users         %.4f of the items of an exact search\n", budget, users, (double)same / (double)all);
        interests_room_destroy(room);
        return 0;
}

/* Requests of random users: the whole way, or by FAISS only the searches of the same queries. */
static void *ask_all(void *arg)
{
        struct worker *w = arg;
        struct bench *b = w->b;
        struct interests_room *room = NULL;
        char why[256];

        if (interests_room_create(b->c, &room) < 0)
                return NULL;
        for (uint64_t i = 0; now_us() < b->until && w->done < TIMES_MAX; i++) {
                struct interests_ask ask = { .user = (uint32_t)(noise_bits(2 + w->number, i, 0) % b->c->users.n), .wanted = b->wanted };
                const struct interests_part *part;
                struct interests_answer a;
                struct index_hit hit[INDEX_K_MAX];
                struct timespec x, y;
                const float *v;
                size_t n = 0, found;

                clock_gettime(CLOCK_MONOTONIC, &x);
                if (b->by_faiss) {
                        if (interests_mixture(b->c, &b->settings, &ask, room, &part, &n, &v) < 0)
                                break;
                        clock_gettime(CLOCK_MONOTONIC, &x); /* FAISS alone */
                        for (size_t p = 0; p < n; p++)
                                (void)index_search(b->index, v + p * b->c->by_interest.dim, 10 + (size_t)((float)b->wanted * part[p].weight), hit,
                                                   &found, why, sizeof why);
                } else {
                        if (interests_find(b->c, &b->settings, &ask, room, &a, why, sizeof why) < 0)
                                break;
                        n = a.n_parts;
                        w->items += a.n;
                }
                clock_gettime(CLOCK_MONOTONIC, &y);
                w->parts += n;
                w->time[w->done++] = (float)((double)(y.tv_sec - x.tv_sec) * 1e6 + (double)(y.tv_nsec - x.tv_nsec) / 1e3);
        }
        {
                struct timespec cpu;

                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
                w->cpu_us = (double)cpu.tv_sec * 1e6 + (double)cpu.tv_nsec / 1e3;
        }
        interests_room_destroy(room);
        return NULL;
}

static int measure_requests(struct bench *b, const char *what)
{
        struct worker *w = calloc(b->threads, sizeof *w);
        size_t n = 0, parts = 0, items = 0;
        double sum = 0, cpu = 0;
        float *all;

        if (!w)
                return -ENOMEM;
        b->until = now_us() + (int64_t)(b->seconds * 1e6);
        for (size_t i = 0; i < b->threads; i++) {
                w[i] = (struct worker){ .b = b, .number = i, .time = malloc(TIMES_MAX * sizeof(float)) };
                if (!w[i].time || pthread_create(&w[i].thread, NULL, ask_all, &w[i]) != 0)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < b->threads; i++) {
                (void)pthread_join(w[i].thread, NULL);
                n += w[i].done;
                parts += w[i].parts;
                items += w[i].items;
                cpu += w[i].cpu_us;
        }
        all = malloc((n + 1) * sizeof *all);
        if (!all || n == 0)
                return -ENODATA;
        for (size_t i = 0, at = 0; i < b->threads; i++) {
                memcpy(all + at, w[i].time, w[i].done * sizeof *all);
                at += w[i].done;
                free(w[i].time);
        }
        for (size_t i = 0; i < n; i++)
                sum += (double)all[i];
        qsort(all, n, sizeof *all, by_time);
        /* by FAISS the mixtures are made too, and not counted: its rate is what the time of its own searches allows */
        (void)printf("%-40s %8.0f a second on %zu threads, p50 %.0f us, p99 %.0f us, CPU %.0f us each; %.1f interests, %.1f items\n", what,
                     b->by_faiss ? (double)n / sum * 1e6 * (double)b->threads : (double)n / b->seconds, b->threads, (double)all[n / 2],
                     (double)all[n * 99 / 100], cpu / (double)n, (double)parts / (double)n, (double)items / (double)n);
        free(all);
        free(w);
        return 0;
}

static int run(struct bench *b)
{
        static const size_t budgets[] = { 500, 1000, 1500, 2000, 4000, 8000 };
        struct interests_settings trained = b->settings;
        char what[128], why[256], path[PATH_MAX];
        int r = make_queries(b);

        for (size_t i = 0; r == 0 && i < LENGTH_OF(budgets); i++) {
                (void)snprintf(what, sizeof what, "cells, %zu vectors", budgets[i]);
                r = measure_queries(b, what, budgets[i], NULL);
        }
        b->settings.also = b->settings.votes = b->settings.popular = 0;
        for (size_t i = 0; r == 0 && i < LENGTH_OF(budgets) && b->answers > 0; i++)
                r = measure_answers(b, budgets[i], b->answers);
        if (r == 0)
                r = measure_requests(b, "requests, by interests alone");
        b->settings = trained;
        if (r == 0)
                r = measure_requests(b, "requests, weighed as trained");
        for (size_t i = 0; r == 0 && i < b->n_faiss; i++) {
                const char *colon = strrchr(b->faiss[i], ':');

                (void)snprintf(path, sizeof path, "%.*s", (int)(colon ? colon - b->faiss[i] : (long)strlen(b->faiss[i])), b->faiss[i]);
                r = index_load(path, b->c->by_interest.dim, INDEX_INNER_PRODUCT, &b->index, why, sizeof why);
                if (r == 0 && colon && colon[1])
                        r = index_tune(b->index, colon + 1, why, sizeof why);
                if (r < 0) {
                        (void)fprintf(stderr, "%s: %s\n", path, why);
                        return r;
                }
                (void)snprintf(what, sizeof what, "FAISS %.100s", strrchr(b->faiss[i], '/') ? strrchr(b->faiss[i], '/') + 1 : b->faiss[i]);
                r = measure_queries(b, what, 0, b->index);
                b->by_faiss = true;
                if (r == 0)
                        r = measure_requests(b, "  its searches of a request alone");
                b->by_faiss = false;
                index_destroy(b->index);
        }
        return r;
}

int main(int argc, char **argv)
{
        static const struct option options[] = { { "threads", 1, NULL, 't' }, { "seconds", 1, NULL, 's' }, { "wanted", 1, NULL, 'n' },
                                                 { "budget", 1, NULL, 'b' },  { "sample", 1, NULL, 'q' },  { "faiss", 1, NULL, 'f' },
                                                 { "answers", 1, NULL, 'a' },
                                                 { NULL, 0, NULL, 0 } };
        struct bench b = { .threads = 2, .seconds = 5, .wanted = 50, .sample = 500, .answers = 20 };
        long budget = -1;
        char why[384] = "";
        int option, r;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 't')
                        b.threads = strtoul(optarg, NULL, 10);
                else if (option == 's')
                        b.seconds = strtod(optarg, NULL);
                else if (option == 'n')
                        b.wanted = strtoul(optarg, NULL, 10);
                else if (option == 'b')
                        budget = strtol(optarg, NULL, 10);
                else if (option == 'q')
                        b.sample = MIN(strtoul(optarg, NULL, 10), (unsigned long)QUERIES_MAX);
                else if (option == 'a')
                        b.answers = strtoul(optarg, NULL, 10);
                else if (option == 'f' && b.n_faiss < LENGTH_OF(b.faiss))
                        b.faiss[b.n_faiss++] = optarg;
                else
                        return 2;
        }
        if (optind + 1 != argc || b.threads == 0 || b.threads > 64 || b.wanted > INTERESTS_WANTED_MAX) {
                (void)fprintf(stderr, "usage: interests_bench CATALOGUE [--threads N] [--seconds S] [--wanted N] [--budget N] [--sample N] "
                              "[--faiss FILE:PARAMETERS]\n");
                return 2;
        }
        r = catalogue_open(argv[optind], false, &b.c, why, sizeof why);
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", argv[optind], why);
                return 1;
        }
        b.settings = b.c->settings;
        if (budget >= 0)
                b.settings.budget = (uint32_t)budget;
        (void)printf("%zu items in %zu interests, %zu users, %zu dimensions; budget %u, at most %u interests\n", b.c->items.n,
                     b.c->by_interest.n_cells, b.c->users.n, b.c->by_interest.dim, b.settings.budget, b.settings.interests);
        r = run(&b);
        catalogue_close(b.c);
        return r < 0;
}
