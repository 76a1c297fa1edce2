/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lessons.h - what an instruct model is trained and measured on: prompts in vectors of their parts, how experts did on them, and the
 * sentences that name tasks.
 *
 * Experts are known by recorded outcomes (a table, joined to prompts that have a task each), or by themselves: a sentence, examples, or both.
 */
#ifndef PM_LESSONS_H
#define PM_LESSONS_H

#include <getopt.h>

#include "encoder.h"
#include "outcomes.h"
#include "rows.h"

#define LESSONS_PARTS_MAX 64 /* of one prompt */
#define LESSONS_NO_TASK SIZE_MAX

/* Where lessons come from; NULL: not given. */
struct lessons_source {
        struct rows_source rows;
        const char *outcomes, *columns, *instructions, *experts;
        size_t window;
        unsigned threads;
};

enum lessons_argument { LESSONS_OUTCOMES = 512, LESSONS_COLUMNS, LESSONS_IN, LESSONS_TEXT, LESSONS_LABEL, LESSONS_ID, LESSONS_WHERE, LESSONS_MAX_BAD,
                        LESSONS_INSTRUCTIONS };

/* To stand among a command's options. */
#define LESSONS_OPTIONS                                                                                                            \
        { "outcomes", required_argument, NULL, LESSONS_OUTCOMES }, { "columns", required_argument, NULL, LESSONS_COLUMNS },        \
        { "in", required_argument, NULL, LESSONS_IN }, { "text", required_argument, NULL, LESSONS_TEXT },                          \
        { "label", required_argument, NULL, LESSONS_LABEL }, { "id", required_argument, NULL, LESSONS_ID },                        \
        { "where", required_argument, NULL, LESSONS_WHERE }, { "max-bad", required_argument, NULL, LESSONS_MAX_BAD },              \
        { "instructions", required_argument, NULL, LESSONS_INSTRUCTIONS }

#define LESSONS_HELP                                                                                                               \
        "  --outcomes FILE        first line '#id' and a column for each expert; then a prompt a line: 0..1, or '-' for not run\n" \
        "  --columns A,B,...      only these columns; NAME=COLUMN gives a column another name\n"                                   \
        "  --in FILE              the prompts, one JSON object a line, plain or gzip'd\n"                                          \
        "  --text FIELD,...       the prompt; a list field gives one line an item\n"                                               \
        "  --label FIELD          its task\n"                                                                                      \
        "  --id FIELD             what joins both files (id)\n"                                                                    \
        "  --where FIELD=VALUE    only such lines (also FIELD!=VALUE; may be repeated: all must hold)\n"                           \
        "  --max-bad N            so many lines may be unusable (100)\n"                                                           \
        "  --instructions FILE    {\"task\": TASK, \"instruction\": SENTENCE} a line\n"

struct lesson_expert {
        char *name;
        char *instruction;       /* NULL: none; of those that are known by outcomes always */
        bool by_outcomes;
        size_t column;           /* by_outcomes: in the table */
};

struct lessons {
        const struct encoder *encoder;
        size_t dim, window;
        struct outcomes table;
        struct rows rows;                /* their labels are the tasks */
        char **task_instructions;        /* [rows.n_labels]; an item NULL: not told */

        struct lesson_expert *experts;
        size_t n_experts, room_experts;

        size_t n, room;                  /* prompts: the rows first, then examples */
        char **texts;                    /* of examples; rows have theirs */
        size_t *task;                    /* [n]: a label, or LESSONS_NO_TASK */
        size_t *example_of;              /* [n]: an expert, or SIZE_MAX */
        size_t *first;                   /* [n + 1]: parts of prompt i are first[i]..first[i + 1] */
        float *parts;                    /* [first[n]][dim] */
        float *whole;                    /* [n][dim] */
};

/* 1: not an option of these; 0: taken; below 0 after a message. */
int lessons_option(struct lessons_source *s, int option, const char *value);
/* 0, or 2 after a message: outcomes are named, and not what else they need. */
int lessons_missing(const char *command, const struct lessons_source *s);

/* Reads all that the source names.  0, or -errno after a message on stderr. */
int lessons_read(const struct lessons_source *s, const struct encoder *e, struct lessons *ret);
/* How expert k did on prompt i; NAN: not known. */
float lessons_outcome(const struct lessons *l, size_t i, size_t k);
const char *lessons_text(const struct lessons *l, size_t i, size_t *ret_n);
/* SHA-256 over prompts, outcomes and sentences, as hex. */
void lessons_digest(const struct lessons *l, char hex[65]);
void lessons_finish(struct lessons *l);

/* The vector of a sentence, of length one.  -EINVAL: nothing in it is known to the encoder. */
int lessons_encode(const struct encoder *e, const char *text, float *ret);
#endif
