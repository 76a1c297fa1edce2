/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - a configuration file's sections as structs, filled from one table of options.
 *
 * This is the file's side of a generation: texts and numbers as they were written, and nothing built from them.  config.c reads
 * them, generation.c builds from them.  Everything lies in the generation's arena.  Main thread.
 */
#ifndef PM_SETTINGS_H
#define PM_SETTINGS_H

#include <stdio.h>

#include "arena.h"
#include "limit.h"
#include "options.h"

struct redis_config;

struct tls_settings {
        const char *certificate, *key, *ciphers;
        int64_t min_version; /* 0: 1.2, 1: 1.3 */
};

struct listen_settings {
        const char *address;
        struct tls_settings tls;
};

struct admin_settings {
        const char *address, *token;
};

struct pool_settings {
        int64_t threads, queue;
};

struct log_settings {
        int64_t level, format; /* from 0, in the order of the choices */
        int requests;
};

struct cors_settings {
        struct pm_strs origins;
        int64_t max_age;
};

struct breaker_settings {
        int64_t failures, open_time;
};

enum settings_transport { TRANSPORT_AUTO, TRANSPORT_PLAIN, TRANSPORT_CURL };

struct expert_settings {
        const char *name, *model, *key, *ca, *proxy;
        struct pm_strs endpoints, headers, apis, drop;
        int64_t context;
        double price_in, price_out;
        int64_t transport; /* enum settings_transport */
        int64_t usage;     /* enum expert_usage */
        int64_t connect_time, first_token_time, answer_time, idle_time, retries, in_flight;
        int64_t idle_connections, keepalive_time, ack_time;
        struct breaker_settings breaker;
};

/* The router's own options stand in the same map and are filled from its plugin's table. */
struct router_settings {
        const char *name, *plugin;
};

enum cache_levels { CACHE_LEVELS_AUTO, CACHE_LEVELS_OFF, CACHE_LEVELS_LOCAL, CACHE_LEVELS_SHARED };
enum cache_share { SHARE_TENANT, SHARE_ALL };

struct route_cache_settings {
        int64_t decisions, share; /* enum cache_levels, enum cache_share */
        int64_t time, pin, answers, answer_size;
};

struct route_settings {
        const char *name, *preset;
        struct pm_strs routers, experts;
        int64_t deadline, fallbacks;
        struct route_cache_settings cache;
};

enum { REDIS_IS_SINGLE, REDIS_IS_SENTINEL, REDIS_IS_CLUSTER };

struct redis_settings {
        struct pm_strs servers; /* none: there is no Redis */
        int64_t mode;           /* REDIS_IS_... */
        const char *master, *user, *password, *sentinel_user, *sentinel_password, *prefix;
        int64_t database, timeout, connect_time, failures, open_time, waiting, reply;
};

struct feedback_settings {
        const char *file;           /* NULL: events are not written down */
        int64_t keep, time, memory; /* items of a user, milliseconds, bytes */
};

struct cache_settings {
        int64_t memory, pins, answers, vectors, responses; /* bytes */
        int64_t responses_time; /* milliseconds */
        struct redis_settings redis;
};

struct embedder_settings {
        const char *name, *model, *expert, *path; /* model or expert */
        int64_t dim, keep, text;
};

struct tenant_settings {
        const char *name;
        struct pm_strs keys, key_hashes, experts, routes;
        int64_t in_flight;
};

struct settings {
        struct pm_tables listen;    /* struct listen_settings, at least one */
        struct admin_settings admin;
        int open;
        struct pm_strs hosts;
        struct cors_settings cors;
        int64_t workers, watchdog;
        struct pool_settings pool;
        struct limits limits;
        struct log_settings log;
        struct pm_tables experts;   /* struct expert_settings */
        struct pm_tables routers;   /* struct router_settings */
        struct pm_strs plugin_dirs;
        struct pm_tables routes;    /* struct route_settings, at least one */
        struct pm_tables embedders; /* struct embedder_settings */
        struct pm_tables tenants;   /* struct tenant_settings */
        struct cache_settings cache;
        struct feedback_settings feedback;

        /* not in the table */
        const char *file, *base;    /* `base`: the folder that relative paths are read from */
        struct node *tree;          /* the root map */
};

extern const struct pm_option settings_table[];

/*
 * Fills a struct in the arena from a file's tree (a map, or NODE_NULL).  Short forms are written out first: `listen` as a text or
 * as one map, the route `auto` where there is none.  Mistakes are added to p, and entries that had one may have NULL names and
 * zeroes.  NULL: no memory, which is in p as well.
 */
struct settings *settings_fill(struct node *tree, const char *base, struct arena *a, struct problems *p);

/* The i-th entry of a section. */
#define SETTINGS_AT(tables, T, i) (((T *)(tables).items)[i])

/* Where something stands, for messages; the nearest place that is known if it does not.  name and key may be NULL. */
const struct node *settings_place(const struct settings *s, const char *section, const char *name, const char *key);
/* The same for the i-th text of a list; a text alone is its own first. */
const struct node *settings_item(const struct settings *s, const char *section, const char *name, const char *key, size_t i);

/* As redis.h wants them; pointers go into s. */
struct redis_config settings_redis(const struct redis_settings *s);

/* Everything that can be found wrong without opening a router: names, references, addresses, URLs, files.  settings_check.c */
void settings_check(const struct settings *s, struct arena *a, struct problems *p);
#endif
