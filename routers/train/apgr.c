/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts are sorted by rank once; a resample is a count for each of them, so that each costs one walk.
 */
#include <math.h>

#include "apgr.h"
#include "base.h"

const double apgr_shares[APGR_SHARES] = { .2, .5, .8 };

struct ranked {
        double rank, strong, weak;
        size_t at;
};

static int by_rank(const void *a, const void *b)
{
        const struct ranked *x = a, *y = b;

        if (x->rank < y->rank || x->rank > y->rank)
                return x->rank < y->rank ? -1 : 1;
        return x->at < y->at ? -1 : x->at > y->at;
}

static double count_of(const uint32_t *count, const struct ranked *x)
{
        return count ? count[x->at] : 1;
}

/* The ranks at whole places of the sorted sample, one after the other. */
struct walk {
        const struct ranked *list;
        const uint32_t *count;
        size_t at;
        double passed; /* prompts before list[at] */
};

static double rank_at(struct walk *w, double place)
{
        while (w->passed + count_of(w->count, &w->list[w->at]) <= place)
                w->passed += count_of(w->count, &w->list[w->at++]);
        return w->list[w->at].rank;
}

static void find_edges(const struct ranked *list, const uint32_t *count, size_t n, double edge[APGR_EDGES])
{
        struct walk w = { list, count, 0, 0 };

        for (int e = 0; e < APGR_EDGES; e++) {
                double place = (double)(n - 1) * e / (APGR_EDGES - 1), whole = floor(place), low = rank_at(&w, whole);
                struct walk next = w;

                edge[e] = place > whole ? low + (place - whole) * (rank_at(&next, whole + 1) - low) : low;
        }
}

/* The curve, from the last edge to the first; false: no gap. */
static bool draw(const struct ranked *list, const uint32_t *count, size_t n, struct apgr *y)
{
        double edge[APGR_EDGES], strong = 0, weak = 0, area = 0, score, sent = 0;
        size_t at = n;

        find_edges(list, count, n, edge);
        for (size_t i = 0; i < n; i++) {
                strong += count_of(count, &list[i]) * list[i].strong;
                weak += count_of(count, &list[i]) * list[i].weak;
        }
        score = weak;
        for (int e = 0; e < APGR_EDGES; e++) {
                double from = edge[APGR_EDGES - 1 - e];

                for (; at > 0 && (e == 0 ? list[at - 1].rank > from : list[at - 1].rank >= from); at--) {
                        sent += count_of(count, &list[at - 1]);
                        score += count_of(count, &list[at - 1]) * (list[at - 1].strong - list[at - 1].weak);
                }
                y->share[e] = sent / (double)n;
                y->score[e] = score / (double)n;
                if (e > 0)
                        area += (y->share[e] - y->share[e - 1]) * (y->score[e] + y->score[e - 1]) / 2;
        }
        strong /= (double)n;
        weak /= (double)n;
        y->apgr = (area - weak) / (strong - weak);
        for (int s = 0; s < APGR_SHARES; s++) {
                double wanted = weak + apgr_shares[s] * (strong - weak);

                y->calls[s] = (double)NAN;
                for (int e = 1; e < APGR_EDGES && isnan(y->calls[s]); e++)
                        if (y->score[e] >= wanted)
                                y->calls[s] = y->share[e - 1] + (y->share[e] - y->share[e - 1]) * (wanted - y->score[e - 1]) /
                                                                        (y->score[e] - y->score[e - 1]);
        }
        return strong > weak;
}

int apgr_measure(const double *rank, const double *strong, const double *weak, size_t n, size_t resamples, uint64_t seed, struct apgr *ret)
{
        CLEANUP(free_p) struct ranked *list = calloc(n + 1, sizeof *list);
        CLEANUP(free_p) uint32_t *count = calloc(n + 1, sizeof *count);
        CLEANUP(free_p) double *drawn = calloc(resamples + 1, sizeof *drawn);
        struct apgr y = { 0 }, other;
        size_t kept = 0;

        if (!list || !count || !drawn)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                list[i] = (struct ranked){ rank[i], strong[i], weak[i], i };
        qsort(list, n, sizeof *list, by_rank);
        if (n == 0 || !draw(list, NULL, n, &y))
                return -ERANGE;
        for (size_t r = 0; r < resamples; r++) {
                resample_draw(seed, r, n, count);
                if (draw(list, count, n, &other))
                        drawn[kept++] = other.apgr;
        }
        y.interval = resample_interval(drawn, kept);
        *ret = y;
        return 0;
}
