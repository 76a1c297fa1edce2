/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base.h"
#include "folds.h"
#include "route_set.h"

static bool complete(const float *outcome, size_t experts)
{
        for (size_t k = 0; outcome && k < experts; k++)
                if (isnan(outcome[k]))
                        return false;
        return outcome != NULL;
}

/* The field's values are the folds: the file is read a second time, with them as labels. */
static int folds_from_field(const struct route_source *s, struct route_set *x)
{
        struct jsonl_source again = s->rows;
        struct jsonl_rows rows;
        int r;

        again.label = s->fold;
        r = jsonl_read(&again, &rows);
        if (r < 0)
                return r;
        for (size_t i = 0; r == 0 && i < x->rows.n; i++) {
                if (rows.n != x->rows.n || strcmp(rows.list[i].id, x->rows.list[i].id) != 0) {
                        (void)fprintf(stderr, "%s: field '%s' is not in every line that has '%s'\n", s->rows.path, s->fold, s->rows.label);
                        r = -EINVAL;
                } else {
                        x->fold[i] = (unsigned)rows.list[i].label;
                }
        }
        x->folds = (unsigned)rows.n_labels;
        jsonl_finish(&rows);
        return r;
}

/* Takes out the prompts that not every expert was run on. */
static void keep_complete(struct route_set *x, const char *path)
{
        size_t n = 0;

        for (size_t i = 0; i < x->rows.n; i++) {
                const float *outcome = outcomes_find(&x->table, x->rows.list[i].id);

                if (!complete(outcome, x->experts)) {
                        free(x->rows.list[i].text);
                        free(x->rows.list[i].id);
                        continue;
                }
                x->rows.list[n] = x->rows.list[i];
                x->fold[n] = x->fold[i];
                x->outcome[n++] = outcome;
        }
        if (n < x->rows.n)
                (void)fprintf(stderr, "%s: %zu of %zu prompts have no outcome of every expert, ignoring them\n", path, x->rows.n - n, x->rows.n);
        x->rows.n = n;
}

static int load(const struct route_source *s, struct route_set *x)
{
        int r = jsonl_read(&s->rows, &x->rows);

        if (r == 0)
                r = outcomes_read(s->outcomes, s->columns, &x->table);
        if (r < 0)
                return r;
        x->experts = x->table.n_experts;
        x->folds = s->folds;
        x->fold = calloc(x->rows.n + 1, sizeof *x->fold);
        x->outcome = calloc(x->rows.n + 1, sizeof *x->outcome);
        if (!x->fold || !x->outcome)
                return -ENOMEM;
        if (s->fold) {
                r = folds_from_field(s, x);
        } else {
                for (size_t i = 0; r == 0 && i < x->rows.n; i++)
                        r = folds_of(s->salt, x->rows.list[i].text, x->rows.list[i].n, s->folds, &x->fold[i]);
        }
        if (r < 0)
                return r;
        keep_complete(x, s->rows.path);
        if (x->rows.n == 0 || x->experts < 2) {
                (void)fprintf(stderr, "%s: %s\n", s->outcomes, x->experts < 2 ? "one expert alone: there is nothing to choose"
                                                                              : "no prompt has an outcome of every expert: is --id the right field?");
                return -ENODATA;
        }
        return 0;
}

int route_set_read(const struct route_source *s, struct route_set *ret)
{
        struct route_set x = { 0 };
        int r = load(s, &x);

        if (r < 0)
                route_set_finish(&x);
        else
                *ret = x;
        return r;
}

void route_set_finish(struct route_set *s)
{
        jsonl_finish(&s->rows);
        outcomes_finish(&s->table);
        free(s->outcome);
        free(s->fold);
        *s = (struct route_set){ 0 };
}

size_t route_set_table(const struct route_set *s, const bool *use, double shrink, double *table, double *share)
{
        size_t labels = s->rows.n_labels, n = 0;
        double *all = table + labels * s->experts;

        memset(table, 0, (labels + 1) * s->experts * sizeof *table);
        for (size_t i = 0; i < s->rows.n; i++) {
                n += use[i];
                for (size_t k = 0; use[i] && k < s->experts; k++) {
                        table[s->rows.list[i].label * s->experts + k] += (double)s->outcome[i][k];
                        all[k] += (double)s->outcome[i][k];
                }
        }
        for (size_t k = 0; n > 0 && k < s->experts; k++)
                all[k] /= (double)n;
        for (size_t c = 0; c < labels; c++) {
                double here = 0;

                for (size_t i = 0; i < s->rows.n; i++)
                        here += use[i] && s->rows.list[i].label == c;
                for (size_t k = 0; k < s->experts; k++)
                        table[c * s->experts + k] =
                                here + shrink > 0 ? (table[c * s->experts + k] + shrink * all[k]) / (here + shrink) : all[k];
                if (share)
                        share[c] = n > 0 ? here / (double)n : 0;
        }
        return n;
}
