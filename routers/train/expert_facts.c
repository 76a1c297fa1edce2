/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file may have more experts than are asked for: one file serves several pools.
 */
#include <math.h>

#include "base.h"
#include "expert_facts.h"
#include "jsonl.h"

#define COLUMNS_MAX 16
#define FACT_MAX 1e9

enum { HOST = EXPERT_FACTS, COLUMNS };

const char *const expert_fact_names[EXPERT_FACTS] = { "loaded", "active", "memory", "price" };

struct reading {
        const char *path;
        char *const *experts;
        struct expert_facts *facts;
        int column[COLUMNS_MAX]; /* what each column of the file is */
        size_t n_columns;
        bool *seen;
};

static size_t split(char *line, char **cell)
{
        size_t n = 0;

        for (char *p = line; p; n++) {
                char *next = strchr(p, '\t');

                if (next)
                        *next++ = '\0';
                if (n < COLUMNS_MAX)
                        cell[n] = p;
                p = next;
        }
        return n;
}

static int take_titles(struct reading *x, char **cell, size_t n, size_t number)
{
        if (n < 2 || n > COLUMNS_MAX || strcmp(cell[0], "#expert") != 0) {
                (void)fprintf(stderr, "%s:%zu: the first line must be '#expert' and what is known of each: loaded, active, memory, price, host, "
                              "tab-separated\n", x->path, number);
                return -EINVAL;
        }
        for (size_t i = 1; i < n; i++) {
                x->column[i] = COLUMNS;
                for (int f = 0; f < COLUMNS; f++)
                        if (strcmp(cell[i], f == HOST ? "host" : expert_fact_names[f]) == 0)
                                x->column[i] = f;
                for (size_t k = 1; k < i; k++)
                        if (x->column[k] == x->column[i])
                                x->column[i] = COLUMNS;
                if (x->column[i] == COLUMNS) {
                        (void)fprintf(stderr, "%s:%zu: column '%.64s' is there twice, or not one of loaded, active, memory, price, host\n", x->path,
                                      number, cell[i]);
                        return -EINVAL;
                }
                if (x->column[i] != HOST) {
                        double *value = x->facts->value[x->column[i]] = calloc(x->facts->n + 1, sizeof *value);

                        if (!value)
                                return -ENOMEM;
                }
        }
        x->n_columns = n;
        return 0;
}

static int take_cell(struct reading *x, size_t expert, int column, const char *text, size_t number)
{
        bool unknown = strcmp(text, "-") == 0;
        char *end = NULL;
        double v;

        if (column == HOST) {
                if (!*text || !jsonl_is_name(text)) {
                        (void)fprintf(stderr, "%s:%zu: the host is a name, or '-' for any\n", x->path, number);
                        return -EINVAL;
                }
                return unknown || (x->facts->host[expert] = strdup(text)) ? 0 : -ENOMEM;
        }
        v = unknown ? (double)NAN : strtod(text, &end);
        if (!unknown && (end == text || *end || !(v >= 0 && v <= FACT_MAX))) {
                (void)fprintf(stderr, "%s:%zu: %s is '%.32s', which is not a number from 0 on, nor '-'\n", x->path, number, expert_fact_names[column],
                              text);
                return -EINVAL;
        }
        x->facts->value[column][expert] = v;
        return 0;
}

static int take_line(void *ctx, char *line, size_t n, size_t number)
{
        struct reading *x = ctx;
        char *cell[COLUMNS_MAX];
        size_t got, expert = 0;

        if (n > 0 && line[n - 1] == '\r')
                line[n - 1] = '\0';
        if (strncmp(line, "# ", 2) == 0 || strcmp(line, "#") == 0)
                return 0;
        got = split(line, cell);
        if (x->n_columns == 0)
                return take_titles(x, cell, got, number);
        if (got != x->n_columns) {
                (void)fprintf(stderr, "%s:%zu: %zu columns, the first line has %zu\n", x->path, number, got, x->n_columns);
                return -EINVAL;
        }
        while (expert < x->facts->n && strcmp(x->experts[expert], cell[0]) != 0)
                expert++;
        if (expert == x->facts->n)
                return 0;
        if (x->seen[expert]) {
                (void)fprintf(stderr, "%s:%zu: expert '%.64s' is there twice\n", x->path, number, cell[0]);
                return -EINVAL;
        }
        x->seen[expert] = true;
        for (size_t i = 1; i < got; i++) {
                int r = take_cell(x, expert, x->column[i], cell[i], number);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* What is active is all that is loaded, where nothing else is said. */
static int fill(struct expert_facts *f)
{
        if (!f->value[FACT_LOADED] || f->value[FACT_ACTIVE])
                return 0;
        f->value[FACT_ACTIVE] = calloc(f->n + 1, sizeof(double));
        if (!f->value[FACT_ACTIVE])
                return -ENOMEM;
        memcpy(f->value[FACT_ACTIVE], f->value[FACT_LOADED], f->n * sizeof(double));
        return 0;
}

int expert_facts_read(const char *path, char *const *experts, size_t n, struct expert_facts *ret)
{
        struct expert_facts f = { .n = n, .host = calloc(n + 1, sizeof *f.host) };
        CLEANUP(free_p) bool *seen = calloc(n + 1, sizeof *seen);
        struct reading x = { .path = path, .experts = experts, .facts = &f, .seen = seen };
        int r = f.host && seen ? jsonl_lines(path, take_line, &x) : -ENOMEM;

        for (size_t k = 0; r == 0 && k < n; k++)
                if (!seen[k]) {
                        (void)fprintf(stderr, "%s: no line for expert '%s'\n", path, experts[k]);
                        r = -EINVAL;
                }
        if (r == 0)
                r = fill(&f);
        if (r < 0)
                expert_facts_finish(&f);
        else
                *ret = f;
        return r;
}

int expert_facts_need(const struct expert_facts *f, enum expert_fact which, const char *path, char *const *experts, const char *for_what)
{
        for (size_t k = 0; k < f->n; k++)
                if (!f->value[which] || isnan(f->value[which][k])) {
                        (void)fprintf(stderr, "%s: '%s' of expert '%s' is not known, and %s needs it\n", path, expert_fact_names[which], experts[k],
                                      for_what);
                        return -EINVAL;
                }
        return 0;
}

void expert_facts_finish(struct expert_facts *f)
{
        for (int i = 0; i < EXPERT_FACTS; i++)
                free(f->value[i]);
        for (size_t k = 0; f->host && k < f->n; k++)
                free(f->host[k]);
        free(f->host);
        *f = (struct expert_facts){ 0 };
}
