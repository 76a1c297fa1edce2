/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai.h - the wires of OpenAI's API: a JSON body, server-sent events, {"error": {"message", "type", "param", "code"}}.
 *
 * chat and completions end a stream in [DONE] and tell its usage if asked to.  responses ends one in an event of its own, and gives its answers
 * ids that later requests go on from.  embeddings has no streams and no conversations.
 */
#ifndef PM_OPENAI_H
#define PM_OPENAI_H

#include "wire.h"

extern const struct wire openai_chat, openai_completions, openai_responses, openai_embeddings;
#endif
