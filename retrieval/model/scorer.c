/* SPDX-License-Identifier: Apache-2.0 */
#include "scorer.h"

#include <math.h>

#include "base.h"
#include "error.h"
#include "posterior.h"
#include "tensors.h"

struct scorer {
        struct scorer_parts parts;
        struct classifier *classifier;
        const char *names[SCORER_EXPERTS_MAX];
};

static void scorer_p(struct scorer **s)
{
        scorer_destroy(*s);
}

void scorer_destroy(struct scorer *s)
{
        if (!s)
                return;
        classifier_destroy(s->classifier);
        free(s);
}

const struct scorer_parts *scorer_parts(const struct scorer *s)
{
        return &s->parts;
}

struct classifier *scorer_classifier(const struct scorer *s)
{
        return s->classifier;
}

/* Categories and experts from the classifier's labels. */
static void take_labels(struct scorer *s, size_t experts)
{
        const struct classifier_parts *p = classifier_parts(s->classifier);

        s->parts.experts = experts;
        s->parts.categories = p->categories - experts;
        s->parts.labels = p->labels;
        for (size_t k = 0; k < experts; k++)
                s->names[k] = p->labels[s->parts.categories + k] + strlen(SCORER_PREFIX);
        s->parts.names = s->names;
}

struct scorer *scorer_create(struct classifier *c, const struct scorer_parts *parts)
{
        struct scorer *s = calloc(1, sizeof *s);

        assert(parts->experts >= 1 && parts->experts <= SCORER_EXPERTS_MAX);
        assert(classifier_parts(c)->categories == parts->categories + parts->experts && parts->categories >= 2);
        if (!s)
                return NULL;
        s->parts = *parts;
        s->classifier = c;
        take_labels(s, parts->experts);
        return s;
}

/* ---- estimating --------------------------------------------------------------------------------------------------------- */

bool scorer_inputs(const struct scorer *s, const char *text, size_t n, size_t text_max, const struct score_table_doubt *limits, float *two, float *head,
                   struct verdict *verdict, double *doubt)
{
        size_t categories = s->parts.categories, experts = s->parts.experts;
        float p[CLASSIFIER_CATEGORIES_MAX + 1];
        bool any = classifier_scores(s->classifier, text, n, text_max, p);

        *verdict = (struct verdict){ 0 };
        if (any) {
                memcpy(head, p + categories, experts * sizeof *head);
                posterior_calibrated(classifier_parts(s->classifier)->slope, classifier_parts(s->classifier)->offset, categories, p, verdict);
        } else {
                memset(p, 0, categories * sizeof *p);
                memset(head, 0, experts * sizeof *head);
                p[categories] = 1;
        }
        *doubt = posterior_doubt(limits, p, categories, verdict->confidence);
        posterior_expect(p, 0, s->parts.table, categories, experts, two);
        return any;
}

void scorer_estimate(const struct scorer *s, const char *text, size_t n, size_t text_max, const struct score_table_doubt *limits, float *estimate,
                     struct verdict *verdict, double *doubt)
{
        const float *general = s->parts.table + s->parts.categories * s->parts.experts;
        float head[SCORER_EXPERTS_MAX];
        float unsure;

        (void)scorer_inputs(s, text, n, text_max, limits, estimate, head, verdict, doubt);
        unsure = (float)*doubt;
        for (size_t k = 0; k < s->parts.experts; k++) {
                const float *mix = s->parts.mix + 3 * k;
                float e = (1 - unsure) * (mix[0] * estimate[k] + mix[1] * head[k] + mix[2]) + unsure * general[k];

                estimate[k] = MAX(0.F, MIN(1.F, e));
        }
}

static int by_size(const void *a, const void *b)
{
        const float *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

float scorer_lead(const struct scorer *s, size_t strong, size_t weak, double share)
{
        float lead[SCORER_SAMPLE_MAX];
        size_t n = s->parts.samples, most = (size_t)lround(share * (double)n);

        for (size_t i = 0; i < n; i++)
                lead[i] = s->parts.sample[i * s->parts.experts + strong] - s->parts.sample[i * s->parts.experts + weak];
        qsort(lead, n, sizeof *lead, by_size);
        if (most == 0 || n == 0)
                return INFINITY;
        return most >= n ? -INFINITY : lead[n - most];
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static int read_floats(const struct tensors *t, const char *name, uint64_t rows, uint64_t columns, float least, float most, const float **ret, char *why,
                       size_t why_size)
{
        const struct tensor *x = tensors_find(t, name);
        const float *v;

        if (!x || x->type != TENSOR_F32 || x->rank != 2 || x->shape[0] != rows || x->shape[1] != columns || (uintptr_t)x->data % sizeof(float))
                return set_error(why, why_size, "tensor '%s' must be F32 [%llu, %llu], aligned", name, (unsigned long long)rows, (unsigned long long)columns);
        v = x->data;
        for (size_t i = 0; i < rows * columns; i++)
                if (!(v[i] >= least && v[i] <= most))
                        return set_error(why, why_size, "tensor '%s': number %zu is not in %g..%g", name, i, (double)least, (double)most);
        *ret = v;
        return 0;
}

/* How many of the labels, from the end on, are heads of experts. */
static size_t count_heads(const struct classifier_parts *p)
{
        size_t n = 0;

        while (n < p->categories && strncmp(p->labels[p->categories - 1 - n], SCORER_PREFIX, strlen(SCORER_PREFIX)) == 0)
                n++;
        return n;
}

static int read_rest(struct scorer *s, char *why, size_t why_size)
{
        const struct tensors *t = classifier_file(s->classifier);
        const struct classifier_parts *p = classifier_parts(s->classifier);
        size_t experts = count_heads(p);
        const struct tensor *sample = tensors_find(t, "sample");
        int r;

        if (experts < 1 || experts > SCORER_EXPERTS_MAX || p->categories - experts < 2)
                return set_error(why, why_size, "metadata 'labels' must be 2 or more categories, and then 1 to %d of '%sNAME'", SCORER_EXPERTS_MAX,
                                 SCORER_PREFIX);
        take_labels(s, experts);
        r = read_floats(t, "table", s->parts.categories + 1, experts, 0, 1, &s->parts.table, why, why_size);
        if (r == 0)
                r = read_floats(t, "mix", experts, 3, -1e6f, 1e6f, &s->parts.mix, why, why_size);
        s->parts.samples = sample && sample->rank == 2 ? (size_t)MIN(sample->shape[0], (uint64_t)SCORER_SAMPLE_MAX) : 1;
        if (r == 0)
                r = read_floats(t, "sample", s->parts.samples, experts, 0, 1, &s->parts.sample, why, why_size);
        return r;
}

int scorer_open(const char *path, struct scorer **ret, char *why, size_t why_size)
{
        CLEANUP(scorer_p) struct scorer *s = calloc(1, sizeof *s);
        int r;

        why[0] = '\0';
        if (!s)
                return -ENOMEM;
        r = classifier_open_as(SCORER_KIND, path, &s->classifier, why, why_size);
        if (r == 0)
                r = read_rest(s, why, why_size);
        if (r == 0)
                r = tensors_settle(classifier_file(s->classifier), why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

int scorer_save(const struct scorer *s, const char *path, const char *const *meta, char *why, size_t why_size)
{
        const struct scorer_parts *p = &s->parts;
        const struct tensor more[] = {
                { "table", TENSOR_F32, 2, { p->categories + 1, p->experts }, p->table, (p->categories + 1) * p->experts * sizeof(float) },
                { "mix", TENSOR_F32, 2, { p->experts, 3 }, p->mix, p->experts * 3 * sizeof(float) },
                { "sample", TENSOR_F32, 2, { p->samples, p->experts }, p->sample, p->samples * p->experts * sizeof(float) },
        };

        return classifier_save_as(SCORER_KIND, s->classifier, path, more, LENGTH_OF(more), meta, why, why_size);
}
