/* SPDX-License-Identifier: Apache-2.0 */
/* instruct_explain.h - why instruct decided as it did: the explanation in /v1/route. */
#ifndef PM_INSTRUCT_EXPLAIN_H
#define PM_INSTRUCT_EXPLAIN_H

#include "gates.h"
#include "instruct_adapters.h"

struct explained {
        const struct gates_parts *parts;
        const struct ranked *ranked;  /* all that could serve, best first */
        size_t n, n_parts, nearest;
        const float *local, *global;  /* [experts] */
        double near, alpha;
        const char *sentence, *source;
};

/* {"instruction": ..., "from": ..., "nearest": {"instruction", "cosine"}, "alpha": ..., "parts": ..., "experts": [{"expert", "local", "global", "score",
 * "weight"}, ...]} */
void explain(struct pm_query *q, const struct explained *e);
#endif
