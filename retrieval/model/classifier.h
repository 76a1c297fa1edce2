/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classifier.h - which category a text belongs to, and how sure that is.
 *
 * A linear one-vs-rest model over the features of ngrams.h.  Weights are whole numbers of eight bits, one row for each bucket
 * and one column for each category, so deciding is adding up rows; nothing is allocated.  Read-only once made: any thread.
 *
 * A model may look at the text's vector as well, of the encoder that it was trained with: classifier_attach() gives it that one.
 *
 * In a file (safetensors): "rows" I8 [2^bits, columns], "scale" F32 [categories], "bias" F32 [categories]; metadata: see
 * classifier_open() in classifier.c; with vectors also "dense" F32 [dim, categories].  Column `categories` of a row is the squared idf of its bucket in steps of "idf_step".
 */
#ifndef PM_CLASSIFIER_H
#define PM_CLASSIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLASSIFIER_CATEGORIES_MAX 1023
#define CLASSIFIER_TEMPERATURE .2 /* of the shares that confidence is made of */
#define CLASSIFIER_KIND "pointsman.category"
#define CLASSIFIER_MORE_MAX 8
#define CLASSIFIER_VERSION "1"
#define CLASSIFIER_VERSION_DENSE "2" /* the version of a model that looks at vectors, too */

struct classifier;
struct encoder;

/* What a model is made of.  Pointers are borrowed: they must outlive the classifier. */
struct classifier_parts {
        unsigned bits;
        size_t categories;
        const char *const *labels;
        const int8_t *rows;           /* [2^bits][classifier_columns(categories)] */
        const float *scale, *bias;    /* [categories] */
        double idf_step;
        double slope, offset;         /* confidence = 1 / (1 + exp(-(slope * logit(share) + offset))) */
        double threshold;             /* below it the category is not to be trusted */
        size_t text_max;              /* bytes read of a text, NGRAMS_TEXT_MIN..MAX */
        size_t dim;                   /* of the vectors; 0: features alone, and the rest is not looked at */
        const float *dense;           /* [dim][categories] */
        const char *encoder;          /* encoder_digest() of the one that it was trained with */
};

struct verdict {
        size_t category;              /* index of the label */
        double confidence;            /* 0..1: how likely the category is right; 0 for a text without features */
};

size_t classifier_columns(size_t categories);

/* From parts that are in order (asserted).  NULL: no memory. */
struct classifier *classifier_create(const struct classifier_parts *parts);

/* From a file, mapped.  0, or -errno and one line of why: what was found in a file that is cut, foreign or out of order. */
int classifier_open(const char *path, struct classifier **ret, char *why, size_t why_size);
void classifier_destroy(struct classifier *c); /* NULL is fine */

/*
 * Gives a model with vectors (parts->dim > 0) its encoder, which must outlive it; without one it must not decide.  0, or -EINVAL and
 * why: it is another encoder than it was trained with, or one that cannot do without a scratch.
 */
int classifier_attach(struct classifier *c, const struct encoder *e, char *why, size_t why_size);

/* Writes a model; `meta` (key, value, ..., NULL; may be NULL) is added to what the model needs itself. */
int classifier_save(const struct classifier *c, const char *path, const char *const *meta, char *why, size_t why_size);

/* text_max: 0, or another limit than the model's own. */
void classifier_decide(const struct classifier *c, const char *text, size_t n, size_t text_max, struct verdict *ret);

/* Scores of all categories into scores[categories]; false for a text without features. */
bool classifier_scores(const struct classifier *c, const char *text, size_t n, size_t text_max, float *scores);

/* The share of the best score among exp(score / temperature), as a logit: what confidence is made of.  *best: its index. */
double classifier_logit(const float *scores, size_t categories, size_t *best);

/*
 * For models that are a classifier and more (scorer.h): their kind, and tensors besides, at most CLASSIFIER_MORE_MAX.  Whoever opens one reads the
 * others from classifier_file() and then calls tensors_settle().
 */
struct tensor;
struct tensors;
int classifier_open_as(const char *kind, const char *path, struct classifier **ret, char *why, size_t why_size);
int classifier_save_as(const char *kind, const struct classifier *c, const char *path, const struct tensor *more, size_t n_more,
                       const char *const *meta, char *why, size_t why_size);
struct tensors *classifier_file(const struct classifier *c);

const struct classifier_parts *classifier_parts(const struct classifier *c);
const char *classifier_meta(const struct classifier *c, const char *key); /* NULL: not there, or not from a file */
#endif
