/* SPDX-License-Identifier: Apache-2.0 */
/* The model: its sums against a plain computation, files that come back the same, files that are refused. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "classifier.h"
#include "folder.h"
#include "ngrams.h"
#include "tensors.h"

#define BITS 10
#define BUCKETS ((size_t)1 << BITS)

static const char *path;
static char why[256];

static void begin(void)
{
        folder_begin();
        path = in_folder("m.safetensors");
}

TestSuite(classifier, .init = begin, .fini = folder_end);

/* A model of n categories with weights from a generator; all of it static. */
static struct classifier_parts invented(size_t n)
{
        static int8_t rows[BUCKETS * 1024];
        static float scale[1023], bias[1023];
        static char name[1023][24];
        static const char *labels[1023];
        size_t columns = classifier_columns(n);
        uint64_t x = n;

        for (size_t i = 0; i < BUCKETS * columns; i++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                rows[i] = (int8_t)((int)(x >> 33) % 128);
        }
        for (size_t b = 0; b < BUCKETS; b++)
                rows[b * columns + n] = (int8_t)(1 + (int)(b % 127));
        for (size_t c = 0; c < n; c++) {
                scale[c] = .001f * (float)(1 + c % 7);
                bias[c] = -.5f + .01f * (float)(c % 5);
                (void)snprintf(name[c], sizeof name[c], "c%zu", c);
                labels[c] = name[c];
        }
        return (struct classifier_parts){ .bits = BITS, .categories = n, .labels = labels, .rows = rows, .scale = scale,
                                          .bias = bias, .idf_step = .8, .slope = .6, .offset = .2, .threshold = .5,
                                          .text_max = 4096 };
}

static void plain_scores(const struct classifier_parts *p, const char *text, double *scores)
{
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);
        size_t columns = classifier_columns(p->categories);
        double norm = 0;

        memset(scores, 0, p->categories * sizeof *scores);
        ngrams_begin(f, text, strlen(text), p->bits, p->text_max);
        while (ngrams_next(f))
                for (size_t i = 0; i < f->n; i++) {
                        const int8_t *row = p->rows + f->bucket[i] * columns;

                        for (size_t c = 0; c < p->categories; c++)
                                scores[c] += row[c];
                        norm += row[p->categories];
                }
        norm = sqrt(norm * p->idf_step);
        for (size_t c = 0; c < p->categories; c++)
                scores[c] = scores[c] / norm * (double)p->scale[c] + (double)p->bias[c];
}

Test(classifier, sums_are_what_a_plain_loop_says)
{
        static const size_t sizes[] = { 2, 14, 15, 16, 31, 150, 1023 };
        static char text[4001];

        for (size_t i = 0; i + 1 < sizeof text; i++)
                text[i] = "the quick brown fox; jumps over 12 lazy dogs?"[(i * i + i / 7) % 45];
        for (size_t k = 0; k < LENGTH_OF(sizes); k++) {
                struct classifier_parts p = invented(sizes[k]);
                struct classifier *c = classifier_create(&p);
                float got[1023];
                double want[1023];

                cr_assert(classifier_scores(c, text, strlen(text), 0, got));
                plain_scores(&p, text, want);
                for (size_t i = 0; i < p.categories; i++)
                        cr_assert_float_eq((double)got[i], want[i], 1e-4, "%zu categories, %zu: %f, not %f", p.categories, i,
                                           (double)got[i], want[i]);
                classifier_destroy(c);
        }
}

Test(classifier, sums_do_not_overflow)
{
        static int8_t rows[BUCKETS * 16];
        const float scale[2] = { 1, 1 }, bias[2] = { 0, 0 };
        const char *labels[2] = { "up", "down" };
        struct classifier_parts p = { .bits = BITS, .categories = 2, .labels = labels, .rows = rows, .scale = scale, .bias = bias,
                                      .idf_step = 1, .slope = 1, .text_max = 100000 };
        struct classifier *c;
        static char text[50000];
        float scores[2];
        uint64_t x = 3;

        for (size_t b = 0; b < BUCKETS; b++) {
                rows[b * 16] = rows[b * 16 + 2] = 127;
                rows[b * 16 + 1] = -127;
        }
        for (size_t i = 0; i < sizeof text; i++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                text[i] = (char)('!' + (x >> 33) % 90);
        }
        c = classifier_create(&p);
        cr_assert(classifier_scores(c, text, sizeof text, 0, scores));
        cr_assert_float_eq((double)scores[0], sqrt(127. * BUCKETS), .1); /* every bucket is there */
        cr_assert_float_eq((double)scores[1], -sqrt(127. * BUCKETS), .1);
        classifier_destroy(c);
}

Test(classifier, no_text_is_no_confidence)
{
        struct classifier_parts p = invented(14);
        struct classifier *c = classifier_create(&p);
        struct verdict v = { 9, 9 };

        classifier_decide(c, NULL, 0, 0, &v);
        cr_assert_eq(v.category, 0);
        cr_assert_float_eq(v.confidence, 0, 1e-12);
        classifier_decide(c, " \n\t", 3, 0, &v);
        cr_assert_float_eq(v.confidence, 0, 1e-12);
        classifier_decide(c, "words", 5, 0, &v);
        cr_assert(v.confidence > 0 && v.confidence < 1);
        classifier_destroy(c);
}

Test(classifier, the_logit_ranks_by_lead)
{
        const float clear[3] = { 1, -1, -1 }, close[3] = { .1f, .05f, -1 };
        size_t best;

        cr_assert_gt(classifier_logit(clear, 3, &best), classifier_logit(close, 3, &best));
        cr_assert_eq(best, 0);
}

Test(classifier, a_file_decides_as_its_maker)
{
        struct classifier_parts p = invented(150);
        struct classifier *a = classifier_create(&p), *b;
        struct verdict x, y;

        cr_assert_eq(classifier_save(a, path, (const char *[]){ "note", "hello", NULL }, why, sizeof why), 0, "%s", why);
        cr_assert_eq(classifier_open(path, &b, why, sizeof why), 0, "%s", why);
        cr_assert_str_eq(classifier_meta(b, "note"), "hello");
        cr_assert_null(classifier_meta(a, "note"));
        cr_assert_str_eq(classifier_parts(b)->labels[149], "c149");
        classifier_decide(a, "some question", 13, 0, &x);
        classifier_decide(b, "some question", 13, 0, &y);
        cr_assert_eq(x.category, y.category);
        cr_assert_float_eq(x.confidence, y.confidence, 1e-5);
        classifier_destroy(a);
        classifier_destroy(b);
}

/* Writes a model of 14 categories with one thing changed, and expects that reason. */
static void refused(const char *key, const char *value, const char *said)
{
        struct classifier_parts p = invented(14);
        struct tensor list[] = {
                { "scale", TENSOR_F32, 1, { 14 }, p.scale, 14 * sizeof(float) },
                { "bias", TENSOR_F32, 1, { 14 }, p.bias, 14 * sizeof(float) },
                { "rows", TENSOR_I8, 2, { BUCKETS, 16 }, p.rows, BUCKETS * 16 },
        };
        const char *meta[] = { "kind", "pointsman.category", "version", CLASSIFIER_VERSION, "features", NGRAMS_VERSION, "bits", "10",
                               "text_max", "4096", "labels",
                               "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\"]",
                               "idf_step", "1", "slope", "1", "offset", "0", "threshold", "0.5", NULL };
        struct classifier *c = NULL;
        int r;

        for (size_t i = 0; meta[i]; i += 2)
                if (strcmp(meta[i], key) == 0)
                        meta[i + 1] = value;
        if (strcmp(key, "scale type") == 0)
                list[0].type = TENSOR_I32;
        if (strcmp(key, "no rows") == 0)
                list[2].name = "row";
        cr_assert_eq(tensors_write(path, list, 3, meta, why, sizeof why), 0, "%s", why);
        r = classifier_open(path, &c, why, sizeof why);
        classifier_destroy(c);
        if (!said) {
                cr_assert_eq(r, 0, "%s", why);
                return;
        }
        cr_assert_eq(r, -EINVAL, "%s %s", key, value);
        cr_assert(strstr(why, said), "%s %s: said '%s'", key, value ? value : "", why);
}

Test(classifier, foreign_files_are_refused_by_name)
{
        refused("", "", NULL);
        refused("kind", "someone.else", "kind is 'someone.else'");
        refused("version", "99", "version is '99'");
        refused("features", "bytes", "made for features 'bytes'");
        refused("bits", "11", "'rows' must be I8 [2048, 16]");
        refused("bits", "1e9", "'1e9' is not a number in 8..18");
        refused("bits", "ten", "'ten' is not a number");
        refused("text_max", "nan", "'nan' is not a number");
        refused("threshold", "2", "in 0..1");
        refused("labels", "[]", "list of 2 to 1023 names");
        refused("labels", "not json", "list of 2 to 1023 names");
        refused("labels", "[\"a\",\"a\"]", "label 'a' is there twice");
        refused("labels", "[\"a\",3]", "label 1 must be a text");
        refused("labels", "[\"a\",\"b\"]", "'scale' must be F32 [2]");
        refused("scale type", "", "'scale' must be F32 [14]");
        refused("no rows", "", "'rows' must be I8");
}
