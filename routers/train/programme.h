/* SPDX-License-Identifier: Apache-2.0 */
/*
 * programme.h - which experts to load, and which one each category gets: the map as a 0/1 programme.
 *
 * The weighted loss of the categories is made as small as budgets allow, exactly:
 *
 *         min  sum of weight[m] * (loss[m][k] + inertia where k is not old[m]) * z[m][k]
 *         with one k for each m, only loaded ones; what is loaded, needed and active within the budgets
 *
 * It is a facility location with knapsacks.  programme.c has it solved by Cbc.
 */
#ifndef PM_PROGRAMME_H
#define PM_PROGRAMME_H

#include <stdbool.h>
#include <stddef.h>

#define PROGRAMME_NONE ((size_t)-1)

/* What may be bounded: a sum over what is loaded, and two means over the prompts. */
enum programme_budget { PROGRAMME_LOADED, PROGRAMME_ACTIVE, PROGRAMME_PRICE, PROGRAMME_BUDGETS };

struct programme {
        size_t categories, experts, hosts;
        const double *loss;                    /* [categories][experts] */
        const double *weight;                  /* [categories]: shares of the prompts */
        const double *cost[PROGRAMME_BUDGETS]; /* [experts]; NULL where nothing is bounded or known */
        double budget[PROGRAMME_BUDGETS];      /* INFINITY: none */
        const double *memory;                  /* [experts], and if there are hosts: */
        const double *room;                    /* [hosts] memory that each has */
        const size_t *host;                    /* [experts]; PROGRAMME_NONE: on any of them */
        const bool *pinned;                    /* [experts] loaded in any case; may be NULL */
        const bool *barred;                    /* [categories][experts] not good enough for it; may be NULL */
        const size_t *old;                     /* [categories] the older map's, or PROGRAMME_NONE; may be NULL */
        double inertia;                        /* of the loss, that a change must save at least */
        double seconds;                        /* to search; 0: without end */
};

struct programme_answer {
        size_t *chosen;                 /* [categories] */
        bool *loaded;                   /* [experts] */
        size_t *place;                  /* [experts] the host of a loaded one, if there are hosts */
        double loss;                    /* weighted, without inertia */
        double cost[PROGRAMME_BUDGETS]; /* NAN: not known */
        size_t changes;                 /* categories whose expert is not the old one */
};

/* False in a build without Cbc: then the others fail with -ENOSYS. */
bool programme_can(void);

/*
 * 0; -ENOSPC: nothing keeps all conditions; -ETIME: not solved to the end in that time; -ENOMEM.  A category with weight 0 gets the
 * best loaded one.
 */
int programme_solve(const struct programme *p, struct programme_answer *ret);
void programme_answer_finish(struct programme_answer *a);

/* The smallest value of one budget with which all other conditions can be kept; the budget itself is not looked at. */
int programme_least(const struct programme *p, enum programme_budget which, double *ret);
#endif
