/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a plugin: find the file, open it without giving it any symbol of ours, ask for its table, and believe nothing of it
 * that has not been checked.
 *
 * The first release of a major version fixes the smallest table (ROUTER_1_0_SIZE).  Tables grow at the end only, so an older
 * plugin's table is a prefix of ours: it is copied into one of our size, and what it did not know is zero, which means "absent".
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "loader.h"
#include "loader_file.h"
#include "options.h"

#include "base.h"

#define ROUTER_1_0_SIZE (offsetof(struct pm_router, observe) + sizeof(void *))
#define SELF_SIZE_MAX ((size_t)64 << 20)

struct loaded {
        struct plugin plugin;
        struct pm_router table;
        char file[];
};

static PRINTF(4, 5) int refuse(int error, char *why, size_t n, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(why, n, fmt, args);
        va_end(args);
        return error;
}

/* Lower case, digits, '-' and '_': the name becomes a metric's label and a word in log lines. */
static bool is_name(const char *name)
{
        size_t n = name ? strlen(name) : 0;

        return n > 0 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n;
}

static int check_version(const char *file, const struct pm_router *t, char *why, size_t n)
{
        if (t->major != PM_ABI_MAJOR)
                return refuse(-ENOEXEC, why, n, "plugin '%s' is built for ABI %u.%u, and this host has %d.%d: build it with this "
                              "version's pm_router.h", file, t->major, t->minor, PM_ABI_MAJOR, PM_ABI_MINOR);
        if (t->minor > PM_ABI_MINOR)
                return refuse(-ENOEXEC, why, n, "plugin '%s' needs ABI %u.%u or newer, and this host has %d.%d: update the host, or "
                              "build the plugin with this version's pm_router.h", file, t->major, t->minor, PM_ABI_MAJOR,
                              PM_ABI_MINOR);
        if (t->size < ROUTER_1_0_SIZE || t->size > sizeof *t)
                return refuse(-ENOEXEC, why, n, "plugin '%s' has a table of %u bytes, where ABI %u.%u has %zu..%zu: export it with "
                              "PM_ROUTER()", file, t->size, t->major, t->minor, ROUTER_1_0_SIZE, sizeof *t);
        return 0;
}

static int check_table(const char *file, const struct pm_router *t, char *why, size_t n)
{
        const char *bad;

        if (!is_name(t->name))
                return refuse(-EINVAL, why, n, "plugin '%s' names its router '%.64s': a name has 1..64 of a-z, 0-9, '-' and '_'", file,
                              t->name ? t->name : "");
        if (!t->version || !*t->version)
                return refuse(-EINVAL, why, n, "plugin '%s': router '%s' has no .version", file, t->name);
        if (!t->route && !t->recommend)
                return refuse(-EINVAL, why, n, "plugin '%s': router '%s' has neither .route nor .recommend, so it could answer "
                              "nothing", file, t->name);
        if (t->self_size > SELF_SIZE_MAX)
                return refuse(-EINVAL, why, n, "plugin '%s': router '%s' has a .self_size of %zu bytes, above the limit of %zu", file,
                              t->name, t->self_size, SELF_SIZE_MAX);
        bad = options_check_table(t->options, t->self_size);
        if (bad)
                return refuse(-EINVAL, why, n, "plugin '%s': router '%s' has a broken table of options: %s", file, t->name, bad);
        return 0;
}

static int find_entry(const char *file, pm_router_entry **ret, char *why, size_t n)
{
        void *handle, *symbol;
        char what[256];
        int r;

        r = loader_check_file(file, what, sizeof what);
        if (r < 0)
                return refuse(r, why, n, "cannot load plugin '%s': %s", file, what);
        errno = 0;
        handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (!handle && errno == ENOMEM) /* which its own words leave out */
                return refuse(-ENOMEM, why, n, "cannot load plugin '%s': out of memory", file);
        if (!handle)
                return refuse(-ENOEXEC, why, n, "cannot load plugin '%s': %s", file, dlerror());
        symbol = dlsym(handle, "pm_router_table");
        if (!symbol)
                return refuse(-ENOEXEC, why, n, "plugin '%s' is a library but no router: it does not export pm_router_table, which "
                              "PM_ROUTER() writes", file);
        memcpy(ret, &symbol, sizeof symbol); /* C has no cast from an object's to a function's pointer */
        return 0;
}

/* dlopen() searches the system's folders for a name without '/': give it one. */
static int with_slash(const char *file, char *out, size_t size)
{
        int n = snprintf(out, size, "%s%s", strchr(file, '/') ? "" : "./", file);

        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int loader_open(const char *file, struct plugin **ret, char *why, size_t n)
{
        CLEANUP(free_p) struct loaded *o = NULL;
        const struct pm_router *theirs;
        pm_router_entry *entry = NULL;
        char path[PATH_MAX];
        int r;

        if (with_slash(file, path, sizeof path) < 0)
                return refuse(-ENAMETOOLONG, why, n, "cannot open plugin '%.64s...': the name is longer than %d bytes", file, PATH_MAX);
        r = find_entry(path, &entry, why, n);
        if (r < 0)
                return r;
        theirs = entry();
        if (!theirs)
                return refuse(-EINVAL, why, n, "plugin '%s' returned no table from pm_router_table()", path);
        r = check_version(path, theirs, why, n);
        if (r < 0)
                return r;
        o = calloc(1, sizeof *o + strlen(path) + 1);
        if (!o)
                return refuse(-ENOMEM, why, n, "cannot open plugin '%s': out of memory", path);
        memcpy(&o->table, theirs, theirs->size);
        r = check_table(path, &o->table, why, n);
        if (r < 0)
                return r;
        memcpy(o->file, path, strlen(path) + 1);
        o->plugin = (struct plugin){ .file = o->file, .router = &o->table };
        *ret = &TAKE(o)->plugin;
        return 0;
}

void loader_free(struct plugin *p)
{
        if (p)
                free(CONTAINER_OF(p, struct loaded, plugin));
}

int loader_find(const char *name, const char *const *dirs, size_t n_dirs, char *out, size_t size)
{
        size_t length = strlen(name);
        bool whole = length > 3 && strcmp(name + length - 3, ".so") == 0;
        int n;

        if (length == 0)
                return -ENOENT;
        if (strchr(name, '/')) {
                if (length >= size)
                        return -ENAMETOOLONG;
                memcpy(out, name, length + 1);
                return 0;
        }
        for (size_t i = 0; i < n_dirs; i++) {
                n = snprintf(out, size, "%s/%s%s", dirs[i], name, whole ? "" : ".so");
                if (n < 0 || (size_t)n >= size)
                        return -ENAMETOOLONG;
                if (access(out, F_OK) == 0)
                        return 0;
        }
        return -ENOENT;
}

/* Atomic also for a handler on the same thread, which must see the write that precedes the crashing call. */
static _Thread_local struct loader_running running;

static void set_running(const char *router, const char *call)
{
        atomic_store_explicit(&running.call, call, memory_order_relaxed);
        atomic_store_explicit(&running.router, router, memory_order_relaxed);
}

struct loader_call loader_enter(const char *router, const char *call)
{
        struct loader_call before = { atomic_load_explicit(&running.router, memory_order_relaxed),
                                      atomic_load_explicit(&running.call, memory_order_relaxed) };

        atomic_store_explicit(&running.entered, atomic_load_explicit(&running.entered, memory_order_relaxed) + 1, memory_order_relaxed);
        set_running(router, call);
        return before;
}

void loader_leave(struct loader_call before)
{
        set_running(before.router, before.call);
}

const struct loader_running *loader_running_now(void)
{
        return &running;
}

struct kept_name {
        struct kept_name *next;
        char text[];
};

const char *loader_name(const char *name)
{
        static struct kept_name *names;
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct kept_name *n;

        pthread_mutex_lock(&lock);
        for (n = names; n && strcmp(n->text, name) != 0;)
                n = n->next;
        if (!n && (n = malloc(sizeof *n + strlen(name) + 1)) != NULL) {
                memcpy(n->text, name, strlen(name) + 1);
                n->next = names;
                names = n;
        }
        pthread_mutex_unlock(&lock);
        return n ? n->text : NULL;
}
