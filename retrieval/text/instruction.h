/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruction.h - asking a language model for one sentence that names a task and its skills (GLIDER, step 2), and reading what it said.
 *
 * Training asks with three prompts of an expert's, serving with the one that is to be routed; both by the same words, which carry a
 * version, so that sentences are alike.  The paper's own wording is not published; this is ours.
 */
#ifndef PM_INSTRUCTION_H
#define PM_INSTRUCTION_H

#include <stddef.h>

#define INSTRUCTION_VERSION "instruct-1" /* of the words that are sent: change it with them */
#define INSTRUCTION_MAX 400              /* bytes of a sentence */
#define INSTRUCTION_WORDS_MIN 3
#define INSTRUCTION_WORDS_MAX 45         /* 30 are asked for */
#define INSTRUCTION_TOKENS 80            /* what the model may say, unless told otherwise */

struct instruction_prompt { const char *p; size_t n; };

/*
 * The body of a request to /v1/chat/completions, JSON, as a heap string; NULL: no memory.  model: NULL leaves it out.  Of each prompt at most
 * `limit` bytes are told, half from its begin and half from its end, whole characters; what is not UTF-8 becomes U+FFFD.
 */
char *instruction_body(const char *model, const struct instruction_prompt *prompts, size_t n, size_t limit, size_t max_tokens);

/*
 * The sentence in a reply: the first line of the first choice's text behind a thought (<think>...</think>), without quotes and what stands
 * before it ("Instruction:"), up to the end of its first sentence.  0; -EINVAL and why: no such reply, or not what was asked for: empty, too
 * short, too long, cut, a refusal, an answer, a question, a list, code, a thought that does not end, another language.
 */
int instruction_read(const char *reply, size_t n, char ret[INSTRUCTION_MAX + 1], char *why, size_t why_size);
#endif
