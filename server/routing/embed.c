/* SPDX-License-Identifier: Apache-2.0 */
/* A backend gets one request per text. */
#include "embed.h"

#include "base.h"
#include "config.h"
#include "embed_model.h"
#include "embedding.h"
#include "expert.h"
#include "settings.h"

enum { REPLY_MAX = 4 << 20 };

/* ---- a model in the process ---------------------------------------------------------------------------------------------- */

static void run_model(struct embed *e, struct worker *w, struct arena *a, const struct embed_model *m)
{
        float *out = arena_alloc(a, embed_model_dim(m) * sizeof *out);
        int r = out ? embed_model_run(m, w->loop.id, e->text, out, NULL) : -ENOMEM;

        e->done = true;
        if (r == 0) {
                e->vector = out;
                e->dim = embed_model_dim(m);
                return;
        }
        e->status = r == -ENOMEM ? PM_EBUSY : PM_EINVAL;
        (void)snprintf(e->error, sizeof e->error, r == -ENOMEM ? "out of memory for a vector" : "the model has numbers that are not finite");
}

/* ---- a backend ----------------------------------------------------------------------------------------------------------- */

static void failed(struct embed *e, int status, const char *fmt, ...) PRINTF(3, 4);
static void failed(struct embed *e, int status, const char *fmt, ...)
{
        va_list args;

        e->status = status;
        e->vector = NULL;
        e->dim = 0;
        va_start(args, fmt);
        (void)vsnprintf(e->error, sizeof e->error, fmt, args);
        va_end(args);
}

static bool dim_ok(struct embed *e)
{
        return e->embedder->dim == 0 || (int64_t)e->dim == e->embedder->dim;
}

/* A vector that was kept, floats as they lie in memory (little-endian, as everywhere that this runs). */
static bool take_kept(struct embed *e, struct pm_str value)
{
        float *copy = value.n && value.n % sizeof(float) == 0 ? arena_alloc(e->lookup.arena, value.n) : NULL;

        if (!copy)
                return false;
        memcpy(copy, value.p, value.n);
        e->vector = copy;
        e->dim = value.n / sizeof(float);
        for (size_t i = 0; i < e->dim; i++)
                if (!__builtin_isfinite(copy[i]))
                        return false;
        return dim_ok(e);
}

static void read_answer(struct embed *e)
{
        const struct exchange *a = &e->ask;

        if (a->status != PM_OK)
                failed(e, a->status, "%s", a->error);
        else if (embedding_read(a->reply, a->arena, &e->vector, &e->dim) < 0)
                failed(e, PM_EINVAL, "'%s' did not answer with an embedding", a->expert->name);
        else if (!dim_ok(e))
                failed(e, PM_EINVAL, "'%s' answered with %zu dimensions, embedders.%s.dim says %" PRId64, a->expert->name, e->dim,
                       e->embedder->name, e->embedder->dim);
        if (e->lookup.key.local.p)
                lookup_done(&e->lookup, (struct pm_str){ (const char *)e->vector, e->dim * sizeof(float) }, e->embedder->keep_ms);
}

static void ask_backend(struct embed *e)
{
        const struct expert *x = e->embedder->expert;
        struct arena *a = e->lookup.arena;
        struct pm_str body = embedding_ask(x->model, e->text, a);

        e->asked = true;
        if (!body.p) {
                failed(e, PM_ETOOBIG, "out of memory for a text of %zu bytes", e->text.n);
                if (e->lookup.key.local.p)
                        lookup_done(&e->lookup, (struct pm_str){ 0 }, 0);
                e->done = true;
                return;
        }
        exchange_start(&e->ask, e->worker, a, &e->wake, e->embedder->expert, e->embedder->path, body, e->timeout_ms, REPLY_MAX);
}

/* On as far as it goes now. */
static void advance(struct embed *e, enum lookup_state state)
{
        if (state == LOOKUP_FOUND && take_kept(e, e->lookup.value)) {
                e->done = true;
                return;
        }
        if (state == LOOKUP_COMPUTE || state == LOOKUP_FOUND)
                ask_backend(e);
}

static void on_news(void *arg)
{
        struct embed *e = arg;

        if (e->done)
                return;
        if (!e->asked) {
                advance(e, lookup_state(&e->lookup));
        } else if (e->ask.done) {
                read_answer(e);
                e->done = true;
        }
        if (e->done)
                loop_wake(e->lookup.loop, e->owner);
}

/* Not the endpoint: a model that answers from another place is the same model. */
static bool make_key(struct embed *e, const struct generation *g)
{
        struct cache *c = e->lookup.cache;
        const char *model = e->embedder->expert->model;

        cache_sum_begin(c);
        cache_sum_text(c, (struct pm_str){ model, strlen(model) });
        cache_sum_text(c, (struct pm_str){ e->embedder->path, strlen(e->embedder->path) });
        cache_sum_bytes(c, &e->embedder->dim, sizeof e->embedder->dim);
        cache_sum_text(c, e->text);
        return cache_sum_key_named(c, g, CACHE_KEY_VECTOR, "*", e->embedder->name, e->lookup.arena, &e->lookup.key);
}

bool embed_start(struct embed *e, struct worker *w, struct arena *arena, struct wake *owner, const struct generation *g,
                 const struct embedder *by, struct pm_str text, int64_t timeout_ms)
{
        *e = (struct embed){ .owner = owner, .embedder = by, .text = text, .timeout_ms = timeout_ms };
        e->wake = (struct wake){ .fn = on_news, .arg = e };
        e->lookup = (struct lookup){ .loop = &w->loop, .cache = w->cache, .arena = arena, .owner = &e->wake, .of = METRICS_CACHE_VECTORS };
        e->worker = w;
        if (by->model) {
                run_model(e, w, arena, by->model);
                return true;
        }
        e->lookup.store_us = MIN(g->cache->redis.timeout, timeout_ms) * 1000;
        if (by->keep_ms && make_key(e, g))
                advance(e, lookup_begin(&e->lookup));
        else
                ask_backend(e);
        return e->done;
}

void embed_cancel(struct embed *e)
{
        if (!e->lookup.loop)
                return;
        loop_unwake(e->lookup.loop, e->owner);
        lookup_cancel(&e->lookup);
        exchange_cancel(&e->ask); /* takes e->wake off too */
        e->done = true;
}
