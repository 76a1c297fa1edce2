/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole gateway whose allocator fails at the n-th call, for every n: while a file is loaded, while it starts, during a request of each
 * kind, and during a reload.
 *
 * Each n has a process of its own, which says to a shared page what became of it.  It is found fault with that it crashes, hangs, leaves a
 * block behind, is not whole again for the next request, or does not say clearly that memory was what it lacked: to the client as a 503
 * with an error object or an error event, in the log where no client can be told.  Experts and a Redis are processes beside it.
 */
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "beside.h"
#include "fail.h"

#include "base.h"

/* What takes long to open is there only where it is asked. */
#define MODEL "embedders: {static: {model: " SOURCE "/configs/models/pointsman-static}}\n"
#define SHOP "feedback: {file: feedback.tsv}\nroutes: {shop: {routers: [shop], deadline: 9s}}\n" \
             "routers: {shop: {plugin: interests, index: " SOURCE "/configs/models/demo-interests}}\n"
#define RULES "routers: {words: {plugin: rules, rules: [{keywords: [integral], expert: plain, fallbacks: [curl]}]}}\n" \
              "routes: {auto: {routers: [words], deadline: 9s}, kept: {routers: [words], deadline: 9s, cache: {answers: 1h}}}\n"
#define REDIS RULES "cache: {redis: {servers: ['unix:${PM_FAIL_REDIS}'], timeout: 900ms, failures: 1000}}\n"

#define CHAT(model, more) "{\"model\":\"" model "\"," more "\"messages\":[{\"role\":\"user\",\"content\":\"an integral\"}]}"
#define WHOLE "HTTP/1.1 200\0\"finish_reason\":\"stop\"\0"
#define STREAM "HTTP/1.1 200\0data: [DONE]\0"

#define ADMIN(called, url, verb, says) \
        { called, ASK, url, NULL, "HTTP/1.1 200\0" says, .method = verb, .admin = true, .lines = true, \
          .more = RULES "admin: {address: '127.0.0.1:0', token: " TOKEN "}\n" }

/* Texts that must all be there, each ended by a NUL. */
const struct scenario scenarios[] = {
        { "chat", ASK, "/v1/chat/completions", CHAT("plain", ""), WHOLE },
        { "chat-stream", ASK, "/v1/chat/completions", CHAT("plain", "\"stream\":true,"), STREAM },
        { "chat-kept-connection", ASK, "/v1/chat/completions", CHAT("plain", ""), WHOLE, .warm = true },
        { "chat-routed", ASK, "/v1/chat/completions", CHAT("auto", ""), WHOLE "x-pointsman-expert: plain\0", .more = RULES },
        { "curl", ASK, "/v1/chat/completions", CHAT("curl", ""), WHOLE },
        { "curl-stream", ASK, "/v1/chat/completions", CHAT("curl", "\"stream\":true,"), STREAM },
        { "curl-kept-connection", ASK, "/v1/chat/completions", CHAT("curl", ""), WHOLE, .warm = true },
        { "tls-kept-connection", ASK, "/v1/chat/completions", CHAT("tls", "\"stream\":true,"), STREAM, .warm = true },
        { "stream-of-whole", ASK, "/v1/chat/completions", CHAT("whole", "\"stream\":true,"), STREAM },
        { "refused-by-expert", ASK, "/v1/chat/completions", CHAT("refuses", ""), "HTTP/1.1 400\0too many apples\0" },
        { "models", ASK, "/v1/models", NULL, "HTTP/1.1 200\0\"id\":\"tls\"\0" },
        { "route", ASK, "/v1/route", CHAT("auto", ""), "HTTP/1.1 200\0\"expert\":\"plain\"\0", .more = RULES },
        { "recommend", ASK, "/v1/recommend", "{\"model\":\"shop\",\"user\":\"u1\",\"n\":3}", "HTTP/1.1 200\0\"items\":[{\0", .more = SHOP },
        { "feedback", ASK, "/v1/feedback", "{\"events\":[{\"user\":\"u1\",\"item\":\"i1\"}]}", "HTTP/1.1 200\0\"accepted\":1\0", .more = SHOP },
        { "embeddings", ASK, "/v1/embeddings", "{\"model\":\"static\",\"input\":[\"an integral\",\"a verdict\"]}", "HTTP/1.1 200\0\"embedding\":\0",
          .more = MODEL },
        { "refused", ASK, "/v1/chat/completions", "{\"model\":\"plain\",\"messages\":3}", "HTTP/1.1 400\0\"type\":\"invalid_request_error\"\0" },
        { "unknown-url", ASK, "/v1/nothing", "{}", "HTTP/1.1 404\0unknown_url\0" },
        { "answer-in-memory", ASK, "/v1/chat/completions", CHAT("kept", "\"temperature\":0,"), WHOLE, .calm = "x-pointsman-answer: cached-local", .warm = true,
          .more = RULES },
        { "answer-in-redis", ASK, "/v1/chat/completions", CHAT("kept", "\"temperature\":0,"), WHOLE, .calm = "x-pointsman-answer: cached-shared", .more = REDIS },
        { "load", LOAD, .more = REDIS, .warm = true },
        { "start", START, .more = RULES },
        { "reload", RELOAD, .more = RULES },
        { "check-minimal", LOAD, .config = SOURCE "/configs/minimal.yaml" },
        { "check-full", LOAD, .config = SOURCE "/configs/full.yaml" },
        { "check-category", LOAD, .config = SOURCE "/configs/category.yaml" },
        { "check-instruct", LOAD, .config = SOURCE "/configs/instruct.yaml" },
        { "check-interests", LOAD, .config = SOURCE "/configs/interests.yaml" },
        { "broken-grammar", LOAD, .more = "routes: [a, {b: c}\n", .mistake = "did not find expected" },
        { "broken-words", LOAD, .more = "rutes: {auto: {}}\nrouters: {x: {plugin: rulez}}\n", .mistake = "did you mean 'routes'?" },
        { "describe", DESCRIBE },
        { "reload-under-traffic", RELOAD, .more = RULES, .traffic = true },
        { "tenant", ASK, "/v1/chat/completions", CHAT("plain", ""), WHOLE, .keyed = true, .more = "tenants: {t: {keys: [" TOKEN "]}}\n" },
        { "metrics", ASK, "/metrics", NULL, "HTTP/1.1 200\0process_start_time_seconds 1\0", .lines = true },
        ADMIN("admin-page", "/", NULL, "</html>\0"),
        ADMIN("admin-experts", "/admin/experts", NULL, "\"name\": \"tls\"\0"),
        ADMIN("admin-routers", "/admin/routers", NULL, "\"routes\":\0"),
        ADMIN("admin-config", "/admin/config", NULL, "\"experts\":\0"),
        ADMIN("admin-generation", "/admin/generation", NULL, "\"ready\": true\0"),
        ADMIN("admin-metrics", "/metrics", NULL, "process_start_time_seconds 1\0"),
        ADMIN("admin-reload", "/admin/reload", "POST", "\"generation\": \0"),
        ADMIN("admin-purge", "/admin/decisions?prefix=&kind=all", "DELETE", "\"memory\": 0\0"),
        ADMIN("admin-expert", "/admin/experts/plain?state=up", "POST", "\"health\": \"up\"\0"),
        { "tls", ASK, "/v1/chat/completions", CHAT("tls", ""), WHOLE },
};

struct report *report;
size_t calm_lines;
char folder[] = "/tmp/pm-fail-XXXXXX", file[128];

static void write_configuration(const struct scenario *of)
{
        FILE *f;

        (void)snprintf(file, sizeof file, "%s/%s.yaml", folder, of->name);
        if (of->config)
                (void)snprintf(file, sizeof file, "%s", of->config);
        if (of->config)
                return;
        f = fopen(file, "we");
        assert(f);
        (void)fprintf(f, "listen: 127.0.0.1:0\nworkers: 1\npool: {threads: 1}\nlog: {level: debug}\nplugin_dirs: [%s]\n"
                      "experts:\n"
                      "  plain: {endpoints: ['http://127.0.0.1:%u/v1'], key: 'k-${HOME}', headers: ['X-Title: t'], drop: [models]}\n"
                      "  curl: {endpoints: 'http://127.0.0.1:%u/v1', transport: curl}\n"
                      "  whole: {endpoints: 'http://127.0.0.1:%u/v1'}\n  refuses: {endpoints: 'http://127.0.0.1:%u/v1'}\n"
                      "  tls: {endpoints: 'https://127.0.0.1:%u/v1', ca: %s}\n%s", ROUTERS, beside.plain, beside.plain, beside.plain, beside.plain, beside.tls, beside.ca, of->more ? of->more : "");
        assert(fclose(f) == 0);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */

static void one(const struct scenario *s, unsigned long n, bool on, enum eyes eyes)
{
        int status;
        pid_t pid;

        memset(report, 0, sizeof *report);
        pid = fork();
        assert(pid >= 0);
        if (pid == 0)
                child(s, n, on, eyes);
        assert(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                found("it hangs");
        else if (!report->ended)
                found("it ended with %s %d", WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

struct sums {
        unsigned long points, step, runs, whole, passed, found;
};

static bool try(const struct scenario *s, bool on, unsigned long step, unsigned long from, unsigned long runs, struct sums *sum)
{
        size_t lost, traced;

        calm_lines = 0;
        one(s, 0, false, TRACE); /* what it looks like when nothing fails; and whatever Redis keeps of it */
        traced = report->lost;
        one(s, 0, false, COUNT);
        calm_lines = s->lines || s->kind == DESCRIBE ? report->lines : 0;
        if (s->calm && !strstr(report->answer, s->calm))
                found("there is no %s in %s", s->calm, report->answer);
        if (report->wrong[0]) {
                (void)printf("%s: does not work at all: %s\n%s\n", s->name, report->wrong, report->log);
                sum->found++;
                return false;
        }
        lost = report->lost;
        sum->points = report->calls;
        if (runs)
                step = (sum->points + runs - 1) / runs;
        sum->step = step = MAX(step, 1);
        for (unsigned long n = from;; n += step) {
                one(s, n, on, COUNT);
                sum->runs++;
                for (unsigned again = 0; again < 2 && !report->wrong[0] && report->lost > (again ? traced : lost); again++)
                        one(s, n, on, TRACE); /* threads that end take turns; and some of it libraries lose */
                if (!report->wrong[0] && report->lost > MAX(lost, traced))
                        found("%zu blocks are lost", report->lost - traced);
                if (report->wrong[0]) {
                        sum->found++;
                        (void)printf("%s %lu%s: %s\n", s->name, n, on ? " and all after it" : "", report->wrong);
                        (void)fflush(stdout);
                } else if (!report->failure.hit) {
                        return true;
                }
                sum->whole += report->whole;
                sum->passed += report->failure.passed;
                if (n > 20 * sum->points + 1000)
                        return false;
        }
}

static int usage(void)
{
        (void)fputs("usage: fail [--on] [--step=N] [--from=N] [NAME...]    every point of these scenarios, or of all; every N-th\n"
                    "       fail [--on] --runs=N [NAME...]               every so many-th that there are about N runs\n"
                    "       fail [--on] --show=N NAME                    one point: who was refused memory, and what came of it\n", stderr);
        return 2;
}

/* Where the shipped configurations look for their routers: beside the executable. */
static void link_routers(void)
{
        char self[PATH_MAX], path[PATH_MAX + 32];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

        assert(n > 0);
        self[n] = '\0';
        for (int i = 0; i < 2; i++) /* tests/fail/fail */
                *strrchr(self, '/') = '\0';
        for (size_t i = 0; i < 2; i++) {
                (void)snprintf(path, sizeof path, "%s/lib%s", self, i ? "/pointsman" : "");
                assert(mkdir(path, 0777) == 0 || errno == EEXIST);
        }
        (void)snprintf(path, sizeof path, "%s/lib/pointsman/routers", self);
        assert(symlink(ROUTERS, path) == 0 || errno == EEXIST);
}

int main(int argc, char **argv)
{
        unsigned long step = 1, show = 0, from = 1, runs = 0;
        char command[160];
        bool on = false, wanted, bad = false;
        int i = 1;

        if (argc > 1 && strcmp(argv[1], "check") == 0)
                return 0; /* config_check.c has started us: the file is in order */
        for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
                if (strcmp(argv[i], "--on") == 0)
                        on = true;
                else if (strncmp(argv[i], "--step=", 7) == 0)
                        step = strtoul(argv[i] + 7, NULL, 10);
                else if (strncmp(argv[i], "--runs=", 7) == 0)
                        runs = strtoul(argv[i] + 7, NULL, 10);
                else if (strncmp(argv[i], "--from=", 7) == 0)
                        from = strtoul(argv[i] + 7, NULL, 10);
                else if (strncmp(argv[i], "--show=", 7) == 0)
                        show = strtoul(argv[i] + 7, NULL, 10);
                else
                        return usage();
        }
        points_track(false);
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert(report != MAP_FAILED && step > 0);
        assert(mkdtemp(folder));
        link_routers();
        beside_start(folder);
        assert(OPENSSL_init_ssl(0, NULL) == 1 && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
        for (size_t k = 0; k < LENGTH_OF(scenarios); k++) {
                const struct scenario *s = &scenarios[k];
                struct sums sum = { 0 };
                int64_t began = now_us();

                wanted = i == argc;
                for (int j = i; j < argc; j++)
                        wanted |= strcmp(argv[j], s->name) == 0;
                if (!wanted)
                        continue;
                write_configuration(s);
                if (show) {
                        one(s, 0, false, COUNT);
                        one(s, show, on, SHOW);
                        (void)fprintf(stderr, "---- who was refused memory\n");
                        points_show(report->failure.frames, report->failure.n); /* a fork of ours: the same addresses */
                        (void)printf("%s\n", report->wrong[0] ? report->wrong : "nothing wrong");
                        continue;
                }
                bad |= !try(s, on, step, from, runs, &sum) || sum.found;
                (void)printf("%-22s %6lu points, every %lu. of them, %6lu runs: %6lu answered all the same, %lu passed over, %lu FOUND  (%.1f s)\n", s->name, sum.points, sum.step,
                             sum.runs, sum.whole, sum.passed, sum.found, (double)(now_us() - began) / 1e6);
                (void)fflush(stdout);
        }
        beside_stop();
        (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
        (void)!system(command);
        return bad;
}
