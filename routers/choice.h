/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice.h - of experts with expected scores, the one that is worth most: its score less what it costs, in the units that the options weigh.
 *
 *     value_k = score_k - lambda x price_k - mu x active_k - nu x seconds_k
 *
 * A client may choose among tiers, each with weights of its own, by a header that the configuration names.
 */
#ifndef PM_CHOICE_H
#define PM_CHOICE_H

#include "pm_router.h"

#define CHOICE_EXPERTS_MAX 256
#define CHOICE_BEST 17 /* the first, and those named to the host as its fallbacks */

struct weights { double lambda, mu, nu; };
struct tier { const char *name; struct weights weights; };
struct expense { const char *expert; double active, seconds; };

/* What stands among a router's options. */
struct preferences {
        struct weights weights;
        const char *tier_header;
        struct pm_tables tiers, expenses; /* struct tier, struct expense */
};

extern const struct pm_option tier_options[], expense_options[];

#define WEIGHTS_OPTIONS(T, f) \
        PM_REAL_OPTION(T, f.lambda, "lambda", "0", 0, 1e6, "expected score (0..1) that a USD per million tokens is worth, three of four tokens being read"), \
        PM_REAL_OPTION(T, f.mu, "mu", "0", 0, 1e6, "expected score that a billion active parameters is worth"), \
        PM_REAL_OPTION(T, f.nu, "nu", "0", 0, 1e6, "expected score that a second is worth")

/* f is a field of T, a struct preferences. */
#define PREFERENCES_OPTIONS(T, f) \
        WEIGHTS_OPTIONS(T, f.weights), \
        PM_TABLES_OPTION(T, f.tiers, struct tier, "tiers", 0, 0, 64, tier_options, "other weights, by a name that a client may choose"), \
        PM_STR_OPTION(T, f.tier_header, "tier_header", 0, NULL, "request header that names one of the tiers; absent: clients cannot choose"), \
        PM_TABLES_OPTION(T, f.expenses, struct expense, "expenses", 0, 0, CHOICE_EXPERTS_MAX, expense_options, \
                         "what experts cost besides their prices, for mu and nu")

/* At open: 0, or refused with a sentence.  Asks for the header. */
int preferences_check(const struct preferences *p, const struct pm_open *o);

/* Experts that a router knows scores of. */
struct candidates {
        const char *const *name; /* [n], configured ones, the better first where all else is equal */
        size_t n;
};

struct choice {
        struct weights weights;
        const char *tier;  /* NULL: none was chosen */
        int no_such_tier;  /* the header says what is no tier's name */
        size_t n;          /* of those that could serve, the best CHOICE_BEST */
        size_t best[CHOICE_BEST];
        double score[CHOICE_BEST], cost[CHOICE_BEST]; /* in that order */
        const char *name[CHOICE_BEST + 1];            /* NULL at the end: name + 1 are the fallbacks */
};

/* score[c->n] of each, NAN: not known, so not chosen. */
void choice_make(struct pm_query *q, const struct preferences *p, const struct candidates *c, const float *score, struct choice *ret);
/* One line for people: "NAME .512, OTHER .498-.020", after what is already in buf. */
void choice_reason(const struct choice *c, char *buf, size_t room);

struct json_t;
/* A list of them all with scores and costs, for an explanation.  NULL: out of memory. */
struct json_t *choice_explained(const struct choice *c);
#endif
