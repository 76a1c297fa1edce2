/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunks.h - a prompt in its parts: paragraphs, fenced blocks of code, and windows of what is longer.
 *
 * A part ends at a blank line or at a fence (three back-quotes or tildes at a line's begin; a block keeps its blank lines).  One shorter than
 * CHUNKS_SHORT bytes goes with what follows it, since "Hi!" says nothing by itself; one longer than `window` is cut between words.
 * Training and serving go through here, so they cannot differ.  Any bytes are fine; no allocation, no state; thread-safe.
 */
#ifndef PM_CHUNKS_H
#define PM_CHUNKS_H

#include <stddef.h>

#define CHUNKS_SHORT 48
#define CHUNKS_WINDOW 1024     /* bytes; about 200 tokens */
#define CHUNKS_WINDOW_MIN 64

struct chunk { const char *p; size_t n; };

/* Into ret[max], in their order; what would be more parts than that is left out.  window: at least CHUNKS_WINDOW_MIN.
 * Returns how many; 0 for blanks alone.  Blanks around a part are not in it. */
size_t chunks_split(const char *text, size_t n, size_t window, struct chunk *ret, size_t max);
#endif
