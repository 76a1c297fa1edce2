/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One scalar into a number, and back.  Every form is strict: text that does not fit it as a whole is refused, and nothing is clamped.
 * A time without its unit is a mistake, because 5 could be seconds or milliseconds.
 */
#include <math.h>

#include "options_value.h"

#include "base.h"

struct unit {
        const char *name;
        double factor;
};

static const struct unit sizes[] = { { "GiB", 1024.0 * 1024 * 1024 }, { "MiB", 1024.0 * 1024 }, { "KiB", 1024 }, { "B", 1 }, { "", 1 } };
static const struct unit times[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

#define EXACT_MAX 9007199254740992.0 /* 2^53: above it a double skips whole numbers */

static bool ranged(const struct pm_option *o)
{
        return o->min != 0 || o->max != 0;
}

static int parse_bool(const char *text, struct value *ret)
{
        static const char *const words[2][3] = { { "false", "no", "off" }, { "true", "yes", "on" } };

        for (int yes = 0; yes < 2; yes++)
                for (size_t i = 0; i < 3; i++)
                        if (strcasecmp(text, words[yes][i]) == 0) {
                                ret->i = yes;
                                return 0;
                        }
        return -EINVAL;
}

static int parse_int(const char *text, struct value *ret)
{
        const char *digits = *text == '-' || *text == '+' ? text + 1 : text;
        char *end;

        if (*digits < '0' || *digits > '9')
                return -EINVAL;
        errno = 0;
        ret->i = strtoll(text, &end, 10);
        if (*end)
                return -EINVAL;
        ret->r = (double)ret->i;
        return errno == ERANGE ? -ERANGE : 0;
}

/* Digits with at most one point; no sign, no exponent: the plain part of sizes and times. */
static const char *parse_plain(const char *text, double *ret)
{
        double value = 0, scale = 1;
        const char *p = text;
        int digits = 0;

        for (; *p >= '0' && *p <= '9' && digits < 16; p++, digits++)
                value = value * 10 + (*p - '0');
        if (digits == 0)
                return NULL;
        if (*p == '.') {
                if (p[1] < '0' || p[1] > '9')
                        return NULL;
                for (p++; *p >= '0' && *p <= '9' && digits < 16; p++, digits++) {
                        value = value * 10 + (*p - '0');
                        scale *= 10;
                }
        }
        *ret = value / scale;
        return p;
}

static int parse_unit(const char *text, const struct unit *units, size_t n, struct value *ret)
{
        double plain;
        const char *unit = parse_plain(text, &plain);

        if (!unit)
                return -EINVAL;
        while (*unit == ' ')
                unit++;
        for (size_t i = 0; i < n; i++) {
                double whole = plain * units[i].factor;

                if (strcmp(unit, units[i].name) != 0)
                        continue;
                if (whole > EXACT_MAX)
                        return -ERANGE;
                if (whole != floor(whole))
                        return -EINVAL;
                ret->i = (int64_t)whole;
                ret->r = whole;
                return 0;
        }
        if (*unit == '\0' && plain == 0) { /* zero needs no unit */
                ret->i = 0;
                ret->r = 0;
                return 0;
        }
        return -EINVAL;
}

static int parse_real(const char *text, struct value *ret)
{
        char *end;

        if (strspn(text, "+-.0123456789eE") != strlen(text) || !*text) /* no hexadecimal, no "inf", no "nan" */
                return -EINVAL;
        ret->r = strtod(text, &end);
        if (*end || end == text)
                return -EINVAL;
        return isfinite(ret->r) ? 0 : -ERANGE;
}

const char *value_choice(const char *choices, size_t i, size_t *ret_length)
{
        const char *p = choices;

        for (; i > 0; i--) {
                p = strchr(p, '|');
                if (!p)
                        return NULL;
                p++;
        }
        *ret_length = strcspn(p, "|");
        return p;
}

static int parse_choice(const char *choices, const char *text, struct value *ret)
{
        const char *one;
        size_t length;

        for (size_t i = 0; (one = value_choice(choices, i, &length)); i++)
                if (strlen(text) == length && memcmp(one, text, length) == 0) {
                        ret->i = (int64_t)i;
                        return 0;
                }
        return -EINVAL;
}

int value_parse(const struct pm_option *o, const char *text, struct value *ret)
{
        struct value v = { 0 };
        int r;

        switch (o->type) {
        case PM_BOOL:
                r = parse_bool(text, &v);
                break;
        case PM_INT:
                r = parse_int(text, &v);
                break;
        case PM_REAL:
                r = parse_real(text, &v);
                break;
        case PM_SIZE:
                r = parse_unit(text, sizes, LENGTH_OF(sizes), &v);
                break;
        case PM_TIME:
                r = parse_unit(text, times, LENGTH_OF(times), &v);
                break;
        case PM_CHOICE:
                r = parse_choice(o->choices, text, &v);
                break;
        default:
                return -EINVAL;
        }
        if (r < 0)
                return r;
        if (o->type != PM_BOOL && o->type != PM_CHOICE && ranged(o) && !(v.r >= o->min && v.r <= o->max))
                return -ERANGE;
        *ret = v;
        return 0;
}

/* Text of a whole number in the largest unit that divides it. */
static void show_unit(const struct unit *units, size_t n, int64_t whole, char *buf)
{
        for (size_t i = 0; i < n; i++) {
                int64_t factor = (int64_t)units[i].factor;

                if (whole != 0 && whole % factor == 0 && units[i].name[0] && strcmp(units[i].name, "B") != 0) {
                        (void)snprintf(buf, VALUE_TEXT_MAX, "%" PRId64 "%s", whole / factor, units[i].name);
                        return;
                }
        }
        (void)snprintf(buf, VALUE_TEXT_MAX, "%" PRId64, whole);
}

const char *value_show(const struct pm_option *o, const struct value *v, char buf[VALUE_TEXT_MAX])
{
        const char *one;
        size_t length;

        switch (o->type) {
        case PM_BOOL:
                (void)snprintf(buf, VALUE_TEXT_MAX, "%s", v->i ? "true" : "false");
                break;
        case PM_REAL:
                for (int digits = 6; digits <= 17; digits++) { /* the shortest text that reads back the same */
                        (void)snprintf(buf, VALUE_TEXT_MAX, "%.*g", digits, v->r);
                        if (strtod(buf, NULL) == v->r)
                                break;
                }
                break;
        case PM_SIZE:
                show_unit(sizes, LENGTH_OF(sizes), v->i, buf);
                break;
        case PM_TIME:
                show_unit(times, LENGTH_OF(times), v->i, buf);
                break;
        case PM_CHOICE:
                one = v->i >= 0 ? value_choice(o->choices, (size_t)v->i, &length) : NULL;
                (void)snprintf(buf, VALUE_TEXT_MAX, "%.*s", one ? (int)MIN(length, (size_t)VALUE_TEXT_MAX) : 0, one ? one : "");
                break;
        default:
                (void)snprintf(buf, VALUE_TEXT_MAX, "%" PRId64, v->i);
        }
        return buf;
}

static struct value bound(double x)
{
        return (struct value){ .i = fabs(x) <= EXACT_MAX ? (int64_t)x : 0, .r = x };
}

const char *value_range(const struct pm_option *o, char buf[VALUE_RANGE_MAX])
{
        struct value low = bound(o->min), high = bound(o->max);
        bool from = o->min >= -EXACT_MAX, to = o->max <= EXACT_MAX;
        char a[VALUE_TEXT_MAX], b[VALUE_TEXT_MAX];

        buf[0] = '\0';
        if (o->type == PM_BOOL || o->type == PM_CHOICE || !ranged(o))
                return buf;
        if (from)
                (void)value_show(o, &low, a);
        if (to)
                (void)value_show(o, &high, b);
        if (from && to)
                (void)snprintf(buf, VALUE_RANGE_MAX, "%s..%s", a, b);
        else if (from)
                (void)snprintf(buf, VALUE_RANGE_MAX, "%s or more", a);
        else if (to)
                (void)snprintf(buf, VALUE_RANGE_MAX, "%s or less", b);
        return buf;
}

const char *value_form(enum pm_type type)
{
        switch (type) {
        case PM_BOOL:
                return "true or false";
        case PM_INT:
                return "a whole number";
        case PM_REAL:
                return "a number";
        case PM_STR:
                return "a text";
        case PM_PATH:
                return "the path of a file";
        case PM_SIZE:
                return "a size such as 512, 64KiB, 4MiB or 1GiB";
        case PM_TIME:
                return "a time such as 250ms, 2s, 5m or 1h";
        case PM_CHOICE:
                return "one of a list";
        case PM_STRS:
                return "a list of texts";
        case PM_TABLE:
                return "a map";
        case PM_TABLES:
                return "a list of maps";
        case PM_KEY:
                break;
        }
        return "nothing";
}
