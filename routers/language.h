/* SPDX-License-Identifier: Apache-2.0 */
/*
 * language.h - the language of a short text, as an ISO 639-1 code; for rules.so.
 */
#ifndef PM_LANGUAGE_H
#define PM_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>

struct language;

struct language *language_create(void);                   /* NULL: no memory */
void language_destroy(struct language *l);                /* NULL is fine */

/* The language of text, or NULL if nothing speaks for one.  Any thread; at most the first 2 KiB are read. */
const char *language_of(const struct language *l, const char *text, size_t n);

bool language_known(const char *code);                    /* can language_of() return it? */
const char *language_codes(void);                         /* all of them: "en de fr ..." */
#endif
