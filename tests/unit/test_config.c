/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: every mistake with its place, word for word. */
#include "config_fixture.h"

#include "settings.h"

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
        check(E "admin: {token: short}\n", "f:2:16: admin.token: has 5 characters, where at least 8 are needed: any process on this machine could guess it\n");
        check(E "admin: {token: longer12}\n", "");
        check(E "admin: {address: 0.0.0.0:81, token: " KEY "}\n", "");
        check("experts: {meta-llama/Llama-3.1:8b@q4_0+x: {endpoints: [unix:/run/x.sock:/v1, http://h], headers: ['X-A:b', \"api-key:  c\"]}}", "");
        check("defaults: &d {a: 1}\n" E, "f:1:1: unknown key 'defaults' - known here: listen, admin, open, hosts, cors, workers, watchdog, pool, limits, log, experts, "
              "plugin_dirs, routes, embedders, tenants, cache, feedback, routers\n");
}

Test(config, sections)
{
        check("", "f:1:1: key 'experts' is required (upstream model servers; clients may use an expert's name as `model`)\n");
        check("hello\n", "f:1:1: found a text where a map of sections would be right, such as 'experts:'\n");
        check("- 1\n", "f:1:1: found a list where a map of sections would be right, such as 'experts:'\n");
        check("experts: {}\n", "f:1:10: experts: has 0 entries, which is not in 1..4096 (upstream model servers; clients may use an expert's name as `model`)\n");
        check(E "routers: [1]\n", "f:2:10: routers: found a list where a map of maps would be right (router plugins, which choose the expert)\n");
        check(E "routers: {r: 5, s: , t: {k: 1}}\n",
              "f:2:14: routers.r: found a text where a map would be right, such as {plugin: rules}\n"
              "f:2:17: routers.s: key 'plugin' is required (name of a plugin in plugin_dirs, or path of a .so; the other keys are the plugin's own: see `pointsman describe PLUGIN`)\n"
              "f:2:25: routers.t: key 'plugin' is required (name of a plugin in plugin_dirs, or path of a .so; the other keys are the plugin's own: see `pointsman describe PLUGIN`)\n");
}

Test(config, too_many_routers)
{
        char text[257 * 24 + 64] = E "routers:\n";
        size_t used = strlen(text);

        for (int i = 0; i < 257; i++)
                used += (size_t)snprintf(text + used, sizeof text - used, "  r%d: {plugin: x}\n", i);
        check(text, "f:3:3: routers: has 257 entries, which is not in 0..256 (router plugins, which choose the expert)\n");
}

Test(config, every_mistake_in_one_run)
{
        check("lisden: 127.0.0.1:8080\nworkers: many\nlimits:\n  body: -1\n  heat_time: 3s\nexperts:\n  alpha:\n"
              "    endpoint: [http://127.0.0.1:9001/v1]\n  beta:\n    endpoints: [ftp://127.0.0.1/v1]\n    breaker: {failures: 0.5}\n"
              "routes:\n  auto: {default: alfa, fallbacks: 10000}\n",
              "f:1:1: unknown key 'lisden' - did you mean 'listen'?\n"
              "f:2:10: workers: found 'many' where a whole number in 0..1024 would be right (number of worker threads, each with an event loop; 0: one per core)\n"
              "f:5:3: limits: unknown key 'heat_time' - did you mean 'head_time'?\n"
              "f:4:9: limits.body: found '-1' where a size such as 512, 64KiB, 4MiB or 1GiB in 1KiB..1GiB would be right (maximum size of a request body; larger: 413)\n"
              "f:8:5: experts.alpha: unknown key 'endpoint' - did you mean 'endpoints'?\n"
              "f:8:5: experts.alpha: key 'endpoints' is required (base URLs of equivalent servers, used round-robin: "
              "http://127.0.0.1:8000/v1, https://host/v1, unix:/run/llm.sock:/v1)\n"
              "f:11:25: experts.beta.breaker.failures: found '0.5' where a whole number in 1..1000 would be right (consecutive failures that open the circuit breaker of an endpoint)\n"
              "f:13:36: routes.auto.fallbacks: 10000 is not in 0..64 (maximum number of fallback experts that are tried when the chosen one fails)\n"
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
                static const struct {
                        const char *text, *why;
                } wrong[] = {
                        { "localhost:80", "it must be a number, not a name" }, { "127.0.0.1", "the port is missing" },
                        { "127.0.0.1:", "the port must be 0..65535" }, { "127.0.0.1:65536", "the port must be 0..65535" },
                        { ":80", "no host name" }, { "[::1]", "the port is missing" },
                        { "::1:80x", "an IPv6 address must be in brackets: [::1]:8080" }, { "127.0.0.1:-1", "the port must be 0..65535" },
                        { "[127.0.0.1]:80", "not an IPv6 address in the brackets" },
                };
                char text[256], wanted[256];

                (void)snprintf(text, sizeof text, E "listen: '%s'\n", wrong[i].text);
                (void)snprintf(wanted, sizeof wanted, "f:2:9: listen[0].address: '%s' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or "
                               "[::1]:8080: %s\n", wrong[i].text, wrong[i].why);
                check(text, wanted);
        }
        check(E "listen: [127.0.0.1:80, {address: 127.0.0.1:80}, {}, 5]\n",
              "f:2:34: listen[1].address: 127.0.0.1:80 is the address of listen[0] too\n"
              "f:2:53: listen[3].address: '5' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080: the port is missing\n");
        check(E "admin: {address: 0.0.0.0:81, token: short}\n",
              "f:2:37: admin.token: has 5 characters, and 0.0.0.0:81 is reachable from other machines: there it needs at least 16\n");
        check(E "admin: {address: here, token: 'a b'}\n",
              "f:2:31: admin.token: has letters that no header can carry; use printable ASCII without spaces\n"
              "f:2:18: admin.address: 'here' is no address such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080: the port is missing\n");
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
              "f:2:10: routes: 'a' is the name of an expert too, so it would be unclear which one a client wants: rename one of them\n");
}

Test(config, experts)
{
        check("experts:\n"
              "  a: {endpoints: [http://h, http://h, nonsense], transport: plain, key: \"a\\n\", model: ''}\n"
              "  b: {endpoints: https://h, transport: plain}\n"
              "  c: {endpoints: http://h, apis: [chatt, chat, chat], ca: no.pem}\n"
              "  d: {endpoints: http://h, transport: fast, headers: [x, 'Host: y', \"A: b\\r\\nC: d\", 'Authorization: z', 'E:'], key: k}\n",
              "f:5:39: experts.d.transport: 'fast' is not one of auto, plain, curl (HTTP client: auto uses plain (fastest) for http://, curl for https:// and unix:)\n"
              "f:2:29: experts.a.endpoints[1]: 'http://h' is in this list twice\n"
              "f:2:39: experts.a.endpoints[2]: 'nonsense': expected http://host:port/base, https://host/base or unix:/path.sock:/base\n"
              "f:2:73: experts.a.key: has letters that no header can carry (a space, a line's end?); use printable ASCII\n"
              "f:2:87: experts.a.model: is empty; leave it out to send the expert's name\n"
              "f:3:18: experts.b.endpoints[0]: transport 'plain' carries http:// only, and this is 'https://h': use 'auto' or 'curl'\n"
              "f:4:59: experts.c.ca: names the trusted authorities for https://, but no endpoint is https://\n"
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
              "f:7:81: tenants.u: has no key, so no client could be this tenant: add 'keys' or 'key_hashes'\n"
              "f:7:88: tenants.v: has no key, so no client could be this tenant: add 'keys' or 'key_hashes'\n");
        check(E "routes: {r: {routers: x}}\n", "f:2:23: routes.r.routers[0]: no router is called 'x' - there are none\n");
}

Test(config, secrets_stay_out_of_messages)
{
        cr_assert_eq(setenv("PM_T_SECRET", "hush hush", 1), 0);
        check(E "tenants: {t: {keys: [[hush]]}}\nworkers: ${PM_T_SECRET}\nopen: ${PM_T_SECRET}\nadmin: {token: [hush]}\n",
              "f:5:16: admin.token: found a list where a text would be right (bearer token that each request must send, at least 8 characters, 16 beyond loopback; empty or absent: no administrative listener)\n"
              "f:4:7: open: found a value from the environment where true or false would be right (true: no API keys needed beyond loopback; anyone who can reach a listener may use it)\n"
              "f:3:10: workers: found a value from the environment where a whole number in 0..1024 would be right (number of worker threads, each with an event loop; 0: one per core)\n"
              "f:2:22: tenants.t.keys[0]: found a list where a text would be right (API keys in plain text, at least 16 characters each; better from the environment: ${ACME_KEY})\n");
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
              "f:5:10: workers: *** is not in 0..1024 (number of worker threads, each with an event loop; 0: one per core)\n"
              "f:3:25: routes.r.fallbacks: 8081 is not in 0..64 (maximum number of fallback experts that are tried when the chosen one fails)\n"
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
        cr_expect_not_null(strstr(text, "| `drain_time` | time, 0..24h | `30s` | graceful shutdown: time that requests in flight have to finish after SIGTERM |"));
        cr_expect_null(strstr(text, "### \n"));
}
