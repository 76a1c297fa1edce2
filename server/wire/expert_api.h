/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert_api.h - what clients ask and experts offer.
 */
#ifndef PM_EXPERT_API_H
#define PM_EXPERT_API_H

#include "pm_router.h"

/* One for each wire: its bit, and its name in an expert's `apis`. */
#define EXPERT_APIS(X)                    \
        X(CHAT, 1, "chat")                \
        X(COMPLETIONS, 2, "completions")  \
        X(RESPONSES, 4, "responses")      \
        X(EMBEDDINGS, 8, "embeddings")

enum expert_api {
#define X(name, bit, text) EXPERT_##name = (bit),
        EXPERT_APIS(X)
#undef X
};

#define X(name, bit, text) + 1
enum { EXPERT_APIS_N = EXPERT_APIS(X) };
#undef X

/* Members of bodies that do not reach an expert: as the inside of JSON strings. */
struct expert_drop {
        const struct pm_str *names;
        size_t n;
};
#endif
