/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A router stands in the file as a name, a plugin and the plugin's own keys in the same map.  The plugin is found (a name in the
 * folders, or a path), its table fills `self` as our own tables fill our structs, and open() has the last word.  A router that is
 * open is closed when the generation's arena ends, last first, so that half a generation closes like a whole one.
 */
#include <dirent.h>

#include "config.h"
#include "fingerprint.h"
#include "loader.h"
#include "log.h"
#include "routers.h"
#include "settings.h"

#include "base.h"

#define FOLDERS_MAX 18 /* plugin_dirs and two beside the executable */

struct opener {
        struct generation *g;
        const struct settings *s;
        struct problems *problems;
        const char *folders[FOLDERS_MAX];
        size_t n_folders;
        const char **expert_names;
};

/* Zeroed.  NULL: no memory, which is among the problems then. */
static void *make(struct opener *o, size_t n)
{
        const struct node whole = { .file = o->g->file };
        void *p = arena_zalloc(&o->g->arena, n);

        if (!p)
                problems_add(o->problems, &whole, "routers", "out of memory: cannot open them");
        return p;
}

/* ---- where plugins are --------------------------------------------------------------------------------------------------- */

static const char *const beside[] = { "../routers", "../lib/pointsman/routers" }; /* the executable */

static void executable_folder(char path[PATH_MAX])
{
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
        char *slash;

        path[n > 0 ? n : 0] = '\0';
        slash = strrchr(path, '/');
        if (slash)
                slash[slash == path] = '\0';
        else
                (void)snprintf(path, PATH_MAX, ".");
}

int routers_find(const char *name, char *ret, size_t size)
{
        char folder[PATH_MAX], list[LENGTH_OF(beside)][PATH_MAX + 32];
        const char *folders[LENGTH_OF(beside) + 1] = { "." };

        executable_folder(folder);
        for (size_t i = 0; i < LENGTH_OF(beside); i++) {
                (void)snprintf(list[i], sizeof list[i], "%s/%s", folder, beside[i]);
                folders[i + 1] = list[i];
        }
        return loader_find(name, folders, LENGTH_OF(folders), ret, size);
}

static void find_folders(struct opener *o)
{
        struct arena *a = &o->g->arena;
        char folder[PATH_MAX];

        executable_folder(folder);
        for (size_t i = 0; i < o->s->plugin_dirs.n && i < FOLDERS_MAX - LENGTH_OF(beside); i++) {
                const char *given = o->s->plugin_dirs.items[i];

                o->folders[o->n_folders++] = *given == '/' ? given : arena_printf(a, "%s/%s", o->s->base, given);
        }
        for (size_t i = 0; i < LENGTH_OF(beside); i++)
                o->folders[o->n_folders++] = arena_printf(a, "%s/%s", folder, beside[i]);
        for (size_t i = 0; i < o->n_folders; i++)
                if (!o->folders[i])
                        o->folders[i] = ".";
}

/* "no plugin 'knm' in ...", with the nearest of those that are there. */
static void no_plugin(struct opener *o, const char *name, const struct node *at, const char *path)
{
        const char *there[256], *nearest;
        char folders[512] = "";
        size_t n = 0, used = 0;

        for (size_t i = 0; i < o->n_folders; i++) {
                DIR *d = opendir(o->folders[i]);
                struct dirent *e;

                if (used < sizeof folders - 160)
                        used += (size_t)snprintf(folders + used, sizeof folders - used, "%s%.150s", i ? ", " : "", o->folders[i]);
                while (d && n < LENGTH_OF(there) && (e = readdir(d))) {
                        size_t length = strlen(e->d_name);

                        if (length > 3 && strcmp(e->d_name + length - 3, ".so") == 0)
                                there[n++] = arena_strndup(&o->g->arena, e->d_name, length - 3);
                }
                if (d)
                        (void)closedir(d);
        }
        nearest = options_nearest(name, there, n);
        problems_add(o->problems, at, path, "no plugin '%.60s' in %s%s%.60s%s", name, folders,
                     nearest ? " - did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

/* ---- opening ------------------------------------------------------------------------------------------------------------- */

/* What a router's open() may say, on the way to the log and to the list of mistakes. */
struct opening {
        struct pm_open told;
        struct opener *opener;
        const struct node *at;
        const char *path;
        bool *refused; /* outside, since open() gets a const */
        struct router *router;
};

static PRINTF(3, 4) void on_log(const struct pm_open *o, enum pm_level level, const char *fmt, ...)
{
        char text[1024];
        struct log_line line;
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        log_begin(&line, NULL, level, text);
        log_text(&line, "router", o->instance);
        log_end(&line);
}

static PRINTF(2, 3) int on_refuse(const struct pm_open *o, const char *fmt, ...)
{
        const struct opening *opening = (const void *)o; /* told is its first member */
        char text[1024];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        *opening->refused = true;
        problems_add(opening->opener->problems, opening->at, opening->path, "%s", text);
        return -1;
}

static void on_reads_header(const struct pm_open *o, const char *name)
{
        const struct opening *opening = (const void *)o;
        struct router *r = opening->router;
        struct arena *a = &opening->opener->g->arena;
        char *kept = arena_strndup(a, name, strlen(name));
        const char **more = arena_zalloc(a, (r->n_read_headers + 1) * sizeof *more);

        if (!kept || !more) {
                (void)on_refuse(o, "out of memory");
                return;
        }
        for (size_t i = 0; i < r->n_read_headers; i++) {
                if (strcasecmp(r->read_headers[i], name) == 0)
                        return;
                more[i] = r->read_headers[i];
        }
        more[r->n_read_headers++] = kept;
        r->read_headers = more;
}

static void on_insists(const struct pm_open *o)
{
        const struct opening *opening = (const void *)o;

        opening->router->insists = true;
}

static void close_router(void *arg)
{
        struct router *r = arg;
        struct loader_call before;

        if (!r->table->close)
                return;
        before = loader_enter(r->name, "close");
        r->table->close(r->self);
        loader_leave(before);
}

static void free_plugin(void *arg)
{
        loader_free(arg);
}

static bool fill_and_open(struct opener *o, struct router *r, const struct node *map, const struct node *at, const char *path)
{
        static const char *const skip[] = { "plugin", NULL };
        struct options_memory memory = { arena_zalloc_v, &o->g->arena };
        bool refused = false;
        struct opening opening = { .opener = o, .at = at, .path = path, .refused = &refused, .router = r };
        struct fingerprint_files files;
        struct loader_call before;
        int e, f;

        if (options_fill(r->table->options, r->self, map, path, o->s->base, skip, &memory, o->problems))
                return false;
        opening.told = (struct pm_open){ .size = sizeof opening.told, .instance = r->name, .experts = o->expert_names,
                                         .n_experts = o->s->experts.n, .log = on_log, .refuse = on_refuse,
                                         .reads_header = on_reads_header, .insists = on_insists };
        f = fingerprint_router(r->plugin->file, r->table, r->self, &o->g->arena, r->fingerprint, &files);
        before = loader_enter(r->name, "open");
        e = r->table->open ? r->table->open(r->self, &opening.told) : 0;
        loader_leave(before);
        if (f < 0)
                (void)on_refuse(&opening.told, "cannot make a fingerprint of its options and files: %s", ERRNO_TEXT(f));
        fingerprint_settle(&files, r->fingerprint);
        if (e == 0 && arena_defer(&o->g->arena, close_router, r) < 0)
                refused = on_refuse(&opening.told, "out of memory") < 0;
        if (e != 0 && !refused)
                problems_add(o->problems, at, path, "plugin '%s' failed to open (%d) without a message", r->table->name, e);
        return e == 0 && !refused;
}

static void open_router(struct opener *o, const struct router_settings *from)
{
        struct node *map = node_get(node_get(o->s->tree, "routers"), from->name);
        const struct node *at = settings_place(o->s, "routers", from->name, NULL);
        struct router *r = make(o, sizeof *r);
        char where[192], file[PATH_MAX], found[PATH_MAX], why[1024];
        char *path;
        int n;

        if (!r)
                return;
        (void)snprintf(where, sizeof where, "routers.%.120s.plugin", from->name);
        n = snprintf(file, sizeof file, "%s%s%s", strchr(from->plugin, '/') && *from->plugin != '/' ? o->s->base : "",
                     strchr(from->plugin, '/') && *from->plugin != '/' ? "/" : "", from->plugin);
        if ((size_t)n >= sizeof file || loader_find(file, o->folders, o->n_folders, found, sizeof found) < 0) {
                no_plugin(o, from->plugin, settings_place(o->s, "routers", from->name, "plugin"), where);
                return;
        }
        if (loader_open(found, &r->plugin, why, sizeof why) < 0) {
                problems_add(o->problems, settings_place(o->s, "routers", from->name, "plugin"), where, "%s", why);
                return;
        }
        if (arena_defer(&o->g->arena, free_plugin, r->plugin) < 0) {
                problems_add(o->problems, at, where, "out of memory");
                return;
        }
        path = arena_printf(&o->g->arena, "routers.%.120s", from->name);
        r->name = loader_name(from->name);
        if (!r->name) {
                problems_add(o->problems, at, where, "out of memory");
                return;
        }
        r->table = r->plugin->router;
        r->self = make(o, r->table->self_size);
        if (!r->self)
                return;
        r->pool.max = (size_t)o->s->pool.queue;
        if (fill_and_open(o, r, map, at, path ? path : "routers"))
                o->g->routers[o->g->n_routers++] = r;
}

void routers_open(struct generation *g, const struct settings *s, struct problems *p)
{
        struct opener o = { .g = g, .s = s, .problems = p };

        o.expert_names = make(&o, (s->experts.n + 1) * sizeof *o.expert_names);
        g->routers = make(&o, (s->routers.n + 1) * sizeof *g->routers);
        if (!o.expert_names || !g->routers)
                return;
        for (size_t i = 0; i < s->experts.n; i++) {
                const char *name = SETTINGS_AT(s->experts, struct expert_settings, i).name;

                o.expert_names[i] = name ? name : "";
        }
        find_folders(&o);
        for (size_t i = 0; i < s->routers.n; i++) {
                const struct router_settings *r = &SETTINGS_AT(s->routers, struct router_settings, i);

                if (r->name && r->plugin)
                        open_router(&o, r);
        }
}
