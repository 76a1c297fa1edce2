/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman: arguments in, one subcommand run, its exit status out.  0: done; 1: something is wrong with what was given; 2: the
 * arguments are.
 */
#include <sys/random.h>

#include "arguments.h"
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

enum decisions_action { EXPORT, IMPORT };

/* What the command line says. */
struct line {
        const char *config; /* the file */
        int log_format;     /* enum log_format, -1: not given */
        const char *word;   /* the one argument without an option */
        int action;         /* enum decisions_action */
};

struct command {
        struct arguments line;
        const char *summary;
        int (*run)(const struct line *l);
};

static int serve(const struct line *l)
{
        return gateway_run(&(struct gateway_options){ .file = l->config, .log_format = l->log_format });
}

static int check(const struct line *l)
{
        struct problems *p = problems_create(PROBLEMS_MAX);
        struct generation *g = NULL;
        int r = p ? generation_load(l->config, 1, p, &g) : -ENOMEM;

        if (r < 0) {
                (void)fputs(p && problems_count(p) ? problems_text(p) : "pointsman: out of memory\n", stderr);
                if (p && problems_count(p) > 1)
                        (void)fprintf(stderr, "%s: %zu mistakes\n", l->config, problems_count(p));
        } else {
                (void)printf("%s: in order: %zu experts, %zu routers, %zu routes\n", l->config, g->n_experts, g->n_routers,
                             g->n_routes);
                generation_destroy(g);
        }
        problems_destroy(p);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int route(const struct line *l)
{
        if (l->word && strcmp(l->word, "-") != 0)
                return offline_run(l->config, l->word, NULL, stdout);
        return offline_run(l->config, NULL, stdin, stdout);
}

static int decisions(const struct line *l)
{
        return l->action == EXPORT ? decisions_export(l->config, stdout) : decisions_import(l->config, stdin);
}

static int describe(const struct line *l)
{
        struct plugin *plugin;
        char file[PATH_MAX], why[512], path[128];

        if (!l->word) {
                config_describe(stdout);
                return ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        if (routers_find(l->word, file, sizeof file) < 0) {
                (void)fprintf(stderr, "pointsman: no router '%s' is shipped or here: the name of a shipped one, or a file with a '/' in its name, would be right\n",
                              l->word);
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

static int hash_key(const struct line *l)
{
        char key[KEY_MAX], hash[256];
        int r = read_or_make_key(key, sizeof key);

        (void)l;
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

static int version(const struct line *l)
{
        (void)l;
        (void)printf("pointsman %s (router ABI %d.%d)\n", PM_VERSION, PM_ABI_MAJOR, PM_ABI_MINOR);
        return EXIT_SUCCESS;
}

#define CONFIG ARGUMENT_FILE(struct line, config, 'c', "config", "POINTSMAN_CONFIG", "the configuration, YAML or JSON")

static const struct argument nothing[] = { ARGUMENT_END };
static const struct argument config[] = { CONFIG, ARGUMENT_END };
static const struct argument config_and_log[] = {
        CONFIG,
        ARGUMENT_CHOICE(struct line, log_format, "log", NULL, "logfmt|json", "format of the log; default: log.format in the file"),
        ARGUMENT_END,
};
static const struct argument config_and_text[] = {
        CONFIG,
        ARGUMENT_WORD(struct line, word, "TEXT", "the text; - or none: each line of standard input"),
        ARGUMENT_END,
};
static const struct argument config_and_action[] = {
        CONFIG,
        ARGUMENT_WORD_OF(struct line, action, "export|import", "export writes to standard output, import reads standard input"),
        ARGUMENT_END,
};
static const struct argument router[] = {
        ARGUMENT_WORD(struct line, word, "ROUTER", "name of a shipped router, or a file with a '/' in its name; none: the configuration"),
        ARGUMENT_END,
};

#define LINE(name, synopsis, rows, text) { .command = name, .table = rows, .forms = "usage: pointsman " name synopsis "\n\n" text }

static const struct command commands[] = {
        { LINE("serve", " -c FILE [--log logfmt|json]", config_and_log,
               "Runs until SIGTERM or SIGINT; then requests in flight may finish within limits.drain_time, and a second signal\n"
               "aborts them.  SIGHUP reads the file again: a valid one takes effect without downtime, an invalid one changes nothing.\n"
               "The log goes to standard error, one line per event.\n"),
          "run the gateway", serve },
        { LINE("check", " -c FILE", config,
               "Exit status 0 if the file is in order; else 1, with every mistake on standard error, one a line:\n"
               "file:line:column: where: what was found and what would be right.\n"),
          "read a configuration and open its routers, but do not listen", check },
        { LINE("route", " -c FILE [TEXT|-]", config_and_text,
               "A JSON object a line: text (its beginning), expert, fallbacks, router, category, confidence, reason, decision, us; with\n"
               "provisional: true if a router waits for a better one, unsure: true if it is no better than a default, only: true if\n"
               "no other expert may get it.  A line that is a JSON object with \"prompt\" or \"messages\" stands for these, so that a\n"
               "prompt may have several lines.  The route is\n"
               "`auto`, or the first one.  Nothing is sent to the chosen experts; routers that ask experts or embedders do so.\n"),
          "show what the routers decide about a text, or about each line of standard input", route },
        { LINE("decisions", " export|import -c FILE", config_and_action,
               "The Redis is that of the configuration.  Each line has key, ends_ms, expert, fallbacks, router, category, confidence,\n"
               "reason, extra.  Expired entries are skipped.\n"),
          "export cached decisions and pins from Redis as JSON lines, or import such lines", decisions },
        { LINE("describe", " [ROUTER]", router, "Markdown on standard output.\n"),
          "print the reference of the configuration, or of a router's options", describe },
        { LINE("hash-key", "", nothing, "Prints the key, for the tenant, and its salted hash, for `key_hashes` in the configuration.\n"),
          "generate an API key for a tenant, or hash one from standard input", hash_key },
        { LINE("version", "", nothing, "Prints the version and the router ABI.\n"), "print the version", version },
};

static void usage(FILE *out)
{
        (void)fputs("usage: pointsman COMMAND [ARGUMENTS]\n\nA gateway that routes each prompt to the expert model it belongs to.\n\n", out);
        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                (void)fprintf(out, "  %-10s %s\n", commands[i].line.command, commands[i].summary);
        (void)fputs("\nSee `pointsman COMMAND --help`.\n", out);
}

int main(int argc, char **argv)
{
        const char *name = argc > 1 ? argv[1] : "";
        struct line line = { .log_format = -1 };
        int r;

        arguments_program = "pointsman";
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
                usage(stdout);
                return EXIT_SUCCESS;
        }
        if (strcmp(name, "--version") == 0)
                name = "version";
        for (const struct command *c = commands; c < commands + LENGTH_OF(commands); c++)
                if (strcmp(name, c->line.command) == 0) {
                        r = arguments_read(&c->line, argc - 1, argv + 1, &line);
                        if (r != 0)
                                return r - 1;
                        crash_setup();
                        memory_setup();
                        return c->run(&line);
                }
        if (*name)
                (void)fprintf(stderr, "pointsman: no command '%s'\n", name);
        usage(stderr);
        return USAGE_ERROR;
}
