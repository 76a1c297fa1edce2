/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - loops that must come nearer to their end with each round.
 *
 * A round that changes nothing is a mistake of ours that would hold a worker, and all of its clients, for ever.  Debug builds stop
 * at it; others name it in the log, count it (pointsman_no_progress_total) and end the one request or connection.
 */
#ifndef PM_PROGRESS_H
#define PM_PROGRESS_H

#include "log.h"
#include "loop.h"
#include "metrics.h"

#include "base.h"

/* False: this round made no progress, and the caller ends what it works on. */
static inline bool progress(struct loop *l, enum metrics_loop which, bool made)
{
        if (LIKELY(made))
                return true;
#ifdef PM_ASSERT_PROGRESS
        assert(!"a loop goes round without progress");
#endif
        metrics_count(l->metrics, METRICS_AT(plain, no_progress[which]));
        log_msg(l->log, PM_ERROR, "no progress in the loop '%s', ending what it worked on; this is a mistake in pointsman, please report it",
                metrics_loops[which]);
        return false;
}
#endif
