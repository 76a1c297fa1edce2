/* SPDX-License-Identifier: Apache-2.0 */
/*
 * js.h - look at JSON where it lies: check it once, then take slices.
 *
 * The hot path neither builds a tree nor writes one back: js_check() proves that bytes are one JSON value (RFC 8259, UTF-8
 * included) within limits; the other functions walk bytes that have been proved.  No allocation, no state.
 */
#ifndef PM_JS_H
#define PM_JS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

/*
 * Reading and proving in one pass: a pull parser for callers that know what the text should be.
 *
 *      for (js_enter(&j); js_more(&j, &key);)
 *              if (js_equal(key, "model"))
 *                      model = js_take(&j);
 *              else
 *                      (void)js_take(&j);
 *
 * After an error every call answers false, JS_NONE or an empty slice; j.error says -EINVAL, or -E2BIG for nesting too deep, j.why
 * is a clause ("expected ',' or '}'"), and j.at the place.
 */
struct js {
        const char *at, *end, *start;
        const char *why;
        int error;
        unsigned depth, max; /* at most 512 */
        bool first;          /* right after an opening bracket */
        bool escaped;        /* the last string that was passed holds a backslash; of a name: js_more() has just said it */
        uint64_t objects[8]; /* of each open bracket: is it an object? */
};
enum js_type { JS_NONE, JS_OBJECT, JS_ARRAY, JS_STRING, JS_NUMBER, JS_TRUE, JS_FALSE, JS_NULL };

void js_start(struct js *j, struct pm_str text, size_t depth);
/* The type of the value that comes next. */
enum js_type js_peek(struct js *j);
/* Goes into the object or array that comes next; false: something else comes, nothing is used. */
bool js_enter(struct js *j);
/* Is there another member?  For objects *key is the raw name inside its quotes; else empty.  Goes out of the bracket if not. */
bool js_more(struct js *j, struct pm_str *key);
/* The next value, whatever it is, proved: its bytes without space around them. */
struct pm_str js_take(struct js *j);
/* After the outermost value: nothing but space may follow.  0 or j->error. */
int js_finish(struct js *j);

/* The whole text is one value.  0, or the error with its place and clause (both may be NULL). */
int js_check(struct pm_str text, size_t depth, size_t *ret_at, const char **ret_why);

/* All below: the value is a slice that has been proved, without space around it. */
enum js_type js_type(struct pm_str value);
/* Any text without the space around it. */
struct pm_str js_trim(struct pm_str text);
/* The last member of that name; p is NULL if it is not there or v is no object. */
struct pm_str js_member(struct pm_str object, const char *key);
/* Compares a raw key or the inside of a string with plain text; escapes are honoured. */
bool js_equal(struct pm_str raw, const char *text);
bool js_string_is(struct pm_str value, const char *text);

/* A string's text, escapes resolved, into out, which has room for value.n bytes; returns the length.  `value` with its quotes.  Lone
 * surrogates become U+FFFD. */
size_t js_unescape(struct pm_str value, char *out);
/* The text of a string: a slice where there are no escapes, else unescaped into the arena.  p NULL: not a string, or no memory. */
struct arena;
struct pm_str js_text(struct pm_str value, struct arena *a);
/* An integer that fits; false: not one. */
bool js_int(struct pm_str value, int64_t *ret);

/* Is a text whole characters?  An empty one is. */
bool js_utf8(struct pm_str text);

/* Text as the inside of a JSON string into out (room for 6 bytes each); invalid UTF-8 becomes U+FFFD.  Returns the length. */
size_t js_escape(struct pm_str text, char *out);
#endif
