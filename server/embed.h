/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.h - text to vector: by a static model in the process, or through a backend that speaks POST /v1/embeddings.
 *
 * A model is opened once for a generation, mapped, and used by all workers.  A backend's vectors are kept by the text's digest, in memory
 * and in Redis, and one text is asked for once at a time, whichever router asks.
 */
#ifndef PM_EMBED_H
#define PM_EMBED_H

#include "ask.h"
#include "lookup.h"

struct embedder;
struct embed_model;
struct generation;

/* ---- a model in the process ---- */

/* Main thread.  A folder in Model2Vec's layout.  0, or -errno and a sentence in why. */
int embed_model_open(const char *folder, int64_t text_max, struct embed_model **ret, char *why, size_t n);
void embed_model_close(struct embed_model *m); /* NULL is fine */
size_t embed_model_dim(const struct embed_model *m);
/* On a worker: the text's vector into out[dim]; *ret_tokens may be NULL.  0; -ENOMEM; -ERANGE: the model has numbers that are not finite. */
int embed_model_run(const struct embed_model *m, struct worker *w, struct pm_str text, float *out, size_t *ret_tokens);

/* ---- for routers ---- */

/* Lives inside its owner, who is woken once, when `done` has become true. */
struct embed {
        struct ask ask;
        struct lookup lookup;
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
