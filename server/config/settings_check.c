/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one key's table cannot know: names that must exist, addresses and URLs that must parse, files that must be readable, and
 * what would be unsafe together.  Each check looks at one section, adds what it finds, and goes on.
 */
#include "address.h"
#include "browser.h"
#include "expert.h"
#include "log.h"
#include "names.h"
#include "redis.h"
#include "settings.h"
#include "tlsfiles.h"
#include "writable.h"

#include "base.h"

#define NAME_MAX_BYTES 128
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+"
#define PATH_SIZE 256
#define SHOWN 60
#define TOKEN_MIN 16
#define TOKEN_MIN_HERE 8 /* on loopback */
#define WATCHDOG_MIN_MS 2000

/* The names of a section, to find references and what was meant by a wrong one. */
struct section {
        const char *what; /* "expert" */
        const char **list;
        size_t n;
        struct names set;
};

struct check {
        const struct settings *s;
        struct arena *arena;
        struct problems *problems;
        struct section experts, routers, routes;
};

static void no_memory(struct check *c)
{
        const struct node whole = { .file = c->s->file };

        problems_add(c->problems, &whole, NULL, "out of memory: cannot check what the file says");
}

/* ---- names and references ------------------------------------------------------------------------------------------------ */

static bool section_of(struct check *c, const char *what, const struct pm_tables *tables, size_t size, size_t offset, struct section *x)
{
        *x = (struct section){ .what = what, .n = tables->n, .list = arena_zalloc(c->arena, (tables->n + 1) * sizeof *x->list) };
        for (size_t i = 0; x->list && i < tables->n; i++)
                memcpy(&x->list[i], (const char *)tables->items + i * size + offset, sizeof x->list[i]);
        return x->list && names_build(c->arena, x->list, x->n, &x->set) == 0;
}

static ptrdiff_t index_in(const struct section *x, const char *name)
{
        return names_find(&x->set, name, strlen(name));
}

/* Bytes of the character that begins at p. */
static int character(const char *p)
{
        int n = 1;

        while (((unsigned char)p[n] & 0xc0) == 0x80)
                n++;
        return n;
}

static void check_names(struct check *c, const char *section, const struct section *x)
{
        for (size_t i = 0; i < x->n; i++) {
                const char *name = x->list[i];
                size_t good;

                if (!name)
                        continue;
                good = strspn(name, NAME_LETTERS);
                if (name[good])
                        problems_add(c->problems, settings_place(c->s, section, name, NULL), section,
                                     "the name '%.*s' has a '%.*s' in it; a name has letters, digits and any of . _ - / : @ +", SHOWN, name,
                                     character(name + good), name + good);
                else if (strlen(name) > NAME_MAX_BYTES)
                        problems_add(c->problems, settings_place(c->s, section, name, NULL), section,
                                     "the name '%.*s...' has %zu characters; at most %d are possible", SHOWN, name,
                                     strlen(name), NAME_MAX_BYTES);
        }
}

static void unknown_name(struct check *c, const struct section *x, const char *name, const struct node *at, const char *path)
{
        const char *nearest = options_nearest(name, x->list, x->n);
        char known[300] = "";
        size_t used = 0;

        if (nearest) {
                problems_add(c->problems, at, path, "no %s is called '%.*s' - did you mean '%s'?", x->what, SHOWN, name, nearest);
                return;
        }
        for (size_t i = 0; i < x->n && used < sizeof known - 80; i++)
                if (x->list[i])
                        used += (size_t)snprintf(known + used, sizeof known - used, "%s%.60s", used ? ", " : "", x->list[i]);
        problems_add(c->problems, at, path, "no %s is called '%.*s' - %s%s", x->what, SHOWN, name,
                     used ? "there are: " : "there are none", known);
}

/* Each text of a list names an entry of x, none of them twice. */
static void check_list(struct check *c, const char *section, const char *name, const char *key, const struct pm_strs *list,
                       const struct section *x)
{
        CLEANUP(free_p) bool *seen = calloc(x->n + 1, sizeof *seen);
        char path[PATH_SIZE];

        if (!seen)
                no_memory(c);
        for (size_t i = 0; seen && i < list->n; i++) {
                ptrdiff_t at = index_in(x, list->items[i]);

                if (at >= 0 && !seen[at]) {
                        seen[at] = true;
                        continue;
                }
                (void)snprintf(path, sizeof path, "%s.%.120s.%s[%zu]", section, name, key, i);
                if (at < 0)
                        unknown_name(c, x, list->items[i], settings_item(c->s, section, name, key, i), path);
                else
                        problems_add(c->problems, settings_item(c->s, section, name, key, i), path, "'%.*s' is in this list twice", SHOWN,
                                     list->items[i]);
        }
}

/* It means none, which is seldom what is wanted, but may be: said, and not refused. */
static void empty_list(struct check *c, const char *section, const char *name, const char *key, const struct pm_strs *list, const char *means)
{
        const struct node *at = settings_place(c->s, section, name, key);

        if (list->items && list->n == 0)
                log_msg(NULL, PM_WARN, "%.300s:%d:%d: %s.%.120s.%s: is empty, so %s; leave the key out for all", at->file ? at->file : "", at->line, at->column,
                        section, name, key, means);
}

static bool listed(const struct pm_strs *list, const char *text)
{
        for (size_t i = 0; i < list->n; i++)
                if (strcmp(list->items[i], text) == 0)
                        return true;
        return false;
}

/* Printable ASCII, as a header's value may be. */
static bool printable(const char *text)
{
        for (; *text; text++)
                if (*text < ' ' || *text > '~')
                        return false;
        return true;
}

/* ---- listeners ----------------------------------------------------------------------------------------------------------- */

/* host:port with a numeric host.  Names are not looked up: which interface a name means is nobody's guess to make. */
static bool check_address(struct check *c, const char *address, const struct node *at, const char *path, bool *ret_loopback,
                          unsigned *ret_port)
{
        const char *why = "it must be a number, not a name";
        struct host_port parsed;

        if (address_parse((struct pm_str){ address, strlen(address) }, 0, &parsed, &why) < 0 || !address_is_numeric(&parsed)) {
                problems_add(c->problems, at, path, "'%.*s' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080: %s", SHOWN, address, why);
                return false;
        }
        *ret_port = parsed.port;
        *ret_loopback = address_is_loopback(&parsed);
        return true;
}

static void check_tls(struct check *c, const struct tls_settings *tls, const struct node *map, const char *path)
{
        char why[512], where[PATH_SIZE];
        int certificate = -EINVAL, key = -EINVAL, r;

        if (tls->certificate) {
                certificate = tlsfiles_certificate(tls->certificate, why, sizeof why);
                (void)snprintf(where, sizeof where, "%.200s.tls.certificate", path);
                if (certificate < 0)
                        problems_add(c->problems, node_get(map, "certificate"), where, "%s", why);
        }
        if (tls->key) {
                key = tlsfiles_key(tls->key, why, sizeof why);
                (void)snprintf(where, sizeof where, "%.200s.tls.key", path);
                if (key < 0)
                        problems_add(c->problems, node_get(map, "key"), where, "%s", why);
        }
        r = tls->certificate && tls->ciphers ? tlsfiles_ciphers(tls->ciphers) : 0;
        if (r == -ENOMEM) {
                no_memory(c);
        } else if (r < 0) {
                (void)snprintf(where, sizeof where, "%.200s.tls.ciphers", path);
                problems_add(c->problems, node_get(map, "ciphers"), where, "OpenSSL knows no suite for TLS 1.2 in '%.*s'; the default is "
                             "ECDHE+AESGCM:ECDHE+CHACHA20", SHOWN, tls->ciphers);
        }
        r = certificate == 0 && key == 0 ? tlsfiles_pair(tls->certificate, tls->key) : 0;
        if (r == -ENOMEM)
                no_memory(c);
        else if (r < 0)
                problems_add(c->problems, node_get(map, "key"), where, "this key does not belong to the certificate '%s'", tls->certificate);
}

static void check_listeners(struct check *c)
{
        const struct node *list = node_get(c->s->tree, "listen");
        char path[PATH_SIZE], where[PATH_SIZE + 16];

        for (size_t i = 0; i < c->s->listen.n; i++) {
                const struct listen_settings *l = &SETTINGS_AT(c->s->listen, struct listen_settings, i);
                const struct node *map = list && list->kind == NODE_LIST && i < list->n ? list->items[i] : NULL;
                const struct node *at = node_get(map, "address") ? node_get(map, "address") : map;
                unsigned port = 0;
                bool loopback;

                (void)snprintf(path, sizeof path, "listen[%zu]", i);
                (void)snprintf(where, sizeof where, "%s.address", path);
                check_tls(c, &l->tls, node_get(map, "tls"), path);
                if (!l->address || !check_address(c, l->address, at, where, &loopback, &port))
                        continue;
                for (size_t j = 0; j < i && port; j++) {
                        const char *other = SETTINGS_AT(c->s->listen, struct listen_settings, j).address;

                        if (other && strcmp(other, l->address) == 0)
                                problems_add(c->problems, at, where, "%s is the address of listen[%zu] too", l->address, j);
                }
                if (!loopback && c->s->tenants.n == 0 && !c->s->open)
                        problems_add(c->problems, at, where,
                                     "%s is reachable from other machines and no tenants are configured, so anybody could use the experts: "
                                     "add 'tenants' with keys, listen on 127.0.0.1, or say 'open: true'", l->address);
        }
}

static void check_memory(struct check *c)
{
        const struct limits *l = &c->s->limits;

        if (l->memory < l->body)
                problems_add(c->problems, settings_place(c->s, "limits", "memory", NULL), "limits.memory",
                             "%" PRId64 " bytes are fewer than limits.body allows one body (%" PRId64 ")", l->memory, l->body);
}

static void check_feedback(struct check *c)
{
        char why[512];

        if (c->s->feedback.file && writable_check(c->s->feedback.file, why, sizeof why) == -EINVAL)
                problems_add(c->problems, settings_place(c->s, "feedback", "file", NULL), "feedback.file", "%s", why);
}

static void check_watchdog(struct check *c)
{
        if (c->s->watchdog > 0 && c->s->watchdog < WATCHDOG_MIN_MS)
                problems_add(c->problems, settings_place(c->s, "watchdog", NULL, NULL), "watchdog",
                             "%" PRId64 " ms is below %d s: that long a busy machine may take; 0s switches it off", c->s->watchdog, WATCHDOG_MIN_MS / 1000);
}

static void check_browsers(struct check *c)
{
        char path[PATH_SIZE];

        for (size_t i = 0; i < c->s->hosts.n; i++) {
                const char *name = c->s->hosts.items[i];

                (void)snprintf(path, sizeof path, "hosts[%zu]", i);
                if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")])
                        problems_add(c->problems, settings_item(c->s, "hosts", NULL, NULL, i), path,
                                     "'%.*s' is no name of a host such as gateway.example, without a scheme and without a port", SHOWN, name);
        }
        for (size_t i = 0; i < c->s->cors.origins.n; i++) {
                (void)snprintf(path, sizeof path, "cors.origins[%zu]", i);
                if (!browser_is_origin(c->s->cors.origins.items[i]))
                        problems_add(c->problems, settings_item(c->s, "cors", NULL, "origins", i), path,
                                     "'%.*s' is no origin such as https://app.example or http://localhost:3000 (a scheme, a host, perhaps a port, no path)",
                                     SHOWN, c->s->cors.origins.items[i]);
        }
}

static void check_admin(struct check *c)
{
        const struct admin_settings *m = &c->s->admin;
        const struct node *at = settings_place(c->s, "admin", NULL, NULL), *address = node_get(node_get(c->s->tree, "admin"), "address");
        const struct node *token = node_get(node_get(c->s->tree, "admin"), "token");
        unsigned port = 0;
        bool loopback;

        if (!m->token || !*m->token || !m->address)
                return;
        if (!printable(m->token) || strchr(m->token, ' '))
                problems_add(c->problems, token, "admin.token", "has letters that no header can carry; use printable ASCII without spaces");
        if (!check_address(c, m->address, address ? address : at, "admin.address", &loopback, &port))
                return;
        if (!loopback && strlen(m->token) < TOKEN_MIN)
                problems_add(c->problems, token, "admin.token", "has %zu characters, and %s is reachable from other machines: there it needs "
                             "at least %d", strlen(m->token), m->address, TOKEN_MIN);
        else if (strlen(m->token) < TOKEN_MIN_HERE)
                problems_add(c->problems, token, "admin.token", "has %zu characters, where at least %d are needed: any process on this machine "
                             "could guess it", strlen(m->token), TOKEN_MIN_HERE);
        for (size_t i = 0; i < c->s->listen.n && port; i++) {
                const char *other = SETTINGS_AT(c->s->listen, struct listen_settings, i).address;

                if (other && strcmp(other, m->address) == 0)
                        problems_add(c->problems, address ? address : at, "admin.address", "%s is the address of listen[%zu] too", m->address, i);
        }
}

/* ---- experts ------------------------------------------------------------------------------------------------------------- */

static void check_endpoints(struct check *c, const struct expert_settings *e)
{
        char path[PATH_SIZE];
        bool tls = false, broken = false;

        for (size_t i = 0; i < e->endpoints.n; i++) {
                const char *url = e->endpoints.items[i], *why = "";
                struct endpoint parsed = { 0 };

                (void)snprintf(path, sizeof path, "experts.%.120s.endpoints[%zu]", e->name, i);
                if (endpoint_parse(c->arena, url, &parsed, &why) < 0) {
                        problems_add(c->problems, settings_item(c->s, "experts", e->name, "endpoints", i), path, "'%.200s': %s", url, why);
                        broken = true;
                        continue;
                }
                tls = tls || strncmp(parsed.url, "https:", 6) == 0;
                if (e->transport == TRANSPORT_PLAIN && !parsed.plain)
                        problems_add(c->problems, settings_item(c->s, "experts", e->name, "endpoints", i), path,
                                     "transport 'plain' carries http:// only, and this is '%.200s': use 'auto' or 'curl'", url);
                for (size_t j = 0; j < i; j++)
                        if (strcmp(e->endpoints.items[j], url) == 0) {
                                problems_add(c->problems, settings_item(c->s, "experts", e->name, "endpoints", i), path,
                                             "'%.200s' is in this list twice", url);
                                break;
                        }
        }
        if (e->ca && !tls && !broken) {
                (void)snprintf(path, sizeof path, "experts.%.120s.ca", e->name);
                problems_add(c->problems, settings_place(c->s, "experts", e->name, "ca"), path,
                             "names the trusted authorities for https://, but no endpoint is https://");
        }
}

/* The value may hold a password, and is not shown. */
static void check_proxy(struct check *c, const struct expert_settings *e)
{
        static const char *const schemes[] = { "http://", "https://", "socks4://", "socks4a://", "socks5://", "socks5h://" };
        const char *wrong = "does not begin with http://, https://, socks4://, socks4a://, socks5:// or socks5h://, and then a host";
        char path[PATH_SIZE];

        if (!e->proxy || !*e->proxy)
                return;
        for (size_t i = 0; i < LENGTH_OF(schemes); i++) {
                size_t n = strlen(schemes[i]);

                if (strncmp(e->proxy, schemes[i], n) == 0 && e->proxy[n] && e->proxy[n] != '/' && printable(e->proxy) && !strchr(e->proxy, ' '))
                        wrong = NULL;
        }
        if (!wrong && e->transport == TRANSPORT_PLAIN)
                wrong = "needs transport 'auto' or 'curl': 'plain' knows no proxies";
        for (size_t i = 0; i < e->endpoints.n && !wrong; i++)
                if (strncmp(e->endpoints.items[i], "unix:", 5) == 0)
                        wrong = "leads to no unix: endpoint: leave it out, or put that endpoint into an expert of its own";
        (void)snprintf(path, sizeof path, "experts.%.120s.proxy", e->name);
        if (wrong)
                problems_add(c->problems, settings_place(c->s, "experts", e->name, "proxy"), path, "%s", wrong);
}

/* Headers that the gateway writes itself, or that would break what it reads. */
static const char *const own_headers[] = { "host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive",
                                           "proxy-connection", "upgrade", "te", "trailer", "expect", "accept-encoding" };

/* NULL: in order. */
static const char *header_wrong(const char *header, bool key)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
        size_t n = strspn(header, letters);

        if (n == 0 || header[n] != ':' || !printable(header) || !header[n + 1 + strspn(header + n + 1, " ")])
                return "is not 'Name: value' in printable ASCII";
        for (size_t i = 0; i < LENGTH_OF(own_headers); i++)
                if (strlen(own_headers[i]) == n && strncasecmp(header, own_headers[i], n) == 0)
                        return "is a header that the gateway writes itself: leave it out";
        if (key && n == 13 && strncasecmp(header, "authorization", n) == 0)
                return "is Authorization, which 'key' writes already: leave one of them out";
        return NULL;
}

/* Members that make a request what it is. */
static void check_drop(struct check *c, const struct expert_settings *e)
{
        static const char *const needed[] = { "model", "stream", "stream_options", "messages", "prompt", "input" };
        char path[PATH_SIZE];

        for (size_t i = 0; i < e->drop.n; i++) {
                const char *name = e->drop.items[i];

                (void)snprintf(path, sizeof path, "experts.%.120s.drop[%zu]", e->name, i);
                if (!*name || !printable(name) || strpbrk(name, "\"\\"))
                        problems_add(c->problems, settings_item(c->s, "experts", e->name, "drop", i), path,
                                     "'%.*s' is no name of a member: printable ASCII without quotes and backslashes", SHOWN, name);
                for (size_t k = 0; k < LENGTH_OF(needed); k++)
                        if (strcasecmp(name, needed[k]) == 0)
                                problems_add(c->problems, settings_item(c->s, "experts", e->name, "drop", i), path,
                                             "'%s' is a member that the expert needs", needed[k]);
        }
}

static void check_expert(struct check *c, const struct expert_settings *e)
{
#define X(name, bit, text) text,
        static const char *apis[] = { EXPERT_APIS(X) };
#undef X
        struct section known = { .what = "API", .list = apis, .n = LENGTH_OF(apis) };
        char path[PATH_SIZE], why[512];

        if (names_build(c->arena, apis, known.n, &known.set) < 0) {
                no_memory(c);
                return;
        }
        check_endpoints(c, e);
        check_drop(c, e);
        check_proxy(c, e);
        check_list(c, "experts", e->name, "apis", &e->apis, &known);
        empty_list(c, "experts", e->name, "apis", &e->apis, "nothing is sent there");
        for (size_t i = 0; i < e->headers.n; i++) {
                const char *wrong = header_wrong(e->headers.items[i], e->key && *e->key);

                (void)snprintf(path, sizeof path, "experts.%.120s.headers[%zu]", e->name, i);
                if (wrong)
                        problems_add(c->problems, settings_item(c->s, "experts", e->name, "headers", i), path, "%s", wrong);
        }
        (void)snprintf(path, sizeof path, "experts.%.120s.key", e->name);
        if (e->key && (!printable(e->key) || strchr(e->key, ' ')))
                problems_add(c->problems, settings_place(c->s, "experts", e->name, "key"), path,
                             "has letters that no header can carry (a space, a line's end?); use printable ASCII");
        (void)snprintf(path, sizeof path, "experts.%.120s.ca", e->name);
        if (e->ca && tlsfiles_authorities(e->ca, why, sizeof why) < 0)
                problems_add(c->problems, settings_place(c->s, "experts", e->name, "ca"), path, "%s", why);
        (void)snprintf(path, sizeof path, "experts.%.120s.model", e->name);
        if (e->model && !*e->model)
                problems_add(c->problems, settings_place(c->s, "experts", e->name, "model"), path,
                             "is empty; leave it out to send the expert's name");
}

/* ---- who refers to whom -------------------------------------------------------------------------------------------------- */

static void check_route(struct check *c, const struct route_settings *r)
{
        char path[PATH_SIZE];
        const struct node *at;

        check_list(c, "routes", r->name, "routers", &r->routers, &c->routers);
        check_list(c, "routes", r->name, "experts", &r->experts, &c->experts);
        empty_list(c, "routes", r->name, "routers", &r->routers, "no router is asked and the default answers");
        empty_list(c, "routes", r->name, "experts", &r->experts, "no expert can answer");
        if (index_in(&c->experts, r->name) >= 0)
                problems_add(c->problems, settings_place(c->s, "routes", r->name, NULL), "routes",
                             "'%s' is the name of an expert too, so it would be unclear which one a client wants: rename one of them", r->name);
        if (!r->preset)
                return;
        at = settings_place(c->s, "routes", r->name, "default");
        (void)snprintf(path, sizeof path, "routes.%.120s.default", r->name);
        if (index_in(&c->experts, r->preset) < 0)
                unknown_name(c, &c->experts, r->preset, at, path);
        else if (r->experts.items && !listed(&r->experts, r->preset))
                problems_add(c->problems, at, path, "'%s' is not among this route's experts", r->preset);
}

static void check_embedder(struct check *c, const struct embedder_settings *e)
{
        ptrdiff_t i = e->expert ? index_in(&c->experts, e->expert) : -1;
        char path[PATH_SIZE];

        (void)snprintf(path, sizeof path, "embedders.%.120s", e->name);
        if (!e->model == !e->expert)
                problems_add(c->problems, settings_place(c->s, "embedders", e->name, NULL), path, e->model
                             ? "has a model and an expert: one of them would be right" : "needs a 'model' (a folder) or an 'expert'");
        if (e->model && (index_in(&c->experts, e->name) >= 0 || index_in(&c->routes, e->name) >= 0))
                problems_add(c->problems, settings_place(c->s, "embedders", e->name, NULL), path,
                             "is the name of an expert or a route too, so it would be unclear which one a client wants: rename one of them");
        (void)snprintf(path, sizeof path, "embedders.%.120s.expert", e->name);
        if (e->expert && i < 0)
                unknown_name(c, &c->experts, e->expert, settings_place(c->s, "embedders", e->name, "expert"), path);
        else if (i >= 0 && !listed(&SETTINGS_AT(c->s->experts, struct expert_settings, i).apis, "embeddings"))
                problems_add(c->problems, settings_place(c->s, "embedders", e->name, "expert"), path,
                             "'%s' does not have embeddings among its 'apis'", e->expert);
        (void)snprintf(path, sizeof path, "embedders.%.120s.path", e->name);
        if (e->path && (*e->path != '/' || !printable(e->path) || strpbrk(e->path, " ?#")))
                problems_add(c->problems, settings_place(c->s, "embedders", e->name, "path"), path,
                             "'%.*s' is no path such as /embeddings", SHOWN, e->path);
}

static void check_tenant(struct check *c, const struct tenant_settings *t)
{
        char path[PATH_SIZE];

        check_list(c, "tenants", t->name, "experts", &t->experts, &c->experts);
        check_list(c, "tenants", t->name, "routes", &t->routes, &c->routes);
        empty_list(c, "tenants", t->name, "experts", &t->experts, "this tenant may use no expert");
        empty_list(c, "tenants", t->name, "routes", &t->routes, "this tenant may ask for no route");
        (void)snprintf(path, sizeof path, "tenants.%.120s", t->name);
        if (t->keys.n + t->key_hashes.n == 0)
                problems_add(c->problems, settings_place(c->s, "tenants", t->name, NULL), path,
                             "has no key, so no client could be this tenant: add 'keys' or 'key_hashes'");
}

/* ---- the cache ----------------------------------------------------------------------------------------------------------- */

static void check_cache(struct check *c)
{
        const struct redis_settings *s = &c->s->cache.redis;
        const struct node *at = settings_place(c->s, "cache", "redis", NULL);
        struct redis_config config = settings_redis(s);
        char why[512];

        if (s->servers.n == 0) {
                if (s->master || s->user || s->password || s->mode)
                        problems_add(c->problems, at, "cache.redis", "says how to talk to Redis, but not where it is: add 'servers'");
                return;
        }
        if (redis_check(&config, why, sizeof why) < 0)
                problems_add(c->problems, at, "cache.redis", "%s", why);
        if (s->prefix && (!printable(s->prefix) || strpbrk(s->prefix, " *?[]\\{}")))
                problems_add(c->problems, at, "cache.redis.prefix",
                             "'%.60s' has a space, a bracket or one of * ? \\: keys are looked for by patterns", s->prefix);
}

#define SECTION(c, what, field, T, ret) section_of((c), what, &(c)->s->field, sizeof(T), offsetof(T, name), (ret))
#define EACH(c, field, T, check_one)                                                  \
        for (size_t i_ = 0; i_ < (c)->s->field.n; i_++)                               \
                if (SETTINGS_AT((c)->s->field, T, i_).name)                           \
                        check_one((c), &SETTINGS_AT((c)->s->field, T, i_))

void settings_check(const struct settings *s, struct arena *a, struct problems *p)
{
        struct check c = { .s = s, .arena = a, .problems = p };
        struct section embedders, tenants;

        if (!SECTION(&c, "expert", experts, struct expert_settings, &c.experts) ||
            !SECTION(&c, "router", routers, struct router_settings, &c.routers) ||
            !SECTION(&c, "route", routes, struct route_settings, &c.routes) ||
            !SECTION(&c, "embedder", embedders, struct embedder_settings, &embedders) ||
            !SECTION(&c, "tenant", tenants, struct tenant_settings, &tenants)) {
                no_memory(&c);
                return;
        }
        check_listeners(&c);
        check_browsers(&c);
        check_admin(&c);
        check_feedback(&c);
        check_watchdog(&c);
        check_memory(&c);
        check_cache(&c);
        check_names(&c, "experts", &c.experts);
        check_names(&c, "routers", &c.routers);
        check_names(&c, "routes", &c.routes);
        check_names(&c, "embedders", &embedders);
        check_names(&c, "tenants", &tenants);
        EACH(&c, experts, struct expert_settings, check_expert);
        EACH(&c, routes, struct route_settings, check_route);
        EACH(&c, embedders, struct embedder_settings, check_embedder);
        EACH(&c, tenants, struct tenant_settings, check_tenant);
}
