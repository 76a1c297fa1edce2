/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.h - text to vector, through a backend that speaks POST /v1/embeddings.
 *
 * Lives inside its owner, who is woken once, when `done` has become true.
 */
#ifndef PM_EMBED_H
#define PM_EMBED_H

#include "ask.h"

struct embedder;

struct embed {
        struct ask ask;
        struct wake wake;
        struct wake *owner;
        const struct embedder *embedder;

        bool done;
        int status;          /* enum pm_status */
        const float *vector; /* in the arena */
        size_t dim;
        char error[240];
};

void embed_start(struct embed *e, struct worker *w, struct arena *arena, struct wake *owner, const struct embedder *by,
                 struct pm_str text, int64_t timeout_ms);
void embed_cancel(struct embed *e);
#endif
