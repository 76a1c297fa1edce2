/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.h - a JSON object judged while it passes, in pieces: does it close, and is it an answer by the names of its members?
 *
 * For answers that are too long to be kept until they are whole.  Looks at the structure only: brackets that match, strings that end,
 * nothing behind the end.  No byte is looked at twice and nothing is kept of what has passed.
 */
#ifndef PM_SCAN_H
#define PM_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCAN_DEPTH = 512, SCAN_NAME = 12 };

/* What an answer has: a member of the outermost object whose value begins so; and what it is without it, as a clause. */
struct scan_shape {
        const char *name;
        char begins;
        const char *fault;
};

struct scan {
        unsigned depth;
        bool begun, ended, bad;
        bool string, escape;     /* inside a string; after its backslash */
        bool name, value;        /* of the outermost object: a name comes or is being read; its value comes */
        unsigned name_n;
        char name_text[SCAN_NAME];
        bool error;              /* "error" with something in it */
        bool found;              /* what the shape asks for */
        uint64_t objects[SCAN_DEPTH / 64];
};

/* False: what has come can be no part of a JSON object. */
bool scan_feed(struct scan *s, const struct scan_shape *shape, const char *p, size_t n);
/* Is it whole? */
static inline bool scan_closed(const struct scan *s)
{
        return s->ended && !s->bad;
}
/* Of one that has closed, or of the part that has passed: why it is no answer of that shape, as a clause; NULL: nothing speaks against it. */
const char *scan_fault(const struct scan *s, const struct scan_shape *shape);
#endif
