/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.h - text to vector for routers: by a static model in the process (embed_model.h), or through a backend that speaks
 * POST /v1/embeddings.
 *
 * A backend's vectors are kept by the text's digest, in memory
 * and in Redis, and one text is asked for once at a time, whichever router asks.
 */
#ifndef PM_EMBED_H
#define PM_EMBED_H

#include "exchange.h"
#include "lookup.h"

struct embedder;
struct generation;

/* Lives inside its owner, who is woken once, when `done` has become true. */
struct embed {
        struct exchange ask;
        struct lookup lookup;
        struct worker *worker;
        struct wake wake;
        struct wake *owner;
        const struct embedder *embedder;
        struct pm_str text;
        int64_t timeout_ms;
        bool asked;

        bool done;
        int status;          /* enum pm_status */
        const float *vector; /* in the arena */
        size_t dim;
        char error[240];
};

/* True: it is done already, and the owner is not woken. */
bool embed_start(struct embed *e, struct worker *w, struct arena *arena, struct wake *owner, const struct generation *g,
                 const struct embedder *by, struct pm_str text, int64_t timeout_ms);
void embed_cancel(struct embed *e);
#endif
