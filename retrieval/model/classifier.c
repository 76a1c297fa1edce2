/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score[c] = scale[c] * sum of rows[bucket][c] / norm + bias[c], norm = sqrt(sum of idf^2).  A row holds weight times idf, and the
 * squared idf in the column after the last category, so one pass of additions gives both.  Sums are kept in sixteen bits for as
 * many rows as cannot overflow, then carried into 32: with up to 15 categories a bucket costs one load and one addition of 16
 * numbers.
 *
 * A model with vectors adds dense[d][c] * v[d] for each dimension d of the text's vector.
 *
 * One-vs-rest margins are no probabilities.  The best one's share of exp(score / .2) ranks right above wrong decisions and known
 * above unknown prompts about equally well on MMLU-Pro and CLINC150 (margins alone, or shares at sharper temperatures, do one of
 * the two); its logit then goes through a slope and an offset fitted on held-back prompts.
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "classifier.h"
#include "encoder.h"
#include "error.h"
#include "ngrams.h"
#include "tensors.h"

#define LANES 16
#define AHEAD 16 /* rows that are fetched before their turn, where a table is larger than a cache */
#define ROWS_BEFORE_CARRY 256 /* 256 * 127 < 32768 */
#define LABEL_MAX 200
#define COLUMNS_MAX ((CLASSIFIER_CATEGORIES_MAX + 1 + LANES - 1) / LANES * LANES)

struct classifier {
        struct classifier_parts parts;
        size_t columns;
        const struct encoder *encoder; /* NULL: not attached */
        struct tensors *file;      /* NULL: made from parts */
        json_t *labels;            /* holds the labels of a file */
        const char **label_list;
};

size_t classifier_columns(size_t categories)
{
        return (categories + 1 + LANES - 1) / LANES * LANES;
}

static void classifier_p(struct classifier **c)
{
        classifier_destroy(*c);
}

void classifier_destroy(struct classifier *c)
{
        if (!c)
                return;
        tensors_close(c->file);
        json_decref(c->labels);
        free(c->label_list);
        free(c);
}

struct classifier *classifier_create(const struct classifier_parts *parts)
{
        struct classifier *c = calloc(1, sizeof *c);

        assert(parts->bits >= NGRAMS_BITS_MIN && parts->bits <= NGRAMS_BITS_MAX);
        assert(parts->categories >= 2 && parts->categories <= CLASSIFIER_CATEGORIES_MAX);
        assert(parts->text_max >= NGRAMS_TEXT_MIN && parts->text_max <= NGRAMS_TEXT_MAX);
        if (!c)
                return NULL;
        assert(parts->dim <= ENCODER_DIM_MAX);
        c->parts = *parts;
        c->columns = classifier_columns(parts->categories);
        return c;
}

/* ---- deciding ----------------------------------------------------------------------------------------------------------- */

typedef int8_t narrow __attribute__((vector_size(LANES)));
typedef int16_t wide __attribute__((vector_size(2 * LANES)));

static inline void add_row(wide *sum, const int8_t *row, size_t blocks)
{
        for (size_t k = 0; k < blocks; k++) {
                narrow r;

                memcpy(&r, row + k * LANES, sizeof r);
                sum[k] += __builtin_convertvector(r, wide);
        }
}

static void carry(const wide *sum, size_t blocks, int32_t *total)
{
        for (size_t k = 0; k < blocks; k++)
                for (size_t i = 0; i < LANES; i++)
                        total[k * LANES + i] += sum[k][i];
}

/* Two functions of one body: with one block the sum stays in registers. */
static void add_rows_one(const int8_t *rows, const uint32_t *bucket, size_t n, int32_t *total)
{
        wide sum = { 0 };

        for (size_t i = 0; i < n; i++)
                add_row(&sum, rows + (size_t)bucket[i] * LANES, 1);
        carry(&sum, 1, total);
}

static void add_rows_many(const int8_t *rows, const uint32_t *bucket, size_t n, size_t blocks, int32_t *total)
{
        wide sum[COLUMNS_MAX / LANES];

        memset(sum, 0, blocks * sizeof *sum);
        for (size_t i = 0; i < n; i++) {
                const int8_t *later = rows + (size_t)bucket[MIN(i + AHEAD, n - 1)] * blocks * LANES;

                __builtin_prefetch(later);
                if (blocks > 2)
                        __builtin_prefetch(later + 64);
                add_row(sum, rows + (size_t)bucket[i] * blocks * LANES, blocks);
        }
        carry(sum, blocks, total);
}

/* The vector's share of the scores.  A model that is not finite is as good as one that says nothing. */
static void add_dense(const struct classifier *c, const char *text, size_t n, size_t limit, float *scores)
{
        size_t categories = c->parts.categories;
        float v[ENCODER_DIM_MAX];

        assert(c->encoder);
        if (encoder_encode(c->encoder, NULL, text, n, limit, v, NULL) < 0)
                return;
        for (size_t d = 0; d < c->parts.dim; d++) {
                const float *row = c->parts.dense + d * categories;

                for (size_t i = 0; i < categories; i++)
                        scores[i] += v[d] * row[i];
        }
}

bool classifier_scores(const struct classifier *c, const char *text, size_t n, size_t text_max, float *scores)
{
        const struct classifier_parts *p = &c->parts;
        size_t blocks = c->columns / LANES;
        int32_t total[COLUMNS_MAX];
        struct ngrams f;
        double norm;

        text_max = text_max ? text_max : p->text_max;
        memset(total, 0, c->columns * sizeof *total);
        ngrams_begin(&f, text, n, p->bits, text_max);
        while (ngrams_next(&f))
                for (size_t i = 0; i < f.n; i += ROWS_BEFORE_CARRY) {
                        size_t part = MIN(f.n - i, (size_t)ROWS_BEFORE_CARRY);

                        if (blocks == 1)
                                add_rows_one(p->rows, f.bucket + i, part, total);
                        else
                                add_rows_many(p->rows, f.bucket + i, part, blocks, total);
                }
        if (total[p->categories] <= 0)
                return false;
        norm = sqrt(total[p->categories] * p->idf_step);
        for (size_t i = 0; i < p->categories; i++)
                scores[i] = (float)(total[i] / norm * p->scale[i] + p->bias[i]);
        if (p->dim)
                add_dense(c, text, n, text_max, scores);
        return true;
}

double classifier_logit(const float *scores, size_t categories, size_t *best)
{
        double others = 0;
        size_t top = 0;

        for (size_t i = 1; i < categories; i++)
                if (scores[i] > scores[top])
                        top = i;
        for (size_t i = 0; i < categories; i++)
                if (i != top)
                        others += exp((scores[i] - scores[top]) / CLASSIFIER_TEMPERATURE);
        *best = top;
        return -log(others + 1e-30);
}

void classifier_decide(const struct classifier *c, const char *text, size_t n, size_t text_max, struct verdict *ret)
{
        float scores[CLASSIFIER_CATEGORIES_MAX];

        *ret = (struct verdict){ 0 };
        if (classifier_scores(c, text, n, text_max, scores)) {
                double logit = classifier_logit(scores, c->parts.categories, &ret->category);

                ret->confidence = 1 / (1 + exp(-(c->parts.slope * logit + c->parts.offset)));
        }
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static int read_number(const struct tensors *t, const char *key, double min, double max, double *ret, char *why, size_t why_size)
{
        const char *text = tensors_meta(t, key);
        char *end;
        double x;

        if (!text)
                return set_error(why, why_size, "metadata '%s' is missing", key);
        x = strtod(text, &end);
        if (end == text || *end || !(x >= min && x <= max))
                return set_error(why, why_size, "metadata '%s': '%.32s' is not a number in %g..%g", key, text, min, max);
        *ret = x;
        return 0;
}

static int read_numbers(struct classifier *c, char *why, size_t why_size)
{
        double bits = 0, text_max = 0;
        int r = read_number(c->file, "bits", NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, &bits, why, why_size);

        if (r == 0)
                r = read_number(c->file, "text_max", NGRAMS_TEXT_MIN, NGRAMS_TEXT_MAX, &text_max, why, why_size);
        if (r == 0)
                r = read_number(c->file, "idf_step", 1e-9, 1e9, &c->parts.idf_step, why, why_size);
        if (r == 0)
                r = read_number(c->file, "slope", 0, 1e6, &c->parts.slope, why, why_size);
        if (r == 0)
                r = read_number(c->file, "offset", -1e6, 1e6, &c->parts.offset, why, why_size);
        if (r == 0)
                r = read_number(c->file, "threshold", 0, 1, &c->parts.threshold, why, why_size);
        if (r < 0)
                return r;
        c->parts.bits = (unsigned)bits;
        c->parts.text_max = (size_t)text_max;
        return 0;
}

static int read_labels(struct classifier *c, char *why, size_t why_size)
{
        const char *text = tensors_meta(c->file, "labels");
        json_error_t error;
        size_t n;

        if (!text)
                return set_error(why, why_size, "metadata 'labels' is missing");
        errno = 0;
        c->labels = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (!c->labels && json_lacked_memory())
                return -ENOMEM;
        n = json_array_size(c->labels);
        if (n < 2 || n > CLASSIFIER_CATEGORIES_MAX)
                return set_error(why, why_size, "metadata 'labels' must be a list of 2 to %d names", CLASSIFIER_CATEGORIES_MAX);
        c->label_list = calloc(n, sizeof *c->label_list);
        if (!c->label_list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const char *label = json_string_value(json_array_get(c->labels, i));

                if (!label || !*label || strlen(label) > LABEL_MAX)
                        return set_error(why, why_size, "label %zu must be a text of 1 to %d bytes", i, LABEL_MAX);
                for (size_t k = 0; k < i; k++)
                        if (strcmp(c->label_list[k], label) == 0)
                                return set_error(why, why_size, "label '%s' is there twice", label);
                c->label_list[i] = label;
        }
        c->parts.labels = c->label_list;
        c->parts.categories = n;
        c->columns = classifier_columns(n);
        return 0;
}

static int read_vector(const struct tensors *t, const char *name, size_t n, const float **ret, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(t, name);
        const float *v;

        if (!x || x->type != TENSOR_F32 || x->rank != 1 || x->shape[0] != n || (uintptr_t)x->data % sizeof(float))
                return set_error(why, why_size, "tensor '%s' must be F32 [%zu], aligned", name, n);
        v = x->data;
        for (size_t i = 0; i < n; i++)
                if (!isfinite(v[i]))
                        return set_error(why, why_size, "tensor '%s': number %zu is not finite", name, i);
        *ret = v;
        return 0;
}

/* Of a model with vectors: the weights, and which encoder they are for. */
static int read_dense(struct classifier *c, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(c->file, "dense");
        const char *encoder = tensors_meta(c->file, "encoder_sha256");
        size_t n = c->parts.categories;
        const float *v;

        if (!encoder || strlen(encoder) != 64)
                return set_error(why, why_size, "metadata 'encoder_sha256' must be 64 digits");
        if (!x || x->type != TENSOR_F32 || x->rank != 2 || x->shape[0] < 1 || x->shape[0] > ENCODER_DIM_MAX || x->shape[1] != n ||
            (uintptr_t)x->data % sizeof(float))
                return set_error(why, why_size, "tensor 'dense' must be F32 [1..%d, %zu], aligned", ENCODER_DIM_MAX, n);
        v = x->data;
        for (size_t i = 0; i < x->shape[0] * n; i++)
                if (!isfinite(v[i]))
                        return set_error(why, why_size, "tensor 'dense': number %zu is not finite", i);
        c->parts.dim = x->shape[0];
        c->parts.dense = v;
        c->parts.encoder = encoder;
        return 0;
}

static int read_rows(struct classifier *c, char *why, size_t why_size)
{
        const struct tensor *x = tensors_find(c->file, "rows");
        size_t n = (size_t)1 << c->parts.bits;

        if (!x || x->type != TENSOR_I8 || x->rank != 2 || x->shape[0] != n || x->shape[1] != c->columns)
                return set_error(why, why_size, "tensor 'rows' must be I8 [%zu, %zu]", n, c->columns);
        c->parts.rows = x->data;
        for (size_t i = 0; i < n; i++) /* also the proof that the file is there to its last byte */
                if (c->parts.rows[i * c->columns + c->parts.categories] < 0)
                        return set_error(why, why_size, "tensor 'rows': row %zu has a negative weight of its bucket", i);
        return 0;
}

/*
 * Metadata, all strings: kind "pointsman.category", version, features (NGRAMS_VERSION), bits, text_max, labels (a JSON list),
 * idf_step, slope, offset, threshold; the trainer adds what the model was made from and accepted with.
 */
int classifier_open_as(const char *kind, const char *path, struct classifier **ret, char *why, size_t why_size)
{
        CLEANUP(classifier_p) struct classifier *c = calloc(1, sizeof *c);
        const char *found, *version, *features;
        bool dense;
        int r;

        if (!c)
                return -ENOMEM;
        why[0] = '\0';
        r = tensors_open(path, &c->file, why, why_size);
        if (r < 0)
                return r;
        found = tensors_meta(c->file, "kind");
        version = tensors_meta(c->file, "version");
        features = tensors_meta(c->file, "features");
        if (!found || strcmp(found, kind) != 0)
                return set_error(why, why_size, "kind is '%.64s', wanted '%s': not a %s model", found ? found : "", kind, kind + strlen("pointsman."));
        dense = version && strcmp(version, CLASSIFIER_VERSION_DENSE) == 0;
        if (!version || (!dense && strcmp(version, CLASSIFIER_VERSION) != 0))
                return set_error(why, why_size, "version is '%.32s', this program reads '%s' and '%s': train it again",
                                 version ? version : "", CLASSIFIER_VERSION, CLASSIFIER_VERSION_DENSE);
        if (!features || strcmp(features, NGRAMS_VERSION) != 0)
                return set_error(why, why_size, "made for features '%.80s', this program has '%s': train it again",
                                 features ? features : "", NGRAMS_VERSION);
        r = read_numbers(c, why, why_size);
        if (r == 0)
                r = read_labels(c, why, why_size);
        if (r == 0)
                r = read_vector(c->file, "scale", c->parts.categories, &c->parts.scale, why, why_size);
        if (r == 0)
                r = read_vector(c->file, "bias", c->parts.categories, &c->parts.bias, why, why_size);
        if (r == 0)
                r = read_rows(c, why, why_size);
        if (r == 0 && dense)
                r = read_dense(c, why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

int classifier_open(const char *path, struct classifier **ret, char *why, size_t why_size)
{
        CLEANUP(classifier_p) struct classifier *c = NULL;
        int r = classifier_open_as(CLASSIFIER_KIND, path, &c, why, why_size);

        if (r == 0)
                r = tensors_settle(c->file, why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

int classifier_attach(struct classifier *c, const struct encoder *e, char *why, size_t why_size)
{
        char hex[65];

        assert(c->parts.dim > 0);
        if (encoder_needs_scratch(e))
                return set_error(why, why_size, "its tokenizer is not BERT's, the only one that reads a text in one pass");
        if (encoder_dim(e) != c->parts.dim)
                return set_error(why, why_size, "its vectors have %zu dimensions, the model was trained with %zu", encoder_dim(e), c->parts.dim);
        if (encoder_digest(e, hex) < 0)
                return set_error(why, why_size, "no memory for its SHA-256");
        if (strcmp(hex, c->parts.encoder) != 0)
                return set_error(why, why_size, "it is not the one (%.12s...) that the model was trained with (%.12s...)", hex, c->parts.encoder);
        c->encoder = e;
        return 0;
}

static char *labels_text(const struct classifier_parts *p)
{
        json_t *list = json_array();
        char *text;

        for (size_t i = 0; i < p->categories; i++)
                json_array_append_new(list, json_string(p->labels[i]));
        text = json_array_size(list) == p->categories ? json_dumps(list, JSON_COMPACT) : NULL;
        json_decref(list);
        return text;
}

int classifier_save_as(const char *kind, const struct classifier *c, const char *path, const struct tensor *more, size_t n_more,
                       const char *const *meta, char *why, size_t why_size)
{
        const struct classifier_parts *p = &c->parts;
        const struct tensor list[] = {
                { "scale", TENSOR_F32, 1, { p->categories }, p->scale, p->categories * sizeof(float) },
                { "bias", TENSOR_F32, 1, { p->categories }, p->bias, p->categories * sizeof(float) },
                { "dense", TENSOR_F32, 2, { p->dim, p->categories }, p->dense, p->dim * p->categories * sizeof(float) },
                { "rows", TENSOR_I8, 2, { (uint64_t)1 << p->bits, c->columns }, p->rows, ((size_t)1 << p->bits) * c->columns },
        };
        struct tensor kept[LENGTH_OF(list) + CLASSIFIER_MORE_MAX];
        size_t n_kept = 0;
        CLEANUP(free_p) char *labels = labels_text(p);
        CLEANUP(free_p) const char **all = NULL;
        char number[6][32];
        size_t n = 0;

        if (!labels)
                return set_error(why, why_size, "a label is not UTF-8");
        while (meta && meta[n])
                n += 2;
        all = calloc(n + 23, sizeof *all);
        if (!all)
                return -ENOMEM;
        (void)snprintf(number[0], sizeof number[0], "%u", p->bits);
        (void)snprintf(number[1], sizeof number[1], "%zu", p->text_max);
        (void)snprintf(number[2], sizeof number[2], "%.9g", p->idf_step);
        (void)snprintf(number[3], sizeof number[3], "%.6f", p->slope);
        (void)snprintf(number[4], sizeof number[4], "%.6f", p->offset);
        (void)snprintf(number[5], sizeof number[5], "%.6f", p->threshold);
        memcpy(all, (const char *[20]){ "kind", kind, "version", p->dim ? CLASSIFIER_VERSION_DENSE : CLASSIFIER_VERSION,
                                        "features", NGRAMS_VERSION,
                                        "bits", number[0], "text_max", number[1], "labels", labels, "idf_step", number[2],
                                        "slope", number[3], "offset", number[4], "threshold", number[5] },
               20 * sizeof *all);
        for (size_t i = 0; i < n; i++)
                all[20 + i] = meta[i];
        if (p->dim) {
                all[20 + n] = "encoder_sha256";
                all[21 + n] = p->encoder;
        }
        assert(n_more <= CLASSIFIER_MORE_MAX);
        for (; n_kept < n_more; n_kept++)
                kept[n_kept] = more[n_kept];
        for (size_t i = 0; i < LENGTH_OF(list); i++)
                if (list[i].bytes)
                        kept[n_kept++] = list[i];
        return tensors_write(path, kept, n_kept, all, why, why_size);
}

int classifier_save(const struct classifier *c, const char *path, const char *const *meta, char *why, size_t why_size)
{
        return classifier_save_as(CLASSIFIER_KIND, c, path, NULL, 0, meta, why, why_size);
}

const struct classifier_parts *classifier_parts(const struct classifier *c)
{
        return &c->parts;
}

struct tensors *classifier_file(const struct classifier *c)
{
        return c->file;
}

const char *classifier_meta(const struct classifier *c, const char *key)
{
        return c->file ? tensors_meta(c->file, key) : NULL;
}
