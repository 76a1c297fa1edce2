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

/* Does alike_fold() change this raw name (without its quotes)?  True also for all that goes beyond ASCII. */
static inline bool alike_folds(struct pm_str raw)
{
        for (size_t i = 0; i < raw.n; i++)
                if ((unsigned char)raw.p[i] >= 0x80 || raw.p[i] == '\\' || (raw.p[i] >= 'A' && raw.p[i] <= 'Z'))
                        return true;
        return false;
}

/* Do these first two bytes of a character that is not ASCII begin one that alike_fold() takes for ASCII letters? */
static inline bool alike_begins(unsigned char one, unsigned char two)
{
        return one == 0xC5 ? two == 0xBF : one == 0xE2 ? two == 0x84 : one == 0xC3 ? two == 0x9F : one == 0xC4 ? (two | 1) == 0xB1 : one == 0xE1 ? two == 0xBA :
               one == 0xEF && two == 0xAC;
}

/* May this raw name of a proved text be another spelling of a name in small ASCII letters?  False for almost all there are: also for those with a
 * character that no letter of ours may be written as, whatever comes behind it. */
static inline bool alike_odd(struct pm_str raw)
{
        for (size_t i = 0; i < raw.n; i++) {
                unsigned char c = (unsigned char)raw.p[i];

                if (c >= 0x80)
                        return i + 1 < raw.n && alike_begins(c, (unsigned char)raw.p[i + 1]);
                if (c == '\\' || (c >= 'A' && c <= 'Z'))
                        return true;
        }
        return false;
}

/*
 * A raw name with its escapes resolved and its letters folded to small ASCII ones, into out, which has room for raw.n + 2 bytes.  Returns its length.
 * Beyond ASCII it is what any way of comparing without regard to case takes for ASCII letters: simple folding (U+017F is s, U+212A is k), full folding
 * (U+00DF and U+1E9E are ss, the ligatures U+FB00 to U+FB06), and the capital's way (U+0131 and U+0130 are i).
 */
size_t alike_fold(struct pm_str raw, char *out);

/*
 * The same up to a NUL, into ALIKE_ROOM bytes, to be compared with many names by alike_is(): a client that sends names with escapes must not
 * make us read them once for each name of ours.  Empty if it is too long for any of ours, which have at most 64 bytes.
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
