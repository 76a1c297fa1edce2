/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each user's figures are kept and added up in the users' order, so that the result does not depend on threads.
 */
#include <math.h>
#include <stdatomic.h>

#include "base.h"
#include "dot.h"
#include "parallel.h"
#include "progress.h"
#include "retrieve.h"

#define DEEPEST 50

const char *const retrieve_names[RETRIEVE_METHODS] = { "popularity", "user vector", "history centroid", "mixture", "knn-embed",
                                                       "co-citation", "blend" };
const size_t retrieve_cuts[RETRIEVE_CUTS] = { 10, 20, DEEPEST };

/* One user's figures for one method. */
struct figure {
        float recall[RETRIEVE_CUTS], ndcg[RETRIEVE_CUTS], hit[RETRIEVE_CUTS], diversity[RETRIEVE_CUTS], cells[RETRIEVE_CUTS];
};

struct retrieve_run {
        const struct catalogue *c;
        const struct retrieve_setup *s;
        enum retrieve_method method;
        struct interests_settings settings;
        struct figure *figure;              /* [cases] */
        unsigned char *given[RETRIEVE_CUTS]; /* [items] */
        atomic_size_t done;
        atomic_llong us;
        atomic_int failed;
};

struct retrieve_worker {
        struct interests_room *room;
        struct ivf_room *cells;
        float *query;
        struct ivf_hit hit[IVF_K_MAX];
        uint32_t list[DEEPEST];
        size_t n;
};

/* The settings that make a method of the blend's. */
static struct interests_settings settings_of(enum retrieve_method method, struct interests_settings s)
{
        struct interests_settings x = s;

        x.near = x.also = x.votes = x.popular = x.self = 0;
        if (method == RETRIEVE_POPULARITY) {
                x.neighbours = 0;
                x.popular = 1;
        } else if (method == RETRIEVE_CO_CITATION) {
                x.neighbours = 0;
                x.also = 1;
        } else if (method == RETRIEVE_MIXTURE) {
                x.neighbours = 0;
                x.own = x.near = 1;
        } else if (method == RETRIEVE_KNN_EMBED) {
                x.near = 1;
        } else {
                return s;
        }
        return x;
}

/* The one-vector baselines: exact, what was seen passed over. */
static void by_vector(const struct retrieve_run *x, const struct retrieve_case *u, struct retrieve_worker *w)
{
        const struct ivf *items = &x->c->by_interest;
        size_t n, found;
        const uint32_t *history = lists_at(&x->c->history, u->user, &n);
        uint32_t self = catalogue_item_of(x->c, u->user);

        memset(w->query, 0, items->dim * sizeof *w->query);
        if (x->method == RETRIEVE_USER_VECTOR && x->c->by_likeness.n > 0)
                memcpy(w->query, x->c->by_likeness.vector + (size_t)u->user * items->dim, items->dim * sizeof *w->query);
        for (size_t i = 0; x->method == RETRIEVE_HISTORY_CENTROID && i < n; i++)
                for (size_t k = 0; k < items->dim; k++)
                        w->query[k] += items->vector[(size_t)history[i] * items->dim + k];
        (void)dot_normalise(w->query, items->dim);
        found = ivf_search(items, w->query, IVF_NONE, SIZE_MAX, MIN(n + DEEPEST + 1, (size_t)IVF_K_MAX), w->cells, w->hit);
        for (size_t i = 0; i < found && w->n < DEEPEST; i++) {
                bool seen = w->hit[i].id == self;

                for (size_t k = 0; k < n && !seen; k++)
                        seen = history[k] == w->hit[i].id;
                if (!seen)
                        w->list[w->n++] = w->hit[i].id;
        }
}

static int ask(const struct retrieve_run *x, const struct retrieve_case *u, struct retrieve_worker *w)
{
        struct interests_ask q = { .user = u->user, .wanted = DEEPEST };
        struct interests_answer answer;
        char why[256] = "";
        int r;

        w->n = 0;
        if (x->method == RETRIEVE_USER_VECTOR || x->method == RETRIEVE_HISTORY_CENTROID) {
                by_vector(x, u, w);
                return 0;
        }
        r = interests_find(x->c, &x->settings, &q, w->room, &answer, why, sizeof why);
        if (r < 0) {
                (void)fprintf(stderr, "eval: %s\n", why[0] ? why : ERRNO_TEXT(r));
                return r;
        }
        for (size_t i = 0; i < answer.n; i++)
                w->list[w->n++] = answer.item[i].item;
        return 0;
}

static void measure(struct retrieve_run *x, const struct retrieve_case *u, const struct retrieve_worker *w, struct figure *f)
{
        const struct ivf *items = &x->c->by_interest;
        uint32_t cell[DEEPEST];
        size_t hits = 0, cells = 0, pairs = 0;
        double gain = 0, ideal = 0, likeness = 0;

        for (size_t i = 0, cut = 0; i < DEEPEST; i++) {
                bool hit = false, new = i < w->n;

                for (size_t k = 0; i < w->n && k < u->n && !hit; k++)
                        hit = u->wanted[k] == w->list[i];
                hits += hit;
                gain += hit ? 1 / log2((double)i + 2) : 0;
                ideal += i < u->n ? 1 / log2((double)i + 2) : 0;
                if (i < w->n) {
                        cell[i] = ivf_of(items, w->list[i]);
                        for (size_t k = 0; k < i; k++) {
                                likeness += (double)dot_floats(items->vector + (size_t)w->list[i] * items->dim,
                                                               items->vector + (size_t)w->list[k] * items->dim, items->dim);
                                new = new && cell[k] != cell[i];
                                pairs++;
                        }
                        cells += new;
                        for (size_t k = cut; k < RETRIEVE_CUTS; k++)
                                __atomic_store_n(&x->given[k][w->list[i]], 1, __ATOMIC_RELAXED);
                }
                if (i + 1 == retrieve_cuts[cut]) {
                        f->recall[cut] = (float)hits / (float)u->n;
                        f->ndcg[cut] = (float)(gain / ideal);
                        f->hit[cut] = hits > 0;
                        f->diversity[cut] = pairs ? (float)(1 - likeness / (double)pairs) : 0;
                        f->cells[cut] = (float)cells / (float)MIN(retrieve_cuts[cut], items->n_cells);
                        cut++;
                }
        }
}

static void run_cases(void *ctx, size_t begin, size_t end)
{
        struct retrieve_run *x = ctx;
        CLEANUP(free_p) struct retrieve_worker *w = calloc(1, sizeof *w);
        int64_t began;

        if (w)
                w->query = malloc(x->c->by_interest.dim * sizeof *w->query);
        if (!w || !w->query || interests_room_create(x->c, &w->room) < 0 || ivf_room_create(&x->c->by_interest, &w->cells) < 0)
                atomic_store(&x->failed, -ENOMEM);
        began = now_us();
        for (size_t i = begin; i < end && atomic_load(&x->failed) == 0; i++) {
                int r = ask(x, &x->s->cases[i], w);
                size_t done;

                if (r < 0)
                        atomic_store(&x->failed, r);
                else
                        measure(x, &x->s->cases[i], w, &x->figure[i]);
                done = atomic_fetch_add(&x->done, 1);
                if (begin == 0 || done % 256 == 0)
                        progress_show(retrieve_names[x->method], done, x->s->n);
        }
        atomic_fetch_add(&x->us, now_us() - began);
        if (w) {
                interests_room_destroy(w->room);
                ivf_room_destroy(w->cells);
                free(w->query);
        }
}

static void sum_up(const struct retrieve_run *x, struct retrieve_quality *q)
{
        double n = (double)x->s->n;

        for (size_t k = 0; k < RETRIEVE_CUTS; k++) {
                size_t given = 0;

                for (size_t i = 0; i < x->s->n; i++) {
                        const struct figure *f = &x->figure[i];

                        q->recall[k] += (double)f->recall[k] / n;
                        q->ndcg[k] += (double)f->ndcg[k] / n;
                        q->hit[k] += (double)f->hit[k] / n;
                        q->diversity[k] += (double)f->diversity[k] / n;
                        q->cells[k] += (double)f->cells[k] / n;
                }
                for (size_t i = 0; i < x->c->items.n; i++)
                        given += x->given[k][i];
                q->coverage[k] = (double)given / (double)x->c->items.n;
        }
        q->microseconds = (double)atomic_load(&x->us) / n;
        q->asked = true;
}

static int measure_method(const struct catalogue *c, const struct retrieve_setup *s, enum retrieve_method method,
                          struct retrieve_quality *ret)
{
        struct retrieve_run x = { .c = c, .s = s, .method = method, .settings = settings_of(method, s->settings) };
        int r = 0;

        x.figure = calloc(s->n + 1, sizeof *x.figure);
        for (size_t k = 0; k < RETRIEVE_CUTS; k++)
                if (!(x.given[k] = calloc(c->items.n + 1, 1)))
                        r = -ENOMEM;
        if (!x.figure)
                r = -ENOMEM;
        *ret = (struct retrieve_quality){ 0 };
        if (r == 0) {
                parallel_rows(s->threads, s->n, 64, run_cases, &x);
                progress_done();
                r = atomic_load(&x.failed);
        }
        if (r == 0)
                sum_up(&x, ret);
        for (size_t k = 0; k < RETRIEVE_CUTS; k++)
                free(x.given[k]);
        free(x.figure);
        return r;
}

/* Is a method's name among those of a list?  Counts them, so that a misspelt one is seen. */
static bool named(const char *list, const char *name)
{
        size_t n = strlen(name);

        for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
                if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0'))
                        return true;
        return false;
}

int retrieve_measure(const struct catalogue *c, const struct retrieve_setup *s, struct retrieve_quality ret[RETRIEVE_METHODS])
{
        size_t asked = 0, commas = 0;
        int r = 0;

        for (size_t m = 0; s->only && m < RETRIEVE_METHODS; m++)
                asked += named(s->only, retrieve_names[m]);
        for (const char *at = s->only; at && *at; at++)
                commas += *at == ',';
        if (s->only && asked != commas + 1) {
                (void)fprintf(stderr, "--only '%s': names a method that is not known\n", s->only);
                return -EINVAL;
        }
        for (size_t m = 0; m < RETRIEVE_METHODS && r == 0; m++) {
                ret[m] = (struct retrieve_quality){ 0 };
                if (!s->only || named(s->only, retrieve_names[m]))
                        r = measure_method(c, s, (enum retrieve_method)m, &ret[m]);
        }
        return r;
}
