/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_set.h - prompts with a category, a fold and every expert's outcome: what routing is measured on.
 */
#ifndef PM_ROUTE_SET_H
#define PM_ROUTE_SET_H

#include <stdbool.h>

#include "jsonl.h"
#include "outcomes.h"

struct route_source {
        struct jsonl_source rows;
        const char *outcomes, *columns;
        const char *fold;      /* a field that says it; NULL: by hash */
        const char *salt;
        unsigned folds;        /* by hash: so many */
};

struct route_set {
        struct jsonl_rows rows;      /* those of which all outcomes are known */
        struct outcomes table;
        size_t experts;
        const float **outcome;       /* [rows.n][experts] */
        unsigned *fold;              /* [rows.n] */
        unsigned folds;
};

/* 0, or -errno after a message on stderr. */
int route_set_read(const struct route_source *s, struct route_set *ret);
void route_set_finish(struct route_set *s);

/* Mean outcomes, of those prompts with use[i]: [labels + 1][experts], the last row being of all; drawn to it as if `shrink` prompts more had been
 * seen.  Returns how many prompts there were; share[labels] (may be NULL): of each category. */
size_t route_set_table(const struct route_set *s, const bool *use, double shrink, double *table, double *share);
#endif
