/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - from a file's name to a router's table that is safe to use.  Main thread, but for what says whose code runs.
 */
#ifndef PM_LOADER_H
#define PM_LOADER_H

#include <stddef.h>

#include "pm_router.h"

/* A plugin that was accepted.  Its code stays in the process for ever: nothing is unloaded. */
struct plugin {
        const char *file;
        const struct pm_router *router; /* of this host's size: a shorter, older table is extended by zeros */
};

/*
 * Opens a plugin and checks its table: version, name, options, that it routes or recommends.  0, -ENOENT (no such file),
 * -ENOEXEC (no plugin, or one for another ABI) or -EINVAL (its table is broken), then `why` is a sentence that names the file and
 * says what was found and what would be right.  The same file may be opened again, for the next generation.
 */
int loader_open(const char *file, struct plugin **ret, char *why, size_t n);

/* The record, not the code: what the table points to stays.  NULL is fine. */
void loader_free(struct plugin *p);

/*
 * Where a plugin of the configuration lies: `name` itself if it has a '/', else the first of <dir>/<name>.so (or <dir>/<name>, if
 * it ends in .so) that exists.  0, -ENOENT or -ENAMETOOLONG.
 */
int loader_find(const char *name, const char *const *dirs, size_t n_dirs, char *out, size_t size);

/*
 * Whose code does this thread run?  Every call into a router stands between loader_enter() and loader_leave(), which gets what
 * enter returned: a deferred function may run inside a step.  `router` is the name in the configuration, as loader_name() keeps it;
 * `call` a literal that reads well after "in": "a step", "observe".  Each thread has its own record; loader_running_now()
 * may be called from a signal handler, and another thread may read the record as long as this one lives.
 */
struct loader_running {
        _Atomic(const char *) router, call; /* NULL: none of a router's code */
        _Atomic unsigned entered;           /* how often */
};

struct loader_call {
        const char *router, *call;
};

struct loader_call loader_enter(const char *router, const char *call);
void loader_leave(struct loader_call before);
const struct loader_running *loader_running_now(void);
/* The same text, kept for the life of the process, because the watchdog may read it a moment too late.  NULL: no memory. */
const char *loader_name(const char *name);
#endif
