/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apgr.h - a strong and a weak expert, after RouteLLM (Ong et al., 2024): how much of the gap between them a ranking of the prompts regains.
 *
 * The thresholds are the 11 edges of the 10 quantiles of the rank (linear between values, as numpy has it); at each the prompts at or above it
 * go to the strong one, at the last only those above.  APGR is the area under score against share of strong calls, weak being 0 and strong 1,
 * by the trapezoid rule.
 */
#ifndef PM_APGR_H
#define PM_APGR_H

#include "resample.h"

#define APGR_EDGES 11
#define APGR_SHARES 3

extern const double apgr_shares[APGR_SHARES]; /* of the gap: .2, .5, .8 */

struct apgr {
        double apgr;
        struct interval interval;
        double calls[APGR_SHARES];                    /* the share of strong calls that regains it; NAN: never */
        double share[APGR_EDGES], score[APGR_EDGES];  /* the curve, from no strong call to all of them */
};

/* rank[i]: the higher, the rather strong; strong[i] and weak[i]: scores of both.  0, -ENOMEM, or -ERANGE: the strong one is no better. */
int apgr_measure(const double *rank, const double *strong, const double *weak, size_t n, size_t resamples, uint64_t seed, struct apgr *ret);
#endif
