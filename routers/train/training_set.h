/* SPDX-License-Identifier: Apache-2.0 */
/*
 * training_set.h - what an instruct model is trained and measured on: prompts in vectors of their parts, how experts did on them, and the
 * sentences that name tasks.
 *
 * Experts are known by recorded outcomes (a table, joined to prompts that have a task each), or by themselves: a sentence, examples, or both.
 */
#ifndef PM_TRAINING_SET_H
#define PM_TRAINING_SET_H

#include "encoder.h"
#include "jsonl.h"
#include "outcomes.h"

#define TRAINING_SET_PARTS_MAX 64 /* of one prompt */
#define TRAINING_SET_NO_TASK SIZE_MAX

/* Where a training set comes from; NULL: not given. */
struct training_set_source {
        struct jsonl_source rows;
        const char *outcomes, *columns, *instructions, *experts;
        size_t window;
        unsigned threads;
};

/* To stand among a command's options: s is a field of T. */
#define TRAINING_SET_ARGUMENTS(T, s, required, more_help)                                                               \
        ARGUMENT_TEXT(T, s.outcomes, "outcomes", "FILE", required, NULL, OUTCOMES_HELP),                                \
        ARGUMENT_TEXT(T, s.columns, "columns", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),                              \
        ARGUMENT_TEXT(T, s.rows.path, "in", "FILE", 0, NULL, "the prompts, one JSON object a line, plain or gzip'd"),   \
        ARGUMENT_TEXT(T, s.rows.text, "text", "FIELD,...", 0, NULL, "the prompt; a list field gives one line an item"), \
        ARGUMENT_TEXT(T, s.rows.label, "label", "FIELD", 0, NULL, "its task"),                                          \
        ARGUMENT_TEXT(T, s.rows.id, "id", "FIELD", 0, "id", "what joins both files"),                                   \
        JSONL_ARGUMENT_WHERE(T, s.rows),                                                                                \
        JSONL_ARGUMENT_MAX_BAD(T, s.rows.max_bad, "100"),                                                               \
        ARGUMENT_TEXT(T, s.instructions, "instructions", "FILE", 0, NULL, "{\"task\": TASK, \"instruction\": SENTENCE} a line" more_help)

struct training_expert {
        char *name;
        char *instruction;       /* NULL: none; of those that are known by outcomes always */
        bool by_outcomes;
        size_t column;           /* by_outcomes: in the table */
};

struct training_set {
        const struct encoder *encoder;
        size_t dim, window;
        struct outcomes table;
        struct jsonl_rows rows;          /* their labels are the tasks */
        char **task_instructions;        /* [rows.n_labels]; an item NULL: not told */

        struct training_expert *experts;
        size_t n_experts, room_experts;

        size_t n, room;                  /* prompts: the rows first, then examples */
        char **texts;                    /* of examples; rows have theirs */
        size_t *task;                    /* [n]: a label, or TRAINING_SET_NO_TASK */
        size_t *example_of;              /* [n]: an expert, or SIZE_MAX */
        size_t *first;                   /* [n + 1]: parts of prompt i are first[i]..first[i + 1] */
        float *parts;                    /* [first[n]][dim] */
        float *whole;                    /* [n][dim] */
};

/* 0, or 2 after a message: outcomes are named, and not what else they need. */
int training_set_missing(const char *command, const struct training_set_source *s);

/* Reads all that the source names.  0, or -errno after a message on stderr. */
int training_set_read(const struct training_set_source *s, const struct encoder *e, struct training_set *ret);
/* How expert k did on prompt i; NAN: not known. */
float training_set_outcome(const struct training_set *l, size_t i, size_t k);
const char *training_set_text(const struct training_set *l, size_t i, size_t *ret_n);
/* SHA-256 over prompts, outcomes and sentences, as hex.  0 or -ENOMEM. */
int training_set_digest(const struct training_set *l, char hex[65]);
void training_set_finish(struct training_set *l);

/* The vector of a sentence, of length one.  -EINVAL: nothing in it is known to the encoder. */
int training_set_encode(const struct encoder *e, const char *text, float *ret);
#endif
