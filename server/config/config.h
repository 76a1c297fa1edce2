/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - a configuration file into a generation.
 *
 * A generation is a configuration and all that was built from it: experts, routers with their open models, routes, tenants.
 * It is immutable once loaded.  Requests hold it while they run; the last release of a replaced one hands it back to the main
 * thread, which closes its routers and frees it.
 */
#ifndef PM_CONFIG_H
#define PM_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "limit.h"
#include "listen.h"
#include "names.h"
#include "options.h"
#include "pool.h"
#include "sha256.h"

struct cache_settings;
struct embed_model;
struct expert;
struct feedback_settings;
struct settings;
struct stage;
struct tenants;
struct plugin;

/* One loaded router. */
struct router {
        const char *name;              /* the instance's, as in the file */
        const struct pm_router *table; /* host-sized copy, from loader.h */
        struct plugin *plugin;
        void *self;
        struct pool_customer pool;
        unsigned char fingerprint[32]; /* of its code, options and files: fingerprint.h */
        const char **read_headers;     /* named by its open(); counts if its table says PM_READS_HEADERS */
        size_t n_read_headers;
        bool insists;                  /* some of its decisions are for one expert and no other, as its open() has said */
        int metric;
};

/* How a route's decisions and answers are cached. */
struct route_cache {
        int64_t levels;           /* enum cache_levels */
        bool share_all;           /* tenants use each other's */
        int64_t time_ms, pin_ms;  /* pin_ms 0: no pins */
        int64_t answers_ms, answer_size; /* answers_ms 0: none are kept */
        size_t n_routers;         /* decisions of the first so many may be kept: these say what they read */
        unsigned reads;           /* what they read, enum pm_reads or'ed */
        const char **headers;     /* and which headers */
        size_t n_headers;
        unsigned char fingerprint[32], answers_fingerprint[32]; /* of what else decisions and answers depend on */
};

/* What a client may ask for as `model` and be routed. */
struct route {
        const char *name;
        struct router **routers; /* asked in this order */
        size_t n_routers;
        struct expert **experts; /* candidates */
        size_t n_experts;
        struct expert *preset;   /* `default`: when no router decides */
        int64_t deadline_ms;
        int64_t fallbacks;       /* at most so many */
        bool insists;            /* some router may decide for one expert and no other, against pins, too */
        bool reads_messages;     /* some router wants more of a conversation than its last user message */
        struct route_cache cache;
        int metric;
};

/* A name that pm_embed knows. */
struct embedder {
        const char *name;
        struct expert *expert;
        const char *path; /* below the endpoint's base */
        int64_t dim;      /* 0: as it comes */
        int64_t keep_ms;  /* 0: vectors are not kept */
        struct embed_model *model; /* in the process; NULL: the expert */
        unsigned char fingerprint[32]; /* of the model's files */
};

struct generation {
        struct arena arena;
        _Atomic int64_t holders;                 /* requests, workers, the gateway */
        void (*retired)(struct generation *g, void *arg); /* called by the last release, on any thread */
        void *retired_arg;

        uint64_t number;       /* 1, 2, ... */
        char digest[SHA256_HEX]; /* SHA-256 of the file's text, hex */
        const char *file, *base;
        int64_t loaded_at;     /* seconds since 1970 */

        struct listener *listeners;
        size_t n_listeners;
        struct listener admin; /* address NULL: none */
        const char *admin_token;
        bool open;
        int64_t workers, pool_threads, pool_queue;
        int64_t watchdog; /* milliseconds, 0: never */
        struct limits limits;
        int64_t log_level, log_format; /* enum pm_level, enum log_format */
        bool log_requests;

        struct expert **experts;
        size_t n_experts;
        struct router **routers;
        size_t n_routers;
        struct route **routes;
        size_t n_routes;
        struct embedder **embedders;
        size_t n_embedders;
        struct tenants *tenants; /* NULL: no keys are needed */
        const struct stage *const *stages; /* what requests and answers go through, in this order: request/stages.h */
        size_t n_stages;
        const struct settings *settings; /* the file's side, for config_to_json() */
        const struct cache_settings *cache; /* of these */
        const struct feedback_settings *feedback;
        struct names expert_names, router_names, route_names, embedder_names; /* of the arrays above */
};

/*
 * Reads, checks and builds everything, routers opened, nothing listened on; the caller is its first holder.  On failure *ret is untouched, -EINVAL is returned
 * and p has every mistake; -errno with one entry in p if the file could not be read.  Main thread; may take long.
 */
int generation_load(const char *file, uint64_t number, struct problems *p, struct generation **ret);

static inline struct generation *generation_take(struct generation *g)
{
        atomic_fetch_add_explicit(&g->holders, 1, memory_order_relaxed);
        return g;
}
/* Any thread.  The last one calls g->retired, which must bring it to the main thread and generation_destroy() there.  If nobody
 * has set it, the caller must be the main thread, and it is destroyed at once. */
void generation_release(struct generation *g);
void generation_destroy(struct generation *g); /* main thread: closes routers, last first, and frees; NULL is fine */

/* NULL: not there. */
struct expert *generation_expert(const struct generation *g, struct pm_str name);
struct router *generation_router(const struct generation *g, struct pm_str name);
struct route *generation_route(const struct generation *g, struct pm_str name);
struct embedder *generation_embedder(const struct generation *g, const char *name);
struct embedder *generation_embedder_named(const struct generation *g, struct pm_str name);

/*
 * A file's text into settings, checked as far as that goes without plugins: nothing is opened, nothing outside of the arena
 * changes.  NULL: there is no tree to speak of, and p says why; else look at p.  `base`: the folder of relative paths.
 */
struct settings *config_parse(const char *text, size_t n, const char *file, const char *base, struct arena *a, struct problems *p);

/* The same from a file, with its folder as base.  0; -errno with an entry in p if it cannot be read, -EINVAL if there is no tree to speak
 * of; else look at p.  digest: of its text, in hex; may be NULL. */
int config_load(const char *file, struct arena *a, struct problems *p, char digest[SHA256_HEX], struct settings **ret);

/* The reference of all sections, Markdown. */
void config_describe(FILE *out);
/* The configuration in force as JSON, with presets; secrets are "***", what came from the environment is shown as the ${NAME}
 * that stands in the file.  Heap string, or NULL. */
char *config_to_json(const struct generation *g);
#endif
