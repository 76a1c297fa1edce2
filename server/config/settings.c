/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of the server's own keys.  It fills the structs, names what is unknown, and is the reference page; presets are
 * such that a file with one expert and its endpoint is complete.
 */
#include "settings.h"

#include "base.h"
#include "redis.h"

#define ROUTERS_MAX 256

static const struct pm_option tls_table[] = {
        PM_PATH_OPTION(struct tls_settings, certificate, "certificate", PM_REQUIRED, NULL,
                       "PEM file: the server's certificate, then the intermediate ones"),
        PM_PATH_OPTION(struct tls_settings, key, "key", PM_REQUIRED, NULL, "PEM file: the certificate's private key, without a passphrase"),
        PM_CHOICE_OPTION(struct tls_settings, min_version, "min_version", "1.2", "1.2|1.3", "older versions of TLS are refused"),
        PM_STR_OPTION(struct tls_settings, ciphers, "ciphers", 0, "ECDHE+AESGCM:ECDHE+CHACHA20",
                      "suites for TLS 1.2, in OpenSSL's words, the server's order counts; those of 1.3 are OpenSSL's"),
        PM_END_OPTION
};

static const struct pm_option listen_table[] = {
        PM_STR_OPTION(struct listen_settings, address, "address", 0, "127.0.0.1:8080",
                      "where clients connect: 127.0.0.1:8080, 0.0.0.0:8080, [::1]:8080; port 0 picks a free one, which the log shows"),
        PM_TABLE_OPTION(struct listen_settings, tls, struct tls_settings, "tls", tls_table, "serve https:// here; without it http://"),
        PM_END_OPTION
};

static const struct pm_option admin_table[] = {
        PM_STR_OPTION(struct admin_settings, address, "address", 0, "127.0.0.1:8081",
                      "where administrators connect: experts and their health, configuration, reload"),
        PM_STR_OPTION(struct admin_settings, token, "token", PM_SECRET, NULL,
                      "bearer token that every request there must show, at least 8 characters, 16 beyond loopback; empty or absent: no such listener"),
        PM_END_OPTION
};

static const struct pm_option pool_table[] = {
        PM_INT_OPTION(struct pool_settings, threads, "threads", "0", 0, 1024, "threads; 0: one for each core"),
        PM_INT_OPTION(struct pool_settings, queue, "queue", "256", 1, 65536,
                      "jobs that may wait, for each router; above it the router is told that it is busy"),
        PM_END_OPTION
};

static const struct pm_option cors_table[] = {
        PM_STRS_OPTION(struct cors_settings, origins, "origins", 0, 0, 256,
                       "origins of pages that may ask from a browser and read the answers: https://app.example, http://localhost:3000; * is any"),
        PM_TIME_OPTION(struct cors_settings, max_age, "max_age", "10m", 0, 24 * 3600000.0, "how long a browser may remember that it may"),
        PM_END_OPTION
};

#define LIMIT_SIZE(field, preset, lo, hi, help) PM_SIZE_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define LIMIT_INT(field, preset, lo, hi, help) PM_INT_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define LIMIT_TIME(field, preset, lo, hi, help) PM_TIME_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define HOUR 3600000.0
#define MIB 1048576.0

static const struct pm_option limits_table[] = {
        LIMIT_SIZE(head, "64KiB", 1024, MIB, "request line and headers together; above it 431"),
        LIMIT_INT(headers, "100", 8, 1000, "number of headers; above it 431"),
        LIMIT_SIZE(body, "8MiB", 1024, 1024 * MIB, "a request's body; above it 413"),
        LIMIT_SIZE(memory, "1GiB", MIB, 1024 * 1024 * MIB,
                   "what all requests hold together: bodies, what was read from them, answers on their way; above it further ones are answered 503"),
        LIMIT_INT(depth, "64", 4, 512, "nesting of a body's JSON; above it 400"),
        LIMIT_INT(messages, "4096", 1, 1000000, "messages of one conversation; above it 400"),
        LIMIT_INT(connections, "8192", 1, 1000000, "clients connected to one worker; further ones are answered 503"),
        LIMIT_TIME(head_time, "10s", 100, HOUR, "time to receive a request's head; after it 408"),
        LIMIT_TIME(body_time, "60s", 100, HOUR, "time to receive a request's body; after it 408"),
        LIMIT_TIME(idle_time, "75s", 100, HOUR, "a connection without a request is closed after this"),
        LIMIT_TIME(write_time, "60s", 100, HOUR, "a client that takes nothing for so long is dropped"),
        LIMIT_TIME(request_time, "10m", 100, 24 * HOUR, "a whole request, its stream included"),
        LIMIT_TIME(drain_time, "30s", 0, 24 * HOUR, "after SIGTERM, running requests may finish within this"),
        LIMIT_SIZE(buffer, "1MiB", 4096, 64 * MIB, "bytes of a relayed answer that may wait for the client, above it reading pauses"),
        LIMIT_SIZE(event, "16MiB", 4096, 256 * MIB,
                   "the longest event of a stream; one that is longer than 'buffer' takes so much memory while it comes"),
        LIMIT_INT(ids, "10000", 1, 1e6, "ids in one list of a recommend request; above it 400"),
        LIMIT_INT(items, "1000", 1, 1e6, "items that a recommend request may ask for; above it 400"),
        PM_END_OPTION
};

static const struct pm_option log_table[] = {
        PM_CHOICE_OPTION(struct log_settings, level, "level", "info", "debug|info|warn|error", "lines below this level are left out"),
        PM_CHOICE_OPTION(struct log_settings, format, "format", "logfmt", "logfmt|json", "one line an event, to standard error"),
        PM_BOOL_OPTION(struct log_settings, requests, "requests", "true", "one line for each request, with the time of each step"),
        PM_END_OPTION
};

static const struct pm_option breaker_table[] = {
        PM_INT_OPTION(struct breaker_settings, failures, "failures", "5", 1, 1000, "failures one after another that close an endpoint's door"),
        PM_TIME_OPTION(struct breaker_settings, open_time, "open_time", "5s", 10, HOUR, "nobody is sent there for so long; then one request tries"),
        PM_END_OPTION
};

#define EXPERT_STR(field, flags, help) PM_STR_OPTION(struct expert_settings, field, #field, flags, NULL, help)
#define EXPERT_TIME(field, preset, help) PM_TIME_OPTION(struct expert_settings, field, #field, preset, 1, 24 * HOUR, help)

static const struct pm_option expert_table[] = {
        PM_KEY_OPTION(struct expert_settings, name),
        PM_STRS_OPTION(struct expert_settings, endpoints, "endpoints", PM_REQUIRED, 1, 64,
                       "base URLs of servers that answer alike, used in turn: http://127.0.0.1:8000/v1, https://host/v1, "
                       "unix:/run/llm.sock:/v1"),
        EXPERT_STR(model, 0, "what the server calls the model; absent: the expert's name"),
        EXPERT_STR(key, PM_SECRET, "sent as Authorization: Bearer; empty or absent: none is sent"),
        PM_STRS_OPTION(struct expert_settings, headers, "headers", PM_SECRET, 0, 32, "headers sent with each request, as 'Name: value'"),
        PM_STRS_OPTION(struct expert_settings, apis, "apis", 0, 0, 4,
                       "what the server answers: chat, completions, responses, embeddings; absent: the first three"),
        PM_STRS_OPTION(struct expert_settings, drop, "drop", 0, 0, 64,
                       "members of clients' bodies that are not sent there, in whatever letters, such as those by which a server lets clients choose "
                       "further models, keys or addresses: models, provider, route, fallbacks, api_base, user_config"),
        PM_INT_OPTION(struct expert_settings, context, "context", "0", 0, 1e9, "tokens that fit into a request; 0: not known"),
        PM_REAL_OPTION(struct expert_settings, price_in, "price_in", "0", 0, 1e6, "USD for a million tokens read"),
        PM_REAL_OPTION(struct expert_settings, price_out, "price_out", "0", 0, 1e6, "USD for a million tokens written"),
        PM_CHOICE_OPTION(struct expert_settings, transport, "transport", "auto", "auto|plain|curl",
                         "auto: http:// goes by plain (least time), https:// and unix: by curl"),
        PM_CHOICE_OPTION(struct expert_settings, usage, "usage", "auto", "auto|always|never",
                         "whether streams are asked for their token counts (stream_options.include_usage) when the client has not: auto does so "
                         "until the server refuses that member, and tries again after an hour"),
        PM_PATH_OPTION(struct expert_settings, ca, "ca", 0, NULL, "PEM file: authorities trusted for https://; absent: the system's"),
        EXPERT_STR(proxy, PM_SECRET, "the way to the server leads through this one: http://host:3128, https://, socks5://, socks5h://; absent: through none, "
                   "whatever http_proxy and ALL_PROXY say"),
        EXPERT_TIME(connect_time, "2s", "time to connect, TLS included"),
        EXPERT_TIME(first_token_time, "15s",
                    "time from then to the first token of a streamed answer (a role or an empty delta is none); after it the next expert is tried"),
        EXPERT_TIME(answer_time, "5m", "time from then to the first byte of an answer that is not streamed; after it the client gets a 504"),
        EXPERT_TIME(idle_time, "30s", "longest silence inside an answer"),
        PM_INT_OPTION(struct expert_settings, idle_connections, "idle_connections", "1024", 0, 100000,
                      "connections of a worker that may rest at one endpoint; as many rest as were needed within the last 55 s; 0: each serves once"),
        PM_TIME_OPTION(struct expert_settings, keepalive_time, "keepalive_time", "15s", 0, HOUR,
                       "a connection on which nothing comes is probed after this, by TCP; 0s: never"),
        PM_TIME_OPTION(struct expert_settings, ack_time, "ack_time", "15s", 0, HOUR,
                       "a server whose machine acknowledges nothing of what was sent for so long is gone; 0s: as long as the system waits"),
        PM_INT_OPTION(struct expert_settings, retries, "retries", "1", 0, 16,
                      "further attempts at this expert, at the next endpoint if there are several, before the fallbacks"),
        PM_INT_OPTION(struct expert_settings, in_flight, "in_flight", "0", 0, 1000000,
                      "requests at once from this gateway; above it the next expert is asked; 0: no limit"),
        PM_TABLE_OPTION(struct expert_settings, breaker, struct breaker_settings, "breaker", breaker_table,
                        "when an endpoint that fails is left alone"),
        PM_END_OPTION
};

static const struct pm_option router_table[] = {
        PM_KEY_OPTION(struct router_settings, name),
        PM_STR_OPTION(struct router_settings, plugin, "plugin", PM_REQUIRED, NULL,
                      "a name, looked for in plugin_dirs, or the path of a .so; the other keys are the plugin's own: "
                      "see `pointsman describe PLUGIN`"),
        PM_END_OPTION
};

#define ROUTE_CACHE_TIME(field, preset, lo, help) PM_TIME_OPTION(struct route_cache_settings, field, #field, preset, lo, 30 * 24 * HOUR, help)

static const struct pm_option route_cache_table[] = {
        PM_CHOICE_OPTION(struct route_cache_settings, decisions, "decisions", "auto", "auto|off|local|shared",
                         "where decisions are kept: local is each worker's memory, shared is that and Redis, auto asks Redis only while computing takes "
                         "longer than asking"),
        ROUTE_CACHE_TIME(time, "1h", 1, "how long a decision is kept; up to a tenth less, at random, so that not all end at once"),
        ROUTE_CACHE_TIME(pin, "30m", 0, "a conversation stays with the expert that was first chosen for sure, for so long after its last request; 0s: each turn is routed anew"),
        PM_CHOICE_OPTION(struct route_cache_settings, share, "share", "tenant", "tenant|all",
                         "whose decisions and answers may be used: only the same tenant's, or everybody's"),
        ROUTE_CACHE_TIME(answers, "0s", 0,
                         "how long whole answers are kept, for chat and completions with temperature 0 and without tools whose body is the same to the "
                         "byte; 0s: never"),
        PM_SIZE_OPTION(struct route_cache_settings, answer_size, "answer_size", "256KiB", 1024, 16 * MIB, "a longer answer is not kept"),
        PM_END_OPTION
};

static const struct pm_option route_table[] = {
        PM_KEY_OPTION(struct route_settings, name),
        PM_STRS_OPTION(struct route_settings, routers, "routers", 0, 0, 64, "asked in this order until one decides; absent: all; []: none"),
        PM_STRS_OPTION(struct route_settings, experts, "experts", 0, 0, 4096, "the candidates; absent: all; []: none"),
        PM_STR_OPTION(struct route_settings, preset, "default", 0, NULL,
                      "the expert when no router decides or the deadline passes; absent: the first candidate"),
        PM_TIME_OPTION(struct route_settings, deadline, "deadline", "250ms", 1, HOUR, "time for all routers together"),
        PM_INT_OPTION(struct route_settings, fallbacks, "fallbacks", "2", 0, 64, "further experts that may be tried when the chosen one fails"),
        PM_TABLE_OPTION(struct route_settings, cache, struct route_cache_settings, "cache", route_cache_table,
                        "what is kept of this route's decisions and answers"),
        PM_END_OPTION
};

static const struct pm_option embedder_table[] = {
        PM_KEY_OPTION(struct embedder_settings, name),
        PM_PATH_OPTION(struct embedder_settings, model, "model", 0, NULL,
                       "a folder in Model2Vec's layout (config.json, tokenizer.json, model.safetensors): the text becomes a vector in the process, "
                       "and clients may name the embedder as a model of /v1/embeddings"),
        PM_STR_OPTION(struct embedder_settings, expert, "expert", 0, NULL, "in place of a model: an expert with embeddings among its apis"),
        PM_STR_OPTION(struct embedder_settings, path, "path", 0, "/embeddings", "expert: below the endpoint's base URL"),
        PM_INT_OPTION(struct embedder_settings, dim, "dim", "0", 0, 65536, "numbers of a vector, others are refused; 0: as it comes"),
        PM_TIME_OPTION(struct embedder_settings, keep, "keep", "24h", 0, 365 * 24 * HOUR,
                       "expert: how long a text's vector is kept, in memory and in Redis; 0s: it is asked for each time"),
        PM_SIZE_OPTION(struct embedder_settings, text, "text", "16KiB", 64, MIB, "model: of a longer text the first and the last half of this is read"),
        PM_END_OPTION
};

#define REDIS_STR(field, flags, preset, help) PM_STR_OPTION(struct redis_settings, field, #field, flags, preset, help)

static const struct pm_option redis_table[] = {
        PM_STRS_OPTION(struct redis_settings, servers, "servers", 0, 0, 64,
                       "redis://host:6379 or unix:/run/redis.sock: the one server, the sentinels, or some nodes of the cluster; absent: no Redis"),
        PM_CHOICE_OPTION(struct redis_settings, mode, "mode", "single", "single|sentinel|cluster", "what the servers are"),
        REDIS_STR(master, 0, NULL, "sentinel: what the sentinels call the master"),
        REDIS_STR(user, 0, NULL, "ACL user; absent: AUTH with the password alone"),
        REDIS_STR(password, PM_SECRET, NULL, "absent: no AUTH"),
        REDIS_STR(sentinel_user, 0, NULL, "ACL user at the sentinels"),
        REDIS_STR(sentinel_password, PM_SECRET, NULL, "password at the sentinels"),
        PM_INT_OPTION(struct redis_settings, database, "database", "0", 0, 1e6, "number of the database; a cluster has only 0"),
        REDIS_STR(prefix, 0, "pointsman:", "before every key"),
        PM_TIME_OPTION(struct redis_settings, timeout, "timeout", "5ms", 1, 10000, "a request waits no longer for Redis; then it goes on without"),
        PM_TIME_OPTION(struct redis_settings, connect_time, "connect_time", "1s", 10, 60000, "time to connect, AUTH and SELECT included"),
        PM_INT_OPTION(struct redis_settings, failures, "failures", "5", 1, 1000, "time-outs and lost connections one after another, after which Redis is left alone"),
        PM_TIME_OPTION(struct redis_settings, open_time, "open_time", "1s", 10, HOUR, "it is left alone for so long; then one command tries"),
        PM_INT_OPTION(struct redis_settings, waiting, "waiting", "4096", 1, 1e6, "commands of one worker under way; above it requests go on without"),
        PM_SIZE_OPTION(struct redis_settings, reply, "reply", "20MiB", 4096, 64 * MIB, "longest reply; a longer one ends the connection"),
        PM_END_OPTION
};

static const struct pm_option cache_table[] = {
        PM_SIZE_OPTION(struct cache_settings, memory, "memory", "16MiB", 0, 64 * 1024 * MIB, "for decisions, in each worker; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, pins, "pins", "16MiB", 0, 64 * 1024 * MIB, "for pins, in the process; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, answers, "answers", "32MiB", 0, 64 * 1024 * MIB,
                       "for answers, in each worker, where a route keeps them; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, vectors, "vectors", "8MiB", 0, 64 * 1024 * MIB,
                       "for vectors that embedders' backends have given, and replies to routers, in each worker; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, responses, "responses", "8MiB", 0, 64 * 1024 * MIB,
                       "for which expert gave a response of /v1/responses, in the process: what goes on from it goes there; 0: it is routed"),
        PM_TIME_OPTION(struct cache_settings, responses_time, "responses_time", "168h", 1000, 365 * 24 * HOUR, "how long that is remembered"),
        PM_TABLE_OPTION(struct cache_settings, redis, struct redis_settings, "redis", redis_table,
                        "what gateways share; without it, or while it is down, each keeps its own"),
        PM_END_OPTION
};

static const struct pm_option feedback_table[] = {
        PM_PATH_OPTION(struct feedback_settings, file, "file", 0, NULL,
                       "where events are appended, one edge a line (user, item, weight, time), for the next training; absent: nowhere"),
        PM_INT_OPTION(struct feedback_settings, keep, "keep", "100", 0, 10000, "a user's last items that count at once in recommendations; 0: none"),
        PM_TIME_OPTION(struct feedback_settings, time, "time", "168h", 1000, 365 * 24 * HOUR, "a user of whom nothing is heard for so long is forgotten"),
        PM_SIZE_OPTION(struct feedback_settings, memory, "memory", "16MiB", 0, 64 * 1024 * MIB, "for all users' last items, in the process"),
        PM_END_OPTION
};

static const struct pm_option tenant_table[] = {
        PM_KEY_OPTION(struct tenant_settings, name),
        PM_STRS_OPTION(struct tenant_settings, keys, "keys", PM_SECRET, 0, 64,
                       "API keys of at least 16 characters; better from the environment: ${ACME_KEY}"),
        PM_STRS_OPTION(struct tenant_settings, key_hashes, "key_hashes", PM_SECRET, 0, 64,
                       "API keys as `pointsman hash-key` prints them: sha256:SALT:HASH"),
        PM_INT_OPTION(struct tenant_settings, in_flight, "in_flight", "0", 0, 1000000, "requests at once; above it 429; 0: no limit"),
        PM_STRS_OPTION(struct tenant_settings, experts, "experts", 0, 0, 4096, "may be used, by name or by a route; absent: all; []: none"),
        PM_STRS_OPTION(struct tenant_settings, routes, "routes", 0, 0, 4096, "may be asked for; absent: all; []: none"),
        PM_END_OPTION
};

const struct pm_option settings_table[] = {
        PM_TABLES_OPTION(struct settings, listen, struct listen_settings, "listen", 0, 1, 64, listen_table,
                         "where clients connect: a list of maps, one map, or an address alone"),
        PM_TABLE_OPTION(struct settings, admin, struct admin_settings, "admin", admin_table, "the administrative listener"),
        PM_BOOL_OPTION(struct settings, open, "open", "false", "true: anybody who can reach a listener beyond loopback may use it"),
        PM_STRS_OPTION(struct settings, hosts, "hosts", 0, 0, 256,
                       "names by which clients reach the gateway, beside addresses and localhost. Where no keys are needed, a request whose Host is none of "
                       "these is refused: on loopback always, elsewhere if there is this list"),
        PM_TABLE_OPTION(struct settings, cors, struct cors_settings, "cors", cors_table,
                        "pages of other origins in browsers; without it none can read an answer, and where no keys are needed none can ask"),
        PM_INT_OPTION(struct settings, workers, "workers", "0", 0, 1024, "event loops; 0: one for each core"),
        PM_TIME_OPTION(struct settings, watchdog, "watchdog", "30s", 0, HOUR,
                       "the process ends, for its supervisor to start it anew, when an event loop or all threads of the pool have hung for so long; at least "
                       "2s; who hangs for a second is in the log and fails /readyz; 0s: it never ends so"),
        PM_TABLE_OPTION(struct settings, pool, struct pool_settings, "pool", pool_table, "threads for work of routers that takes long"),
        PM_TABLE_OPTION(struct settings, limits, struct limits, "limits", limits_table, "what a client may ask of the gateway"),
        PM_TABLE_OPTION(struct settings, log, struct log_settings, "log", log_table, "what is written to standard error"),
        PM_TABLES_OPTION(struct settings, experts, struct expert_settings, "experts", PM_REQUIRED, 1, 4096, expert_table,
                         "the servers behind; clients may use an expert's name as `model`"),
        PM_TABLES_OPTION(struct settings, routers, struct router_settings, "routers", 0, 0, ROUTERS_MAX, router_table,
                         "plugins that say which expert answers"),
        PM_STRS_OPTION(struct settings, plugin_dirs, "plugin_dirs", 0, 0, 16,
                       "folders of plugins; searched before ../routers and ../lib/pointsman/routers beside the executable"),
        PM_TABLES_OPTION(struct settings, routes, struct route_settings, "routes", 0, 0, 1024, route_table,
                         "names that clients use as `model` to be routed; absent: `auto`, with all routers and experts"),
        PM_TABLES_OPTION(struct settings, embedders, struct embedder_settings, "embedders", 0, 0, 64, embedder_table,
                         "names under which routers turn text into vectors"),
        PM_TABLES_OPTION(struct settings, tenants, struct tenant_settings, "tenants", 0, 0, 4096, tenant_table,
                         "who may ask; absent: no keys are needed, on loopback only unless `open`"),
        PM_TABLE_OPTION(struct settings, cache, struct cache_settings, "cache", cache_table,
                        "what is kept of decisions, pins and answers, and where; what of it a route uses stands at the route"),
        PM_TABLE_OPTION(struct settings, feedback, struct feedback_settings, "feedback", feedback_table, "what becomes of POST /v1/feedback"),
        PM_END_OPTION
};

/* ---- short forms --------------------------------------------------------------------------------------------------------- */

/* A node like `at`, with at most one entry. */
static struct node *make(struct arena *a, const struct node *at, enum node_kind kind, struct node *key, struct node *item)
{
        struct node *n = arena_zalloc_or_abort(a, sizeof *n);

        *n = (struct node){ .kind = kind, .file = at->file, .line = at->line, .column = at->column, .n = item ? 1 : 0 };
        n->items = arena_zalloc_or_abort(a, sizeof *n->items);
        n->keys = arena_zalloc_or_abort(a, sizeof *n->keys);
        n->items[0] = item;
        n->keys[0] = key;
        return n;
}

static struct node *make_text(struct arena *a, const struct node *at, const char *text)
{
        struct node *n = make(a, at, NODE_SCALAR, NULL, NULL);

        n->text = text;
        return n;
}

/* Sets a key of the root, which is ours to change: its arrays have room for one more (a copy is made). */
static void set(struct arena *a, struct node *map, const char *key, struct node *value)
{
        struct node **keys, **items;

        for (size_t i = 0; i < map->n; i++)
                if (strcmp(map->keys[i]->text, key) == 0) {
                        map->items[i] = value;
                        return;
                }
        keys = arena_zalloc_or_abort(a, (map->n + 1) * sizeof *keys);
        items = arena_zalloc_or_abort(a, (map->n + 1) * sizeof *items);
        if (map->n) {
                memcpy(keys, map->keys, map->n * sizeof *keys);
                memcpy(items, map->items, map->n * sizeof *items);
        }
        keys[map->n] = make_text(a, map, key);
        items[map->n] = value;
        map->keys = keys;
        map->items = items;
        map->n++;
}

static bool absent(const struct node *n)
{
        return !n || n->kind == NODE_NULL;
}

static struct node *one_listener(struct arena *a, struct node *n)
{
        return n->kind == NODE_SCALAR ? make(a, n, NODE_MAP, make_text(a, n, "address"), n) : n;
}

static void write_out(struct arena *a, struct node *root)
{
        struct node *listen = node_get(root, "listen"), *routes = node_get(root, "routes"), *list;

        if (absent(listen)) {
                set(a, root, "listen", make(a, root, NODE_LIST, NULL, make(a, root, NODE_MAP, NULL, NULL)));
        } else if (listen->kind != NODE_LIST) {
                set(a, root, "listen", make(a, listen, NODE_LIST, NULL, one_listener(a, listen)));
        } else {
                list = make(a, listen, NODE_LIST, NULL, NULL); /* a copy: an alias may share the original */
                list->n = listen->n;
                list->items = arena_zalloc_or_abort(a, (listen->n + 1) * sizeof *list->items);
                for (size_t i = 0; i < listen->n; i++)
                        list->items[i] = one_listener(a, listen->items[i]);
                set(a, root, "listen", list);
        }
        if (absent(routes) || (routes->kind == NODE_MAP && routes->n == 0)) {
                struct node *at = routes ? routes : root;

                set(a, root, "routes", make(a, at, NODE_MAP, make_text(a, at, "auto"), make(a, at, NODE_MAP, NULL, NULL)));
        }
}

/* ---- filling ------------------------------------------------------------------------------------------------------------- */

/* A router's map has keys that only its plugin knows: it is filled by itself, with all of them passed over. */
static void fill_router(struct settings *s, struct router_settings *to, const struct node *map, const char *name, struct arena *a,
                        struct problems *p)
{
        struct options_memory memory = { arena_zalloc_or_abort, a };
        const char **skip = arena_zalloc_or_abort(a, (map->n + 1) * sizeof *skip);
        char path[160];
        size_t n = 0;

        for (size_t i = 0; i < map->n; i++)
                if (strcmp(map->keys[i]->text, "plugin") != 0)
                        skip[n++] = map->keys[i]->text;
        (void)snprintf(path, sizeof path, "routers.%.120s", name);
        (void)options_fill(router_table, to, map, path, s->base, skip, &memory, p);
        to->name = name;
}

static void fill_routers(struct settings *s, struct arena *a, struct problems *p)
{
        struct node *routers = node_get(s->tree, "routers");
        struct router_settings *all;

        if (absent(routers))
                return;
        if (routers->kind != NODE_MAP) {
                problems_add(p, routers, "routers", "found %s where a map of maps would be right (plugins that say which expert answers)",
                             routers->kind == NODE_LIST ? "a list" : "a text");
                return;
        }
        if (routers->n > ROUTERS_MAX) {
                problems_add(p, routers, "routers", "has %zu entries, which is not in 0..%d (plugins that say which expert answers)", routers->n,
                             ROUTERS_MAX);
                return;
        }
        all = arena_zalloc_or_abort(a, (routers->n + 1) * sizeof *all);
        for (size_t i = 0; i < routers->n; i++) {
                struct node *map = routers->items[i];
                char path[160];

                (void)snprintf(path, sizeof path, "routers.%.120s", routers->keys[i]->text);
                if (map->kind == NODE_NULL)
                        map = make(a, routers->keys[i], NODE_MAP, NULL, NULL);
                if (map->kind != NODE_MAP)
                        problems_add(p, map, path, "found %s where a map would be right, such as {plugin: rules}",
                                     map->kind == NODE_LIST ? "a list" : "a text");
                else
                        fill_router(s, &all[i], map, routers->keys[i]->text, a, p);
        }
        s->routers = (struct pm_tables){ .items = all, .n = routers->n };
}

struct settings *settings_fill(struct node *tree, const char *base, struct arena *a, struct problems *p)
{
        static const char *const skip[] = { "routers", NULL };
        struct options_memory memory = { arena_zalloc_or_abort, a };
        struct settings *s = arena_zalloc_or_abort(a, sizeof *s);
        struct pm_option *table = arena_zalloc_or_abort(a, sizeof settings_table);
        size_t n = 0;

        s->file = tree->file;
        s->base = arena_strndup(a, base, strlen(base));
        if (tree->kind == NODE_NULL)
                tree = make(a, tree, NODE_MAP, NULL, NULL);
        s->tree = tree;
        if (tree->kind != NODE_MAP) {
                problems_add(p, tree, NULL, "found %s where a map of sections would be right, such as 'experts:'",
                             tree->kind == NODE_LIST ? "a list" : "a text");
                return s;
        }
        write_out(a, tree);
        for (const struct pm_option *o = settings_table; o->key; o++)
                if (strcmp(o->key, "routers") != 0)
                        table[n++] = *o;
        (void)options_fill(table, s, tree, "", base, skip, &memory, p);
        fill_routers(s, a, p);
        return s;
}

/* ---- places -------------------------------------------------------------------------------------------------------------- */

static const struct node *key_of(const struct node *map, const char *key)
{
        for (size_t i = 0; map && map->kind == NODE_MAP && i < map->n; i++)
                if (strcmp(map->keys[i]->text, key) == 0)
                        return map->keys[i];
        return NULL;
}

/* A value has its own place, an entry of a section is found by its name. */
const struct node *settings_place(const struct settings *s, const char *section, const char *name, const char *key)
{
        const struct node *in = node_get(s->tree, section), *at = key_of(s->tree, section), *value;

        if (name) {
                at = key_of(in, name) ? key_of(in, name) : at;
                in = node_get(in, name);
        }
        value = key ? node_get(in, key) : NULL;
        if (value)
                return value->kind == NODE_SCALAR ? value : key_of(in, key);
        return at ? at : s->tree;
}

const struct node *settings_item(const struct settings *s, const char *section, const char *name, const char *key, size_t i)
{
        const struct node *in = node_get(s->tree, section), *list = node_get(name ? node_get(in, name) : in, key);

        if (list && list->kind == NODE_LIST && i < list->n)
                return list->items[i];
        return settings_place(s, section, name, key);
}

struct redis_config settings_redis(const struct redis_settings *s)
{
        return (struct redis_config){
                .mode = (enum redis_mode)s->mode, .servers = s->servers.items, .n_servers = s->servers.n, .master = s->master,
                .user = s->user && *s->user ? s->user : NULL, .password = s->password && *s->password ? s->password : NULL,
                .sentinel_user = s->sentinel_user && *s->sentinel_user ? s->sentinel_user : NULL,
                .sentinel_password = s->sentinel_password && *s->sentinel_password ? s->sentinel_password : NULL, .database = s->database,
                .connect_ms = s->connect_time, .failures = s->failures, .open_ms = s->open_time, .waiting_max = (size_t)s->waiting,
                .reply_max = (size_t)s->reply,
        };
}
