/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_value.h - one scalar of a configuration file, or of a command line, into a number, and back.
 */
#ifndef PM_OPTIONS_VALUE_H
#define PM_OPTIONS_VALUE_H

#include <stddef.h>

#include "pm_router.h"

#define VALUE_TEXT_MAX 64
#define VALUE_RANGE_MAX (2 * VALUE_TEXT_MAX + 16)

/* A number as its type holds it: PM_BOOL, PM_INT, PM_SIZE, PM_TIME and PM_CHOICE use i, PM_REAL uses r. */
struct value {
        int64_t i;
        double r;
};

/* Reads text as a number of the option's type.  0, -EINVAL (not of that form) or -ERANGE (outside min..max). */
int value_parse(const struct pm_option *o, const char *text, struct value *ret);

/* Writes a number as it would stand in the file ("64KiB", "250ms").  Returns buf. */
const char *value_show(const struct pm_option *o, const struct value *v, char buf[VALUE_TEXT_MAX]);

/* Writes the range of a number ("1..1024", "1KiB..1GiB", "at least 1") or an empty string.  Returns buf. */
const char *value_range(const struct pm_option *o, char buf[VALUE_RANGE_MAX]);

/* What would be right for a type: "a whole number", "a time such as 250ms, 2s, 5m or 1h". */
const char *value_form(enum pm_type type);

/* The i-th of "a|b|c" and its length, or NULL behind the last. */
const char *value_choice(const char *choices, size_t i, size_t *ret_length);
#endif
