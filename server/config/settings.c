/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of the server's own keys.  It fills the structs, names what is unknown, and is the reference page; presets are
 * such that a file with one expert and its endpoint is complete.
 */
#include "settings.h"

#include "base.h"
#include "expert.h"
#include "redis.h"

#define ROUTERS_MAX 256

static const struct pm_option tls_table[] = {
        PM_PATH_OPTION(struct tls_settings, certificate, "certificate", PM_REQUIRED, NULL,
                       "PEM file: the server's certificate, then the intermediate ones"),
        PM_PATH_OPTION(struct tls_settings, key, "key", PM_REQUIRED, NULL, "PEM file: the certificate's private key, without a passphrase"),
        PM_CHOICE_OPTION(struct tls_settings, min_version, "min_version", "1.2", "1.2|1.3", "minimum TLS version"),
        PM_STR_OPTION(struct tls_settings, ciphers, "ciphers", 0, "ECDHE+AESGCM:ECDHE+CHACHA20",
                      "cipher list for TLS 1.2 in OpenSSL's syntax; the server's order is preferred; TLS 1.3 uses OpenSSL's default suites"),
        PM_END_OPTION
};

static const struct pm_option listen_table[] = {
        PM_STR_OPTION(struct listen_settings, address, "address", 0, "127.0.0.1:8080",
                      "address to listen on: 127.0.0.1:8080, 0.0.0.0:8080, [::1]:8080; with port 0 the system picks a free port, which is logged"),
        PM_TABLE_OPTION(struct listen_settings, tls, struct tls_settings, "tls", tls_table, "terminate TLS (https://) on this listener; absent: http://"),
        PM_END_OPTION
};

static const struct pm_option admin_table[] = {
        PM_STR_OPTION(struct admin_settings, address, "address", 0, "127.0.0.1:8081",
                      "address of the administrative listener: expert health, configuration, reload"),
        PM_STR_OPTION(struct admin_settings, token, "token", PM_SECRET, NULL,
                      "bearer token that each request must send, at least 8 characters, 16 beyond loopback; empty or absent: no administrative listener"),
        PM_END_OPTION
};

static const struct pm_option pool_table[] = {
        PM_INT_OPTION(struct pool_settings, threads, "threads", "0", 0, 1024, "number of threads; 0: one per core"),
        PM_INT_OPTION(struct pool_settings, queue, "queue", "256", 1, 65536,
                      "maximum queue length per router; when it is full, the router gets a busy error"),
        PM_END_OPTION
};

static const struct pm_option cors_table[] = {
        PM_STRS_OPTION(struct cors_settings, origins, "origins", 0, 0, 256,
                       "allowed origins (CORS): https://app.example, http://localhost:3000; * allows any"),
        PM_TIME_OPTION(struct cors_settings, max_age, "max_age", "10m", 0, 24 * 3600000.0, "how long a browser may cache the preflight response (Access-Control-Max-Age)"),
        PM_END_OPTION
};

#define LIMIT_SIZE(field, preset, lo, hi, help) PM_SIZE_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define LIMIT_INT(field, preset, lo, hi, help) PM_INT_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define LIMIT_TIME(field, preset, lo, hi, help) PM_TIME_OPTION(struct limits, field, #field, preset, lo, hi, help)
#define HOUR 3600000.0
#define MIB 1048576.0

static const struct pm_option limits_table[] = {
        LIMIT_SIZE(head, "64KiB", 1024, MIB, "maximum size of the request line and headers; larger: 431"),
        LIMIT_INT(headers, "100", 8, 1000, "maximum number of headers; more: 431"),
        LIMIT_SIZE(body, "8MiB", 1024, 1024 * MIB, "maximum size of a request body; larger: 413"),
        LIMIT_SIZE(memory, "1GiB", MIB, 1024 * 1024 * MIB,
                   "memory limit for all requests together: bodies, parsed queries, buffered responses; above it new requests get 503"),
        LIMIT_INT(depth, "64", 4, 512, "maximum nesting depth of the JSON body; deeper: 400"),
        LIMIT_INT(messages, "4096", 1, 1000000, "maximum number of messages in a conversation; more: 400"),
        LIMIT_INT(connections, "8192", 1, 1000000, "maximum number of client connections per worker; further ones get 503"),
        LIMIT_TIME(head_time, "10s", 100, HOUR, "timeout for receiving the request line and headers; then 408"),
        LIMIT_TIME(body_time, "60s", 100, HOUR, "timeout for receiving the request body; then 408"),
        LIMIT_TIME(idle_time, "75s", 100, HOUR, "idle timeout of a keep-alive client connection"),
        LIMIT_TIME(write_time, "60s", 100, HOUR, "write timeout: a client that reads nothing for this long is disconnected"),
        LIMIT_TIME(request_time, "10m", 100, 24 * HOUR, "timeout for the whole request, streaming included"),
        LIMIT_TIME(drain_time, "30s", 0, 24 * HOUR, "graceful shutdown: time that requests in flight have to finish after SIGTERM"),
        LIMIT_SIZE(buffer, "1MiB", 4096, 64 * MIB, "response buffer per request; when it is full, reading from the expert pauses until the client catches up (back-pressure)"),
        LIMIT_SIZE(event, "16MiB", 4096, 256 * MIB,
                   "maximum size of one event of a stream; an event longer than 'buffer' is held in memory while it arrives"),
        LIMIT_INT(ids, "10000", 1, 1e6, "maximum number of ids in one list of a recommend request; more: 400"),
        LIMIT_INT(items, "1000", 1, 1e6, "maximum number of items that a recommend request may ask for; more: 400"),
        PM_END_OPTION
};

static const struct pm_option log_table[] = {
        PM_CHOICE_OPTION(struct log_settings, level, "level", "info", "debug|info|warn|error", "log level: lines below it are not logged"),
        PM_CHOICE_OPTION(struct log_settings, format, "format", "logfmt", "logfmt|json", "format of the log lines, one per event"),
        PM_BOOL_OPTION(struct log_settings, requests, "requests", "true", "access log: one line per request, with the duration of each step"),
        PM_END_OPTION
};

static const struct pm_option breaker_table[] = {
        PM_INT_OPTION(struct breaker_settings, failures, "failures", "5", 1, 1000, "consecutive failures that open the circuit breaker of an endpoint"),
        PM_TIME_OPTION(struct breaker_settings, open_time, "open_time", "5s", 10, HOUR, "how long it stays open: no request goes to the endpoint; then it is half-open, and one request probes it"),
        PM_END_OPTION
};

#define EXPERT_STR(field, flags, help) PM_STR_OPTION(struct expert_settings, field, #field, flags, NULL, help)
#define EXPERT_TIME(field, preset, help) PM_TIME_OPTION(struct expert_settings, field, #field, preset, 1, 24 * HOUR, help)

static const struct pm_option expert_table[] = {
        PM_KEY_OPTION(struct expert_settings, name),
        PM_STRS_OPTION(struct expert_settings, endpoints, "endpoints", PM_REQUIRED, 1, 64,
                       "base URLs of equivalent servers, used round-robin: http://127.0.0.1:8000/v1, https://host/v1, "
                       "unix:/run/llm.sock:/v1"),
        EXPERT_STR(model, 0, "model name that is sent to the server; absent: the expert's name"),
        EXPERT_STR(key, PM_SECRET, "API key, sent as Authorization: Bearer; empty or absent: no such header"),
        PM_STRS_OPTION(struct expert_settings, headers, "headers", PM_SECRET, 0, 32, "headers added to each upstream request, as 'Name: value'"),
        PM_STRS_OPTION(struct expert_settings, apis, "apis", 0, 0, EXPERT_APIS_N,
                       "APIs that the server supports: chat, completions, responses, embeddings; absent: the first three"),
        PM_STRS_OPTION(struct expert_settings, drop, "drop", 0, 0, 64,
                       "members removed from the request body before it is sent, matched case-insensitively; for those with which a server lets clients choose "
                       "other models, keys or addresses: models, provider, route, fallbacks, api_base, user_config"),
        PM_INT_OPTION(struct expert_settings, context, "context", "0", 0, 1e9, "context window in tokens; 0: unknown"),
        PM_REAL_OPTION(struct expert_settings, price_in, "price_in", "0", 0, 1e6, "price in USD per million input tokens"),
        PM_REAL_OPTION(struct expert_settings, price_out, "price_out", "0", 0, 1e6, "price in USD per million output tokens"),
        PM_CHOICE_OPTION(struct expert_settings, transport, "transport", "auto", "auto|plain|curl",
                         "HTTP client: auto uses plain (fastest) for http://, curl for https:// and unix:"),
        PM_CHOICE_OPTION(struct expert_settings, usage, "usage", "auto", "auto|always|never",
                         "whether to ask for token counts in streams (stream_options.include_usage) when the client does not: auto asks "
                         "until the server refuses that member, and tries again after an hour"),
        PM_PATH_OPTION(struct expert_settings, ca, "ca", 0, NULL, "PEM file: trusted CA certificates for https://; absent: the system's"),
        EXPERT_STR(proxy, PM_SECRET, "forward proxy: http://host:3128, https://, socks5://, socks5h://; absent: none (http_proxy and ALL_PROXY are "
                   "ignored)"),
        EXPERT_TIME(connect_time, "2s", "connect timeout, TLS handshake included"),
        EXPERT_TIME(first_token_time, "15s",
                    "timeout from the connection to the first token of a streamed response (a role or an empty delta does not count); then the next expert is tried"),
        EXPERT_TIME(answer_time, "5m", "timeout from the connection to the first byte of a response that is not streamed; then the client gets 504"),
        EXPERT_TIME(idle_time, "30s", "idle timeout inside a response: maximum time between two reads"),
        PM_INT_OPTION(struct expert_settings, idle_connections, "idle_connections", "1024", 0, 100000,
                      "connection pool: maximum number of idle keep-alive connections per endpoint and worker; it keeps as many as were needed in the last 55 s; 0: no reuse"),
        PM_TIME_OPTION(struct expert_settings, keepalive_time, "keepalive_time", "15s", 0, HOUR,
                       "TCP keepalive: a silent connection is probed after this; 0s: never"),
        PM_TIME_OPTION(struct expert_settings, ack_time, "ack_time", "15s", 0, HOUR,
                       "TCP user timeout (TCP_USER_TIMEOUT): a connection is lost if sent data stays unacknowledged for this long; 0s: the system's timeout"),
        PM_INT_OPTION(struct expert_settings, retries, "retries", "1", 0, 16,
                      "retries at this expert, each at its next endpoint, before the fallbacks are tried"),
        PM_INT_OPTION(struct expert_settings, in_flight, "in_flight", "0", 0, 1000000,
                      "maximum number of requests in flight from this gateway; above it the next expert is tried; 0: no limit"),
        PM_TABLE_OPTION(struct expert_settings, breaker, struct breaker_settings, "breaker", breaker_table,
                        "circuit breaker of each endpoint"),
        PM_END_OPTION
};

static const struct pm_option router_table[] = {
        PM_KEY_OPTION(struct router_settings, name),
        PM_STR_OPTION(struct router_settings, plugin, "plugin", PM_REQUIRED, NULL,
                      "name of a plugin in plugin_dirs, or path of a .so; the other keys are the plugin's own: "
                      "see `pointsman describe PLUGIN`"),
        PM_END_OPTION
};

#define ROUTE_CACHE_TIME(field, preset, lo, help) PM_TIME_OPTION(struct route_cache_settings, field, #field, preset, lo, 30 * 24 * HOUR, help)

static const struct pm_option route_cache_table[] = {
        PM_CHOICE_OPTION(struct route_cache_settings, decisions, "decisions", "auto", "auto|off|local|shared",
                         "where decisions are cached: local is each worker's memory; shared is memory and Redis; auto reads Redis only while that is "
                         "faster than computing the decision; off caches none"),
        ROUTE_CACHE_TIME(time, "1h", 1, "TTL of a cached decision, minus up to 10 % at random so that entries do not expire together"),
        ROUTE_CACHE_TIME(pin, "30m", 0, "session affinity: how long after its last request a conversation stays pinned to the first expert chosen with certainty; 0s: each turn is routed anew"),
        PM_CHOICE_OPTION(struct route_cache_settings, share, "share", "tenant", "tenant|all",
                         "who shares cached decisions and answers: each tenant alone, or all tenants"),
        ROUTE_CACHE_TIME(answers, "0s", 0,
                         "TTL of the response cache: chat and completions with temperature 0, without tools, and with a byte-identical body; "
                         "0s: responses are not cached"),
        PM_SIZE_OPTION(struct route_cache_settings, answer_size, "answer_size", "256KiB", 1024, 16 * MIB, "maximum size of a cached response"),
        PM_END_OPTION
};

static const struct pm_option route_table[] = {
        PM_KEY_OPTION(struct route_settings, name),
        PM_STRS_OPTION(struct route_settings, routers, "routers", 0, 0, 64, "routers, asked in this order until one decides; absent: all; []: none"),
        PM_STRS_OPTION(struct route_settings, experts, "experts", 0, 0, 4096, "candidate experts; absent: all; []: none"),
        PM_STR_OPTION(struct route_settings, preset, "default", 0, NULL,
                      "default expert, used when no router decides in time; absent: the first candidate"),
        PM_TIME_OPTION(struct route_settings, deadline, "deadline", "250ms", 1, HOUR, "timeout for all routers together"),
        PM_INT_OPTION(struct route_settings, fallbacks, "fallbacks", "2", 0, 64, "maximum number of fallback experts that are tried when the chosen one fails"),
        PM_TABLE_OPTION(struct route_settings, cache, struct route_cache_settings, "cache", route_cache_table,
                        "caching of this route's decisions and answers"),
        PM_END_OPTION
};

static const struct pm_option embedder_table[] = {
        PM_KEY_OPTION(struct embedder_settings, name),
        PM_PATH_OPTION(struct embedder_settings, model, "model", 0, NULL,
                       "a folder in Model2Vec's layout (config.json, tokenizer.json, model.safetensors): the text becomes a vector in the process, "
                       "and clients may name the embedder as a model of /v1/embeddings"),
        PM_STR_OPTION(struct embedder_settings, expert, "expert", 0, NULL, "instead of a model: an expert that has embeddings among its apis"),
        PM_STR_OPTION(struct embedder_settings, path, "path", 0, "/embeddings", "expert: path below the endpoint's base URL"),
        PM_INT_OPTION(struct embedder_settings, dim, "dim", "0", 0, 65536, "required dimension of a vector; others are refused; 0: any"),
        PM_TIME_OPTION(struct embedder_settings, keep, "keep", "24h", 0, 365 * 24 * HOUR,
                       "expert: TTL of a cached vector, in memory and in Redis; 0s: vectors are not cached"),
        PM_SIZE_OPTION(struct embedder_settings, text, "text", "16KiB", 64, MIB, "model: maximum length of a text; of a longer one, the first half and the last half of this size are read"),
        PM_END_OPTION
};

#define REDIS_STR(field, flags, preset, help) PM_STR_OPTION(struct redis_settings, field, #field, flags, preset, help)

static const struct pm_option redis_table[] = {
        PM_STRS_OPTION(struct redis_settings, servers, "servers", 0, 0, 64,
                       "redis://host:6379 or unix:/run/redis.sock: the server, the sentinels, or some nodes of the cluster; absent: no Redis"),
        PM_CHOICE_OPTION(struct redis_settings, mode, "mode", "single", "single|sentinel|cluster", "deployment: single server, Sentinel or Cluster"),
        REDIS_STR(master, 0, NULL, "sentinel: name of the master"),
        REDIS_STR(user, 0, NULL, "ACL user; absent: AUTH with the password only"),
        REDIS_STR(password, PM_SECRET, NULL, "password for AUTH; absent: no AUTH"),
        REDIS_STR(sentinel_user, 0, NULL, "ACL user for the sentinels"),
        REDIS_STR(sentinel_password, PM_SECRET, NULL, "password for the sentinels"),
        PM_INT_OPTION(struct redis_settings, database, "database", "0", 0, 1e6, "database number (SELECT); a cluster has only 0"),
        REDIS_STR(prefix, 0, "pointsman:", "key prefix"),
        PM_TIME_OPTION(struct redis_settings, timeout, "timeout", "5ms", 1, 10000, "timeout of a Redis lookup; then the request goes on without it"),
        PM_TIME_OPTION(struct redis_settings, connect_time, "connect_time", "1s", 10, 60000, "connect timeout, handshake (AUTH, SELECT) included"),
        PM_INT_OPTION(struct redis_settings, failures, "failures", "5", 1, 1000, "consecutive failures (timeouts, lost connections) that open the circuit breaker for Redis"),
        PM_TIME_OPTION(struct redis_settings, open_time, "open_time", "1s", 10, HOUR, "how long it stays open: no command is sent; then it is half-open, and one command probes Redis"),
        PM_INT_OPTION(struct redis_settings, waiting, "waiting", "4096", 1, 1e6, "maximum number of pending commands per worker; above it requests go on without Redis"),
        PM_SIZE_OPTION(struct redis_settings, reply, "reply", "20MiB", 4096, 64 * MIB, "maximum size of a reply; a larger one closes the connection"),
        PM_END_OPTION
};

static const struct pm_option cache_table[] = {
        PM_SIZE_OPTION(struct cache_settings, memory, "memory", "16MiB", 0, 64 * 1024 * MIB, "memory for cached decisions, per worker; 0: none; least recently used entries are evicted"),
        PM_SIZE_OPTION(struct cache_settings, pins, "pins", "16MiB", 0, 64 * 1024 * MIB, "memory for pins, per process; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, answers, "answers", "32MiB", 0, 64 * 1024 * MIB,
                       "memory for the response cache, per worker, for routes that use it; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, vectors, "vectors", "8MiB", 0, 64 * 1024 * MIB,
                       "memory for cached vectors and callout replies, per worker; 0: none"),
        PM_SIZE_OPTION(struct cache_settings, responses, "responses", "8MiB", 0, 64 * 1024 * MIB,
                       "memory for the table of response ids of /v1/responses, per process: a request that continues a response goes to the expert that gave it; 0: it is routed"),
        PM_TIME_OPTION(struct cache_settings, responses_time, "responses_time", "168h", 1000, 365 * 24 * HOUR, "TTL of a response id"),
        PM_TABLE_OPTION(struct cache_settings, redis, struct redis_settings, "redis", redis_table,
                        "Redis, shared by several gateways; without it, or while it is down, each gateway uses its own memory"),
        PM_END_OPTION
};

static const struct pm_option feedback_table[] = {
        PM_PATH_OPTION(struct feedback_settings, file, "file", 0, NULL,
                       "event log for the next training; events are appended, one edge per line (user, item, weight, time); absent: none"),
        PM_INT_OPTION(struct feedback_settings, keep, "keep", "100", 0, 10000, "number of a user's last items that recommendations use at once; 0: none"),
        PM_TIME_OPTION(struct feedback_settings, time, "time", "168h", 1000, 365 * 24 * HOUR, "TTL of a user's items after the last event"),
        PM_SIZE_OPTION(struct feedback_settings, memory, "memory", "16MiB", 0, 64 * 1024 * MIB, "memory for all users' last items, per process"),
        PM_END_OPTION
};

static const struct pm_option tenant_table[] = {
        PM_KEY_OPTION(struct tenant_settings, name),
        PM_STRS_OPTION(struct tenant_settings, keys, "keys", PM_SECRET, 0, 64,
                       "API keys in plain text, at least 16 characters each; better from the environment: ${ACME_KEY}"),
        PM_STRS_OPTION(struct tenant_settings, key_hashes, "key_hashes", PM_SECRET, 0, 64,
                       "hashed API keys as `pointsman hash-key` prints them: sha256:SALT:HASH"),
        PM_INT_OPTION(struct tenant_settings, in_flight, "in_flight", "0", 0, 1000000, "maximum number of requests in flight; above it 429; 0: no limit"),
        PM_STRS_OPTION(struct tenant_settings, experts, "experts", 0, 0, 4096, "allowed experts, by name or by a route; absent: all; []: none"),
        PM_STRS_OPTION(struct tenant_settings, routes, "routes", 0, 0, 4096, "allowed routes; absent: all; []: none"),
        PM_END_OPTION
};

const struct pm_option settings_table[] = {
        PM_TABLES_OPTION(struct settings, listen, struct listen_settings, "listen", 0, 1, 64, listen_table,
                         "client listeners: a list of maps, one map, or just an address"),
        PM_TABLE_OPTION(struct settings, admin, struct admin_settings, "admin", admin_table, "the administrative listener"),
        PM_BOOL_OPTION(struct settings, open, "open", "false", "true: no API keys needed beyond loopback; anyone who can reach a listener may use it"),
        PM_STRS_OPTION(struct settings, hosts, "hosts", 0, 0, 256,
                       "host names of the gateway, in addition to IP addresses and localhost. Where no API keys are needed, a request with another Host "
                       "header is refused: on loopback always, elsewhere if this list is set"),
        PM_TABLE_OPTION(struct settings, cors, struct cors_settings, "cors", cors_table,
                        "CORS: access for web pages of other origins; absent: they cannot read a response, and where no API keys are needed they cannot send a request"),
        PM_INT_OPTION(struct settings, workers, "workers", "0", 0, 1024, "number of worker threads, each with an event loop; 0: one per core"),
        PM_TIME_OPTION(struct settings, watchdog, "watchdog", "30s", 0, HOUR,
                       "the process exits, so that its supervisor restarts it, when an event loop or all threads of the pool are blocked for this long; at least "
                       "2s; a thread blocked for a second is logged and fails /readyz; 0s: never"),
        PM_TABLE_OPTION(struct settings, pool, struct pool_settings, "pool", pool_table, "CPU thread pool for long computations of routers"),
        PM_TABLE_OPTION(struct settings, limits, struct limits, "limits", limits_table, "limits and timeouts for clients"),
        PM_TABLE_OPTION(struct settings, log, struct log_settings, "log", log_table, "logging, to standard error"),
        PM_TABLES_OPTION(struct settings, experts, struct expert_settings, "experts", PM_REQUIRED, 1, 4096, expert_table,
                         "upstream model servers; clients may use an expert's name as `model`"),
        PM_TABLES_OPTION(struct settings, routers, struct router_settings, "routers", 0, 0, ROUTERS_MAX, router_table,
                         "router plugins, which choose the expert"),
        PM_STRS_OPTION(struct settings, plugin_dirs, "plugin_dirs", 0, 0, 16,
                       "plugin directories, searched before ../routers and ../lib/pointsman/routers relative to the executable"),
        PM_TABLES_OPTION(struct settings, routes, struct route_settings, "routes", 0, 0, 1024, route_table,
                         "routes: names that clients use as `model`; absent: `auto`, with all routers and experts"),
        PM_TABLES_OPTION(struct settings, embedders, struct embedder_settings, "embedders", 0, 0, 64, embedder_table,
                         "embedding models, by the names that routers use"),
        PM_TABLES_OPTION(struct settings, tenants, struct tenant_settings, "tenants", 0, 0, 4096, tenant_table,
                         "clients with their API keys and limits; absent: no API keys needed, on loopback only unless `open`"),
        PM_TABLE_OPTION(struct settings, cache, struct cache_settings, "cache", cache_table,
                        "memory and Redis for cached decisions, pins and answers; each route says which it uses"),
        PM_TABLE_OPTION(struct settings, feedback, struct feedback_settings, "feedback", feedback_table, "handling of POST /v1/feedback"),
        PM_END_OPTION
};

/* ---- short forms --------------------------------------------------------------------------------------------------------- */

/* A node like `at`, with room for one entry.  All that is made here is NULL where there is no memory, or where its parts are. */
static struct node *make(struct arena *a, const struct node *at, enum node_kind kind)
{
        struct node *n = arena_zalloc(a, sizeof *n);

        if (!n)
                return NULL;
        *n = (struct node){ .kind = kind, .file = at->file, .line = at->line, .column = at->column };
        n->items = arena_zalloc(a, sizeof *n->items);
        n->keys = arena_zalloc(a, sizeof *n->keys);
        return n->items && n->keys ? n : NULL;
}

static struct node *make_list_of(struct arena *a, const struct node *at, struct node *item)
{
        struct node *n = item ? make(a, at, NODE_LIST) : NULL;

        if (n)
                n->items[n->n++] = item;
        return n;
}

static struct node *make_text(struct arena *a, const struct node *at, const char *text)
{
        struct node *n = make(a, at, NODE_SCALAR);

        if (n)
                n->text = text;
        return n;
}

static struct node *make_map_of(struct arena *a, const struct node *at, const char *key, struct node *item)
{
        struct node *n = item ? make(a, at, NODE_MAP) : NULL, *text = n ? make_text(a, at, key) : NULL;

        if (!text)
                return NULL;
        n->keys[n->n] = text;
        n->items[n->n++] = item;
        return n;
}

/* Sets a key of the root, which is ours to change: its arrays have room for one more (a copy is made). */
static int set(struct arena *a, struct node *map, const char *key, struct node *value)
{
        struct node **keys, **items;

        if (!value)
                return -ENOMEM;
        for (size_t i = 0; i < map->n; i++)
                if (strcmp(map->keys[i]->text, key) == 0) {
                        map->items[i] = value;
                        return 0;
                }
        keys = arena_zalloc(a, (map->n + 1) * sizeof *keys);
        items = arena_zalloc(a, (map->n + 1) * sizeof *items);
        if (!keys || !items)
                return -ENOMEM;
        if (map->n) {
                memcpy(keys, map->keys, map->n * sizeof *keys);
                memcpy(items, map->items, map->n * sizeof *items);
        }
        keys[map->n] = make_text(a, map, key);
        if (!keys[map->n])
                return -ENOMEM;
        items[map->n] = value;
        map->keys = keys;
        map->items = items;
        map->n++;
        return 0;
}

static bool absent(const struct node *n)
{
        return !n || n->kind == NODE_NULL;
}

static struct node *one_listener(struct arena *a, struct node *n)
{
        return n->kind == NODE_SCALAR ? make_map_of(a, n, "address", n) : n;
}

/* A copy: an alias may share the original. */
static struct node *listeners_of(struct arena *a, const struct node *listen)
{
        struct node *list = make(a, listen, NODE_LIST);

        if (list)
                list->items = arena_zalloc(a, (listen->n + 1) * sizeof *list->items);
        if (!list || !list->items)
                return NULL;
        for (; list->n < listen->n; list->n++) {
                list->items[list->n] = one_listener(a, listen->items[list->n]);
                if (!list->items[list->n])
                        return NULL;
        }
        return list;
}

static int write_out(struct arena *a, struct node *root)
{
        struct node *listen = node_get(root, "listen"), *routes = node_get(root, "routes");
        int e;

        if (absent(listen))
                e = set(a, root, "listen", make_list_of(a, root, make(a, root, NODE_MAP)));
        else if (listen->kind != NODE_LIST)
                e = set(a, root, "listen", make_list_of(a, listen, one_listener(a, listen)));
        else
                e = set(a, root, "listen", listeners_of(a, listen));
        if (e == 0 && (absent(routes) || (routes->kind == NODE_MAP && routes->n == 0))) {
                struct node *at = routes ? routes : root;

                e = set(a, root, "routes", make_map_of(a, at, "auto", make(a, at, NODE_MAP)));
        }
        return e;
}

/* ---- filling ------------------------------------------------------------------------------------------------------------- */

/* A router's map has keys that only its plugin knows: it is filled by itself, with all of them passed over. */
static int fill_router(struct settings *s, struct router_settings *to, const struct node *map, const char *name,
                       struct arena *a, struct problems *p)
{
        struct options_memory memory = { arena_zalloc_v, a };
        const char **skip = arena_zalloc(a, (map->n + 1) * sizeof *skip);
        char path[160];
        size_t n = 0;

        if (!skip)
                return -ENOMEM;
        for (size_t i = 0; i < map->n; i++)
                if (strcmp(map->keys[i]->text, "plugin") != 0)
                        skip[n++] = map->keys[i]->text;
        (void)snprintf(path, sizeof path, "routers.%.120s", name);
        (void)options_fill(router_table, to, map, path, s->base, skip, &memory, p);
        to->name = name;
        return 0;
}

static int fill_routers(struct settings *s, struct arena *a, struct problems *p)
{
        struct node *routers = node_get(s->tree, "routers");
        struct router_settings *all;

        if (absent(routers))
                return 0;
        if (routers->kind != NODE_MAP) {
                problems_add(p, routers, "routers", "found %s where a map of maps would be right (router plugins, which choose the expert)",
                             routers->kind == NODE_LIST ? "a list" : "a text");
                return 0;
        }
        if (routers->n > ROUTERS_MAX) {
                problems_add(p, routers, "routers", "has %zu entries, which is not in 0..%d (router plugins, which choose the expert)", routers->n,
                             ROUTERS_MAX);
                return 0;
        }
        all = arena_zalloc(a, (routers->n + 1) * sizeof *all);
        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < routers->n; i++) {
                struct node *map = routers->items[i];
                char path[160];

                (void)snprintf(path, sizeof path, "routers.%.120s", routers->keys[i]->text);
                if (map->kind == NODE_NULL)
                        map = make(a, routers->keys[i], NODE_MAP);
                if (!map)
                        return -ENOMEM;
                if (map->kind != NODE_MAP)
                        problems_add(p, map, path, "found %s where a map would be right, such as {plugin: rules}",
                                     map->kind == NODE_LIST ? "a list" : "a text");
                else if (fill_router(s, &all[i], map, routers->keys[i]->text, a, p) < 0)
                        return -ENOMEM;
        }
        s->routers = (struct pm_tables){ .items = all, .n = routers->n };
        return 0;
}

/* The root is a map. */
static int fill(struct settings *s, struct arena *a, struct problems *p)
{
        static const char *const skip[] = { "routers", NULL };
        struct options_memory memory = { arena_zalloc_v, a };
        struct pm_option *table = arena_zalloc(a, sizeof settings_table);
        size_t n = 0;

        if (!table || write_out(a, s->tree) < 0)
                return -ENOMEM;
        for (const struct pm_option *o = settings_table; o->key; o++)
                if (strcmp(o->key, "routers") != 0)
                        table[n++] = *o;
        (void)options_fill(table, s, s->tree, "", s->base, skip, &memory, p);
        return fill_routers(s, a, p);
}

struct settings *settings_fill(struct node *tree, const char *base, struct arena *a, struct problems *p)
{
        struct settings *s = arena_zalloc(a, sizeof *s);
        struct node whole = { .file = tree->file };
        bool made = false;

        if (s) {
                s->file = tree->file;
                s->base = arena_strndup(a, base, strlen(base));
                s->tree = tree->kind == NODE_NULL ? make(a, tree, NODE_MAP) : tree;
                made = s->base && s->tree;
        }
        if (made && s->tree->kind != NODE_MAP)
                problems_add(p, tree, NULL, "found %s where a map of sections would be right, such as 'experts:'",
                             tree->kind == NODE_LIST ? "a list" : "a text");
        else if (!made || fill(s, a, p) < 0) {
                problems_add(p, &whole, NULL, "out of memory: cannot read the file");
                return NULL;
        }
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
