/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alike.h - members that another parser may take for ours.
 *
 * Go's encoding/json and others match names without regard to case, and of two members the last one counts.  So a member whose name is one
 * of ours but for the case of its letters would be read by such an expert, and not by us.  Names of ours are ASCII in small letters.
 */
#ifndef PM_ALIKE_H
#define PM_ALIKE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "pm_router.h"

enum { ALIKE_NAME_MAX = 64, ALIKE_ESCAPE = 6, ALIKE_ROOM = ALIKE_ESCAPE * ALIKE_NAME_MAX + 2 };

/* May this raw name (without its quotes) be another spelling of a name in small ASCII letters?  False for almost all there are. */
static inline bool alike_odd(struct pm_str raw)
{
        for (size_t i = 0; i < raw.n; i++)
                if ((unsigned char)raw.p[i] >= 0x80 || raw.p[i] == '\\' || (raw.p[i] >= 'A' && raw.p[i] <= 'Z'))
                        return true;
        return false;
}

/* A raw name with its escapes resolved and its ASCII letters folded, by Unicode's simple case folding (which takes U+017F for s and U+212A
 * for k), into out, which has room for raw.n + 2 bytes.  Returns its length. */
size_t alike_fold(struct pm_str raw, char *out);

/*
 * The same up to a NUL, into ALIKE_ROOM bytes, to be compared with many names by alike_is(): whoever sends names with escapes must not make us
 * read them once for each name of ours.  Empty if it is too long for any of ours, which have at most 64 bytes.
 */
struct pm_str alike_name(struct pm_str raw, char *out);

static inline bool alike_is(struct pm_str folded, const char *name)
{
        return folded.n && folded.p[0] == name[0] && strlen(name) == folded.n && memcmp(folded.p, name, folded.n) == 0;
}

/* Is the raw name `name`, at most 64 bytes, but for the case of its letters and what a NUL would cut off?  Also true if it is the same. */
bool alike(struct pm_str raw, const char *name);

/*
 * Looks for a member of an object that has been proved: one that is of `names` but for case, or that stands there a second time.  *ret is
 * our name for it, *ret_raw the name as it was sent.  False: there is none.
 */
bool alike_find(struct pm_str object, const char *const *names, size_t n, const char **ret, struct pm_str *ret_raw);
#endif
