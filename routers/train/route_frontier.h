/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_frontier.h - compositions within budgets of loaded parameters, or of few active ones, beside single experts.
 */
#ifndef PM_ROUTE_FRONTIER_H
#define PM_ROUTE_FRONTIER_H

#include "route_measure.h"

#define ROUTE_FRONTIER_MAX 256

struct route_frontier_point {
        double budget, loaded;      /* loaded: the mean over the folds; both NAN where active parameters have a weight instead */
        struct route_point point;
        double experts;             /* how many are loaded, at the mean over the folds */
        size_t rival;               /* the best single expert of up to twice the composition's mean active parameters */
        double lead, lead_error;    /* over that one, and its standard error, paired */
};

/*
 * In each fold the programme says which experts to load, from what that fold was trained on; among them the posterior and the table choose.
 * `range`: FROM:TO:STEP, or NULL: 24 steps, each a factor more.  0, or -errno after a message on stderr.
 */
int route_frontier(const struct route_measure *m, const char *range, struct route_frontier_point ret[ROUTE_FRONTIER_MAX], size_t *ret_n);
/* All experts are there, and active parameters have more and more weight (route_curve_weight()); of equal points the first.  0 or -ENOMEM. */
int route_frontier_active(const struct route_measure *m, struct route_frontier_point ret[ROUTE_CURVE], size_t *ret_n);
#endif
