/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a struct from a map of the configuration file, as a table of options says, and lists every mistake on the way.
 *
 * A pass over the map's keys finds the unknown and the doubled ones; a pass over the table fills field after field, each from
 * its value or from its preset.  Nothing stops at a mistake: a field that could not be read stays zero, and the caller, who sees
 * that the number of mistakes is not 0, uses nothing of the struct.
 */
#include "options.h"
#include "options_value.h"

#include "base.h"

#define DEPTH_MAX 16
#define PATH_MAX_BYTES 256
#define SHOWN_MAX 60 /* bytes of a wrong value in a message */

struct fill {
        const char *base;
        const struct options_memory *memory;
        struct problems *problems;
        size_t mistakes;
};

static PRINTF(4, 5) void mistake(struct fill *f, const struct node *at, const char *path, const char *fmt, ...)
{
        char text[768];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        problems_add(f->problems, at, path, "%s", text);
        f->mistakes++;
}

static void path_join(char out[PATH_MAX_BYTES], const char *path, const char *key)
{
        (void)snprintf(out, PATH_MAX_BYTES, "%.120s%s%.120s", path ? path : "", path && *path ? "." : "", key);
}

/* NULL: there is no memory, and that has been said. */
static void *allocate(struct fill *f, const struct node *at, const char *path, size_t n)
{
        void *p = f->memory->alloc(f->memory->ctx, n);

        if (!p)
                mistake(f, at, path, "out of memory");
        return p;
}

static char *keep(struct fill *f, const struct node *at, const char *path, const char *text, size_t n)
{
        char *copy = allocate(f, at, path, n + 1);

        if (!copy)
                return NULL;
        memcpy(copy, text, n);
        copy[n] = '\0';
        return copy;
}

static bool absent(const struct node *v)
{
        return !v || v->kind == NODE_NULL;
}

/* What stands at a node, for a message: kinds of collections, cut texts, never a secret. */
static const char *found(const struct node *v, const struct pm_option *o, char buf[SHOWN_MAX + 8])
{
        if (absent(v))
                return "nothing";
        if (v->kind == NODE_LIST)
                return v->n ? "a list" : "an empty list";
        if (v->kind == NODE_MAP)
                return v->n ? "a map" : "an empty map";
        if (v->secret || (o && (o->flags & PM_SECRET)))
                return v->secret ? "a value from the environment" : "a hidden value";
        (void)snprintf(buf, SHOWN_MAX + 8, "'%.*s%s'", SHOWN_MAX, v->text, strlen(v->text) > SHOWN_MAX ? "..." : "");
        return buf;
}

static const char *help_of(const struct pm_option *o)
{
        return o->help && *o->help ? o->help : o->key;
}

/* ---- keys ---------------------------------------------------------------------------------------------------------------- */

static const struct pm_option *table_find(const struct pm_option *table, const char *key)
{
        for (const struct pm_option *o = table; o && o->key; o++)
                if (o->type != PM_KEY && strcmp(o->key, key) == 0)
                        return o;
        return NULL;
}

static bool listed(const char *const *names, const char *key)
{
        for (; names && *names; names++)
                if (strcmp(*names, key) == 0)
                        return true;
        return false;
}

static void unknown_key(struct fill *f, const struct pm_option *table, const char *const *skip, const struct node *key,
                        const char *path)
{
        const char *known[256], *nearest;
        char names[400] = "";
        size_t n = 0, used = 0;

        for (const struct pm_option *o = table; o && o->key && n < LENGTH_OF(known); o++)
                if (o->type != PM_KEY)
                        known[n++] = o->key;
        for (; skip && *skip && n < LENGTH_OF(known); skip++)
                known[n++] = *skip;
        nearest = options_nearest(key->text, known, n);
        if (nearest) {
                mistake(f, key, path, "unknown key '%.*s' - did you mean '%s'?", SHOWN_MAX, key->text, nearest);
                return;
        }
        for (size_t i = 0; i < n && used < sizeof names - 80; i++)
                used += (size_t)snprintf(names + used, sizeof names - used, "%s%.60s", i ? ", " : "", known[i]);
        mistake(f, key, path, "unknown key '%.*s' - known here: %s", SHOWN_MAX, key->text, n ? names : "no keys at all");
}

/* The first place of a key before entry i, or NULL: a key twice is refused, since readers would not know which one counts. */
static const struct node *earlier(const struct node *map, size_t i)
{
        for (size_t j = 0; j < i; j++)
                if (map->keys[j] && map->keys[j]->text && strcmp(map->keys[j]->text, map->keys[i]->text) == 0)
                        return map->keys[j];
        return NULL;
}

static bool key_in_order(struct fill *f, const struct node *map, size_t i, const char *path)
{
        const struct node *key = map->keys[i], *first;

        if (!key || key->kind != NODE_SCALAR || !key->text || !*key->text) {
                mistake(f, key ? key : map, path, "a key must be a text");
                return false;
        }
        first = earlier(map, i);
        if (first)
                mistake(f, key, path, "duplicate key '%.*s', first in line %d", SHOWN_MAX, key->text, first->line);
        return !first;
}

static void check_keys(struct fill *f, const struct pm_option *table, const struct node *map, const char *path,
                       const char *const *skip)
{
        for (size_t i = 0; i < map->n; i++)
                if (key_in_order(f, map, i, path) && !table_find(table, map->keys[i]->text) && !listed(skip, map->keys[i]->text))
                        unknown_key(f, table, skip, map->keys[i], path);
}

/* ---- values -------------------------------------------------------------------------------------------------------------- */

static void wrong_choice(struct fill *f, const struct pm_option *o, const struct node *v, const char *path)
{
        char names[32][64], shown[SHOWN_MAX + 8], list[320] = "";
        const char *known[LENGTH_OF(names)], *one, *nearest;
        size_t length, n = 0, used = 0;

        while (n < LENGTH_OF(names) && (one = value_choice(o->choices, n, &length))) {
                (void)snprintf(names[n], sizeof names[n], "%.*s", (int)MIN(length, sizeof names[n] - 1), one);
                known[n] = names[n];
                n++;
        }
        for (size_t i = 0; i < n && used < sizeof list - 70; i++)
                used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
        nearest = v->secret ? NULL : options_nearest(v->text, known, n);
        mistake(f, v, path, "%s is not one of %s%s%s%s (%s)", found(v, o, shown), list, nearest ? " - did you mean '" : "",
                nearest ? nearest : "", nearest ? "'?" : "", help_of(o));
}

static void wrong_number(struct fill *f, const struct pm_option *o, const struct node *v, const char *path, int r)
{
        char shown[SHOWN_MAX + 8], range[VALUE_RANGE_MAX];
        const char *text = found(v, o, shown);

        (void)value_range(o, range);
        if (r == -ERANGE && *range && !v->secret && !(o->flags & PM_SECRET))
                mistake(f, v, path, "%.*s is not in %s (%s)", SHOWN_MAX, v->text, range, help_of(o));
        else if (r == -ERANGE)
                mistake(f, v, path, "%s is not in %s (%s)", text, *range ? range : "the range of its type", help_of(o));
        else
                mistake(f, v, path, "found %s where %s%s%s%s would be right (%s)", text, value_form(o->type),
                        *range ? " in " : "", range, v->quoted && !v->secret ? ", without quotes," : "", help_of(o));
}

/* Quotes make a text of a value.  Where a unit or a word follows anyway (sizes, times, choices) they change nothing. */
static bool quotes_matter(const struct pm_option *o, const struct node *v)
{
        return v->quoted && !v->secret && (o->type == PM_BOOL || o->type == PM_INT || o->type == PM_REAL);
}

static void fill_number(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const char *path)
{
        struct value value;
        int r = quotes_matter(o, v) ? -EINVAL : value_parse(o, v->text, &value);

        if (r < 0 && o->type == PM_CHOICE)
                wrong_choice(f, o, v, path);
        else if (r < 0)
                wrong_number(f, o, v, path, r);
        else if (o->type == PM_REAL)
                memcpy(field, &value.r, sizeof value.r);
        else if (o->type == PM_BOOL)
                memcpy(field, &(int){ (int)value.i }, sizeof(int));
        else
                memcpy(field, &value.i, sizeof value.i);
}

static const char *keep_path(struct fill *f, const struct node *at, const char *path, const char *text)
{
        size_t base = f->base ? strlen(f->base) : 0, n = strlen(text);
        char *joined;

        if (*text == '/' || base == 0)
                return keep(f, at, path, text, n);
        joined = allocate(f, at, path, base + n + 2);
        if (joined)
                (void)snprintf(joined, base + n + 2, "%s%s%s", f->base, f->base[base - 1] == '/' ? "" : "/", text);
        return joined;
}

/* What the environment gave to a secret is secret in every message, even if it is a number. */
static void hide_secret(struct fill *f, const struct pm_option *o, const struct node *v)
{
        if (v->secret && (o->flags & PM_SECRET))
                problems_hide(f->problems, NULL, v->text, "***");
}

static void fill_text(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const char *path)
{
        const char *text;

        if (!*v->text && (o->type == PM_PATH || (o->flags & PM_REQUIRED))) {
                mistake(f, v, path, "is empty%s (%s)", v->secret ? ": the variable of the environment is not set" : "", help_of(o));
                return;
        }
        hide_secret(f, o, v);
        text = o->type == PM_PATH ? keep_path(f, v, path, v->text) : keep(f, v, path, v->text, strlen(v->text));
        memcpy(field, &text, sizeof text);
}

/* Is the number of items within the option's range? */
static bool count_in_order(struct fill *f, const struct pm_option *o, const struct node *v, size_t n, const char *path)
{
        struct pm_option number = { .type = PM_INT, .min = o->min, .max = o->max };
        char range[VALUE_RANGE_MAX];

        if ((o->min == 0 && o->max == 0) || ((double)n >= o->min && (double)n <= o->max))
                return true;
        mistake(f, v, path, "has %zu entries, which is not in %s (%s)", n, value_range(&number, range), help_of(o));
        return false;
}

static void fill_strs(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const char *path)
{
        struct pm_strs list = { 0 };
        size_t n = v->kind == NODE_LIST ? v->n : 1;
        const char **items;

        if (!count_in_order(f, o, v, n, path))
                return;
        items = allocate(f, v, path, MAX(n, (size_t)1) * sizeof *items); /* an empty list is none, and no list is NULL */
        if (!items)
                return;
        for (size_t i = 0; i < n; i++) {
                const struct node *item = v->kind == NODE_LIST ? v->items[i] : v;
                char shown[SHOWN_MAX + 8], where[PATH_MAX_BYTES];
                const char *kept;

                items[i] = "";
                if (!item || item->kind != NODE_SCALAR || !item->text) {
                        (void)snprintf(where, sizeof where, "%.200s[%zu]", path, i);
                        mistake(f, item ? item : v, where, "found %s where a text would be right (%s)",
                                found(item, o, shown), help_of(o));
                        continue;
                }
                hide_secret(f, o, item);
                kept = keep(f, item, path, item->text, strlen(item->text));
                items[i] = kept ? kept : "";
        }
        list = (struct pm_strs){ .items = items, .n = n };
        memcpy(field, &list, sizeof list);
}

/* ---- maps ---------------------------------------------------------------------------------------------------------------- */

static void fill_map(struct fill *f, const struct pm_option *table, void *self, const struct node *map, const char *path,
                     const char *const *skip, const char *name, bool demand, int depth);

static const struct pm_option *key_option(const struct pm_option *table)
{
        for (const struct pm_option *o = table; o && o->key; o++)
                if (o->type == PM_KEY)
                        return o;
        return NULL;
}

static void fill_tables(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const char *path, int depth)
{
        bool named = key_option(o->sub) != NULL;
        struct pm_tables tables = { 0 };
        char *items;

        if (!count_in_order(f, o, v, v->n, path) || v->n == 0)
                return;
        items = allocate(f, v, path, v->n * o->sub_size);
        if (!items)
                return;
        for (size_t i = 0; i < v->n; i++) {
                const struct node *entry = v->items[i];
                char where[PATH_MAX_BYTES], shown[SHOWN_MAX + 8];
                const char *name = NULL;

                if (named) {
                        if (!key_in_order(f, v, i, path))
                                continue;
                        name = keep(f, v->keys[i], path, v->keys[i]->text, strlen(v->keys[i]->text));
                        if (!name)
                                continue;
                        path_join(where, path, name);
                } else {
                        (void)snprintf(where, sizeof where, "%.200s[%zu]", path, i);
                }
                if (!absent(entry) && entry->kind != NODE_MAP) {
                        mistake(f, entry, where, "found %s where a map would be right (%s)", found(entry, NULL, shown), help_of(o));
                        continue;
                }
                if (absent(entry)) { /* "name:" alone: presets, with the name's place for what is missed */
                        struct node empty = named ? *v->keys[i] : entry ? *entry : *v;

                        empty.kind = NODE_MAP;
                        empty.n = 0;
                        fill_map(f, o->sub, items + i * o->sub_size, &empty, where, NULL, name, true, depth + 1);
                } else {
                        fill_map(f, o->sub, items + i * o->sub_size, entry, where, NULL, name, true, depth + 1);
                }
        }
        tables = (struct pm_tables){ .items = items, .n = v->n };
        memcpy(field, &tables, sizeof tables);
}

/* The kind that a value of this option must have; a list of texts may be one text. */
static bool kind_fits(const struct pm_option *o, const struct node *v)
{
        switch (o->type) {
        case PM_STRS:
                return v->kind == NODE_LIST || v->kind == NODE_SCALAR;
        case PM_TABLE:
                return v->kind == NODE_MAP;
        case PM_TABLES:
                return v->kind == (key_option(o->sub) ? NODE_MAP : NODE_LIST);
        default:
                return v->kind == NODE_SCALAR;
        }
}

static void wrong_kind(struct fill *f, const struct pm_option *o, const struct node *v, const char *path)
{
        char shown[SHOWN_MAX + 8], range[VALUE_RANGE_MAX];
        const char *form = value_form(o->type);

        if (o->type == PM_TABLES && key_option(o->sub))
                form = "a map of maps";
        else if (o->type == PM_CHOICE)
                form = o->choices;
        (void)value_range(o, range);
        if (o->type >= PM_STRS)
                range[0] = '\0';
        mistake(f, v, path, "found %s where %s%s%s would be right (%s)", found(v, o, shown), form, *range ? " in " : "",
                range, help_of(o));
}

static void fill_value(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const char *path, int depth)
{
        if (!kind_fits(o, v) || (v->kind == NODE_SCALAR && !v->text)) {
                wrong_kind(f, o, v, path);
                return;
        }
        switch (o->type) {
        case PM_STR:
        case PM_PATH:
                fill_text(f, o, field, v, path);
                break;
        case PM_STRS:
                fill_strs(f, o, field, v, path);
                break;
        case PM_TABLE:
                fill_map(f, o->sub, field, v, path, NULL, NULL, true, depth + 1);
                break;
        case PM_TABLES:
                fill_tables(f, o, field, v, path, depth);
                break;
        case PM_KEY:
                break;
        default:
                fill_number(f, o, field, v, path);
        }
}

/* A key that is not in the file: its preset, or nothing.  Keys of an optional map that is not there are not demanded. */
static void fill_absent(struct fill *f, const struct pm_option *o, void *field, const struct node *v, const struct node *map,
                        const char *path, const char *where, bool demand, int depth)
{
        bool list = o->type == PM_STRS || o->type == PM_TABLE || o->type == PM_TABLES;

        if ((o->flags & PM_REQUIRED) && demand)
                mistake(f, v ? v : map, path, v ? "key '%s' is required and has no value (%s)" : "key '%s' is required (%s)",
                        o->key, help_of(o));
        else if (v && !list && !o->preset)
                mistake(f, v, where, "found nothing where %s would be right (%s)", value_form(o->type), help_of(o));
        else if (o->preset) {
                struct node preset = { .kind = NODE_SCALAR, .text = o->preset };

                fill_value(f, o, field, &preset, where, depth);
        } else if (o->type == PM_TABLE) {
                fill_map(f, o->sub, field, NULL, where, NULL, NULL, false, depth + 1);
        }
}

static void fill_map(struct fill *f, const struct pm_option *table, void *self, const struct node *map, const char *path,
                     const char *const *skip, const char *name, bool demand, int depth)
{
        if (depth > DEPTH_MAX) {
                mistake(f, map, path, "is nested deeper than %d maps", DEPTH_MAX);
                return;
        }
        if (map)
                check_keys(f, table, map, path, skip);
        for (const struct pm_option *o = table; o && o->key; o++) {
                char *field = (char *)self + o->offset;
                char where[PATH_MAX_BYTES];
                const struct node *v;

                if (o->type == PM_KEY) {
                        memcpy(field, &name, sizeof name);
                        continue;
                }
                v = node_get(map, o->key);
                path_join(where, path, o->key);
                if (absent(v))
                        fill_absent(f, o, field, v, map, path, where, demand, depth);
                else
                        fill_value(f, o, field, v, where, depth);
        }
}

size_t options_fill(const struct pm_option *table, void *self, const struct node *map, const char *path, const char *base,
                    const char *const *skip, const struct options_memory *memory, struct problems *p)
{
        struct fill f = { .base = base, .memory = memory, .problems = p };
        char shown[SHOWN_MAX + 8];

        if (!absent(map) && map->kind != NODE_MAP)
                mistake(&f, map, path, "found %s where a map would be right", found(map, NULL, shown));
        else if (map && map->kind == NODE_NULL) {
                struct node empty = *map;

                empty.kind = NODE_MAP;
                empty.n = 0;
                fill_map(&f, table, self, &empty, path, skip, NULL, true, 0);
        } else {
                fill_map(&f, table, self, map, path, skip, NULL, true, 0);
        }
        return f.mistakes;
}
