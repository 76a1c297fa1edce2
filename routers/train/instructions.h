/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instructions.h - asks a language model for the sentences that a training set lacks.
 */
#ifndef PM_INSTRUCTIONS_H
#define PM_INSTRUCTIONS_H

#include "training_set.h"

struct instructions_ask {
        const char *url;    /* up to and with /v1 */
        const char *model;
        const char *out;    /* NULL; else what came is written there, too */
};

/*
 * From three prompts of each task, or examples of each expert, drawn by their digests.  What the model will not say after three attempts is
 * named on stderr and stays missing; a server that cannot be reached is an error.  0, or -errno after a message.
 */
int instructions_ask(const struct instructions_ask *a, struct training_set *l);
#endif
