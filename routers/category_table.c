/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "base.h"
#include "category_parts.h"

#define MAP_MAX (4 << 20) /* bytes of a map file */

static bool configured(const struct pm_open *o, const char *expert)
{
        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], expert) == 0)
                        return true;
        return false;
}

/* Keeps the configured ones of names[0..n) as the ranking of a category. */
static int keep(const struct pm_open *o, const char *category, const char *const *names, size_t n, struct ranking *ret)
{
        *ret = (struct ranking){ category, calloc(n + 1, sizeof *ret->expert), 0 };
        if (!ret->expert)
                return o->refuse(o, "out of memory");
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < ret->n; k++)
                        if (strcmp(ret->expert[k], names[i]) == 0)
                                return o->refuse(o, "category '%s': expert '%s' is ranked twice", category, names[i]);
                if (configured(o, names[i]))
                        ret->expert[ret->n++] = names[i];
        }
        return 0;
}

/* Experts of the map that are not configured: said once, for a misspelt name would be silent otherwise. */
struct strangers {
        const char *name[EXPERTS_MAX];
        size_t n;
};

static void note_strangers(const struct pm_open *o, const char *const *names, size_t n, struct strangers *s)
{
        for (size_t i = 0; i < n; i++) {
                size_t k = 0;

                while (k < s->n && strcmp(s->name[k], names[i]) != 0)
                        k++;
                if (k == s->n && s->n < EXPERTS_MAX && !configured(o, names[i]))
                        s->name[s->n++] = names[i];
        }
}

/* Names for a message: "a, b, c", cut where the room ends. */
static const char *listed(const char *const *names, size_t n, char *buf, size_t room)
{
        size_t used = 0;

        buf[0] = '\0';
        for (size_t i = 0; i < n && used < room; i++)
                used += (size_t)snprintf(buf + used, room - used, "%s%s", i ? ", " : "", names[i]);
        return buf;
}

static int read_map(struct category *c, const struct pm_open *o)
{
        const char *kind;
        json_error_t e;
        struct stat st;

        if (stat(c->map, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > MAP_MAX))
                return o->refuse(o, "map '%s' must be a file of at most %d MiB", c->map, MAP_MAX >> 20);
        c->map_json = json_load_file(c->map, JSON_REJECT_DUPLICATES, &e);
        if (!c->map_json)
                return o->refuse(o, "map '%s': %s (line %d, column %d)", c->map, e.text, e.line, e.column);
        kind = json_string_value(json_object_get(c->map_json, "kind"));
        if (!kind || strcmp(kind, "pointsman.map") != 0 || json_integer_value(json_object_get(c->map_json, "version")) != 1)
                return o->refuse(o, "map '%s': kind is '%.40s', wanted 'pointsman.map' of version 1 (pointsman-train map writes it)",
                                 c->map, kind ? kind : "");
        if (!json_is_object(json_object_get(c->map_json, "rankings")))
                return o->refuse(o, "map '%s': 'rankings' must be an object of lists", c->map);
        return 0;
}

/* The names ranked for a category in the map or in `experts:`; *ret_n 0 if it is not there. */
static int names_of(const struct category *c, const struct pm_open *o, const char *category, const char **names, size_t *ret_n)
{
        const struct inline_ranking *table = c->experts.items;
        json_t *list;

        *ret_n = 0;
        for (size_t i = 0; i < c->experts.n; i++)
                if (strcmp(table[i].category, category) == 0) {
                        for (size_t k = 0; k < table[i].ranking.n && k < EXPERTS_MAX; k++)
                                names[(*ret_n)++] = table[i].ranking.items[k];
                        return 0;
                }
        list = json_object_get(json_object_get(c->map_json, "rankings"), category);
        if (!list)
                return 0;
        if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > EXPERTS_MAX)
                return o->refuse(o, "map '%s': ranking of '%s' must be a list of 1 to %d names", c->map, category, EXPERTS_MAX);
        for (size_t i = 0; i < json_array_size(list); i++) {
                names[i] = json_string_value(json_array_get(list, i));
                if (!names[i])
                        return o->refuse(o, "map '%s': ranking of '%s': item %zu is not a name", c->map, category, i);
        }
        *ret_n = json_array_size(list);
        return 0;
}

/* A category of the table that the model does not have would never be used: probably misspelt, or another model's map. */
static int check_category(const struct category *c, const struct pm_open *o, const char *category)
{
        const struct classifier_parts *p = classifier_parts(c->classifier);

        if (strcmp(category, c->general) == 0)
                return 0;
        for (size_t i = 0; i < p->categories; i++)
                if (strcmp(p->labels[i], category) == 0)
                        return 0;
        return o->refuse(o, "'%s' ranks experts for category '%s', which model '%s' does not have",
                         c->map ? c->map : "experts", category, c->model);
}

static int check_categories(const struct category *c, const struct pm_open *o)
{
        const struct inline_ranking *table = c->experts.items;
        const char *category;
        json_t *list;
        int r = 0;

        json_object_foreach(json_object_get(c->map_json, "rankings"), category, list) {
                r = check_category(c, o, category);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; r == 0 && i < c->experts.n; i++)
                r = check_category(c, o, table[i].category);
        return r;
}

static int fill_rankings(struct category *c, const struct pm_open *o)
{
        const struct classifier_parts *p = classifier_parts(c->classifier);
        const char *names[EXPERTS_MAX];
        struct strangers strangers = { .n = 0 };
        char text[512];
        size_t n;
        int r;

        c->rankings = calloc(p->categories + 1, sizeof *c->rankings);
        if (!c->rankings)
                return o->refuse(o, "out of memory");
        for (c->n_rankings = 0; c->n_rankings <= p->categories; c->n_rankings++) {
                const char *category = c->n_rankings < p->categories ? p->labels[c->n_rankings] : c->general;

                r = names_of(c, o, category, names, &n);
                if (r == 0)
                        r = keep(o, category, names, n, &c->rankings[c->n_rankings]);
                if (r < 0)
                        return r;
                note_strangers(o, names, n, &strangers);
        }
        if (strangers.n > 0)
                o->log(o, PM_WARN, "%s ranks experts that are not configured, passing them over: %s", c->map ? c->map : "experts",
                       listed(strangers.name, strangers.n, text, sizeof text));
        if (c->rankings[p->categories].n == 0)
                return o->refuse(o, "%s ranks %zu experts for category '%s' and none of them is configured; configured are: %s",
                                 c->map ? c->map : "experts", n, c->general, listed(o->experts, o->n_experts, text, sizeof text));
        return 0;
}

int category_rankings(struct category *c, const struct pm_open *o)
{
        int r = c->map ? read_map(c, o) : 0;

        if (r == 0)
                r = check_categories(c, o);
        return r < 0 ? r : fill_rankings(c, o);
}
