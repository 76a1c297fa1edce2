/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be done with a table of options alone: check it (a plugin's table is not trusted), write its reference, and show a
 * filled struct as JSON with its secrets hidden.
 */
#include <jansson.h>

#include "options.h"
#include "options_value.h"
#include "utf8.h"

#include "base.h"

#define KEYS_MAX 256 /* more mean that the end of the table is missing */
#define DEPTH_MAX 8

/* ---- check --------------------------------------------------------------------------------------------------------------- */

static _Thread_local char wrong[256];

static PRINTF(1, 2) const char *say(const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(wrong, sizeof wrong, fmt, args);
        va_end(args);
        return wrong;
}

static size_t field_size(const struct pm_option *o)
{
        switch (o->type) {
        case PM_BOOL:
                return sizeof(int);
        case PM_INT:
        case PM_SIZE:
        case PM_TIME:
        case PM_CHOICE:
                return sizeof(int64_t);
        case PM_REAL:
                return sizeof(double);
        case PM_STR:
        case PM_PATH:
        case PM_KEY:
                return sizeof(const char *);
        case PM_STRS:
                return sizeof(struct pm_strs);
        case PM_TABLE:
                return o->sub_size;
        case PM_TABLES:
                return sizeof(struct pm_tables);
        }
        return 0;
}

static bool is_number(const struct pm_option *o)
{
        return o->type == PM_BOOL || o->type == PM_INT || o->type == PM_REAL || o->type == PM_SIZE || o->type == PM_TIME ||
               o->type == PM_CHOICE;
}

static const char *check_key(const struct pm_option *table, const struct pm_option *o)
{
        if (!*o->key || strlen(o->key) > 60 || strpbrk(o->key, ". \t\n:{}[]\"'"))
                return say("option %d: '%.60s' is no name for a key", (int)(o - table), o->key);
        for (const struct pm_option *other = table; other < o; other++)
                if (other->type != PM_KEY && strcmp(other->key, o->key) == 0)
                        return say("key '%s' is in the table twice", o->key);
        if (!o->help || !*o->help)
                return say("key '%s' has no help text", o->key);
        return NULL;
}

static const char *check_field(const struct pm_option *table, const struct pm_option *o, size_t self_size)
{
        size_t size = field_size(o), align = o->type == PM_BOOL ? _Alignof(int) : o->type == PM_TABLE ? 1 : _Alignof(int64_t);

        if (size == 0)
                return say("key '%s' has type %d, which is none of this version", o->key, (int)o->type);
        if (size > self_size || o->offset > self_size - size)
                return say("key '%s' lies at %zu..%zu of a struct of %zu bytes", o->key, o->offset, o->offset + size, self_size);
        if (o->offset % align)
                return say("key '%s' lies at %zu, which is no place for its type", o->key, o->offset);
        for (const struct pm_option *other = table; other < o; other++)
                if (o->offset < other->offset + field_size(other) && other->offset < o->offset + size)
                        return say("keys '%s' and '%s' share a field", other->key, o->key);
        return NULL;
}

static const char *check_value(const struct pm_option *o)
{
        struct value v;
        size_t length;

        if (!(o->min <= o->max)) /* also true for NaN */
                return say("key '%s' has the range %g..%g", o->key, o->min, o->max);
        if (o->type == PM_CHOICE) {
                const char *one;

                if (!o->choices || !*o->choices)
                        return say("key '%s' has no choices", o->key);
                for (size_t i = 0; (one = value_choice(o->choices, i, &length)); i++)
                        if (length == 0)
                                return say("key '%s' has an empty choice in '%.60s'", o->key, o->choices);
        }
        if (o->preset && (o->flags & PM_REQUIRED))
                return say("key '%s' is required, but has the preset '%.60s'", o->key, o->preset);
        if (o->preset && (o->type == PM_TABLE || o->type == PM_TABLES))
                return say("key '%s' is a table and cannot have a preset", o->key);
        if (o->preset && is_number(o) && value_parse(o, o->preset, &v) < 0)
                return say("key '%s' has the preset '%.60s', which is not %s in its range", o->key, o->preset, value_form(o->type));
        return NULL;
}

static const char *check_level(const struct pm_option *table, size_t self_size, bool in_tables, int depth)
{
        size_t n = 0, names = 0;
        const char *bad;

        if (!table)
                return NULL;
        if (depth > DEPTH_MAX)
                return say("tables are nested deeper than %d", DEPTH_MAX);
        for (const struct pm_option *o = table; o->key; o++) {
                if (++n > KEYS_MAX)
                        return say("more than %d keys: is PM_END_OPTION missing?", KEYS_MAX);
                bad = check_field(table, o, self_size);
                if (bad)
                        return bad;
                if (o->type == PM_KEY) {
                        if (!in_tables || ++names > 1)
                                return say(in_tables ? "more than one PM_KEY" : "a PM_KEY outside of the sub-table of a PM_TABLES");
                        continue;
                }
                bad = check_key(table, o);
                if (!bad)
                        bad = check_value(o);
                if (!bad && (o->type == PM_TABLE || o->type == PM_TABLES)) {
                        if (!o->sub || o->sub_size == 0)
                                return say("key '%s' is a table without sub-table or size", o->key);
                        bad = check_level(o->sub, o->sub_size, o->type == PM_TABLES, depth + 1);
                }
                if (bad)
                        return bad;
        }
        return NULL;
}

const char *options_check_table(const struct pm_option *table, size_t self_size)
{
        return check_level(table, self_size, false, 0);
}

/* ---- reference ----------------------------------------------------------------------------------------------------------- */

static void put_cell(FILE *out, const char *text)
{
        for (; text && *text; text++) {
                if (*text == '|')
                        (void)fputc('\\', out);
                (void)fputc(*text == '\n' ? ' ' : *text, out);
        }
}

static bool has_key(const struct pm_option *sub)
{
        for (const struct pm_option *o = sub; o && o->key; o++)
                if (o->type == PM_KEY)
                        return true;
        return false;
}

static void put_kind(FILE *out, const struct pm_option *o)
{
        static const char *const kinds[] = { [PM_BOOL] = "true, false", [PM_INT] = "whole number", [PM_REAL] = "number",
                                             [PM_STR] = "text", [PM_PATH] = "file", [PM_SIZE] = "size", [PM_TIME] = "time",
                                             [PM_STRS] = "list of texts", [PM_TABLE] = "map" };
        struct pm_option count = { .type = o->type >= PM_STRS ? PM_INT : o->type, .min = o->min, .max = o->max };
        char range[VALUE_RANGE_MAX];

        if (o->type == PM_CHOICE)
                put_cell(out, o->choices);
        else
                (void)fputs(o->type == PM_TABLES ? has_key(o->sub) ? "map of maps" : "list of maps" : kinds[o->type], out);
        count.choices = o->choices;
        (void)value_range(&count, range);
        if (*range)
                (void)fprintf(out, o->type >= PM_STRS ? ", %s entries" : ", %s", range);
}

static void describe(FILE *out, const struct pm_option *table, const char *path, int depth)
{
        (void)fprintf(out, "### %s\n\n| key | value | default | description |\n| --- | --- | --- | --- |\n", *path ? path : "top level");
        for (const struct pm_option *o = table; o && o->key; o++) {
                if (o->type == PM_KEY)
                        continue;
                (void)fprintf(out, "| `%s` | ", o->key);
                put_kind(out, o);
                (void)fputs(" | ", out);
                if (o->flags & PM_REQUIRED)
                        (void)fputs("*required*", out);
                else if (o->preset && *o->preset) {
                        (void)fputc('`', out);
                        put_cell(out, o->preset);
                        (void)fputc('`', out);
                }
                (void)fputs(" | ", out);
                put_cell(out, o->help);
                (void)fputs(o->flags & PM_SECRET ? " (secret)" : "", out);
                (void)fputs(" |\n", out);
        }
        (void)fputc('\n', out);
        for (const struct pm_option *o = table; o && o->key; o++)
                if ((o->type == PM_TABLE || o->type == PM_TABLES) && depth < DEPTH_MAX) {
                        char below[256];

                        (void)snprintf(below, sizeof below, "%.120s%s%.60s%s", path, *path ? "." : "", o->key,
                                       o->type == PM_TABLE ? "" : has_key(o->sub) ? ".NAME" : "[]");
                        describe(out, o->sub, below, depth + 1);
                }
}

void options_describe(FILE *out, const struct pm_option *table, const char *path)
{
        describe(out, table, path, 0);
}

/* ---- values in force ----------------------------------------------------------------------------------------------------- */

/*
 * What is absent is left out, as in the file that would mean the same: no list is all where [] is none, a key without a value is a
 * mistake, and so is a map without what it requires.
 */
static json_t *text_json(const struct pm_option *o, const char *text)
{
        return json_string(o->flags & PM_SECRET ? "***" : utf8_valid(text) ? text : "(not UTF-8)");
}

static json_t *level_json(const struct pm_option *table, const char *self, int depth);

/* An item of a list (key NULL) or a member of an object.  NULL: no memory for it, or none before. */
static json_t *with(json_t *all, const char *key, json_t *value)
{
        if ((key ? json_object_set_new(all, key, value) : json_array_append_new(all, value)) == 0)
                return all;
        json_decref(all);
        return NULL;
}

static json_t *number_json(const struct pm_option *o, const char *field)
{
        char buf[VALUE_TEXT_MAX];
        struct value v = { 0 };
        int yes;

        if (o->type == PM_BOOL) {
                memcpy(&yes, field, sizeof yes);
                return json_boolean(yes);
        }
        if (o->type == PM_REAL) {
                memcpy(&v.r, field, sizeof v.r);
                return json_real(v.r);
        }
        memcpy(&v.i, field, sizeof v.i);
        return o->type == PM_INT ? json_integer((json_int_t)v.i) : json_string(value_show(o, &v, buf));
}

static json_t *strs_json(const struct pm_option *o, const char *field)
{
        json_t *array = json_array();
        struct pm_strs list;

        memcpy(&list, field, sizeof list);
        for (size_t i = 0; i < list.n; i++)
                array = with(array, NULL, text_json(o, list.items[i]));
        return array;
}

static json_t *tables_json(const struct pm_option *o, const char *field, int depth)
{
        bool named = has_key(o->sub);
        json_t *all = named ? json_object() : json_array();
        struct pm_tables tables;

        memcpy(&tables, field, sizeof tables);
        for (size_t i = 0; i < tables.n; i++) {
                const char *entry = (const char *)tables.items + i * o->sub_size, *name = NULL;
                json_t *value = level_json(o->sub, entry, depth + 1);

                for (const struct pm_option *k = o->sub; named && k->key; k++)
                        if (k->type == PM_KEY)
                                memcpy(&name, entry + k->offset, sizeof name);
                all = with(all, !named ? NULL : name ? name : "", value);
        }
        return all;
}

static bool table_is_there(const struct pm_option *table, const char *self)
{
        for (const struct pm_option *o = table; o && o->key; o++) {
                const void *first;

                if (!(o->flags & PM_REQUIRED) || (o->type != PM_STR && o->type != PM_PATH && o->type != PM_STRS && o->type != PM_TABLES))
                        continue;
                memcpy(&first, self + o->offset, sizeof first); /* a text, or the items */
                if (!first)
                        return false;
        }
        return true;
}

/* Is there a value to show? */
static bool is_there(const struct pm_option *o, const char *field)
{
        const void *first;

        if (o->type == PM_TABLE)
                return table_is_there(o->sub, field);
        if (o->type != PM_STR && o->type != PM_PATH && o->type != PM_STRS)
                return o->type != PM_KEY;
        memcpy(&first, field, sizeof first); /* the text, or the items */
        return first != NULL;
}

static json_t *value_json(const struct pm_option *o, const char *field, int depth)
{
        const char *text;

        switch (o->type) {
        case PM_STR:
        case PM_PATH:
                memcpy(&text, field, sizeof text);
                return text_json(o, text);
        case PM_STRS:
                return strs_json(o, field);
        case PM_TABLE:
                return level_json(o->sub, field, depth + 1);
        case PM_TABLES:
                return tables_json(o, field, depth);
        default:
                return number_json(o, field);
        }
}

static json_t *level_json(const struct pm_option *table, const char *self, int depth)
{
        json_t *all = json_object();

        for (const struct pm_option *o = table; o && o->key && depth < DEPTH_MAX; o++)
                if (is_there(o, self + o->offset))
                        all = with(all, o->key, value_json(o, self + o->offset, depth));
        return all;
}

char *options_to_json(const struct pm_option *table, const void *self)
{
        json_t *all = level_json(table, self, 0);
        char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;

        json_decref(all);
        return text;
}

/* ---- each value, for digests ------------------------------------------------------------------------------------------------ */

struct table_visit {
        void (*each)(void *ctx, const struct pm_option *o, const char *text);
        void *ctx;
};

static void visit_level(const struct table_visit *v, const struct pm_option *table, const char *self, int depth);

static void visit_number(const struct table_visit *v, const struct pm_option *o, const char *field)
{
        char buf[VALUE_TEXT_MAX];
        struct value value = { 0 };
        int yes;

        if (o->type == PM_BOOL) {
                memcpy(&yes, field, sizeof yes);
                v->each(v->ctx, o, yes ? "true" : "false");
        } else if (o->type == PM_REAL) {
                memcpy(&value.r, field, sizeof value.r);
                (void)snprintf(buf, sizeof buf, "%.17g", value.r);
                v->each(v->ctx, o, buf);
        } else {
                memcpy(&value.i, field, sizeof value.i);
                (void)snprintf(buf, sizeof buf, "%" PRId64, value.i);
                v->each(v->ctx, o, buf);
        }
}

static void visit_count(const struct table_visit *v, const struct pm_option *o, size_t n)
{
        char buf[VALUE_TEXT_MAX];

        (void)snprintf(buf, sizeof buf, "%zu", n);
        v->each(v->ctx, o, buf);
}

static void visit_value(const struct table_visit *v, const struct pm_option *o, const char *field, int depth)
{
        struct pm_tables tables;
        struct pm_strs list;
        const char *text;

        switch (o->type) {
        case PM_STR:
        case PM_PATH:
        case PM_KEY:
                memcpy(&text, field, sizeof text);
                v->each(v->ctx, o, text);
                return;
        case PM_STRS:
                memcpy(&list, field, sizeof list);
                visit_count(v, o, list.n);
                for (size_t i = 0; i < list.n; i++)
                        v->each(v->ctx, o, list.items[i]);
                return;
        case PM_TABLE:
                visit_level(v, o->sub, field, depth + 1);
                return;
        case PM_TABLES:
                memcpy(&tables, field, sizeof tables);
                visit_count(v, o, tables.n);
                for (size_t i = 0; i < tables.n; i++)
                        visit_level(v, o->sub, (const char *)tables.items + i * o->sub_size, depth + 1);
                return;
        case PM_BOOL:
        case PM_INT:
        case PM_REAL:
        case PM_SIZE:
        case PM_TIME:
        case PM_CHOICE:
                break;
        }
        visit_number(v, o, field);
}

static void visit_level(const struct table_visit *v, const struct pm_option *table, const char *self, int depth)
{
        for (const struct pm_option *o = table; o && o->key && depth < DEPTH_MAX; o++)
                visit_value(v, o, self + o->offset, depth);
}

void options_each(const struct pm_option *table, const void *self,
                  void (*each)(void *ctx, const struct pm_option *o, const char *text), void *ctx)
{
        struct table_visit v = { each, ctx };

        visit_level(&v, table, self, 0);
}
