/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lessons.h - what an instruct model is trained and measured on: prompts in vectors of their parts, how experts did on them, and the
 * sentences that name tasks.
 *
 * Experts are known by recorded outcomes (a table, joined to prompts that have a task each), or by themselves: a sentence, examples, or both.
 */
#ifndef PM_LESSONS_H
#define PM_LESSONS_H

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

/* To stand among a command's options: s is a field of T. */
#define LESSONS_ARGUMENTS(T, s, required, more_help)                                                                    \
        ARGUMENT_TEXT(T, s.outcomes, "outcomes", "FILE", required, NULL, OUTCOMES_HELP),                                \
        ARGUMENT_TEXT(T, s.columns, "columns", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),                              \
        ARGUMENT_TEXT(T, s.rows.path, "in", "FILE", 0, NULL, "the prompts, one JSON object a line, plain or gzip'd"),   \
        ARGUMENT_TEXT(T, s.rows.text, "text", "FIELD,...", 0, NULL, "the prompt; a list field gives one line an item"), \
        ARGUMENT_TEXT(T, s.rows.label, "label", "FIELD", 0, NULL, "its task"),                                          \
        ARGUMENT_TEXT(T, s.rows.id, "id", "FIELD", 0, "id", "what joins both files"),                                   \
        ROWS_ARGUMENT_WHERE(T, s.rows),                                                                                 \
        ROWS_ARGUMENT_MAX_BAD(T, s.rows.max_bad, "100"),                                                                \
        ARGUMENT_TEXT(T, s.instructions, "instructions", "FILE", 0, NULL, "{\"task\": TASK, \"instruction\": SENTENCE} a line" more_help)

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
