/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman: arguments in, one subcommand run, its exit status out.  0: done; 1: something is wrong with what was given; 2: the
 * arguments are.
 */
#include <sys/random.h>

#include "cache_cli.h"
#include "config.h"
#include "crash.h"
#include "gateway.h"
#include "loader.h"
#include "log.h"
#include "memory.h"
#include "offline.h"
#include "options.h"
#include "routers.h"
#include "tenant.h"

#include "base.h"

#define USAGE_ERROR 2
#define PROBLEMS_MAX 200
#define KEY_MAX 512

struct arguments {
        const char *config; /* -c FILE, or POINTSMAN_CONFIG */
        int log_format;     /* enum log_format, -1: not given */
        const char *rest;   /* the one other argument */
};

struct command {
        const char *name, *synopsis, *summary, *help;
        bool config, log, rest; /* which arguments it takes */
        int (*run)(const struct arguments *a);
};

static int serve(const struct arguments *a)
{
        return gateway_run(&(struct gateway_options){ .file = a->config, .log_format = a->log_format });
}

static int check(const struct arguments *a)
{
        struct problems *p = problems_create(PROBLEMS_MAX);
        struct generation *g = NULL;
        int r = p ? generation_load(a->config, 1, p, &g) : -ENOMEM;

        if (r < 0) {
                (void)fputs(p && problems_count(p) ? problems_text(p) : "pointsman: out of memory\n", stderr);
                if (p && problems_count(p) > 1)
                        (void)fprintf(stderr, "%s: %zu mistakes\n", a->config, problems_count(p));
        } else {
                (void)printf("%s: in order: %zu experts, %zu routers, %zu routes\n", a->config, g->n_experts, g->n_routers,
                             g->n_routes);
                generation_destroy(g);
        }
        problems_destroy(p);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int route(const struct arguments *a)
{
        if (a->rest && strcmp(a->rest, "-") != 0)
                return offline_run(a->config, a->rest, NULL, stdout);
        return offline_run(a->config, NULL, stdin, stdout);
}

static int decisions(const struct arguments *a)
{
        if (a->rest && strcmp(a->rest, "export") == 0)
                return decisions_export(a->config, stdout);
        if (a->rest && strcmp(a->rest, "import") == 0)
                return decisions_import(a->config, stdin);
        (void)fprintf(stderr, "pointsman decisions: %s%s%s, where 'export' or 'import' would be right\n",
                      a->rest ? "'" : "nothing is said", a->rest ? a->rest : "", a->rest ? "'" : "");
        return USAGE_ERROR;
}

static int describe(const struct arguments *a)
{
        struct plugin *plugin;
        char file[PATH_MAX], why[512], path[128];

        if (!a->rest) {
                config_describe(stdout);
                return ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        if (routers_find(a->rest, file, sizeof file) < 0) {
                (void)fprintf(stderr, "pointsman: no router '%s' is shipped or here: the name of a shipped one, or a file with a '/' in its name, would be right\n",
                              a->rest);
                return EXIT_FAILURE;
        }
        if (loader_open(file, &plugin, why, sizeof why) < 0) {
                (void)fprintf(stderr, "pointsman: %s\n", why);
                return EXIT_FAILURE;
        }
        (void)printf("# Router `%s` %s\n\n%s\n\n", plugin->router->name, plugin->router->version ? plugin->router->version : "",
                     plugin->router->summary ? plugin->router->summary : "");
        (void)snprintf(path, sizeof path, "routers.%s", plugin->router->name);
        if (plugin->router->options)
                options_describe(stdout, plugin->router->options, path);
        else
                (void)puts("It has no options.");
        loader_free(plugin);
        return EXIT_SUCCESS;
}

/* A line of standard input without its end, or a fresh key if there is none to read. */
static int read_or_make_key(char *key, size_t size)
{
        unsigned char random[24];
        size_t n = 0;

        if (!isatty(STDIN_FILENO) && fgets(key, (int)size, stdin)) {
                n = strcspn(key, "\r\n");
                if (n == size - 1)
                        return -E2BIG;
                key[n] = '\0';
        }
        if (n > 0)
                return 0;
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
                return -EIO;
        n = (size_t)snprintf(key, size, "pm-");
        for (size_t i = 0; i < sizeof random; i++)
                n += (size_t)snprintf(key + n, size - n, "%02x", random[i]);
        return 0;
}

static int hash_key(const struct arguments *a)
{
        char key[KEY_MAX], hash[256];
        int r = read_or_make_key(key, sizeof key);

        (void)a;
        if (r == 0)
                r = tenant_hash_key(key, hash, sizeof hash);
        if (r < 0) {
                (void)fprintf(stderr, "pointsman: cannot hash this key: %s\n",
                              r == -E2BIG    ? "it is longer than 510 bytes"
                              : r == -EINVAL ? "it is shorter than 16 bytes"
                                             : ERRNO_TEXT(r));
                return EXIT_FAILURE;
        }
        (void)printf("key:  %s\nhash: %s\n", key, hash);
        return EXIT_SUCCESS;
}

static int version(const struct arguments *a)
{
        (void)a;
        (void)printf("pointsman %s (router ABI %d.%d)\n", PM_VERSION, PM_ABI_MAJOR, PM_ABI_MINOR);
        return EXIT_SUCCESS;
}

static const struct command commands[] = {
        { "serve", "-c FILE [--log=logfmt|json]", "run the gateway",
          "Runs until SIGTERM or SIGINT; then requests in flight may finish within limits.drain_time, and a second signal\naborts them.  SIGHUP reads the file again: a valid one takes effect without downtime, an invalid one changes nothing.\n"
          "The log goes to standard error, one line per event.\n",
          true, true, false, serve },
        { "check", "-c FILE", "read a configuration and open its routers, but do not listen",
          "Exit status 0 if the file is in order; else 1, with every mistake on standard error, one a line:\n"
          "file:line:column: where: what was found and what would be right.\n",
          true, false, false, check },
        { "route", "-c FILE [TEXT|-]", "show what the routers decide about a text, or about each line of standard input",
          "A JSON object a line: text (its beginning), expert, fallbacks, router, category, confidence, reason, decision, us; with\n"
          "provisional: true if a router waits for a better one, unsure: true if it is no better than a default.  A line that is a JSON object with\n"
          "\"prompt\" or \"messages\" stands for these, so that a prompt may have several lines.  The route is `auto`, or the first one.  Nothing is sent to the chosen experts; routers that ask experts or embedders do so.\n",
          true, false, true, route },
        { "decisions", "export|import -c FILE", "export cached decisions and pins from Redis as JSON lines, or import such lines",
          "export writes to standard output, import reads standard input; the Redis is that of the configuration.  Each line has key,\n"
          "ends_ms, expert, fallbacks, router, category, confidence, reason, extra.  Expired entries are skipped.\n",
          true, false, true, decisions },
        { "describe", "[ROUTER]", "print the reference of the configuration, or of a router's options",
          "Markdown on standard output.\n", false, false, true, describe },
        { "hash-key", "", "generate an API key for a tenant, or hash one from standard input",
          "Prints the key, for the tenant, and its salted hash, for `key_hashes` in the configuration.\n", false, false,
          false, hash_key },
        { "version", "", "print the version", "", false, false, false, version },
};

static void usage(FILE *out)
{
        (void)fputs("usage: pointsman COMMAND [ARGUMENTS]\n\nA gateway that routes each prompt to the expert model it belongs to.\n\n", out);
        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
        (void)fputs("\nSee `pointsman COMMAND --help`.\n", out);
}

static void command_usage(FILE *out, const struct command *c)
{
        (void)fprintf(out, "usage: pointsman %s%s%s\n", c->name, *c->synopsis ? " " : "", c->synopsis);
}

static void command_help(const struct command *c)
{
        command_usage(stdout, c);
        (void)printf("\n%c%s.\n%s", c->summary[0] - 'a' + 'A', c->summary + 1, c->help);
        if (c->config || c->log)
                (void)puts("");
        if (c->config)
                (void)puts("  -c, --config FILE     the configuration, YAML or JSON; default: $POINTSMAN_CONFIG");
        if (c->log)
                (void)puts("  --log=logfmt|json     format of the log; default: log.format in the file");
        (void)puts("  --help                this text");
}

/* The value of an option as "--name=value" or "--name value"; *i moves on.  NULL: arg is another one. */
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
        const char *arg = argv[*i];
        size_t n = strlen(name);

        if (strncmp(arg, name, n) != 0)
                return NULL;
        if (arg[n] == '=' && name[1] == '-')
                return arg + n + 1;
        if (arg[n] != '\0')
                return name[1] != '-' ? arg + n : NULL; /* -cFILE */
        return *i + 1 < argc ? argv[++*i] : "";
}

/* 0; -EINVAL with a sentence about what is wrong. */
static int parse(const struct command *c, int argc, char **argv, struct arguments *ret, char *why, size_t size)
{
        struct arguments a = { .log_format = -1 };
        const char *value;

        for (int i = 0; i < argc; i++) {
                if (c->config && ((value = value_of("-c", argc, argv, &i)) || (value = value_of("--config", argc, argv, &i)))) {
                        a.config = value;
                } else if (c->log && (value = value_of("--log", argc, argv, &i))) {
                        a.log_format = strcmp(value, "json") == 0 ? LOG_JSON : strcmp(value, "logfmt") == 0 ? LOG_LOGFMT : -2;
                        if (a.log_format == -2) {
                                (void)snprintf(why, size, "--log is logfmt or json, not '%.100s'", value);
                                return -EINVAL;
                        }
                } else if (c->rest && !a.rest && (argv[i][0] != '-' || argv[i][1] == '\0')) {
                        a.rest = argv[i];
                } else {
                        (void)snprintf(why, size, "unexpected argument '%.200s'", argv[i]);
                        return -EINVAL;
                }
        }
        if (c->config && !a.config)
                a.config = secure_getenv("POINTSMAN_CONFIG");
        if (c->config && (!a.config || !*a.config)) {
                (void)snprintf(why, size, "no configuration: -c FILE is missing, and POINTSMAN_CONFIG is not set");
                return -EINVAL;
        }
        *ret = a;
        return 0;
}

int main(int argc, char **argv)
{
        const char *name = argc > 1 ? argv[1] : "";
        const struct command *c = NULL;
        struct arguments a;
        char why[256];

        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
                usage(stdout);
                return EXIT_SUCCESS;
        }
        if (strcmp(name, "--version") == 0)
                name = "version";
        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                if (strcmp(name, commands[i].name) == 0)
                        c = &commands[i];
        if (!c) {
                if (*name)
                        (void)fprintf(stderr, "pointsman: no command '%s'\n", name);
                usage(stderr);
                return USAGE_ERROR;
        }
        for (int i = 2; i < argc; i++)
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                        command_help(c);
                        return EXIT_SUCCESS;
                }
        if (parse(c, argc - 2, argv + 2, &a, why, sizeof why) < 0) {
                (void)fprintf(stderr, "pointsman %s: %s\n", c->name, why);
                command_usage(stderr, c);
                return USAGE_ERROR;
        }
        crash_setup();
        memory_setup();
        return c->run(&a);
}
