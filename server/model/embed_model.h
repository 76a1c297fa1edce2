/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed_model.h - a static model in the process: text to vector.
 *
 * Opened once for a generation, mapped, and used by all workers.
 */
#ifndef PM_EMBED_MODEL_H
#define PM_EMBED_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

struct embed_model;

/* Main thread.  A folder in Model2Vec's layout.  0, or -errno and a sentence in why. */
int embed_model_open(const char *folder, int64_t text_max, struct embed_model **ret, char *why, size_t n);
void embed_model_close(struct embed_model *m); /* NULL is fine */
size_t embed_model_dim(const struct embed_model *m);
/* On the worker of that number: the text's vector into out[dim]; *ret_tokens may be NULL.  0; -ENOMEM; -ERANGE: the model has numbers that are not finite. */
int embed_model_run(const struct embed_model *m, unsigned worker, struct pm_str text, float *out, size_t *ret_tokens);
#endif
