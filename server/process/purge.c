/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message goes to each worker and comes back with a number; meanwhile Redis is swept, one kind after another.  Messages that are under
 * way hold this together: the last of all that is awaited frees it.
 */
#include "purge.h"

#include <event2/event.h>

#include "cache.h"
#include "config.h"
#include "gateway.h"
#include "inbox.h"
#include "keyscan.h"
#include "lru.h"
#include "settings.h"
#include "shared_cache.h"
#include "worker.h"

#include "base.h"

enum { PREFIX_MAX = 300, KINDS_MAX = 7 };

struct visit {
        struct message m;
        struct purge *f;
        size_t removed;
};

struct purge {
        struct event_base *base;
        struct inbox *home;
        void (*done)(void *arg, const struct purged *what); /* NULL: cancelled */
        void *arg;
        struct generation *generation;    /* the settings of its Redis */
        char kinds[KINDS_MAX + 1], prefix[PREFIX_MAX + 1];
        unsigned awaited;                 /* messages under way, and one for Redis */
        size_t kind;                      /* that Redis is swept for */
        struct keyscan sweep;
        bool sweeping;
        struct purged sum;
        struct visit callouts[];
};

static void came_back(struct purge *f)
{
        if (--f->awaited)
                return;
        if (f->done)
                f->done(f->arg, &f->sum);
        generation_release(f->generation);
        free(f);
}

static struct pm_str beginning(const struct purge *f, size_t kind, char *out, size_t size)
{
        int n = snprintf(out, size, "%c|%s", f->kinds[kind], f->prefix);

        return (struct pm_str){ out, (size_t)n };
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static void on_back(struct message *m, void *owner)
{
        struct visit *e = CONTAINER_OF(m, struct visit, m);

        (void)owner;
        e->f->sum.memory += e->removed;
        came_back(e->f);
}

static void on_worker(struct message *m, void *owner)
{
        struct visit *e = CONTAINER_OF(m, struct visit, m);
        struct worker *w = owner;
        char text[PREFIX_MAX + 3];

        for (size_t i = 0; i < strlen(e->f->kinds); i++) {
                struct pm_str key = beginning(e->f, i, text, sizeof text);

                e->removed += lru_remove_prefix(cache_decisions(w->cache), key) + lru_remove_prefix(cache_answers(w->cache), key) +
                              lru_remove_prefix(cache_vectors(w->cache), key);
        }
        cache_publish(w->cache);
        m->deliver = on_back;
        inbox_post(e->f->home, m);
}

/* ---- Redis --------------------------------------------------------------------------------------------------------------- */

static void sweep_next(struct purge *f);

static void on_swept(struct keyscan *s, const char *why)
{
        struct purge *f = CONTAINER_OF(s, struct purge, sweep);

        f->sum.redis += s->removed;
        f->sum.why = why;
        keyscan_finish(s);
        f->sweeping = false;
        if (why || !f->kinds[++f->kind])
                came_back(f);
        else
                sweep_next(f);
}

static void sweep_next(struct purge *f)
{
        char text[PREFIX_MAX + 3];
        int e;

        f->sweep = (struct keyscan){ .remove = true, .end = on_swept };
        f->sweeping = true;
        e = keyscan_begin(&f->sweep, f->base, &f->generation->cache->redis, beginning(f, f->kind, text, sizeof text));
        if (e == 0)
                return;
        keyscan_finish(&f->sweep);
        f->sweeping = false;
        f->sum.why = e == -ENOENT ? NULL : e == -EINVAL ? "the prefix is too long for a pattern" : "out of memory";
        came_back(f);
}

int purge_begin(struct gateway *g, struct event_base *base, const char *kinds, const char *prefix,
                void (*done)(void *arg, const struct purged *what), void *arg, struct purge **ret)
{
        unsigned n;
        struct worker **workers = gateway_workers(g, &n);
        struct purge *f;

        if (strlen(prefix) > PREFIX_MAX || strlen(kinds) > KINDS_MAX)
                return -EINVAL;
        f = calloc(1, sizeof *f + n * sizeof f->callouts[0]);
        if (!f)
                return -ENOMEM;
        f->base = base;
        f->home = gateway_inbox(g);
        f->done = done;
        f->arg = arg;
        f->generation = generation_take(gateway_generation(g));
        memcpy(f->kinds, kinds, strlen(kinds));
        memcpy(f->prefix, prefix, strlen(prefix));
        f->awaited = n + 2; /* one for Redis, one for this call */
        for (size_t i = 0; kinds[i]; i++) {
                char text[PREFIX_MAX + 3];

                for (int c = 0; c < SHARED_CACHES; c++)
                        f->sum.memory += shared_cache_remove_prefix((enum shared_cache)c, beginning(f, i, text, sizeof text));
        }
        for (unsigned i = 0; i < n; i++) {
                f->callouts[i] = (struct visit){ .m = { .deliver = on_worker }, .f = f };
                inbox_post(&workers[i]->loop.inbox, &f->callouts[i].m);
        }
        *ret = f;
        sweep_next(f);
        came_back(f);
        return 0;
}

void purge_cancel(struct purge *f)
{
        f->done = NULL;
        if (!f->sweeping)
                return;
        keyscan_finish(&f->sweep);
        f->sweeping = false;
        came_back(f);
}
