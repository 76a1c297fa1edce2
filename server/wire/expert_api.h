/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert_api.h - what clients ask and experts offer.
 */
#ifndef PM_EXPERT_API_H
#define PM_EXPERT_API_H

#include "pm_router.h"

enum expert_api { EXPERT_CHAT = 1, EXPERT_COMPLETIONS = 2, EXPERT_RESPONSES = 4, EXPERT_EMBEDDINGS = 8 };

/* Members of bodies that do not reach an expert: as the inside of JSON strings. */
struct expert_drop {
        const struct pm_str *names;
        size_t n;
};
#endif
