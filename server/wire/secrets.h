/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.h - keys do not get from an expert's words to a client or into a log.
 *
 * Servers repeat the key that they refuse ("Incorrect API key provided: sk-..."), some a part of it.  Hidden is what was sent to them in
 * headers, and what looks like a key: one of the known beginnings, a JSON web token, 24 letters and digits or more in one piece that
 * are no id of a request.  Any thread.
 */
#ifndef PM_SECRETS_H
#define PM_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#include "pm_router.h"

/* text into out, at most room bytes, cut between characters ("..." at its end then); control characters become spaces, invalid UTF-8 '?',
 * keys "***".  headers: lines "Name: value\r\n" whose values are secrets.  Returns the length; out has room + 1 bytes at least. */
size_t secrets_hide(struct pm_str text, struct pm_str headers, char *out, size_t room);
/* Is there something to hide? */
bool secrets_found(struct pm_str text, struct pm_str headers);
#endif
