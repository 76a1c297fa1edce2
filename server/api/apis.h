/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apis.h - our paths, but for those of chats: what kinds of request they make, and the ones that are answered at once.
 */
#ifndef PM_APIS_H
#define PM_APIS_H

#include <jansson.h>

#include "request_parts.h"

extern const struct request_kind explain_kind;    /* /v1/route */
extern const struct request_kind embeddings_kind; /* /v1/embeddings: forwarded, unless a model in the process is named */
extern const struct request_kind recommend_kind;  /* /v1/recommend */
extern const struct request_kind feedback_kind;   /* /v1/feedback */

enum next models_list(struct request *r);         /* /v1/models */
enum next models_one(struct request *r);          /* /v1/models/{id} */

/* As text in the arena.  False: no memory, here or when o, which may be NULL, was made. */
bool api_json(const json_t *o, size_t flags, struct arena *a, struct pm_str *ret);
#endif
