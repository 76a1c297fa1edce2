/* SPDX-License-Identifier: Apache-2.0 */
#include "descriptors.h"

#include <dirent.h>
#include <sys/resource.h>

#include "config.h"
#include "log.h"
#include "settings.h"

#include "base.h"

enum {
        FOR_PROCESS = 64,   /* the administrator's connections, a reload's child and files */
        FOR_WORKER = 16,    /* its loop, inbox, clock, name server */
        FOR_CLUSTER = 32,   /* nodes of a Redis cluster that a worker has come to know */
        AWAY_LEAST = 4,
        AWAY_MOST = 64
};

void descriptors_raise(void)
{
        struct rlimit files;

        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
                files.rlim_cur = files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &files);
        }
}

/* Open now: what we were started with, and what the configuration's routers hold. */
static unsigned open_now(void)
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        while (d && readdir(d))
                n++;
        if (d)
                (void)closedir(d);
        return n ? n : 16;
}

struct descriptors descriptors_share(const struct generation *g, unsigned workers)
{
        const struct redis_settings *redis = &g->cache->redis;
        struct rlimit files = { .rlim_cur = 1024 };
        struct descriptors d = { .limit = UINT_MAX, .clients = UINT_MAX, .away = AWAY_MOST };
        uint64_t worker = FOR_WORKER + g->n_listeners + redis->servers.n + (redis->mode == REDIS_IS_CLUSTER ? FOR_CLUSTER : 0), left;

        d.kept = open_now() + FOR_PROCESS + (unsigned)worker * workers;
        if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY || files.rlim_cur > UINT_MAX / 2)
                return d;
        d.limit = (unsigned)files.rlim_cur;
        left = (d.limit > d.kept ? d.limit - d.kept : 0) / workers;
        d.away = (unsigned)MIN(MAX(left / 8, AWAY_LEAST), AWAY_MOST);
        d.clients = left > d.away + 2 ? (unsigned)(left - d.away) / 2 : 1;
        return d;
}

void descriptors_say(const struct descriptors *d, const struct generation *g, unsigned workers)
{
        if (g->limits.connections <= d->clients)
                return;
        log_msg(NULL, PM_WARN, "limits.connections is %" PRId64 " for each of %u workers, which needs %" PRId64 " file descriptors for clients and experts; the process may open %u, of which %u are reserved: a worker accepts %u clients, further ones get 503.  Raise the limit (ulimit -n, LimitNOFILE=) or lower limits.connections",
                g->limits.connections, workers, 2 * g->limits.connections * workers, d->limit, d->kept + d->away * workers, d->clients);
}
