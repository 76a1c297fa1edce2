/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pm-try: a router over a file of prompts, without a gateway.  Decisions go to stdout, one JSON object a line; what they cost and
 * how they are spread goes to stderr.
 *
 * The file is read whole before the first prompt is asked, so that the times are the router's alone.  Several rounds (--repeat)
 * and several threads (--threads) show what a busy gateway would see; what is printed comes from the first round.
 */
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "loader.h"
#include "mockhost.h"
#include "mempool.h"

#include "base.h"

#define LINE_MAX_BYTES ((size_t)64 << 20)
#define THREADS_MAX 256

#ifndef PM_PLUGIN_DIR
#define PM_PLUGIN_DIR "/usr/local/lib/pointsman/routers"
#endif

static const char usage[] =
        "usage: pm-try PLUGIN [options] PROMPTS      (PROMPTS: a file, or - for standard input)\n"
        "\n"
        "PLUGIN is a file (./mine.so), or the name of an installed router (category).\n"
        "PROMPTS has one prompt a line: plain text, or JSON objects with a text field or OpenAI \"messages\".\n"
        "\n"
        "  -o, --option KEY=VALUE   an option of the router; KEY may have dots, VALUE may be JSON\n"
        "      --options FILE       the options as a JSON object; -o overrides\n"
        "      --experts A,B,...    the available experts (small,large)\n"
        "      --text FIELD         the field of JSON lines with the prompt (text)\n"
        "      --header NAME=VALUE  a header that every request has\n"
        "      --tenant NAME        the tenant of every request\n"
        "      --repeat N           rounds, for the measured times (1)\n"
        "      --threads N          threads that route at the same time (1)\n"
        "      --quiet              no decisions, only the summary\n"
        "  -h, --help\n"
        "\n"
        "Exit status: 0 when every prompt was decided or passed, 1 when one failed or the router cannot be used.\n";

struct prompt {
        int line;
        struct mock_ask ask;
};

struct try {
        const char *plugin, *file, *options_file, *text_field, *experts, *tenant;
        const char *headers[2 * 16 + 1];
        size_t n_headers;
        struct mempool *memory;
        struct node *options;
        struct prompt *prompts;
        size_t n_prompts, room;
        int repeat, n_threads, wrong_lines;
        bool quiet;

        struct plugin *opened;
        struct mockhost *host;
        struct mock_result *results; /* of the first round */
        double *steps_us;            /* of every round */
        atomic_size_t next;
};

static PRINTF(1, 2) int complain(const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)fputs("pm-try: ", stderr);
        (void)vfprintf(stderr, fmt, args);
        va_end(args);
        (void)fputc('\n', stderr);
        return -EINVAL;
}

/* ---- prompts -------------------------------------------------------------------------------------------------------------- */

static struct pm_str keep_text(struct try *t, const json_t *text)
{
        const char *s = json_string_value(text);
        size_t n = json_string_length(text);

        return (struct pm_str){ mempool_text(t->memory, s, n), n };
}

static const char **keep_list(struct try *t, const json_t *list)
{
        size_t n = json_array_size(list), used = 0;
        const char **texts = mempool_alloc(t->memory, (n + 1) * sizeof *texts);

        for (size_t i = 0; i < n; i++)
                if (json_is_string(json_array_get(list, i)))
                        texts[used++] = keep_text(t, json_array_get(list, i)).p;
        return texts;
}

/* Text of one message: a string, or the text parts of a list. */
static struct pm_str message_text(struct try *t, const json_t *content)
{
        struct pm_str all = { "", 0 };

        if (json_is_string(content))
                return keep_text(t, content);
        for (size_t i = 0; i < json_array_size(content); i++) {
                const json_t *part = json_object_get(json_array_get(content, i), "text");
                size_t n = json_string_length(part);
                char *longer;

                if (!json_is_string(part))
                        continue;
                longer = mempool_alloc(t->memory, all.n + n + 2);
                (void)snprintf(longer, all.n + n + 2, "%s%s%s", all.p, all.n ? "\n" : "", json_string_value(part));
                all = mock_str(longer);
        }
        return all;
}

static void keep_messages(struct try *t, const json_t *list, struct mock_ask *ask)
{
        size_t n = json_array_size(list);
        struct pm_message *messages = mempool_alloc(t->memory, n * sizeof *messages);

        for (size_t i = 0; i < n; i++) {
                const json_t *m = json_array_get(list, i), *role = json_object_get(m, "role");

                messages[i].role = json_is_string(role) ? keep_text(t, role) : mock_str("user");
                messages[i].text = message_text(t, json_object_get(m, "content"));
                if (strcmp(messages[i].role.p, "user") == 0)
                        ask->text = messages[i].text;
        }
        ask->messages = messages;
        ask->n_messages = n;
}

static int read_object(struct try *t, const json_t *object, const char *line, size_t n, struct mock_ask *ask)
{
        const json_t *text = json_object_get(object, t->text_field ? t->text_field : "text");
        const json_t *messages = json_object_get(object, "messages"), *user = json_object_get(object, "user");
        const json_t *wanted = json_object_get(object, "n");

        if (t->opened->router->route == NULL || (t->opened->router->recommend && !messages && !text)) {
                ask->kind = PM_RECOMMEND;
                ask->user = json_is_string(user) ? keep_text(t, user).p : "";
                ask->history = keep_list(t, json_object_get(object, "history"));
                ask->exclude = keep_list(t, json_object_get(object, "exclude"));
                ask->wanted = json_is_integer(wanted) && json_integer_value(wanted) >= 0 ? (size_t)json_integer_value(wanted) : 10;
                ask->body = (struct pm_str){ mempool_text(t->memory, line, n), n };
                return 0;
        }
        if (json_is_string(text)) {
                ask->text = keep_text(t, text);
                return 0;
        }
        if (!json_is_array(messages) || t->text_field)
                return complain("%s:%d: has no text field '%s'%s", t->file, t->prompts[t->n_prompts].line,
                                t->text_field ? t->text_field : "text", t->text_field ? "" : " and no messages");
        keep_messages(t, messages, ask);
        ask->body = (struct pm_str){ mempool_text(t->memory, line, n), n };
        return 0;
}

static int read_line(struct try *t, const char *line, size_t n, int number)
{
        struct prompt *p;
        json_error_t error;
        json_t *object;
        int r = 0;

        if (t->n_prompts == t->room) {
                size_t room = t->room ? t->room * 2 : 256;
                struct prompt *grown = mempool_alloc(t->memory, room * sizeof *grown);

                if (t->n_prompts)
                        memcpy(grown, t->prompts, t->n_prompts * sizeof *grown);
                t->prompts = grown;
                t->room = room;
        }
        p = &t->prompts[t->n_prompts];
        *p = (struct prompt){ .line = number, .ask = { .tenant = t->tenant, .headers = t->headers } };
        if (line[strspn(line, " \t")] != '{') {
                p->ask.text = (struct pm_str){ mempool_text(t->memory, line, n), n };
        } else {
                object = json_loadb(line, n, 0, &error);
                if (!object)
                        return complain("%s:%d: column %d: %s", t->file, number, error.column, error.text);
                r = read_object(t, object, line, n, &p->ask);
                json_decref(object);
        }
        if (r == 0)
                t->n_prompts++;
        return r;
}

static int read_prompts(struct try *t)
{
        FILE *in = strcmp(t->file, "-") == 0 ? stdin : fopen(t->file, "re");
        CLEANUP(free_p) char *line = NULL;
        size_t room = 0;
        ssize_t n;

        if (!in)
                return complain("cannot open '%s': %s", t->file, ERRNO_TEXT(errno));
        for (int number = 1; (n = getline(&line, &room, in)) >= 0; number++) {
                while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                        line[--n] = '\0';
                if ((size_t)n > LINE_MAX_BYTES)
                        t->wrong_lines += complain("%s:%d: is longer than %zu bytes", t->file, number, LINE_MAX_BYTES) < 0;
                else if (n > 0)
                        t->wrong_lines += read_line(t, line, (size_t)n, number) < 0;
        }
        if (in != stdin)
                (void)fclose(in);
        if (t->n_prompts == 0)
                return complain("'%s' has no prompts", t->file);
        return 0;
}

/* ---- the router ----------------------------------------------------------------------------------------------------------- */

static int read_options(struct try *t)
{
        json_error_t error;
        json_t *value;

        if (!t->options_file)
                return 0;
        value = json_load_file(t->options_file, JSON_REJECT_DUPLICATES, &error);
        if (!value)
                return complain("%s:%d:%d: %s", t->options_file, error.line, error.column, error.text);
        if (!json_is_object(value)) {
                json_decref(value);
                return complain("'%s' is no JSON object", t->options_file);
        }
        t->options = mempool_node(t->memory, value, t->options_file);
        json_decref(value);
        return 0;
}

static int open_router(struct try *t)
{
        static const char *const dirs[] = { ".", PM_PLUGIN_DIR };
        struct mock_setup setup = { .limit_ms = 60000 };
        struct pm_expert *experts;
        char path[4096], why[8192];
        size_t n = 1;

        for (const char *p = t->experts; *p; p++)
                n += *p == ',';
        experts = mempool_alloc(t->memory, n * sizeof *experts);
        for (const char *p = t->experts; *p; p += strspn(p, ",")) {
                size_t length = strcspn(p, ",");

                if (length)
                        experts[setup.n_experts++].name = mempool_text(t->memory, p, length);
                p += length;
        }
        setup.experts = experts;
        if (loader_find(t->plugin, dirs, LENGTH_OF(dirs), path, sizeof path) < 0)
                return complain("no router '%s' in . or %s: write ./%s.so for a file", t->plugin, PM_PLUGIN_DIR, t->plugin);
        if (loader_open(path, &t->opened, why, sizeof why) < 0)
                return complain("%s", why);
        if (mockhost_open(t->opened->router, t->options, &setup, &t->host, why, sizeof why) < 0) {
                (void)complain("the router does not open:");
                (void)fprintf(stderr, "%s%s", why, why[0] && why[strlen(why) - 1] == '\n' ? "" : "\n");
                return -EINVAL;
        }
        (void)fputs(mockhost_log(t->host), stderr);
        return 0;
}

/* ---- asking --------------------------------------------------------------------------------------------------------------- */

static void *ask_all(void *arg)
{
        struct try *t = arg;
        size_t all = t->n_prompts * (size_t)t->repeat, i;

        while ((i = atomic_fetch_add(&t->next, 1)) < all) {
                struct mock_result r;

                mockhost_run(t->host, &t->prompts[i % t->n_prompts].ask, &r);
                t->steps_us[i] = r.steps_us;
                if (i < t->n_prompts)
                        t->results[i] = r; /* kept to be printed */
                else
                        mock_result_finish(&r);
        }
        return NULL;
}

static int ask_in_threads(struct try *t)
{
        pthread_t threads[THREADS_MAX];
        int n = 0;

        while (n < t->n_threads && pthread_create(&threads[n], NULL, ask_all, t) == 0)
                n++;
        for (int i = 0; i < n; i++)
                (void)pthread_join(threads[i], NULL);
        return n == t->n_threads ? 0 : complain("only %d threads could be started", n);
}

static double round_us(double us)
{
        return (double)(int64_t)(us * 100 + .5) / 100;
}

static json_t *text_or_null(const char *text)
{
        return text ? json_string(text) : json_null();
}

static json_t *items_json(const struct mock_result *r)
{
        json_t *list = json_array();

        for (size_t i = 0; i < r->n_items; i++)
                (void)json_array_append_new(list, json_pack("{s:s%, s:f, s:s?}", "id", r->items[i]->id.p, r->items[i]->id.n, "score",
                                                            r->items[i]->score, "interest", r->items[i]->interest));
        return list;
}

static void print_result(const struct prompt *p, const struct mock_result *r)
{
        json_t *o = json_pack("{s:i, s:s}", "line", p->line, "end", mock_end_text(r->end)), *list;

        assert(o);
        if (r->end == MOCK_DECIDED) {
                (void)json_object_set_new(o, "expert", text_or_null(r->expert));
                (void)json_object_set_new(o, "category", text_or_null(r->category));
                (void)json_object_set_new(o, "confidence", json_real(r->confidence));
                if (r->provisional)
                        (void)json_object_set_new(o, "provisional", json_true());
                if (r->unsure)
                        (void)json_object_set_new(o, "unsure", json_true());
                if (r->only)
                        (void)json_object_set_new(o, "only", json_true());
                list = json_array();
                for (size_t i = 0; i < r->n_fallbacks; i++)
                        (void)json_array_append_new(list, json_string(r->fallbacks[i]));
                (void)json_object_set_new(o, "fallbacks", list);
                (void)json_object_set_new(o, "reason", text_or_null(r->reason));
                if (r->extra)
                        (void)json_object_set_new(o, "extra", json_loads(r->extra, 0, NULL));
        } else if (r->end == MOCK_CANDIDATES) {
                (void)json_object_set_new(o, "items", items_json(r));
        } else if (r->text) {
                if (r->end == MOCK_REJECTED)
                        (void)json_object_set_new(o, "param", text_or_null(r->param));
                (void)json_object_set_new(o, "text", text_or_null(r->text));
        }
        (void)json_object_set_new(o, "steps", json_integer(r->steps));
        (void)json_object_set_new(o, "us", json_real(round_us(r->steps_us)));
        (void)json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        (void)putchar('\n');
        json_decref(o);
}

static int by_value(const void *a, const void *b)
{
        double x, y;

        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        return (x > y) - (x < y);
}

/* How often each text occurs; few different ones, so a list will do. */
struct name_counts {
        const char *names[256];
        size_t counts[256], n;
};

static void count(struct name_counts *c, const char *name)
{
        size_t i = 0;

        while (i < c->n && strcmp(c->names[i], name) != 0)
                i++;
        if (i == LENGTH_OF(c->names))
                return;
        if (i == c->n)
                c->names[c->n++] = name;
        c->counts[i]++;
}

static void print_counts(const char *title, const struct name_counts *c)
{
        (void)fprintf(stderr, "%-10s", title);
        for (size_t i = 0; i < c->n; i++)
                (void)fprintf(stderr, "%s%s %zu", i ? ", " : " ", c->names[i], c->counts[i]);
        (void)fputc('\n', stderr);
}

/* 0 when no query failed. */
static int print_summary(struct try *t)
{
        struct name_counts ends = { .n = 0 }, experts = { .n = 0 }, categories = { .n = 0 };
        size_t all = t->n_prompts * (size_t)t->repeat;
        int bad = 0;

        for (size_t i = 0; i < t->n_prompts; i++) {
                const struct mock_result *r = &t->results[i];

                count(&ends, mock_end_text(r->end));
                if (r->end == MOCK_DECIDED)
                        count(&experts, r->expert);
                if (r->end == MOCK_DECIDED && r->category)
                        count(&categories, r->category);
                bad += r->end > MOCK_PASSED;
        }
        qsort(t->steps_us, all, sizeof *t->steps_us, by_value);
        (void)fprintf(stderr, "%-10s %s %s\n", "router", t->opened->router->name, t->opened->router->version);
        (void)fprintf(stderr, "%-10s %zu, %d times, %d threads\n", "prompts", t->n_prompts, t->repeat, t->n_threads);
        print_counts("ends", &ends);
        print_counts("experts", &experts);
        print_counts("categories", &categories);
        (void)fprintf(stderr, "%-10s p50 %.1f, p99 %.1f, max %.1f us in the router's steps\n", "time", t->steps_us[all / 2],
                      t->steps_us[all * 99 / 100], t->steps_us[all - 1]);
        return bad ? -EINVAL : 0;
}

static int run(struct try *t)
{
        int r;

        t->results = mempool_alloc(t->memory, t->n_prompts * sizeof *t->results);
        t->steps_us = mempool_alloc(t->memory, t->n_prompts * (size_t)t->repeat * sizeof *t->steps_us);
        r = ask_in_threads(t);
        if (r < 0)
                return r;
        for (size_t i = 0; i < t->n_prompts && !t->quiet; i++)
                print_result(&t->prompts[i], &t->results[i]);
        if (fflush(stdout) != 0)
                return complain("cannot write the decisions: %s", ERRNO_TEXT(errno));
        r = print_summary(t);
        for (size_t i = 0; i < t->n_prompts; i++)
                mock_result_finish(&t->results[i]);
        return t->wrong_lines ? -EINVAL : r;
}

/* ---- arguments ------------------------------------------------------------------------------------------------------------- */

static int number(const char *text, int max, const char *what, int *ret)
{
        char *end;
        long n = strtol(text, &end, 10);

        if (*end || end == text || n < 1 || n > max)
                return complain("%s: '%s' is not in 1..%d", what, text, max);
        *ret = (int)n;
        return 0;
}

static int add_header(struct try *t, const char *text)
{
        const char *equals = strchr(text, '=');

        if (!equals || t->n_headers + 2 >= LENGTH_OF(t->headers))
                return complain("--header '%s': NAME=VALUE would be right, at most 16 times", text);
        t->headers[t->n_headers++] = mempool_text(t->memory, text, (size_t)(equals - text));
        t->headers[t->n_headers++] = equals + 1;
        return 0;
}

enum { OPTIONS = 256, EXPERTS, TEXT, HEADER, TENANT, REPEAT, THREADS, QUIET };

/* 0, 1 when only help was asked for, or -EINVAL.  -o is applied last, over --options. */
static int read_arguments(struct try *t, int argc, char **argv)
{
        static const struct option known[] = {
                { "option", required_argument, NULL, 'o' },      { "options", required_argument, NULL, OPTIONS },
                { "experts", required_argument, NULL, EXPERTS }, { "text", required_argument, NULL, TEXT },
                { "header", required_argument, NULL, HEADER },   { "tenant", required_argument, NULL, TENANT },
                { "repeat", required_argument, NULL, REPEAT },   { "threads", required_argument, NULL, THREADS },
                { "quiet", no_argument, NULL, QUIET },           { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        const char **set = mempool_alloc(t->memory, (size_t)argc * sizeof *set);
        int n_set = 0, c, r = 0;

        while (r == 0 && (c = getopt_long(argc, argv, "o:h", known, NULL)) != -1) {
                switch (c) {
                case 'o': set[n_set++] = optarg; break;
                case OPTIONS: t->options_file = optarg; break;
                case EXPERTS: t->experts = optarg; break;
                case TEXT: t->text_field = optarg; break;
                case TENANT: t->tenant = optarg; break;
                case QUIET: t->quiet = true; break;
                case HEADER: r = add_header(t, optarg); break;
                case REPEAT: r = number(optarg, 1000000, "--repeat", &t->repeat); break;
                case THREADS: r = number(optarg, THREADS_MAX, "--threads", &t->n_threads); break;
                case 'h': (void)fputs(usage, stdout); return 1;
                default: r = -EINVAL; /* getopt has said why */
                }
        }
        if (r == 0 && argc - optind != 2)
                r = complain("a PLUGIN and a file of PROMPTS would be right; see --help");
        if (r < 0)
                return r;
        t->plugin = argv[optind];
        t->file = argv[optind + 1];
        r = read_options(t);
        for (int i = 0; i < n_set && r == 0; i++)
                if (mempool_set(t->memory, t->options, set[i]) < 0)
                        r = complain("-o '%s': KEY=VALUE would be right", set[i]);
        return r;
}

int main(int argc, char **argv)
{
        struct mempool *memory = mempool_create();
        struct try t = { .memory = memory, .experts = "small,large", .repeat = 1, .n_threads = 1,
                         .options = mempool_map(memory, "command line") };
        int r = read_arguments(&t, argc, argv);

        if (r == 0)
                r = open_router(&t);
        if (r == 0)
                r = read_prompts(&t);
        if (r == 0)
                r = run(&t);
        mockhost_close(t.host);
        loader_free(t.opened);
        mempool_destroy(memory);
        return r < 0 ? 1 : 0;
}
