/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_methods.h - ways to choose an expert, trained on some folds and asked about another one.
 *
 * Each gives every expert an expected score; the one with the highest is chosen.  So what a method would choose among fewer experts, at a
 * price, or of a strong and a weak one, needs no training again.
 */
#ifndef PM_ROUTE_METHODS_H
#define PM_ROUTE_METHODS_H

#include "garble.h"
#include "route_set.h"

enum route_method {
        ROUTE_RANDOM,    /* no scores: all alike */
        ROUTE_LENGTH,    /* the mean of prompts about as long */
        ROUTE_SINGLE,    /* the mean of all */
        ROUTE_TRUE,      /* of the prompt's true category */
        ROUTE_LIKELIEST, /* of the likeliest category */
        ROUTE_POSTERIOR, /* of all categories, by how likely they are */
        ROUTE_NEAREST,   /* of the nearest prompts */
        ROUTE_HEADS,     /* by regressions of its outcomes */
        ROUTE_EXPECTED,  /* as score.so estimates it: posterior and heads, weighed */
        ROUTE_ORACLE,    /* its outcome itself */
        ROUTE_METHODS
};

extern const char *const route_names[ROUTE_METHODS];

struct route_settings {
        const char *only;    /* method names, comma-separated; NULL: all */
        size_t neighbours;
        double shrink, cost;
        unsigned bits, seed, threads;
        bool noise;          /* ask about garbled prompts, too */
};

struct route_scores {
        size_t n, experts;
        float *score[ROUTE_METHODS];            /* [n][experts]; NULL: not asked, or not to be had */
        float *noisy[GARBLES][ROUTE_METHODS];   /* of those that read the text */
        double **table;                         /* [folds] of the prompts trained on: [labels + 1][experts] */
        double **share;                         /* [folds][labels] */
        unsigned *fold;                         /* [n] which of them a prompt was asked of */
        size_t folds, labels;
};

/*
 * Trains on `train` and asks about all prompts of `test`: the same set, and then each fold is asked of what the other folds have taught, or
 * another one with the same experts.  0, or -errno after a message on stderr.
 */
int route_methods_score(const struct route_set *train, const struct route_set *test, const struct route_settings *s, struct route_scores *ret);
void route_scores_finish(struct route_scores *s);

/* Was it asked for, by `only`?  And: is every name there one of ours?  -EINVAL after a message. */
bool route_method_wanted(const char *only, enum route_method m);
int route_methods_check(const char *only);
#endif
