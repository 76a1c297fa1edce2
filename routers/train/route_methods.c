/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Categories, table and heads are those of `pointsman-train score`: what is measured is what the routers serve.
 */
#include <math.h>

#include "base.h"
#include "nearest.h"
#include "parallel.h"
#include "progress.h"
#include "route_methods.h"
#include "score_train.h"

#define PARTS 3 /* that calibrate the model on each other */
#define LENGTHS 10 /* classes of prompts about as long, of equal numbers */
#define TEXT_MAX 16384

const char *const route_names[ROUTE_METHODS] = { "random", "prompt length", "best single", "true category", "likeliest category", "posterior x table",
                                                 "nearest prompts", "heads", "expected score", "oracle" };

/* What one fold's training gives. */
struct trained {
        const struct route_set *train, *test;
        const struct route_settings *s;
        const double *table;           /* [labels + 1][experts] */
        bool *use;                     /* [train->rows.n] */
        struct score_trained model;
        float *target;                 /* [train->rows.n][experts], for it */
        struct nearest *nearest;
        size_t length[LENGTHS];        /* upper ends of the classes */
        double by_length[LENGTHS][OUTCOMES_EXPERTS_MAX];
        size_t *ask, n_ask;            /* rows of test */
        struct route_scores *scores;
        int how;                       /* garble, or -1 */
        size_t done;
};

bool route_method_wanted(const char *only, enum route_method m)
{
        size_t n = strlen(route_names[m]);

        if (!only)
                return true;
        for (const char *p = only; *p; p += strcspn(p, ","), p += *p == ',')
                if (strcspn(p, ",") == n && memcmp(p, route_names[m], n) == 0)
                        return true;
        return false;
}

int route_methods_check(const char *only)
{
        for (const char *p = only; p && *p; p += strcspn(p, ","), p += *p == ',') {
                bool known = false;

                for (int m = 0; m < ROUTE_METHODS; m++)
                        known = known || (strcspn(p, ",") == strlen(route_names[m]) && memcmp(p, route_names[m], strlen(route_names[m])) == 0);
                if (known)
                        continue;
                (void)fprintf(stderr, "--only '%.*s': known are", (int)strcspn(p, ","), p);
                for (int m = 0; m < ROUTE_METHODS; m++)
                        (void)fprintf(stderr, "%s %s", m ? "," : "", route_names[m]);
                (void)fputc('\n', stderr);
                return -EINVAL;
        }
        return 0;
}

static bool needs_model(enum route_method m)
{
        return m == ROUTE_LIKELIEST || m == ROUTE_POSTERIOR || m == ROUTE_HEADS || m == ROUTE_EXPECTED;
}

static bool reads_text(enum route_method m)
{
        return m == ROUTE_LENGTH || m == ROUTE_NEAREST || needs_model(m);
}

/* ---- training --------------------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
        size_t x = *(const size_t *)a, y = *(const size_t *)b;

        return x < y ? -1 : x > y;
}

static size_t class_of(const struct trained *t, size_t length)
{
        size_t c = 0;

        while (c + 1 < LENGTHS && length > t->length[c])
                c++;
        return c;
}

static int train_lengths(struct trained *t)
{
        const struct route_set *s = t->train;
        CLEANUP(free_p) size_t *sorted = calloc(s->rows.n + 1, sizeof *sorted);
        double in[LENGTHS] = { 0 };
        size_t n = 0;

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < s->rows.n; i++)
                if (t->use[i])
                        sorted[n++] = s->rows.list[i].n;
        qsort(sorted, n, sizeof *sorted, by_size);
        for (size_t c = 0; c < LENGTHS; c++)
                t->length[c] = sorted[MIN((c + 1) * n / LENGTHS, n - 1)];
        memset(t->by_length, 0, sizeof t->by_length);
        for (size_t i = 0; i < s->rows.n; i++)
                if (t->use[i]) {
                        size_t c = class_of(t, s->rows.list[i].n);

                        in[c]++;
                        for (size_t k = 0; k < s->experts; k++)
                                t->by_length[c][k] += (double)s->outcome[i][k];
                }
        for (size_t c = 0; c < LENGTHS; c++)
                for (size_t k = 0; k < s->experts; k++)
                        t->by_length[c][k] = (t->by_length[c][k] + t->s->shrink * t->table[s->rows.n_labels * s->experts + k]) / (in[c] + t->s->shrink);
        return 0;
}

static int train_model(struct trained *t)
{
        const struct route_set *s = t->train;
        const struct score_settings how = { .fit = { .bits = t->s->bits, .cost = t->s->cost, .tolerance = .1, .seed = t->s->seed, .text_max = TEXT_MAX },
                                            .parts = PARTS, .shrink = t->s->shrink, .quiet = true };
        struct score_set set = { &s->rows, s->table.experts, s->experts, NULL };

        t->target = calloc(s->rows.n * s->experts + 1, sizeof *t->target);
        if (!t->target)
                return -ENOMEM;
        for (size_t i = 0; i < s->rows.n; i++)
                memcpy(t->target + i * s->experts, s->outcome[i], s->experts * sizeof *t->target);
        set.target = t->target;
        return score_train(&set, t->use, &how, &t->model);
}

static int train(struct trained *t)
{
        int r = train_lengths(t);
        bool wanted = false;

        for (int m = 0; m < ROUTE_METHODS; m++)
                wanted = wanted || (needs_model(m) && route_method_wanted(t->s->only, m));
        if (r == 0 && wanted)
                r = train_model(t);
        if (r == 0 && route_method_wanted(t->s->only, ROUTE_NEAREST))
                r = nearest_create(&t->train->rows, t->use, &t->nearest);
        return r;
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------- */

static void put_row(float *score, const double *row, size_t experts)
{
        for (size_t k = 0; score && k < experts; k++)
                score[k] = (float)row[k];
}

/* Where a method's scores of a prompt go, or NULL. */
static float *place(const struct trained *t, enum route_method m, size_t row)
{
        float *score = t->how < 0 ? t->scores->score[m] : t->scores->noisy[t->how][m];

        return score ? score + row * t->scores->experts : NULL;
}

static void copy(float *to, const float *from, size_t n)
{
        if (to)
                memcpy(to, from, n * sizeof *to);
}

static void ask_model(const struct trained *t, size_t row, const char *text, size_t n)
{
        static const struct score_table_doubt none = { NAN, NAN, NAN };
        size_t labels = t->train->rows.n_labels, experts = t->train->experts;
        float two[OUTCOMES_EXPERTS_MAX], head[OUTCOMES_EXPERTS_MAX], *expected = place(t, ROUTE_EXPECTED, row);
        struct verdict v;
        double doubt;
        bool any;

        if (!t->model.scorer)
                return;
        any = scorer_inputs(t->model.scorer, text, n, 0, &none, two, head, &v, &doubt);
        put_row(place(t, ROUTE_LIKELIEST, row), t->table + (any ? v.category : labels) * experts, experts);
        copy(place(t, ROUTE_POSTERIOR, row), two, experts);
        copy(place(t, ROUTE_HEADS, row), head, experts);
        if (expected)
                scorer_estimate(t->model.scorer, text, n, 0, &none, expected, &v, &doubt);
}

/* The nearest prompts' mean, drawn to the mean of all as if one more had been found. */
static void ask_nearest(const struct trained *t, const char *text, size_t n, float *similar, float *ret)
{
        const struct route_set *s = t->train;
        size_t row[NEAREST_MAX], found;

        if (!ret)
                return;
        found = nearest_find(t->nearest, text, n, t->s->neighbours, similar, row);
        for (size_t k = 0; k < s->experts; k++) {
                double sum = t->table[s->rows.n_labels * s->experts + k];

                for (size_t i = 0; i < found; i++)
                        sum += (double)s->outcome[row[i]][k];
                ret[k] = (float)(sum / (double)(found + 1));
        }
}

static void ask_text(const struct trained *t, size_t row, const char *text, size_t n, float *similar)
{
        put_row(place(t, ROUTE_LENGTH, row), t->by_length[class_of(t, n)], t->train->experts);
        ask_model(t, row, text, n);
        ask_nearest(t, text, n, similar, place(t, ROUTE_NEAREST, row));
}

static void ask_rest(const struct trained *t, size_t row)
{
        const struct route_set *s = t->test;
        size_t experts = s->experts, all = t->train->rows.n_labels;
        float *oracle = place(t, ROUTE_ORACLE, row);

        put_row(place(t, ROUTE_SINGLE, row), t->table + all * experts, experts);
        put_row(place(t, ROUTE_TRUE, row), t->table + s->rows.list[row].label * experts, experts);
        for (size_t k = 0; oracle && k < experts; k++)
                oracle[k] = s->outcome[row][k];
}

static void ask_some(void *ctx, size_t begin, size_t end)
{
        struct trained *t = ctx;
        CLEANUP(free_p) float *similar = calloc(t->train->rows.n + 1, sizeof *similar);

        if (!similar)
                return; /* route_methods_score() sees that too few are done */
        for (size_t i = begin; i < end; i++) {
                size_t row = t->ask[i], n = t->test->rows.list[row].n;
                const char *text = t->test->rows.list[row].text;
                CLEANUP(free_p) char *other = t->how >= 0 ? garble((enum garble)t->how, text, n, t->s->seed + row, &n) : NULL;

                if (t->how >= 0 && !other)
                        return;
                ask_text(t, row, other ? other : text, n, similar);
                if (t->how < 0)
                        ask_rest(t, row);
                progress_show("asking", __atomic_add_fetch(&t->done, 1, __ATOMIC_RELAXED), t->n_ask);
        }
}

static int ask(struct trained *t)
{
        for (t->how = -1; t->how < (t->s->noise ? GARBLES : 0); t->how++) {
                t->done = 0;
                parallel_rows(t->s->threads, t->n_ask, 16, ask_some, t);
                progress_done();
                if (t->done < t->n_ask)
                        return -ENOMEM;
        }
        return 0;
}

/* ---- all folds -------------------------------------------------------------------------------------------------------------- */

static int scores_init(const struct route_set *train, const struct route_set *test, const struct route_settings *s, struct route_scores *x)
{
        size_t cells = test->rows.n * test->experts;
        bool same = train == test;

        *x = (struct route_scores){ .n = test->rows.n, .experts = test->experts, .folds = same ? train->folds : 1, .labels = train->rows.n_labels };
        x->table = calloc(x->folds, sizeof *x->table);
        x->share = calloc(x->folds, sizeof *x->share);
        x->fold = calloc(x->n + 1, sizeof *x->fold);
        if (!x->table || !x->share || !x->fold)
                return -ENOMEM;
        for (size_t i = 0; same && i < x->n; i++)
                x->fold[i] = test->fold[i];
        for (size_t f = 0; f < x->folds; f++) {
                x->table[f] = calloc((x->labels + 1) * x->experts, sizeof **x->table);
                x->share[f] = calloc(x->labels + 1, sizeof **x->share);
                if (!x->table[f] || !x->share[f])
                        return -ENOMEM;
        }
        for (int m = 0; m < ROUTE_METHODS; m++) {
                if (!route_method_wanted(s->only, m) || m == ROUTE_RANDOM || (m == ROUTE_TRUE && !same))
                        continue;
                x->score[m] = calloc(cells, sizeof **x->score);
                if (!x->score[m])
                        return -ENOMEM;
                for (int g = 0; s->noise && reads_text(m) && g < GARBLES; g++) {
                        x->noisy[g][m] = calloc(cells, sizeof ***x->noisy);
                        if (!x->noisy[g][m])
                                return -ENOMEM;
                }
        }
        return 0;
}

static int one_fold(const struct route_set *train_set, const struct route_set *test, const struct route_settings *s, size_t fold, struct route_scores *x)
{
        bool same = train_set == test;
        CLEANUP(free_p) bool *use = calloc(train_set->rows.n + 1, sizeof *use);
        CLEANUP(free_p) size_t *rows = calloc(test->rows.n + 1, sizeof *rows);
        struct trained t = { .train = train_set, .test = test, .s = s, .table = x->table[fold], .use = use, .ask = rows, .scores = x };
        int r = use && rows ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < train_set->rows.n; i++)
                use[i] = !same || train_set->fold[i] != fold;
        for (size_t i = 0; r == 0 && i < test->rows.n; i++)
                if (!same || test->fold[i] == fold)
                        rows[t.n_ask++] = i;
        if (r == 0 && (route_set_table(train_set, use, s->shrink, x->table[fold], x->share[fold]) == 0 || t.n_ask == 0)) {
                (void)fprintf(stderr, "fold %zu has %s: too few prompts, or too many folds\n", fold, t.n_ask ? "nothing to train on" : "no prompts");
                r = -ENODATA;
        }
        if (r == 0)
                r = train(&t);
        if (r == 0)
                r = ask(&t);
        score_trained_finish(&t.model);
        nearest_destroy(t.nearest);
        free(t.target);
        return r;
}

int route_methods_score(const struct route_set *train_set, const struct route_set *test, const struct route_settings *s, struct route_scores *ret)
{
        struct route_scores x = { 0 };
        int r = scores_init(train_set, test, s, &x);

        for (size_t f = 0; r == 0 && f < x.folds; f++)
                r = one_fold(train_set, test, s, f, &x);
        if (r < 0)
                route_scores_finish(&x);
        else
                *ret = x;
        return r;
}

void route_scores_finish(struct route_scores *s)
{
        for (size_t f = 0; f < s->folds; f++) {
                if (s->table)
                        free(s->table[f]);
                if (s->share)
                        free(s->share[f]);
        }
        for (int m = 0; m < ROUTE_METHODS; m++) {
                free(s->score[m]);
                for (int g = 0; g < GARBLES; g++)
                        free(s->noisy[g][m]);
        }
        free(s->table);
        free(s->share);
        free(s->fold);
        *s = (struct route_scores){ 0 };
}
