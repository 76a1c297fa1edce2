/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: what they become, and every mistake with its place, word for word. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include "config.h"
#include "expert.h"
#include "log.h"
#include "settings.h"
#include "tenant.h"

#include "base.h"

#define E "experts: {a: {endpoints: ['http://h/v1']}}\n"
#define KEY "0123456789abcdef"

/* ---- parsing alone ------------------------------------------------------------------------------------------------------- */

static void check_in(const char *base, const char *text, const char *wanted)
{
        struct problems *p = problems_create(50);
        struct arena arena;

        arena_init(&arena, NULL, SIZE_MAX);
        (void)config_parse(text, strlen(text), "f", base, &arena, p);
        cr_expect_str_eq(problems_text(p), wanted, "%s\nsays\n%s\nnot\n%s", text, problems_text(p), wanted);
        problems_destroy(p);
        arena_finish(&arena);
}

static void check(const char *text, const char *wanted)
{
        check_in("/base", text, wanted);
}

Test(config, the_table_is_in_order)
{
        const char *wrong = options_check_table(settings_table, sizeof(struct settings));

        cr_assert_null(wrong, "%s", wrong ? wrong : "");
}

Test(config, good)
{
        check(E, "");
        check("{\"experts\": {\"a\": {\"endpoints\": [\"https:\\/\\/h\\/v1\"], \"model\": \"\\ud83d\\ude00\"}}}", "");
        check(E "listen: '[::1]:0'\n", "");
        check(E "listen: {address: 127.0.0.2:80}\n", "");
        check(E "listen: [127.0.0.1:0, 127.0.0.1:0, '[::ffff:127.0.0.1]:80', {address: '[::1]:8080'}]\n", "");
        check(E "listen: 0.0.0.0:80\nopen: true\n", "");
        check(E "listen: '[::]:80'\ntenants: {t: {keys: " KEY "}}\n", "");
        check(E "admin: {address: 0.0.0.0:81}\n", "");
        check(E "admin: {token: short}\n", "f:2:16: admin.token: has 5 characters, where at least 8 are needed: whoever is on this machine could guess it\n");
        check(E "admin: {token: longer12}\n", "");
        check(E "admin: {address: 0.0.0.0:81, token: " KEY "}\n", "");
        check("experts: {meta-llama/Llama-3.1:8b@q4_0+x: {endpoints: [unix:/run/x.sock:/v1, http://h], headers: ['X-A:b', \"api-key:  c\"]}}", "");
        check("defaults: &d {a: 1}\n" E, "f:1:1: unknown key 'defaults' - known here: listen, admin, open, hosts, cors, workers, watchdog, pool, limits, log, experts, "
              "plugin_dirs, routes, embedders, tenants, cache, feedback, routers\n");
}

Test(config, sections)
{
        check("", "f:1:1: key 'experts' is required (the servers behind; clients may use an expert's name as `model`)\n");
        check("hello\n", "f:1:1: found a text where a map of sections would be right, such as 'experts:'\n");
        check("- 1\n", "f:1:1: found a list where a map of sections would be right, such as 'experts:'\n");
        check("experts: {}\n", "f:1:10: experts: has 0 entries, which is not in 1..4096 (the servers behind; clients may use an expert's name as "
              "`model`)\n");
        check(E "routers: [1]\n", "f:2:10: routers: found a list where a map of maps would be right (plugins that say which expert answers)\n");
        check(E "routers: {r: 5, s: , t: {k: 1}}\n",
              "f:2:14: routers.r: found a text where a map would be right, such as {plugin: rules}\n"
              "f:2:17: routers.s: key 'plugin' is required (a name, looked for in plugin_dirs, or the path of a .so; the other keys are the "
              "plugin's own: see `pointsman describe PLUGIN`)\n"
              "f:2:25: routers.t: key 'plugin' is required (a name, looked for in plugin_dirs, or the path of a .so; the other keys are the "
              "plugin's own: see `pointsman describe PLUGIN`)\n");
}

Test(config, too_many_routers)
{
        char text[257 * 24 + 64] = E "routers:\n";
        size_t used = strlen(text);

        for (int i = 0; i < 257; i++)
                used += (size_t)snprintf(text + used, sizeof text - used, "  r%d: {plugin: x}\n", i);
        check(text, "f:3:3: routers: has 257 entries, which is not in 0..256 (plugins that say which expert answers)\n");
}

Test(config, every_mistake_in_one_run)
{
        check("lisden: 127.0.0.1:8080\nworkers: many\nlimits:\n  body: -1\n  heat_time: 3s\nexperts:\n  alpha:\n"
              "    endpoint: [http://127.0.0.1:9001/v1]\n  beta:\n    endpoints: [ftp://127.0.0.1/v1]\n    breaker: {failures: 0.5}\n"
              "routes:\n  auto: {default: alfa, fallbacks: 10000}\n",
              "f:1:1: unknown key 'lisden' - did you mean 'listen'?\n"
              "f:2:10: workers: found 'many' where a whole number in 0..1024 would be right (event loops; 0: one for each core)\n"
              "f:5:3: limits: unknown key 'heat_time' - did you mean 'head_time'?\n"
              "f:4:9: limits.body: found '-1' where a size such as 512, 64KiB, 4MiB or 1GiB in 1KiB..1GiB would be right (a request's body; "
              "above it 413)\n"
              "f:8:5: experts.alpha: unknown key 'endpoint' - did you mean 'endpoints'?\n"
              "f:8:5: experts.alpha: key 'endpoints' is required (base URLs of servers that answer alike, used in turn: "
              "http://127.0.0.1:8000/v1, https://host/v1, unix:/run/llm.sock:/v1)\n"
              "f:11:25: experts.beta.breaker.failures: found '0.5' where a whole number in 1..1000 would be right (failures one after another "
              "that close an endpoint's door)\n"
              "f:13:36: routes.auto.fallbacks: 10000 is not in 0..64 (further experts that may be tried when the chosen one fails)\n"
              "f:10:17: experts.beta.endpoints[0]: 'ftp://127.0.0.1/v1': expected http://host:port/base, https://host/base or "
              "unix:/path.sock:/base\n"
              "f:13:19: routes.auto.default: no expert is called 'alfa' - there are: alpha, beta\n");
}

Test(config, listeners)
{
        check(E "listen: 0.0.0.0:80\n",
              "f:2:9: listen[0].address: 0.0.0.0:80 is reachable from other machines and no tenants are configured, so anybody could use the "
              "experts: add 'tenants' with keys, listen on 127.0.0.1, or say 'open: true'\n");
        check(E "listen: [{address: '[::]:80'}]\nopen: false\n",
              "f:2:20: listen[0].address: [::]:80 is reachable from other machines and no tenants are configured, so anybody could use the "
              "experts: add 'tenants' with keys, listen on 127.0.0.1, or say 'open: true'\n");
        for (size_t i = 0; i < 9; i++) {
                static const char *const wrong[] = { "localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":80", "[::1]", "::1:80x",
                                                     "127.0.0.1:-1", "[127.0.0.1]:80" };
                char text[256], wanted[256];

                (void)snprintf(text, sizeof text, E "listen: '%s'\n", wrong[i]);
                (void)snprintf(wanted, sizeof wanted, "f:2:9: listen[0].address: '%s' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or "
                               "[::1]:8080 (numbers, no names)\n", wrong[i]);
                check(text, wanted);
        }
        check(E "listen: [127.0.0.1:80, {address: 127.0.0.1:80}, {}, 5]\n",
              "f:2:34: listen[1].address: 127.0.0.1:80 is the address of listen[0] too\n"
              "f:2:53: listen[3].address: '5' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080 (numbers, no names)\n");
        check(E "admin: {address: 0.0.0.0:81, token: short}\n",
              "f:2:37: admin.token: has 5 characters, and 0.0.0.0:81 is reachable from other machines: there it needs at least 16\n");
        check(E "admin: {address: here, token: 'a b'}\n",
              "f:2:31: admin.token: has letters that no header can carry; use printable ASCII without spaces\n"
              "f:2:18: admin.address: 'here' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080 (numbers, no names)\n");
        check(E "admin: {address: 127.0.0.1:8080, token: longer12}\n", "f:2:18: admin.address: 127.0.0.1:8080 is the address of listen[0] too\n");
}

Test(config, names)
{
        check("experts: {'a b': {endpoints: http://h}, \"c\\u00e4d\": {endpoints: http://h}}\ntenants: {'\"': {keys: " KEY "}}\n",
              "f:1:11: experts: the name 'a b' has a ' ' in it; a name has letters, digits and any of . _ - / : @ +\n"
              "f:1:41: experts: the name 'c\xc3\xa4" "d' has a '\xc3\xa4' in it; a name has letters, digits and any of . _ - / : @ +\n"
              "f:2:11: tenants: the name '\"' has a '\"' in it; a name has letters, digits and any of . _ - / : @ +\n");
        check("experts: {aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              "aaaaaaaaaa: {endpoints: http://h}}\n",
              "f:1:11: experts: the name 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' has 137 characters; at most 128 are "
              "possible\n");
        check(E "routes: {a: {}}\n",
              "f:2:10: routes: 'a' is the name of an expert too, so nobody could tell which one a client wants: rename one of them\n");
}

Test(config, experts)
{
        check("experts:\n"
              "  a: {endpoints: [http://h, http://h, nonsense], transport: plain, key: \"a\\n\", model: ''}\n"
              "  b: {endpoints: https://h, transport: plain}\n"
              "  c: {endpoints: http://h, apis: [chatt, chat, chat], ca: no.pem}\n"
              "  d: {endpoints: http://h, transport: fast, headers: [x, 'Host: y', \"A: b\\r\\nC: d\", 'Authorization: z', 'E:'], key: k}\n",
              "f:5:39: experts.d.transport: 'fast' is not one of auto, plain, curl (auto: http:// goes by plain (least time), https:// and unix: "
              "by curl)\n"
              "f:2:29: experts.a.endpoints[1]: 'http://h' is in this list twice\n"
              "f:2:39: experts.a.endpoints[2]: 'nonsense': expected http://host:port/base, https://host/base or unix:/path.sock:/base\n"
              "f:2:73: experts.a.key: has letters that no header can carry (a space, a line's end?); use printable ASCII\n"
              "f:2:87: experts.a.model: is empty; leave it out to send the expert's name\n"
              "f:3:18: experts.b.endpoints[0]: transport 'plain' carries http:// only, and this is 'https://h': use 'auto' or 'curl'\n"
              "f:4:59: experts.c.ca: says whom to trust for https://, but no endpoint is https://\n"
              "f:4:35: experts.c.apis[0]: no API is called 'chatt' - did you mean 'chat'?\n"
              "f:4:48: experts.c.apis[2]: 'chat' is in this list twice\n"
              "f:4:59: experts.c.ca: cannot read '/base/no.pem': No such file or directory\n"
              "f:5:55: experts.d.headers[0]: is not 'Name: value' in printable ASCII\n"
              "f:5:58: experts.d.headers[1]: is a header that the gateway writes itself: leave it out\n"
              "f:5:69: experts.d.headers[2]: is not 'Name: value' in printable ASCII\n"
              "f:5:85: experts.d.headers[3]: is Authorization, which 'key' writes already: leave one of them out\n"
              "f:5:105: experts.d.headers[4]: is not 'Name: value' in printable ASCII\n");
}

Test(config, references)
{
        check("experts: {alpha: {endpoints: http://h}, beta: {endpoints: http://h, apis: embeddings}}\n"
              "routers: {one: {plugin: rules}}\n"
              "routes:\n"
              "  r: {routers: [on, one, one], experts: [alpha, betta], default: beta}\n"
              "  s: {default: zzzzzz}\n"
              "embedders: {e: {expert: alpha}, f: {expert: nobody}, g: {expert: beta, path: v1}, h: {}}\n"
              "tenants: {t: {keys: " KEY ", experts: [alpha, alpah], routes: [auto]}, u: {}, v: }\n",
              "f:4:17: routes.r.routers[0]: no router is called 'on' - did you mean 'one'?\n"
              "f:4:26: routes.r.routers[2]: 'one' is in this list twice\n"
              "f:4:49: routes.r.experts[1]: no expert is called 'betta' - did you mean 'beta'?\n"
              "f:4:66: routes.r.default: 'beta' is not among this route's experts\n"
              "f:5:16: routes.s.default: no expert is called 'zzzzzz' - there are: alpha, beta\n"
              "f:6:25: embedders.e.expert: 'alpha' does not have embeddings among its 'apis'\n"
              "f:6:45: embedders.f.expert: no expert is called 'nobody' - there are: alpha, beta\n"
              "f:6:78: embedders.g.path: 'v1' is no path such as /embeddings\n"
              "f:6:83: embedders.h: needs a 'model' (a folder) or an 'expert'\n"
              "f:7:56: tenants.t.experts[1]: no expert is called 'alpah' - did you mean 'alpha'?\n"
              "f:7:73: tenants.t.routes[0]: no route is called 'auto' - there are: r, s\n"
              "f:7:81: tenants.u: has no key, so nobody could be this tenant: add 'keys' or 'key_hashes'\n"
              "f:7:88: tenants.v: has no key, so nobody could be this tenant: add 'keys' or 'key_hashes'\n");
        check(E "routes: {r: {routers: x}}\n", "f:2:23: routes.r.routers[0]: no router is called 'x' - there are none\n");
}

Test(config, secrets_stay_out_of_messages)
{
        cr_assert_eq(setenv("PM_T_SECRET", "hush hush", 1), 0);
        check(E "tenants: {t: {keys: [[hush]]}}\nworkers: ${PM_T_SECRET}\nopen: ${PM_T_SECRET}\nadmin: {token: [hush]}\n",
              "f:5:16: admin.token: found a list where a text would be right (bearer token that every request there must show, at least 8 characters, 16 beyond loopback; empty or absent: "
              "no such listener)\n"
              "f:4:7: open: found a value from the environment where true or false would be right (true: anybody who can reach a listener "
              "beyond loopback may use it)\n"
              "f:3:10: workers: found a value from the environment where a whole number in 0..1024 would be right (event loops; 0: one for each "
              "core)\n"
              "f:2:22: tenants.t.keys[0]: found a list where a text would be right (API keys of at least 16 characters; better from the "
              "environment: ${ACME_KEY})\n");
}

/* ---- folders and files --------------------------------------------------------------------------------------------------- */

static char folder[64];

static void make_folder(void)
{
        (void)snprintf(folder, sizeof folder, "/tmp/pm_config_XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        log_setup(PM_ERROR, LOG_LOGFMT);
}

static void remove_folder(void)
{
        static const char *const files[] = { "c.yaml", "server.pem", "server.key", "other.key", "locked.key", "closed" };
        char path[128];

        for (size_t i = 0; i < LENGTH_OF(files); i++) {
                (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
                (void)unlink(path);
        }
        (void)rmdir(folder);
}

static FILE *open_in_folder(const char *name, const char *mode)
{
        char path[128];
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        f = fopen(path, mode);
        cr_assert_not_null(f, "%s", path);
        return f;
}

static void write_file(const char *name, const char *text)
{
        FILE *f = open_in_folder(name, "we");

        (void)fputs(text, f);
        cr_assert_eq(fclose(f), 0);
}

static EVP_PKEY *write_key(const char *name, const char *passphrase)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        FILE *f = open_in_folder(name, "we");

        cr_assert_eq(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL, (const unsigned char *)passphrase,
                                          passphrase ? (int)strlen(passphrase) : 0, NULL, NULL), 1);
        cr_assert_eq(fclose(f), 0);
        return key;
}

static void write_certificate(const char *name, EVP_PKEY *key)
{
        FILE *f = open_in_folder(name, "we");
        X509 *x = X509_new();

        (void)X509_gmtime_adj(X509_getm_notBefore(x), 0);
        (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
        cr_assert_eq(X509_set_pubkey(x, key), 1);
        cr_assert_gt(X509_sign(x, key, EVP_sha256()), 0);
        cr_assert_eq(PEM_write_X509(f, x), 1);
        cr_assert_eq(fclose(f), 0);
        X509_free(x);
}

Test(config, tls_files, .init = make_folder, .fini = remove_folder)
{
        EVP_PKEY *key = write_key("server.key", NULL);
        char wanted[1024];

        write_certificate("server.pem", key);
        EVP_PKEY_free(key);
        EVP_PKEY_free(write_key("other.key", NULL));
        EVP_PKEY_free(write_key("locked.key", "pass"));
        check_in(folder, E "listen: {tls: {certificate: server.pem, key: server.key}}\n", "");
        check_in(folder, "experts: {a: {endpoints: https://h, ca: server.pem}}", "");

        (void)snprintf(wanted, sizeof wanted, "f:2:46: listen[0].tls.key: this key does not belong to the certificate '%s/server.pem'\n", folder);
        check_in(folder, E "listen: {tls: {certificate: server.pem, key: other.key}}\n", wanted);
        (void)snprintf(wanted, sizeof wanted, "f:2:46: listen[0].tls.key: '%s/locked.key' has a passphrase, and nobody is there to type it: "
                       "store it without one (openssl pkey)\n", folder);
        check_in(folder, E "listen: {tls: {certificate: server.pem, key: locked.key}}\n", wanted);
        (void)snprintf(wanted, sizeof wanted, "f:2:29: listen[0].tls.certificate: '%s/server.key' holds no certificate in PEM form\n"
                       "f:2:46: listen[0].tls.key: '%s/server.pem' holds no private key in PEM form\n", folder, folder);
        check_in(folder, E "listen: {tls: {certificate: server.key, key: server.pem}}\n", wanted);
        (void)snprintf(wanted, sizeof wanted, "f:2:29: listen[0].tls.certificate: cannot read '%s/none.pem': No such file or directory\n", folder);
        check_in(folder, E "listen: {tls: {certificate: none.pem, key: server.key}}\n", wanted);
        check_in(folder, E "listen: {tls: {certificate: /dev/zero, key: server.key}}\n",
                 "f:2:29: listen[0].tls.certificate: cannot read '/dev/zero': it is not a file\n");
        check_in(folder, E "listen: {tls: {certificate: server.pem}}\n",
                 "f:2:15: listen[0].tls: key 'key' is required (PEM file: the certificate's private key, without a passphrase)\n");
        (void)snprintf(wanted, sizeof wanted, "f:1:41: experts.a.ca: '%s/server.key' holds no certificate in PEM form\n", folder);
        check_in(folder, "experts: {a: {endpoints: https://h, ca: server.key}}", wanted);
}

/* ---- generations --------------------------------------------------------------------------------------------------------- */

/* A path below the build's root: this executable is tests/unit/test_config there. */
static const char *built(const char *name)
{
        static char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        char *slash;

        cr_assert_gt(n, 0);
        path[n] = '\0';
        slash = strrchr(path, '/');
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/../../%s", name);
        return path;
}

static int load(const char *text, struct problems **ret_p, struct generation **ret)
{
        char path[128];

        write_file("c.yaml", text);
        (void)snprintf(path, sizeof path, "%s/c.yaml", folder);
        *ret = NULL;
        *ret_p = problems_create(50);
        return generation_load(path, 7, *ret_p, ret);
}

static struct generation *load_good(const char *text)
{
        struct generation *g;
        struct problems *p;
        int r = load(text, &p, &g);

        cr_assert_eq(r, 0, "%s", problems_text(p));
        cr_assert_str_eq(problems_text(p), "");
        problems_destroy(p);
        return g;
}

/* The messages, without the folder's name. */
static void load_bad(const char *text, const char *wanted)
{
        struct generation *g;
        struct problems *p;
        int r = load(text, &p, &g);
        size_t n = strlen(folder) + 1;
        char *said = strdup(problems_text(p)), *at;

        while ((at = strstr(said, folder)))
                memmove(at, at + n, strlen(at + n) + 1);
        cr_expect_eq(r, -EINVAL);
        cr_expect_null(g);
        cr_expect_str_eq(said, wanted, "says\n%s\nnot\n%s", said, wanted);
        free(said);
        problems_destroy(p);
}

static const char *closed(void)
{
        static char text[256];
        FILE *f = open_in_folder("closed", "a+e");

        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        (void)fclose(f);
        return text;
}

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

Test(config, the_smallest_file, .init = make_folder, .fini = remove_folder)
{
        struct generation *g = load_good("experts: {llama: {endpoints: [\"http://127.0.0.1:8000/v1\"]}}\n");
        const struct route *r = generation_route(g, str("auto"));
        const struct expert *e = generation_expert(g, str("llama"));

        cr_assert(r && e);
        cr_expect_eq(g->n_listeners, 1);
        cr_expect_str_eq(g->listeners[0].address, "127.0.0.1:8080");
        cr_expect_null(g->listeners[0].tls.certificate);
        cr_expect_null(g->admin.address);
        cr_expect_null(g->tenants);
        cr_expect_eq(g->number, 7);
        cr_expect_eq(g->pool_queue, 256);
        cr_expect_eq(g->limits.head, 65536);
        cr_expect_eq(g->limits.body, 8 << 20);
        cr_expect_eq(g->limits.request_time, 600000);
        cr_expect_eq(g->limits.buffer, 1048576);
        cr_expect_eq(g->log_level, PM_INFO);
        cr_expect_eq(g->log_format, LOG_LOGFMT);
        cr_expect(g->log_requests);
        cr_expect_str_eq(g->base, folder);
        cr_expect_eq(strlen(g->digest), 64);
        cr_expect_eq(r->n_experts, 1);
        cr_expect_eq(r->experts[0], e);
        cr_expect_eq(r->preset, e);
        cr_expect_eq(r->n_routers, 0);
        cr_expect_eq(r->deadline_ms, 250);
        cr_expect_eq(r->fallbacks, 2);
        cr_expect_str_eq(e->model, "llama");
        cr_expect_eq(e->apis, EXPERT_CHAT | EXPERT_COMPLETIONS | EXPERT_RESPONSES);
        cr_expect_eq(e->n_endpoints, 1);
        cr_expect(e->endpoints[0]->plain);
        cr_expect_eq(e->endpoints[0]->fixed_headers.n, 0);
        cr_expect_eq(e->connect_ms, 2000);
        cr_expect_eq(e->breaker_failures, 5);
        cr_expect_null(generation_expert(g, str("auto")));
        cr_expect_null(generation_expert(g, str("llam")));
        cr_expect_null(generation_expert(g, str("")));
        cr_expect_null(generation_expert(g, (struct pm_str){ NULL, 0 }));
        cr_expect_null(generation_route(g, str("llama")));
        cr_expect_null(generation_embedder(g, "x"));
        generation_release(g);
}

Test(config, what_a_file_becomes, .init = make_folder, .fini = remove_folder)
{
        char text[2 * PATH_MAX];
        const struct expert *big;
        const struct route *r;
        const struct embedder *b;
        struct tenant *t;
        struct generation *g, *again;

        (void)snprintf(text, sizeof text,
                       "listen: [127.0.0.1:1, '[::1]:2']\n"
                       "admin: {address: 127.0.0.1:3, token: longer12}\n"
                       "workers: 3\npool: {threads: 2, queue: 9}\nlog: {level: warn, format: json, requests: false}\n"
                       "limits: {head: 2KiB, drain_time: 0s}\n"
                       "experts:\n"
                       "  vec: {endpoints: http://h:1/v1, apis: [embeddings]}\n"
                       "  big: {endpoints: [https://h/v1, http://h:2/v1], key: k, headers: ['X-A:  b', 'C:d'], transport: auto, model: m,\n"
                       "        price_in: 0.5, price_out: 1.5, context: 4096, retries: 2, in_flight: 7, breaker: {failures: 1, open_time: 1s}}\n"
                       "  old: {endpoints: http://h:3/v1, transport: curl}\n"
                       "plugin_dirs: [%s]\n"
                       "routers: {first: {plugin: template, expert: old}, second: {plugin: template.so, expert: big}}\n"
                       "routes: {all: {}, one: {routers: [second], experts: [old, big], default: big, deadline: 1s, fallbacks: 0}}\n"
                       "embedders: {bge: {expert: vec, dim: 384}}\n"
                       "tenants: {t: {keys: [" KEY "], in_flight: 1, experts: [old], routes: [one]}, u: {keys: x" KEY "}}\n",
                       built("routers"));
        g = load_good(text);
        cr_expect_eq(g->n_listeners, 2);
        cr_expect_str_eq(g->admin.address, "127.0.0.1:3");
        cr_expect_eq(g->workers, 3);
        cr_expect_eq(g->limits.head, 2048);
        cr_expect_eq(g->limits.drain_time, 0);
        cr_expect_eq(g->log_level, PM_WARN);
        cr_expect_eq(g->log_format, LOG_JSON);
        cr_expect_not(g->log_requests);

        big = generation_expert(g, str("big"));
        cr_assert_not_null(big);
        cr_expect_str_eq(big->model, "m");
        cr_expect_eq(big->n_endpoints, 2);
        cr_expect_not(big->endpoints[0]->plain);
        cr_expect(big->endpoints[1]->plain);
        cr_expect_str_eq(big->endpoints[1]->url, "http://h:2/v1");
        cr_expect_str_eq(big->endpoints[0]->fixed_headers.p, "Authorization: Bearer k\r\nX-A: b\r\nC: d\r\n");
        cr_expect_eq(big->endpoints[0]->fixed_headers.n, strlen(big->endpoints[0]->fixed_headers.p));
        cr_expect_eq(big->price_out, 1.5);
        cr_expect_eq(big->max_in_flight, 7);
        cr_expect_eq(big->breaker_open_ms, 1000);
        cr_expect_not(generation_expert(g, str("old"))->endpoints[0]->plain);
        cr_expect_eq(generation_expert(g, str("vec"))->apis, EXPERT_EMBEDDINGS);

        cr_assert_eq(g->n_routers, 2);
        cr_expect_str_eq(g->routers[0]->name, "first");
        cr_expect_str_eq(g->routers[1]->table->name, "template");
        cr_expect_eq(g->routers[1]->pool.max, 9);
        r = generation_route(g, str("all"));
        cr_assert_eq(r->n_routers, 2);
        cr_expect_eq(r->routers[1], g->routers[1]);
        cr_expect_eq(r->n_experts, 3);
        cr_expect_eq(r->preset, big, "the first that can hold a conversation");
        r = generation_route(g, str("one"));
        cr_assert_eq(r->n_routers, 1);
        cr_expect_eq(r->routers[0], g->routers[1]);
        cr_expect_str_eq(r->experts[0]->name, "old");
        cr_expect_eq(r->preset, big);
        cr_expect_eq(r->deadline_ms, 1000);
        cr_expect_eq(r->fallbacks, 0);
        cr_expect_null(generation_route(g, str("auto")));
        b = generation_embedder(g, "bge");
        cr_assert_not_null(b);
        cr_expect_str_eq(b->path, "/embeddings");
        cr_expect_eq(b->dim, 384);

        t = tenants_find(g->tenants, str("Bearer " KEY));
        cr_assert_not_null(t);
        cr_expect_str_eq(t->name, "t");
        cr_expect(tenant_may_use(t, generation_expert(g, str("old"))));
        cr_expect_not(tenant_may_use(t, big));
        cr_expect(tenant_may_ask(t, r));
        cr_expect_not(tenant_may_ask(t, generation_route(g, str("all"))));
        cr_expect(tenant_enter(t));
        cr_expect_not(tenant_enter(t));
        cr_expect(tenant_may_use(tenants_find(g->tenants, str("Bearer x" KEY)), big));

        again = load_good(text); /* what changes outlives the generation */
        cr_expect_eq(generation_expert(again, str("big"))->state, big->state);
        cr_expect_eq(generation_expert(again, str("big"))->metric, big->metric);
        cr_expect_eq(generation_expert(again, str("big"))->endpoints[0]->state, big->endpoints[0]->state);
        cr_expect_not(tenant_enter(tenants_find(again->tenants, str("Bearer " KEY))));
        cr_expect_str_eq(again->digest, g->digest);
        tenant_leave(t);
        generation_release(again);
        generation_release(g);
}

static int retired;

static void on_retired(struct generation *g, void *arg)
{
        cr_assert_eq(arg, &retired);
        cr_assert_eq(g->number, 7);
        retired++;
}

Test(config, the_last_one_out, .init = make_folder, .fini = remove_folder)
{
        struct generation *g = load_good(E "routers: {x: {plugin: uses_defer, file: closed}, y: {plugin: uses_defer, file: closed}}\n");

        g->retired = on_retired;
        g->retired_arg = &retired;
        cr_expect_eq(generation_take(g), g);
        generation_release(g);
        cr_expect_eq(retired, 0);
        generation_release(g);
        cr_expect_eq(retired, 1);
        cr_expect_str_eq(closed(), "", "the main thread has not come yet");
        generation_destroy(g);
        cr_expect_str_eq(closed(), "closed\nclosed\n");
        generation_destroy(NULL);

        g = load_good(E "routers: {x: {plugin: uses_defer, file: closed}}\n");
        generation_release(g); /* nobody else: at once */
        cr_expect_str_eq(closed(), "closed\nclosed\nclosed\n");
}

Test(config, what_was_opened_is_closed_when_another_refuses, .init = make_folder, .fini = remove_folder)
{
        load_bad(E "routers:\n  x: {plugin: uses_defer, file: closed}\n  y:\n    plugin: bad_open_refuse\n",
                 "c.yaml:4:3: routers.y: no model in 'models', 0 files seen\n");
        cr_expect_str_eq(closed(), "closed\n");
        load_bad(E "routers:\n  x: {plugin: uses_defer, file: closed}\n  y: {plugin: uses_defer, fiel: closed}\ntenants: {t: {keys: short}}\n",
                 "c.yaml:4:27: routers.y: unknown key 'fiel' - did you mean 'file'?\n"
                 "c.yaml:4:6: routers.y: key 'file' is required (where the lines are appended)\n"
                 "c.yaml:5:21: tenants.t.keys[0]: 5 characters that are no key: it has 16 to 256 of printable ASCII, without spaces\n");
        cr_expect_str_eq(closed(), "closed\nclosed\n");
        load_bad("experts: {a: {endpoints: nonsense}}\nrouters: {x: {plugin: uses_defer, file: closed}}\n",
                 "c.yaml:1:26: experts.a.endpoints[0]: 'nonsense': expected http://host:port/base, https://host/base or unix:/path.sock:/base\n");
        cr_expect_str_eq(closed(), "closed\nclosed\nclosed\n");
}

Test(config, plugins_that_are_not_there, .init = make_folder, .fini = remove_folder)
{
        struct generation *g;
        struct problems *p;

        cr_expect_eq(load(E "plugin_dirs: here\nrouters: {x: {plugin: uses_defre}}\n", &p, &g), -EINVAL);
        cr_expect(strstr(problems_text(p), "/c.yaml:3:23: routers.x.plugin: no plugin 'uses_defre' in /tmp/pm_config_"), "%s", problems_text(p));
        cr_expect(strstr(problems_text(p), "/here, "), "%s", problems_text(p));
        cr_expect(strstr(problems_text(p), "/lib/pointsman/routers - did you mean 'uses_defer'?\n"), "%s", problems_text(p));
        problems_destroy(p);
        load_bad(E "routers: {x: {plugin: ./none.so}}\n", "c.yaml:2:23: routers.x.plugin: cannot load plugin './none.so': No such file or directory\n");
}

Test(config, keys_of_tenants, .init = make_folder, .fini = remove_folder)
{
        char hash[TENANT_HASH_TEXT], text[1024];

        cr_assert_eq(tenant_hash_key(KEY, hash, sizeof hash), 0);
        (void)snprintf(text, sizeof text, E "tenants:\n  t: {keys: [another" KEY ", " KEY ", another" KEY "]}\n  u: {key_hashes: [%s, '%s', sha256:x]}\n",
                       hash, hash);
        load_bad(text, "c.yaml:4:126: tenants.u.key_hashes[1]: the same key stands in this file before\n"
                       "c.yaml:4:234: tenants.u.key_hashes[2]: 8 characters that are no 'sha256:SALT:HASH' in hex, as `pointsman hash-key` prints it\n"
                       "c.yaml:3:39: tenants.t.keys[1]: the same key stands in this file before\n"
                       "c.yaml:3:57: tenants.t.keys[2]: the same key stands in this file before\n");
}

Test(config, files_that_cannot_be_read, .init = make_folder, .fini = remove_folder)
{
        struct generation *g = NULL;
        struct problems *p = problems_create(5);

        cr_expect_eq(generation_load("/nowhere/c.yaml", 1, p, &g), -ENOENT);
        cr_expect_eq(generation_load("/tmp", 1, p, &g), -EISDIR);
        cr_expect_str_eq(problems_text(p), "/nowhere/c.yaml: cannot be read: No such file or directory\n/tmp: cannot be read: Is a directory\n");
        cr_expect_null(g);
        problems_destroy(p);
}

Test(config, in_force_without_secrets, .init = make_folder, .fini = remove_folder)
{
        CLEANUP(free_p) char *text = NULL;
        struct generation *g;
        json_t *json, *a;

        cr_assert_eq(setenv("PM_T_URL", "http://hidden/v1", 1), 0);
        cr_assert_eq(setenv("PM_T_KEY", "hush", 1), 0);
        cr_assert_eq(unsetenv("PM_T_NOT"), 0);
        g = load_good("experts: {a: {endpoints: '${PM_T_URL}', key: '${PM_T_KEY}', headers: ['X-A: hush'], price_in: 0.6, model: '${PM_T_NOT:-m}'}}\n"
                      "routers: {r: {plugin: uses_defer, file: '${PM_T_KEY}', wait: embed}}\n"
                      "tenants: {t: {keys: hush" KEY "}}\nadmin: {token: hush-hush}\nworkers: 2\n");
        text = config_to_json(g);
        generation_release(g);
        cr_assert_not_null(text);
        cr_expect_null(strstr(text, "hush"), "%s", text);
        cr_expect_null(strstr(text, "hidden"), "%s", text);
        cr_expect_not_null(strstr(text, "\"price_in\":0.6,"), "%s", text);
        json = json_loads(text, 0, NULL);
        cr_assert_not_null(json);
        a = json_object_get(json_object_get(json, "experts"), "a");
        cr_expect_str_eq(json_string_value(json_array_get(json_object_get(a, "endpoints"), 0)), "${PM_T_URL}");
        cr_expect_str_eq(json_string_value(json_object_get(a, "key")), "***");
        cr_expect_str_eq(json_string_value(json_object_get(a, "model")), "m", "nothing came from the environment");
        cr_expect_str_eq(json_string_value(json_object_get(a, "connect_time")), "2s");
        a = json_object_get(json_object_get(json, "routers"), "r");
        cr_expect_str_eq(json_string_value(json_object_get(a, "plugin")), "uses_defer");
        cr_expect_str_eq(json_string_value(json_object_get(a, "file")), "${PM_T_KEY}");
        cr_expect_str_eq(json_string_value(json_object_get(a, "wait")), "embed");
        cr_expect_eq(json_integer_value(json_object_get(json, "workers")), 2);
        cr_expect_not_null(json_object_get(json_object_get(json, "routes"), "auto"));
        json_decref(json);
}

/* What is shown, used as a file, is the same configuration. */
Test(config, in_force_as_a_file, .init = make_folder, .fini = remove_folder)
{
        CLEANUP(free_p) char *text = NULL, *again = NULL;
        struct generation *g = load_good("experts: {a: {endpoints: ['http://127.0.0.1:1/v1']}, b: {endpoints: ['http://127.0.0.1:2/v1'], apis: []}}\n"
                                         "routes: {all: {}, none: {experts: [], routers: []}}\n");
        json_t *json, *routes;

        text = config_to_json(g);
        generation_release(g);
        json = json_loads(text, 0, NULL);
        routes = json_object_get(json, "routes");
        cr_expect_null(json_object_get(json_object_get(routes, "all"), "experts"), "%s", text);
        cr_expect_null(json_object_get(json_object_get(routes, "all"), "routers"), "%s", text);
        cr_expect(json_equal(json_object_get(json_object_get(routes, "none"), "experts"), json_array()), "%s", text);
        cr_expect(json_equal(json_object_get(json_object_get(routes, "none"), "routers"), json_array()), "%s", text);
        json_decref(json);
        g = load_good(text);
        again = config_to_json(g);
        generation_release(g);
        cr_expect_str_eq(again, text);
}

/* A number or an address stands in many a message that has nothing to do with the variable. */
Test(config, variables_are_hidden_where_they_were_used)
{
        cr_assert_eq(setenv("PM_T_PORT", "8081", 1), 0);
        cr_assert_eq(setenv("PM_T_HOST", "127.0.0.1:8090", 1), 0);
        cr_assert_eq(setenv("PM_T_WORD", "smart", 1), 0);
        cr_assert_eq(setenv("PM_T_SECRET", "s3cret-value", 1), 0);
        cr_assert_eq(setenv("PM_T_DIGITS", "90210902", 1), 0);
        check("listen: ['127.0.0.1:${PM_T_PORT}', '${PM_T_HOST}', '127.0.0.1:8090', '127.0.0.1:8081']\n"
              "experts: {smarter: {endpoints: ['http://127.0.0.1:8081/v1'], model: '${PM_T_WORD}', headers: ['X-A: ${PM_T_SECRET}']}}\n"
              "routes: {r: {fallbacks: 8081, default: smarte}, s: {default: s3cret-value}, t: {default: '${PM_T_WORD}'}, u: {default: '${PM_T_PORT}x'}}\n"
              "admin: {token: '${PM_T_DIGITS}'}\nworkers: 90210902\n",
              "f:5:10: workers: *** is not in 0..1024 (event loops; 0: one for each core)\n"
              "f:3:25: routes.r.fallbacks: 8081 is not in 0..64 (further experts that may be tried when the chosen one fails)\n"
              "f:1:52: listen[2].address: 127.0.0.1:8090 is the address of listen[1] too\n"
              "f:1:70: listen[3].address: 127.0.0.1:8081 is the address of listen[0] too\n"
              "f:4:1: admin.address: 127.0.0.1:8081 is the address of listen[0] too\n"
              "f:4:1: admin.address: 127.0.0.1:8081 is the address of listen[3] too\n"
              "f:3:40: routes.r.default: no expert is called 'smarte' - did you mean 'smarter'?\n"
              "f:3:62: routes.s.default: no expert is called '${PM_T_SECRET}' - there are: smarter\n"
              "f:3:90: routes.t.default: no expert is called '${PM_T_WORD}' - there are: smarter\n"
              "f:3:120: routes.u.default: no expert is called '${PM_T_PORT}x' - there are: smarter\n");
}

/* ---- documents ----------------------------------------------------------------------------------------------------------- */

/* Is `key:` in the text, at the begin of a word? */
static bool mentions(const char *text, const char *key)
{
        size_t n = strlen(key);

        for (const char *p = strstr(text, key); p; p = strstr(p + 1, key))
                if (p[n] == ':' && (p == text || strchr(" \n{#", p[-1])))
                        return true;
        return false;
}

static void check_mentioned(const char *text, const struct pm_option *table)
{
        for (const struct pm_option *o = table; o->key; o++) {
                cr_expect(o->type == PM_KEY || mentions(text, o->key), "'%s' is not in configs/full.yaml", o->key);
                if (o->sub)
                        check_mentioned(text, o->sub);
        }
}

Test(config, the_full_file_has_every_key)
{
        char path[2 * PATH_MAX], text[32768];
        FILE *f;

        /* __FILE__ is as the compiler got it: absolute, or from the build's root */
        (void)snprintf(path, sizeof path, "%s%.*s../../configs/full.yaml", __FILE__[0] == '/' ? "" : built(""),
                       (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
        f = fopen(path, "re");
        cr_assert_not_null(f, "%s", path);
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        (void)fclose(f);
        check_mentioned(text, settings_table);
}

Test(config, the_reference)
{
        CLEANUP(free_p) char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        config_describe(f);
        cr_assert_eq(fclose(f), 0);
        cr_expect(strncmp(text, "## The configuration file\n", 26) == 0);
        cr_expect_not_null(strstr(text, "\n### top level\n\n| key |"));
        cr_expect_not_null(strstr(text, "\n### experts.NAME.breaker\n"));
        cr_expect_not_null(strstr(text, "\n### listen[].tls\n"));
        cr_expect_not_null(strstr(text, "| `drain_time` | time, 0..24h | `30s` | after SIGTERM, running requests may finish within this |"));
        cr_expect_null(strstr(text, "### \n"));
}
