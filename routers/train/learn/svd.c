/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Q, an orthonormal basis of (M M')^rounds M times a random matrix, holds the strong directions; the small matrix Q'M is decomposed
 * exactly.  Bases are made orthonormal, twice, through the eigenvectors of their Gram matrix, in double precision: that drops
 * directions that are not there (an empty graph, a matrix of low rank), where Gram-Schmidt would divide by nothing.
 */
#include <cblas.h>
#include <math.h>

#include "base.h"
#include "noise.h"
#include "parallel.h"
#include "svd.h"

/* LAPACK, which OpenBLAS brings; Debian's header for it is in a package of its own. */
void dsyev_(const char *job, const char *triangle, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, int *info);

/* ascending eigenvalues; the eigenvectors become the rows of a. */
static int eigen(double *a, size_t n, double *w)
{
        int size = (int)n, lwork = -1, info;
        double best;

        dsyev_("V", "U", &size, a, &size, w, &best, &lwork, &info);
        if (info != 0)
                return -EIO;
        lwork = (int)best;
        CLEANUP(free_p) double *work = malloc((size_t)lwork * sizeof *work);
        if (!work)
                return -ENOMEM;
        dsyev_("V", "U", &size, a, &size, w, work, &lwork, &info);
        return info == 0 ? 0 : -EIO;
}

static void widen(const float *x, size_t n, double *y)
{
        for (size_t i = 0; i < n; i++)
                y[i] = (double)x[i];
}

/* gram[k][k] = x' x of x[n][k], in double precision, by blocks that fit a cache. */
static int gram_of(const float *x, size_t n, size_t k, double *gram)
{
        enum { BLOCK = 1024 };
        CLEANUP(free_p) double *block = malloc(BLOCK * k * sizeof *block);

        if (!block)
                return -ENOMEM;
        memset(gram, 0, k * k * sizeof *gram);
        for (size_t r = 0; r < n; r += BLOCK) {
                size_t rows = MIN(n - r, (size_t)BLOCK);

                widen(x + r * k, rows * k, block);
                cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)k, (int)k, (int)rows, 1, block, (int)k, block,
                            (int)k, 1, gram, (int)k);
        }
        return 0;
}

/* x[n][k] = x w, with w[k][k] given by double rows: column j of the new x is x times row j of w. */
static int turn(float *x, size_t n, size_t k, const double *w)
{
        enum { BLOCK = 1024 };
        CLEANUP(free_p) float *narrow = malloc(k * k * sizeof *narrow), *block = malloc(BLOCK * k * sizeof *block);

        if (!narrow || !block)
                return -ENOMEM;
        for (size_t i = 0; i < k * k; i++)
                narrow[i] = (float)w[i];
        for (size_t r = 0; r < n; r += BLOCK) {
                size_t rows = MIN(n - r, (size_t)BLOCK);

                memcpy(block, x + r * k, rows * k * sizeof *block);
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)k, (int)k, 1, block, (int)k, narrow,
                            (int)k, 0, x + r * k, (int)k);
        }
        return 0;
}

/* Makes the columns of x[n][k] orthonormal, strongest first; value[k], if given, receives their lengths.  Missing ones are zeros. */
static int orthonormal(float *x, size_t n, size_t k, float *value)
{
        CLEANUP(free_p) double *gram = malloc(k * k * sizeof *gram), *w = malloc(k * sizeof *w), *turned = malloc(k * k * sizeof *turned);
        int r;

        if (!gram || !w || !turned)
                return -ENOMEM;
        for (int again = 0; again < (value ? 1 : 2); again++) {
                double largest;

                r = gram_of(x, n, k, gram);
                if (r == 0)
                        r = eigen(gram, k, w);
                if (r < 0)
                        return r;
                largest = MAX(w[k - 1], 0);
                for (size_t j = 0; j < k; j++) {
                        double size = w[k - 1 - j];
                        bool there = size > largest * 1e-9 && size > 1e-30;

                        if (value)
                                value[j] = there ? (float)sqrt(size) : 0;
                        for (size_t i = 0; i < k; i++) /* LAPACK's columns are our rows */
                                turned[j * k + i] = there ? gram[(k - 1 - j) * k + i] / sqrt(size) : 0;
                }
                r = turn(x, n, k, turned);
                if (r < 0)
                        return r;
        }
        return 0;
}

struct normal {
        uint64_t seed;
        size_t k;
        float *x;
};

static void draw(void *ctx, size_t begin, size_t end)
{
        const struct normal *p = ctx;

        for (size_t r = begin; r < end; r++)
                for (size_t j = 0; j < p->k; j++) { /* Box and Muller */
                        uint64_t bits = noise_bits(p->seed, r, j);
                        double u = noise_uniform(bits), v = noise_uniform(noise_mix(bits));

                        p->x[r * p->k + j] = (float)(sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v));
                }
}

/* The largest entry of each right column is made positive. */
static void settle_signs(float *left, size_t rows, float *right, size_t cols, size_t k)
{
        for (size_t j = 0; j < k; j++) {
                float largest = 0;

                for (size_t i = 0; i < cols; i++)
                        if (fabsf(right[i * k + j]) > fabsf(largest))
                                largest = right[i * k + j];
                for (size_t i = 0; largest < 0 && i < cols; i++)
                        right[i * k + j] = -right[i * k + j];
                for (size_t i = 0; largest < 0 && i < rows; i++)
                        left[i * k + j] = -left[i * k + j];
        }
}

static void narrow_to(const float *from, size_t rows, size_t k, size_t dim, float *to)
{
        for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < dim; j++)
                        to[i * dim + j] = j < k ? from[i * k + j] : 0;
}

int svd(const struct sparse *m, const struct svd_settings *s, float *left, float *right, float *value)
{
        size_t k = MAX(MIN(s->dim + s->more, MIN(m->rows, m->cols)), (size_t)1);
        CLEANUP(free_p) float *x = malloc((m->cols * k + 1) * sizeof *x), *y = malloc((m->rows * k + 1) * sizeof *y);
        CLEANUP(free_p) float *length = calloc(k, sizeof *length);
        CLEANUP(sparse_finish) struct sparse t = { 0 };
        struct normal normal = { s->seed, k, x };
        int r;

        if (!x || !y || !length || sparse_transpose(m, &t) < 0)
                return -ENOMEM;
        openblas_set_num_threads((int)s->threads);
        parallel_rows(s->threads, m->cols, 1024, draw, &normal);
        for (unsigned i = 0;; i++) {
                sparse_times(m, NULL, x, k, s->threads, y);
                r = orthonormal(y, m->rows, k, NULL);
                if (r < 0)
                        return r;
                sparse_times(&t, NULL, y, k, s->threads, x); /* x = M'Q */
                if (i == s->rounds)
                        break;
                r = orthonormal(x, m->cols, k, NULL);
                if (r < 0)
                        return r;
        }
        /* M is Q x' with x = V S W': its lengths are the values, its directions the right side, and M V / S the left. */
        r = orthonormal(x, m->cols, k, length);
        if (r < 0)
                return r;
        sparse_times(m, NULL, x, k, s->threads, y);
        for (size_t i = 0; i < m->rows; i++)
                for (size_t j = 0; j < k; j++)
                        y[i * k + j] = length[j] > 0 ? y[i * k + j] / length[j] : 0;
        settle_signs(y, m->rows, x, m->cols, k);
        narrow_to(y, m->rows, k, s->dim, left);
        narrow_to(x, m->cols, k, s->dim, right);
        for (size_t j = 0; j < s->dim; j++)
                value[j] = j < k ? length[j] : 0;
        return 0;
}
