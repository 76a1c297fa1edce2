/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_train.h - from prompts with categories and recorded outcomes to a scorer.
 *
 * The prompts are divided into parts by a hash of their text.  What category model, table and heads of the other parts say of each part tells how
 * much the heads are held back, how they are weighed against the table, and how often the classifier is right when it says so; then all three are
 * made again, of all prompts.
 */
#ifndef PM_SCORE_TRAIN_H
#define PM_SCORE_TRAIN_H

#include "fit.h"
#include "heads.h"
#include "scorer.h"

#define SCORE_RIDGES 3 /* that are tried */
extern const double score_ridges[SCORE_RIDGES];

struct score_settings {
        struct fit_settings fit;
        unsigned parts;
        double shrink;     /* prompts of overall quality that each cell of the table begins with */
        double ridge;      /* lambda of the heads; 0: the best of score_ridges */
        double threshold;  /* confidence from which on there is doubt */
        bool quiet;
};

struct score_set {
        const struct jsonl_rows *rows; /* with categories */
        char *const *experts;
        size_t n_experts;
        const float *target;           /* [rows][n_experts], NAN: not run */
        const size_t *parent;          /* [labels]: a coarser category of each; NULL: none */
        size_t n_parents;
};

/* What the parts say of prompts that they have not seen, [rows][experts] each, NAN where nothing is. */
struct score_seen {
        float *two, *head, *mixed;
        float *single;             /* the other parts' means, what a choice of one expert for all goes by */
        float *likeliest, *truth;  /* the other parts' table at the likeliest and the true category */
};

struct score_trained {
        struct scorer *scorer;
        struct score_seen seen;
        double ridge, a, b, slope, offset;
        size_t n_seen;
        /* private: what the scorer borrows */
        int8_t *rows;
        float *scale, *bias, *dense, *table, *mix, *sample;
        char **labels, *encoder;
};

/* On the rows with use[i] (NULL: all).  0 or -errno after a message on stderr. */
int score_train(const struct score_set *set, const bool *use, const struct score_settings *s, struct score_trained *ret);

/* A classifier with the heads of further experts behind its columns; *ret holds what it borrows.  0 or -ENOMEM; destroy it either way. */
int score_join(const struct classifier_parts *p, const struct encoder *e, char *const *experts, const struct heads *h, const struct heads_rows *r,
               struct score_trained *ret, struct classifier **ret_classifier);

/*
 * Experts into a model, which stays as it is otherwise: their heads on its features, held back as its own (ridge), and their cells of its table, from
 * their outcomes on these prompts; prompts of categories that it does not have count for general alone.  The weights of table and head are those
 * of its experts.  The sample becomes these prompts.  0 or -errno after a message on stderr.
 */
int score_add(const struct scorer *old, const struct encoder *e, const struct score_set *set, double shrink, double ridge, struct score_trained *ret);
void score_trained_finish(struct score_trained *t);
/* Opens the encoder (a folder; NULL: none) and sets what the kind of loss asks for, where the caller has not.  0 or -errno after a message on stderr. */
int score_fit_settings(const char *encoder, bool softmax, struct fit_settings *fit, struct encoder **ret_encoder);
#endif
