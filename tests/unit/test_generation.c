/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration becomes a generation: from files, with its plugins, until the last one has let go of it. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include "expert.h"
#include "log.h"
#include "settings.h"
#include "tenant.h"

#include "config_fixture.h"
#include "folder.h"

/* ---- folders and files --------------------------------------------------------------------------------------------------- */

static void make_folder(void)
{
        folder_begin();
        log_setup(PM_ERROR, LOG_LOGFMT);
}

static FILE *open_in_folder(const char *name, const char *mode)
{
        FILE *f = fopen(in_folder(name), mode);

        cr_assert_not_null(f, "%s", name);
        return f;
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

Test(generation, tls_files, .init = make_folder, .fini = folder_end)
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
        (void)snprintf(wanted, sizeof wanted, "f:2:46: listen[0].tls.key: '%s/locked.key' has a passphrase, which cannot be entered here: "
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

static int load(const char *text, struct problems **ret_p, struct generation **ret)
{
        put("c.yaml", text);
        *ret = NULL;
        *ret_p = problems_create(50);
        return generation_load(in_folder("c.yaml"), 7, *ret_p, ret);
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

Test(generation, the_smallest_file, .init = make_folder, .fini = folder_end)
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

static struct tenant *owner(const struct generation *g, const char *authorization)
{
        struct tenant *t;

        return tenants_find(g->tenants, str(authorization), &t) == 0 ? t : NULL;
}

Test(generation, what_a_file_becomes, .init = make_folder, .fini = folder_end)
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

        t = owner(g, "Bearer " KEY);
        cr_assert_not_null(t);
        cr_expect_str_eq(t->name, "t");
        cr_expect(tenant_may_use(t, generation_expert(g, str("old"))));
        cr_expect_not(tenant_may_use(t, big));
        cr_expect(tenant_may_ask(t, r));
        cr_expect_not(tenant_may_ask(t, generation_route(g, str("all"))));
        cr_expect(tenant_enter(t));
        cr_expect_not(tenant_enter(t));
        cr_expect(tenant_may_use(owner(g, "Bearer x" KEY), big));

        again = load_good(text); /* what changes outlives the generation */
        cr_expect_eq(generation_expert(again, str("big"))->state, big->state);
        cr_expect_eq(generation_expert(again, str("big"))->metric, big->metric);
        cr_expect_eq(generation_expert(again, str("big"))->endpoints[0]->state, big->endpoints[0]->state);
        cr_expect_not(tenant_enter(owner(again, "Bearer " KEY)));
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

Test(generation, the_last_one_out, .init = make_folder, .fini = folder_end)
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

Test(generation, what_was_opened_is_closed_when_another_refuses, .init = make_folder, .fini = folder_end)
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

Test(generation, plugins_that_are_not_there, .init = make_folder, .fini = folder_end)
{
        struct generation *g;
        struct problems *p;

        cr_expect_eq(load(E "plugin_dirs: here\nrouters: {x: {plugin: uses_defre}}\n", &p, &g), -EINVAL);
        cr_expect(strstr(problems_text(p), "/c.yaml:3:23: routers.x.plugin: no plugin 'uses_defre' in /tmp/pointsman-test-"), "%s", problems_text(p));
        cr_expect(strstr(problems_text(p), "/here, "), "%s", problems_text(p));
        cr_expect(strstr(problems_text(p), "/lib/pointsman/routers - did you mean 'uses_defer'?\n"), "%s", problems_text(p));
        problems_destroy(p);
        load_bad(E "routers: {x: {plugin: ./none.so}}\n", "c.yaml:2:23: routers.x.plugin: cannot load plugin './none.so': No such file or directory\n");
}

Test(generation, keys_of_tenants, .init = make_folder, .fini = folder_end)
{
        char hash[TENANT_HASH_TEXT], text[1024];

        cr_assert_eq(tenant_hash_key(KEY, hash, sizeof hash), 0);
        (void)snprintf(text, sizeof text, E "tenants:\n  t: {keys: [another" KEY ", " KEY ", another" KEY "]}\n  u: {key_hashes: [%s, '%s', sha256:x]}\n",
                       hash, hash);
        load_bad(text, "c.yaml:4:126: tenants.u.key_hashes[1]: duplicate of a key earlier in this file\n"
                       "c.yaml:4:234: tenants.u.key_hashes[2]: 8 characters that are no 'sha256:SALT:HASH' in hex, as `pointsman hash-key` prints it\n"
                       "c.yaml:3:39: tenants.t.keys[1]: duplicate of a key earlier in this file\n"
                       "c.yaml:3:57: tenants.t.keys[2]: duplicate of a key earlier in this file\n");
}

Test(generation, files_that_cannot_be_read, .init = make_folder, .fini = folder_end)
{
        struct generation *g = NULL;
        struct problems *p = problems_create(5);

        cr_expect_eq(generation_load("/nowhere/c.yaml", 1, p, &g), -ENOENT);
        cr_expect_eq(generation_load("/tmp", 1, p, &g), -EISDIR);
        cr_expect_str_eq(problems_text(p), "/nowhere/c.yaml: cannot be read: No such file or directory\n/tmp: cannot be read: Is a directory\n");
        cr_expect_null(g);
        problems_destroy(p);
}

Test(generation, in_force_without_secrets, .init = make_folder, .fini = folder_end)
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
Test(generation, in_force_as_a_file, .init = make_folder, .fini = folder_end)
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
