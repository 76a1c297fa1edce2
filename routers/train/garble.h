/* SPDX-License-Identifier: Apache-2.0 */
/*
 * garble.h - prompts as hurried, polite or shouting people write them: the same question in other letters.
 */
#ifndef PM_GARBLE_H
#define PM_GARBLE_H

#include <stddef.h>
#include <stdint.h>

enum garble { GARBLE_TYPING, GARBLE_LOWER, GARBLE_UPPER, GARBLE_DROP, GARBLE_POLITE, GARBLES };

#define GARBLE_TYPING_SHARE .03 /* of the letters: left out, doubled, swapped with the next or struck beside */
#define GARBLE_DROP_SHARE .1    /* of the words */

extern const char *const garble_names[GARBLES];

/* On the heap, with a NUL behind it; the same seed gives the same text.  NULL: no memory. */
char *garble(enum garble how, const char *text, size_t n, uint64_t seed, size_t *ret_n);
#endif
