/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keywords.h - all keywords of all rules in one pass over a text: whole words, without regard to case, in any script.
 */
#ifndef PM_KEYWORDS_H
#define PM_KEYWORDS_H

#include <stddef.h>
#include <stdint.h>

#define KEYWORD_MAX 256              /* bytes of one keyword */
#define KEYWORDS_STATES_MAX 65535    /* about the bytes of all keywords together */

struct keywords;

struct keywords *keywords_create(void);                        /* NULL: no memory */
void keywords_destroy(struct keywords *k);                     /* NULL is fine */

/* Adds a keyword that belongs to `set`.  0, -EINVAL (empty, too long or not UTF-8), -E2BIG (too many in all) or -ENOMEM. */
int keywords_add(struct keywords *k, const char *word, uint32_t set);

/* After the last keywords_add: 0 or -ENOMEM. */
int keywords_build(struct keywords *k);

/*
 * Sets the bit of every set that has a keyword in text; `hits` has a bit for each.  Any thread.  0, or -ENOMEM when a text with
 * letters beyond ASCII could not be folded.
 */
int keywords_find(const struct keywords *k, const char *text, size_t n, uint64_t *hits);
#endif
