/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features are binary, weighted by idf = ln((1 + N) / (1 + df)) + 1, and each row is made of length one.  The squared idf is
 * rounded to a step of the model's seven bits before training, so that the solver sees exactly the norm that serving computes.
 * The vector of an encoder may stand beside the features, with a length of its own that is a part of its weights afterwards.
 * Then a linear SVM (squared hinge, dual) for each category against the rest, or one softmax of all categories; its weights times
 * idf, scaled for each category, are rounded to eight bits.
 */
#include <linear.h>
#include <math.h>

#include "base.h"
#include "fit.h"
#include "ngrams.h"
#include "progress.h"
#include "seed.h"
#include "softmax.h"

/* The softmax learns the constant as slowly as a feature among many, and sees each row so often. */
#define CONSTANT .2
#define ROUNDS 20

/*
 * What its scores are multiplied with, so that the classifier's temperature stands for 2 on the scale of the log loss: on CLINC150's
 * val split known prompts then rank above unknown ones with an area of .974; with 1 it is .966.
 */
#define FADE .1

struct fit_work {
        size_t n, n_buckets, dim;
        struct feature_node **x; /* [n] */
        size_t *length;          /* [n] features */
        double *y;               /* [n] */
        uint32_t *df;            /* [n_buckets] rows that have it */
        uint8_t *weight;         /* [n_buckets] squared idf in steps */
        double step, constant;
};

/* What either solver found. */
struct solved {
        struct model *svm;      /* or NULL: */
        struct softmax softmax;
};

static size_t categories_total, categories_done; /* for liblinear's only callback, which has no context */

static void solver_says(const char *text)
{
        if (strstr(text, "optimization finished"))
                progress_show("training", ++categories_done, categories_total);
}

static void work_finish(struct fit_work *w)
{
        for (size_t i = 0; w->x && i < w->n; i++)
                free(w->x[i]);
        free(w->x);
        free(w->length);
        free(w->y);
        free(w->df);
        free(w->weight);
}

static int add_features(struct fit_work *w, const struct jsonl_row *row, const struct fit_settings *s, struct ngrams *f)
{
        struct feature_node *x = NULL;
        size_t n = 0;

        ngrams_begin(f, row->text, row->n, s->bits, s->text_max);
        while (ngrams_next(f)) {
                struct feature_node *grown = realloc(x, (n + f->n + w->dim + 2) * sizeof *x);

                if (!grown) {
                        free(x);
                        return -ENOMEM;
                }
                x = grown;
                for (size_t i = 0; i < f->n; i++) {
                        x[n++].index = (int)f->bucket[i] + 1;
                        w->df[f->bucket[i]]++;
                }
        }
        if (n == 0)
                return 0; /* a text of blanks teaches nothing */
        if (w->dim) {
                float v[ENCODER_DIM_MAX];
                int r = encoder_encode(s->encoder, NULL, row->text, row->n, s->text_max, v, NULL);

                if (r < 0) {
                        (void)fprintf(stderr, "the encoder's numbers are not finite\n");
                        free(x);
                        return r;
                }
                for (size_t d = 0; d < w->dim; d++)
                        x[n + d] = (struct feature_node){ (int)(w->n_buckets + d) + 1, s->dense_weight * (double)v[d] };
        }
        w->x[w->n] = x;
        w->length[w->n] = n;
        w->y[w->n++] = (double)row->label;
        return 0;
}

/* liblinear wants the constant feature as the last one. */
static void weigh(struct fit_work *w)
{
        double highest = log(1. + (double)w->n) + 1;

        w->step = highest * highest / 127;
        for (size_t b = 0; b < w->n_buckets; b++) {
                double idf = log((1. + (double)w->n) / (1. + w->df[b])) + 1;

                w->weight[b] = (uint8_t)MIN(127L, MAX(1L, lround(idf * idf / w->step)));
        }
        for (size_t i = 0; i < w->n; i++) {
                struct feature_node *x = w->x[i];
                double norm = 0;

                for (size_t k = 0; k < w->length[i]; k++)
                        norm += w->weight[x[k].index - 1];
                for (size_t k = 0; k < w->length[i]; k++)
                        x[k].value = sqrt(w->weight[x[k].index - 1] / norm);
                x[w->length[i] + w->dim] = (struct feature_node){ (int)(w->n_buckets + w->dim) + 1, w->constant };
                x[w->length[i] + w->dim + 1] = (struct feature_node){ -1, 0 };
        }
}

static int gather(struct fit_work *w, const struct jsonl_rows *rows, const bool *use, const struct fit_settings *s)
{
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);

        w->n_buckets = (size_t)1 << s->bits;
        w->dim = s->encoder ? encoder_dim(s->encoder) : 0;
        w->constant = s->softmax ? CONSTANT : 1;
        w->x = calloc(rows->n + 1, sizeof *w->x);
        w->length = calloc(rows->n + 1, sizeof *w->length);
        w->y = calloc(rows->n + 1, sizeof *w->y);
        w->df = calloc(w->n_buckets, sizeof *w->df);
        w->weight = calloc(w->n_buckets, sizeof *w->weight);
        if (!f || !w->x || !w->length || !w->y || !w->df || !w->weight)
                return -ENOMEM;
        for (size_t i = 0; i < rows->n; i++) {
                int r = !use || use[i] ? add_features(w, &rows->list[i], s, f) : 0;

                if (r < 0)
                        return r;
                if (i % 256 == 0)
                        progress_show("features", i, rows->n);
        }
        weigh(w);
        return 0;
}

/* Of a feature (from 0; the last one is the constant) for the solver's category `at`. */
static double weight_of(const struct solved *m, size_t feature, int at)
{
        return m->svm ? get_decfun_coef(m->svm, (int)feature + 1, at) : (double)m->softmax.weight[feature * m->softmax.categories + (size_t)at];
}

static double bias_of(const struct fit_work *w, const struct solved *m, int at)
{
        return m->svm ? get_decfun_bias(m->svm, at) : w->constant * weight_of(m, w->n_buckets + w->dim, at);
}

/* Rounds one category's weights; `column` of the model is `at` of the solver's. */
static void quantise(const struct fit_work *w, const struct solved *m, int at, size_t column, size_t columns, struct fitted *ret)
{
        double most = 1e-12;

        for (size_t b = 0; b < w->n_buckets; b++)
                most = MAX(most, fabs(weight_of(m, b, at)) * sqrt(w->weight[b] * w->step));
        for (size_t b = 0; b < w->n_buckets; b++) {
                double v = weight_of(m, b, at) * sqrt(w->weight[b] * w->step);

                ret->rows[b * columns + column] = (int8_t)lround(v / most * 127);
        }
        ret->scale[column] = (float)(most / 127);
        ret->bias[column] = (float)bias_of(w, m, at);
}

/* The solver's categories that have rows: the model's column of each into order[], which has room for all. */
static int list_columns(const struct fit_work *w, const struct solved *m, int *order)
{
        size_t categories = m->softmax.categories;
        int n = 0;

        if (m->svm) {
                get_labels(m->svm, order);
                return get_nr_class(m->svm);
        }
        for (size_t c = 0; c < categories; c++)
                for (size_t i = 0; i < w->n; i++)
                        if ((size_t)w->y[i] == c) {
                                order[n++] = (int)c;
                                break;
                        }
        return n;
}

/* The vector's weights, with the length that it was given. */
static int keep_dense(const struct fit_work *w, const struct solved *m, const int *order, int n, size_t categories,
                      const struct fit_settings *s, struct fitted *ret)
{
        char hex[65];

        ret->dense = calloc(w->dim * categories, sizeof *ret->dense);
        ret->encoder = encoder_digest(s->encoder, hex) == 0 ? strdup(hex) : NULL;
        if (!ret->dense || !ret->encoder)
                return -ENOMEM;
        for (int i = 0; i < n; i++)
                for (size_t d = 0; d < w->dim; d++)
                        ret->dense[d * categories + (size_t)order[i]] =
                                (float)(s->dense_weight * weight_of(m, w->n_buckets + d, m->svm ? i : order[i]));
        return 0;
}

static int keep(const struct fit_work *w, const struct solved *m, const struct jsonl_rows *rows,
                const struct fit_settings *s, struct fitted *ret)
{
        size_t columns = classifier_columns(rows->n_labels);
        struct classifier_parts parts;
        CLEANUP(free_p) int *order = calloc(rows->n_labels, sizeof *order);
        char why[128];
        int n;

        ret->rows = calloc(w->n_buckets, columns);
        ret->scale = calloc(rows->n_labels, sizeof *ret->scale);
        ret->bias = calloc(rows->n_labels, sizeof *ret->bias);
        ret->labels = rows->labels;
        if (!order || !ret->rows || !ret->scale || !ret->bias)
                return -ENOMEM;
        for (size_t i = 0; i < rows->n_labels; i++)
                ret->bias[i] = -10; /* a category without rows never wins */
        n = list_columns(w, m, order);
        if (n < 2) {
                (void)fprintf(stderr, "cannot train: only one category has rows\n");
                return -EINVAL;
        }
        for (int i = 0; i < n; i++)
                quantise(w, m, m->svm ? i : order[i], (size_t)order[i], columns, ret);
        for (size_t b = 0; b < w->n_buckets; b++)
                ret->rows[b * columns + rows->n_labels] = (int8_t)w->weight[b];
        if (w->dim && keep_dense(w, m, order, n, rows->n_labels, s, ret) < 0)
                return -ENOMEM;
        parts = (struct classifier_parts){
                .bits = s->bits, .categories = rows->n_labels, .labels = (const char *const *)rows->labels, .rows = ret->rows,
                .scale = ret->scale, .bias = ret->bias, .idf_step = w->step, .slope = 1, .text_max = s->text_max,
                .dim = w->dim, .dense = ret->dense, .encoder = ret->encoder,
        };
        ret->classifier = classifier_create(&parts);
        if (!ret->classifier)
                return -ENOMEM;
        return w->dim ? classifier_attach(ret->classifier, s->encoder, why, sizeof why) : 0;
}

static int solve_svm(const struct fit_work *w, const struct jsonl_rows *rows, const struct fit_settings *s, struct solved *ret)
{
        const struct problem problem = { .l = (int)w->n, .n = (int)(w->n_buckets + w->dim) + 1, .y = w->y, .x = w->x, .bias = 1 };
        const struct parameter how = { .solver_type = L2R_L2LOSS_SVC_DUAL, .C = s->cost, .eps = s->tolerance, .p = .1 };
        const char *wrong = check_parameter(&problem, &how);

        if (wrong) {
                (void)fprintf(stderr, "cannot train: %s\n", wrong);
                return -EINVAL;
        }
        categories_total = rows->n_labels;
        categories_done = 0;
        set_print_string_function(solver_says);
        seed_set(s->seed);
        ret->svm = train(&problem, &how);
        progress_done();
        return 0;
}

static int solve(const struct fit_work *w, const struct jsonl_rows *rows, const struct fit_settings *s, struct fitted *ret)
{
        const struct softmax_settings how = { .cost = s->cost, .rounds = ROUNDS, .seed = s->seed, .fade = FADE };
        struct solved m = { .softmax = { .features = w->n_buckets + w->dim + 1, .categories = rows->n_labels } };
        int r = s->softmax ? softmax_fit(w->x, w->y, w->n, &how, &m.softmax) : solve_svm(w, rows, s, &m);

        if (r == 0)
                r = keep(w, &m, rows, s, ret);
        softmax_finish(&m.softmax);
        if (m.svm)
                free_and_destroy_model(&m.svm);
        return r;
}

int fit(const struct jsonl_rows *rows, const bool *use, const struct fit_settings *s, struct fitted *ret)
{
        struct fitted made = { 0 };
        struct fit_work w = { 0 };
        int r = gather(&w, rows, use, s);

        if (r == 0 && (w.n < 2 || w.n > INT_MAX)) {
                (void)fprintf(stderr, "cannot train on %zu rows with text\n", w.n);
                r = -EINVAL;
        }
        if (r == 0)
                r = solve(&w, rows, s, &made);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "cannot train: out of memory\n");
        work_finish(&w);
        if (r < 0)
                fitted_finish(&made);
        else
                *ret = made;
        return r;
}

void fitted_finish(struct fitted *f)
{
        classifier_destroy(f->classifier);
        free(f->rows);
        free(f->scale);
        free(f->bias);
        free(f->dense);
        free(f->encoder);
        *f = (struct fitted){ 0 };
}

int fitted_set(struct fitted *f, const struct encoder *encoder, double slope, double offset, double threshold)
{
        char why[128];
        struct classifier_parts parts = *classifier_parts(f->classifier);
        struct classifier *c;

        parts.slope = slope;
        parts.offset = offset;
        parts.threshold = threshold;
        c = classifier_create(&parts);
        if (!c)
                return -ENOMEM;
        classifier_destroy(f->classifier);
        f->classifier = c;
        return encoder ? classifier_attach(c, encoder, why, sizeof why) : 0;
}
