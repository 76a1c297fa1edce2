/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonl.h - labelled prompts out of a JSON Lines file, plain or gzip'd.
 */
#ifndef PM_JSONL_H
#define PM_JSONL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "arguments.h"

#define JSONL_WHERE_MAX 16
#define JSONL_LINE_MAX ((size_t)16 << 20)
#define JSONL_LABELS_MAX 1023

/* Which lines, and what of them. */
struct jsonl_source {
        const char *path;
        const char *text;                     /* fields, comma-separated; a list field gives one line an item */
        const char *label;                    /* field */
        const char *id;                       /* field; NULL: not kept */
        const char *where[JSONL_WHERE_MAX];   /* "FIELD=VALUE" or "FIELD!=VALUE"; all must hold */
        size_t n_where;
        size_t max_bad;                       /* so many lines may be unusable; each of the first few is named on stderr */
};

struct jsonl_row {
        char *text, *id; /* id: NULL if not asked for */
        size_t n;
        size_t label;    /* index into labels */
};

struct jsonl_rows {
        struct jsonl_row *list;
        size_t n, room;
        char **labels;   /* sorted by name */
        size_t n_labels;
};

/* Adds "FIELD=VALUE" to a struct jsonl_source; -EINVAL and a message on stderr if it is not of that form or one too many. */
int jsonl_where(void *source, const char *condition);

/* To stand among a command's options: T's field `source`, T's field of a number. */
#define JSONL_WHERE_HELP "only such lines (also FIELD!=VALUE; may be repeated: all must hold)"
#define JSONL_ARGUMENT_WHERE(T, source) ARGUMENT_TAKEN(T, source, "where", "FIELD=VALUE", jsonl_where, JSONL_WHERE_HELP)
#define JSONL_ARGUMENT_MAX_BAD(T, f, preset) ARGUMENT_MANY(T, f, "max-bad", preset, 0, "so many lines may be unusable")

/* 0 and the rows in the file's order, or -errno after a message on stderr.  No row at all is an error. */
int jsonl_read(const struct jsonl_source *s, struct jsonl_rows *ret);
void jsonl_finish(struct jsonl_rows *r);

/* Takes out the rows of one label (NULL: none) and the label itself; returns how many rows went. */
size_t jsonl_drop(struct jsonl_rows *r, const char *label);

/* SHA-256 over text and label of all rows, as hex.  0 or -ENOMEM. */
int jsonl_digest(const struct jsonl_rows *rows, char hex[65]);

/* One of `parts` parts that a text belongs to; equal texts are in the same one.  0 or -ENOMEM. */
int jsonl_part(const struct jsonl_row *row, unsigned seed, unsigned parts, unsigned *ret);

/* Calls take() for each line's object; what take returns below 0 (after filling why) makes the line a bad one. */
int jsonl_each(const char *path, size_t max_bad, int (*take)(void *ctx, json_t *line, char *why, size_t why_size), void *ctx);

/* Calls take() for each line that is not blank, without its end, a NUL behind it; below 0 ends the reading.  "-" is standard input.  0 or -errno
 * after a message on stderr. */
int jsonl_lines(const char *path, int (*take)(void *ctx, char *line, size_t n, size_t number), void *ctx);

/* The text fields joined by newlines, on the heap; NULL after saying why. */
char *jsonl_text(json_t *line, const char *fields, size_t *ret_n, char *why, size_t why_size);

/* May it be a category's or an expert's name: without control characters? */
bool jsonl_is_name(const char *text);
/* A cell of a tab-separated table: tabs, lines' ends and backslashes as \t, \n, \r, \\. */
void jsonl_put(FILE *f, const char *text);

/* A scalar as text, into buf where it is not a string; NULL for lists, objects and null. */
const char *jsonl_scalar(json_t *value, char buf[32]);
#endif
