/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_budget.h - `map` under conditions: budgets, hosts, least scores, experts that stay, an older map; and what each budget would bring.
 */
#ifndef PM_MAP_BUDGET_H
#define PM_MAP_BUDGET_H

#include <jansson.h>

#include "arguments.h"
#include "expert_facts.h"
#include "outcomes.h"
#include "programme.h"

#define MAP_BUDGET_NAMES_MAX 256

struct map_names {
        const char *list[MAP_BUDGET_NAMES_MAX];
        size_t n;
};

/* The options; NULL, NAN and empty lists: not given. */
struct map_budget {
        const char *facts, *old, *frontier, *tsv, *svg;
        double budget[PROGRAMME_BUDGETS];
        double inertia, general_share;
        long seconds;
        struct map_names hosts, least, pins;
};

/* What there is to choose from: the last category is general. */
struct map_choice {
        size_t categories, experts;
        const char *const *category;  /* [categories] */
        char *const *expert;          /* [experts] */
        const double *score, *prompts; /* [categories][experts]; [categories]: general's is not looked at */
};

int map_budget_take_name(void *names, const char *value);

/* To stand among a command's options: b is a field of T. */
#define MAP_BUDGET_ARGUMENTS(T, b)                                                                                                    \
        ARGUMENT_HEADING("\nThe best map within conditions, found exactly:"),                                                         \
        ARGUMENT_TEXT(T, b.facts, "facts", "FILE", 0, NULL, EXPERT_FACTS_HELP),                                                       \
        ARGUMENT_REAL(T, b.budget[PROGRAMME_LOADED], "max-loaded", NULL, 0, 1e12, "parameters loaded, in billions, all experts together"), \
        ARGUMENT_REAL(T, b.budget[PROGRAMME_ACTIVE], "max-active", NULL, 0, 1e12, "active parameters, in billions, at the mean of the prompts"), \
        ARGUMENT_REAL(T, b.budget[PROGRAMME_PRICE], "max-price", NULL, 0, 1e12, "price at the mean of the prompts"),                  \
        ARGUMENT_TAKEN(T, b.hosts, "host", "NAME=GIB", map_budget_take_name, "a host's memory; may be repeated"),                     \
        ARGUMENT_TAKEN(T, b.least, "quality", "CATEGORY=SCORE", map_budget_take_name, "its expert must have that score there; may be repeated"), \
        ARGUMENT_TAKEN(T, b.pins, "pin", "EXPERT", map_budget_take_name, "it is loaded in any case; may be repeated"),                \
        ARGUMENT_REAL(T, b.general_share, "general-share", "0", 0, 1, "of the prompts, that will be of no category"),                 \
        ARGUMENT_TEXT(T, b.old, "old", "FILE", 0, NULL, "an older map, whose experts stay unless a change is worth it"),              \
        ARGUMENT_REAL(T, b.inertia, "inertia", "0.01", 0, 1, "with --old: the score that a change must bring a category"),            \
        ARGUMENT_TEXT(T, b.frontier, "frontier", "BUDGET[=FROM:TO:STEP]", 0, NULL, "what each of a range of loaded, active or price would bring"), \
        ARGUMENT_OUTPUT(T, b.tsv, "tsv", "FILE", 0, ARGUMENT_WRITTEN, "of the frontier, tab-separated"),                              \
        ARGUMENT_OUTPUT(T, b.svg, "svg", "FILE", 0, ARGUMENT_WRITTEN, "of the frontier, drawn, with each expert alone"),              \
        ARGUMENT_NUMBER(T, b.seconds, "seconds", "600", 1, 1000000, "to search for one map")

#define MAP_BUDGET_NONE { .budget = { (double)NAN, (double)NAN, (double)NAN } }

/* Is any of it given? */
bool map_budget_wanted(const struct map_budget *b);

/* The best map, and the frontier if it is wanted.  0, or -errno after a message on stderr: also for what cannot be kept, with what could. */
int map_budget_solve(const struct map_budget *b, const struct map_choice *c, struct programme_answer *ret);

/* What the map's file says of it; NULL: no memory. */
json_t *map_budget_tell(const struct map_budget *b, const struct map_choice *c, const struct programme_answer *a);
#endif
