/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text in, text out: a file, and its text, into settings, settings as the reference page, and a generation's settings as JSON.
 */
#include <jansson.h>
#include <sys/stat.h>

#include "config.h"
#include "settings.h"
#include "tree.h"

#include "base.h"

struct settings *config_parse(const char *text, size_t n, const char *file, const char *base, struct arena *a, struct problems *p)
{
        struct settings *s;
        struct node *tree;

        if (tree_parse(text, n, file, a, p, &tree) < 0)
                return NULL;
        s = settings_fill(tree, base, a, p);
        if (s)
                settings_check(s, a, p);
        return s;
}

/* ---- a file -------------------------------------------------------------------------------------------------------------- */

static int read_file(const char *file, char **ret, size_t *ret_n)
{
        CLEANUP(fclose_p) FILE *f = fopen(file, "re");
        CLEANUP(free_p) char *text = NULL;
        size_t n = 0, room = 65536;
        struct stat st;

        if (!f || fstat(fileno(f), &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        while (n <= TREE_BYTES_MAX) { /* a pipe has no size to trust; one byte above the limit is enough to be refused */
                char *grown = n + 1 >= room || !text ? realloc(text, room *= 2) : text;
                size_t got;

                if (!grown)
                        return -ENOMEM;
                text = grown;
                got = fread(text + n, 1, room - n - 1, f);
                n += got;
                if (got == 0)
                        break;
        }
        if (ferror(f))
                return -EIO;
        text[n] = '\0';
        *ret = TAKE(text);
        *ret_n = n;
        return 0;
}

/* The folder of a file, absolute; in the arena. */
static const char *folder_of(struct arena *a, const char *file)
{
        const char *slash = strrchr(file, '/');
        char *dir = slash ? arena_strndup(a, file, slash == file ? 1 : (size_t)(slash - file)) : NULL;
        CLEANUP(free_p) char *whole_path = realpath(dir ? dir : ".", NULL);
        char *kept = whole_path ? arena_strndup(a, whole_path, strlen(whole_path)) : NULL;

        return kept ? kept : dir ? dir : ".";
}

int config_load(const char *file, struct arena *a, struct problems *p, char digest[SHA256_HEX], struct settings **ret)
{
        unsigned char sum[SHA256_SIZE];
        CLEANUP(free_p) char *text = NULL;
        struct node at = { .file = file };
        struct settings *s;
        size_t n = 0;
        int e = read_file(file, &text, &n);

        if (e < 0) {
                problems_add(p, &at, NULL, "cannot be read: %s", ERRNO_TEXT(e));
                return e;
        }
        if (digest && !sha256_of(text, n, sum)) {
                problems_add(p, &at, NULL, "out of memory: cannot read the file");
                return -ENOMEM;
        }
        if (digest)
                sha256_hex(sum, sizeof sum, digest);
        s = config_parse(text, n, file, folder_of(a, file), a, p);
        if (!s)
                return -EINVAL;
        *ret = s;
        return 0;
}

/* ---- the reference ------------------------------------------------------------------------------------------------------- */

void config_describe(FILE *out)
{
        (void)fputs("## The configuration file\n\n"
                    "YAML, or JSON. Every mistake is shown in one run of `pointsman check -c FILE`, with its line and column.\n\n"
                    "* `${NAME}` is replaced by a variable of the environment, which must be set; `${NAME:-default}` need not be. "
                    "A literal `${` is written `$${`.\n"
                    "* Times need a unit: `250ms`, `2s`, `5m`, `1h`. Sizes may have one: `512`, `64KiB`, `8MiB`, `1GiB`.\n"
                    "* Relative paths are read from the file's folder.\n"
                    "* Where a list of texts is expected, one text alone will do. `listen` may be an address, a map, or a list of both.\n"
                    "* Names of experts, routers, routes, embedders and tenants have letters, digits and any of `. _ - / : @ +`.\n"
                    "* Anchors, aliases and `<<` merge keys work.\n\n", out);
        options_describe(out, settings_table, "");
}

/* ---- the configuration in force ------------------------------------------------------------------------------------------ */

/* A value that is shown as it stands in the file. */
static bool is_written(const struct node *n, const json_t *value)
{
        const char *shown = json_string_value(value);

        return n && n->kind == NODE_SCALAR && n->secret && !(shown && strcmp(shown, "***") == 0);
}

/* Lays the file's ${NAME}s over the values that came from them.  False: no memory. */
static bool overlay(json_t *json, const struct node *n)
{
        bool done = true;

        if (json_is_object(json) && n->kind == NODE_MAP)
                for (size_t i = 0; i < n->n && done; i++) {
                        json_t *value = json_object_get(json, n->keys[i]->text);

                        if (value && is_written(n->items[i], value) && !json_is_array(value))
                                done = json_object_set_new(json, n->keys[i]->text, json_string(tree_written(n->items[i]))) == 0;
                        else if (value)
                                done = overlay(value, n->items[i]);
                }
        else if (json_is_array(json) && n->kind != NODE_MAP)
                for (size_t i = 0; i < json_array_size(json) && done; i++) {
                        const struct node *item = n->kind == NODE_SCALAR ? n : i < n->n ? n->items[i] : NULL;
                        json_t *value = json_array_get(json, i);

                        if (is_written(item, value))
                                done = json_array_set_new(json, i, json_string(tree_written(item))) == 0;
                        else if (item)
                                done = overlay(value, item);
                }
        return done;
}

static json_t *table_to_json(const struct pm_option *table, const void *self)
{
        CLEANUP(free_p) char *text = options_to_json(table, self);

        return text ? json_loads(text, 0, NULL) : NULL;
}

char *config_to_json(const struct generation *g)
{
        json_t *all = table_to_json(settings_table, g->settings), *routers = json_object_get(all, "routers");
        bool whole = all != NULL;
        char *text;

        for (size_t i = 0; i < g->n_routers && whole; i++) {
                const struct router *r = g->routers[i];
                json_t *own = r->table->options ? table_to_json(r->table->options, r->self) : NULL;

                whole = !r->table->options || (own && json_object_update_missing(json_object_get(routers, r->name), own) == 0);
                json_decref(own);
        }
        text = whole && overlay(all, g->settings->tree) ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
        json_decref(all);
        return text;
}
