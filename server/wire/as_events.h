/* SPDX-License-Identifier: Apache-2.0 */
/*
 * as_events.h - a whole answer told as the stream that the client asked for.
 */
#ifndef PM_AS_EVENTS_H
#define PM_AS_EVENTS_H

#include <stdbool.h>

#include "expert_api.h"
#include "pm_router.h"

struct evbuffer;

/*
 * An answer of /chat/completions or /completions as events: for each choice one with all of its message and one with its finish
 * reason, then the usage if that was asked for; without [DONE].  0; -EINVAL: no such answer; -ENOTSUP: no such API; -E2BIG: more than 32 MiB of
 * events; -ENOMEM.
 */
int as_events(struct pm_str answer, enum expert_api api, bool usage, struct evbuffer *out);
#endif
