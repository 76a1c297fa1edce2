/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcomes.h - a table of how well each expert did on each prompt.
 */
#ifndef PM_OUTCOMES_H
#define PM_OUTCOMES_H

#include <stddef.h>

#define OUTCOMES_EXPERTS_MAX 256

struct outcome {
        char *id;
        float *value; /* [n_experts]; NAN: not run */
};

/* What --help says of the file, and of the columns that are taken from it. */
#define OUTCOMES_HELP "first line '#id' and a column for each expert; then a prompt a line: 0..1, or '-' for not run"
#define OUTCOMES_COLUMNS_HELP "only these columns; NAME=COLUMN gives a column another name"

struct outcomes {
        char **experts;
        size_t n_experts;
        struct outcome *list; /* sorted by id */
        size_t n, room;
};

/*
 * A tab-separated file, plain or gzip'd: "#id" and a name for each column; then an id and 0..1 or "-" for each.  `experts` (NULL:
 * all columns) lists columns, comma-separated, each as COLUMN or NAME=COLUMN.  0, or -errno after a message on stderr.
 */
int outcomes_read(const char *path, const char *experts, struct outcomes *ret);
const float *outcomes_find(const struct outcomes *o, const char *id); /* NULL: not there */
void outcomes_finish(struct outcomes *o);
#endif
