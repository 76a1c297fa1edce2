/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wrong cell is an error, not a line to be skipped: a table of outcomes is made by a program, and what it means must be certain.
 */
#include <math.h>
#include <zlib.h>

#include "base.h"
#include "gzip.h"
#include "outcomes.h"

#define LINE_MAX_BYTES (1 << 20)
#define COLUMNS_MAX 4096

/* Splits at `by`, in place; returns how many parts there were, of which at most `room` are kept. */
static size_t split(char *text, char by, char **part, size_t room)
{
        size_t n = 0;

        for (char *p = text; p; n++) {
                char *next = strchr(p, by);

                if (next)
                        *next++ = '\0';
                if (n < room)
                        part[n] = p;
                p = next;
        }
        return n;
}

/* For each wanted expert its name (copied) and its column in the file. */
static int choose(struct outcomes *o, const char *path, const char *experts, char **header, size_t columns, size_t *column)
{
        CLEANUP(free_p) char *wanted = experts ? strdup(experts) : NULL;
        char *part[OUTCOMES_EXPERTS_MAX];
        size_t n = wanted ? split(wanted, ',', part, LENGTH_OF(part)) : columns - 1;

        if (experts && !wanted)
                return -ENOMEM;
        if (n > OUTCOMES_EXPERTS_MAX) {
                (void)fprintf(stderr, "%s: %zu experts, at most %d are read\n", path, n, OUTCOMES_EXPERTS_MAX);
                return -EINVAL;
        }
        o->experts = calloc(n + 1, sizeof *o->experts);
        if (!o->experts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                char *name = wanted ? part[i] : header[i + 1], *equals = wanted ? strchr(name, '=') : NULL;
                const char *sought = equals ? equals + 1 : name;

                if (equals)
                        *equals = '\0';
                for (size_t k = 0; k < i; k++)
                        if (strcmp(o->experts[k], name) == 0) {
                                (void)fprintf(stderr, "%s: expert '%s' is there twice\n", path, name);
                                return -EINVAL;
                        }
                column[i] = 1;
                while (column[i] < columns && strcmp(header[column[i]], sought) != 0)
                        column[i]++;
                if (column[i] == columns || !*name) {
                        (void)fprintf(stderr, "%s: no column is called '%s'; there are:", path, sought);
                        for (size_t k = 1; k < columns; k++)
                                (void)fprintf(stderr, " %s", header[k]);
                        (void)fputc('\n', stderr);
                        return -EINVAL;
                }
                o->experts[i] = strdup(name);
                if (!o->experts[i])
                        return -ENOMEM;
                o->n_experts++;
        }
        return 0;
}

static int add_line(struct outcomes *o, const char *path, size_t line, char **cell, const size_t *column)
{
        struct outcome *x;

        if (o->n == o->room) {
                size_t room = MAX(o->room * 2, (size_t)1024);
                struct outcome *grown = realloc(o->list, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                o->list = grown;
                o->room = room;
        }
        x = &o->list[o->n];
        *x = (struct outcome){ strdup(cell[0]), calloc(o->n_experts, sizeof *x->value) };
        o->n++;
        if (!x->id || !x->value)
                return -ENOMEM;
        for (size_t i = 0; i < o->n_experts; i++) {
                const char *text = cell[column[i]];
                char *end;
                float v = strcmp(text, "-") == 0 ? (float)NAN : strtof(text, &end);

                if (strcmp(text, "-") != 0 && (end == text || *end || !(v >= 0 && v <= 1))) {
                        (void)fprintf(stderr, "%s:%zu: '%.32s' for %s is not a number in 0..1, nor '-'\n", path, line, text,
                                      o->experts[i]);
                        return -EINVAL;
                }
                x->value[i] = v;
        }
        return 0;
}

static int by_id(const void *a, const void *b)
{
        const struct outcome *x = a, *y = b;

        return strcmp(x->id, y->id);
}

static int read_lines(gzFile f, const char *path, const char *experts, struct outcomes *o)
{
        CLEANUP(free_p) char *text = malloc(LINE_MAX_BYTES);
        CLEANUP(free_p) char **cell = calloc(COLUMNS_MAX, sizeof *cell);
        size_t column[OUTCOMES_EXPERTS_MAX], columns = 0, line = 0;
        int error = Z_OK;

        if (!text || !cell)
                return -ENOMEM;
        while (gzgets(f, text, LINE_MAX_BYTES)) {
                size_t n = strcspn(text, "\r\n"), got;
                int r;

                line++;
                if (text[n] == '\0' && n + 1 >= LINE_MAX_BYTES) {
                        (void)fprintf(stderr, "%s:%zu: longer than 1 MiB\n", path, line);
                        return -EINVAL;
                }
                text[n] = '\0';
                if (n == 0)
                        continue;
                got = split(text, '\t', cell, COLUMNS_MAX);
                if (columns == 0 && (got < 2 || got > COLUMNS_MAX || text[0] != '#')) {
                        (void)fprintf(stderr, "%s:%zu: the first line must be '#id' and column names, tab-separated\n", path, line);
                        return -EINVAL;
                }
                if (columns && got != columns) {
                        (void)fprintf(stderr, "%s:%zu: %zu columns, the header has %zu\n", path, line, got, columns);
                        return -EINVAL;
                }
                r = columns ? add_line(o, path, line, cell, column) : choose(o, path, experts, cell, got, column);
                if (r < 0)
                        return r;
                columns = got;
        }
        (void)gzerror(f, &error);
        if ((error != Z_OK && error != Z_STREAM_END) || o->n == 0) {
                (void)fprintf(stderr, "%s: %s after line %zu\n", path, o->n ? "damaged or cut gzip data" : "no outcomes", line);
                return -EIO;
        }
        return 0;
}

int outcomes_read(const char *path, const char *experts, struct outcomes *ret)
{
        CLEANUP(gzclose_p) gzFile f = gzopen(path, "rb");
        struct outcomes o = { 0 };
        int r;

        if (!f) {
                r = errno ? -errno : -ENOMEM;
                (void)fprintf(stderr, "%s: cannot open: %s\n", path, ERRNO_TEXT(r));
                return r;
        }
        r = read_lines(f, path, experts, &o);
        if (r == 0)
                qsort(o.list, o.n, sizeof *o.list, by_id);
        for (size_t i = 1; r == 0 && i < o.n; i++)
                if (strcmp(o.list[i - 1].id, o.list[i].id) == 0) {
                        (void)fprintf(stderr, "%s: id '%.64s' is there twice\n", path, o.list[i].id);
                        r = -EINVAL;
                }
        if (r < 0)
                outcomes_finish(&o);
        else
                *ret = o;
        return r;
}

const float *outcomes_find(const struct outcomes *o, const char *id)
{
        size_t low = 0, high = o->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int way = strcmp(o->list[middle].id, id);

                if (way == 0)
                        return o->list[middle].value;
                if (way < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

void outcomes_finish(struct outcomes *o)
{
        for (size_t i = 0; i < o->n; i++) {
                free(o->list[i].id);
                free(o->list[i].value);
        }
        for (size_t i = 0; i < o->n_experts; i++)
                free(o->experts[i]);
        free(o->experts);
        free(o->list);
        *o = (struct outcomes){ 0 };
}
