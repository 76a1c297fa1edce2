/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folds.h - parts of a set of prompts, by a hash of what they say.
 */
#ifndef PM_FOLDS_H
#define PM_FOLDS_H

#include <stddef.h>

/*
 * The part, of `parts`, that a text belongs to: the first 8 bytes of SHA-256(salt + ":" + text), big-endian, modulo parts.  The text's ASCII
 * letters are made small, and a run of what is neither letter, digit, '_' nor beyond ASCII is one blank, none at the ends: texts that
 * differ in these alone are in the same part.  0 or -ENOMEM.
 */
int folds_of(const char *salt, const char *text, size_t n, unsigned parts, unsigned *ret);
#endif
