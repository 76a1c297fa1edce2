/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are built by counting: two passes over the cells, one sort of each short row.
 */
#include "base.h"
#include "parallel.h"
#include "sparse.h"

static int allocate(struct sparse *m, size_t rows, size_t cols, size_t n)
{
        *m = (struct sparse){ rows, cols, calloc(rows + 1, sizeof *m->start), calloc(n + 1, sizeof *m->col),
                              calloc(n + 1, sizeof *m->value) };
        if (m->start && m->col && m->value)
                return 0;
        sparse_finish(m);
        return -ENOMEM;
}

void sparse_finish(struct sparse *m)
{
        free(m->start);
        free(m->col);
        free(m->value);
        *m = (struct sparse){ 0 };
}

size_t sparse_cells(const struct sparse *m)
{
        return m->start ? (size_t)m->start[m->rows] : 0;
}

static int by_col(const void *a, const void *b)
{
        const struct sparse_cell *x = a, *y = b;

        return (x->col > y->col) - (x->col < y->col);
}

/* Moves the cells to their rows; after it row r lies in sorted[start[r] .. start[r + 1]). */
static void by_rows(const struct sparse_cell *cells, size_t n, size_t rows, uint64_t *start, struct sparse_cell *sorted)
{
        for (size_t i = 0; i < n; i++)
                start[cells[i].row + 1]++;
        for (size_t r = 0; r < rows; r++)
                start[r + 1] += start[r];
        for (size_t i = n; i-- > 0;) { /* from behind, so that start[r + 1] ends as the begin of row r + 1 ... */
                uint64_t *end = &start[cells[i].row + 1];

                sorted[--*end] = cells[i];
        }
        for (size_t r = 0; r < rows; r++) /* ... that is, one place too late */
                start[r] = start[r + 1];
        start[rows] = n;
}

int sparse_create(size_t rows, size_t cols, struct sparse_cell *cells, size_t n, struct sparse *ret)
{
        CLEANUP(free_p) struct sparse_cell *sorted = malloc((n + 1) * sizeof *sorted);
        struct sparse m;
        uint64_t at = 0, begin = 0;

        if (!sorted || allocate(&m, rows, cols, n) < 0)
                return -ENOMEM;
        by_rows(cells, n, rows, m.start, sorted);
        for (size_t r = 0; r < rows; r++) {
                uint64_t end = m.start[r + 1], first = at;

                qsort(sorted + begin, (size_t)(end - begin), sizeof *sorted, by_col);
                for (uint64_t i = begin; i < end; i++) {
                        if (at > first && m.col[at - 1] == sorted[i].col) {
                                m.value[at - 1] += sorted[i].value;
                                continue;
                        }
                        m.col[at] = sorted[i].col;
                        m.value[at++] = sorted[i].value;
                }
                begin = end;
                m.start[r] = first;
        }
        m.start[rows] = at;
        *ret = m;
        return 0;
}

int sparse_transpose(const struct sparse *m, struct sparse *ret)
{
        size_t n = sparse_cells(m);
        struct sparse t;

        if (allocate(&t, m->cols, m->rows, n) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                t.start[m->col[i] + 1]++;
        for (size_t c = 0; c < m->cols; c++)
                t.start[c + 1] += t.start[c];
        for (size_t r = 0; r < m->rows; r++)
                for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++) {
                        uint64_t at = t.start[m->col[i]]++;

                        t.col[at] = (uint32_t)r;
                        t.value[at] = m->value[i];
                }
        for (size_t c = m->cols; c > 0; c--) /* each begin has moved on to the next one's */
                t.start[c] = t.start[c - 1];
        t.start[0] = 0;
        *ret = t;
        return 0;
}

int sparse_symmetric(const struct sparse *m, struct sparse *ret)
{
        CLEANUP(sparse_finish) struct sparse t = { 0 };
        struct sparse s;
        uint64_t at = 0;

        assert(m->rows == m->cols);
        if (sparse_transpose(m, &t) < 0 || allocate(&s, m->rows, m->cols, 2 * sparse_cells(m)) < 0)
                return -ENOMEM;
        for (size_t r = 0; r < m->rows; r++) {
                uint64_t i = m->start[r], j = t.start[r];

                while (i < m->start[r + 1] || j < t.start[r + 1]) {
                        uint32_t a = i < m->start[r + 1] ? m->col[i] : UINT32_MAX, b = j < t.start[r + 1] ? t.col[j] : UINT32_MAX;

                        s.col[at] = MIN(a, b);
                        s.value[at] = a == b ? MAX(m->value[i], t.value[j]) : a < b ? m->value[i] : t.value[j];
                        i += a <= b;
                        j += b <= a;
                        at++;
                }
                s.start[r + 1] = at;
        }
        *ret = s;
        return 0;
}

int sparse_bipartite(const struct sparse *m, struct sparse *ret)
{
        CLEANUP(sparse_finish) struct sparse t = { 0 };
        size_t n = sparse_cells(m);
        struct sparse s;

        if (sparse_transpose(m, &t) < 0 || allocate(&s, m->rows + m->cols, m->rows + m->cols, 2 * n) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                s.col[i] = m->col[i] + (uint32_t)m->rows;
        memcpy(s.col + n, t.col, n * sizeof *s.col);
        memcpy(s.value, m->value, n * sizeof *s.value);
        memcpy(s.value + n, t.value, n * sizeof *s.value);
        memcpy(s.start, m->start, m->rows * sizeof *s.start);
        for (size_t c = 0; c <= m->cols; c++)
                s.start[m->rows + c] = n + t.start[c];
        *ret = s;
        return 0;
}

void sparse_sums(const struct sparse *m, float *sums)
{
        for (size_t r = 0; r < m->rows; r++) {
                double sum = 0;

                for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++)
                        sum += (double)m->value[i];
                sums[r] = (float)sum;
        }
}

struct product {
        const struct sparse *m;
        const float *scale, *x;
        size_t d;
        float *y;
};

static void product_rows(void *ctx, size_t begin, size_t end)
{
        const struct product *p = ctx;
        const struct sparse *m = p->m;

        for (size_t r = begin; r < end; r++) {
                float *restrict y = p->y + r * p->d;

                memset(y, 0, p->d * sizeof *y);
                for (uint64_t i = m->start[r]; i < m->start[r + 1]; i++) {
                        const float *restrict x = p->x + (size_t)m->col[i] * p->d;
                        float w = m->value[i] * (p->scale ? p->scale[r] : 1);

                        for (size_t k = 0; k < p->d; k++)
                                y[k] += w * x[k];
                }
        }
}

void sparse_times(const struct sparse *m, const float *scale, const float *x, size_t d, unsigned threads, float *y)
{
        struct product p = { m, scale, x, d, y };

        parallel_rows(threads, m->rows, 256, product_rows, &p);
}
